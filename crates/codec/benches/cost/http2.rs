//! HTTP/2: unary gRPC calls between a client's and a server's side of one connection in memory, eight at a time.

use std::hint::black_box;

use codec::http1::{Framing, Overrides};
use codec::http2::{Config, Connection, Event, Role, StreamKey, Taken};
use codec::{Headers, HttpVersion, Method, Name, RequestHead, ResponseHead, Text, Value};

use crate::scenario::{Scenario, Work, scenario};

pub const SCENARIOS: &[Scenario] = &[
    scenario("codec/http2/grpc-call-both-sides", 2000, |rounds| {
        calls(rounds, &MESSAGE)
    }),
    scenario("codec/http2/exchange-of-16k-both-sides", 400, |rounds| {
        calls(rounds, &BODY)
    }),
];

const AT_ONCE: u32 = 8;
/// A small gRPC message, and one that needs a whole frame.
static MESSAGE: [u8; 37] = [b'm'; 37];
static BODY: [u8; 16_384] = [b'x'; 16_384];

fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.append(Name::from_static(name), Value::from_static(value));
    }
    headers
}

fn request() -> RequestHead {
    RequestHead {
        method: Method::POST,
        scheme: "http",
        authority: Text::from("reviews.shop.svc.cluster.local:9080"),
        path: Text::from("/shop.Reviews/Get"),
        version: HttpVersion::Http2,
        headers: headers(&[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-rust/1.0"),
            ("grpc-accept-encoding", "identity,gzip"),
            ("grpc-timeout", "5S"),
            ("x-request-id", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
        ]),
    }
}

struct Talk {
    client: Connection,
    server: Connection,
    request: RequestHead,
    response: ResponseHead,
    trailers: Headers,
    /// What is read, used again.
    buffer: Vec<u8>,
    under_way: Vec<StreamKey>,
}

fn carry(from: &mut Connection, to: &mut Connection) {
    while !from.output().is_empty() {
        to.receive(from.output()).expect("well formed");
        from.advance_output(from.output().len());
        from.offer_room();
    }
}

/// Reads a message to its end, as far as it has come.
fn read(connection: &mut Connection, key: StreamKey, buffer: &mut Vec<u8>) {
    loop {
        match connection.take_piece(key, buffer).expect("an open stream") {
            Taken::Data => connection.consumed(key, black_box(&buffer).len()),
            Taken::Trailers(trailers) => drop(black_box(trailers)),
            Taken::Pending | Taken::End => return,
        }
    }
}

impl Talk {
    fn new() -> Self {
        let mut client = Connection::new(Role::Client, Config::default());
        let mut server = Connection::new(Role::Server, Config::default());
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
        Talk {
            client,
            server,
            request: request(),
            response: ResponseHead {
                headers: headers(&[
                    ("content-type", "application/grpc"),
                    ("grpc-accept-encoding", "identity,gzip"),
                ]),
                ..ResponseHead::new(200)
            },
            trailers: headers(&[("grpc-status", "0")]),
            buffer: Vec::new(),
            under_way: Vec::new(),
        }
    }

    /// Eight calls from the first byte to the last.
    fn group(&mut self, message: &[u8]) {
        for _ in 0..AT_ONCE {
            let head = black_box(&self.request);
            let key = self.client.send_request(head, Overrides::default(), Framing::Chunked);
            let key = key.expect("a stream");
            self.send(true, key, message, true);
            self.under_way.push(key);
        }
        carry(&mut self.client, &mut self.server);
        while let Some(event) = self.server.next_event() {
            if let Event::Request(key) = event {
                self.answer(key, message);
            }
        }
        carry(&mut self.server, &mut self.client);
        carry(&mut self.client, &mut self.server);
        while self.client.next_event().is_some() {}
        for key in std::mem::take(&mut self.under_way) {
            let response = self.client.take_response(key).expect("an open stream");
            black_box(response.expect("a response"));
            read(&mut self.client, key, &mut self.buffer);
            assert!(self.client.is_received(key));
            self.client.release(key);
        }
    }

    fn answer(&mut self, key: StreamKey, message: &[u8]) {
        black_box(self.server.take_request(key).expect("a request"));
        read(&mut self.server, key, &mut self.buffer);
        self.server
            .send_response(key, &self.response, Framing::Chunked)
            .expect("an open stream");
        self.send(false, key, message, false);
        self.server.send_trailers(key, &self.trailers).expect("an open stream");
        self.server.release(key);
    }

    /// The output is carried over as soon as it has no more room.
    fn send(&mut self, from_client: bool, key: StreamKey, message: &[u8], end: bool) {
        let mut rest = black_box(message);
        loop {
            let (from, to) = if from_client {
                (&mut self.client, &mut self.server)
            } else {
                (&mut self.server, &mut self.client)
            };
            rest = &rest[from.send_data(key, rest, end).expect("an open stream")..];
            if rest.is_empty() {
                return;
            }
            carry(from, to);
        }
    }
}

fn calls(rounds: u32, message: &'static [u8]) -> Work {
    let mut talk = Talk::new();
    talk.group(message);
    talk.group(message);
    Box::new(move || {
        for _ in 0..rounds / AT_ONCE {
            talk.group(message);
        }
    })
}
