//! Servers that follow a script instead of HTTP.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

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
        }
    }
    false
}
