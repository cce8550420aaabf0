//! From the start to the end: what `/ready` and `server.state` say.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::mpsc::UnboundedSender;

use super::State;
use crate::shared::Shared;

/// Envoy's server states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Live = 0,
    Draining = 1,
    /// Workers do not run yet, or nothing has been heard of the control plane.
    PreInitializing = 2,
    /// The first configuration is on its way.
    Initializing = 3,
}

/// Shared by the control loop and the admin pages.
#[derive(Clone)]
pub struct Lifecycle {
    shared: Arc<Shared>,
    quit: UnboundedSender<()>,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    initialized: Cell<bool>,
    heard: Cell<bool>,
    /// `/healthcheck/fail`
    unhealthy: Cell<bool>,
}

// === impl Phase ===

impl Phase {
    pub fn text(self) -> &'static str {
        match self {
            Phase::Live => "LIVE",
            Phase::Draining => "DRAINING",
            Phase::PreInitializing => "PRE_INITIALIZING",
            Phase::Initializing => "INITIALIZING",
        }
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    pub fn new(shared: Arc<Shared>, quit: UnboundedSender<()>) -> Self {
        Lifecycle {
            shared,
            quit,
            inner: Rc::default(),
        }
    }

    /// Once initialized it stays so: later changes have an older configuration to fall back on.
    pub fn observe(&self, state: &State) {
        self.inner.heard.set(self.inner.heard.get() || state.has_heard());
        if !self.inner.initialized.get() && state.is_initialized() {
            self.inner.initialized.set(true);
            tracing::info!("all dependencies initialized, this proxy is live");
        }
        let phase = self.phase();
        self.shared.stats.server.state.set(phase as i64);
        self.shared.stats.server.live.set(i64::from(phase == Phase::Live));
    }

    pub fn phase(&self) -> Phase {
        if self.shared.is_draining() {
            return Phase::Draining;
        }
        let working = self.shared.stats.server.workers_started.get() > 0;
        match (
            working && self.inner.initialized.get(),
            working && self.inner.heard.get(),
        ) {
            (true, _) => Phase::Live,
            (false, true) => Phase::Initializing,
            (false, false) => Phase::PreInitializing,
        }
    }

    /// Lets health checks fail, or no longer, without touching connections that exist.
    pub fn set_healthy(&self, healthy: bool) {
        self.inner.unhealthy.set(!healthy);
        self.shared.draining.store(!healthy, Relaxed);
    }

    pub fn drain(&self) {
        self.shared.draining.store(true, Relaxed);
    }

    pub fn quit(&self) {
        let _ = self.quit.send(());
    }
}
