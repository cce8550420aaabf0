//! What a peer may have us do that serves no message.
//!
//! Every frame costs us work. Frames of messages pay for themselves; others (PING, SETTINGS, empty DATA, frames on streams that are closed)
//! and requests that are taken back before they are answered draw on a budget, which is filled up by real work and, slowly, by time.
//! A peer that overdraws it is told to calm down and loses its connection. The budget is wide enough for what peers do in good faith: keep
//! a connection alive, measure its round trip, cancel all requests of a client of their own that is gone.

use crate::http2::error::ConnectionError;

/// Frames beside messages that may come in a burst.
const CONTROL: u32 = 2_000;
/// Requests that may be taken back before their answer begins, or be refused, in a burst: as many as can be open at once.
const RESETS: u32 = 1_000;
/// What a second gives back.
const CONTROL_REFILL: u32 = 200;
const RESETS_REFILL: u32 = 100;
/// What a frame of a message gives back: a peer may answer it with window updates and a ping.
const EARNED: u32 = 4;

/// What cost more than one frame costs: all streams are looked at.
pub(super) const SETTINGS: u32 = 10;

pub(super) struct Budget {
    control: u32,
    resets: u32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Budget {
            control: CONTROL,
            resets: RESETS,
        }
    }

    /// # Errors
    /// If there is not that much left.
    pub(super) fn control(&mut self, cost: u32) -> Result<(), ConnectionError> {
        match self.control.checked_sub(cost) {
            Some(left) => {
                self.control = left;
                Ok(())
            }
            None => Err(ConnectionError::calm("too many frames that carry nothing")),
        }
    }

    /// For a request that was taken back, or was none.
    ///
    /// # Errors
    /// If there were too many.
    pub(super) fn reset(&mut self) -> Result<(), ConnectionError> {
        match self.resets.checked_sub(1) {
            Some(left) => {
                self.resets = left;
                Ok(())
            }
            None => Err(ConnectionError::calm("too many streams reset")),
        }
    }

    /// So many frames did real work.
    #[inline]
    pub(super) fn earn(&mut self, frames: usize) {
        let earned = EARNED * frames.min(CONTROL as usize) as u32; // far below overflow
        self.control = (self.control + earned).min(CONTROL);
    }

    /// A request was answered.
    #[inline]
    pub(super) fn answered(&mut self) {
        self.resets = (self.resets + 1).min(RESETS);
    }

    /// A second passed.
    pub(super) fn refill(&mut self) {
        self.control = (self.control + CONTROL_REFILL).min(CONTROL);
        self.resets = (self.resets + RESETS_REFILL).min(RESETS);
    }
}
