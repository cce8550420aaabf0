//! What a request costs in allocations. Load figures jitter, these do not.

use codec::http1::{
    Connection, Framing, Limits, Overrides, Progress, request_head, response_head, write_request_head,
    write_response_head,
};
use codec::{Headers, HttpVersion, Method};

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

fn forward_request(out: &mut Vec<u8>, spare: &mut Headers) {
    let received = request_head(REQUEST, &mut Progress::default(), &Limits::default(), "http", spare);
    let received = received.expect("sound").expect("whole");
    write_request_head(
        out,
        &received.head,
        Overrides::default(),
        received.body,
        Connection::KeepAlive,
    )
    .expect("writable");
    *spare = received.head.headers;
}

fn forward_response(out: &mut Vec<u8>, spare: &mut Headers) {
    let received = response_head(
        RESPONSE,
        &mut Progress::default(),
        &Limits::default(),
        &Method::GET,
        spare,
    );
    let received = received.expect("sound").expect("whole");
    let framing = write_response_head(
        out,
        &received.head,
        HttpVersion::Http11,
        received.body,
        Connection::KeepAlive,
    );
    assert_eq!(framing, Framing::Length(4183));
    *spare = received.head.headers;
}

#[test]
fn a_head_is_read_and_written_without_an_allocation() {
    let (mut out, mut spare) = (Vec::new(), Headers::default());
    for forward in [forward_request as fn(&mut Vec<u8>, &mut Headers), forward_response] {
        forward(&mut out, &mut spare); // makes the room
        out.clear();
        let counted = allocation_counter::measure(|| forward(&mut out, &mut spare));
        assert_eq!(counted.count_total, 0, "allocations");
    }
}
