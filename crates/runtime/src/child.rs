//! Children that die with their parent, by whatever death.
//!
//! The kernel's parent-death signal must be asked for by the child itself, and a program that is not ours cannot ask. So such
//! a program is started through [`exec_main`]: our executable asks, then becomes the program. The signal follows the
//! *thread* that forked: spawn from one that lives as long as the process (the main thread of a current-thread runtime),
//! never from a pool thread.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Command, ExitCode};

use nix::sys::{prctl, signal::Signal};

/// The hidden subcommand of both executables that runs [`exec_main`].
pub const EXEC_CHILD: &str = "exec-child";

/// From now on this process is killed when its parent ends; it exits at once if the parent is gone already.
pub fn exit_with_parent() {
    let parent = parent_id();
    let asked = prctl::set_pdeathsig(Signal::SIGKILL);
    if asked.is_err() || parent_id() != parent || parent == 1 {
        std::process::exit(1);
    }
}

/// A command that runs `program` so that it dies with us.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(EXEC_CHILD).arg("--").arg(program);
    Ok(command)
}

/// `exec-child -- PROGRAM ARG…`: becomes PROGRAM, tied to the life of the caller.
pub fn exec_main(args: Vec<OsString>) -> ExitCode {
    let mut words = args.into_iter().skip(1).skip_while(|word| word == "--");
    let Some(program) = words.next() else {
        eprintln!("{EXEC_CHILD}: no program given; usage: {EXEC_CHILD} -- PROGRAM [ARG…]");
        return ExitCode::from(64);
    };
    exit_with_parent();
    let error = Command::new(&program).args(words).exec();
    eprintln!("{}: cannot start: {error}", program.to_string_lossy());
    ExitCode::from(127)
}
