//! The stream: handshake, reading, writing.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::{
    Held, MOST_PARTIAL, MOST_PLAIN, MOST_READ, RECORD, WAITING, WIRE_RECORD, with_plain, with_read, with_write,
};
use super::records::{Driven, Outputs, Session, Task, drive};
use super::{ClientStream, ServerStream, Wire};

/// More than an alert needs with any cipher.
const GOODBYE: usize = 256;

/// A connection with TLS on it.
///
/// What is written is on its way, or waits for the socket; flush to be sure. The end of the peer's data without its goodbye is
/// [`io::ErrorKind::UnexpectedEof`]. A `rustls::Error` inside an error of reading is what the peer did wrong, or said of us.
pub(crate) struct TlsStream<S, IO> {
    io: IO,
    session: S,
    /// The start of a record, or of a handshake message over several.
    partial: Held,
    plain: Held,
    outgoing: Held,
    /// So much of it nobody waits for: it leaves with what does not wait.
    unhurried: usize,
    end: End,
    /// Our own goodbye is made.
    closed: bool,
    /// To be told with the next read: data came before it.
    failed: Option<io::Error>,
}

/// Of what the peer sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Goodbye,
    /// The socket ended without one.
    Cut,
}

// === impl TlsStream ===

impl<IO: Wire> ServerStream<IO> {
    /// The server's side of a handshake. `first_bytes` sees the client's first ones, until it says that it has seen enough.
    pub(crate) async fn accept(
        config: Arc<ServerConfig>,
        io: IO,
        mut first_bytes: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Box<Self>> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Box::new(TlsStream::new(io, session));
        let mut seen = false;
        let mut look = |bytes: &[u8]| seen = seen || first_bytes(bytes);
        poll_fn(|cx| stream.poll_handshake(cx, &mut look)).await?;
        if stream.state().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            poll_fn(|cx| stream.poll_drain(cx)).await?;
        }
        stream.unhurried = stream.outgoing.len(); // a ticket
        Ok(stream)
    }
}

impl<IO: Wire> ClientStream<IO> {
    /// The client's side of a handshake. `alpn` replaces the protocols of the configuration.
    pub(crate) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        alpn: Option<&[Vec<u8>]>,
        io: IO,
    ) -> io::Result<Box<Self>> {
        let session = match alpn {
            Some(protocols) => UnbufferedClientConnection::new_with_alpn(config, name, protocols.to_vec()),
            None => UnbufferedClientConnection::new(config, name),
        };
        let mut stream = Box::new(TlsStream::new(io, session.map_err(io::Error::other)?));
        stream.advance(&mut [], None)?;
        poll_fn(|cx| stream.poll_handshake(cx, &mut |_| ())).await?;
        // The server waits for our last words: they leave with the first data, or when a read finds nothing.
        Ok(stream)
    }
}

impl<S: Session, IO: Wire> TlsStream<S, IO> {
    fn new(io: IO, session: S) -> Self {
        TlsStream {
            io,
            session,
            partial: Held::default(),
            plain: Held::default(),
            outgoing: Held::default(),
            unhurried: 0,
            end: End::NotYet,
            closed: false,
            failed: None,
        }
    }

    /// What the handshake agreed on.
    pub(crate) fn state(&self) -> &CommonState {
        self.session.state()
    }

    /// What lies below.
    pub(crate) fn io(&self) -> &IO {
        &self.io
    }

    /// Ready when application data may flow. What the peer has sent beyond that is kept.
    fn poll_handshake(&mut self, cx: &mut Context<'_>, look: &mut dyn FnMut(&[u8])) -> Poll<io::Result<()>> {
        while self.session.state().is_handshaking() {
            ready!(self.poll_drain(cx))?;
            if self.end != End::NotYet {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = ready!(self.poll_fill(cx, None, look)) {
                let _ = self.poll_drain(cx); // the alert
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once from the socket, and decrypts what that completes.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: Option<&mut ReadBuf<'_>>,
        look: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let wanted = reader.as_ref().map_or(RECORD, |reader| reader.remaining());
        let room = (wanted.div_ceil(RECORD) * WIRE_RECORD).min(MOST_READ);
        with_read(|buffer| {
            let start = self.partial.len();
            let mut target = ReadBuf::new(&mut buffer[start..start + room]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut target))?;
            let length = target.filled().len();
            if length == 0 {
                self.end = End::Cut;
                return Poll::Ready(Ok(()));
            }
            let incoming = &mut buffer[..start + length];
            incoming[..start].copy_from_slice(self.partial.bytes());
            self.partial.clear();
            look(incoming);
            let used = self.advance(incoming, reader)?.used;
            let rest = &incoming[used..];
            if rest.len() > MOST_PARTIAL {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS message too long")));
            }
            if !rest.is_empty() {
                self.partial.add(rest);
            }
            Poll::Ready(Ok(()))
        })
    }

    fn advance(&mut self, incoming: &mut [u8], reader: Option<&mut ReadBuf<'_>>) -> io::Result<Driven> {
        let outputs = Outputs {
            reader,
            plain: &mut self.plain,
            outgoing: &mut self.outgoing,
        };
        let driven = drive(&mut self.session, incoming, outputs, Task::Read)?;
        if driven.goodbye {
            self.end = End::Goodbye;
        }
        Ok(driven)
    }

    /// Makes ciphertext, by a task that gets the room for it.
    fn make<'a>(&mut self, task: Task<'a>) -> io::Result<usize> {
        let outputs = Outputs {
            reader: None,
            plain: &mut self.plain,
            outgoing: &mut self.outgoing,
        };
        let driven = drive(&mut self.session, self.partial.bytes_mut(), outputs, task)?;
        self.partial.consume(driven.used);
        if driven.goodbye {
            self.end = End::Goodbye;
        }
        Ok(driven.made)
    }

    /// Hands what waits to the socket.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unhurried = 0;
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.bytes()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts and sends; what the socket does not take waits.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.outgoing.len() > WAITING {
            ready!(self.poll_drain(cx))?;
        }
        let taken = data.len().min(MOST_PLAIN);
        with_write(|buffer| {
            let waiting = self.outgoing.len();
            let (before, made) = buffer.split_at_mut(waiting);
            before.copy_from_slice(self.outgoing.bytes());
            let made = self.make(Task::Encrypt(&data[..taken], made))?;
            if self.outgoing.len() > waiting {
                // rustls had something to say first (new keys): in order, by way of the queue.
                self.outgoing.add(&buffer[waiting..waiting + made]);
                let _ = self.poll_drain(cx)?;
                return Poll::Ready(Ok(taken));
            }
            let all = &buffer[..waiting + made];
            self.outgoing.clear();
            self.unhurried = 0;
            let written = match Pin::new(&mut self.io).poll_write(cx, all) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            if written < all.len() {
                self.outgoing.add(&all[written..]);
            }
            Poll::Ready(Ok(taken))
        })
    }

    /// Encrypts, for [`poll_shutdown`](AsyncWrite::poll_shutdown) to send; false if it is too much to wait.
    fn hold(&mut self, data: &[u8]) -> io::Result<bool> {
        if self.closed || data.len() > RECORD || self.outgoing.len() + data.len() > WAITING {
            return Ok(false);
        }
        with_write(|buffer| {
            let made = self.make(Task::Encrypt(data, buffer))?;
            self.outgoing.add(&buffer[..made]);
            Ok(true)
        })
    }

    /// Hands what waits to the socket, of which the end follows at once.
    fn poll_drain_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(self.io.poll_write_last(cx, self.outgoing.bytes()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// The peer has said that it sends no more, and all that it sent was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.end != End::NotYet && self.plain.is_empty()
    }

    /// An error is told after the data that came before it.
    fn read_result(&mut self, result: io::Result<()>, came: bool) -> io::Result<()> {
        match result {
            Err(error) if came => {
                self.failed = Some(error);
                Ok(())
            }
            other => other,
        }
    }
}

impl<S: Session, IO: Wire> Wire for TlsStream<S, IO> {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hold(bytes)? {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_send(cx, bytes)
    }
}

impl<S: Session, IO: Wire> AsyncRead for TlsStream<S, IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.plain.is_empty() {
                let length = this.plain.len().min(buf.remaining());
                buf.put_slice(&this.plain.bytes()[..length]);
                this.plain.consume(length);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            match this.end {
                End::NotYet if buf.remaining() > 0 => {}
                End::Cut => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                End::NotYet | End::Goodbye => return Poll::Ready(Ok(())),
            }
            let before = buf.filled().len();
            let Poll::Ready(result) = this.poll_fill(cx, Some(buf), &mut |_| ()) else {
                // Nobody may ever write: the end of a handshake, or an answer about keys, must not wait for that.
                if this.outgoing.len() > this.unhurried {
                    let _ = this.poll_drain(cx)?;
                }
                return Poll::Pending;
            };
            if result.is_err() {
                let _ = this.poll_drain(cx); // the alert
            }
            let came = buf.filled().len() > before;
            this.read_result(result, came)?;
            if came {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: Session, IO: Wire> AsyncWrite for TlsStream<S, IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.get_mut().poll_send(cx, buf)
    }

    /// Small pieces become one record.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut pieces = bufs.iter().filter(|piece| !piece.is_empty());
        match (pieces.next(), pieces.next()) {
            (None, _) => Poll::Ready(Ok(0)),
            (Some(only), None) => this.poll_send(cx, only),
            (Some(_), Some(_)) => with_plain(|plain| {
                for piece in bufs {
                    let fits = piece.len().min(MOST_PLAIN - plain.len());
                    plain.extend_from_slice(&piece[..fits]);
                }
                this.poll_send(cx, plain)
            }),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            this.closed = true;
            let mut goodbye = [0; GOODBYE];
            let made = this.make(Task::Close(&mut goodbye))?;
            this.outgoing.add(&goodbye[..made]);
        }
        ready!(this.poll_drain_last(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

#[cfg(test)]
impl<S: Session, IO: Wire> TlsStream<S, IO> {
    pub(super) fn nothing_held(&self) -> bool {
        [&self.partial, &self.plain, &self.outgoing]
            .iter()
            .all(|held| held.is_empty())
    }
}
