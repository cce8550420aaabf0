//! HTTP/1.1 messages of the usual size, and readers that understand where one ends.

use memchr::memmem;

/// The most header lines a message may have.
const MAX_HEADERS: usize = 64;
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

pub const AUTHORITY: &str = "echo.default.svc.cluster.local:8080";

/// A request with seven header lines; with a body it is a POST.
pub fn request(body: usize) -> Vec<u8> {
    let (method, length) = match body {
        0 => ("GET", String::new()),
        body => ("POST", format!("content-length: {body}\r\n")),
    };
    let head = format!(
        "{method} /api/v1/items/42?verbose=1 HTTP/1.1\r\nhost: {AUTHORITY}\r\nuser-agent: Go-http-client/1.1\r\n\
         accept: application/json\r\naccept-encoding: gzip\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx-tenant: 4711\r\n{length}\r\n"
    );
    with_body(head, body)
}

/// A response with six header lines.
pub fn response(body: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {body}\r\ncache-control: no-cache\r\n\
         x-content-type-options: nosniff\r\nserver: echo\r\ndate: Mon, 23 Nov 2026 01:00:00 GMT\r\n\r\n"
    );
    with_body(head, body)
}

fn with_body(head: String, body: usize) -> Vec<u8> {
    let mut message = head.into_bytes();
    message.resize(message.len() + body, b'x');
    message
}

/// Which messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Requests,
    Responses,
}

/// Follows one direction of a connection.
pub struct Reader {
    side: Side,
    /// Bytes of the current body still to come.
    body: u64,
    /// The current body is chunked; its bytes are searched for the last chunk.
    chunked: bool,
}

/// What a reader saw.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes it needs no more.
    pub used: usize,
    /// Messages that ended in them.
    pub messages: usize,
}

/// The peer sent what the rig does not expect: not HTTP, or a status other than 200.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub String);

impl Reader {
    pub fn new(side: Side) -> Self {
        Reader {
            side,
            body: 0,
            chunked: false,
        }
    }

    pub fn read(&mut self, bytes: &[u8]) -> Result<Seen, Unexpected> {
        let mut used = 0;
        let mut messages = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            if self.chunked {
                let Some(at) = memmem::find(rest, LAST_CHUNK) else {
                    // The mark may be cut in two by the end of what came.
                    used += rest.len().saturating_sub(LAST_CHUNK.len() - 1);
                    break;
                };
                used += at + LAST_CHUNK.len();
                self.chunked = false;
                messages += 1;
                continue;
            }
            if self.body > 0 {
                let taken = self.body.min(rest.len() as u64);
                self.body -= taken;
                used += taken as usize;
                messages += usize::from(self.body == 0);
                continue;
            }
            let Some(head) = head(self.side, rest)? else { break };
            used += head.bytes;
            if head.chunked {
                // The end of the head is where an empty body's mark begins.
                used -= 2;
                self.chunked = true;
            } else if head.body == 0 {
                messages += 1;
            } else {
                self.body = head.body;
            }
        }
        Ok(Seen { used, messages })
    }
}

struct Head {
    bytes: usize,
    body: u64,
    chunked: bool,
}

fn head(side: Side, bytes: &[u8]) -> Result<Option<Head>, Unexpected> {
    let mut space = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let unexpected = || Unexpected(String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned());
    let (status, headers) = match side {
        Side::Requests => {
            let mut request = httparse::Request::new(&mut space);
            let status = request.parse(bytes).map_err(|_| unexpected())?;
            (status, request.headers)
        }
        Side::Responses => {
            let mut response = httparse::Response::new(&mut space);
            let status = response.parse(bytes).map_err(|_| unexpected())?;
            if status.is_complete() && response.code != Some(200) {
                return Err(unexpected());
            }
            (status, response.headers)
        }
    };
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let mut head = Head {
        bytes: length,
        body: 0,
        chunked: false,
    };
    for header in headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| unexpected())?;
            head.body = text.parse().map_err(|_| unexpected())?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = true;
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(side: Side, pieces: &[&[u8]]) -> usize {
        let mut reader = Reader::new(side);
        let mut held = Vec::new();
        let mut messages = 0;
        for piece in pieces {
            held.extend_from_slice(piece);
            let seen = reader.read(&held).unwrap();
            held.drain(..seen.used);
            messages += seen.messages;
        }
        messages
    }

    #[test]
    fn own_messages_are_understood_however_they_are_cut() {
        for (side, message) in [
            (Side::Requests, request(0)),
            (Side::Requests, request(1000)),
            (Side::Responses, response(128)),
            (
                Side::Responses,
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
            ),
            (
                Side::Responses,
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            ),
        ] {
            let two = [message.clone(), message.clone()].concat();
            assert_eq!(read(side, &[&two]), 2);
            let bytes: Vec<&[u8]> = two.chunks(1).collect();
            assert_eq!(read(side, &bytes), 2);
        }
    }

    #[test]
    fn errors_are_not_counted_as_answers() {
        let mut reader = Reader::new(Side::Responses);
        assert!(reader.read(b"HTTP/1.1 503 no\r\n\r\n").is_err());
    }
}
