//! One connection, plain or TLS, with what it has still to send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes taken from a socket at once.
pub const READ: usize = 64 * 1024;

pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<rustls::Connection>>,
    /// Plain bytes to send; those before `sent` are gone.
    out: Vec<u8>,
    sent: usize,
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many plain bytes lie in the buffer.
    Bytes(usize),
    Nothing,
    End,
}

impl Wire {
    pub fn new(stream: TcpStream, tls: Option<rustls::Connection>) -> Self {
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        Wire {
            stream,
            tls,
            out: Vec::new(),
            sent: 0,
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// One receive. The plain bytes are in `plain`; for TLS, `sealed` takes what came before it is opened.
    pub fn receive(&mut self, plain: &mut Vec<u8>, sealed: &mut [u8]) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else {
            return Ok(match self.stream.read(&mut plain[..]) {
                Ok(0) => Received::End,
                Ok(count) => Received::Bytes(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Received::Nothing,
                Err(error) => return Err(error),
            });
        };
        let mut sealed = match self.stream.read(sealed) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => &sealed[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        let mut opened = 0;
        let mut ended = false;
        while !sealed.is_empty() {
            tls.read_tls(&mut sealed)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            ended |= state.peer_has_closed();
            let count = state.plaintext_bytes_to_read();
            if plain.len() < opened + count {
                plain.resize(opened + count, 0);
            }
            if count > 0 {
                tls.reader().read_exact(&mut plain[opened..opened + count])?;
                opened += count;
            }
        }
        Ok(match opened {
            0 if ended => Received::End,
            0 => Received::Nothing,
            count => Received::Bytes(count),
        })
    }

    /// Where to write what [`Wire::flush`] shall send.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether bytes wait for the socket.
    pub fn has_more(&self) -> bool {
        self.sent < self.out.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    pub fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => {
                while self.sent < self.out.len() {
                    match self.stream.write(&self.out[self.sent..]) {
                        Ok(count) => self.sent += count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
            }
            Some(tls) => {
                if self.sent < self.out.len() && !tls.is_handshaking() {
                    tls.writer().write_all(&self.out[self.sent..])?;
                    self.sent = self.out.len();
                }
                while tls.wants_write() {
                    match tls.write_tls(&mut self.stream) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Writes directly, past everything queued; returns how much was taken (for bulk, where nothing else is sent).
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match &mut self.tls {
            None => match self.stream.write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            },
            Some(tls) if tls.wants_write() || tls.is_handshaking() => 0,
            Some(tls) => tls.writer().write(bytes)?,
        };
        if self.tls.is_some() {
            self.flush()?;
        }
        Ok(taken)
    }

    /// Says that no more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush()?;
        }
        self.stream.shutdown(Shutdown::Write)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
