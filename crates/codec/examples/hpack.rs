//! What a head costs: a gRPC exchange over two connections in memory, as a proxy has them, in nanoseconds for each request. Medians, since
//! whatever else the machine does makes some rounds long.
//!
//! `cargo run --release -p codec --example hpack`

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::hint::black_box;
use std::time::Instant;

use codec::http1::{Framing, Overrides};
use codec::http2::{Config, Connection, Event, Role, StreamKey, Taken};
use codec::{Headers, HttpVersion, Method, Name, RequestHead, ResponseHead, Text, Value};

const ROUNDS: usize = 20_000;
/// Requests that are under way at the same time.
const STREAMS: usize = 32;

fn headers(fields: &[(&'static str, &str)]) -> Headers {
    let mut headers = Headers::with_capacity(16, 768);
    for (name, value) in fields {
        headers.append(Name::from_static(name), Value::new(value.as_bytes()).expect("a value"));
    }
    headers
}

fn request(trace: u64) -> RequestHead {
    RequestHead {
        method: Method::POST,
        scheme: "http",
        authority: Text::from("greeter.default.svc.cluster.local:8080"),
        path: Text::from("/helloworld.Greeter/SayHello"),
        version: HttpVersion::Http2,
        headers: headers(&[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-go/1.71.0"),
            ("grpc-timeout", "15S"),
            ("traceparent", &format!("00-{trace:032x}-{trace:016x}-01")),
        ]),
    }
}

fn carry(from: &mut Connection, to: &mut Connection) {
    to.receive(from.output()).expect("what we send");
    from.advance_output(from.output().len());
}

/// A client and a proxy's near side, or a proxy's far side and a server.
struct Hop {
    client: Connection,
    server: Connection,
}

impl Hop {
    fn new() -> Self {
        let mut hop = Hop {
            client: Connection::new(Role::Client, Config::default()),
            server: Connection::new(Role::Server, Config::default()),
        };
        carry(&mut hop.client, &mut hop.server);
        carry(&mut hop.server, &mut hop.client);
        hop
    }

    fn arrived(&mut self) -> Vec<(StreamKey, RequestHead)> {
        let mut requests = Vec::with_capacity(STREAMS);
        while let Some(event) = self.server.next_event() {
            let Event::Request(key) = event else { continue };
            requests.extend(self.server.take_request(key).map(|request| (key, request.head)));
        }
        requests
    }
}

fn main() {
    let answer = ResponseHead {
        headers: headers(&[("content-type", "application/grpc")]),
        ..ResponseHead::new(200)
    };
    let trailers = headers(&[("grpc-status", "0")]);
    let mut hop = Hop::new();
    let [mut sending, mut receiving, mut answering, mut reading] = [const { Vec::new() }; 4];
    let since = |start: Instant| start.elapsed().as_nanos();
    for round in 0..ROUNDS {
        let heads: Vec<_> = (0..STREAMS as u64).map(|n| request((round as u64) << 8 | n)).collect();
        let start = Instant::now();
        let keys: Vec<_> = heads
            .iter()
            .map(|head| {
                let key = hop
                    .client
                    .send_request(head, Overrides::default(), Framing::Chunked)
                    .expect("a stream");
                hop.client.send_data(key, &[0; 60], true).expect("an open stream");
                key
            })
            .collect();
        sending.push(since(start));

        let start = Instant::now();
        carry(&mut hop.client, &mut hop.server);
        let requests = hop.arrived();
        let mut body = Vec::new();
        for (key, head) in &requests {
            black_box(head);
            while let Ok(Taken::Data) = hop.server.take_piece(*key, &mut body) {
                hop.server.consumed(*key, body.len());
            }
        }
        receiving.push(since(start));

        let start = Instant::now();
        for (key, _) in &requests {
            hop.server
                .send_response(*key, &answer, Framing::Chunked)
                .expect("an open stream");
            hop.server.send_data(*key, &[0; 60], false).expect("an open stream");
            hop.server.send_trailers(*key, &trailers).expect("an open stream");
            hop.server.release(*key);
        }
        answering.push(since(start));

        let start = Instant::now();
        carry(&mut hop.server, &mut hop.client);
        while hop.client.next_event().is_some() {}
        for key in keys {
            black_box(hop.client.take_response(key).expect("an answer"));
            while let Ok(Taken::Data | Taken::Trailers(_)) = hop.client.take_piece(key, &mut body) {
                hop.client.consumed(key, body.len());
            }
            hop.client.release(key);
        }
        reading.push(since(start));
    }
    let each = |mut rounds: Vec<u128>| {
        rounds.sort_unstable();
        rounds[ROUNDS / 2] / STREAMS as u128
    };
    let parts = [
        ("take a request", each(receiving)),
        ("send it on", each(sending)),
        ("take its answer", each(reading)),
        ("send that on", each(answering)),
    ];
    for (what, nanos) in parts {
        println!("{what:>16} {nanos:>6} ns");
    }
    let all: u128 = parts.iter().map(|(_, nanos)| nanos).sum();
    println!("{:>16} {all:>6} ns", "a request");
}
