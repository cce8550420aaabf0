//! Starting and ending processes.
//!
//! Every child runs through our `exec-child`, so that it dies with us, and leads a process group of its own: a terminal's
//! Ctrl-C reaches only us, and what a child has started can be ended with it. The rest of the crate knows the trait alone.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::environment::CLEARED;
use crate::watchdog::Watchdog;

/// What to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// On top of our own environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    /// Standard output and error are appended here.
    pub(crate) log: PathBuf,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

pub(crate) trait Processes {
    fn start(&self, launch: &Launch) -> io::Result<Running>;
    /// Asks the process to end.
    fn terminate(&self, pid: u32);
    /// Ends the process and all of its group.
    fn kill(&self, pid: u32);
}

/// Real processes.
pub(crate) struct Children {
    executable: PathBuf,
    watchdog: Watchdog,
    waiting: RefCell<JoinSet<()>>,
}

impl Exit {
    pub(crate) fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status
            .code()
            .map_or(Exit::Signal(status.signal().unwrap_or(0)), Exit::Code)
    }
}

impl Children {
    pub(crate) fn new(executable: PathBuf, watchdog: Watchdog) -> Self {
        Children {
            executable,
            watchdog,
            waiting: RefCell::default(),
        }
    }
}

impl Processes for Children {
    fn start(&self, launch: &Launch) -> io::Result<Running> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&launch.log)?;
        let mut command = tokio::process::Command::new(&self.executable);
        command
            .arg(runtime::child::EXEC_CHILD)
            .arg("--")
            .arg(&launch.program)
            .args(&launch.args);
        for name in CLEARED {
            command.env_remove(name);
        }
        command.envs(launch.env.iter().map(|(key, value)| (key, value)));
        command.current_dir(&launch.directory).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the process ended before it had a number"))?;
        self.watchdog.watch(pid);
        let (ended, exit) = oneshot::channel();
        let watchdog = self.watchdog.clone();
        let mut waiting = self.waiting.borrow_mut();
        while waiting.try_join_next().is_some() {}
        waiting.spawn_local(async move {
            let status = child.wait().await;
            // What it left behind must not hold its ports.
            let _ = killpg(as_pid(pid), Signal::SIGKILL);
            watchdog.forget(pid);
            let _ = ended.send(status.map_or(Exit::Code(-1), Exit::from));
        });
        Ok(Running { pid, exit })
    }

    fn terminate(&self, pid: u32) {
        let _ = kill(as_pid(pid), Signal::SIGTERM);
    }

    fn kill(&self, pid: u32) {
        let _ = killpg(as_pid(pid), Signal::SIGKILL);
    }
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}
