//! rustls' state machine, driven until it wants something of us.

use std::io;

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use tokio::io::ReadBuf;

use super::buffers::Held;

/// What both sides' connections have in common.
pub(crate) trait Session: Unpin {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// What is to be done once all that came in has been looked at.
pub(super) enum Task<'a> {
    /// Nothing.
    Read,
    /// Encrypt the first into the second.
    Encrypt(&'a [u8], &'a mut [u8]),
    /// Make a goodbye.
    Close(&'a mut [u8]),
}

/// Where the results of a drive go.
pub(super) struct Outputs<'a, 'b> {
    /// The reader's own buffer, while there is a reader.
    pub(super) reader: Option<&'a mut ReadBuf<'b>>,
    /// What the reader has no room for.
    pub(super) plain: &'a mut Held,
    /// Handshake messages, tickets, alerts.
    pub(super) outgoing: &'a mut Held,
}

/// How far a drive came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Driven {
    /// Bytes of `incoming` that are done with.
    pub(super) used: usize,
    /// The peer has said that it sends no more.
    pub(super) goodbye: bool,
    /// Bytes the task has made.
    pub(super) made: usize,
}

/// Processes every whole record of `incoming`, then does the task. On an error the alert for the peer is among the outputs.
pub(super) fn drive<S: Session>(
    session: &mut S,
    incoming: &mut [u8],
    mut outputs: Outputs<'_, '_>,
    task: Task<'_>,
) -> io::Result<Driven> {
    let mut driven = Driven::default();
    loop {
        let UnbufferedStatus { mut discard, state } = session.process(&mut incoming[driven.used..]);
        let last = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    outputs.read(record.payload);
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(data)) => {
                outputs.encode(data)?;
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done(); // it is among the outputs, and leaves in order
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                driven.goodbye = true;
                false
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                driven.made = match task {
                    Task::Read => 0,
                    Task::Encrypt(plain, sink) => traffic.encrypt(plain, sink).map_err(encryption)?,
                    Task::Close(sink) => traffic.queue_close_notify(sink).map_err(encryption)?,
                };
                driven.used += discard;
                return Ok(driven);
            }
            Ok(ConnectionState::Closed) => {
                driven.goodbye = true;
                true
            }
            // More bytes are needed; early data is never accepted.
            Ok(_) => true,
            Err(error) => {
                alert(session, &mut incoming[driven.used + discard..], &mut outputs);
                return Err(invalid(error));
            }
        };
        driven.used += discard;
        if last {
            return match task {
                Task::Encrypt(..) => Err(io::ErrorKind::BrokenPipe.into()),
                Task::Read | Task::Close(_) => Ok(driven),
            };
        }
    }
}

/// Takes out what rustls has to say to the peer about its last error. Asked once: it hands that out before it looks at the rest of
/// `incoming`, in which it would only find the same error again.
fn alert<S: Session>(session: &mut S, incoming: &mut [u8], outputs: &mut Outputs<'_, '_>) {
    if let Ok(ConnectionState::EncodeTlsData(data)) = session.process(incoming).state {
        let _ = outputs.encode(data); // the error itself is what counts
    }
}

impl Outputs<'_, '_> {
    fn read(&mut self, mut payload: &[u8]) {
        if let Some(reader) = &mut self.reader
            && self.plain.is_empty()
        {
            let fits = payload.len().min(reader.remaining());
            reader.put_slice(&payload[..fits]);
            payload = &payload[fits..];
        }
        self.plain.add(payload);
    }

    fn encode<D>(&mut self, mut data: EncodeTlsData<'_, D>) -> io::Result<()> {
        let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
            return Ok(());
        };
        let space = self.outgoing.extend(size.required_size);
        data.encode(space).map(|_| ()).map_err(io::Error::other)
    }
}

/// As readers of the stream know TLS errors.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encryption(error: EncryptError) -> io::Error {
    io::Error::other(error)
}
