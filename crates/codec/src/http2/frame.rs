//! Frames (RFC 9113 §4, §6): their heads, and the payloads of those that are no message.

mod settings;

pub(super) use settings::{Setting, Settings};

use super::error::{ConnectionError, ErrorCode};

/// How every connection begins on the client's side.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const HEAD: usize = 9;
/// Payload that a frame may have unless a peer allows more; we do not.
pub(super) const DEFAULT_MAX_FRAME: usize = 16_384;
pub(super) const LARGEST_WINDOW: i64 = (1 << 31) - 1;
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// Any stream: what a server names that will stop, but has not yet.
pub(super) const LAST_STREAM: u32 = (1 << 31) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension that we do not know, to be ignored (RFC 9113 §4.1).
    Unknown,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Data,
        Kind::Headers,
        Kind::Priority,
        Kind::RstStream,
        Kind::Settings,
        Kind::PushPromise,
        Kind::Ping,
        Kind::GoAway,
        Kind::WindowUpdate,
        Kind::Continuation,
    ];
}

pub(super) mod flags {
    pub(in crate::http2) const ACK: u8 = 0x1;
    pub(in crate::http2) const END_STREAM: u8 = 0x1;
    pub(in crate::http2) const END_HEADERS: u8 = 0x4;
    pub(in crate::http2) const PADDED: u8 = 0x8;
    pub(in crate::http2) const PRIORITY: u8 = 0x20;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    /// # Errors
    /// If the frame is longer than we allow, or its length or stream are none of its kind's.
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Result<Self, ConnectionError> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        let head = FrameHead {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: Kind::ALL.get(usize::from(kind)).copied().unwrap_or(Kind::Unknown),
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), ConnectionError> {
        if self.length > DEFAULT_MAX_FRAME {
            return Err(ConnectionError::size("frame larger than we allow"));
        }
        let length_is_good = match self.kind {
            Kind::Priority => self.length == 5,
            Kind::RstStream | Kind::WindowUpdate => self.length == 4,
            Kind::Ping => self.length == 8,
            Kind::Settings if self.has(flags::ACK) => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            Kind::GoAway => self.length >= 8,
            _ => true,
        };
        if !length_is_good {
            return Err(ConnectionError::size("frame of a length that its kind does not have"));
        }
        let stream_is_good = match self.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway => self.stream == 0,
            Kind::WindowUpdate | Kind::Unknown => true,
            _ => self.stream != 0,
        };
        if !stream_is_good {
            return Err(ConnectionError::protocol(
                "frame on a stream that its kind does not go on",
            ));
        }
        Ok(())
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What remains of a HEADERS payload without padding and priority.
///
/// # Errors
/// If the padding is longer than the payload.
pub(super) fn header_fragment(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    const SHORT: ConnectionError = ConnectionError::size("HEADERS too short for its flags");
    let mut fragment = payload;
    let mut padding = 0;
    if head.has(flags::PADDED) {
        let (length, rest) = fragment.split_first().ok_or(SHORT)?;
        (padding, fragment) = (usize::from(*length), rest);
    }
    if head.has(flags::PRIORITY) {
        let (priority, rest) = fragment.split_first_chunk::<5>().ok_or(SHORT)?;
        if dependency(priority) == head.stream {
            return Err(ConnectionError::protocol("stream that depends on itself"));
        }
        fragment = rest;
    }
    let length = fragment
        .len()
        .checked_sub(padding)
        .ok_or(ConnectionError::protocol("padding longer than its frame"))?;
    Ok(&fragment[..length])
}

/// The stream that a priority names.
pub(super) fn dependency(priority: &[u8; 5]) -> u32 {
    number(&[priority[0], priority[1], priority[2], priority[3]])
}

/// 31 bits after one that is reserved.
pub(super) fn number(bytes: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*bytes) & 0x7fff_ffff
}

/// Appends a frame's head. Its kind is one that is known.
#[inline]
pub(super) fn put_head(length: usize, kind: Kind, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes(); // frames are no longer than 2^24 bytes
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind as u8, flags, s0, s1, s2, s3]);
}

/// Writes the length into the frame's head that begins `at`.
pub(super) fn set_length(at: usize, length: usize, out: &mut [u8]) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    out[at..at + 3].copy_from_slice(&[l0, l1, l2]);
}

pub(super) fn put_rst_stream(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_head(4, Kind::RstStream, 0, stream, out);
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub(super) fn put_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    put_head(4, Kind::WindowUpdate, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn put_ping(flags: u8, data: [u8; 8], out: &mut Vec<u8>) {
    put_head(8, Kind::Ping, flags, 0, out);
    out.extend_from_slice(&data);
}

pub(super) fn put_go_away(last_stream: u32, code: ErrorCode, reason: &str, out: &mut Vec<u8>) {
    put_head(8 + reason.len(), Kind::GoAway, 0, 0, out);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Splits the header block that follows the frame's head which begins `at` into frames of what the peer takes, and sets the lengths.
pub(super) fn finish_headers(at: usize, stream: u32, max_frame: usize, out: &mut Vec<u8>) {
    let length = out.len() - at - HEAD;
    if length <= max_frame {
        return set_length(at, length, out);
    }
    let rest = out.split_off(at + HEAD + max_frame);
    set_length(at, max_frame, out);
    out[at + 4] &= !flags::END_HEADERS;
    let mut pieces = rest.chunks(max_frame).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { flags::END_HEADERS } else { 0 };
        put_head(piece.len(), Kind::Continuation, flags, stream, out);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: usize, kind: u8, flags: u8, stream: u32) -> Result<FrameHead, ConnectionError> {
        let mut out = Vec::new();
        put_head(length, Kind::Data, flags, stream, &mut out);
        out[3] = kind;
        FrameHead::parse(out.first_chunk().expect("a head"))
    }

    #[test]
    fn lengths_and_streams_are_those_of_the_kind() {
        const SIZE: Option<ErrorCode> = Some(ErrorCode::FRAME_SIZE_ERROR);
        const PROTOCOL: Option<ErrorCode> = Some(ErrorCode::PROTOCOL_ERROR);
        for (length, kind, flags, stream, expected) in [
            (16_384, 0, 0, 1, None),
            (16_385, 0, 0, 1, SIZE),
            (0, 0, 0, 0, PROTOCOL),
            (0, 1, 0, 0, PROTOCOL),
            (5, 2, 0, 1, None),
            (4, 2, 0, 1, SIZE),
            (5, 2, 0, 0, PROTOCOL),
            (4, 3, 0, 1, None),
            (5, 3, 0, 1, SIZE),
            (4, 3, 0, 0, PROTOCOL),
            (12, 4, 0, 0, None),
            (7, 4, 0, 0, SIZE),
            (6, 4, 1, 0, SIZE),
            (6, 4, 0, 1, PROTOCOL),
            (8, 6, 0, 0, None),
            (7, 6, 0, 0, SIZE),
            (8, 6, 0, 3, PROTOCOL),
            (7, 7, 0, 0, SIZE),
            (8, 7, 0, 1, PROTOCOL),
            (4, 8, 0, 0, None),
            (3, 8, 0, 1, SIZE),
            (0, 9, 4, 0, PROTOCOL),
            (100, 77, 0, 0, None),
            (16_385, 77, 0, 0, SIZE),
        ] {
            let got = head(length, kind, flags, stream).err().map(|error| error.code);
            assert_eq!(got, expected, "{length} {kind} {flags} {stream}");
        }
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let of = |flags: u8, payload: &[u8]| {
            let head = head(payload.len(), 1, flags, 1).expect("a head");
            header_fragment(head, payload)
                .map(<[u8]>::to_vec)
                .map_err(|error| error.code)
        };
        assert_eq!(of(0, b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(of(flags::PADDED, b"\x02abcxx"), Ok(b"abc".to_vec()));
        assert_eq!(
            of(flags::PADDED | flags::PRIORITY, b"\x01\0\0\0\x03\x10ax"),
            Ok(b"a".to_vec())
        );
        assert_eq!(of(flags::PADDED, b"\x04abc"), Err(ErrorCode::PROTOCOL_ERROR));
        assert_eq!(of(flags::PADDED, b""), Err(ErrorCode::FRAME_SIZE_ERROR));
        assert_eq!(of(flags::PRIORITY, b"\0\0\0\x03"), Err(ErrorCode::FRAME_SIZE_ERROR));
        assert_eq!(of(flags::PRIORITY, b"\0\0\0\x01\x10a"), Err(ErrorCode::PROTOCOL_ERROR));
    }

    #[test]
    fn long_blocks_go_out_in_pieces() {
        let mut out = vec![7; 3];
        put_head(0, Kind::Headers, flags::END_HEADERS | flags::END_STREAM, 5, &mut out);
        out.extend_from_slice(b"abcdefgh");
        finish_headers(3, 5, 3, &mut out);
        let mut expected = vec![7; 3];
        for (kind, flags, piece) in [
            (Kind::Headers, flags::END_STREAM, &b"abc"[..]),
            (Kind::Continuation, 0, b"def"),
            (Kind::Continuation, flags::END_HEADERS, b"gh"),
        ] {
            put_head(piece.len(), kind, flags, 5, &mut expected);
            expected.extend_from_slice(piece);
        }
        assert_eq!(out, expected);
    }
}
