//! One process, kept running until told to stop: the part of kubelet that agents, applications and the control plane share.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::process::{Exit, Launch, Processes, Running};
use crate::restarts::{RestartPolicy, Restarts};

/// How often something that cannot be started is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What the supervisor is told. Only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    Run,
    /// Ask the process to end and wait for it.
    Terminate,
    /// End it.
    Kill,
}

/// What the supervisor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Cannot be started, and why.
    Waiting(String),
    Running {
        pid: u32,
    },
    /// A probe has failed too often; the process is being replaced.
    Unhealthy(String),
    /// It ended. `restart` says when it is started again, if it is.
    Ended {
        exit: Exit,
        restart: Option<Duration>,
    },
}

/// Runs a process again and again. `prepare` makes each start's command line, `health` runs beside the process and completes
/// with the reason if it must be replaced.
pub(crate) async fn supervise<Health>(
    processes: &dyn Processes,
    policy: RestartPolicy,
    grace: Duration,
    mut prepare: impl FnMut() -> Result<Launch, String>,
    health: impl Fn(u32) -> Health,
    report: impl Fn(State),
    mut stop: watch::Receiver<Stop>,
) -> Option<Exit>
where
    Health: Future<Output = String>,
{
    let mut restarts = Restarts::default();
    loop {
        let started = prepare().and_then(|launch| {
            let program = launch.program.display().to_string();
            processes
                .start(&launch)
                .map_err(|error| format!("cannot start {program}: {error}"))
        });
        let mut running = match started {
            Ok(running) => running,
            Err(why) => {
                report(State::Waiting(why));
                if pause(RETRY, &mut stop).await {
                    continue;
                }
                return None;
            }
        };
        report(State::Running { pid: running.pid });
        let began = Instant::now();
        let exit = tokio::select! {
            exit = &mut running.exit => exit.unwrap_or(Exit::Code(-1)),
            why = health(running.pid) => {
                report(State::Unhealthy(why));
                replace(processes, &mut running, grace).await
            }
            () = stopped(&mut stop) => return Some(end(processes, running, &mut stop).await),
        };
        let again = policy.restarts(exit.success());
        let delay = restarts.after(began.elapsed());
        report(State::Ended {
            exit,
            restart: again.then_some(delay),
        });
        if !again {
            return Some(exit);
        }
        if !pause(delay, &mut stop).await {
            return Some(exit);
        }
    }
}

/// Completes when the stop begins.
pub(crate) async fn stopped(stop: &mut watch::Receiver<Stop>) {
    // A sender that is gone can tell nothing any more: that is a stop as well.
    let _ = stop.wait_for(|stop| *stop > Stop::Run).await;
}

/// Waits; false when the stop came first.
async fn pause(delay: Duration, stop: &mut watch::Receiver<Stop>) -> bool {
    tokio::select! {
        biased;
        () = stopped(stop) => false,
        () = sleep(delay) => true,
    }
}

/// Asks for the end, and insists after the grace period.
async fn replace(processes: &dyn Processes, running: &mut Running, grace: Duration) -> Exit {
    processes.terminate(running.pid);
    tokio::select! {
        exit = &mut running.exit => return exit.unwrap_or(Exit::Code(-1)),
        () = sleep(grace) => processes.kill(running.pid),
    }
    (&mut running.exit).await.unwrap_or(Exit::Code(-1))
}

/// Ends the process as politely as the stop allows.
async fn end(processes: &dyn Processes, mut running: Running, stop: &mut watch::Receiver<Stop>) -> Exit {
    processes.terminate(running.pid);
    tokio::select! {
        exit = &mut running.exit => return exit.unwrap_or(Exit::Code(-1)),
        _ = stop.wait_for(|stop| *stop == Stop::Kill) => processes.kill(running.pid),
    }
    running.exit.await.unwrap_or(Exit::Code(-1))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;
    use tokio::sync::oneshot;

    /// Processes that do what the test says; every request is written down.
    #[derive(Clone, Default)]
    pub(crate) struct Scripted {
        pub(crate) log: Rc<RefCell<Vec<String>>>,
        exits: Rc<RefCell<Vec<oneshot::Sender<Exit>>>>,
    }

    impl Scripted {
        pub(crate) fn exit(&self, exit: Exit) {
            let _ = self.exits.borrow_mut().pop().unwrap().send(exit);
        }
    }

    impl Processes for Scripted {
        fn start(&self, launch: &Launch) -> io::Result<Running> {
            let (sender, exit) = oneshot::channel();
            self.exits.borrow_mut().push(sender);
            self.log
                .borrow_mut()
                .push(format!("start {}", launch.program.display()));
            Ok(Running {
                pid: self.exits.borrow().len() as u32,
                exit,
            })
        }

        fn terminate(&self, _: u32) {
            self.log.borrow_mut().push("terminate".into());
        }

        fn kill(&self, _: u32) {
            self.log.borrow_mut().push("kill".into());
            self.exit(Exit::Signal(9));
        }
    }

    fn launch() -> Result<Launch, String> {
        Ok(Launch {
            program: "app".into(),
            ..Launch::default()
        })
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_ends_comes_back_and_a_stop_ends_it() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let processes = Scripted::default();
                let states = Rc::new(RefCell::new(Vec::new()));
                let (stop, stopping) = watch::channel(Stop::Run);
                let task = tokio::task::spawn_local({
                    let (processes, states) = (processes.clone(), states.clone());
                    async move {
                        let report = |state| states.borrow_mut().push(state);
                        let health = |_| std::future::pending();
                        let grace = Duration::from_secs(1);
                        supervise(
                            &processes,
                            RestartPolicy::Always,
                            grace,
                            launch,
                            health,
                            report,
                            stopping,
                        )
                        .await
                    }
                });
                settle().await;
                processes.exit(Exit::Code(3));
                settle().await;
                sleep(Duration::from_millis(1)).await;
                assert_eq!(
                    states.borrow()[1..],
                    [
                        State::Ended {
                            exit: Exit::Code(3),
                            restart: Some(Duration::ZERO)
                        },
                        State::Running { pid: 1 },
                    ]
                );
                stop.send(Stop::Terminate).unwrap();
                settle().await;
                stop.send(Stop::Kill).unwrap();
                assert_eq!(task.await.unwrap(), Some(Exit::Signal(9)));
                assert_eq!(*processes.log.borrow(), ["start app", "start app", "terminate", "kill"]);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unhealthy_process_is_replaced_within_its_grace_period() {
        let processes = Scripted::default();
        let (_stop, stopping) = watch::channel(Stop::Run);
        let health = |_| async {
            sleep(Duration::from_secs(5)).await;
            "no answer".to_owned()
        };
        let run = supervise(
            &processes,
            RestartPolicy::Always,
            Duration::from_secs(2),
            launch,
            health,
            |_| {},
            stopping,
        );
        let _ = tokio::time::timeout(Duration::from_secs(8), run).await;
        assert_eq!(*processes.log.borrow(), ["start app", "terminate", "kill", "start app"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_start_is_tried_again_until_the_stop() {
        let processes = Scripted::default();
        let (stop, stopping) = watch::channel(Stop::Run);
        let tries = RefCell::new(0);
        let prepare = || {
            *tries.borrow_mut() += 1;
            Err("no program".to_owned())
        };
        let health = |_| std::future::pending();
        let run = supervise(
            &processes,
            RestartPolicy::Always,
            Duration::ZERO,
            prepare,
            health,
            |_| {},
            stopping,
        );
        let stopper = async {
            sleep(RETRY * 3).await;
            stop.send(Stop::Terminate).unwrap();
        };
        let (exit, ()) = tokio::join!(run, stopper);
        assert_eq!(exit, None);
        assert!(*tries.borrow() >= 3);
    }
}
