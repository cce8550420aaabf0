//! `meltemi`: every command and every component of the mesh in one executable.
//!
//! Which one runs is decided by the name it is called by (a symlink `pilot-discovery` in an image), else by the first
//! argument. Each command is a function of its own crate; nothing is decided here.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Main = fn(Vec<OsString>) -> ExitCode;

/// A command with its other names.
struct Command {
    names: &'static [&'static str],
    /// Empty for those that are not for people.
    about: &'static str,
    main: Main,
}

const fn command(names: &'static [&'static str], about: &'static str, main: Main) -> Command {
    Command { names, about, main }
}

const FOR_PEOPLE: &[Command] = &[
    command(
        &["up"],
        "run a mesh on this machine from a directory of YAML",
        local::up_main,
    ),
    command(
        &["restart"],
        "replace a Deployment's pods without losing a request",
        local::restart_main,
    ),
    command(
        &["proxy-status", "ps"],
        "which proxies are connected, and in sync",
        cli::proxy_status_main,
    ),
    command(
        &["proxy-config", "pc"],
        "what a proxy has been told: clusters, listeners, routes …",
        cli::proxy_config_main,
    ),
    command(
        &["analyze"],
        "find mistakes in manifests, with their lines, before any mesh takes them",
        cli::analyze_main,
    ),
    command(
        &["describe"],
        "why a request gets its answer, with the line of YAML that wanted it",
        cli::describe_main,
    ),
    command(&["version"], "print the version", version),
];

const COMPONENTS: &[Command] = &[
    command(
        &["pilot-discovery"],
        "configuration and endpoints for the proxies (xDS)",
        pilot::main,
    ),
    command(&["istio_ca"], "certificate authority", citadel::main),
    command(
        &["pilot-agent"],
        "starts a proxy, keeps its certificates, tells when it is ready",
        node::pilot_agent_main,
    ),
    command(&["proxy"], "the data plane, in Envoy's place", proxy::main),
];

const HIDDEN: &[Command] = &[
    command(&["bookinfo"], "", bookinfo::main),
    command(&[runtime::child::EXEC_CHILD], "", runtime::child::exec_main),
    command(&[local::watchdog::NAME], "", local::watchdog::main),
    command(&["help", "--help", "-h"], "", help),
    command(&["--version", "-V"], "", version),
];

/// Wrong command line.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args
        .first()
        .and_then(|name| Path::new(name).file_name())
        .and_then(|name| name.to_str());
    if let Some(command) = called.and_then(find).filter(|_| called != Some("meltemi")) {
        return (command.main)(args);
    }
    let Some(name) = args.get(1).map(|name| name.to_string_lossy().into_owned()) else {
        help(Vec::new());
        return ExitCode::from(USAGE);
    };
    match find(&name) {
        Some(command) => (command.main)(args.split_off(1)),
        None => {
            let meant = nearest(&name).map_or_else(String::new, |meant| format!(" (`{meant}` was probably meant)"));
            eprintln!("meltemi: there is no command `{name}`{meant}; `meltemi help` lists them");
            ExitCode::from(USAGE)
        }
    }
}

fn find(name: &str) -> Option<&'static Command> {
    let all = [FOR_PEOPLE, COMPONENTS, HIDDEN].into_iter().flatten();
    all.into_iter().find(|command| command.names.contains(&name))
}

/// The command for people or component that a misspelt one was meant to be.
fn nearest(name: &str) -> Option<&'static str> {
    let known = FOR_PEOPLE.iter().chain(COMPONENTS).map(|command| command.names[0]);
    model::spelling::nearest(name, known)
}

/// The list of commands; `help COMMAND` is that command's `--help`.
#[allow(clippy::print_stdout)] // the output of a command
fn help(args: Vec<OsString>) -> ExitCode {
    if let Some(name) = args
        .get(1)
        .and_then(|name| name.to_str())
        .filter(|name| *name != "help")
        && let Some(command) = find(name)
    {
        return (command.main)(vec![name.into(), "--help".into()]);
    }
    let list = |commands: &[Command]| -> String {
        let line = |command: &Command| format!("  {:<18} {}\n", command.names[0], command.about);
        commands.iter().map(line).collect()
    };
    println!(
        "Meltemi, a service mesh: Kubernetes and Istio YAML on a laptop and in a cluster, one and the same.\n\n\
         Usage: meltemi COMMAND [ARGUMENT…]      meltemi COMMAND --help explains each\n\n\
         Commands:\n{}\n\
         Components (the executable may also be called by their names):\n{}\n\
         Begin with:  meltemi up samples/bookinfo",
        list(FOR_PEOPLE),
        list(COMPONENTS)
    );
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout)] // the output of a command
fn version(_: Vec<OsString>) -> ExitCode {
    println!("meltemi {}", runtime::version::VERSION);
    ExitCode::SUCCESS
}
