//! The life of a stream: section 5.1.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::Row;
use super::Test::{After, Frames, Talk};
use super::connection::{values, wait_for};
use crate::config::PROMPT;
use crate::frames::{
    DATA, END_STREAM, Http2, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, frame, get,
    headers, post, reset, window_update,
};
use crate::protocol::Expect::{Answered, Connection, Served, Stream};

pub fn rows() -> Vec<Row> {
    let mut rows = idle();
    rows.extend(half_closed());
    rows.extend(closed());
    rows.push(Row::new("5.1.2", "more streams than the server takes", Talk(too_many)));
    rows.push(Row::new(
        "5.1.2",
        "a stream that has ended makes room",
        Talk(room_again),
    ));
    rows
}

/// Streams above the highest that was opened.
fn idle() -> Vec<Row> {
    let above = |frames: Vec<u8>| After(get(1, "/c"), frames, Connection(&[PROTOCOL_ERROR]));
    vec![
        Row::new("5.1", "data of a stream above", above(frame(DATA, 0, 5, b"x"))),
        Row::new("5.1", "a reset of a stream above", above(reset(5))),
        Row::new("5.1", "a window of a stream above", above(window_update(5, 1))),
        Row::new(
            "5.1",
            "a priority of a stream above",
            After(get(1, "/c"), frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 1]), Served),
        ),
        Row::new(
            "5.1.1",
            "a stream below one that is open",
            Frames(
                [post(5, "/never"), get(3, "/c")].concat(),
                Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
        ),
        Row::new(
            "5.1.1",
            "data of a stream that was passed over",
            Frames(
                [post(5, "/never"), frame(DATA, 0, 1, b"x")].concat(),
                Stream(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
        ),
        Row::new(
            "5.1.1",
            "streams with gaps between",
            Frames([get(1, "/c"), get(55, "/c")].concat(), Answered("seen GET /c")),
        ),
    ]
}

/// The client has ended its side, the server has not answered yet.
fn half_closed() -> Vec<Row> {
    let later = |frames: Vec<u8>| Frames([get(1, "/later"), frames].concat(), Answered("seen GET /later"));
    vec![
        Row::new("5.1", "a window after the end", later(window_update(1, 10))),
        Row::new(
            "5.1",
            "a priority after the end",
            later(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ),
        Row::new(
            "5.1",
            "a reset after the end",
            Frames([get(1, "/later"), reset(1)].concat(), Served),
        ),
        Row::new(
            "5.1",
            "data without content after the end",
            Frames(
                [get(1, "/later"), frame(DATA, END_STREAM, 1, &[])].concat(),
                Stream(&[STREAM_CLOSED]),
            ),
        ),
        Row::new(
            "5.1",
            "trailers after the end",
            Frames(
                [get(1, "/later"), headers(1, &[("x", "y")], true)].concat(),
                Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
        ),
    ]
}

/// Both sides have ended.
fn closed() -> Vec<Row> {
    let after = |frames: Vec<u8>, expect| After(get(1, "/c"), frames, expect);
    vec![
        Row::new(
            "5.1",
            "a window of a closed stream",
            after(window_update(1, 10), Served),
        ),
        Row::new("5.1", "a reset of a closed stream", after(reset(1), Served)),
        Row::new(
            "5.1",
            "a priority of a closed stream",
            after(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), Served),
        ),
        Row::new(
            "5.1",
            "data of a closed stream",
            after(frame(DATA, END_STREAM, 1, b"x"), Stream(&[STREAM_CLOSED])),
        ),
        Row::new(
            "5.1",
            "a head of a closed stream",
            after(get(1, "/c"), Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        ),
        Row::new(
            "5.1",
            "a window of a stream that was reset",
            Frames(
                [post(1, "/never"), reset(1), window_update(1, 10), get(3, "/c")].concat(),
                Served,
            ),
        ),
        Row::new(
            "5.1",
            "two resets",
            Frames([post(1, "/never"), reset(1), reset(1)].concat(), Served),
        ),
    ]
}

/// How many streams the server says it takes.
fn most(client: &mut Http2) -> Result<Option<u32>> {
    let settings = wait_for(client, "settings", |frame| frame.kind == SETTINGS && frame.flags == 0)?;
    Ok(values(&settings).find_map(|(id, value)| (id == 3).then_some(value)))
}

/// More than so many are not tried: a server that allows as many has other limits.
const TRIED: u32 = 4000;

fn too_many(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    let most = most(&mut client)?.context("the server sets no limit")?;
    ensure!(most <= TRIED, "the server takes {most} streams");
    let frames: Vec<Vec<u8>> = (0..=most).map(|n| post(2 * n + 1, "/c")).collect();
    client.send(&frames.concat());
    let outcome = client.outcome(2 * most + 1, PROMPT);
    let code = outcome.reset.or(outcome.goaway);
    ensure!(
        code.is_some_and(|code| [REFUSED_STREAM, PROTOCOL_ERROR].contains(&code)),
        "of {most} streams the next: {outcome:?}"
    );
    Ok(())
}

fn room_again(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    let most = most(&mut client)?.context("the server sets no limit")?;
    for n in 0..most.min(TRIED) + 10 {
        client.send(
            &[
                post(2 * n + 1, "/c"),
                frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()),
            ]
            .concat(),
        );
        // Not faster than honest clients cancel.
        if n % 20 == 19 {
            client.send(&get(10_001 + 2 * n, "/c"));
            break;
        }
    }
    let outcome = client.outcome(10_001 + 2 * 19, PROMPT);
    ensure!(outcome.answered(200), "{outcome:?}");
    Ok(())
}
