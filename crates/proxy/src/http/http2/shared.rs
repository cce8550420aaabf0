//! What the task of a connection and those of its streams share.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use codec::http2::{Connection, StreamKey};

use crate::upstream::tls_reason;

/// One connection.
pub(super) struct Shared {
    pub(super) codec: RefCell<Connection>,
    /// The task that moves its bytes, unless it has been woken.
    driver: RefCell<Option<Waker>>,
    /// By the stream's place.
    slots: RefCell<Vec<Slot>>,
    /// The earliest time at which a stream wants to be woken, or an earlier one.
    alarm: Cell<Option<Instant>>,
    /// When streams were last woken by the clock.
    rang: Cell<Option<Instant>>,
    /// What TLS has to say about the connection's end.
    cause: RefCell<Option<Rc<str>>>,
}

/// Who works on a stream.
#[derive(Default)]
struct Slot {
    waker: Option<Waker>,
    deadline: Option<Instant>,
}

impl Shared {
    pub(super) fn new(codec: Connection) -> Rc<Self> {
        Rc::new(Shared {
            codec: RefCell::new(codec),
            driver: RefCell::default(),
            slots: RefCell::default(),
            alarm: Cell::new(None),
            rang: Cell::new(None),
            cause: RefCell::default(),
        })
    }

    /// A server that does not believe our certificate says so only when we read.
    pub(super) fn note_cause(&self, error: &io::Error) {
        let reason = tls_reason(error).map(|reason| format!("TLS_error: {reason}").into());
        *self.cause.borrow_mut() = reason;
    }

    pub(super) fn cause(&self) -> Option<Rc<str>> {
        self.cause.borrow().clone()
    }

    /// The connection's task waits here.
    pub(super) fn register_driver(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake_driver(&self) {
        // Once is enough until it runs again.
        let waker = self.driver.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// To be called when a stream may have put something into the output.
    pub(super) fn touch(&self) {
        if !self.codec.borrow().output().is_empty() {
            self.wake_driver();
        }
    }

    /// Who polls is woken by what happens to that stream.
    pub(super) fn register(&self, key: StreamKey, cx: &Context<'_>) {
        self.with_slot(key, |slot| {
            if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                slot.waker = Some(cx.waker().clone());
            }
        });
    }

    pub(super) fn wake(&self, key: StreamKey) {
        let waker = match self.slots.borrow_mut().get_mut(key.slot()) {
            Some(slot) => slot.waker.take(),
            None => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nobody works on that stream any more.
    pub(super) fn clear(&self, key: StreamKey) {
        let slot = self.slots.borrow_mut().get_mut(key.slot()).map(std::mem::take);
        drop(slot);
        if self.codec.borrow().open_streams() == 0 {
            let mut slots = self.slots.borrow_mut();
            if slots.iter().all(|slot| slot.waker.is_none() && slot.deadline.is_none()) {
                *slots = Vec::new();
            }
        }
    }

    fn with_slot(&self, key: StreamKey, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= key.slot() {
            slots.resize_with(key.slot() + 1, Slot::default);
        }
        if let Some(slot) = slots.get_mut(key.slot()) {
            change(slot);
        }
    }

    /// When the clock is to be looked at ([`Shared::ring`]).
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.alarm.get()
    }

    /// Wakes the streams whose time has come.
    pub(super) fn ring(&self, now: Instant) {
        self.rang.set(Some(now));
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for slot in self.slots.borrow_mut().iter_mut() {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    slot.deadline = None;
                    due.extend(slot.waker.take());
                }
                Some(deadline) => next = Some(next.map_or(deadline, |next| next.min(deadline))),
                None => {}
            }
        }
        self.alarm.set(next);
        due.into_iter().for_each(Waker::wake);
    }
}

/// The clock of one stream: its connection's timer, which is set to the earliest of all streams' deadlines and moved only for an earlier one.
pub(in crate::http) struct StreamTimer {
    shared: Rc<Shared>,
    key: StreamKey,
}

impl StreamTimer {
    pub(super) fn new(shared: Rc<Shared>, key: StreamKey) -> Self {
        StreamTimer { shared, key }
    }

    /// Completes when `deadline` has passed.
    pub(in crate::http) fn poll(&mut self, cx: &Context<'_>, deadline: Instant) -> Poll<Instant> {
        if let Some(rang) = self.shared.rang.get().filter(|rang| *rang >= deadline) {
            return Poll::Ready(rang);
        }
        self.shared.with_slot(self.key, |slot| {
            slot.deadline = Some(deadline);
            if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                slot.waker = Some(cx.waker().clone());
            }
        });
        if self.shared.alarm.get().is_none_or(|alarm| deadline < alarm) {
            self.shared.alarm.set(Some(deadline));
            self.shared.wake_driver();
        }
        Poll::Pending
    }
}
