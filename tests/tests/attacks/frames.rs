//! HTTP/2 frame by frame, without a library: only so can a client send what no library would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::wire::Wire;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 32;

pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const COMPRESSION_ERROR: u32 = 9;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()
}

pub fn window_update(stream: u32, grant: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &grant.to_be_bytes())
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Literal fields, never indexed, no Huffman code.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&crate::http1::latin1(name), &mut block);
        string(&crate::http1::latin1(value), &mut block);
    }
    block
}

fn string(text: &[u8], block: &mut Vec<u8>) {
    integer(text.len(), 7, 0, block);
    block.extend_from_slice(text);
}

/// RFC 7541, 5.1.
pub fn integer(mut value: usize, bits: u32, first: u8, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("a byte");
    if value < most {
        return block.push(first | byte(value));
    }
    block.push(first | byte(most));
    value -= most;
    while value >= 128 {
        block.push(byte(value % 128) | 128);
        value /= 128;
    }
    block.push(byte(value));
}

/// A whole request head in one frame.
pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(fields))
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, &request("GET", path), true)
}

pub fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, &request("POST", path), false)
}

pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "mesh"),
        (":path", path),
    ]
}

/// A frame that has come.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn error_code(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_be_bytes)
    }
}

/// What became of one stream.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub status: Option<u16>,
    pub body: Vec<u8>,
    pub ended: bool,
    /// Error code of a reset.
    pub reset: Option<u32>,
    /// Error code of the end of the connection.
    pub goaway: Option<u32>,
    pub closed: bool,
}

impl Outcome {
    pub fn answered(&self, status: u16) -> bool {
        self.status == Some(status) && self.ended
    }
}

/// A client that speaks HTTP/2 as it likes.
pub struct Http2 {
    pub wire: Wire,
    /// Error code of the end of the connection, once it has been announced.
    pub goaway: Option<u32>,
}

impl Http2 {
    /// Connects and sends the preface with these settings; without compression state, so that answers can be read without it.
    pub fn connect(address: SocketAddr, settings: &[u8]) -> Result<Self> {
        let mut client = Self::silent(address)?;
        let settings = [&setting(1, 0), settings].concat();
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat());
        Ok(client)
    }

    /// Connects and says nothing yet.
    pub fn silent(address: SocketAddr) -> Result<Self> {
        Ok(Http2 {
            wire: Wire::connect(address)?,
            goaway: None,
        })
    }

    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.send(bytes)
    }

    /// The next frame; `None`: nothing came in time, or the connection has ended.
    pub fn next(&mut self, end: Instant) -> Option<Frame> {
        let left = || end.saturating_duration_since(Instant::now());
        if !self.wire.fill_to(9, left()) {
            return None;
        }
        let head = &self.wire.received;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if !self.wire.fill_to(9 + length, left()) {
            return None;
        }
        let bytes: Vec<u8> = self.wire.received.drain(..9 + length).collect();
        let frame = Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]),
            payload: bytes[9..].to_vec(),
        };
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) => drop(self.send(&self::frame(SETTINGS, ACK, 0, &[]))),
            (PING, 0) => drop(self.send(&self::frame(PING, ACK, 0, &frame.payload))),
            (GOAWAY, _) => self.goaway = Some(frame.error_code(4)),
            _ => {}
        }
        Some(frame)
    }

    /// Follows one stream until it, or the connection, has ended, or `patience` is over.
    pub fn outcome(&mut self, stream: u32, patience: Duration) -> Outcome {
        let end = Instant::now() + patience;
        let mut outcome = Outcome::default();
        while !outcome.ended && outcome.reset.is_none() && outcome.goaway.is_none_or(|code| code == 0) {
            let Some(frame) = self.next(end) else {
                outcome.closed = self.wire.has_ended();
                break;
            };
            outcome.goaway = self.goaway;
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if outcome.status.is_none_or(|status| status < 200) => {
                    outcome.status = status(&frame.payload);
                    outcome.ended = frame.flags & END_STREAM != 0;
                }
                HEADERS => outcome.ended = frame.flags & END_STREAM != 0,
                DATA => {
                    outcome.body.extend_from_slice(&frame.payload);
                    outcome.ended = frame.flags & END_STREAM != 0;
                }
                RST_STREAM => outcome.reset = Some(frame.error_code(0)),
                _ => {}
            }
        }
        outcome
    }

    /// Whether the connection still serves a good request, on this stream.
    pub fn still_serves(&mut self, stream: u32, patience: Duration) -> bool {
        self.send(&get(stream, "/c"));
        self.outcome(stream, patience).answered(200)
    }

    /// Reads until the connection ends or announces an error; its code, if it said one. `None`: neither happened in time.
    pub fn end(&mut self, patience: Duration) -> Option<Option<u32>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(code) = self.goaway.filter(|code| *code != 0) {
                return Some(Some(code));
            }
            if self.next(end).is_none() {
                return match self.wire.ends(
                    end.saturating_duration_since(Instant::now())
                        .max(Duration::from_millis(1)),
                ) {
                    true => Some(self.goaway),
                    false => None,
                };
            }
        }
    }
}

/// The status that a block of fields begins with, in whatever form without dynamic table.
pub fn status(block: &[u8]) -> Option<u16> {
    let mut block = block;
    // Changes of the table's size come first.
    while let [first, rest @ ..] = block {
        if first & 0xe0 != 0x20 {
            break;
        }
        let more = rest
            .iter()
            .take_while(|byte| first & 0x1f == 0x1f && **byte & 0x80 != 0)
            .count();
        block = rest.get(more + usize::from(first & 0x1f == 0x1f)..)?;
    }
    match block {
        [first @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]),
        // A literal of which the name, `:status`, is one of the table's entries 8 to 14.
        [first, length, text @ ..] if matches!(first & 0xf, 8..=14) && first & 0x80 == 0 => {
            let text = text.get(..usize::from(length & 0x7f))?;
            let digits = if length & 0x80 == 0 {
                text.to_vec()
            } else {
                huffman_digits(text)
            };
            String::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Digits of RFC 7541's code: `0` to `2` take five bits, the others six.
fn huffman_digits(text: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut digits, mut at) = (Vec::new(), 0);
    while let Some(five) = bits.get(at..at + 5) {
        if number(five) <= 2 {
            digits.push(b'0' + number(five));
            at += 5;
            continue;
        }
        match bits.get(at..at + 6).map(number) {
            Some(six @ 25..=31) => digits.push(b'3' + six - 25),
            _ => break,
        }
        at += 6;
    }
    digits
}
