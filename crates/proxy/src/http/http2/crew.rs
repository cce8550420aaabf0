//! The tasks that work on the streams of one client's connection.
//!
//! The task of a request is as large as all that a request may hold, and a stream lives for a fraction of a millisecond. So a task that is
//! done waits for the next stream of its connection; those that wait in vain are dismissed when the connection is quiet.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Tasks that wait for a stream, at most.
const MOST: usize = 32;

/// Held by the connection: its tasks go when it goes.
pub(super) struct Crew<J>(Rc<Shed<J>>);

/// Where tasks wait.
struct Shed<J> {
    waiting: RefCell<Vec<Rc<Place<J>>>>,
    closed: Cell<bool>,
}

/// A task of the crew.
pub(super) struct Member<J> {
    shed: Rc<Shed<J>>,
    place: Rc<Place<J>>,
}

struct Place<J> {
    job: RefCell<Option<J>>,
    waker: RefCell<Option<Waker>>,
    dismissed: Cell<bool>,
}

impl<J> Place<J> {
    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<J> Crew<J> {
    pub(super) fn new() -> Self {
        Crew(Rc::new(Shed {
            waiting: RefCell::default(),
            closed: Cell::new(false),
        }))
    }

    /// Gives the job to a task that waits, or back, if none does.
    pub(super) fn give(&self, job: J) -> Option<J> {
        let Some(place) = self.0.waiting.borrow_mut().pop() else {
            return Some(job);
        };
        *place.job.borrow_mut() = Some(job);
        place.wake();
        None
    }

    pub(super) fn member(&self) -> Member<J> {
        Member {
            shed: self.0.clone(),
            place: Rc::new(Place {
                job: RefCell::new(None),
                waker: RefCell::new(None),
                dismissed: Cell::new(false),
            }),
        }
    }

    /// Whether anybody waits.
    pub(super) fn has_idlers(&self) -> bool {
        !self.0.waiting.borrow().is_empty()
    }

    /// Sends all home who wait.
    pub(super) fn dismiss(&self) {
        let places = std::mem::take(&mut *self.0.waiting.borrow_mut());
        for place in places {
            place.dismissed.set(true);
            place.wake();
        }
    }
}

impl<J> Drop for Crew<J> {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.dismiss();
    }
}

impl<J> Member<J> {
    /// Waits for the next job. `None`: there will be none for this task.
    pub(super) async fn next(&self) -> Option<J> {
        let Member { shed, place } = self;
        if shed.closed.get() || shed.waiting.borrow().len() >= MOST {
            return None;
        }
        shed.waiting.borrow_mut().push(place.clone());
        poll_fn(|cx| {
            let job = place.job.borrow_mut().take();
            if job.is_some() || place.dismissed.get() {
                return Poll::Ready(job);
            }
            *place.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_wait_for_jobs_until_they_are_dismissed() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (crew, done) = (Crew::new(), Rc::new(Cell::new(0)));
                let start = |job: u32| {
                    let (member, done) = (crew.member(), done.clone());
                    tokio::task::spawn_local(async move {
                        let mut next = Some(job);
                        while let Some(job) = next {
                            done.set(done.get() + job);
                            next = member.next().await;
                        }
                    })
                };
                let tasks = [start(1), start(10)];
                tokio::task::yield_now().await;
                assert!(crew.has_idlers() && done.get() == 11);
                assert_eq!(
                    (crew.give(100), crew.give(1000), crew.give(10_000)),
                    (None, None, Some(10_000))
                );
                tokio::task::yield_now().await;
                assert_eq!(done.get(), 1111);
                crew.dismiss();
                for task in tasks {
                    task.await.expect("no panic");
                }
                let last = start(10_000);
                tokio::task::yield_now().await;
                drop(crew);
                last.await.expect("no panic");
                assert_eq!(done.get(), 11_111);
            })
            .await;
    }
}
