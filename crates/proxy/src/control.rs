//! The control thread: everything that is not traffic.
//!
//! One event loop, one owner of the configuration. [`State`] is synchronous: an xDS response, a secret, a timer goes in, slots are swapped
//! and listeners are applied; nothing in it waits. What waits is here: the aggregated stream, one stream per secret, the admin pages, signals.
//!
//! *Make before break.* A new cluster is put into its slot when its endpoints are there, a route table when the clusters it speaks of are,
//! a listener when its route tables are; each waits at most [`WARMING`]. What was in force stays in force meanwhile, and when the control
//! plane is lost nothing changes at all.

mod ads;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod clusters;
mod dial;
mod file_secrets;
mod lifecycle;
mod listeners;
mod records;
mod routes;
mod secrets;
mod state;

#[cfg(test)]
pub(crate) mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;
use xds::client::grpc::{Event, Session};

use crate::admin::{self, LogLevels};
use crate::bootstrap::Bootstrap;
use crate::shared::Shared;
use crate::worker::WorkerHandle;

pub use lifecycle::{Lifecycle, Phase};
pub use records::{Accepted, Kind, Records, Refused};
pub use state::State;

/// How long a resource waits for what it refers to, before it is put into force without.
pub const WARMING: Duration = Duration::from_secs(15);
/// How often waiting resources are looked at again, besides after every event.
const TICK: Duration = Duration::from_millis(50);

/// What the command line adds to the bootstrap.
pub struct Options {
    /// What connections get to end in a drain.
    pub drain_time: Duration,
    pub concurrency: usize,
    pub config_path: String,
    /// Reads and sets the log level while the process runs.
    pub log: LogLevels,
}

/// Why the proxy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// SIGTERM or SIGINT.
    Signal(&'static str),
    /// `/quitquitquit`
    Asked,
}

/// Runs until the proxy is to end. Workers are not stopped here.
///
/// # Errors
/// If static resources of the bootstrap cannot be used, or the admin port cannot be had.
pub async fn run(
    shared: Arc<Shared>,
    bootstrap: Bootstrap,
    workers: Vec<WorkerHandle>,
    options: Options,
) -> anyhow::Result<Exit> {
    LocalSet::new()
        .run_until(serve(shared, bootstrap, workers, options))
        .await
}

async fn serve(
    shared: Arc<Shared>,
    bootstrap: Bootstrap,
    workers: Vec<WorkerHandle>,
    options: Options,
) -> anyhow::Result<Exit> {
    for warning in &bootstrap.warnings {
        tracing::warn!(file = options.config_path, "bootstrap: {warning}");
    }
    let (asked, mut quit) = tokio::sync::mpsc::unbounded_channel();
    let lifecycle = Lifecycle::new(shared.clone(), asked);
    let mut state = State::new(shared.clone(), &bootstrap, workers, options.drain_time);
    state.load_static(&bootstrap)?;
    let mut ads = bootstrap
        .ads
        .as_ref()
        .map(|source| ads::session(source, &mut state, &shared.node))
        .transpose()?;
    if ads.is_none() {
        state.expect_nothing();
    }
    let state = Rc::new(RefCell::new(state));
    if let Some(address) = bootstrap.admin {
        admin::serve(
            address,
            admin::Pages {
                state: state.clone(),
                lifecycle: lifecycle.clone(),
                bootstrap,
                options,
            },
        )?;
    }
    let mut secrets = secrets::Secrets::new();
    let mut signals = runtime::signal::Termination::new()?;
    let mut tick = tokio::time::interval(TICK);
    // It is asked only while something waits: what was missed in between is nothing to catch up with.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut files = tokio::time::interval(file_secrets::LOOK);
    files.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut starting = true;
    loop {
        follow_references(&mut state.borrow_mut(), &mut secrets, ads.as_mut());
        lifecycle.observe(&state.borrow());
        if starting && lifecycle.phase() == Phase::Live {
            starting = false;
            tokio::task::spawn_local(runtime::resident::release_code_at_rest());
        }
        // While the proxy starts, also for workers: nothing tells that they have begun.
        let waits = starting || state.borrow().is_restless();
        let has_files = state.borrow().has_files();
        tokio::select! {
            event = next(ads.as_mut()) => if let Some(session) = ads.as_mut() {
                ads::handle(event, session, &mut state.borrow_mut());
            },
            Some(arrival) = secrets.next() => state.borrow_mut().hear_secret(arrival),
            _ = tick.tick(), if waits => {}
            _ = files.tick(), if has_files => state.borrow_mut().reread_files(),
            signal = signals.next() => return Ok(Exit::Signal(signal)),
            Some(()) = quit.recv() => return Ok(Exit::Asked),
        }
        state.borrow_mut().settle();
    }
}

/// What has come into force decides what has to be asked for.
fn follow_references(state: &mut State, secrets: &mut secrets::Secrets, ads: Option<&mut Session>) {
    secrets.follow(state);
    if let Some(session) = ads {
        ads::subscribe(session.client(), state);
    }
}

async fn next(session: Option<&mut Session>) -> Event {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}
