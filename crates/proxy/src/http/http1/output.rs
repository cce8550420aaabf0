//! Bytes on their way out, and the framing of the body among them.
//!
//! Small pieces gather behind the head, so that a message leaves in one write. Large ones are written from where they are, together
//! with what has gathered before them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use codec::http1::{CHUNK_END, ChunkHead, Framing, write_last_chunk};
use tokio::io::AsyncWrite;

use super::buffers;
use crate::head::Headers;

/// Up to here pieces gather. Beyond, a write costs less than the copy.
const GATHER: usize = 8 * 1024;

#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// What of it was written.
    from: usize,
    unflushed: bool,
    written: bool,
}

impl Output {
    /// To write behind what waits.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers::lend_output();
        }
        &mut self.bytes
    }

    fn waiting(&self) -> usize {
        self.bytes.len() - self.from
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// A new message begins: nothing of it was written.
    pub(super) fn begin(&mut self) {
        self.written = false;
    }

    /// Something of the message may have reached the peer.
    pub(super) fn has_written(&self) -> bool {
        self.written
    }

    fn wrote(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        (self.written, self.unflushed) = (true, true);
        Ok(())
    }

    fn rest(&mut self) {
        self.from = 0;
        buffers::return_output(std::mem::take(&mut self.bytes));
    }

    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.from..]))?;
            self.wrote(n)?;
            self.from += n;
        }
        if self.bytes.capacity() > 0 {
            self.rest();
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits, then `data`, then `tail`, as far as the socket takes them; says how much of `data` went. When it went whole, what
    /// did not go of `tail` waits.
    fn poll_through<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        data: &[u8],
        tail: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.waiting();
            let slices = [
                IoSlice::new(&self.bytes[self.from..]),
                IoSlice::new(data),
                IoSlice::new(tail),
            ];
            let n = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?;
            self.wrote(n)?;
            if n < waiting {
                self.from += n;
                continue;
            }
            self.from = 0;
            self.bytes.clear();
            let n = n - waiting;
            if n >= data.len() {
                let rest = &tail[n - data.len()..];
                if !rest.is_empty() {
                    self.bytes().extend_from_slice(rest);
                }
                return Poll::Ready(Ok(data.len()));
            }
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The body of one message on its way out.
#[derive(Debug)]
pub(super) enum BodyEncoder {
    Ended,
    /// Bytes still promised; never 0.
    Length(u64),
    /// Bytes still to come of a chunk whose head went out.
    Chunked(usize),
    UntilClose,
}

impl BodyEncoder {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => BodyEncoder::Ended,
            Framing::Length(length) => BodyEncoder::Length(length),
            Framing::Chunked => BodyEncoder::Chunked(0),
            Framing::UntilClose => BodyEncoder::UntilClose,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, BodyEncoder::Ended)
    }

    /// Takes some of `data`, which must not be empty.
    ///
    /// # Errors
    /// If the peer is gone; `InvalidData` if the head promised less.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
        stream: &mut S,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gathers = output.waiting() + data.len() <= GATHER;
        match self {
            BodyEncoder::Ended => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            BodyEncoder::Length(left) => {
                if data.len() as u64 > *left {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                let n = ready!(send_plain(cx, output, stream, data, gathers))?;
                *left -= n as u64;
                if *left == 0 {
                    *self = BodyEncoder::Ended;
                }
                Poll::Ready(Ok(n))
            }
            BodyEncoder::UntilClose => send_plain(cx, output, stream, data, gathers),
            BodyEncoder::Chunked(left) => {
                if *left == 0 {
                    let out = output.bytes();
                    out.extend_from_slice(ChunkHead::new(data.len()).as_bytes());
                    if gathers {
                        out.extend_from_slice(data);
                        out.extend_from_slice(CHUNK_END);
                        return Poll::Ready(Ok(data.len()));
                    }
                    *left = data.len();
                }
                let part = &data[..data.len().min(*left)];
                let tail = if part.len() == *left { CHUNK_END } else { &[] };
                let n = ready!(output.poll_through(cx, stream, part, tail))?;
                *left -= n;
                Poll::Ready(Ok(n))
            }
        }
    }

    /// The next `length` bytes, which are not 0, go to the socket behind the output's back.
    ///
    /// # Errors
    /// `InvalidData` if the head promised less.
    pub(super) fn announce(&mut self, output: &mut Output, length: usize) -> io::Result<()> {
        match self {
            BodyEncoder::UntilClose => {}
            BodyEncoder::Length(left) if length as u64 <= *left => {}
            BodyEncoder::Chunked(left @ 0) => {
                output.bytes().extend_from_slice(ChunkHead::new(length).as_bytes());
                *left = length;
            }
            BodyEncoder::Ended | BodyEncoder::Length(_) | BodyEncoder::Chunked(_) => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// So many of the bytes that were announced went.
    pub(super) fn passed(&mut self, output: &mut Output, n: usize) {
        match self {
            BodyEncoder::Ended | BodyEncoder::UntilClose => {}
            BodyEncoder::Length(left) => {
                *left -= n as u64;
                if *left == 0 {
                    *self = BodyEncoder::Ended;
                }
            }
            BodyEncoder::Chunked(left) => {
                *left -= n;
                if *left == 0 {
                    output.bytes().extend_from_slice(CHUNK_END);
                }
            }
        }
    }

    /// The body is complete.
    ///
    /// # Errors
    /// `InvalidData` if the head promised more.
    pub(super) fn end(&mut self, output: &mut Output, trailers: Option<&Headers>) -> io::Result<()> {
        match self {
            BodyEncoder::Ended | BodyEncoder::UntilClose => {}
            BodyEncoder::Chunked(0) => write_last_chunk(output.bytes(), trailers),
            BodyEncoder::Length(_) | BodyEncoder::Chunked(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
        *self = BodyEncoder::Ended;
        Ok(())
    }
}

fn send_plain<S: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    output: &mut Output,
    stream: &mut S,
    data: &[u8],
    gathers: bool,
) -> Poll<io::Result<usize>> {
    if gathers {
        output.bytes().extend_from_slice(data);
        return Poll::Ready(Ok(data.len()));
    }
    output.poll_through(cx, stream, data, &[])
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a receiver gets of `pieces` in that framing, over a pipe that holds `room` bytes.
    async fn sent(framing: Framing, pieces: &[Vec<u8>], room: usize) -> Vec<u8> {
        let (mut near, mut far) = tokio::io::duplex(room);
        let receive = async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("read");
            all
        };
        let send = async move {
            let (mut output, mut body) = (Output::default(), BodyEncoder::new(framing));
            output.bytes().extend_from_slice(b"head ");
            for piece in pieces {
                let mut left = piece.as_slice();
                while !left.is_empty() {
                    let n = poll_fn(|cx| body.poll_send(cx, &mut output, &mut near, left))
                        .await
                        .expect("sent");
                    left = &left[n..];
                }
            }
            body.end(&mut output, None).expect("as promised");
            poll_fn(|cx| output.poll_flush(cx, &mut near)).await.expect("flushed");
            assert!(output.is_empty() && body.has_ended());
            near.shutdown().await.expect("closed");
        };
        tokio::join!(receive, send).0
    }

    #[tokio::test]
    async fn pieces_of_any_size_arrive_whole_in_every_framing() {
        let pieces = [vec![b'a'; 3], vec![b'b'; 20_000], vec![b'c'; 1], vec![b'd'; 9000]];
        let plain = [b"head ".to_vec(), pieces.concat()].concat();
        for room in [1, 7, 5000, 1_000_000] {
            let length = plain.len() as u64 - 5;
            assert_eq!(sent(Framing::Length(length), &pieces, room).await, plain, "{room}");
            assert_eq!(sent(Framing::UntilClose, &pieces, room).await, plain, "{room}");
            let mut chunked = b"head ".to_vec();
            for piece in &pieces {
                chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                chunked.extend_from_slice(piece);
                chunked.extend_from_slice(b"\r\n");
            }
            chunked.extend_from_slice(b"0\r\n\r\n");
            let got = sent(Framing::Chunked, &pieces, room).await;
            assert_eq!(
                String::from_utf8_lossy(&got).to_lowercase(),
                String::from_utf8_lossy(&chunked),
                "{room}"
            );
        }
    }

    #[tokio::test]
    async fn no_more_and_no_less_than_promised() {
        let (mut near, _far) = tokio::io::duplex(100);
        let (mut output, mut body) = (Output::default(), BodyEncoder::new(Framing::Length(2)));
        let sent = poll_fn(|cx| body.poll_send(cx, &mut output, &mut near, b"abc")).await;
        assert_eq!(sent.expect_err("too much").kind(), io::ErrorKind::InvalidData);
        assert!(body.end(&mut output, None).is_err(), "too little");
    }
}
