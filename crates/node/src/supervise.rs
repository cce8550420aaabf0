//! The proxy's life: started, started again after a crash, stopped in order.
//!
//! The proxy is started through `exec-child`, so that the kernel kills it when the agent dies by whatever death. That signal follows the
//! thread that forked: [`Supervisor::run`] must be driven by the main thread of a current-thread runtime.

mod command;
mod restarts;

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub use command::{Arguments, DataPlane, Program};
pub use restarts::Restarts;

/// After SIGTERM the proxy has had its drain: what is left is a matter of moments.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Whether there is a proxy to talk to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyState {
    /// Counts starts; 0 before the first.
    pub epoch: u64,
    pub pid: Option<u32>,
}

/// How supervision ended.
#[derive(Debug)]
pub enum Outcome {
    /// We stopped it.
    Stopped(Exit),
    /// It ended by itself, in order: somebody asked its admin.
    Finished,
    /// It crashed more often than the budget allows.
    GaveUp(Exit),
    /// There is nothing to start.
    CannotStart { program: String, error: io::Error },
}

/// How a proxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

#[derive(Debug)]
pub struct Supervisor {
    program: Program,
    restarts: Restarts,
    state: watch::Sender<ProxyState>,
}

impl Supervisor {
    pub fn new(program: Program, restarts: Restarts) -> (Self, watch::Receiver<ProxyState>) {
        let (state, watching) = watch::channel(ProxyState::default());
        (
            Supervisor {
                program,
                restarts,
                state,
            },
            watching,
        )
    }

    /// Runs the proxy until `stop` turns true, the proxy ends in order, or the budget is spent.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Outcome {
        loop {
            let started = Instant::now();
            let mut child = match self.start() {
                Ok(child) => child,
                Err(error) => {
                    return Outcome::CannotStart {
                        program: self.program.to_string(),
                        error,
                    };
                }
            };
            let exit = tokio::select! {
                ended = child.wait() => Exit::of(ended),
                () = stopped(&mut stop) => return Outcome::Stopped(self.terminate(child).await),
            };
            self.state.send_modify(|state| state.pid = None);
            if exit == Exit::Code(0) {
                return Outcome::Finished;
            }
            let Some(wait) = self.restarts.after(started.elapsed()) else {
                return Outcome::GaveUp(exit);
            };
            tracing::error!(%exit, ran = ?started.elapsed(), restart_in = ?wait, "the proxy ended");
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut stop) => return Outcome::Stopped(exit),
            }
        }
    }

    fn start(&mut self) -> io::Result<Child> {
        let child = self.program.command()?.kill_on_drop(true).spawn()?;
        self.state.send_modify(|state| {
            *state = ProxyState {
                epoch: state.epoch + 1,
                pid: child.id(),
            }
        });
        tracing::info!(pid = child.id(), epoch = self.state.borrow().epoch, command = %self.program, "proxy started");
        Ok(child)
    }

    async fn terminate(&self, mut child: Child) -> Exit {
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // fails when it ended just now, and `wait` tells
        }
        let ended = match timeout(STOP_PATIENCE, child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("the proxy ignores SIGTERM and is killed");
                let _ = child.start_kill();
                child.wait().await
            }
        };
        self.state.send_modify(|state| state.pid = None);
        Exit::of(ended)
    }
}

/// Completes when the stop is asked for, or nobody is left who could ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

// === impl Exit ===

impl Exit {
    fn of(ended: io::Result<ExitStatus>) -> Self {
        match ended {
            Ok(status) => status
                .code()
                .map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Code),
            Err(_) => Exit::Code(-1), // only possible when somebody else waited for it
        }
    }

    /// The exit code that says the same to our own parent, as shells do.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1),
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(
        script: &str,
        restarts: Restarts,
    ) -> (
        Supervisor,
        watch::Receiver<ProxyState>,
        watch::Sender<bool>,
        watch::Receiver<bool>,
    ) {
        let (supervisor, state) = Supervisor::new(Program::plain("/bin/sh", ["-c", script]), restarts);
        let (stop, stopping) = watch::channel(false);
        (supervisor, state, stop, stopping)
    }

    fn quick() -> Restarts {
        Restarts::new(Duration::from_millis(1), 3, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_crashing_proxy_is_restarted_until_the_budget_is_spent() {
        let (supervisor, state, _stop, stopping) = shell("exit 7", quick());
        let outcome = supervisor.run(stopping).await;
        assert!(matches!(outcome, Outcome::GaveUp(Exit::Code(7))), "{outcome:?}");
        assert_eq!(state.borrow().epoch, 4, "one start and three restarts");
    }

    #[tokio::test]
    async fn a_proxy_that_finishes_ends_supervision() {
        let (supervisor, _, _stop, stopping) = shell("exit 0", quick());
        assert!(matches!(supervisor.run(stopping).await, Outcome::Finished));
    }

    #[tokio::test]
    async fn a_killed_proxy_comes_back_at_once() {
        let (supervisor, mut state, stop, stopping) = shell("sleep 60", quick());
        let run = tokio::spawn(supervisor.run(stopping));
        let first = *state.wait_for(|state| state.pid.is_some()).await.unwrap();
        kill(Pid::from_raw(first.pid.unwrap() as i32), Signal::SIGKILL).unwrap();
        let second = *state
            .wait_for(|state| state.pid.is_some() && state.epoch == 2)
            .await
            .unwrap();
        assert_ne!(first.pid, second.pid);
        stop.send_replace(true);
        assert!(matches!(run.await.unwrap(), Outcome::Stopped(Exit::Signal(15))));
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let (supervisor, _) = Supervisor::new(Program::plain("/no/such/proxy", ["-c", "x"]), quick());
        let (_stop, stopping) = watch::channel(false);
        let Outcome::CannotStart { program, .. } = supervisor.run(stopping).await else {
            panic!("it started")
        };
        assert!(program.contains("/no/such/proxy"), "{program}");
    }

    #[test]
    fn ends_are_told_as_shells_do() {
        let cases = [
            (Exit::Code(7), "exit code 7", 7),
            (Exit::Code(0), "exit code 0", 1),
            (Exit::Signal(9), "signal 9 (SIGKILL)", 137),
        ];
        for (exit, text, code) in cases {
            assert_eq!((exit.to_string().as_str(), exit.code()), (text, code));
        }
    }
}
