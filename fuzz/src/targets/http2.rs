//! HTTP/2: header blocks, frames, and connections of both roles between a peer that may send anything and streams that do anything.

use codec::http1::{Framing, Overrides};
use codec::http2::{Config, Connection, ErrorCode, Event, PREFACE, Piece, Role, StreamKey, Taken};
use codec::{Headers, HttpVersion, Method, Name, RequestHead, ResponseHead, Text, Value};

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// What a connection may keep for a peer that reads nothing: see [`Connection::is_congested`], and one input beyond it.
const MOST_OUTPUT: usize = 256 * 1024 + 64 * 1024;

fn server() -> Connection {
    let mut server = Connection::new(Role::Server, Config::default());
    server.receive(PREFACE).expect("the preface");
    server.receive(SETTINGS).expect("settings");
    server
}

fn client() -> Connection {
    let mut client = Connection::new(Role::Client, Config::default());
    client.receive(SETTINGS).expect("settings");
    client
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn taken_requests(connection: &mut Connection) -> Vec<(StreamKey, RequestHead)> {
    let mut requests = Vec::new();
    while let Some(event) = connection.next_event() {
        let Event::Request(key) = event else { continue };
        let request = connection.take_request(key).expect("the request of an event");
        requests.push((key, request.head));
    }
    requests
}

/// Blocks, a length and so many bytes each. A block makes the same request whole or in pieces, and a request that is sent on by us comes out
/// the same.
pub fn hpack(bytes: &[u8]) {
    let (mut whole, mut cut) = (server(), server());
    let (mut near, mut far) = (client(), server());
    let mut rest = bytes;
    for id in (1..40).step_by(2) {
        let Some((length, after)) = rest.split_first() else {
            return;
        };
        let (block, after) = after.split_at(after.len().min(usize::from(*length) * 4));
        rest = after;
        let one = whole.receive(&frame(1, 5, id, block));
        let (first, second) = block.split_at(block.len() / 3);
        let two = cut.receive(&[frame(1, 1, id, first), frame(9, 4, id, second)].concat());
        assert_eq!(one, two, "in one piece and in two");
        let (one, two) = (taken_requests(&mut whole), taken_requests(&mut cut));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
        for connection in [&mut whole, &mut cut] {
            let n = connection.output().len();
            connection.advance_output(n);
        }
        for (key, head) in one {
            whole.release(key);
            send_on(&mut near, &mut far, &head);
        }
        for (key, _) in two {
            cut.release(key);
        }
    }
}

fn send_on(near: &mut Connection, far: &mut Connection, head: &RequestHead) {
    let Ok(stream) = near.send_request(head, Overrides::default(), Framing::Empty) else {
        return;
    };
    let n = near.output().len();
    let sent = near.output().to_vec();
    near.advance_output(n);
    near.release(stream);
    // The first bytes were the greeting; a second one is no error to ignore.
    let sent = sent.strip_prefix(PREFACE.as_slice()).unwrap_or(&sent);
    far.receive(sent).expect("what we send");
    let got = taken_requests(far);
    let [(key, got)] = got.as_slice() else {
        panic!("one request: {got:?}")
    };
    let fields = |headers: &Headers| {
        let framing = |name: &[u8]| name == b"content-length" || name == b"te";
        let raw = headers.raw().filter(|(name, _)| !framing(name));
        raw.map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (&got.method, &*got.authority, &*got.path),
        (&head.method, &*head.authority, &*head.path)
    );
    assert_eq!(fields(&got.headers), fields(&head.headers));
    far.release(*key);
    let n = far.output().len();
    far.advance_output(n);
}

/// Bytes behind a greeting: taken whole or in pieces, they make the same connection.
pub fn frames(bytes: &[u8]) {
    for make in [server, client] {
        let (mut whole, mut pieces) = (make(), make());
        let one = whole.receive(bytes);
        let mut two = Ok(());
        for piece in bytes.chunks(1 + bytes.len() % 13) {
            two = two.and_then(|()| pieces.receive(piece));
        }
        assert_eq!(one, two);
        assert_eq!(whole.output(), pieces.output());
        assert_eq!(whole.open_streams(), pieces.open_streams());
        assert_eq!(
            format!("{:?}", taken_requests(&mut whole)),
            format!("{:?}", taken_requests(&mut pieces))
        );
        if one.is_err() {
            assert_eq!(whole.open_streams(), 0);
        }
    }
}

/// A script of what peer and streams do.
pub fn connection_server(bytes: &[u8]) {
    play(server(), bytes);
}

pub fn connection_client(bytes: &[u8]) {
    play(client(), bytes);
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn bytes(&mut self, n: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

fn play(mut connection: Connection, bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut streams: Vec<StreamKey> = Vec::new();
    let body = [7u8; 20_000];
    while let Some(step) = script.byte() {
        let Some(choice) = script.byte() else { break };
        let stream = streams.get(usize::from(choice) % streams.len().max(1)).copied();
        match (step % 12, stream) {
            (0..4, _) => peer(&mut connection, &mut script, choice),
            (4, _) => streams.extend(
                connection
                    .send_request(&request(), Overrides::default(), framing(choice))
                    .ok(),
            ),
            (5, Some(key)) => {
                let _ = connection.send_response(key, &response(), framing(choice));
            }
            (6, Some(key)) => {
                let n = usize::from(choice) * 79;
                let sent = connection.send_data(key, &body[..n.min(body.len())], choice % 5 == 0);
                assert!(sent.is_err() || sent.is_ok_and(|sent| sent <= n));
            }
            (7, Some(key)) => {
                let _ = if choice % 2 == 0 {
                    connection.send_end(key)
                } else {
                    connection.send_trailers(key, &response().headers)
                };
            }
            (8, Some(key)) => receive(&mut connection, key, choice),
            (9, Some(key)) if choice % 2 == 0 => connection.reset(key, ErrorCode::CANCEL),
            (9, Some(key)) => {
                connection.release(key);
                streams.retain(|other| *other != key);
            }
            (10, _) => {
                let n = connection.output().len() * usize::from(choice) / 255;
                connection.advance_output(n);
                connection.offer_room();
            }
            (11, _) if choice % 3 == 0 => connection.begin_drain(),
            (11, _) if choice % 3 == 1 => connection.finish_drain(),
            (11, _) => connection.second_passed(),
            _ => {}
        }
        while let Some(event) = connection.next_event() {
            if let Event::Request(key) = event {
                assert!(connection.take_request(key).is_some());
                streams.push(key);
            }
        }
        assert!(connection.open_streams() <= 100 + streams.len());
    }
    for key in streams {
        connection.release(key);
    }
    assert_eq!(connection.open_streams(), 0);
    let n = connection.output().len();
    connection.advance_output(n);
    assert!(connection.output().is_empty());
}

/// The peer sends a frame, or some bytes.
fn peer(connection: &mut Connection, script: &mut Script<'_>, choice: u8) {
    if connection.is_congested() || connection.output().len() > MOST_OUTPUT {
        let n = connection.output().len();
        connection.advance_output(n);
    }
    let (kind, flags) = (choice % 11, script.byte().unwrap_or(0));
    let stream = u32::from(script.byte().unwrap_or(0) % 16);
    let length = usize::from(script.byte().unwrap_or(0));
    let payload = script.bytes(length);
    let _ = connection.receive(&frame(kind, flags, stream, payload));
    assert!(connection.output().len() <= MOST_OUTPUT);
}

fn receive(connection: &mut Connection, key: StreamKey, choice: u8) {
    if choice.is_multiple_of(2) {
        let mut buffer = Vec::new();
        if let Ok(Taken::Data) = connection.take_piece(key, &mut buffer) {
            assert!(!buffer.is_empty());
            connection.consumed(key, buffer.len());
            connection.recycle(buffer);
        }
        return;
    }
    let _ = connection.take_response(key);
    let n = match connection.piece(key) {
        Ok(Piece::Data(data)) => data.len().min(usize::from(choice)),
        _ => return,
    };
    connection.consume(key, n);
}

fn framing(choice: u8) -> Framing {
    match choice % 3 {
        0 => Framing::Empty,
        1 => Framing::Chunked,
        _ => Framing::Length(u64::from(choice)),
    }
}

fn headers() -> Headers {
    let mut headers = Headers::default();
    headers.append(Name::from_static("x-tenant"), Value::from_static("4711"));
    headers.append(Name::from_static("authorization"), Value::from_static("secret"));
    headers
}

fn request() -> RequestHead {
    RequestHead {
        method: Method::POST,
        scheme: "http",
        authority: Text::from("example.com"),
        path: Text::from("/a"),
        version: HttpVersion::Http2,
        headers: headers(),
    }
}

fn response() -> ResponseHead {
    ResponseHead {
        headers: headers(),
        ..ResponseHead::new(200)
    }
}
