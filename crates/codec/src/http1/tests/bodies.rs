//! Bodies: lengths, chunks, trailers, and every way to cut them.

use super::*;
use crate::http1::BodyDecoder;

/// What a body gave when all of `input` was offered, each piece of `at_once` bytes more than before.
fn decode(
    framing: Framing,
    input: &[u8],
    at_once: usize,
) -> Result<(Vec<u8>, usize, bool, Option<Headers>), Malformed> {
    let mut decoder = BodyDecoder::new(framing, &Limits::default());
    let (mut body, mut from, mut given) = (Vec::new(), 0, 0);
    loop {
        let step = decoder.decode(&input[from..given])?;
        body.extend_from_slice(&input[from..given][step.data.clone()]);
        from += step.consumed;
        if step.end || (step.consumed == 0 && given == input.len()) {
            assert_eq!(step.end, decoder.has_ended());
            return Ok((body, from, step.end, decoder.take_trailers()));
        }
        if step.consumed == 0 || from == given {
            given = input.len().min(given + at_once);
        }
    }
}

#[test]
fn chunks_are_taken_whatever_pieces_they_come_in() {
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        ("0\r\n\r\n", "", &[]),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", &[]),
        ("5\r\nhello\r\n000A\r\n0123456789\r\n00\r\n\r\n", "hello0123456789", &[]),
        ("1;a=b;c=\"d e\"\r\nx\r\n0;last\r\n\r\n", "x", &[]),
        (
            "1\r\nx\r\n0\r\ngrpc-status: 0\r\nGrpc-Message:\t ok \r\n\r\n",
            "x",
            &[("grpc-status", "0"), ("grpc-message", "ok")],
        ),
        ("3\r\n\r\n0\r\n0\r\n\r\n", "\r\n0", &[]),
        ("0000000000000001\r\nx\r\n0\r\n\r\n", "x", &[]),
    ];
    for (input, body, trailers) in cases {
        let with_rest = format!("{input}GET / HTTP/1.1\r\n");
        for at_once in 1..=with_rest.len() {
            let (got, consumed, end, fields) =
                decode(Framing::Chunked, with_rest.as_bytes(), at_once).unwrap_or_else(|e| panic!("{input:?}: {e}"));
            assert_eq!(
                (got.as_slice(), consumed, end),
                (body.as_bytes(), input.len(), true),
                "{input:?} {at_once}"
            );
            assert_eq!(fields.as_ref().map(pairs).unwrap_or_default(), *trailers, "{input:?}");
        }
        for end in 0..input.len() {
            let (_, _, ended, _) = decode(Framing::Chunked, &input.as_bytes()[..end], 7).expect("sound so far");
            assert!(!ended, "{input:?} {end}");
        }
    }
}

#[test]
fn a_whole_small_body_is_one_step() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::default());
    let step = decoder.decode(b"5\r\nhello\r\n0\r\n\r\nGET").expect("sound");
    assert_eq!((step.data, step.consumed, step.end), (3..8, 15, true));
    let mut decoder = BodyDecoder::new(Framing::Length(3), &Limits::default());
    let step = decoder.decode(b"abcd").expect("sound");
    assert_eq!((step.data, step.consumed, step.end), (0..3, 3, true));
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    let cases: &[(&str, Malformed)] = &[
        ("\r\n", Malformed::ChunkSize),
        ("x\r\n", Malformed::ChunkSize),
        ("+5\r\nhello\r\n", Malformed::ChunkSize),
        ("-1\r\n", Malformed::ChunkSize),
        ("0x5\r\nhello\r\n", Malformed::ChunkSize),
        (" 5\r\nhello\r\n", Malformed::ChunkSize),
        ("5 \r\nhello\r\n", Malformed::ChunkSize),
        ("5\t;a\r\nhello\r\n", Malformed::ChunkSize),
        ("5_0\r\n", Malformed::ChunkSize),
        (";a\r\n", Malformed::ChunkSize),
        ("00000000000000001\r\nx\r\n", Malformed::ChunkSize),
        ("FFFFFFFFFFFFFFFFF\r\n", Malformed::ChunkSize),
        ("5\nhello\r\n", Malformed::ChunkSize),
        ("5\r\rhello\r\n", Malformed::ChunkSize),
        ("5\rhello\r\n", Malformed::ChunkSize),
        ("5\u{662}\r\n", Malformed::ChunkSize),
        ("1;\nx\r\n", Malformed::ChunkExtension),
        ("1;a=\"\n\"\r\nx\r\n", Malformed::ChunkExtension),
        ("1;\0\r\nx\r\n", Malformed::ChunkExtension),
        ("1;a\rb\r\nx\r\n", Malformed::ChunkSize),
        ("1\r\nxy\r\n", Malformed::ChunkEnd),
        ("1\r\nx\n", Malformed::ChunkEnd),
        ("1\r\nx\r0\r\n", Malformed::ChunkEnd),
        ("1\r\nx0\r\n", Malformed::ChunkEnd),
        ("0\r\n\n", Malformed::BareLineFeed),
        ("0\r\nA: b\n\r\n", Malformed::BareLineFeed),
        ("0\r\n A: b\r\n\r\n", Malformed::Folded),
        ("0\r\nA : b\r\n\r\n", Malformed::FieldName),
        ("0\r\nA: \0\r\n\r\n", Malformed::FieldValue),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Malformed::FieldName),
        ("0\r\nContent-Length: 5\r\n\r\n", Malformed::ForbiddenTrailer),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::ForbiddenTrailer),
        ("0\r\nHOST: b\r\n\r\n", Malformed::ForbiddenTrailer),
        ("0\r\nAuthorization: x\r\n\r\n", Malformed::ForbiddenTrailer),
    ];
    for (input, expected) in cases {
        for at_once in 1..=input.len() {
            assert_eq!(
                decode(Framing::Chunked, input.as_bytes(), at_once).err(),
                Some(*expected),
                "{input:?} {at_once}"
            );
        }
    }
}

#[test]
fn what_is_no_body_has_a_limit() {
    let refused = |input: &str| decode(Framing::Chunked, input.as_bytes(), 1000).err();
    assert_eq!(
        refused(&format!("1;{}\r\n", "a".repeat(4097))),
        Some(Malformed::ChunkExtension)
    );
    // Over all chunks, not for each.
    assert_eq!(
        refused(&format!("1;{}\r\nx\r\n", "a".repeat(40)).repeat(103)),
        Some(Malformed::ChunkExtension)
    );
    assert_eq!(
        refused(&format!("0\r\n{}", "a: b\r\n".repeat(101))),
        Some(Malformed::TooManyTrailers)
    );
    assert_eq!(
        refused(&format!("0\r\na: {}", "b".repeat(8192))),
        Some(Malformed::TrailersTooLong)
    );
}

#[test]
fn a_body_that_is_cut_off_is_no_body() {
    let cases: &[(Framing, &str, Result<(), Malformed>)] = &[
        (Framing::Empty, "", Ok(())),
        (Framing::Length(0), "", Ok(())),
        (Framing::Length(3), "abc", Ok(())),
        (Framing::Length(3), "ab", Err(Malformed::CutOff)),
        (Framing::Chunked, "0\r\n\r\n", Ok(())),
        (Framing::Chunked, "1\r\nx\r\n0\r\n", Err(Malformed::CutOff)),
        (Framing::Chunked, "", Err(Malformed::CutOff)),
        (Framing::UntilClose, "abc", Ok(())),
    ];
    for (framing, input, expected) in cases {
        let mut decoder = BodyDecoder::new(*framing, &Limits::default());
        decoder.decode(input.as_bytes()).expect("sound");
        assert_eq!(decoder.close(), *expected, "{framing:?} {input:?}");
        assert_eq!(decoder.has_ended(), expected.is_ok());
    }
}

#[test]
fn lengths_count_down() {
    let mut decoder = BodyDecoder::new(Framing::Length(5), &Limits::default());
    assert_eq!(decoder.remaining(), Some(5));
    let step = decoder.decode(b"abc").expect("sound");
    assert_eq!(
        (step.data, step.consumed, step.end, decoder.remaining()),
        (0..3, 3, false, Some(2))
    );
    let step = decoder.decode(b"defg").expect("sound");
    assert_eq!(
        (step.data, step.consumed, step.end, decoder.remaining()),
        (0..2, 2, true, Some(0))
    );
    let step = decoder.decode(b"g").expect("sound");
    assert_eq!((step.data, step.consumed, step.end), (0..0, 0, true));
}

/// Data that somebody takes past the decoder counts like data that it has given out.
#[test]
fn what_passes_by_is_not_expected_again() {
    let head = b"a\r\nab";
    let mut chunks = BodyDecoder::new(Framing::Chunked, &Limits::default());
    assert_eq!(chunks.plain(), 0, "a size comes first");
    assert_eq!(chunks.decode(head).expect("sound").data, 3..5);
    assert_eq!(chunks.plain(), 8);
    chunks.pass(3);
    assert_eq!(chunks.plain(), 5);
    chunks.pass(5);
    assert_eq!(chunks.plain(), 0, "the chunk's end comes");
    assert!(chunks.decode(b"\r\n0\r\n\r\n").expect("sound").end);

    let mut length = BodyDecoder::new(Framing::Length(10), &Limits::default());
    assert_eq!(length.plain(), 10);
    length.pass(9);
    assert_eq!((length.plain(), length.has_ended()), (1, false));
    length.pass(1);
    assert!(length.has_ended());

    let mut to_the_close = BodyDecoder::new(Framing::UntilClose, &Limits::default());
    to_the_close.pass(1 << 40);
    assert_eq!(to_the_close.plain(), u64::MAX);
}
