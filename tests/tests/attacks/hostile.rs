//! Servers that follow a script instead of HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, Stream};

use crate::authority::Authority;
use crate::strict;
use crate::upstream::{more, next_head, serve};
use crate::wire;

/// A step of a hostile server.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// The same again and again, until so many bytes are sent or the peer leaves.
    Flood(Vec<u8>, usize),
    Wait(Duration),
    /// Waits until the peer leaves.
    Hang,
    /// Ends with a reset instead of an end.
    Reset,
    /// Reads the next request before it goes on.
    NextRequest,
    /// Over TLS: encrypts and sends.
    Seal(Vec<u8>),
    /// Over TLS: encrypts, flips a bit and sends.
    SealBroken(Vec<u8>),
    /// Over TLS: says that this was the end.
    Notify,
}

/// Follows the script of each request, by its path, then closes.
pub struct Hostile {
    pub http1: SocketAddr,
    pub http2: SocketAddr,
    scripts: Arc<Mutex<Scripts>>,
}

#[derive(Default)]
struct Scripts {
    steps: Vec<Step>,
    /// Bytes of the last flood that the peer took.
    taken: usize,
}

impl Hostile {
    pub fn start() -> Result<Arc<Self>> {
        let scripts = Arc::new(Mutex::new(Scripts::default()));
        let (one, two) = (scripts.clone(), scripts.clone());
        let http1 = serve(move |mut stream| {
            let mut received = Vec::new();
            while let Ok(Some(head)) = next_head(&mut stream, &mut received) {
                received.drain(..head.length);
                if head.line.contains("/hostile/good") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
                    continue;
                }
                if !follow(&one, &mut stream, &mut received) {
                    return;
                }
            }
        })?;
        let http2 = serve(move |mut stream| {
            let mut received = Vec::new();
            // The preface and the first frames; what comes later is not looked at.
            while strict::find(&received, b"SM\r\n\r\n").is_none() || !has_headers(&received) {
                if !more(&mut stream, &mut received) {
                    return;
                }
            }
            follow(&two, &mut stream, &mut received);
        })?;
        Ok(Arc::new(Hostile { http1, http2, scripts }))
    }

    /// Starts a server whose connections go on to `follow` once a request has come over TLS; `Seal` and `Notify` are for it.
    pub fn serve_tls(&self, authority: &Authority) -> Result<SocketAddr> {
        let (config, scripts) = (authority.server()?, self.scripts.clone());
        serve(move |mut stream| {
            let steps = scripts.lock().unwrap_or_else(PoisonError::into_inner).steps.clone();
            let _ = follow_tls(&config, &mut stream, &steps);
        })
    }

    /// What the next requests get.
    pub fn script(&self, steps: Vec<Step>) {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        *scripts = Scripts { steps, taken: 0 };
    }

    /// Bytes of the last flood that the proxy took.
    pub fn taken(&self) -> usize {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).taken
    }
}

/// Whether a HEADERS frame is among the frames behind the preface.
fn has_headers(received: &[u8]) -> bool {
    let mut at = 24;
    while let Some(head) = received.get(at..at + 9) {
        if head[3] == 1 {
            return true;
        }
        at += 9 + (usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]));
    }
    false
}

/// Whether the connection goes on.
fn follow(scripts: &Mutex<Scripts>, stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let steps = scripts.lock().unwrap_or_else(PoisonError::into_inner).steps.clone();
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return false;
                }
            }
            Step::Flood(bytes, limit) => {
                let mut sent = 0;
                while sent < limit && stream.write_all(&bytes).is_ok() {
                    sent += bytes.len();
                    scripts.lock().unwrap_or_else(PoisonError::into_inner).taken = sent;
                }
            }
            Step::Wait(time) => std::thread::park_timeout(time),
            Step::Hang => {
                while more(stream, received) {
                    received.clear();
                }
            }
            Step::Reset => {
                let _ = wire::socket_reset(stream);
                return false;
            }
            Step::NextRequest => return true,
            Step::Seal(_) | Step::SealBroken(_) | Step::Notify => {}
        }
    }
    false
}

/// A script that begins with something to send in clear does so instead of a handshake; others begin when a request has come.
fn follow_tls(config: &Arc<ServerConfig>, stream: &mut TcpStream, steps: &[Step]) -> Result<()> {
    let mut session = ServerConnection::new(config.clone())?;
    if !matches!(steps.first(), Some(Step::Send(_) | Step::Hang | Step::Reset) | None) {
        let mut request = [0; 4096];
        let length = Stream::new(&mut session, stream).read(&mut request)?;
        ensure!(length > 0, "the proxy left");
    }
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(bytes)?,
            Step::Seal(bytes) => Stream::new(&mut session, stream).write_all(bytes)?,
            Step::SealBroken(bytes) => {
                session.writer().write_all(bytes)?;
                let mut sealed = Vec::new();
                session.write_tls(&mut sealed)?;
                if let Some(last) = sealed.last_mut() {
                    *last ^= 1;
                }
                stream.write_all(&sealed)?;
            }
            Step::Notify => {
                session.send_close_notify();
                session.complete_io(stream)?;
            }
            Step::Wait(time) => std::thread::park_timeout(*time),
            Step::Hang => {
                let mut dropped = [0; 4096];
                while stream.read(&mut dropped)? > 0 {}
            }
            Step::Reset => wire::socket_reset(stream)?,
            Step::Flood(..) | Step::NextRequest => {}
        }
    }
    Ok(())
}
