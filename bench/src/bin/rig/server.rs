//! What stands behind the proxy.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use mesh_bench::poller::{Interest, Notice, Poller};
use mesh_bench::wire::{READ, Received, Wire};
use mesh_bench::{sockets, tls};

use super::Server;
use super::http1::{self, Reader, Side};
use super::http2::{self, Event, Peer};

const LISTENER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Http,
    Echo,
    Sink,
}

pub fn run(line: &Server, role: Role) -> anyhow::Result<()> {
    let listener = sockets::listen(line.port, line.congestion.as_deref()).context("listen")?;
    let alpn: &[&str] = match role {
        Role::Http if line.h2 => &["h2", "http/1.1"],
        Role::Http => &["http/1.1"],
        Role::Echo | Role::Sink => &[],
    };
    let identity = line.tls.identity();
    let config = identity.map(|identity| tls::server(&identity, alpn, line.tls.options()));
    let poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::Read)?;
    Upstream {
        poller,
        listener,
        tls: config.transpose()?,
        role,
        once: line.once,
        response: http1::response(line.response),
        body: line.response,
        connections: Vec::new(),
        free: Vec::new(),
        plain: vec![0; READ],
        sealed: vec![0; READ],
    }
    .serve()
}

struct Upstream {
    poller: Poller,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    role: Role,
    once: bool,
    response: Vec<u8>,
    body: usize,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

struct Connection {
    wire: Wire,
    /// What was received and not used yet.
    rest: Vec<u8>,
    speaks: Speaks,
    interest: Interest,
}

enum Speaks {
    Unknown,
    Http1(Reader),
    Http2(Box<Http2>),
    Bytes,
}

struct Http2 {
    peer: Peer,
    events: Vec<Event>,
    /// Streams to be answered when the window allows.
    waiting: Vec<u32>,
}

impl Upstream {
    fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            self.poller.wait(None)?;
            for index in 0..self.poller.len() {
                let notice = self.poller.notice(index);
                if notice.token == LISTENER {
                    self.accept()?;
                    continue;
                }
                let slot = notice.token as usize;
                // Taken out while it is worked on; one that ends is not put back, which closes it.
                let Some(mut connection) = self.connections.get_mut(slot).and_then(Option::take) else {
                    continue;
                };
                match self.turn(&mut connection, notice) {
                    Some(()) => self.connections[slot] = Some(connection),
                    None => self.free.push(slot),
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        while let Some(stream) = sockets::accept(&self.listener)? {
            let tls = self.tls.as_ref().map(tls::accept).transpose()?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poller.add(&stream, slot as u64, Interest::Read)?;
            self.connections[slot] = Some(Connection {
                wire: Wire::new(stream, tls),
                rest: Vec::new(),
                speaks: if self.role == Role::Http {
                    Speaks::Unknown
                } else {
                    Speaks::Bytes
                },
                interest: Interest::Read,
            });
        }
        Ok(())
    }

    /// Does what a connection is ready for. None: it has ended.
    fn turn(&mut self, connection: &mut Connection, notice: Notice) -> Option<()> {
        let mut open = true;
        if notice.readable {
            match connection.wire.receive(&mut self.plain, &mut self.sealed).ok()? {
                Received::End => return None,
                Received::Nothing => {}
                Received::Bytes(count) => open = self.take(connection, count)?,
            }
        }
        connection.wire.flush().ok()?;
        if !open {
            connection.wire.finish().ok()?;
        }
        let interest = Interest::of(true, connection.wire.has_more());
        if interest != connection.interest {
            connection.interest = interest;
            self.poller.modify(&connection.wire, notice.token, interest).ok()?;
        }
        Some(())
    }

    /// Answers the first `count` bytes of `plain`. `Some(false)`: nothing more will be said.
    fn take(&mut self, connection: &mut Connection, count: usize) -> Option<bool> {
        let bytes = &self.plain[..count];
        match self.role {
            Role::Sink => return Some(true),
            Role::Echo => {
                connection.wire.out().extend_from_slice(bytes);
                return Some(!self.once);
            }
            Role::Http => {}
        }
        if connection.rest.is_empty() {
            let used = connection.answer(bytes, &self.response, self.body)?;
            connection.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut rest = std::mem::take(&mut connection.rest);
            rest.extend_from_slice(bytes);
            let used = connection.answer(&rest, &self.response, self.body)?;
            rest.drain(..used);
            connection.rest = rest;
        }
        Some(true)
    }
}

impl Connection {
    /// Answers requests; returns how many bytes they took.
    fn answer(&mut self, bytes: &[u8], response: &[u8], body: usize) -> Option<usize> {
        if let Speaks::Unknown = self.speaks {
            self.speaks = match http2::is_preface(bytes) {
                None => return Some(0),
                Some(false) => Speaks::Http1(Reader::new(Side::Requests)),
                Some(true) => Speaks::Http2(Box::new(Http2 {
                    peer: Peer::server(self.wire.out()),
                    events: Vec::new(),
                    waiting: Vec::new(),
                })),
            };
        }
        match &mut self.speaks {
            Speaks::Http1(reader) => {
                let seen = reader.read(bytes).ok()?;
                for _ in 0..seen.messages {
                    self.wire.out().extend_from_slice(response);
                }
                Some(seen.used)
            }
            Speaks::Http2(http2) => http2.answer(bytes, body, self.wire.out()),
            Speaks::Unknown | Speaks::Bytes => Some(bytes.len()),
        }
    }
}

impl Http2 {
    fn answer(&mut self, bytes: &[u8], body: usize, out: &mut Vec<u8>) -> Option<usize> {
        let used = self.peer.read(bytes, out, &mut self.events).ok()?;
        for event in self.events.drain(..) {
            match event {
                Event::Ended(stream) => {
                    if !self.waiting.is_empty() || !self.peer.respond(stream, body, out) {
                        self.waiting.push(stream);
                    }
                }
                Event::Reset(stream) => self.waiting.retain(|waiting| *waiting != stream),
                Event::Window => {
                    let answered = self
                        .waiting
                        .iter()
                        .take_while(|stream| self.peer.respond(**stream, body, out))
                        .count();
                    self.waiting.drain(..answered);
                }
                Event::Settings => {}
            }
        }
        Some(used)
    }
}
