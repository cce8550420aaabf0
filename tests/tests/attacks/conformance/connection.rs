//! How a connection begins, what keeps it up and what ends it: sections 3, 5.4, 5.5, 6.5, 6.7, 6.8 and 7.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Row;
use super::Test::{Frames, Talk};
use crate::config::PROMPT;
use crate::frames::{
    ACK, DATA, END_STREAM, Frame, GOAWAY, Http2, PING, PREFACE, PROTOCOL_ERROR, RST_STREAM, SETTINGS, frame, get, post,
    reset, setting,
};
use crate::protocol::Expect::{Answered, Any, Served};

pub fn rows() -> Vec<Row> {
    let with = |id, value| frame(SETTINGS, 0, 0, &setting(id, value));
    let seen = || Answered("seen GET /c");
    vec![
        Row::new("3.4", "the server begins with its settings", Talk(first_frame)),
        Row::new("3.4", "a preface byte by byte", Talk(byte_by_byte)),
        Row::new("3.4", "a request before the server's settings have come", Talk(at_once)),
        Row::new("5.4.1", "an error of the connection ends it", Talk(error_ends)),
        Row::new("5.4.2", "no reset answers a reset", Talk(reset_unanswered)),
        Row::new(
            "5.5",
            "an unknown frame does not end a stream",
            Frames(
                [
                    post(1, "/c"),
                    frame(0x77, 0xff, 1, b"?"),
                    frame(DATA, END_STREAM, 1, b"x"),
                ]
                .concat(),
                Answered("seen POST /c"),
            ),
        ),
        Row::new(
            "5.5",
            "an unknown frame without content",
            Frames([frame(0x0a, 0, 0, &[]), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "5.5",
            "an unknown setting between known ones",
            Frames(
                [
                    frame(
                        SETTINGS,
                        0,
                        0,
                        &[setting(4, 70_000), setting(0xf000, 7), setting(5, 20_000)].concat(),
                    ),
                    get(1, "/c"),
                ]
                .concat(),
                seen(),
            ),
        ),
        Row::new(
            "6.5",
            "settings without content",
            Frames([frame(SETTINGS, 0, 0, &[]), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5",
            "settings with unknown flags",
            Frames(
                [frame(SETTINGS, 0xfe, 0, &setting(4, 65_535)), get(1, "/c")].concat(),
                seen(),
            ),
        ),
        Row::new(
            "6.5.2",
            "push forbidden",
            Frames([with(2, 0), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "push allowed",
            Frames([with(2, 1), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "the largest window",
            Frames([with(4, 0x7fff_ffff), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "the smallest frames",
            Frames([with(5, 16_384), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "the largest frames",
            Frames([with(5, 0xff_ffff), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "a limit on heads",
            Frames([with(6, 65_536), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.2",
            "as many streams as there can be",
            Frames([with(3, u32::MAX), get(1, "/c")].concat(), seen()),
        ),
        Row::new(
            "6.5.3",
            "every settings frame is acknowledged",
            Talk(settings_acknowledged),
        ),
        Row::new("6.7", "a ping comes back as it was", Talk(ping_returns)),
        Row::new("6.7", "an answer to a ping is not answered", Talk(pong_unanswered)),
        Row::new("6.7", "a ping with unknown flags", Talk(flagged_ping)),
        Row::new(
            "6.8",
            "a stream outlives the client's going away",
            Frames(
                [
                    post(1, "/c"),
                    frame(GOAWAY, 0, 0, &[0; 8]),
                    frame(DATA, END_STREAM, 1, b"x"),
                ]
                .concat(),
                Any,
            ),
        ),
        Row::new(
            "6.8",
            "what was asked before going away is answered",
            Talk(answered_after_goaway),
        ),
        Row::new(
            "7",
            "an unknown error in a reset",
            Frames(
                [
                    post(1, "/c"),
                    frame(RST_STREAM, 0, 1, &0xdead_beef_u32.to_be_bytes()),
                    get(3, "/c"),
                ]
                .concat(),
                Served,
            ),
        ),
        Row::new("7", "an unknown error in going away", Talk(unknown_error)),
    ]
}

/// The next frame that fulfils the condition.
pub fn wait_for(client: &mut Http2, what: &str, is_it: impl Fn(&Frame) -> bool) -> Result<Frame> {
    let end = Instant::now() + PROMPT;
    loop {
        let frame = client.next(end).with_context(|| format!("no {what} came"))?;
        if is_it(&frame) {
            return Ok(frame);
        }
    }
}

/// All that comes until there is silence.
pub fn all_that_comes(client: &mut Http2) -> Vec<Frame> {
    const SILENCE: Duration = Duration::from_millis(120);
    std::iter::from_fn(|| client.next(Instant::now() + SILENCE)).collect()
}

fn is_pong(frame: &Frame) -> bool {
    frame.kind == PING && frame.flags & ACK != 0
}

fn first_frame(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    let first = client.next(Instant::now() + PROMPT).context("nothing came")?;
    ensure!(
        first.kind == SETTINGS && first.flags & ACK == 0 && first.stream == 0,
        "{first:?}"
    );
    ensure!(first.payload.len() % 6 == 0, "{first:?}");
    for (id, value) in values(&first) {
        let allowed = match id {
            // Only a client may allow push.
            2 => value == 0,
            4 => value <= 0x7fff_ffff,
            5 => (16_384..0x100_0000).contains(&value),
            _ => true,
        };
        ensure!(allowed, "setting {id} is {value}");
    }
    Ok(())
}

/// Identifiers and values of a settings frame.
pub fn values(settings: &Frame) -> impl Iterator<Item = (u16, u32)> {
    settings.payload.chunks_exact(6).map(|one| {
        (
            u16::from_be_bytes([one[0], one[1]]),
            u32::from_be_bytes([one[2], one[3], one[4], one[5]]),
        )
    })
}

fn byte_by_byte(address: SocketAddr) -> Result<()> {
    let mut client = Http2::silent(address)?;
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &setting(1, 0)), &get(1, "/c")].concat();
    for byte in bytes {
        client.send(&[byte]);
    }
    answered(&mut client, 1)
}

fn at_once(address: SocketAddr) -> Result<()> {
    let mut client = Http2::silent(address)?;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &setting(1, 0)), &get(1, "/c")].concat());
    answered(&mut client, 1)
}

fn answered(client: &mut Http2, stream: u32) -> Result<()> {
    let outcome = client.outcome(stream, PROMPT);
    ensure!(outcome.answered(200), "{outcome:?}");
    Ok(())
}

/// It says which streams it has worked on, why it ends, and ends.
fn error_ends(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&get(1, "/c"));
    answered(&mut client, 1)?;
    client.send(&frame(PING, 0, 1, &[0; 8]));
    let last = wait_for(&mut client, "announcement", |frame| frame.kind == GOAWAY)?;
    let worked_on = last.error_code(0) & 0x7fff_ffff;
    ensure!(
        worked_on >= 1,
        "it says that it has worked on streams up to {worked_on}"
    );
    ensure!(last.error_code(4) == PROTOCOL_ERROR, "{last:?}");
    ensure!(client.wire.ends(PROMPT), "the connection stays open");
    Ok(())
}

fn reset_unanswered(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&[post(1, "/c"), reset(1), frame(PING, 0, 0, &[7; 8])].concat());
    let frames = all_that_comes(&mut client);
    ensure!(frames.iter().any(is_pong), "no answer to the ping: {frames:?}");
    ensure!(frames.iter().all(|frame| frame.kind != RST_STREAM), "{frames:?}");
    Ok(())
}

fn settings_acknowledged(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 100_000)).repeat(2));
    let frames = all_that_comes(&mut client);
    let acknowledged = frames
        .iter()
        .filter(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0)
        .inspect(|frame| assert!(frame.payload.is_empty() && frame.stream == 0, "{frame:?}"))
        .count();
    ensure!(acknowledged == 3, "{acknowledged} of 3: {frames:?}");
    Ok(())
}

fn ping_returns(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&frame(PING, 0, 0, b"\0whoami\xff"));
    let pong = wait_for(&mut client, "answer to a ping", is_pong)?;
    ensure!(pong.payload == b"\0whoami\xff" && pong.stream == 0, "{pong:?}");
    Ok(())
}

fn pong_unanswered(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&[frame(PING, ACK, 0, &[1; 8]), frame(PING, 0, 0, &[2; 8])].concat());
    let frames = all_that_comes(&mut client);
    let pongs: Vec<&Frame> = frames.iter().filter(|frame| frame.kind == PING).collect();
    ensure!(
        pongs.len() == 1 && is_pong(pongs[0]) && pongs[0].payload == [2; 8],
        "{frames:?}"
    );
    Ok(())
}

fn flagged_ping(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&frame(PING, 0xfe, 0, &[3; 8]));
    let pong = wait_for(&mut client, "answer to a ping", is_pong)?;
    ensure!(pong.payload == [3; 8], "{pong:?}");
    Ok(())
}

fn answered_after_goaway(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(&[get(1, "/later"), frame(GOAWAY, 0, 0, &[&[0; 8], &b"bye"[..]].concat())].concat());
    answered(&mut client, 1)
}

fn unknown_error(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[])?;
    client.send(
        &[
            get(1, "/later"),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]),
        ]
        .concat(),
    );
    answered(&mut client, 1)
}
