//! The rig: the server behind a proxy under test, and the clients in front of it.
//!
//! One small single-threaded program for both, so that little of the machine goes to anything but the proxy. It writes and reads
//! fixed messages: heads are prepared once, HPACK blocks too, and of what the other side sends only the frame is understood.
//!
//! A client run prints `warm` when the measured time begins and `done` when it ends (whoever watches the proxy reads its CPU
//! time then), and at last one line of JSON.

#![allow(clippy::print_stdout)] // its output is read by the runner
#![allow(clippy::disallowed_methods)] // it waits for time to pass in another process

mod client;
mod histogram;
mod http1;
mod http2;
mod pace;
mod relay;
mod server;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_bench::tls;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser, Debug)]
#[command(about = "Upstream and load generator of the bench")]
struct Line {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand, Debug)]
enum Mode {
    /// HTTP/1.1 and HTTP/2 server (told apart by the first bytes)
    Serve(Server),
    /// TCP server that answers with what it reads
    Echo(Server),
    /// TCP server that reads and discards
    Sink(Server),
    /// The floor of any TCP proxy: bytes from one socket to another
    Relay(Relay),
    /// HTTP requests on kept connections, as fast as they are answered or at a rate
    Load(Client),
    /// Messages of 128 bytes to an echo server and back on kept connections
    Rr(Client),
    /// Connect, one byte there and back, close
    Cps(Client),
    /// Bytes to a sink, as fast as they are taken
    Bulk(Client),
    /// Connections that make one request each, then stay
    Hold(Client),
}

#[derive(Args, Clone, Debug)]
pub struct Tls {
    #[command(flatten)]
    files: tls::Arguments,
    /// X25519MLKEM768 instead of X25519
    #[arg(long)]
    post_quantum: bool,
    /// Tickets are given and used
    #[arg(long)]
    resumption: bool,
}

impl Tls {
    pub fn identity(&self) -> Option<tls::Identity<'_>> {
        self.files.identity()
    }

    pub fn options(&self) -> tls::Options {
        tls::Options {
            post_quantum: self.post_quantum,
            resumption: self.resumption,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Server {
    #[arg(long)]
    port: u16,
    #[command(flatten)]
    tls: Tls,
    /// Offer h2 to clients over TLS
    #[arg(long)]
    h2: bool,
    /// Bytes of a response's body
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    response: usize,
    /// Close after the first answer
    #[arg(long)]
    once: bool,
    /// TCP congestion control of its sockets
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct Relay {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    to: u16,
    /// Move the bytes inside the kernel
    #[arg(long)]
    splice: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Client {
    #[arg(long)]
    to: u16,
    #[command(flatten)]
    tls: Tls,
    /// HTTP/2, as a gRPC client would
    #[arg(long)]
    h2: bool,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in flight on each HTTP/2 connection
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Requests a second of all connections; latencies then count from when each was due
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before the measured time
    #[arg(long, default_value_t = 1.0)]
    warm: f64,
    /// Seconds measured
    #[arg(long, default_value_t = 2.0)]
    duration: f64,
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    request: usize,
    /// TCP congestion control of its sockets
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

impl Client {
    fn warm(&self) -> Duration {
        Duration::from_secs_f64(self.warm)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration)
    }
}

fn main() -> anyhow::Result<()> {
    match Line::parse().mode {
        Mode::Serve(line) => server::run(&line, server::Role::Http),
        Mode::Echo(line) => server::run(&line, server::Role::Echo),
        Mode::Sink(line) => server::run(&line, server::Role::Sink),
        Mode::Relay(line) => relay::run(&line),
        Mode::Load(line) if line.h2 => client::run(&line, client::Role::Http2),
        Mode::Load(line) => client::run(&line, client::Role::Http1),
        Mode::Rr(line) => client::run(&line, client::Role::RoundTrips),
        Mode::Cps(line) => client::run(&line, client::Role::Connections),
        Mode::Bulk(line) => client::run(&line, client::Role::Bulk),
        Mode::Hold(line) => client::hold(&line),
    }
}
