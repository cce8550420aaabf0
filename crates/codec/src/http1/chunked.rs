//! Chunked bodies (RFC 9112 §7.1).
//!
//! Sizes are digits and nothing around them, lines end in CRLF. Extensions are dropped, and so few bytes of them are taken that nobody can
//! keep us busy with bytes that are no body.

use super::body::Step;
use super::field_lines::{self, Said, Section};
use super::scan::{Bounds, Scan};
use super::{Limits, Malformed};
use crate::fields::Headers;

/// Digits of a size: as many as a `u64` has.
const MAX_DIGITS: u8 = 16;
/// Bytes of chunk extensions in one body.
const MAX_EXTENSIONS: u16 = 4096;

#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The size as far as its digits came, then the data of this chunk that is still to come.
    left: u64,
    digits: u8,
    extensions: u16,
    scan: Scan,
    max_trailer_bytes: usize,
    max_trailers: usize,
    trailers: Option<Headers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    Trailers,
    Ended,
}

impl Chunks {
    pub(super) fn new(limits: &Limits) -> Self {
        Chunks {
            state: State::Size,
            left: 0,
            digits: 0,
            extensions: 0,
            scan: Scan::default(),
            max_trailer_bytes: limits.trailer_bytes,
            max_trailers: limits.trailers,
            trailers: None,
        }
    }

    pub(super) fn have_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Data of the chunk under way that is still to come.
    pub(super) fn plain(&self) -> u64 {
        if self.state == State::Data { self.left } else { 0 }
    }

    /// So many bytes of it were taken elsewhere.
    pub(super) fn pass(&mut self, bytes: u64) {
        self.left -= bytes;
        if self.left == 0 && self.state == State::Data {
            self.state = State::DataReturn;
        }
    }

    pub(super) fn decode(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        let mut at = 0;
        let mut data = 0..0;
        loop {
            match self.state {
                State::Data => {
                    if !data.is_empty() {
                        break; // the next chunk's data is the next step's
                    }
                    let come = input.len() - at;
                    let take = usize::try_from(self.left).map_or(come, |left| left.min(come));
                    if take == 0 {
                        break;
                    }
                    data = at..at + take;
                    at += take;
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.state = State::DataReturn;
                    }
                }
                State::Trailers => {
                    let Some(length) = self.read_trailers(&input[at..])? else {
                        break;
                    };
                    at += length;
                    self.state = State::Ended;
                }
                State::Ended => break,
                _ => {
                    let Some(byte) = input.get(at) else { break };
                    self.take_framing(*byte)?;
                    at += 1;
                }
            }
        }
        Ok(Step {
            consumed: at,
            data,
            end: self.state == State::Ended,
        })
    }

    /// One byte of what stands between the data of two chunks.
    fn take_framing(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeFeed,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::ChunkSize)?;
                if self.digits == MAX_DIGITS {
                    return Err(Malformed::ChunkSize);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Extension, b'\r') => State::SizeFeed,
            (State::Extension, byte) => {
                self.extensions += 1;
                let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
                if !is_text || self.extensions > MAX_EXTENSIONS {
                    return Err(Malformed::ChunkExtension);
                }
                State::Extension
            }
            (State::SizeFeed, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::Trailers } else { State::Data }
            }
            (State::SizeFeed, _) => return Err(Malformed::ChunkSize),
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size,
            _ => return Err(Malformed::ChunkEnd),
        };
        Ok(())
    }

    /// Trailers are read when they have come whole: until then they stay in the input. Gives their length.
    fn read_trailers(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        let bounds = Bounds::trailers(self.max_trailer_bytes, self.max_trailers);
        let Some(found) = self.scan.find_head(input, &bounds)? else {
            return Ok(None);
        };
        let length = found.end;
        let lines = &input[found];
        if lines != b"\r\n" {
            let mut trailers = Headers::default();
            field_lines::read(
                lines,
                Section::Trailers,
                self.max_trailers,
                &mut trailers,
                &mut Said::default(),
            )?;
            self.trailers = Some(trailers);
        }
        Ok(Some(length))
    }
}
