//! Frames that are to be taken, whatever else is on them, and sizes: sections 4, 6.1 to 6.4, 6.6 and 6.10.

use super::Row;
use super::Test::{After, Frames};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING, PRIORITIZED,
    PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, block, frame, get, post, request, setting,
    window_update,
};
use crate::protocol::Expect::{Answered, Connection, Served, Stream};

/// Flags of which no frame knows.
const UNKNOWN: u8 = 0x52;

pub fn rows() -> Vec<Row> {
    let mut rows = flags();
    rows.extend(sizes());
    rows.extend(heads());
    rows.extend(data());
    rows.extend(short_ones());
    rows
}

fn flags() -> Vec<Row> {
    let head = block(&request("GET", "/c"));
    vec![
        Row::new(
            "4.1",
            "a head with unknown flags",
            Frames(
                frame(HEADERS, END_HEADERS | END_STREAM | UNKNOWN, 1, &head),
                Answered("seen GET /c"),
            ),
        ),
        Row::new(
            "4.1",
            "data with unknown flags",
            Frames(
                [post(1, "/c"), frame(DATA, END_STREAM | UNKNOWN | 4, 1, b"x")].concat(),
                Answered("seen POST /c"),
            ),
        ),
        Row::new(
            "4.1",
            "a window with unknown flags",
            Frames(
                [frame(8, 0xff, 0, &[0, 0, 0, 9]), get(1, "/c")].concat(),
                Answered("seen GET /c"),
            ),
        ),
        Row::new(
            "4.1",
            "a reset with unknown flags",
            Frames(
                [post(1, "/c"), frame(RST_STREAM, 0xff, 1, &8_u32.to_be_bytes())].concat(),
                Served,
            ),
        ),
        Row::new(
            "4.1",
            "a reserved bit before a stream",
            Frames(
                frame(HEADERS, END_HEADERS | END_STREAM, 0x8000_0001, &head),
                Answered("seen GET /c"),
            ),
        ),
        Row::new(
            "4.1",
            "a reserved bit in a window",
            Frames(
                [frame(8, 0, 0, &[0x80, 0, 0, 9]), get(1, "/c")].concat(),
                Answered("seen GET /c"),
            ),
        ),
    ]
}

fn sizes() -> Vec<Row> {
    let wide = "y".repeat(16_000);
    let mut fields = block(&request("GET", "/c"));
    fields.extend(block(&[("x", &wide)]));
    let fill = 16_384 - fields.len() - 6;
    fields.extend(block(&[("f", &"z".repeat(fill))]));
    fields.truncate(16_384);
    let full = Frames(
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields),
        Answered("seen GET /c"),
    );
    vec![
        Row::new(
            "4.2",
            "data of the largest size",
            Frames(
                [post(1, "/c"), frame(DATA, END_STREAM, 1, &[b'x'; 16_384])].concat(),
                Answered("seen POST /c"),
            ),
        ),
        Row::new("4.2", "a head of the largest size", full),
        Row::new(
            "4.2",
            "settings of more than the largest size",
            Frames(
                frame(SETTINGS, 0, 0, &setting(0x99, 1).repeat(2731)),
                Connection(&[FRAME_SIZE_ERROR]),
            ),
        ),
        Row::new(
            "4.2",
            "a continuation of more than the largest size",
            Frames(
                [
                    frame(HEADERS, 0, 1, &block(&request("GET", "/c"))),
                    frame(CONTINUATION, END_HEADERS, 1, &[0; 16_385]),
                ]
                .concat(),
                Connection(&[FRAME_SIZE_ERROR]),
            ),
        ),
    ]
}

fn heads() -> Vec<Row> {
    let head = block(&request("GET", "/c"));
    let (first, second) = head.split_at(head.len() / 2 + 1);
    let broken_by = |other: Vec<u8>| {
        Frames(
            [frame(HEADERS, END_STREAM, 1, first), other].concat(),
            Connection(&[PROTOCOL_ERROR]),
        )
    };
    let pieces = |pieces: &[&[u8]]| {
        let last = pieces.len() - 1;
        let all = pieces.iter().enumerate().map(|(at, piece)| match at {
            0 => frame(HEADERS, END_STREAM, 1, piece),
            _ if at == last => frame(CONTINUATION, END_HEADERS, 1, piece),
            _ => frame(CONTINUATION, 0, 1, piece),
        });
        Frames(all.collect::<Vec<_>>().concat(), Answered("seen GET /c"))
    };
    let single: Vec<&[u8]> = head.chunks(24).collect();
    let priority = [0, 0, 0, 0, 15];
    let whole = |flags: u8, parts: &[&[u8]]| {
        Frames(
            frame(HEADERS, END_HEADERS | END_STREAM | flags, 1, &parts.concat()),
            Answered("seen GET /c"),
        )
    };
    vec![
        Row::new("4.3", "a head in two frames", pieces(&[first, second])),
        Row::new("4.3", "a head in many frames", pieces(&single)),
        Row::new("4.3", "a head with an empty frame in it", pieces(&[first, &[], second])),
        Row::new("4.3", "a head that begins with an empty frame", pieces(&[&[], &head])),
        Row::new("4.3", "a head that ends with an empty frame", pieces(&[&head, &[]])),
        Row::new(
            "4.3",
            "a padded head with a continuation",
            Frames(
                [
                    frame(HEADERS, END_STREAM | PADDED, 1, &[&[3][..], first, &[0; 3]].concat()),
                    frame(CONTINUATION, END_HEADERS, 1, second),
                ]
                .concat(),
                Answered("seen GET /c"),
            ),
        ),
        Row::new("6.2", "a head with a priority", whole(PRIORITIZED, &[&priority, &head])),
        Row::new(
            "6.2",
            "a head with a priority and padding",
            whole(PRIORITIZED | PADDED, &[&[4], &priority, &head, &[0; 4]]),
        ),
        Row::new("6.2", "a head with padding of no length", whole(PADDED, &[&[0], &head])),
        Row::new(
            "6.2",
            "a head that is all padding",
            Frames(
                frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[5, 0, 0, 0, 0, 0]),
                Served,
            ),
        ),
        Row::new(
            "6.2",
            "a head on stream 0",
            Frames(
                frame(HEADERS, END_HEADERS | END_STREAM, 0, &head),
                Connection(&[PROTOCOL_ERROR]),
            ),
        ),
        Row::new(
            "6.2",
            "a priority in a head, with padding over it",
            Frames(
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM | PADDED | PRIORITIZED,
                    1,
                    &[3, 0, 0, 0, 0, 15, 1, 2],
                ),
                Connection(&[PROTOCOL_ERROR]),
            ),
        ),
        Row::new(
            "6.10",
            "a priority in the middle of a head",
            broken_by(frame(PRIORITY, 0, 1, &priority)),
        ),
        Row::new(
            "6.10",
            "a window in the middle of a head",
            broken_by(window_update(0, 1)),
        ),
        Row::new(
            "6.10",
            "a reset in the middle of a head",
            broken_by(frame(RST_STREAM, 0, 1, &[0; 4])),
        ),
        Row::new(
            "6.10",
            "settings in the middle of a head",
            broken_by(frame(SETTINGS, 0, 0, &[])),
        ),
        Row::new(
            "6.10",
            "going away in the middle of a head",
            broken_by(frame(GOAWAY, 0, 0, &[0; 8])),
        ),
        Row::new("6.10", "another head in the middle of a head", broken_by(get(3, "/c"))),
        Row::new("6.10", "the same head in the middle of a head", broken_by(get(1, "/c"))),
        Row::new(
            "6.10",
            "a continuation after the last",
            Frames(
                [
                    frame(HEADERS, END_STREAM, 1, first),
                    frame(CONTINUATION, END_HEADERS, 1, second),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                ]
                .concat(),
                Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
        ),
        Row::new(
            "6.10",
            "a continuation after data",
            Frames(
                [
                    post(1, "/never"),
                    frame(DATA, 0, 1, b"x"),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                ]
                .concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
        ),
        Row::new(
            "6.10",
            "a continuation of a closed stream",
            After(
                get(1, "/c"),
                frame(CONTINUATION, END_HEADERS, 1, &head),
                Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
        ),
    ]
}

fn data() -> Vec<Row> {
    let body = |frames: Vec<u8>, text: &'static str| Frames([post(1, "/mirror"), frames].concat(), Answered(text));
    vec![
        Row::new(
            "6.1",
            "data with padding",
            body(
                frame(DATA, END_STREAM | PADDED, 1, &[&[200][..], b"text", &[0; 200]].concat()),
                "text",
            ),
        ),
        Row::new(
            "6.1",
            "data that is all padding",
            body(
                [frame(DATA, PADDED, 1, &[2, 0, 0]), frame(DATA, END_STREAM, 1, b"text")].concat(),
                "text",
            ),
        ),
        Row::new(
            "6.1",
            "data without content",
            body(
                [
                    frame(DATA, 0, 1, &[]),
                    frame(DATA, 0, 1, b"text"),
                    frame(DATA, END_STREAM, 1, &[]),
                ]
                .concat(),
                "text",
            ),
        ),
        Row::new(
            "6.1",
            "padding of the length of the frame",
            Frames(
                [post(1, "/never"), frame(DATA, PADDED, 1, &[3, 1, 2])].concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
        ),
    ]
}

fn short_ones() -> Vec<Row> {
    let wrong = |frames: Vec<u8>| Frames(frames, Connection(&[FRAME_SIZE_ERROR]));
    vec![
        Row::new(
            "6.3",
            "a priority of six bytes",
            Frames(
                [post(1, "/never"), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1, 1])].concat(),
                Stream(&[FRAME_SIZE_ERROR]),
            ),
        ),
        Row::new(
            "6.3",
            "a priority of an open stream",
            Frames(
                [
                    post(1, "/c"),
                    frame(PRIORITY, 0, 1, &[0x80, 0, 0, 3, 200]),
                    frame(DATA, END_STREAM, 1, b"x"),
                ]
                .concat(),
                Answered("seen POST /c"),
            ),
        ),
        Row::new(
            "6.4",
            "a reset of five bytes",
            wrong([post(1, "/never"), frame(RST_STREAM, 0, 1, &[0; 5])].concat()),
        ),
        Row::new(
            "6.4",
            "a reset without content",
            wrong([post(1, "/never"), frame(RST_STREAM, 0, 1, &[])].concat()),
        ),
        Row::new("6.5", "settings of seven bytes", wrong(frame(SETTINGS, 0, 0, &[0; 7]))),
        Row::new("6.7", "a ping of nine bytes", wrong(frame(PING, 0, 0, &[0; 9]))),
        Row::new(
            "6.7",
            "an answer to a ping, of four bytes",
            wrong(frame(PING, 1, 0, &[0; 4])),
        ),
        Row::new("6.8", "going away without content", wrong(frame(GOAWAY, 0, 0, &[]))),
        Row::new("6.9", "a window of five bytes", wrong(frame(8, 0, 0, &[0, 0, 0, 1, 1]))),
        Row::new(
            "6.9",
            "a window of a stream, of three bytes",
            wrong([post(1, "/never"), frame(8, 0, 1, &[0, 0, 1])].concat()),
        ),
    ]
}
