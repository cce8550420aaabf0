//! What all requests of one client's connection share, and when that connection is to end.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use runtime::drain::Watch;

use crate::config::{HttpConnectionManager, RouteTable};
use crate::connection::ConnectionInfo;
use crate::head::OwnedValue;
use crate::worker::Worker;

pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) manager: Arc<HttpConnectionManager>,
    pub(super) info: Rc<ConnectionInfo>,
    pub(super) drain: Watch,
    began: Instant,
    /// Requests under way: more than one on HTTP/2 only.
    running: Cell<usize>,
    idle_since: Cell<Instant>,
    closing: Cell<bool>,
    client_address: OnceCell<Box<str>>,
    /// Our entry of `x-forwarded-client-cert`.
    pub(super) client_cert: OnceCell<OwnedValue>,
}

impl Connection {
    pub(super) fn new(
        worker: Rc<Worker>,
        manager: Arc<HttpConnectionManager>,
        info: Rc<ConnectionInfo>,
        drain: Watch,
        now: Instant,
    ) -> Rc<Self> {
        Rc::new(Connection {
            worker,
            manager,
            info,
            drain,
            began: now,
            running: Cell::new(0),
            idle_since: Cell::new(now),
            closing: Cell::new(false),
            client_address: OnceCell::new(),
            client_cert: OnceCell::new(),
        })
    }

    /// The client's address, as forwarding headers say it.
    pub(super) fn client_address(&self) -> &str {
        self.client_address
            .get_or_init(|| self.info.remote.ip().to_string().into_boxed_str())
    }

    /// The route table in force now.
    pub(super) fn routes(&self) -> Option<Arc<RouteTable>> {
        self.manager.routes.load()
    }

    /// When it has lived long enough.
    pub(super) fn end_of_life(&self) -> Option<Instant> {
        self.manager.max_connection_duration.map(|limit| self.began + limit)
    }

    /// Each answer from now on is the last one.
    pub(super) fn is_ending(&self, now: Instant) -> bool {
        self.is_asked_to_end() || self.worker.shared.is_draining() || self.end_of_life().is_some_and(|end| end <= now)
    }

    /// Whether it is to end, for another reason than its age.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.closing.get() || self.drain.is_signaled()
    }

    /// Ends the connection after the requests under way.
    pub(super) fn ask_to_close(&self) {
        self.closing.set(true);
    }

    pub(super) fn request_began(&self) {
        self.running.set(self.running.get() + 1);
    }

    pub(super) fn request_ended(&self, now: Instant) {
        self.running.set(self.running.get().saturating_sub(1));
        self.idle_since.set(now);
    }

    /// Since when no request is under way; `None`: one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.running.get() == 0).then(|| self.idle_since.get())
    }
}
