//! The clients in front of the proxy.
//!
//! In a closed loop each connection (each stream of HTTP/2) makes its next request when the last one is answered. In an open
//! loop requests are due at fixed times; one that finds every connection busy waits, and its latency counts from when it was due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mesh_bench::poller::{Interest, Notice, Poller};
use mesh_bench::wire::{READ, Received, Wire};
use mesh_bench::{sockets, tls};

use super::Client;
use super::histogram::Histogram;
use super::http1::{self, Reader, Side};
use super::http2::{Event, Peer};
use super::pace::Pace;

/// Bytes of a message to the echo server.
const ECHO: usize = 128;
/// Bytes of the body of a request over HTTP/2, unless said otherwise.
const GRPC_BODY: usize = 64;
/// Bytes offered to a connection of the bulk run at once.
const BULK: usize = 128 * 1024;
/// Writes to one connection before others have their turn.
const BULK_TURNS: usize = 16;
/// With so many failures one after the other there is nothing to measure.
const MAX_FAILURES: u32 = 20_000;
/// The longest wait without a look at the clock.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Connections stay open for so long after the measured time, so that closing them is not in it.
const LINGER: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Http1,
    Http2,
    RoundTrips,
    Connections,
    Bulk,
}

struct Load {
    poller: Poller,
    role: Role,
    to: u16,
    congestion: Option<String>,
    tls: Option<Arc<rustls::ClientConfig>>,
    request: Vec<u8>,
    request_body: usize,
    streams: usize,
    connections: Vec<Connection>,
    /// Connections (one entry for each stream) that wait for a request to be due.
    idle: Vec<usize>,
    pace: Option<Pace>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    measure: Measure,
    failures: u32,
}

struct Measure {
    running: bool,
    requests: u64,
    errors: u64,
    bytes: u64,
    latencies: Histogram,
}

struct Connection {
    wire: Wire,
    rest: Vec<u8>,
    opened: Instant,
    ready: bool,
    speaks: Speaks,
    interest: Interest,
}

enum Speaks {
    Http1 {
        reader: Reader,
        since: Option<Instant>,
    },
    Http2(Box<Http2>),
    /// Bytes still to come back.
    Echo {
        left: usize,
        since: Option<Instant>,
    },
    Bulk,
}

struct Http2 {
    peer: Peer,
    next: u32,
    events: Vec<Event>,
    flying: Vec<(u32, Instant)>,
    /// Requests for which the window was too small.
    blocked: Vec<Instant>,
}

/// The connection is of no use any more.
enum End {
    /// As it should.
    Done,
    Failed(String),
}

pub fn run(line: &Client, role: Role) -> anyhow::Result<()> {
    let mut load = Load::new(line, role)?;
    for slot in 0..line.connections {
        let connection = load.open(slot)?;
        load.connections.push(connection);
    }
    let start = Instant::now();
    let warm = start + line.warm();
    let end = warm + line.duration();
    load.pace = match role {
        Role::Connections | Role::Bulk => None,
        _ => line
            .rate
            .map(|rate| Pace::new(rate, start + Duration::from_millis(200))),
    };
    load.until(warm)?;
    load.measure.running = true;
    load.measure.errors = 0;
    println!("warm");
    let began = Instant::now();
    load.until(end)?;
    println!("done");
    let seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(LINGER);
    load.report(seconds);
    Ok(())
}

/// Opens connections one after the other, makes a request on each, and keeps them until it is killed.
pub fn hold(line: &Client) -> anyhow::Result<()> {
    let role = if line.h2 { Role::Http2 } else { Role::Http1 };
    let mut load = Load::new(line, role)?;
    load.streams = 1;
    // What becomes ready goes to the list of those that wait, where nothing is ever due.
    load.pace = Some(Pace::new(1e-6, Instant::now() + Duration::from_secs(1_000_000)));
    load.measure.running = true;
    let gap = line
        .rate
        .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
    for slot in 0..line.connections {
        let connection = load.open(slot)?;
        load.connections.push(connection);
        let patience = Instant::now() + Duration::from_secs(5);
        while load.idle.pop().is_none() {
            load.turn(patience)?;
            if Instant::now() >= patience {
                bail!("connection {slot} is not ready: {} errors", load.measure.errors);
            }
        }
        load.issue(slot, Instant::now());
        load.settle(slot);
        while load.measure.requests <= slot as u64 {
            load.turn(patience)?;
            if Instant::now() >= patience {
                bail!("no answer on connection {slot}: {} errors", load.measure.errors);
            }
        }
        load.idle.clear();
        load.until(Instant::now() + gap)?;
    }
    println!("warm");
    load.until(Instant::now() + line.duration())?;
    println!("done");
    load.report(line.duration);
    Ok(())
}

impl Load {
    fn new(line: &Client, role: Role) -> anyhow::Result<Self> {
        let alpn: &[&str] = match role {
            Role::Http1 => &["http/1.1"],
            Role::Http2 => &["h2"],
            Role::RoundTrips | Role::Connections | Role::Bulk => &[],
        };
        let identity = line.tls.identity();
        let config = identity.map(|identity| tls::client(&identity, alpn, line.tls.options()));
        Ok(Load {
            poller: Poller::new()?,
            role,
            to: line.to,
            congestion: line.congestion.clone(),
            tls: config.transpose()?,
            request: http1::request(line.request),
            request_body: if line.request == 0 { GRPC_BODY } else { line.request },
            streams: if role == Role::Http2 { line.streams } else { 1 },
            connections: Vec::new(),
            idle: Vec::new(),
            pace: None,
            plain: vec![0; READ],
            sealed: vec![0; READ],
            measure: Measure {
                running: false,
                requests: 0,
                errors: 0,
                bytes: 0,
                latencies: Histogram::new(),
            },
            failures: 0,
        })
    }

    fn open(&mut self, slot: usize) -> anyhow::Result<Connection> {
        let stream = sockets::connect(self.to, self.congestion.as_deref()).context("connect")?;
        let tls = self.tls.as_ref().map(tls::connect).transpose()?;
        self.poller.add(&stream, slot as u64, Interest::Both)?;
        let mut wire = Wire::new(stream, tls);
        let speaks = match self.role {
            Role::Http1 => Speaks::Http1 {
                reader: Reader::new(Side::Responses),
                since: None,
            },
            Role::Http2 => Speaks::Http2(Box::new(Http2 {
                peer: Peer::client(wire.out()),
                next: 1,
                events: Vec::new(),
                flying: Vec::new(),
                blocked: Vec::new(),
            })),
            Role::RoundTrips | Role::Connections => Speaks::Echo { left: 0, since: None },
            Role::Bulk => Speaks::Bulk,
        };
        Ok(Connection {
            wire,
            rest: Vec::new(),
            opened: Instant::now(),
            ready: false,
            speaks,
            interest: Interest::Both,
        })
    }

    fn until(&mut self, end: Instant) -> anyhow::Result<()> {
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Makes what is due, then waits once, at most until `end`.
    fn turn(&mut self, end: Instant) -> anyhow::Result<()> {
        self.make_due();
        let now = Instant::now();
        let mut limit = end.saturating_duration_since(now).min(LONGEST_WAIT);
        if let Some(pace) = &self.pace {
            limit = limit.min(pace.next().saturating_duration_since(now));
        }
        self.poller.wait(Some(limit))?;
        for index in 0..self.poller.len() {
            let notice = self.poller.notice(index);
            let slot = notice.token as usize;
            if slot >= self.connections.len() {
                continue;
            }
            match self.serve(slot, notice) {
                Ok(()) => self.settle(slot),
                Err(end) => self.replace(slot, end)?,
            }
        }
        Ok(())
    }

    fn make_due(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.pace.as_mut().and_then(|pace| pace.due(now)) {
            match self.idle.pop() {
                Some(slot) => {
                    self.issue(slot, due);
                    self.settle(slot);
                }
                None => self.pace.iter_mut().for_each(|pace| pace.postpone(due)),
            }
        }
    }

    /// A connection can make another request.
    fn available(&mut self, slot: usize) {
        match &mut self.pace {
            None => self.issue(slot, Instant::now()),
            Some(pace) => match pace.waiting() {
                Some(due) => self.issue(slot, due),
                None => self.idle.push(slot),
            },
        }
    }

    fn issue(&mut self, slot: usize, due: Instant) {
        let connection = &mut self.connections[slot];
        match &mut connection.speaks {
            Speaks::Http1 { since, .. } => {
                *since = Some(due);
                connection.wire.out().extend_from_slice(&self.request);
            }
            Speaks::Http2(http2) => {
                let secure = connection.wire.is_tls();
                http2.request(due, self.request_body, secure, connection.wire.out());
            }
            Speaks::Echo { left, since } => {
                let (bytes, began) = match self.role {
                    Role::Connections => (1, connection.opened),
                    _ => (ECHO, due),
                };
                *left = bytes;
                *since = Some(began);
                let out = connection.wire.out();
                out.resize(out.len() + bytes, 0);
            }
            Speaks::Bulk => {}
        }
    }

    fn serve(&mut self, slot: usize, notice: Notice) -> Result<(), End> {
        let connection = &mut self.connections[slot];
        if notice.readable {
            let received = connection.wire.receive(&mut self.plain, &mut self.sealed);
            match received.map_err(|error| End::Failed(error.to_string()))? {
                Received::End => return Err(End::Failed("closed".into())),
                Received::Nothing => {}
                Received::Bytes(count) => self.take(slot, count)?,
            }
        }
        let connection = &mut self.connections[slot];
        if !connection.ready && !connection.wire.is_handshaking() && (notice.writable || connection.wire.is_tls()) {
            connection.ready = true;
            // HTTP/2 waits for the peer's settings.
            if self.role != Role::Http2 && self.role != Role::Bulk {
                self.available(slot);
            }
        }
        if self.role == Role::Bulk && self.connections[slot].ready {
            self.push(slot).map_err(|error| End::Failed(error.to_string()))?;
        }
        Ok(())
    }

    fn push(&mut self, slot: usize) -> std::io::Result<()> {
        let connection = &mut self.connections[slot];
        if self.sealed.len() < BULK {
            self.sealed.resize(BULK, 0);
        }
        for _ in 0..BULK_TURNS {
            let taken = connection.wire.push(&self.sealed[..BULK])?;
            if taken == 0 {
                break;
            }
            if self.measure.running {
                self.measure.bytes += taken as u64;
            }
        }
        Ok(())
    }

    /// Reads the first `count` bytes of `plain`.
    fn take(&mut self, slot: usize, count: usize) -> Result<(), End> {
        let connection = &mut self.connections[slot];
        let bytes = &self.plain[..count];
        let mut answered = Vec::new();
        let mut became_free = 0;
        match &mut connection.speaks {
            Speaks::Http1 { reader, since } => {
                let seen = if connection.rest.is_empty() {
                    let seen = reader.read(bytes).map_err(|unexpected| End::Failed(unexpected.0))?;
                    connection.rest.extend_from_slice(&bytes[seen.used..]);
                    seen
                } else {
                    connection.rest.extend_from_slice(bytes);
                    let seen = reader
                        .read(&connection.rest)
                        .map_err(|unexpected| End::Failed(unexpected.0))?;
                    connection.rest.drain(..seen.used);
                    seen
                };
                if seen.messages > 0 {
                    answered.extend(since.take());
                    became_free = answered.len();
                }
            }
            Speaks::Http2(http2) => {
                let secure = connection.wire.is_tls();
                connection.rest.extend_from_slice(bytes);
                let mut rest = std::mem::take(&mut connection.rest);
                let read = http2.peer.read(&rest, connection.wire.out(), &mut http2.events);
                let used = read.map_err(|_| End::Failed("the peer goes away".into()))?;
                rest.drain(..used);
                connection.rest = rest;
                let mut events = std::mem::take(&mut http2.events);
                for event in events.drain(..) {
                    match event {
                        Event::Settings => became_free += self.streams,
                        Event::Ended(stream) => {
                            answered.extend(http2.landed(stream));
                            became_free += 1;
                        }
                        Event::Reset(stream) => {
                            if http2.landed(stream).is_some() {
                                became_free += 1;
                                self.measure.errors += u64::from(self.measure.running);
                            }
                        }
                        Event::Window => {
                            for due in std::mem::take(&mut http2.blocked) {
                                http2.request(due, self.request_body, secure, connection.wire.out());
                            }
                        }
                    }
                }
                http2.events = events;
            }
            Speaks::Echo { left, since } => {
                *left = left.saturating_sub(count);
                if *left == 0 {
                    answered.extend(since.take());
                    became_free = answered.len();
                }
            }
            Speaks::Bulk => {}
        }
        let now = Instant::now();
        for since in answered {
            self.failures = 0;
            if self.measure.running {
                self.measure.requests += 1;
                self.measure.latencies.record(now.saturating_duration_since(since));
            }
            if self.role == Role::Connections {
                return Err(End::Done);
            }
        }
        for _ in 0..became_free {
            self.available(slot);
        }
        Ok(())
    }

    /// Sends what is to be sent and watches for what is waited for.
    fn settle(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        // A failure shows at the next read.
        let _ = connection.wire.flush();
        let writes = !connection.ready || connection.wire.has_more() || self.role == Role::Bulk;
        let interest = Interest::of(true, writes);
        if interest != connection.interest {
            connection.interest = interest;
            let _ = self.poller.modify(&connection.wire, slot as u64, interest);
        }
    }

    fn replace(&mut self, slot: usize, end: End) -> anyhow::Result<()> {
        match end {
            End::Done if !self.connections[slot].wire.is_tls() => {
                sockets::reset_on_close(self.connections[slot].wire.stream())?;
            }
            End::Done => {
                let _ = self.connections[slot].wire.finish();
            }
            End::Failed(why) => {
                self.measure.errors += 1;
                self.failures += 1;
                if self.failures > MAX_FAILURES {
                    bail!("too many failures, the last: {why}");
                }
                if self.failures == 1 {
                    eprintln!("{why}");
                }
            }
        }
        self.idle.retain(|idle| *idle != slot);
        self.connections[slot] = self.open(slot)?;
        Ok(())
    }

    fn report(&self, seconds: f64) {
        let measure = &self.measure;
        let percentile = |quantile| measure.latencies.percentile(quantile);
        let report = serde_json::json!({
            "requests": measure.requests,
            "errors": measure.errors,
            "bytes": measure.bytes,
            "seconds": seconds,
            "p50": percentile(0.5),
            "p90": percentile(0.9),
            "p99": percentile(0.99),
            "p999": percentile(0.999),
            "backlog": self.pace.as_ref().map_or(0, Pace::backlog),
        });
        println!("{report}");
    }
}

impl Http2 {
    fn request(&mut self, due: Instant, body: usize, secure: bool, out: &mut Vec<u8>) {
        if self.peer.request(self.next, body, secure, out) {
            self.flying.push((self.next, due));
            self.next += 2;
        } else {
            self.blocked.push(due);
        }
    }

    fn landed(&mut self, stream: u32) -> Option<Instant> {
        let at = self.flying.iter().position(|(flying, _)| *flying == stream)?;
        Some(self.flying.swap_remove(at).1)
    }
}
