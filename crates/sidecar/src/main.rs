//! `meltemi-sidecar`: only what lives beside a workload, so that an image of it carries no control plane.
//!
//! Which command runs is decided by the name it is called by (a symlink `pilot-agent`), else by the first argument.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong command line.
const USAGE: u8 = 64;

const HELP: &str = "\
Meltemi beside a workload: the proxy and what keeps it running.

Usage: meltemi-sidecar COMMAND [ARGUMENT…]      meltemi-sidecar COMMAND --help explains each

Commands (the executable may also be called by their names):
  pilot-agent        starts a proxy, keeps its certificates, tells when it is ready
  proxy              the data plane, in Envoy's place
  version            print the version";

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args
        .first()
        .and_then(|name| Path::new(name).file_name())
        .and_then(|name| name.to_str());
    if let Some(main) = called.and_then(find) {
        return main(args);
    }
    let Some(name) = args.get(1).map(|name| name.to_string_lossy().into_owned()) else {
        eprintln!("{HELP}");
        return ExitCode::from(USAGE);
    };
    match find(&name) {
        Some(main) => main(args.split_off(1)),
        None => {
            eprintln!("meltemi-sidecar: there is no command `{name}`; `meltemi-sidecar help` lists them");
            ExitCode::from(USAGE)
        }
    }
}

fn find(name: &str) -> Option<fn(Vec<OsString>) -> ExitCode> {
    Some(match name {
        "pilot-agent" => node::pilot_agent_main,
        "proxy" => proxy::main,
        runtime::child::EXEC_CHILD => runtime::child::exec_main,
        "help" | "--help" | "-h" => help,
        "version" | "--version" | "-V" => version,
        _ => return None,
    })
}

#[allow(clippy::print_stdout)] // the output of a command
fn help(_: Vec<OsString>) -> ExitCode {
    println!("{HELP}");
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout)] // the output of a command
fn version(_: Vec<OsString>) -> ExitCode {
    println!("meltemi-sidecar {}", runtime::version::VERSION);
    ExitCode::SUCCESS
}
