//! The last line of defence: a process that outlives `up` by a moment.
//!
//! The kernel ends our children when we die, but not what they have started, and not the keys and tokens on disk. The
//! watchdog holds the reading end of a pipe; when it closes without a farewell, `up` was killed: it ends every process
//! group that is still listed and removes the secrets.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::{cell::RefCell, io};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::state::Layout;

/// The hidden subcommand that runs [`main`].
pub const NAME: &str = "up-watchdog";

/// Our end of the pipe. Without a process behind it (in tests) nothing is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchdog(Option<Rc<RefCell<ChildStdin>>>);

impl Watchdog {
    pub(crate) fn start(executable: &Path, state: &Path) -> io::Result<Self> {
        let mut command = Command::new(executable);
        command.arg(NAME).arg(state).process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Watchdog(child.stdin.take().map(|stdin| Rc::new(RefCell::new(stdin)))))
    }

    pub(crate) fn watch(&self, group: u32) {
        self.tell(format_args!("+{group}\n"));
    }

    pub(crate) fn forget(&self, group: u32) {
        self.tell(format_args!("-{group}\n"));
    }

    /// Everything is in order: the watchdog may leave without doing anything.
    pub(crate) fn farewell(&self) {
        self.tell(format_args!("bye\n"));
    }

    fn tell(&self, line: std::fmt::Arguments<'_>) {
        if let Some(pipe) = &self.0 {
            // A watchdog that is gone protects no longer, but the mesh runs on.
            let _ = pipe.borrow_mut().write_all(line.to_string().as_bytes());
        }
    }
}

/// `up-watchdog STATE_DIR`: reads the list of process groups from standard input until its end.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let Some(state) = args.into_iter().nth(1).map(PathBuf::from) else {
        eprintln!("{NAME} is started by `meltemi up` only");
        return ExitCode::from(64);
    };
    ignore_signals();
    if let Some(groups) = listen(io::stdin().lock()) {
        for group in groups {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        Layout::new(state).remove_secrets();
    }
    ExitCode::SUCCESS
}

/// The groups still listed at the end; `None` after a farewell.
fn listen(input: impl BufRead) -> Option<BTreeSet<i32>> {
    let mut groups = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        let number = |text: &str| text.parse().ok().filter(|group| *group > 1);
        if line == "bye" {
            return None;
        } else if let Some(group) = line.strip_prefix('+').and_then(number) {
            groups.insert(group);
        } else if let Some(group) = line.strip_prefix('-').and_then(number) {
            groups.remove(&group);
        }
    }
    Some(groups)
}

/// It must be there when everybody else is told to go. It has one thread, so blocking the signals there is enough.
fn ignore_signals() {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let _ = signals.thread_block();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_at_the_end_is_left_to_the_watchdog() {
        let cases: [(&str, Option<&[i32]>); 4] = [
            ("+10\n+11\n-10\n", Some(&[11])),
            ("+10\nbye\n", None),
            ("+1\n+0\n+-5\n+x\nnoise\n", Some(&[])),
            ("", Some(&[])),
        ];
        for (text, expected) in cases {
            let found = listen(text.as_bytes()).map(|groups| groups.into_iter().collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
