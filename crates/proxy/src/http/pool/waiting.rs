//! The queue of requests that wait for a connection: first come, first served.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::AcquireError;
use super::host::{Free, Host};
use super::lease::Lease;
use crate::upstream::ConnectError;

#[derive(Default)]
pub(super) struct Queue(RefCell<VecDeque<Rc<Place>>>);

#[derive(Default)]
struct Place {
    outcome: RefCell<Option<Result<Free, ConnectError>>>,
    waker: RefCell<Option<Waker>>,
}

/// A request's place in the queue. Dropped, it gives up the place, and a connection that came meanwhile goes to the next.
pub(in crate::http) struct Waiting {
    host: Rc<Host>,
    place: Rc<Place>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn join(&self, host: &Rc<Host>) -> Waiting {
        let place = Rc::new(Place::default());
        self.0.borrow_mut().push_back(place.clone());
        host.stats.upstream_rq_pending_active.inc();
        Waiting {
            host: host.clone(),
            place,
        }
    }

    /// Serves the first. Gives `free` back if nobody waits.
    pub(super) fn serve(&self, free: Free) -> Option<Free> {
        let Some(place) = self.0.borrow_mut().pop_front() else {
            return Some(free);
        };
        place.settle(Ok(free));
        None
    }

    /// An endpoint that cannot be reached: nobody shall wait for what will not come.
    pub(super) fn fail(&self, error: &ConnectError) {
        let all = std::mem::take(&mut *self.0.borrow_mut());
        for place in all {
            place.settle(Err(error.clone()));
        }
    }
}

impl Place {
    fn settle(&self, outcome: Result<Free, ConnectError>) {
        *self.outcome.borrow_mut() = Some(outcome);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Waiting {
    type Output = Result<Lease, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.place.outcome.borrow_mut().take();
        match outcome {
            Some(Ok(free)) => Poll::Ready(Ok(self.host.lease(free))),
            Some(Err(error)) => Poll::Ready(Err(AcquireError::Connect(error))),
            None => {
                *self.place.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.host.stats.upstream_rq_pending_active.dec();
        self.host
            .queue
            .0
            .borrow_mut()
            .retain(|place| !Rc::ptr_eq(place, &self.place));
        let unclaimed = self.place.outcome.borrow_mut().take();
        if let Some(Ok(free)) = unclaimed {
            self.host.offer(free, Instant::now());
        }
    }
}
