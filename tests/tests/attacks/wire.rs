//! A client's connection, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::strict::{self, Framing, Head};

pub struct Wire {
    pub stream: TcpStream,
    /// Received and not yet understood.
    pub received: Vec<u8>,
    ended: bool,
}

#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub interim: Vec<u16>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Answer {
    Response(Response),
    /// The connection ended before a response began.
    Closed,
    /// Nothing, or not all of it, in time; what has come.
    Silent(#[expect(dead_code, reason = "shown")] String),
    /// Something that is no unambiguous HTTP/1.1.
    Garbage(#[expect(dead_code, reason = "shown")] String),
}

enum Filled {
    Some,
    Ended,
    Late,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self::over(stream))
    }

    pub fn over(stream: TcpStream) -> Self {
        Wire {
            stream,
            received: Vec::new(),
            ended: false,
        }
    }

    /// Sends all of it; whether the peer took it. A peer that has ended the connection will have said why.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends for as long as the peer takes it, up to `limit` bytes of the same; gives how much that was.
    pub fn flood(&mut self, piece: &[u8], limit: usize, patience: Duration) -> usize {
        let _ = self.stream.set_write_timeout(Some(patience));
        let mut sent = 0;
        while sent < limit {
            match self.stream.write(piece) {
                Ok(n) if n == piece.len() => sent += n,
                // A piece may have gone in part: it is finished, so that frames stay frames.
                Ok(n) if n > 0 && self.stream.write_all(&piece[n..]).is_ok() => sent += piece.len(),
                _ => break,
            }
        }
        sent
    }

    pub fn end_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn fill(&mut self, end: Instant) -> Filled {
        if self.ended {
            return Filled::Ended;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
            return Filled::Late;
        }
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Filled::Late,
            Err(_) => self.ended = true,
        }
        if self.ended { Filled::Ended } else { Filled::Some }
    }

    /// Reads until there are so many bytes; whether they came in time.
    pub fn fill_to(&mut self, length: usize, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.received.len() < length {
            if !matches!(self.fill(end), Filled::Some) {
                return false;
            }
        }
        true
    }

    /// Whether the end of the connection has been read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer ends the connection in time; what it sends until then is dropped.
    pub fn ends(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            match self.fill(end) {
                Filled::Some => self.received.clear(),
                Filled::Ended => return true,
                Filled::Late => return false,
            }
        }
    }

    /// The next response, with its body.
    pub fn answer(&mut self, method: &str, patience: Duration) -> Answer {
        let end = Instant::now() + patience;
        let mut interim = Vec::new();
        let (status, head) = loop {
            match self.head(end) {
                Ok((status @ 102..200, _)) => interim.push(status),
                Ok((100, _)) => interim.push(100),
                Ok(found) => break found,
                Err(answer) => return answer,
            }
        };
        let framing = match strict::framing(&head) {
            _ if method == "HEAD" || matches!(status, 204 | 304 | 101) => Ok(Framing::Length(0)),
            framing => framing,
        };
        let body = match framing {
            Ok(Framing::Length(length)) => Ok(self.sized(length, end)),
            Ok(Framing::Chunked) => self.chunked(end),
            Ok(Framing::None) => {
                while matches!(self.fill(end), Filled::Some) {}
                Ok((std::mem::take(&mut self.received), self.ended))
            }
            Err(error) => Err(error),
        };
        match body {
            Ok((body, complete)) => Answer::Response(Response {
                status,
                interim,
                body,
                complete,
            }),
            Err(error) => Answer::Garbage(error),
        }
    }

    fn head(&mut self, end: Instant) -> Result<(u16, Head), Answer> {
        loop {
            if let Some(head) = strict::head(&self.received).map_err(Answer::Garbage)? {
                self.received.drain(..head.length);
                let status = head.line.get(9..12).and_then(|text| text.parse().ok());
                return match status {
                    Some(status) if head.line.starts_with("HTTP/1.1 ") || head.line.starts_with("HTTP/1.0 ") => {
                        Ok((status, head))
                    }
                    _ => Err(Answer::Garbage(head.line)),
                };
            }
            match self.fill(end) {
                Filled::Some => {}
                Filled::Ended if self.received.is_empty() => return Err(Answer::Closed),
                Filled::Ended => return Err(Answer::Garbage(self.shown())),
                Filled::Late => return Err(Answer::Silent(self.shown())),
            }
        }
    }

    fn sized(&mut self, length: usize, end: Instant) -> (Vec<u8>, bool) {
        while self.received.len() < length {
            if !matches!(self.fill(end), Filled::Some) {
                return (std::mem::take(&mut self.received), false);
            }
        }
        (self.received.drain(..length).collect(), true)
    }

    fn chunked(&mut self, end: Instant) -> Result<(Vec<u8>, bool), String> {
        loop {
            if let Some(chunked) = strict::chunked(&self.received)? {
                self.received.drain(..chunked.length);
                return Ok((chunked.body, true));
            }
            if !matches!(self.fill(end), Filled::Some) {
                return Ok((std::mem::take(&mut self.received), false));
            }
        }
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.received);
        text.chars().take(200).collect()
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (body, end) = (self.text(), if self.complete { "" } else { ", cut off" });
        let start: String = body.chars().take(100).collect();
        write!(f, "{} {start:?} ({} bytes{end})", self.status, self.body.len())
    }
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Lets the end of this socket be a reset.
pub fn socket_reset(stream: &TcpStream) -> Result<()> {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(nix::sys::socket::setsockopt(
        stream,
        nix::sys::socket::sockopt::Linger,
        &linger,
    )?)
}
