//! The bytes of a long body from one bare socket to another, through a pipe ([`tcp::splice`](crate::tcp)): the codecs of both sides do not see
//! them, they are told how many went by.
//!
//! Taken are only bytes that cannot be anything but data: what the length promises, what is left of the chunk under way, or all of a body
//! that ends with its connection. So nothing of the next message ever goes with it. The pipe is lent while there is something in it.

use std::io;
use std::task::{Context, Poll, ready};

use codec::http1::BodyDecoder;

use super::input::Input;
use super::output::{BodyEncoder, Output};
use crate::tcp::{Carrier, LentPipe, Pipes, is_unsupported};

/// Less than this to come without framing in it is not worth the pipe.
pub(in crate::http) const LEAST: u64 = 64 * 1024;
/// A sender of pieces smaller than this is served with less work by copying them.
const LULL: usize = 4096;
/// Bytes after which others run.
const TURN: u64 = 1024 * 1024;

/// The side that the body comes from.
pub(in crate::http) struct Source<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) input: &'a mut Input,
    pub(super) body: &'a mut BodyDecoder,
}

/// The side that it goes to.
pub(in crate::http) struct Sink<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) output: &'a mut Output,
    pub(super) body: &'a mut BodyEncoder,
}

/// One body on its way.
#[derive(Default)]
pub(in crate::http) struct Bulk {
    /// Present while there is something in it.
    pipe: Option<LentPipe>,
    /// The sink has framed what is in the pipe.
    announced: bool,
    /// What came last was little.
    lull: bool,
    impossible: bool,
}

/// Which side failed.
pub(in crate::http) enum BulkFault {
    Source(io::Error),
    Sink(io::Error),
}

// === impl Bulk ===

impl Bulk {
    /// Bytes were taken from the source that the sink does not have yet.
    pub(in crate::http) fn holds_bytes(&self) -> bool {
        self.pipe.is_some()
    }

    /// What is in the pipe goes to another sink.
    pub(in crate::http) fn restart(&mut self) {
        self.announced = false;
    }

    /// Moves what can be moved, and adds it to `moved`. Ready when there is nothing in the pipe, and what comes next has to be read.
    pub(in crate::http) fn poll<S: Carrier, T: Carrier>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        mut source: Option<Source<'_, S>>,
        mut sink: Sink<'_, T>,
        moved: &mut u64,
    ) -> Poll<Result<(), BulkFault>> {
        let turn_ends = *moved + TURN;
        loop {
            ready!(self.empty(cx, pipes, &mut sink, moved)).map_err(BulkFault::Sink)?;
            let Some(source) = source.as_mut().filter(|source| self.may_fill(source)) else {
                return Poll::Ready(Ok(()));
            };
            if sink.stream.tcp().is_none() {
                return Poll::Ready(Ok(()));
            }
            if *moved >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !ready!(self.fill(cx, pipes, source)).map_err(BulkFault::Source)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn may_fill<S: Carrier>(&mut self, source: &Source<'_, S>) -> bool {
        if source.input.is_in_full_flow() {
            self.lull = false;
        }
        !self.lull && !self.impossible && source.is_plain()
    }

    /// False if nothing was taken.
    fn fill<S: Carrier>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        source: &mut Source<'_, S>,
    ) -> Poll<io::Result<bool>> {
        let most = usize::try_from(source.body.plain()).unwrap_or(usize::MAX);
        let (Some(socket), Some(mut pipe)) = (source.stream.tcp(), pipes.lend()) else {
            return Poll::Ready(Ok(false));
        };
        let polled = pipe.poll_fill(cx, socket, most);
        match polled {
            Poll::Ready(Ok(taken)) if taken > 0 => {
                source.stream.took(taken);
                source.body.pass(taken as u64);
                self.lull = taken < LULL;
                (self.pipe, self.announced) = (Some(pipe), false);
                return Poll::Ready(Ok(true));
            }
            Poll::Ready(Ok(_)) => source.input.end(),
            Poll::Ready(Err(ref error)) if is_unsupported(error) => {
                self.impossible = true;
                return Poll::Ready(Ok(false));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        pipes.give_back(pipe);
        polled.map_ok(|_| false)
    }

    /// Ready when there is nothing in the pipe.
    fn empty<T: Carrier>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        sink: &mut Sink<'_, T>,
        moved: &mut u64,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        if !self.announced {
            sink.body.announce(sink.output, pipe.filled())?;
            self.announced = true;
        }
        // What was written before goes first.
        ready!(sink.output.poll_flush(cx, sink.stream))?;
        while !pipe.is_empty() {
            let Some(socket) = sink.stream.tcp() else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            let given = ready!(pipe.poll_empty(cx, socket))?;
            if given == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            sink.stream.gave(given);
            sink.body.passed(sink.output, given);
            *moved += given as u64;
        }
        self.pipe.take().into_iter().for_each(|pipe| pipes.give_back(pipe));
        Poll::Ready(Ok(()))
    }
}

// === impl Source ===

impl<S: Carrier> Source<'_, S> {
    /// What the socket gives next is data, and much of it.
    fn is_plain(&self) -> bool {
        self.input.is_empty() && !self.input.has_ended() && self.body.plain() >= LEAST && self.stream.tcp().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use codec::http1::{Framing, Limits};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    /// What a receiver gets of a body of `length` bytes when `sent` bytes of it have come, and whether what comes next is to be read.
    async fn moved(framing: Framing, sent: usize) -> (Vec<u8>, bool) {
        let ((mut sender, mut from), (mut to, mut receiver)) = (sockets().await, sockets().await);
        sender.write_all(&vec![b'x'; sent]).await.expect("written");
        from.readable().await.expect("open");
        let (mut input, mut body) = (Input::default(), BodyDecoder::new(framing, &Limits::default()));
        let (mut output, mut out) = (Output::default(), BodyEncoder::new(framing));
        output.bytes().extend_from_slice(b"head ");
        let (mut bulk, pipes, mut moved) = (Bulk::default(), Pipes::default(), 0);
        let to_read = poll_fn(|cx| {
            let source = Source {
                stream: &mut from,
                input: &mut input,
                body: &mut body,
            };
            let sink = Sink {
                stream: &mut to,
                output: &mut output,
                body: &mut out,
            };
            Poll::Ready(bulk.poll(cx, &pipes, Some(source), sink, &mut moved).is_ready())
        })
        .await;
        poll_fn(|cx| output.poll_flush(cx, &mut to)).await.expect("flushed");
        drop(to);
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).await.expect("read");
        assert!(!bulk.holds_bytes() || to_read, "the receiver's buffer has room for all");
        (got, to_read)
    }

    #[tokio::test]
    async fn who_sends_little_at_a_time_is_read_and_much_is_waited_for() {
        let long = Framing::Length(1_000_000);
        let x = |n| [b"head ".as_slice(), &vec![b'x'; n]].concat();
        assert_eq!(moved(long, 1000).await, (x(1000), true), "a lull");
        assert_eq!(moved(long, 50_000).await, (x(50_000), false), "the rest is on its way");
        assert_eq!(
            moved(Framing::Length(100_000), 100_000).await,
            (x(100_000), true),
            "all"
        );
        assert_eq!(moved(Framing::Length(60_000), 60_000).await, (x(0), true), "too short");
        assert_eq!(
            moved(Framing::Chunked, 100_000).await,
            (x(0), true),
            "a size comes first"
        );
        let chunks = [b"head c350\r\n".as_slice(), &[b'x'; 50_000], b"\r\n"].concat();
        assert_eq!(to_chunks(50_000).await, chunks);
    }

    /// A body that ends with its connection, on its way to a client that gets chunks.
    async fn to_chunks(sent: usize) -> Vec<u8> {
        let (mut output, mut body) = (Output::default(), BodyEncoder::new(Framing::Chunked));
        output.bytes().extend_from_slice(b"head ");
        body.announce(&mut output, sent)
            .expect("chunks are as long as they say");
        assert!(body.announce(&mut output, 1).is_err(), "one chunk within another");
        output.bytes().extend_from_slice(&vec![b'x'; sent]);
        body.passed(&mut output, 20_000);
        body.passed(&mut output, sent - 20_000);
        let (mut near, mut far) = tokio::io::duplex(100_000);
        poll_fn(|cx| output.poll_flush(cx, &mut near)).await.expect("flushed");
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("read");
        got
    }

    #[test]
    fn no_more_passes_than_was_promised() {
        let (mut output, mut body) = (Output::default(), BodyEncoder::new(Framing::Length(10)));
        assert!(body.announce(&mut output, 11).is_err());
        body.announce(&mut output, 10).expect("as promised");
        body.passed(&mut output, 4);
        assert!(body.end(&mut output, None).is_err() && !body.has_ended(), "too little");
        let mut body = BodyEncoder::new(Framing::Length(10));
        body.passed(&mut output, 10);
        assert!(body.has_ended());
    }
}
