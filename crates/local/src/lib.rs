//! `meltemi up DIR`: a mesh on one machine. Kubelet, endpoint controller and supervisor in one process, and nothing else:
//! control plane, agents, proxies and applications are its children.
//!
//! What decides is pure: [`desired`] (manifests → what is wanted), [`controller`] (wanted, seen → actions), [`objects`]
//! (pods → what the control plane reads), [`environment`], [`addresses`], [`local_ports`]. What acts: [`mesh`], the loop;
//! [`pod`], one task per process pod; [`supervise`] and [`process`], children. Everything runs on the main thread, because
//! the kernel ties the life of a child to the *thread* that started it.

mod addresses;
mod command;
mod control;
mod control_plane;
mod controller;
mod desired;
mod environment;
mod envoy;
mod flags;
mod gateway;
mod local_ports;
mod lock;
mod logs;
mod manifest;
mod mesh;
mod objects;
mod pod;
mod ports;
mod preflight;
mod probe;
mod process;
mod restart;
mod restarts;
mod settings;
mod sockets;
mod source;
mod state;
mod supervise;
mod tokens;
mod unsupported;
mod up;
mod view;
pub mod watchdog;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Wrong command line.
const USAGE: u8 = 64;
/// Something outside is wrong: the directory, a port, the mesh.
const DATA: u8 = 65;

/// `meltemi up`.
pub fn up_main(args: Vec<OsString>) -> ExitCode {
    run::<flags::Up>(args, up::run)
}

/// `meltemi restart`.
pub fn restart_main(args: Vec<OsString>) -> ExitCode {
    run::<flags::Restart>(args, restart::run)
}

/// Reads the command line and runs the command; its error is one message for people.
fn run<F: Parser>(args: Vec<OsString>, command: impl FnOnce(F) -> Result<(), String>) -> ExitCode {
    let flags = match F::try_parse_from(args) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match command(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(DATA)
        }
    }
}
