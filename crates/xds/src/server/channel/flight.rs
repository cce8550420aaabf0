//! Responses that the proxy has not answered yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{PATIENCE, Told};

/// Responses kept for an answer. A proxy that leaves more unanswered gets no better for our remembering them.
const KEPT: usize = 8;

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: String,
    pub(super) version: String,
    pub(super) sent: Instant,
    pub(super) trial: Trial,
}

/// What a refusal of a response would take back.
#[derive(Debug, Default)]
pub(super) struct Trial {
    pub(super) tried: Vec<Tried>,
    /// What it left out, and by that removed, with what the proxy had.
    pub(super) shed: Vec<(Arc<str>, Told)>,
    /// It took the place of unanswered ones, of which we do not know whether the proxy took them.
    pub(super) murky: bool,
}

/// A resource in an unanswered response, and what to return to if it is refused.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) name: Arc<str>,
    pub(super) version: u64,
    pub(super) before: Option<Told>,
}

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct Flights(VecDeque<Flight>);

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, flight: Flight) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(flight);
    }

    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.0.back().map(|flight| flight.sent)
    }

    /// Whether an answer is still worth waiting for.
    pub(super) fn block(&self, now: Instant) -> bool {
        self.last_sent().is_some_and(|sent| now < sent + PATIENCE)
    }

    pub(super) fn take_all(&mut self) -> Vec<Flight> {
        self.0.drain(..).collect()
    }

    /// What was refused was never there: a later response that tries the same name would return to what was there `before`.
    /// False if there is none.
    pub(super) fn inherit(&mut self, name: &Arc<str>, before: Option<&Told>) -> bool {
        let mut later = self.0.iter_mut().flat_map(|flight| &mut flight.trial.tried);
        let heir = later.find(|tried| tried.name == *name);
        heir.map(|tried| tried.before = before.cloned()).is_some()
    }

    /// Takes out the response with this nonce (it comes last) and those before it, which it answers as well.
    pub(super) fn take_through(&mut self, nonce: &str) -> Option<Vec<Flight>> {
        let index = self.0.iter().position(|flight| flight.nonce == nonce)?;
        Some(self.0.drain(..=index).collect())
    }
}
