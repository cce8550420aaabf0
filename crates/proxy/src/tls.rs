//! TLS over a socket, for both directions, on rustls' unbuffered interface.
//!
//! That interface leaves the buffers to us, so a connection that waits holds none: ciphertext is read into a buffer that all connections of a
//! worker share, decrypted there, and handed to the reader; what is written is encrypted into another one and goes to the socket in one
//! call. A connection keeps bytes of its own only for the part of a record that has not come yet, for plaintext the reader has no room
//! for, and for ciphertext the socket does not take. (rustls' own buffers are four kilobytes for each idle connection, and take
//! bulk in pieces of that size.)
//!
//! What nobody waits for does not get a packet of its own: a client's last words of the handshake go with its first data, a ticket with the
//! server's, and a goodbye with the end of the stream.
//!
//! [`TlsStream`] is made by a handshake ([`TlsStream::accept`], [`TlsStream::connect`]), then reads and writes like a socket.

mod buffers;
mod records;
mod stream;
mod wire;

pub(crate) use stream::TlsStream;
pub(crate) use wire::{Wire, is_ending};

/// A stream whose server we are.
pub(crate) type ServerStream<IO> = TlsStream<rustls::server::UnbufferedServerConnection, IO>;
/// A stream whose client we are.
pub(crate) type ClientStream<IO> = TlsStream<rustls::client::UnbufferedClientConnection, IO>;

#[cfg(test)]
mod tests;
