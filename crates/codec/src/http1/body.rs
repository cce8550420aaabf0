//! Message bodies from their bytes.

use std::ops::Range;

use super::chunked::Chunks;
use super::{Framing, Limits, Malformed};
use crate::fields::Headers;

/// Takes one body out of the bytes that follow its head.
#[derive(Debug)]
pub struct BodyDecoder(State);

#[derive(Debug)]
enum State {
    Ended,
    /// Bytes that are still to come; never 0.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// What a look at the input gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes to drop from the input's beginning, once the data among them was used. If it is 0 and this is not the end, more must come.
    pub consumed: usize,
    /// Where the body's next bytes stand in the input; may be empty.
    pub data: Range<usize>,
    /// The body ends with this data.
    pub end: bool,
}

impl BodyDecoder {
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        BodyDecoder(match framing {
            Framing::Empty | Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunks::new(limits)),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Takes the next piece: one chunk's data at most, with all the framing around it that has come.
    ///
    /// # Errors
    /// If the framing is broken.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        match &mut self.0 {
            State::Ended => Ok(Step {
                consumed: 0,
                data: 0..0,
                end: true,
            }),
            State::Length(left) => {
                let take = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= take as u64;
                let end = *left == 0;
                if end {
                    self.0 = State::Ended;
                }
                Ok(Step {
                    consumed: take,
                    data: 0..take,
                    end,
                })
            }
            State::Chunked(chunks) => chunks.decode(input),
            State::UntilClose => Ok(Step {
                consumed: input.len(),
                data: 0..input.len(),
                end: false,
            }),
        }
    }

    /// Whether all of the body was taken.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            State::Ended => true,
            State::Chunked(chunks) => chunks.have_ended(),
            State::Length(_) | State::UntilClose => false,
        }
    }

    /// The peer closed its side: the end of a body that lasts so long, and no end of any other.
    ///
    /// # Errors
    /// If the body is cut off.
    pub fn close(&mut self) -> Result<(), Malformed> {
        if matches!(self.0, State::UntilClose) {
            self.0 = State::Ended;
        }
        if self.has_ended() {
            Ok(())
        } else {
            Err(Malformed::CutOff)
        }
    }

    /// Bytes that are still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match &self.0 {
            State::Ended => Some(0),
            State::Length(left) => Some(*left),
            State::Chunked(chunks) if chunks.have_ended() => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Bytes of data that come next, before any framing: somebody may take so many past the decoder ([`pass`](Self::pass)), or fewer.
    /// `u64::MAX` where only the connection's end tells.
    pub fn plain(&self) -> u64 {
        match &self.0 {
            State::Ended => 0,
            State::Length(left) => *left,
            State::Chunked(chunks) => chunks.plain(),
            State::UntilClose => u64::MAX,
        }
    }

    /// So many bytes of data were taken past the decoder.
    ///
    /// # Panics
    /// In debug builds, if they are more than [`plain`](Self::plain) had allowed.
    pub fn pass(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.plain());
        match &mut self.0 {
            State::Ended | State::UntilClose => {}
            State::Length(left) => {
                *left -= bytes;
                if *left == 0 {
                    self.0 = State::Ended;
                }
            }
            State::Chunked(chunks) => chunks.pass(bytes),
        }
    }

    /// The trailers of a body that has ended, once.
    pub fn take_trailers(&mut self) -> Option<Headers> {
        match &mut self.0 {
            State::Chunked(chunks) => chunks.take_trailers(),
            _ => None,
        }
    }
}
