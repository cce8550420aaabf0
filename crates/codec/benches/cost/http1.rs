//! HTTP/1.1: heads as browsers and services send them, and a chunked body.

use std::hint::black_box;

use codec::http1::{
    BodyDecoder, CHUNK_END, ChunkHead, Connection, Framing, Limits, Overrides, Progress, ReceivedRequest,
    ReceivedResponse, request_head, response_head, write_last_chunk, write_request_head, write_response_head,
};
use codec::{Headers, HttpVersion, Method};

use crate::scenario::{Scenario, Work, scenario};

pub const SCENARIOS: &[Scenario] = &[
    scenario("codec/http1/read-request-head", 2000, read_request),
    scenario("codec/http1/write-request-head", 2000, write_request),
    scenario("codec/http1/read-response-head", 2000, read_response),
    scenario("codec/http1/write-response-head", 2000, write_response),
    scenario("codec/http1/read-chunked-16k", 2000, read_chunked),
    scenario("codec/http1/write-chunked-16k", 2000, write_chunked),
];

/// Seven fields, 272 bytes.
const REQUEST: &[u8] = b"GET /productpage?u=normal HTTP/1.1\r\n\
    Host: productpage.default.svc.cluster.local:9080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n\
    Accept: text/html,application/json;q=0.9\r\n\
    Accept-Encoding: gzip, br\r\n\
    Accept-Language: en\r\n\
    Cookie: session=4f2a\r\n\
    X-Trace: 1\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 178\r\n\
    Date: Tue, 03 Mar 2026 10:00:00 GMT\r\n\
    Server: bookinfo\r\n\
    Cache-Control: no-store\r\n\
    Vary: accept-encoding\r\n\r\n";

fn request(progress: &mut Progress, spare: &mut Headers) -> ReceivedRequest {
    let read = request_head(black_box(REQUEST), progress, &Limits::default(), "http", spare);
    read.expect("well formed").expect("whole")
}

fn response(spare: &mut Headers) -> ReceivedResponse {
    let read = response_head(
        black_box(RESPONSE),
        &mut Progress::default(),
        &Limits::default(),
        &Method::GET,
        spare,
    );
    read.expect("well formed").expect("whole")
}

/// The room of one head is used again for the next, as connections do: a client's requests, one after the other.
fn read_request(rounds: u32) -> Work {
    let mut progress = Progress::default();
    let mut spare = request(&mut progress, &mut Headers::default()).head.headers;
    Box::new(move || {
        for _ in 0..rounds {
            spare = black_box(request(&mut progress, &mut spare)).head.headers;
        }
    })
}

fn write_request(rounds: u32) -> Work {
    let head = request(&mut Progress::default(), &mut Headers::default()).head;
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        for _ in 0..rounds {
            out.clear();
            write_request_head(
                &mut out,
                black_box(&head),
                Overrides::default(),
                Framing::Empty,
                Connection::KeepAlive,
            )
            .expect("can be written");
            black_box(&out);
        }
    })
}

fn read_response(rounds: u32) -> Work {
    let mut spare = response(&mut Headers::default()).head.headers;
    Box::new(move || {
        for _ in 0..rounds {
            spare = black_box(response(&mut spare)).head.headers;
        }
    })
}

fn write_response(rounds: u32) -> Work {
    let head = response(&mut Headers::default()).head;
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        for _ in 0..rounds {
            out.clear();
            let framing = write_response_head(
                &mut out,
                black_box(&head),
                HttpVersion::Http11,
                Framing::Length(178),
                Connection::KeepAlive,
            );
            black_box((&out, framing));
        }
    })
}

static DATA: [u8; 4096] = [b'x'; 4096];

/// Four chunks of 4 KiB.
fn write_chunks(out: &mut Vec<u8>) {
    let data = black_box(&DATA);
    for _ in 0..4 {
        out.extend_from_slice(ChunkHead::new(data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_END);
    }
    write_last_chunk(out, None);
}

fn read_chunked(rounds: u32) -> Work {
    let mut body = Vec::new();
    write_chunks(&mut body);
    Box::new(move || {
        for _ in 0..rounds {
            let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::default());
            let mut rest = black_box(body.as_slice());
            while !decoder.has_ended() {
                let step = decoder.decode(rest).expect("well formed");
                black_box(&rest[step.data]);
                rest = &rest[step.consumed..];
            }
        }
    })
}

fn write_chunked(rounds: u32) -> Work {
    let mut out = Vec::with_capacity(32 * 1024);
    Box::new(move || {
        for _ in 0..rounds {
            out.clear();
            write_chunks(&mut out);
            black_box(&out);
        }
    })
}
