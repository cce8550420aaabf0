//! The servers behind the proxy: one that writes down what it receives, one that answers what a script says, one that just answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::config::ANSWER_LIMIT;
use crate::strict::{self, Framing, Head};
use crate::wire;

/// A request as it arrived behind the proxy.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub enum Seen {
    Request(Arrived),
    Broken(Broken),
}

/// What is no request.
#[derive(Clone, Debug)]
pub enum Broken {
    /// The connection ended in the middle of this.
    Incomplete(#[expect(dead_code, reason = "shown")] String),
    /// It could be read in two ways.
    Ambiguous(String),
}

/// Reads requests without tolerance and writes them down. The beginning of the path says what it answers:
/// `/later` after a while, `/never` not at all, `/unread` neither and reads nothing, `/endless` without end, `/bytes/N` so many bytes,
/// `/echo` what arrives, while it arrives, `/mirror` the body once it is whole; others get `seen METHOD PATH`.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// How long `/later` takes.
pub const LATER: Duration = Duration::from_millis(300);

pub fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The standard library's backlog is too short for hundreds of connections at once.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    let address = listener.local_addr()?;
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_nodelay(true);
            let each = each.clone();
            let spawned = std::thread::Builder::new()
                .stack_size(512 << 10)
                .spawn(move || each(stream));
            drop(spawned);
        }
    });
    Ok(address)
}

/// Answers every request at once.
pub fn prompt() -> Result<SocketAddr> {
    serve(|mut stream| {
        let mut received = Vec::new();
        while let Ok(Some(head)) = next_head(&mut stream, &mut received) {
            received.drain(..head.length);
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsings")
                .is_err()
            {
                return;
            }
        }
    })
}

/// `Ok(None)`: the connection ended between requests.
pub fn next_head(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<Option<Head>, Broken> {
    loop {
        if let Some(head) = strict::head(received).map_err(Broken::Ambiguous)? {
            return Ok(Some(head));
        }
        if !more(stream, received) {
            return match received.is_empty() {
                true => Ok(None),
                false => Err(Broken::Incomplete(String::from_utf8_lossy(received).into_owned())),
            };
        }
    }
}

pub fn more(stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65_536];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => {
            received.extend_from_slice(&buffer[..n]);
            true
        }
    }
}

impl Recorder {
    pub fn start() -> Result<Arc<Self>> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let address = serve(move |mut stream| {
            let note = |seen: Seen| noted.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            let mut received = Vec::new();
            loop {
                match next_head(&mut stream, &mut received) {
                    Ok(None) => return,
                    Err(broken) => return note(Seen::Broken(broken)),
                    Ok(Some(head)) => match exchange(&mut stream, &mut received, &head, &note) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(broken) => return note(Seen::Broken(broken)),
                    },
                }
            }
        })?;
        Ok(Arc::new(Recorder { address, seen }))
    }

    /// What has arrived since the last time, without the good requests of others.
    pub fn take(&self) -> Vec<Seen> {
        let all = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let is_other = |seen: &Seen| matches!(seen, Seen::Request(request) if request.target.starts_with("/sentinel"));
        all.into_iter().filter(|seen| !is_other(seen)).collect()
    }
}

/// One request and its answer; whether the connection goes on.
fn exchange(stream: &mut TcpStream, received: &mut Vec<u8>, head: &Head, note: &impl Fn(Seen)) -> Result<bool, Broken> {
    let mut words = head.line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if words.next() != Some("HTTP/1.1") || words.next().is_some() {
        return Err(Broken::Ambiguous(head.line.clone()));
    }
    let framing = strict::framing(head).map_err(Broken::Ambiguous)?;
    if target.starts_with("/unread") {
        return hang(stream);
    }
    if target.starts_with("/echo") {
        received.drain(..head.length);
        return echo(stream, received);
    }
    received.drain(..head.length);
    let (body, trailers) = body(stream, received, framing, &head.line)?;
    let mirrored = target
        .starts_with("/mirror")
        .then(|| String::from_utf8_lossy(&body).into_owned());
    note(Seen::Request(Arrived {
        method: method.to_owned(),
        target: target.to_owned(),
        fields: head.fields.clone(),
        framing,
        body,
        trailers,
    }));
    if target.starts_with("/never") {
        while more(stream, received) {}
        return Ok(false);
    }
    if target.starts_with("/endless") {
        return endless(stream);
    }
    if target.starts_with("/later") {
        std::thread::park_timeout(LATER);
    }
    let text = match target.strip_prefix("/bytes/").map(str::parse) {
        Some(Ok(length)) => "x".repeat(length),
        _ => mirrored.unwrap_or_else(|| format!("seen {method} {target}")),
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
    let text = if method == "HEAD" { String::new() } else { text };
    Ok(stream.write_all((head + &text).as_bytes()).is_ok())
}

type Body = (Vec<u8>, Vec<(String, String)>);

fn body(stream: &mut TcpStream, received: &mut Vec<u8>, framing: Framing, line: &str) -> Result<Body, Broken> {
    let incomplete = |received: &[u8]| Broken::Incomplete(format!("{line} … {}", String::from_utf8_lossy(received)));
    match framing {
        Framing::None => Ok((Vec::new(), Vec::new())),
        Framing::Length(length) => {
            while received.len() < length {
                if !more(stream, received) {
                    return Err(incomplete(received));
                }
            }
            Ok((received.drain(..length).collect(), Vec::new()))
        }
        Framing::Chunked => loop {
            if let Some(chunked) = strict::chunked(received).map_err(Broken::Ambiguous)? {
                received.drain(..chunked.length);
                return Ok((chunked.body, chunked.trailers));
            }
            if !more(stream, received) {
                return Err(incomplete(received));
            }
        },
    }
}

/// Reads nothing for longer than any limit of the strict listener.
fn hang(stream: &mut TcpStream) -> Result<bool, Broken> {
    std::thread::park_timeout(2 * ANSWER_LIMIT);
    let _ = wire::socket_reset(stream);
    Ok(false)
}

fn endless(stream: &mut TcpStream) -> Result<bool, Broken> {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    while sent.is_ok() {
        sent = stream.write_all(chunk.as_bytes());
    }
    Ok(false)
}

/// Every read of the request's body, whatever its framing, is a chunk of the response.
fn echo(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<bool, Broken> {
    let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    while sent.is_ok() {
        if received.is_empty() && !more(stream, received) {
            break;
        }
        let mut chunk = format!("{:x}\r\n", received.len()).into_bytes();
        chunk.append(received);
        chunk.extend_from_slice(b"\r\n");
        sent = stream.write_all(&chunk);
    }
    Ok(false)
}
