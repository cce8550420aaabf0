//! Connections against scripted peers, against each other, and against another implementation.

mod abuse;
mod conversation;
mod flow;
mod interop;
mod malformed;

use super::*;
use crate::fields::{Headers, Name, Value};
use crate::head::{HttpVersion, Method, RequestHead, ResponseHead};
use crate::http1::{Framing, Overrides};
use crate::http2::frame::{Kind, PREFACE, flags, put_head};
use crate::text::Text;

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn headers(fields: Fields<'_>) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.append(
            Name::new(name).expect("a name"),
            Value::new(value.as_bytes()).expect("a value"),
        );
    }
    headers
}

fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method,
        scheme: "http",
        authority: Text::from("example.com"),
        path: Text::from(path),
        version: HttpVersion::Http2,
        headers: headers(fields),
    }
}

fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead {
        headers: headers(fields),
        ..ResponseHead::new(status)
    }
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(payload.len(), kind, flags, stream, &mut out);
    out.extend_from_slice(payload);
    out
}

/// A header block of literals that touch no table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// `GET / http example.com`, by the static table.
const GET: &[u8] = b"\x82\x84\x86\x41\x0bexample.com";
const POST: &[u8] = b"\x83\x84\x86\x41\x0bexample.com";

fn get(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, flags::END_HEADERS | flags::END_STREAM, stream, GET)
}

fn post(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, flags::END_HEADERS, stream, POST)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(Kind::RstStream, 0, stream, &8u32.to_be_bytes())
}

fn server() -> Connection {
    server_with(Config::default())
}

/// A server that has been greeted, and whose own greeting is gone.
fn server_with(config: Config) -> Connection {
    let mut server = Connection::new(Role::Server, config);
    server.receive(PREFACE).expect("the preface");
    server.receive(&frame(Kind::Settings, 0, 0, &[])).expect("settings");
    drain(&mut server);
    server
}

fn client() -> Connection {
    let mut client = Connection::new(Role::Client, Config::default());
    client.receive(&frame(Kind::Settings, 0, 0, &[])).expect("settings");
    drain(&mut client);
    client
}

/// Takes what waits to be written.
fn drain(connection: &mut Connection) -> Vec<u8> {
    let out = connection.output().to_vec();
    connection.advance_output(out.len());
    connection.offer_room();
    out
}

/// Kind, stream and payload of each frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push((head[3], stream, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// Streams that were reset in these frames, and by which code.
fn resets(bytes: &[u8]) -> Vec<(u32, ErrorCode)> {
    frames(bytes)
        .into_iter()
        .filter(|(kind, ..)| *kind == 3)
        .map(|(_, stream, payload)| {
            (
                stream,
                ErrorCode(u32::from_be_bytes(payload.try_into().expect("a code"))),
            )
        })
        .collect()
}

fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.next_event())
        .filter(|event| *event != Event::Openable)
        .collect()
}

/// The one request that has come.
fn accept(server: &mut Connection) -> (StreamKey, crate::http2::ReceivedRequest) {
    let key = events(server)
        .into_iter()
        .find_map(|event| match event {
            Event::Request(key) => Some(key),
            _ => None,
        })
        .expect("a request");
    (key, server.take_request(key).expect("its head"))
}

/// All of a body that is here, and what comes behind it.
fn read(connection: &mut Connection, key: StreamKey) -> (Vec<u8>, Result<Option<Headers>, Reset>) {
    let mut body = Vec::new();
    loop {
        let n = match connection.piece(key) {
            Ok(Piece::Data(data)) => {
                body.extend_from_slice(data);
                data.len()
            }
            Ok(Piece::Trailers(trailers)) => return (body, Ok(Some(trailers))),
            Ok(Piece::Pending | Piece::End) => return (body, Ok(None)),
            Err(reset) => return (body, Err(reset)),
        };
        connection.consume(key, n);
    }
}

/// Moves everything between two connections until nothing moves.
fn settle(client: &mut Connection, server: &mut Connection) {
    loop {
        let (up, down) = (drain(client), drain(server));
        if up.is_empty() && down.is_empty() {
            return;
        }
        server.receive(&up).expect("what a client sends");
        client.receive(&down).expect("what a server sends");
    }
}

#[test]
fn a_request_and_its_answer() {
    let mut client = Connection::new(Role::Client, Config::default());
    let mut server = Connection::new(Role::Server, Config::default());
    let head = request(
        Method::POST,
        "/hello.Greeter/SayHello",
        &[
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("x-a", "1"),
            ("connection", "close"),
        ],
    );
    let overrides = Overrides {
        authority: Some("other:8080"),
        attempt: Some(2),
    };
    let stream = client
        .send_request(&head, overrides, Framing::Chunked)
        .expect("a stream");
    assert_eq!(client.send_data(stream, b"hello", true), Ok(5));
    settle(&mut client, &mut server);

    let (key, got) = accept(&mut server);
    assert!(!got.end && got.fault.is_none() && !got.expects_continue);
    assert_eq!(
        (&*got.head.authority, &*got.head.path),
        ("other:8080", "/hello.Greeter/SayHello")
    );
    let fields: Vec<_> = got
        .head
        .headers
        .iter()
        .map(|(name, value)| (name, value.to_str().expect("text")))
        .collect();
    assert_eq!(
        fields,
        [
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("x-a", "1"),
            ("x-envoy-attempt-count", "2")
        ]
    );
    assert_eq!(read(&mut server, key).0, b"hello");
    assert!(server.is_received(key) && !server.is_sent(key));

    server.send_interim(key, 100).expect("an open stream");
    let answer = response(200, &[("content-type", "application/grpc"), ("set-cookie", "a=b")]);
    server
        .send_response(key, &answer, Framing::Chunked)
        .expect("an open stream");
    assert_eq!(server.send_data(key, b"world", false), Ok(5));
    server
        .send_trailers(key, &headers(&[("grpc-status", "0"), ("content-length", "5")]))
        .expect("an open stream");
    assert!(server.is_sent(key) && server.open_streams() == 0);
    server.release(key);
    settle(&mut client, &mut server);

    let got = client.take_response(stream).expect("no reset").expect("an answer");
    assert!(got.head.status == 200 && !got.end && client.is_continued(stream));
    let (body, trailers) = read(&mut client, stream);
    let trailers = trailers.expect("no reset").expect("trailers");
    assert!(body == b"world" && trailers.len() == 1 && trailers.text("grpc-status") == Some("0"));
    client.release(stream);
    assert!(client.open_streams() == 0 && client.output().is_empty() && server.output().is_empty());
}

#[test]
fn no_body_at_all() {
    let (mut client, mut server) = (client(), server());
    let stream = client
        .send_request(&request(Method::HEAD, "/", &[]), Overrides::default(), Framing::Empty)
        .expect("a stream");
    settle(&mut client, &mut server);
    let (key, got) = accept(&mut server);
    assert!(got.end && got.head.method == Method::HEAD);
    server
        .send_response(key, &response(200, &[("content-length", "77")]), Framing::Empty)
        .expect("an open stream");
    settle(&mut client, &mut server);
    let got = client.take_response(stream).expect("no reset").expect("an answer");
    assert!(got.end && got.content_length == Some(77));
    assert!(matches!(client.piece(stream), Ok(Piece::End)));
}

#[test]
fn cookies_become_one_and_hosts_are_compared() {
    let cases: [(Fields<'_>, Option<crate::http1::BadHead>); 6] = [
        (&[(":authority", "a"), ("cookie", "a=1"), ("cookie", "b=2")], None),
        (&[(":authority", "a"), ("host", "A")], None),
        (&[("host", "a")], None),
        (
            &[(":authority", "a"), ("host", "b")],
            Some(crate::http1::BadHead::InvalidHost),
        ),
        (
            &[("host", "a"), ("host", "a")],
            Some(crate::http1::BadHead::InvalidHost),
        ),
        (&[], Some(crate::http1::BadHead::MissingHost)),
    ];
    for (fields, fault) in cases {
        let mut server = server();
        let mut payload = b"\x82\x84\x86".to_vec();
        payload.extend(block(fields));
        server
            .receive(&frame(
                Kind::Headers,
                flags::END_HEADERS | flags::END_STREAM,
                1,
                &payload,
            ))
            .expect("a request");
        let (_, got) = accept(&mut server);
        assert_eq!(got.fault, fault, "{fields:?}");
        if fields.len() == 3 {
            assert_eq!(got.head.headers.text("cookie"), Some("a=1; b=2"));
        }
        assert!(fault.is_some() || got.head.authority.eq_ignore_ascii_case("a"));
    }
}

#[test]
fn a_server_says_goodbye_in_two_steps() {
    let (mut client, mut server) = (client(), server());
    let first = client
        .send_request(&request(Method::GET, "/", &[]), Overrides::default(), Framing::Empty)
        .expect("a stream");
    settle(&mut client, &mut server);
    let (key, _) = accept(&mut server);
    server.begin_drain();
    // What was on its way when the notice came is still served.
    client
        .send_request(
            &request(Method::GET, "/late", &[]),
            Overrides::default(),
            Framing::Empty,
        )
        .expect("a stream");
    let late = drain(&mut client);
    server.receive(&late).expect("a request");
    let (late, _) = accept(&mut server);
    settle(&mut client, &mut server);
    assert!(!client.can_open() && client.is_draining() && !server.is_finished());
    for key in [key, late] {
        server
            .send_response(key, &response(200, &[]), Framing::Empty)
            .expect("an open stream");
        server.release(key);
    }
    settle(&mut client, &mut server);
    assert!(server.is_finished() && client.is_finished());
    assert!(client.take_response(first).expect("no reset").is_some());
    // Too late: not looked at, but the tables go on.
    server.receive(&post(99)).expect("ignored");
    server.receive(&frame(Kind::Data, 0, 99, b"abc")).expect("ignored");
    assert!(server.open_streams() == 0 && events(&mut server).is_empty());
}

#[test]
fn streams_beyond_a_goaway_can_be_sent_again() {
    let mut client = client();
    let get = request(Method::GET, "/", &[]);
    let keys: Vec<_> = (0..3)
        .map(|_| {
            client
                .send_request(&get, Overrides::default(), Framing::Empty)
                .expect("a stream")
        })
        .collect();
    client
        .receive(&frame(Kind::GoAway, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]))
        .expect("a goodbye");
    assert!(client.take_response(keys[0]).expect("still open").is_none());
    assert!(client.take_response(keys[1]).expect("still open").is_none());
    assert_eq!(client.take_response(keys[2]).err(), Some(Reset::Refused));
    assert_eq!(
        client.send_request(&get, Overrides::default(), Framing::Empty).err(),
        Some(CannotOpen::Full)
    );
    client
        .receive(&frame(Kind::RstStream, 0, 1, &7u32.to_be_bytes()))
        .expect("a reset");
    assert_eq!(client.take_response(keys[0]).err(), Some(Reset::Refused));
    client.lose("the peer closed");
    assert_eq!(
        client.take_response(keys[1]).err(),
        Some(Reset::Connection(ErrorCode::NO_ERROR))
    );
}

#[test]
fn a_client_opens_one_stream_until_it_is_told_how_many() {
    let mut client = Connection::new(Role::Client, Config::default());
    let get = request(Method::GET, "/", &[]);
    assert!(client.can_open());
    client
        .send_request(&get, Overrides::default(), Framing::Empty)
        .expect("a stream");
    assert!(!client.can_open());
    client
        .receive(&frame(Kind::Settings, 0, 0, &[0, 3, 0, 0, 0, 2]))
        .expect("settings");
    assert!(client.can_open() && client.next_event() == Some(Event::Openable));
    let second = client
        .send_request(&get, Overrides::default(), Framing::Empty)
        .expect("a stream");
    assert!(!client.can_open() && client.peer_max_streams() == 2);
    client.release(second);
    assert!(client.can_open());
}

/// What is kept for a connection on which nothing happens.
#[test]
fn an_idle_connection_holds_little() {
    let (mut client, mut server) = (client(), server());
    for _ in 0..50 {
        let stream = client
            .send_request(
                &request(Method::GET, "/", &[("user-agent", "u")]),
                Overrides::default(),
                Framing::Empty,
            )
            .expect("a stream");
        settle(&mut client, &mut server);
        let (key, _) = accept(&mut server);
        server
            .send_response(key, &response(200, &[]), Framing::Empty)
            .expect("an open stream");
        server.release(key);
        settle(&mut client, &mut server);
        client.take_response(stream).expect("no reset").expect("an answer");
        client.release(stream);
        settle(&mut client, &mut server);
        events(&mut client);
        events(&mut server);
    }
    assert!(size_of::<Connection>() <= 1600, "{}", size_of::<Connection>());
    for connection in [&client, &server] {
        assert_eq!(connection.output.capacity(), 0);
        assert_eq!(connection.events.capacity(), 0);
        assert_eq!(connection.streams.kept(), 0);
    }
}
