//! Windows, to the byte: sections 5.2 and 6.9; and what the server's own frames may be.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Row;
use super::Test::{Frames, Talk};
use super::connection::{all_that_comes, values};
use crate::config::PROMPT;
use crate::frames::{DATA, END_STREAM, Frame, Http2, PADDED, SETTINGS, frame, get, post, setting, window_update};
use crate::protocol::Expect::Answered;

const INITIAL: u16 = 4;
const MOST: u32 = 0x7fff_ffff;

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("5.2.1", "one byte at a time", Talk(one_byte)),
        Row::new("5.2.1", "an answer without content needs no window", Talk(no_content)),
        Row::new("5.2.1", "a stream without window holds up no other", Talk(others)),
        Row::new(
            "6.9",
            "the largest window",
            Frames(
                [window_update(0, MOST - 65_535), get(1, "/c")].concat(),
                Answered("seen GET /c"),
            ),
        ),
        Row::new(
            "6.9",
            "the largest window of a stream",
            Frames(
                [
                    post(1, "/c"),
                    window_update(1, MOST - 65_535),
                    frame(DATA, END_STREAM, 1, b"x"),
                ]
                .concat(),
                Answered("seen POST /c"),
            ),
        ),
        Row::new(
            "6.9.1",
            "the server gives room again",
            Talk(|address| upload(address, 0)),
        ),
        Row::new(
            "6.9.1",
            "padding takes room, and gives it back",
            Talk(|address| upload(address, 255)),
        ),
        Row::new("6.9.2", "a window grows by settings", Talk(grows)),
        Row::new("6.9.2", "a window below zero", Talk(below_zero)),
        Row::new(
            "6.9.2",
            "settings leave the connection's window",
            Talk(connection_window),
        ),
        Row::new("6.5.3", "settings count in their order", Talk(in_order)),
        Row::new(
            "4.2",
            "frames are as large as the client allows",
            Talk(|address| frame_size(address, 16_384)),
        ),
        Row::new(
            "4.2",
            "frames may be larger",
            Talk(|address| frame_size(address, 65_536)),
        ),
    ]
}

/// What comes on a stream until there is silence: length of all data, and whether it has ended.
fn comes(client: &mut Http2, stream: u32) -> (usize, bool) {
    let frames = all_that_comes(client);
    let own = || frames.iter().filter(|frame| frame.stream == stream);
    let ended = own().any(|frame| matches!(frame.kind, 0 | 1) && frame.flags & END_STREAM != 0);
    let data = own().filter(|frame| frame.kind == DATA);
    (data.map(|frame| frame.payload.len()).sum(), ended)
}

fn came(client: &mut Http2, expected: (usize, bool)) -> Result<()> {
    let (length, ended) = comes(client, 1);
    ensure!(
        (length, ended) == expected,
        "{length} bytes (ended: {ended}); expected {expected:?}"
    );
    Ok(())
}

fn one_byte(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, 1))?;
    client.send(&get(1, "/bytes/4"));
    came(&mut client, (1, false))?;
    client.send(&window_update(1, 1));
    came(&mut client, (1, false))?;
    client.send(&window_update(1, 2));
    came(&mut client, (2, true))
}

fn no_content(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, 0))?;
    client.send(&get(1, "/bytes/0"));
    came(&mut client, (0, true))
}

fn others(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, 0))?;
    client.send(&[get(1, "/bytes/10"), get(3, "/bytes/10"), window_update(3, 10)].concat());
    let outcome = client.outcome(3, PROMPT);
    ensure!(outcome.answered(200) && outcome.body.len() == 10, "{outcome:?}");
    client.send(&window_update(1, 10));
    let outcome = client.outcome(1, PROMPT);
    ensure!(outcome.ended && outcome.body.len() == 10, "{outcome:?}");
    Ok(())
}

fn grows(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, 0))?;
    client.send(&get(1, "/bytes/5"));
    came(&mut client, (0, false))?;
    client.send(&frame(SETTINGS, 0, 0, &setting(INITIAL, 2)));
    came(&mut client, (2, false))?;
    client.send(&frame(SETTINGS, 0, 0, &setting(INITIAL, 100)));
    came(&mut client, (3, true))
}

fn below_zero(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, 10))?;
    client.send(&get(1, "/bytes/20"));
    came(&mut client, (10, false))?;
    client.send(&[frame(SETTINGS, 0, 0, &setting(INITIAL, 5)), window_update(1, 5)].concat());
    came(&mut client, (0, false))?;
    client.send(&window_update(1, 1));
    came(&mut client, (1, false))?;
    client.send(&window_update(1, 9));
    came(&mut client, (9, true))
}

fn connection_window(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &setting(INITIAL, MOST))?;
    client.send(&get(1, "/bytes/100000"));
    came(&mut client, (65_535, false))?;
    client.send(&window_update(0, 100_000));
    came(&mut client, (100_000 - 65_535, true))
}

fn in_order(address: SocketAddr) -> Result<()> {
    let mut client = Http2::connect(address, &[setting(INITIAL, 50), setting(INITIAL, 3)].concat())?;
    client.send(&get(1, "/bytes/5"));
    came(&mut client, (3, false))
}

fn frame_size(address: SocketAddr, most: u32) -> Result<()> {
    let mut client = Http2::connect(address, &[setting(INITIAL, 1 << 20), setting(5, most)].concat())?;
    client.send(&[window_update(0, 1 << 20), get(1, "/bytes/300000")].concat());
    let frames = all_that_comes(&mut client);
    let largest = frames.iter().map(|frame| frame.payload.len()).max();
    ensure!(
        largest.is_some_and(|largest| largest <= most as usize),
        "a frame of {largest:?} bytes"
    );
    let total: usize = frames
        .iter()
        .filter(|frame| frame.kind == DATA)
        .map(|frame| frame.payload.len())
        .sum();
    ensure!(total == 300_000, "{total} bytes");
    Ok(())
}

/// Sends a megabyte as the server gives room for it, each frame with so much padding.
fn upload(address: SocketAddr, padding: u8) -> Result<()> {
    const BODY: usize = 1 << 20;
    let mut client = Http2::connect(address, &[])?;
    let mut room = Room::new(&mut client)?;
    client.send(&post(1, "/c"));
    let mut left = BODY;
    while left > 0 {
        let extra = if padding == 0 { 0 } else { usize::from(padding) + 1 };
        let piece = left.min(1000);
        room.await_for(&mut client, (piece + extra) as i64)
            .with_context(|| format!("{left} bytes are left"))?;
        left -= piece;
        let mut payload = vec![b'x'; piece];
        if padding > 0 {
            payload.insert(0, padding);
            payload.resize(piece + extra, 0);
        }
        let flags = if padding > 0 { PADDED } else { 0 } | if left == 0 { END_STREAM } else { 0 };
        client.send(&frame(DATA, flags, 1, &payload));
    }
    let outcome = client.outcome(1, PROMPT);
    ensure!(outcome.answered(200), "{outcome:?}");
    Ok(())
}

/// What the server has left for the client to send.
struct Room {
    connection: i64,
    stream: i64,
}

impl Room {
    fn new(client: &mut Http2) -> Result<Self> {
        let mut room = Room {
            connection: 65_535,
            stream: 65_535,
        };
        for frame in all_that_comes(client) {
            room.take(&frame);
        }
        Ok(room)
    }

    fn take(&mut self, frame: &Frame) {
        match (frame.kind, frame.stream) {
            (SETTINGS, _) => {
                for (_, value) in values(frame).filter(|(id, _)| *id == INITIAL) {
                    self.stream = value.into();
                }
            }
            (8, 0) => self.connection += i64::from(frame.error_code(0)),
            (8, 1) => self.stream += i64::from(frame.error_code(0)),
            _ => {}
        }
    }

    /// Waits until so much may be sent, and takes it.
    fn await_for(&mut self, client: &mut Http2, length: i64) -> Result<()> {
        while self.connection < length || self.stream < length {
            let frame = client.next(Instant::now() + PROMPT).context("no more room came")?;
            self.take(&frame);
        }
        self.connection -= length;
        self.stream -= length;
        Ok(())
    }
}
