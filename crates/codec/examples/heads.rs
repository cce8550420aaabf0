//! How long it takes to read a head and to write it again, on this machine: `cargo run --release -p codec --example heads [ROUNDS]`.

#![allow(clippy::print_stdout)] // its output is for people

use std::hint::black_box;
use std::time::Instant;

use codec::http1::{
    Connection, Limits, Overrides, Progress, ReceivedRequest, ReceivedResponse, request_head, response_head,
    write_request_head, write_response_head,
};
use codec::{Headers, HttpVersion, Method};

const ROUNDS: u32 = 1_000_000;
/// The shortest of so many measurements counts: the others were disturbed.
const TRIES: u32 = 5;

const REQUEST: &[u8] = b"GET /productpage?u=normal HTTP/1.1\r\n\
    Host: productpage:9080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0)\r\n\
    Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    X-Request-Id: 5d0cbf1e-44a4-4a3e-9c6c-3b1e9f2d1c11\r\n\
    X-Forwarded-Proto: http\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 4183\r\n\
    Server: gunicorn\r\n\
    Date: Tue, 24 Nov 2026 09:00:00 GMT\r\n\r\n";

fn read_request(spare: &mut Headers) -> ReceivedRequest {
    let received = request_head(
        black_box(REQUEST),
        &mut Progress::default(),
        &Limits::default(),
        "http",
        spare,
    );
    received.expect("sound").expect("whole")
}

fn read_response(spare: &mut Headers) -> ReceivedResponse {
    let received = response_head(
        black_box(RESPONSE),
        &mut Progress::default(),
        &Limits::default(),
        &Method::GET,
        spare,
    );
    received.expect("sound").expect("whole")
}

fn time(what: &str, mut once: impl FnMut()) {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS)
        .max(1);
    let nanoseconds = (0..TRIES)
        .map(|_| {
            let started = Instant::now();
            (0..rounds).for_each(|_| once());
            started.elapsed().as_nanos() / u128::from(rounds)
        })
        .min();
    println!("{what}: {} ns", nanoseconds.unwrap_or_default());
}

fn main() {
    let (mut out, mut spare) = (Vec::new(), Headers::default());
    time("read a request of 7 fields", || {
        spare = black_box(read_request(&mut spare)).head.headers;
    });
    let request = read_request(&mut spare);
    time("write it", || {
        out.clear();
        write_request_head(
            &mut out,
            black_box(&request.head),
            Overrides::default(),
            request.body,
            Connection::KeepAlive,
        )
        .expect("writable");
        black_box(&out);
    });
    time("read a response of 4 fields", || {
        spare = black_box(read_response(&mut spare)).head.headers;
    });
    let response = read_response(&mut spare);
    time("write it", || {
        out.clear();
        let framing = write_response_head(
            &mut out,
            black_box(&response.head),
            HttpVersion::Http11,
            response.body,
            Connection::KeepAlive,
        );
        black_box((&out, framing));
    });
}
