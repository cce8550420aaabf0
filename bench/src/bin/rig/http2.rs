//! HTTP/2 as a gRPC client and server speak it: a POST with a small body, answered with a body and trailers.
//!
//! Header blocks are fixed but for `traceparent`, which is new in each request, as in real traffic, and never indexed. The
//! others enter the dynamic table with the first request of a connection and are one byte each afterwards. Blocks of the peer
//! are never decoded: only frames are understood.

use super::http1::AUTHORITY;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const MAX_DATA: usize = 16_384;
/// What the peer may send on a stream, and (with the first credit) on the connection.
const STREAM_WINDOW: u32 = 0x3fff_ffff;
const CONNECTION_CREDIT: u32 = 0x3fff_0000;
const MAX_STREAMS: u32 = 4096;
/// Received bytes after which the peer is given credit for them.
const CREDIT_STEP: usize = 1 << 20;
const DEFAULT_WINDOW: i64 = 65_535;
/// The table size that the prepared blocks count on.
const TABLE: u32 = 4096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One end of a connection.
pub struct Peer {
    server: bool,
    /// What may be sent on the connection.
    window: i64,
    /// The peer's decoder has no dynamic table.
    no_table: bool,
    /// The first header block, which fills the dynamic table, was sent.
    primed: bool,
    /// Received since the last credit.
    received: usize,
    /// Bytes of a DATA frame still to come, and what follows them.
    body: usize,
    body_ends: Option<u32>,
    preface: usize,
    counter: u64,
}

/// What the frames said, for whoever runs the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer's settings came: requests may be sent.
    Settings,
    /// A message ended on this stream.
    Ended(u32),
    Reset(u32),
    /// More may be sent.
    Window,
}

/// The peer goes away or breaks the protocol.
#[derive(Debug)]
pub struct Gone;

impl Peer {
    pub fn client(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        Self::hello(false, out)
    }

    /// For a connection that has begun with [`is_preface`] bytes.
    pub fn server(out: &mut Vec<u8>) -> Self {
        Self::hello(true, out)
    }

    fn hello(server: bool, out: &mut Vec<u8>) -> Self {
        frame(out, 18, SETTINGS, 0, 0);
        for (name, value) in [(3u16, MAX_STREAMS), (4, STREAM_WINDOW), (1, TABLE)] {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        window_update(out, 0, CONNECTION_CREDIT);
        Peer {
            server,
            window: DEFAULT_WINDOW,
            no_table: false,
            primed: false,
            received: 0,
            body: 0,
            body_ends: None,
            preface: if server { PREFACE.len() } else { 0 },
            counter: 0,
        }
    }

    /// Reads frames; returns how many bytes were used.
    pub fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<usize, Gone> {
        let mut used = 0;
        if self.preface > 0 {
            let taken = self.preface.min(bytes.len());
            self.preface -= taken;
            used += taken;
        }
        loop {
            let rest = &bytes[used..];
            if self.body > 0 {
                let taken = self.body.min(rest.len());
                self.body -= taken;
                used += taken;
                if self.body > 0 {
                    return Ok(used);
                }
                events.extend(self.body_ends.take().map(Event::Ended));
                continue;
            }
            let Some(head) = rest.first_chunk::<FRAME_HEAD>() else {
                return Ok(used);
            };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            if kind == DATA {
                used += FRAME_HEAD;
                self.data(length, (flags & END_STREAM != 0).then_some(stream), out, events);
                continue;
            }
            let Some(payload) = rest.get(FRAME_HEAD..FRAME_HEAD + length) else {
                return Ok(used);
            };
            used += FRAME_HEAD + length;
            match kind {
                HEADERS if flags & END_STREAM != 0 => events.push(Event::Ended(stream)),
                RST_STREAM => events.push(Event::Reset(stream)),
                SETTINGS if flags & ACK == 0 => self.settings(payload, out, events),
                PING if flags & ACK == 0 => {
                    frame(out, payload.len(), PING, ACK, 0);
                    out.extend_from_slice(payload);
                }
                GOAWAY => return Err(Gone),
                WINDOW_UPDATE if stream == 0 => {
                    let credit = payload.first_chunk::<4>().ok_or(Gone)?;
                    self.window += i64::from(u32::from_be_bytes(*credit) & 0x7fff_ffff);
                    events.push(Event::Window);
                }
                _ => {}
            }
        }
    }

    fn data(&mut self, length: usize, ends: Option<u32>, out: &mut Vec<u8>, events: &mut Vec<Event>) {
        self.received += length;
        if self.received > CREDIT_STEP {
            window_update(out, 0, self.received as u32);
            self.received = 0;
        }
        if length == 0 {
            events.extend(ends.map(Event::Ended));
        } else {
            self.body = length;
            self.body_ends = ends;
        }
    }

    fn settings(&mut self, payload: &[u8], out: &mut Vec<u8>, events: &mut Vec<Event>) {
        for setting in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            self.no_table |= name == 1 && value < TABLE;
        }
        frame(out, 0, SETTINGS, ACK, 0);
        events.push(Event::Settings);
    }

    /// Sends a request with a body of so many bytes; false if the window is too small now.
    pub fn request(&mut self, stream: u32, body: usize, secure: bool, out: &mut Vec<u8>) -> bool {
        if !self.reserve(body) {
            return false;
        }
        let at = begin_headers(out);
        self.size_update(out);
        out.extend_from_slice(&[0x83, if secure { 0x87 } else { 0x86 }]); // POST, scheme
        if self.primed && !self.no_table {
            out.extend_from_slice(&[0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
        } else {
            self.indexed_name(out, 4, "/echo.EchoService/Echo");
            self.indexed_name(out, 1, AUTHORITY);
            self.indexed_name(out, 31, "application/grpc");
            self.new_name(out, "te", "trailers");
            self.indexed_name(out, 58, "grpc-go/1.71.0");
            self.new_name(out, "grpc-timeout", "15S");
        }
        out.push(0); // a new name, not indexed
        string(out, "traceparent");
        self.traceparent(out);
        self.primed = true;
        end_headers(out, at, END_HEADERS, stream);
        self.body(out, stream, body, true);
        true
    }

    /// Sends a response with trailers; false if the window is too small now.
    pub fn respond(&mut self, stream: u32, body: usize, out: &mut Vec<u8>) -> bool {
        debug_assert!(self.server, "clients do not respond");
        if !self.reserve(body) {
            return false;
        }
        let known = self.primed && !self.no_table;
        let at = begin_headers(out);
        self.size_update(out);
        out.push(0x88); // 200
        if known {
            out.push(0xbf);
        } else {
            self.indexed_name(out, 31, "application/grpc");
        }
        end_headers(out, at, END_HEADERS, stream);
        self.body(out, stream, body, false);
        let at = begin_headers(out);
        if known {
            out.push(0xbe);
        } else {
            self.new_name(out, "grpc-status", "0");
        }
        self.primed = true;
        end_headers(out, at, END_HEADERS | END_STREAM, stream);
        true
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        let bytes = bytes as i64;
        let fits = self.window >= bytes;
        if fits {
            self.window -= bytes;
        }
        fits
    }

    /// An encoder without a table says so before its first block.
    fn size_update(&self, out: &mut Vec<u8>) {
        if self.no_table && !self.primed {
            out.push(0x20);
        }
    }

    /// A name of the static table with a new value; it enters the dynamic table where there is one.
    fn indexed_name(&self, out: &mut Vec<u8>, index: u8, value: &str) {
        if !self.no_table {
            out.push(0x40 | index);
        } else if index < 15 {
            out.push(index);
        } else {
            out.extend_from_slice(&[15, index - 15]);
        }
        string(out, value);
    }

    fn new_name(&self, out: &mut Vec<u8>, name: &str, value: &str) {
        out.push(if self.no_table { 0 } else { 0x40 });
        string(out, name);
        string(out, value);
    }

    fn traceparent(&mut self, out: &mut Vec<u8>) {
        self.counter += 1;
        out.push(55);
        out.extend_from_slice(b"00-");
        hex(out, self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        hex(out, self.counter);
        out.push(b'-');
        hex(out, self.counter.wrapping_mul(0xbf58_476d_1ce4_e5b9));
        out.extend_from_slice(b"-01");
    }

    fn body(&self, out: &mut Vec<u8>, stream: u32, bytes: usize, ends: bool) {
        let mut left = bytes;
        loop {
            let now = left.min(MAX_DATA);
            left -= now;
            let flags = if left == 0 && ends { END_STREAM } else { 0 };
            frame(out, now, DATA, flags, stream);
            out.resize(out.len() + now, 0);
            if left == 0 {
                return;
            }
        }
    }
}

/// Whether these first bytes of a connection begin HTTP/2; none if they are too few to tell.
pub fn is_preface(bytes: &[u8]) -> Option<bool> {
    let known = bytes.len().min(PREFACE.len());
    if bytes[..known] != PREFACE[..known] {
        return Some(false);
    }
    (known >= 3).then_some(true)
}

fn frame(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn window_update(out: &mut Vec<u8>, stream: u32, credit: u32) {
    frame(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&credit.to_be_bytes());
}

/// Leaves room for a frame's head; its place is given to [`end_headers`].
fn begin_headers(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.resize(at + FRAME_HEAD, 0);
    at
}

fn end_headers(out: &mut [u8], at: usize, flags: u8, stream: u32) {
    let length = (out.len() - at - FRAME_HEAD) as u32;
    out[at..at + 3].copy_from_slice(&length.to_be_bytes()[1..]);
    out[at + 3] = HEADERS;
    out[at + 4] = flags;
    out[at + 5..at + 9].copy_from_slice(&stream.to_be_bytes());
}

/// A string of less than 127 bytes, without Huffman coding.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for shift in (0..16).rev() {
        out.push(DIGITS[(value >> (shift * 4)) as usize & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_peers_understand_each_other_byte_by_byte() {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut client = Peer::client(&mut to_server);
        assert_eq!(is_preface(&to_server), Some(true));
        let mut server = Peer::server(&mut to_client);
        for stream in [1, 3, 5] {
            assert!(client.request(stream, 64, false, &mut to_server));
            let (mut ended, mut held) = (Vec::new(), Vec::new());
            for byte in to_server.drain(..) {
                held.push(byte);
                let used = server.read(&held, &mut to_client, &mut ended).unwrap();
                held.drain(..used);
            }
            assert!(held.is_empty() && ended.contains(&Event::Ended(stream)));
            assert!(server.respond(stream, 20_000, &mut to_client));
            let mut events = Vec::new();
            let mut held = Vec::new();
            for byte in to_client.drain(..) {
                held.push(byte);
                let used = client.read(&held, &mut to_server, &mut events).unwrap();
                held.drain(..used);
            }
            assert!(held.is_empty() && events.contains(&Event::Ended(stream)), "{events:?}");
        }
    }

    #[test]
    fn a_full_window_is_respected() {
        let mut out = Vec::new();
        let mut client = Peer::client(&mut out);
        assert!(client.request(1, 65_535, false, &mut out));
        assert!(!client.request(3, 1, false, &mut out));
    }
}
