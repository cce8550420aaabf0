//! The HTTP/1.1 codec against itself: pieces make no difference, and what was accepted is written so that it is read again as it was meant.

use codec::http1::{
    BodyDecoder, ChunkHead, Connection, Framing, Limits, Malformed, Overrides, Progress, ReceivedRequest,
    ReceivedResponse, ResponseKind, request_head, response_head, write_last_chunk, write_request_head,
    write_response_head,
};
use codec::{Headers, HttpVersion, Method};

/// Longest input that is also given byte by byte.
const BY_BYTES: usize = 600;

pub fn request(data: &[u8]) {
    let whole = read_request(data);
    if data.len() <= BY_BYTES {
        let (mut progress, mut spare) = (Progress::default(), Headers::default());
        let by_bytes = (0..=data.len()).find_map(|end| {
            request_head(&data[..end], &mut progress, &Limits::default(), "http", &mut spare).transpose()
        });
        let shown = by_bytes
            .transpose()
            .map(|received| format!("{received:?}"))
            .map_err(drop);
        assert_eq!(
            shown,
            whole.as_ref().map(|received| format!("{received:?}")).map_err(drop)
        );
    }
    if let Ok(Some(received)) = whole
        && received.fault.is_none()
    {
        request_again(&received);
    }
}

fn read_request(data: &[u8]) -> Result<Option<ReceivedRequest>, Malformed> {
    request_head(
        data,
        &mut Progress::default(),
        &Limits::default(),
        "http",
        &mut Headers::default(),
    )
}

fn request_again(first: &ReceivedRequest) {
    let connection = if first.upgrade {
        Connection::Upgrade
    } else {
        Connection::KeepAlive
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &first.head, Overrides::default(), first.body, connection)
        .expect("what could be read can be written");
    let second = match read_request(&out) {
        Ok(Some(second)) => second,
        // We may add a field or two, and names lose nothing: only a limit may be passed.
        Err(Malformed::HeadTooLong | Malformed::TooManyFields) => return,
        other => panic!("{other:?} for {}", out.escape_ascii()),
    };
    assert_eq!(second.length, out.len());
    assert!(second.fault.is_none() || first.head.authority.is_empty());
    assert_eq!(second.head.method, first.head.method);
    assert_eq!(
        (&second.head.path, &second.head.authority),
        (&first.head.path, &first.head.authority)
    );
    assert_eq!(second.upgrade, first.upgrade);
    assert_eq!(length(second.body), length(first.body));
    assert_eq!(end_to_end(&second.head.headers), end_to_end(&first.head.headers));
}

/// An empty body may be announced as one of no bytes.
fn length(framing: Framing) -> Framing {
    if framing == Framing::Length(0) {
        Framing::Empty
    } else {
        framing
    }
}

/// The fields that are not one connection's.
fn end_to_end(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    const OWN: [&[u8]; 7] = [
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    ];
    headers.raw().filter(|(name, _)| !OWN.contains(name)).collect()
}

pub fn response(data: &[u8]) {
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        let Ok(Some(first)) = read_response(data, &method) else {
            continue;
        };
        assert!(first.length <= data.len());
        for version in [HttpVersion::Http11, HttpVersion::Http10] {
            response_again(&first, &method, version);
        }
    }
}

fn read_response(data: &[u8], method: &Method) -> Result<Option<ReceivedResponse>, Malformed> {
    response_head(
        data,
        &mut Progress::default(),
        &Limits::default(),
        method,
        &mut Headers::default(),
    )
}

fn response_again(first: &ReceivedResponse, method: &Method, version: HttpVersion) {
    let mut out = Vec::new();
    let framing = write_response_head(&mut out, &first.head, version, first.body, Connection::KeepAlive);
    let second = match read_response(&out, method) {
        Ok(Some(second)) => second,
        Err(Malformed::HeadTooLong | Malformed::TooManyFields) => return,
        other => panic!("{other:?} for {}", out.escape_ascii()),
    };
    assert_eq!(
        (second.length, second.body, second.kind),
        (out.len(), framing, first.kind)
    );
    assert_eq!(second.head.status, first.head.status);
    assert_eq!(second.keep_alive, framing != Framing::UntilClose);
    assert!(first.kind == ResponseKind::Final || framing == Framing::Empty);
    assert_eq!(end_to_end(&second.head.headers), end_to_end(&first.head.headers));
}

/// A chunked body, in one piece and in pieces whose length the first byte says.
pub fn chunked(data: &[u8]) {
    let Some((at_once, input)) = data.split_first() else {
        return;
    };
    let whole = decode(input, input.len().max(1));
    let pieces = decode(input, usize::from(*at_once).max(1));
    match (&whole, &pieces) {
        (Err(one), Err(other)) => assert_eq!(one, other),
        (Ok(one), Ok(other)) => {
            assert_eq!(
                (&one.data, one.consumed, one.ended),
                (&other.data, other.consumed, other.ended)
            );
            assert_eq!(shown(&one.trailers), shown(&other.trailers));
        }
        _ => panic!("{whole:?} in one piece, {pieces:?} in many"),
    }
    if let Ok(body) = whole
        && body.ended
    {
        again(&body);
    }
}

#[derive(Debug)]
struct Body {
    data: Vec<u8>,
    consumed: usize,
    ended: bool,
    trailers: Option<Headers>,
}

fn shown(trailers: &Option<Headers>) -> String {
    format!("{trailers:?}")
}

fn decode(input: &[u8], at_once: usize) -> Result<Body, Malformed> {
    let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::default());
    let (mut data, mut consumed, mut given) = (Vec::new(), 0, 0);
    loop {
        let step = decoder.decode(&input[consumed..given])?;
        data.extend_from_slice(&input[consumed..given][step.data.clone()]);
        assert!(step.data.is_empty() || step.data.end <= step.consumed);
        consumed += step.consumed;
        if step.end || (step.consumed == 0 && given == input.len()) {
            return Ok(Body {
                data,
                consumed,
                ended: step.end,
                trailers: decoder.take_trailers(),
            });
        }
        if step.consumed == 0 {
            given = input.len().min(given + at_once);
        }
    }
}

fn again(body: &Body) {
    let mut out = Vec::new();
    for piece in body.data.chunks(100) {
        out.extend_from_slice(ChunkHead::new(piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(codec::http1::CHUNK_END);
    }
    write_last_chunk(&mut out, body.trailers.as_ref());
    let second = decode(&out, out.len()).expect("what was written can be read");
    assert!(second.ended && second.consumed == out.len());
    assert_eq!(second.data, body.data);
    assert_eq!(shown(&second.trailers), shown(&body.trailers));
}
