//! Laws: what is written is read as it was meant, and pieces make no difference.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fields::{Name, Value};
use crate::head::RequestHead;
use crate::http1::BodyDecoder;
use crate::text::Text;

fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = "x[!#$%&'*+.^_`|~0-9a-z-]{0,20}";
    // A value has no space at its ends: readers take it away.
    let byte = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xff_u8];
    let value = vec(byte, 0..40).prop_map(|bytes| bytes.trim_ascii().to_vec());
    (name, value)
}

fn request_head_strategy() -> impl Strategy<Value = RequestHead> {
    let method = "[A-Z]{1,20}".prop_map(|text| Method::from_bytes(text.as_bytes()).expect("a token"));
    let method = method.prop_filter("CONNECT has no path", |method| *method != Method::CONNECT);
    let path = "/[!-\"$-;=?-~\u{a0}-\u{ff}]{0,40}";
    (method, "[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?", path, vec(field(), 0..20)).prop_map(
        |(method, authority, path, fields)| {
            let mut headers = Headers::default();
            for (name, value) in &fields {
                headers.append(Name::new(name).expect("a name"), Value::new(value).expect("a value"));
            }
            RequestHead {
                method,
                scheme: "http",
                authority: Text::from(authority),
                path: Text::from(path),
                version: HttpVersion::Http11,
                headers,
            }
        },
    )
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![any::<u64>().prop_map(Framing::Length), Just(Framing::Chunked)]
}

/// Bytes that come near to being a head, so that more than the first line is looked at.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just(b"GET / HTTP/1.1".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"Host: a".to_vec()),
        Just(b"Content-Length: ".to_vec()),
        Just(b"Transfer-Encoding: chunked".to_vec()),
        Just(b"HTTP/1.1 200 OK".to_vec()),
        vec(any::<u8>(), 0..3),
        "[\\t\\n\\r :,;0-9a-f]{0,3}".prop_map(String::into_bytes),
    ];
    vec(words, 0..12).prop_map(|words| words.concat())
}

fn nearly_chunks() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        "[0-3]{1,2}\r\n".prop_map(String::into_bytes),
        Just(b"1\r\nx\r\n".to_vec()),
        Just(b"2;a=b\r\nxx\r\n".to_vec()),
        Just(b"0\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"A: b\r\n".to_vec()),
        vec(any::<u8>(), 0..3),
    ];
    vec(words, 0..10).prop_map(|words| words.concat())
}

/// All of the body that `input` gives when it comes in these pieces, up to the first fault, and how it ended.
fn decode_in_pieces(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(usize, bool), Malformed>) {
    let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::default());
    let (mut body, mut from) = (Vec::new(), 0);
    for given in cuts.iter().copied().chain([input.len()]) {
        loop {
            let step = match decoder.decode(&input[from..given]) {
                Ok(step) => step,
                Err(error) => return (body, Err(error)),
            };
            body.extend_from_slice(&input[from..given][step.data.clone()]);
            from += step.consumed;
            if step.end {
                return (body, Ok((from, true)));
            }
            if step.consumed == 0 {
                break;
            }
        }
    }
    (body, Ok((from, false)))
}

/// Of a refusal no more than that it is one: what is no HTTP is seen sooner in pieces.
fn outcome(received: Result<Option<ReceivedRequest>, Malformed>) -> Result<Option<String>, ()> {
    received
        .map(|received| received.map(|received| format!("{received:?}")))
        .map_err(drop)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was_meant(head in request_head_strategy(), framing in framing()) {
        let mut out = Vec::new();
        write_request_head(&mut out, &head, Overrides::default(), framing, Connection::KeepAlive).expect("writable");
        let received = request(&out).expect("sound").expect("whole");
        prop_assert_eq!(received.length, out.len());
        prop_assert_eq!((received.body, received.fault, received.keep_alive), (framing, None, true));
        prop_assert_eq!(&received.head.method, &head.method);
        prop_assert_eq!((&received.head.authority, &received.head.path), (&head.authority, &head.path));
        let ours: Vec<_> = received.head.headers.raw().filter(|(name, _)| name[0] == b'x').collect();
        prop_assert_eq!(ours, head.headers.raw().collect::<Vec<_>>());
    }

    #[test]
    fn a_head_is_the_same_in_any_pieces(input in nearly_a_head(), mut cuts in vec(0_usize..200, 0..5)) {
        cuts.retain(|cut| *cut < input.len());
        cuts.sort_unstable();
        let whole = outcome(request(&input));
        let (mut progress, mut spare) = (Progress::default(), Headers::default());
        let in_pieces = cuts.into_iter().chain([input.len()]).find_map(|end| {
            let limits = Limits::default();
            outcome(request_head(&input[..end], &mut progress, &limits, "http", &mut spare)).transpose()
        });
        prop_assert_eq!(in_pieces.transpose(), whole);
    }

    #[test]
    fn a_body_is_the_same_in_any_pieces(input in nearly_chunks(), mut cuts in vec(0_usize..100, 0..6)) {
        cuts.retain(|cut| *cut < input.len());
        cuts.sort_unstable();
        let (whole, whole_end) = decode_in_pieces(&input, &[]);
        let (pieces, pieces_end) = decode_in_pieces(&input, &cuts);
        prop_assert_eq!(pieces_end, whole_end);
        // What a fault follows may have been given before it was seen.
        prop_assert!(whole_end.is_err() || pieces == whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused(input in vec(any::<u8>(), 0..200)) {
        let _ = request(&input);
        let _ = response(&input, &Method::GET);
        let _ = decode_in_pieces(&input, &[]);
    }
}
