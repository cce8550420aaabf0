//! Workers: the threads that serve traffic.
//!
//! Each is one single-threaded event loop that owns its connections, upstream pools and derived tables. Nothing on it is shared with another
//! worker but what [`Shared`] names, so nothing on it is locked, and no task ever moves to another thread. Configuration arrives
//! as commands; what changes under traffic (clusters, routes, endpoints, secrets) does not even need those, it is read from slots.
//!
//! A panic ends the connection it happened in, is logged with the connection's addresses, and nothing else.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::listener::{Compiled, Held, Serving};
use crate::shared::Shared;
use crate::{clock, http, tcp, telemetry, upstream};

mod limits;
pub(crate) mod quiet;

pub use limits::raise_file_limit;

/// Shorter than the usual time limits, and long enough for an idle process to sleep.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// What one worker owns; held as `Rc` by every task on it.
pub struct Worker {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub balancers: upstream::Balancers,
    pub http: http::WorkerState,
    pub telemetry: telemetry::WorkerState,
    pub(crate) listeners: Serving,
    pub(crate) buffers: tcp::Buffers,
    connections: Cell<usize>,
    max_connections: usize,
}

/// One downstream connection in its worker's count.
pub(crate) struct Admission(Rc<Worker>);

/// What the control thread tells a worker.
pub enum Command {
    /// A listener to serve; without a socket it is only handed connections by others. One of the same name is replaced and drained.
    AddListener {
        listener: Arc<Compiled>,
        socket: Option<Arc<Held>>,
        drain: Duration,
    },
    /// New content for a listener whose socket stays. Connections of chains that are gone or changed have `drain` to end.
    UpdateListener {
        listener: Arc<Compiled>,
        drain: Duration,
    },
    RemoveListener {
        name: Arc<str>,
        drain: Duration,
    },
    /// See [`WorkerHandle::drain_all`].
    DrainAll {
        graceful: bool,
        timeout: Duration,
        done: oneshot::Sender<()>,
    },
    /// A cluster was removed or rebuilt: what was derived from it can go.
    ClusterChanged {
        index: usize,
    },
    /// Ends the thread. Connections still open are dropped.
    Stop,
}

/// The control thread's end of a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    pub id: usize,
    commands: mpsc::UnboundedSender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Starts worker `id` of `count` as thread `wrk:<id>`.
///
/// A panic outside of any connection leaves the worker in a state nobody knows: the process ends, and whoever supervises it starts
/// a sound one. A proxy that serves with half of its workers would be worse than none.
pub fn spawn(id: usize, count: usize, shared: Arc<Shared>) -> io::Result<WorkerHandle> {
    let (commands, received) = mpsc::unbounded_channel();
    let max_connections = limits::connections_per_worker(count);
    let main = move || {
        let run = || run(id, shared, max_connections, received);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            tracing::error!(worker = id, "worker ended by a bug, and the proxy with it");
            std::process::abort();
        }
    };
    let thread = std::thread::Builder::new().name(format!("wrk:{id}")).spawn(main)?;
    Ok(WorkerHandle {
        id,
        commands,
        thread: Arc::new(Mutex::new(Some(thread))),
    })
}

fn run(id: usize, shared: Arc<Shared>, max_connections: usize, commands: mpsc::UnboundedReceiver<Command>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Not a `LocalSet`, which wakes itself through the poller: a system call and a turn of the loop for each batch of ready sockets.
    // Without timers of its own: `clock` has them.
    let runtime = match builder.enable_io().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(worker = id, %error, "worker cannot start its event loop"),
    };
    let worker = Rc::new(Worker::new(id, shared, max_connections));
    worker.shared.stats.server.workers_started.inc();
    runtime.block_on(async {
        match clock::start() {
            Ok(()) => worker.clone().serve(commands).await,
            Err(error) => tracing::error!(worker = id, %error, "worker cannot have timers"),
        }
    });
    worker.shared.stats.server.workers_started.dec();
    // Connections end here, and write their last records; a name that is still being looked up is not waited for.
    runtime.shutdown_background();
    worker.telemetry.logs.flush_all();
}

/// A timer that is always there. To arm one that is earlier than all others is a system call; to arm one behind this costs none, and most
/// are: of connect attempts, idle connections, requests.
async fn heartbeat() {
    loop {
        clock::sleep(HEARTBEAT).await;
    }
}

// === impl Worker ===

impl Worker {
    pub(crate) fn new(id: usize, shared: Arc<Shared>, max_connections: usize) -> Self {
        Worker {
            id,
            shared,
            balancers: Default::default(),
            http: Default::default(),
            telemetry: Default::default(),
            listeners: Default::default(),
            buffers: Default::default(),
            connections: Cell::new(0),
            max_connections,
        }
    }

    /// A worker that runs as a task of the calling thread, for the benches.
    #[cfg(feature = "bench")]
    pub(crate) fn here(shared: Arc<Shared>) -> (WorkerHandle, Rc<Self>) {
        let (commands, received) = mpsc::unbounded_channel();
        let worker = Rc::new(Worker::new(0, shared, limits::connections_per_worker(1)));
        clock::start().expect("a descriptor for timers");
        tokio::task::spawn_local(worker.clone().serve(received));
        let handle = WorkerHandle {
            id: 0,
            commands,
            thread: Arc::default(),
        };
        (handle, worker)
    }

    async fn serve(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        spawn_local(heartbeat());
        while let Some(command) = commands.recv().await {
            match command {
                Command::AddListener {
                    listener,
                    socket,
                    drain,
                } => self.listeners.add(&self, listener, socket, drain),
                Command::UpdateListener { listener, drain } => self.listeners.update(listener, drain),
                Command::RemoveListener { name, drain } => self.listeners.remove(&name, drain),
                Command::DrainAll {
                    graceful,
                    timeout,
                    done,
                } => self.listeners.drain_all(graceful, timeout, done),
                Command::ClusterChanged { index } => {
                    self.balancers.forget(index);
                    self.http.sweep_cluster(index);
                }
                Command::Stop => break,
            }
        }
    }

    /// Counts a new connection in, or refuses it because there are too many.
    pub(crate) fn admit(self: &Rc<Self>) -> Option<Admission> {
        let connections = self.connections.get();
        if connections >= self.max_connections {
            return None;
        }
        self.connections.set(connections + 1);
        self.shared.stats.server.total_connections.inc();
        Some(Admission(self.clone()))
    }

    /// Downstream connections open now.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.shared.stats.server.total_connections.dec();
    }
}

// === impl WorkerHandle ===

impl WorkerHandle {
    /// A worker that has ended takes no commands; there is nothing left for them to change.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Drains every listener. Gracefully: open connections are told to end, new ones are accepted for the whole of `timeout`
    /// (clients learn of our end only by and by), then everything is closed. Else: nothing new is accepted from now on, and
    /// the drain ends with the last connection, at the latest after `timeout`.
    pub fn drain_all(&self, graceful: bool, timeout: Duration) -> impl Future<Output = ()> + use<> {
        let (done, ended) = oneshot::channel();
        self.send(Command::DrainAll {
            graceful,
            timeout,
            done,
        });
        async move {
            let _ = ended.await;
        }
    }

    /// Stops the worker and waits for its thread.
    pub fn stop(&self) {
        self.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
