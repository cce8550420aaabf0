//! Bytes into frames.

use super::{Connection, Role, StreamKey};
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::frame::{FrameHead, HEAD, Kind, PREFACE, flags};

/// CONTINUATION frames that one header block may be cut into: a list of the largest size fits into far fewer.
const MAX_CONTINUATIONS: u32 = 64;

/// Where the input stands.
pub(super) struct Reader {
    /// Bytes of the client's preface that are yet to come.
    preface: usize,
    /// A frame that is cut off; DATA is never kept here.
    partial: Vec<u8>,
    data: Option<Data>,
    block: Option<Block>,
    /// Counts what did not come whole: the frame in `partial`, or the block and all that it goes on with.
    begun: u64,
}

/// A DATA frame whose payload is arriving.
#[derive(Clone, Copy)]
pub(super) struct Data {
    /// `None`: nobody wants it.
    pub(super) stream: Option<StreamKey>,
    /// Bytes of its payload that are yet to come, padding included.
    left: usize,
    padding: Padding,
    pub(super) end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    /// The next byte says how much there is.
    Unknown,
    /// So many bytes at the payload's end.
    Known(usize),
}

/// A header block that CONTINUATION goes on with.
struct Block {
    head: FrameHead,
    fragments: Vec<u8>,
    continuations: u32,
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        Reader {
            preface: if role == Role::Server { PREFACE.len() } else { 0 },
            partial: Vec::new(),
            data: None,
            block: None,
            begun: 0,
        }
    }

    /// Keeps the beginning of a frame.
    fn keep(&mut self, input: &mut &[u8]) {
        if self.block.is_none() {
            self.begun += 1;
        }
        self.partial.extend_from_slice(std::mem::take(input));
    }

    /// See [`Connection::unfinished`].
    pub(super) fn unfinished(&self) -> Option<u64> {
        (!self.partial.is_empty() || self.block.is_some()).then_some(self.begun)
    }

    pub(super) fn forget(&mut self) {
        self.partial = Vec::new();
        (self.data, self.block) = (None, None);
    }
}

impl Data {
    pub(super) fn new(head: FrameHead, stream: Option<StreamKey>) -> Self {
        Data {
            stream,
            left: head.length,
            padding: if head.has(flags::PADDED) {
                Padding::Unknown
            } else {
                Padding::Known(0)
            },
            end: head.has(flags::END_STREAM),
        }
    }
}

impl Connection {
    pub(super) fn read_frames(&mut self, mut input: &[u8]) -> Result<(), ConnectionError> {
        self.read_preface(&mut input)?;
        while !input.is_empty() {
            if let Some(data) = self.reader.data.take() {
                self.read_data(data, &mut input)?;
            } else if self.reader.partial.is_empty() {
                self.read_frame(&mut input)?;
            } else {
                self.complete_frame(&mut input)?;
            }
        }
        Ok(())
    }

    fn read_preface(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        let expected = &PREFACE[PREFACE.len() - self.reader.preface..];
        let n = expected.len().min(input.len());
        let (begin, rest) = input.split_at(n);
        if begin != &expected[..n] {
            return Err(ConnectionError::protocol("no preface of HTTP/2"));
        }
        self.reader.preface -= n;
        *input = rest;
        Ok(())
    }

    /// A frame that begins with the input.
    fn read_frame(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        let Some((bytes, rest)) = input.split_first_chunk::<HEAD>() else {
            self.reader.keep(input);
            return Ok(());
        };
        let head = self.parse_head(bytes)?;
        if head.kind == Kind::Data {
            *input = rest;
            return self.begin_data(head);
        }
        match rest.split_at_checked(head.length) {
            Some((payload, rest)) => {
                *input = rest;
                self.dispatch(head, payload)
            }
            None => {
                self.reader.keep(input);
                Ok(())
            }
        }
    }

    /// A frame whose beginning came before.
    fn complete_frame(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        if !self.fill_partial(HEAD, input) {
            return Ok(());
        }
        let Some(bytes) = self.reader.partial.first_chunk::<HEAD>() else {
            return Ok(());
        };
        let head = self.parse_head(&bytes.clone())?;
        if head.kind == Kind::Data {
            self.reader.partial = Vec::new();
            return self.begin_data(head);
        }
        if !self.fill_partial(HEAD + head.length, input) {
            return Ok(());
        }
        let frame = std::mem::take(&mut self.reader.partial);
        self.dispatch(head, &frame[HEAD..])
    }

    /// Whether the partial frame has that length now.
    fn fill_partial(&mut self, length: usize, input: &mut &[u8]) -> bool {
        let partial = &mut self.reader.partial;
        let missing = length.saturating_sub(partial.len());
        let (more, rest) = input.split_at(missing.min(input.len()));
        partial.extend_from_slice(more);
        *input = rest;
        partial.len() >= length
    }

    fn parse_head(&self, bytes: &[u8; HEAD]) -> Result<FrameHead, ConnectionError> {
        let head = FrameHead::parse(bytes)?;
        if !self.peer.heard && (head.kind != Kind::Settings || head.has(flags::ACK)) {
            return Err(ConnectionError::protocol("a connection begins with SETTINGS"));
        }
        match (&self.reader.block, head.kind) {
            (Some(block), Kind::Continuation) if block.head.stream == head.stream => Ok(head),
            (None, Kind::Continuation) => Err(ConnectionError::protocol("CONTINUATION of no header block")),
            (Some(_), _) => Err(ConnectionError::protocol("header block that is not continued")),
            (None, _) => Ok(head),
        }
    }

    fn begin_data(&mut self, head: FrameHead) -> Result<(), ConnectionError> {
        let data = self.accept_data(head)?;
        if head.length > 0 {
            self.reader.data = Some(data);
            return Ok(());
        }
        match (data.padding, data.end) {
            (Padding::Unknown, _) => Err(ConnectionError::size("DATA too short for its flags")),
            (_, true) => self.take_data(data, &[], true),
            (_, false) => self.budget.control(1),
        }
    }

    /// What of a DATA frame's payload is here, which is something.
    fn read_data(&mut self, mut data: Data, input: &mut &[u8]) -> Result<(), ConnectionError> {
        if data.padding == Padding::Unknown
            && let Some((length, rest)) = input.split_first()
        {
            (*input, data.left) = (rest, data.left - 1);
            data.padding = Padding::Known(usize::from(*length));
            self.discard(data.stream, 1);
        }
        let Padding::Known(padding) = data.padding else {
            return Ok(());
        };
        let Some(body_left) = data.left.checked_sub(padding) else {
            return Err(ConnectionError::protocol("padding longer than its frame"));
        };
        let (here, rest) = input.split_at(data.left.min(input.len()));
        let body = here.len().min(body_left);
        *input = rest;
        data.left -= here.len();
        let ended = data.left == 0;
        if body > 0 || (ended && data.end) {
            self.take_data(data, &here[..body], ended && data.end)?;
        } else if ended {
            self.budget.control(1)?;
        }
        self.discard(data.stream, here.len() - body);
        if !ended {
            data.padding = Padding::Known(padding - (here.len() - body));
            self.reader.data = Some(data);
        }
        Ok(())
    }

    /// A header block begins. It is decoded where it lies, unless it goes on in other frames.
    pub(super) fn begin_block(&mut self, head: FrameHead, fragment: &[u8]) -> Result<(), ConnectionError> {
        if head.has(flags::END_HEADERS) {
            return self.take_block(head, fragment);
        }
        self.check_block(fragment.len())?;
        self.reader.begun += 1;
        self.reader.block = Some(Block {
            head,
            fragments: fragment.to_vec(),
            continuations: 0,
        });
        Ok(())
    }

    pub(super) fn continue_block(&mut self, head: FrameHead, fragment: &[u8]) -> Result<(), ConnectionError> {
        let Some(mut block) = self.reader.block.take() else {
            return Err(ConnectionError::protocol("CONTINUATION of no header block"));
        };
        block.continuations += 1;
        if block.continuations > MAX_CONTINUATIONS {
            return Err(ConnectionError::calm("header block in too many pieces"));
        }
        self.check_block(block.fragments.len() + fragment.len())?;
        block.fragments.extend_from_slice(fragment);
        if head.has(flags::END_HEADERS) {
            return self.take_block(block.head, &block.fragments);
        }
        self.reader.block = Some(block);
        Ok(())
    }

    /// A block that is longer than the list that we take is not worth being kept to be decoded.
    fn check_block(&self, length: usize) -> Result<(), ConnectionError> {
        if length > (self.config.max_header_bytes as usize).max(crate::http2::frame::DEFAULT_MAX_FRAME) {
            return Err(ConnectionError::new(
                ErrorCode::ENHANCE_YOUR_CALM,
                "header block larger than we allow",
            ));
        }
        Ok(())
    }
}
