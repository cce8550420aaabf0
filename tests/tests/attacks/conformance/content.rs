//! What heads say and how they are compressed: section 8, and RFC 7541.

use super::Row;
use super::Test::Frames;
use crate::frames::{
    COMPRESSION_ERROR, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, get, headers, integer, post, request,
};
use crate::protocol::Expect::{Answered, Connection};

pub fn rows() -> Vec<Row> {
    let mut rows = messages();
    rows.extend(compression());
    rows
}

fn messages() -> Vec<Row> {
    let with = |more: &[(&str, &str)]| headers(1, &[&request("GET", "/c"), more].concat(), true);
    vec![
        Row::new(
            "8.1",
            "a request with data in many frames",
            Frames(
                [
                    post(1, "/mirror"),
                    frame(DATA, 0, 1, b"a"),
                    frame(DATA, 0, 1, b"b"),
                    frame(DATA, END_STREAM, 1, b"c"),
                ]
                .concat(),
                Answered("abc"),
            ),
        ),
        Row::new(
            "8.1",
            "an answer to HEAD has no content",
            Frames(headers(1, &request("HEAD", "/c"), true), Answered("")),
        ),
        Row::new(
            "8.1",
            "requests side by side",
            Frames([get(1, "/later"), get(3, "/c")].concat(), Answered("seen GET /later")),
        ),
        Row::new(
            "8.1.1",
            "a length as long as the data",
            Frames(
                [
                    headers(
                        1,
                        &[&request("POST", "/mirror")[..], &[("content-length", "4")]].concat(),
                        false,
                    ),
                    frame(DATA, END_STREAM, 1, b"text"),
                ]
                .concat(),
                Answered("text"),
            ),
        ),
        Row::new(
            "8.2.1",
            "a value of nothing",
            Frames(with(&[("x", "")]), Answered("seen GET /c")),
        ),
        Row::new(
            "8.2.3",
            "cookies in pieces",
            Frames(with(&[("cookie", "a=b"), ("cookie", "c=d")]), Answered("seen GET /c")),
        ),
        Row::new(
            "8.3.1",
            "pseudo fields in another order",
            Frames(
                headers(
                    1,
                    &[
                        (":path", "/c"),
                        (":authority", "mesh"),
                        (":scheme", "http"),
                        (":method", "GET"),
                    ],
                    true,
                ),
                Answered("seen GET /c"),
            ),
        ),
    ]
}

fn compression() -> Vec<Row> {
    let head = |stream, block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
    let plain = block(&request("GET", "/c"));
    let behind = |bytes: &[u8]| head(1, &[&plain, bytes].concat());
    let before = |bytes: &[u8]| head(1, &[bytes, &plain].concat());
    let seen = || Answered("seen GET /c");
    let wrong = || Connection(&[COMPRESSION_ERROR]);
    // An entry larger than the whole table.
    let mut large = vec![0x40, 1, b'x'];
    integer(5000, 7, 0, &mut large);
    large.extend([b'y'; 5000]);
    let stored = [0x40, 1, b'x', 1, b'y'];
    vec![
        Row::new(
            "HPACK 2.3.1",
            "fields of the table alone",
            Frames(
                head(1, &[&[0x82, 0x86, 0x41, 4][..], b"mesh", &[0x04, 2], b"/c"].concat()),
                seen(),
            ),
        ),
        Row::new(
            "HPACK 2.3.3",
            "an entry that was never stored",
            Frames(behind(&[0xbe]), wrong()),
        ),
        Row::new(
            "HPACK 2.3.2",
            "an entry of the head before",
            Frames(
                [behind(&stored), head(3, &[&plain[..], &[0xbe]].concat())].concat(),
                seen(),
            ),
        ),
        Row::new(
            "HPACK 2.3.2",
            "an entry of the same head",
            Frames(behind(&[&stored[..], &[0xbe]].concat()), seen()),
        ),
        Row::new(
            "HPACK 4.2",
            "the table changes twice",
            Frames(before(&[0x20, 0x3f, 0xe1, 0x1f]), seen()),
        ),
        Row::new(
            "HPACK 4.3",
            "a smaller table drops entries",
            Frames(
                [behind(&stored), head(3, &[&[0x20][..], &plain, &[0xbe]].concat())].concat(),
                wrong(),
            ),
        ),
        Row::new(
            "HPACK 4.4",
            "an entry larger than the table empties it",
            Frames(
                [
                    behind(&[&stored[..], &large].concat()),
                    head(3, &[&plain[..], &[0xbe]].concat()),
                ]
                .concat(),
                wrong(),
            ),
        ),
        Row::new(
            "HPACK 4.4",
            "an entry larger than the table is a field all the same",
            Frames(behind(&large), seen()),
        ),
        Row::new(
            "HPACK 4.2",
            "a change of the table at the end",
            Frames(behind(&[0x20]), wrong()),
        ),
        Row::new(
            "HPACK 5.1",
            "a number with a zero behind it",
            Frames(before(&[0x3f, 0x80, 0x00]), seen()),
        ),
        Row::new(
            "HPACK 5.2",
            "a Huffman code",
            Frames(behind(&[0, 1, b'x', 0x81, 0x1f]), seen()),
        ),
        Row::new(
            "HPACK 5.2",
            "a Huffman code with eight bits of padding",
            Frames(behind(&[0, 1, b'x', 0x82, 0x1f, 0xff]), wrong()),
        ),
        Row::new(
            "HPACK 5.2",
            "a Huffman code of padding alone",
            Frames(behind(&[0, 1, b'x', 0x81, 0xff]), wrong()),
        ),
        Row::new(
            "HPACK 6.1",
            "index 0 behind other fields",
            Frames(behind(&[0x80]), wrong()),
        ),
        Row::new(
            "HPACK 6.2.2",
            "a field that is not stored",
            Frames(behind(&[0, 1, b'x', 1, b'y']), seen()),
        ),
        Row::new(
            "HPACK 6.2.3",
            "a field that is never stored",
            Frames(behind(&[0x10, 1, b'x', 1, b'y']), seen()),
        ),
        Row::new(
            "HPACK 6.2.1",
            "a name of the table",
            Frames(behind(&[0x60, 3, b'a', b'=', b'b']), seen()),
        ),
        Row::new(
            "HPACK 6.2.1",
            "a name beyond the table",
            Frames(behind(&[0x7f, 0x00, 1, b'y']), wrong()),
        ),
        Row::new(
            "HPACK 6.3",
            "a table one byte larger than allowed",
            Frames(before(&[0x3f, 0xe2, 0x1f]), wrong()),
        ),
    ]
}
