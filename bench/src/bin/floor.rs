//! The least an HTTP/1.1 proxy can do: read a head, choose an idle connection to the server, pass on head and body with one header line
//! added, and the answer back. No policy, no telemetry, no limits: what any proxy of this shape must spend, in about two hundred lines.

use std::net::TcpListener;
use std::sync::Arc;

use clap::Parser;
use mesh_bench::poller::{Interest, Notice, Poller};
use mesh_bench::wire::{READ, Received, Wire};
use mesh_bench::{sockets, tls};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LISTENER: u64 = u64::MAX;
/// A side that has more than this to send is not read for.
const MAX_PENDING: usize = 256 * 1024;
const REQUEST_LINE: &[u8] = b"x-request-id: 4f9c1a56-0e0c-4d4c-9a3f-6f6a6f1f7b11\r\n\r\n";
const RESPONSE_LINE: &[u8] = b"x-envoy-upstream-service-time: 1\r\n\r\n";

#[derive(Parser, Debug)]
struct Line {
    listen: u16,
    to: u16,
    /// TLS is spoken with clients
    #[arg(long)]
    tls_in: bool,
    /// TLS is spoken with the server
    #[arg(long)]
    tls_out: bool,
    #[command(flatten)]
    files: tls::Arguments,
}

fn main() -> anyhow::Result<()> {
    let line = Line::parse();
    let identity = line.files.identity();
    let alpn = &["http/1.1"];
    let server = |identity: &tls::Identity<'_>| tls::server(identity, alpn, tls::Options::default());
    let client = |identity: &tls::Identity<'_>| tls::client(identity, alpn, tls::Options::default());
    let listener = sockets::listen(line.listen, None)?;
    let poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::Read)?;
    Floor {
        poller,
        to: line.to,
        tls_in: identity.as_ref().filter(|_| line.tls_in).map(server).transpose()?,
        tls_out: identity.as_ref().filter(|_| line.tls_out).map(client).transpose()?,
        sides: Vec::new(),
        free: Vec::new(),
        idle: Vec::new(),
        plain: vec![0; READ],
        sealed: vec![0; READ],
    }
    .serve(&listener)
}

struct Floor {
    poller: Poller,
    to: u16,
    tls_in: Option<Arc<rustls::ServerConfig>>,
    tls_out: Option<Arc<rustls::ClientConfig>>,
    sides: Vec<Option<Box<Side>>>,
    free: Vec<usize>,
    /// Connections to the server that nobody uses.
    idle: Vec<usize>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

struct Side {
    wire: Wire,
    upstream: bool,
    /// The other side of the current exchange.
    peer: Option<usize>,
    /// The head of the current message has gone; so much of its body has not come yet.
    body: Option<u64>,
    /// What came and cannot be passed on yet.
    rest: Vec<u8>,
    interest: Interest,
}

/// The connection is of no use any more.
struct Broken;

impl Floor {
    fn serve(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            self.poller.wait(None)?;
            for index in 0..self.poller.len() {
                let notice = self.poller.notice(index);
                if notice.token == LISTENER {
                    while let Some(stream) = sockets::accept(listener)? {
                        let tls = self.tls_in.as_ref().map(tls::accept).transpose()?;
                        self.add(Wire::new(stream, tls), false)?;
                    }
                    continue;
                }
                let slot = notice.token as usize;
                if self.sides.get(slot).is_some_and(Option::is_some) && self.turn(slot, notice).is_err() {
                    self.close(slot);
                }
            }
        }
    }

    fn add(&mut self, wire: Wire, upstream: bool) -> std::io::Result<usize> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sides.push(None);
            self.sides.len() - 1
        });
        // A connection that is being made tells by becoming writable.
        let interest = if upstream { Interest::Both } else { Interest::Read };
        self.poller.add(&wire, slot as u64, interest)?;
        self.sides[slot] = Some(Box::new(Side {
            wire,
            upstream,
            peer: None,
            body: None,
            rest: Vec::new(),
            interest,
        }));
        Ok(slot)
    }

    fn side(&mut self, slot: usize) -> Result<&mut Side, Broken> {
        self.sides.get_mut(slot).and_then(Option::as_deref_mut).ok_or(Broken)
    }

    fn close(&mut self, slot: usize) {
        let Some(side) = self.sides[slot].take() else { return };
        self.free.push(slot);
        self.idle.retain(|idle| *idle != slot);
        if let Some(peer) = side.peer {
            self.close(peer);
        }
    }

    fn turn(&mut self, slot: usize, notice: Notice) -> Result<(), Broken> {
        if notice.readable {
            let side = self.sides.get_mut(slot).and_then(Option::as_deref_mut).ok_or(Broken)?;
            match side
                .wire
                .receive(&mut self.plain, &mut self.sealed)
                .map_err(|_| Broken)?
            {
                Received::End => return Err(Broken),
                Received::Nothing => {}
                Received::Bytes(count) => self.take(slot, count)?,
            }
        }
        let peer = self.side(slot)?.peer;
        self.settle(slot)?;
        if let Some(peer) = peer {
            self.settle(peer)?;
        }
        Ok(())
    }

    /// Sends what is to be sent and watches for what can be used.
    fn settle(&mut self, slot: usize) -> Result<(), Broken> {
        let peer = self.side(slot)?.peer;
        let choked = peer
            .and_then(|peer| self.side(peer).ok())
            .is_some_and(|peer| peer.wire.pending() > MAX_PENDING);
        let side = self.sides.get_mut(slot).and_then(Option::as_deref_mut).ok_or(Broken)?;
        // What a socket that is not connected yet says here, its next notice says too.
        let _ = side.wire.flush();
        let interest = Interest::of(!choked, side.wire.has_more());
        if interest != side.interest {
            side.interest = interest;
            self.poller
                .modify(&side.wire, slot as u64, interest)
                .map_err(|_| Broken)?;
        }
        Ok(())
    }

    /// Passes on the first `count` bytes of `plain`.
    fn take(&mut self, slot: usize, count: usize) -> Result<(), Broken> {
        let plain = std::mem::take(&mut self.plain);
        let rest = std::mem::take(&mut self.side(slot)?.rest);
        let result = if rest.is_empty() {
            self.pass(slot, &plain[..count])
        } else {
            self.pass(slot, &[&rest, &plain[..count]].concat())
        };
        self.plain = plain;
        result
    }

    fn pass(&mut self, slot: usize, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let side = self.side(slot)?;
            let (upstream, peer, body) = (side.upstream, side.peer, side.body);
            if let Some(left) = body.filter(|left| *left > 0) {
                let now = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.side(peer.ok_or(Broken)?)?
                    .wire
                    .out()
                    .extend_from_slice(&bytes[..now]);
                bytes = &bytes[now..];
                self.progress(slot, left - now as u64)?;
                continue;
            }
            if upstream && peer.is_none() {
                return Err(Broken); // it speaks without being asked
            }
            let waits = !upstream && peer.is_some();
            let Some((head, body)) = (if waits { None } else { head(bytes, upstream)? }) else {
                self.side(slot)?.rest.extend_from_slice(bytes);
                return Ok(());
            };
            let peer = match peer {
                Some(peer) => peer,
                None => self.join(slot)?,
            };
            let added = if upstream { RESPONSE_LINE } else { REQUEST_LINE };
            let out = self.side(peer)?.wire.out();
            out.extend_from_slice(&bytes[..head - 2]);
            out.extend_from_slice(added);
            bytes = &bytes[head..];
            self.progress(slot, body)?;
        }
        Ok(())
    }

    /// So much of the message's body is still to come; with nothing, a response ends the exchange.
    fn progress(&mut self, slot: usize, left: u64) -> Result<(), Broken> {
        let side = self.side(slot)?;
        side.body = Some(left);
        if left > 0 || !side.upstream {
            return Ok(());
        }
        side.body = None;
        let client = side.peer.take().ok_or(Broken)?;
        self.idle.push(slot);
        let side = self.side(client)?;
        (side.peer, side.body) = (None, None);
        self.settle(client)
    }

    /// Finds the client a connection to the server.
    fn join(&mut self, client: usize) -> Result<usize, Broken> {
        let server = match self.idle.pop() {
            Some(server) => server,
            None => {
                let stream = sockets::connect(self.to, None).map_err(|_| Broken)?;
                let tls = self
                    .tls_out
                    .as_ref()
                    .map(tls::connect)
                    .transpose()
                    .map_err(|_| Broken)?;
                self.add(Wire::new(stream, tls), true).map_err(|_| Broken)?
            }
        };
        self.side(server)?.peer = Some(client);
        self.side(client)?.peer = Some(server);
        Ok(server)
    }
}

/// Bytes of a head and of the body it announces; none if it has not come in whole.
fn head(bytes: &[u8], response: bool) -> Result<Option<(usize, u64)>, Broken> {
    let mut space = [httparse::EMPTY_HEADER; 64];
    let (status, headers) = if response {
        let mut message = httparse::Response::new(&mut space);
        (message.parse(bytes).map_err(|_| Broken)?, message.headers)
    } else {
        let mut message = httparse::Request::new(&mut space);
        (message.parse(bytes).map_err(|_| Broken)?, message.headers)
    };
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let body = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = body.map_or(Some(0), |header| std::str::from_utf8(header.value).ok()?.parse().ok());
    Ok(Some((length, body.ok_or(Broken)?)))
}
