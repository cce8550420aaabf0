//! Header blocks that arrive: requests, responses, trailers.

use super::streams::{Progress, Received, ReceivedResponse, Stream};
use super::{Connection, Drain, Event, Role, STREAM_WINDOW, StreamKey};
use crate::fields::Headers;
use crate::head::ResponseHead;
use crate::http1::Framing;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::frame::{self, FrameHead, flags};
use crate::http2::message::{Fault, FieldLimits, FieldList, ReceivedRequest, check_length};

const TRAILER_FIELDS: usize = 4;
const TRAILER_BYTES: usize = 96;

/// What a block is to its stream.
enum Block {
    Request,
    Response(StreamKey),
    Trailers(StreamKey),
    /// Of a stream that is closed or was passed over.
    Closed,
    /// To be decoded for the tables alone.
    Nobody,
}

impl Connection {
    /// A whole header block. Whatever becomes of it, it is decoded: the tables of both sides must stay the same.
    pub(super) fn take_block(&mut self, head: FrameHead, block: &[u8]) -> Result<(), ConnectionError> {
        let end = head.has(flags::END_STREAM);
        match self.block_for(head)? {
            Block::Request => self.take_request_block(head.stream, block, end),
            Block::Response(key) => self.take_response_block(key, block, end),
            Block::Trailers(key) => self.take_trailer_block(key, block, end),
            Block::Closed => self.take_closed_block(head.stream, block),
            Block::Nobody => {
                let nothing = FieldLimits { bytes: 0, fields: 0 };
                let mut list = FieldList::new(nothing, &mut self.repeated, Headers::default());
                self.decoder.decode(block, &mut list)
            }
        }
    }

    fn block_for(&mut self, head: FrameHead) -> Result<Block, ConnectionError> {
        let id = head.stream;
        if let Some(key) = self.streams.open_key(id) {
            let receiving = self.streams.get(key).map(|stream| stream.receiving);
            return match receiving {
                Some(Progress::Head) => Ok(Block::Response(key)),
                Some(Progress::Body) => Ok(Block::Trailers(key)),
                _ => {
                    self.reject(key, ErrorCode::STREAM_CLOSED, "HEADERS behind the end")?;
                    Ok(Block::Nobody)
                }
            };
        }
        if id.is_multiple_of(2) || (self.role == Role::Client && id > self.last_stream) {
            return Err(ConnectionError::protocol(
                "HEADERS on a stream that the peer cannot open",
            ));
        }
        if id <= self.last_stream {
            self.budget.control(1)?;
            return Ok(Block::Closed);
        }
        if self.drain == Drain::Final {
            self.budget.control(1)?;
            return Ok(Block::Nobody);
        }
        self.last_stream = id;
        let limit = self.config.max_streams as usize;
        // Streams that were reset count until whoever worked on them has noticed.
        if self.streams.open() >= limit || self.streams.kept() >= 2 * limit {
            frame::put_rst_stream(id, ErrorCode::REFUSED_STREAM, self.output.buffer());
            self.budget.reset()?;
            return Ok(Block::Nobody);
        }
        Ok(Block::Request)
    }

    /// Trailers may have been on their way when their stream was closed. A request may not: streams are opened in their order (RFC 9113 §5.1.1).
    fn take_closed_block(&mut self, id: u32, block: &[u8]) -> Result<(), ConnectionError> {
        let mut list = FieldList::new(self.limits(), &mut self.repeated, Headers::default());
        self.decoder.decode(block, &mut list)?;
        if list.is_request() {
            return Err(ConnectionError::protocol(
                "a request on a stream that is no longer to be opened",
            ));
        }
        self.refuse_closed(id);
        Ok(())
    }

    fn take_request_block(&mut self, id: u32, block: &[u8], end: bool) -> Result<(), ConnectionError> {
        let headers = (self.config.lend_headers)();
        let mut list = FieldList::new(self.limits(), &mut self.repeated, headers);
        self.decoder.decode(block, &mut list)?;
        match list.into_request(self.config.scheme, end) {
            Ok(request) => self.open_request(id, request),
            Err(fault) => return self.refuse_request(id, fault, end),
        }
        self.budget.earn(1);
        Ok(())
    }

    fn open_request(&mut self, id: u32, request: ReceivedRequest) {
        let mut stream = Stream::new(STREAM_WINDOW, self.peer.initial_window);
        stream.receiving = if request.end { Progress::Ended } else { Progress::Body };
        stream.announced = request.content_length;
        stream.head = Some(Received::Request(request));
        let key = self.streams.insert(id, stream);
        self.events.push_back(Event::Request(key));
    }

    fn refuse_request(&mut self, id: u32, fault: Fault, end: bool) -> Result<(), ConnectionError> {
        let code = match fault {
            Fault::Malformed(_) => ErrorCode::PROTOCOL_ERROR,
            Fault::TooLarge => {
                self.write_response(id, &ResponseHead::new(431), Framing::Empty);
                ErrorCode::NO_ERROR
            }
        };
        if !end || code != ErrorCode::NO_ERROR {
            frame::put_rst_stream(id, code, self.output.buffer());
        }
        self.budget.reset()
    }

    fn take_response_block(&mut self, key: StreamKey, block: &[u8], end: bool) -> Result<(), ConnectionError> {
        let headers = (self.config.lend_headers)();
        let mut list = FieldList::new(self.limits(), &mut self.repeated, headers);
        self.decoder.decode(block, &mut list)?;
        let response = list
            .into_response()
            .and_then(|(head, length)| self.judge_response(key, head, length, end));
        match response {
            Ok(Some(response)) => {
                let Some(stream) = self.streams.get(key) else {
                    return Ok(());
                };
                stream.receiving = if end { Progress::Ended } else { Progress::Body };
                stream.head = Some(Received::Response(response));
                self.settle(key);
            }
            Ok(None) => {
                self.events.push_back(Event::Readable(key));
                return self.budget.control(1);
            }
            Err(fault) => return self.reject_block(key, fault),
        }
        self.events.push_back(Event::Readable(key));
        self.budget.earn(1);
        Ok(())
    }

    /// `None`: an interim response, which another one follows.
    fn judge_response(
        &mut self,
        key: StreamKey,
        head: ResponseHead,
        content_length: Option<u64>,
        end: bool,
    ) -> Result<Option<ReceivedResponse>, Fault> {
        let status = head.status.as_u16();
        let Some(stream) = self.streams.get(key) else {
            return Ok(None);
        };
        match status {
            101 => return Err(Fault::Malformed("101 in HTTP/2")),
            100..200 if end => return Err(Fault::Malformed("interim response that ends the stream")),
            100..200 => {
                stream.continued |= status == 100;
                return Ok(None);
            }
            _ => {}
        }
        let has_body = !(stream.is_head || matches!(status, 204 | 304));
        stream.announced = if has_body { content_length } else { Some(0) };
        check_length(end, stream.announced)?;
        Ok(Some(ReceivedResponse {
            head,
            end,
            content_length,
        }))
    }

    fn take_trailer_block(&mut self, key: StreamKey, block: &[u8], end: bool) -> Result<(), ConnectionError> {
        let headers = Headers::with_capacity(TRAILER_FIELDS, TRAILER_BYTES);
        let mut list = FieldList::new(self.limits(), &mut self.repeated, headers);
        self.decoder.decode(block, &mut list)?;
        let trailers = list.into_trailers();
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        let judged = trailers.and_then(|trailers| match stream.announced {
            _ if !end => Err(Fault::Malformed("trailers that do not end the stream")),
            Some(1..) => Err(Fault::Malformed("body shorter than was announced")),
            _ => Ok(trailers),
        });
        match judged {
            Ok(trailers) => {
                stream.trailers = Some(trailers);
                stream.receiving = Progress::Ended;
                self.settle(key);
                self.events.push_back(Event::Readable(key));
                self.budget.earn(1);
                Ok(())
            }
            Err(fault) => self.reject_block(key, fault),
        }
    }

    fn reject_block(&mut self, key: StreamKey, fault: Fault) -> Result<(), ConnectionError> {
        match fault {
            Fault::Malformed(reason) => self.reject(key, ErrorCode::PROTOCOL_ERROR, reason),
            Fault::TooLarge => self.reject(key, ErrorCode::ENHANCE_YOUR_CALM, "more headers than we allow"),
        }
    }
}
