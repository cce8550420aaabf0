//! Peers that make us work, or keep, for nothing. Each is stopped, and what it cost until then is bounded.

use super::*;

/// Gives the same bytes again and again, reading all answers; says after how many times the connection ended, and why.
fn repeat(mut server: Connection, times: usize, mut input: impl FnMut(u32) -> Vec<u8>) -> Option<(usize, ErrorCode)> {
    for n in 0..times {
        if let Err(error) = server.receive(&input(2 * n as u32 + 1)) {
            return Some((n, error.code));
        }
        // Whoever works on streams notices that they are reset.
        for event in events(&mut server) {
            if let Event::Readable(key) | Event::Writable(key) | Event::Request(key) = event
                && server.reset_of(key).is_some()
            {
                server.release(key);
            }
        }
        assert!(server.streams.kept() <= 200 && server.output().len() < 64 * 1024);
        drain(&mut server);
    }
    None
}

#[test]
fn floods_end_the_connection() {
    let with_open = |input: Vec<u8>| {
        let mut server = server();
        server.receive(&post(1)).expect("a request");
        repeat(server, 20_000, move |_| input.clone())
    };
    for (what, input) in [
        ("PING", frame(Kind::Ping, 0, 0, &[0; 8])),
        ("PING answers", frame(Kind::Ping, flags::ACK, 0, &[0; 8])),
        ("SETTINGS", frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 1])),
        ("SETTINGS answers", frame(Kind::Settings, flags::ACK, 0, &[])),
        ("empty DATA", frame(Kind::Data, 0, 1, b"")),
        ("DATA of padding", frame(Kind::Data, flags::PADDED, 1, b"\x03\0\0\0")),
        ("PRIORITY", frame(Kind::Priority, 0, 1, &[0, 0, 0, 3, 1])),
        ("WINDOW_UPDATE", frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1])),
        ("unknown frames", b"\0\0\0\x77\0\0\0\0\x01".to_vec()),
        ("GOAWAY", frame(Kind::GoAway, 0, 0, &[0; 8])),
        ("RST_STREAM of a closed stream", [reset(1), reset(1)].concat()),
    ] {
        let ended = with_open(input);
        assert!(
            ended.is_some_and(|(n, code)| n <= 2_000 && code == ErrorCode::ENHANCE_YOUR_CALM),
            "{what}: {ended:?}"
        );
    }
}

#[test]
fn rapid_resets_end_the_connection() {
    let ended = repeat(server(), 20_000, |id| [get(id), reset(id)].concat());
    assert_eq!(ended, Some((1_000, ErrorCode::ENHANCE_YOUR_CALM)));
    // What we reset ourselves counts as well: malformed, refused, against flow control.
    let malformed = |id| frame(Kind::Headers, flags::END_HEADERS | flags::END_STREAM, id, b"\x82");
    assert_eq!(
        repeat(server(), 20_000, malformed),
        Some((1_000, ErrorCode::ENHANCE_YOUR_CALM))
    );
    let window = |id| [get(id), frame(Kind::WindowUpdate, 0, id, &[0; 4])].concat();
    assert_eq!(
        repeat(server(), 20_000, window),
        Some((1_000, ErrorCode::ENHANCE_YOUR_CALM))
    );
    let too_many = repeat(server(), 20_000, get);
    assert_eq!(too_many, Some((1_100, ErrorCode::ENHANCE_YOUR_CALM)));
}

#[test]
fn who_cancels_now_and_then_is_served() {
    let mut server = server();
    for n in 0..10_000u32 {
        let id = 4 * n + 1;
        server
            .receive(&[get(id), reset(id), get(id + 2)].concat())
            .expect("in good faith");
        for event in events(&mut server) {
            let Event::Request(key) = event else { continue };
            let _ = server.send_response(key, &response(200, &[]), Framing::Empty);
            server.release(key);
        }
        drain(&mut server);
    }
}

/// One ping for each answer, and one a second without any.
#[test]
fn who_keeps_a_connection_alive_is_served() {
    let mut server = server();
    let ping = frame(Kind::Ping, 0, 0, &[0; 8]);
    for _ in 0..100_000 {
        server.second_passed();
        server.receive(&ping).expect("in good faith");
        drain(&mut server);
    }
}

#[test]
fn continuations_are_bounded_in_number_and_size() {
    let open = frame(Kind::Headers, 0, 1, GET);
    let mut server_ = server();
    server_.receive(&open).expect("the beginning");
    let empty = frame(Kind::Continuation, 0, 1, b"");
    let ended = repeat(server_, 1_000, |_| empty.clone());
    assert_eq!(ended, Some((64, ErrorCode::ENHANCE_YOUR_CALM)));
    let mut server_ = server();
    server_.receive(&open).expect("the beginning");
    let large = frame(Kind::Continuation, 0, 1, &[0x82; 16_000]);
    let ended = repeat(server_, 1_000, |_| large.clone());
    assert_eq!(ended, Some((3, ErrorCode::ENHANCE_YOUR_CALM)));
}

/// One entry of 4,000 bytes, and thousands of references to it of a byte each.
#[test]
fn a_header_bomb_is_not_kept() {
    let mut server = server();
    let mut bomb = GET.to_vec();
    bomb.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'x'; 4000]);
    bomb.extend([0xbe; 12_000]);
    server
        .receive(&frame(Kind::Headers, flags::END_HEADERS | flags::END_STREAM, 1, &bomb))
        .expect("no error of the connection");
    let out = drain(&mut server);
    let status = [0x48, 3, b'4', b'3', b'1'];
    let kinds: Vec<_> = frames(&out)
        .into_iter()
        .map(|(kind, _, payload)| (kind, payload))
        .collect();
    assert!(kinds.len() == 1 && kinds[0].0 == 1, "{kinds:?}");
    assert!(kinds[0].1.ends_with(&status[2..]), "{kinds:?}");
    assert!(events(&mut server).is_empty() && server.open_streams() == 0);
    // The tables are the same still: the entry is there.
    let good = [GET, &[0xbf]].concat();
    server
        .receive(&frame(Kind::Headers, flags::END_HEADERS | flags::END_STREAM, 3, &good))
        .expect("a request");
    assert_eq!(accept(&mut server).1.head.headers.text("a").map(str::len), Some(4000));
}

#[test]
fn too_many_fields_are_refused() {
    let config = Config {
        max_headers: 10,
        ..Config::default()
    };
    for (fields, good) in [(6, true), (7, false)] {
        let mut server = server_with(config);
        let payload = [POST, &block(&vec![("a", "b"); fields])].concat();
        server
            .receive(&frame(Kind::Headers, flags::END_HEADERS, 1, &payload))
            .expect("no error of the connection");
        assert_eq!(server.open_streams() == 1, good);
        let refused = resets(&drain(&mut server));
        assert_eq!(refused.is_empty(), good, "{refused:?}");
    }
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut server = server_with(Config {
        max_streams: 2,
        ..Config::default()
    });
    server.receive(&[get(1), get(3), get(5)].concat()).expect("no error");
    assert_eq!(resets(&drain(&mut server)), [(5, ErrorCode::REFUSED_STREAM)]);
    // A stream that was reset counts as long as somebody works on it.
    server
        .receive(&[reset(1), get(7), reset(3), get(9)].concat())
        .expect("no error");
    assert_eq!((server.open_streams(), server.streams.kept()), (2, 4));
    server.receive(&[reset(7), get(11)].concat()).expect("no error");
    assert_eq!(resets(&drain(&mut server)), [(11, ErrorCode::REFUSED_STREAM)]);
}

#[test]
fn who_does_not_read_its_answers_is_not_read() {
    let mut server = server();
    let pings = frame(Kind::Ping, 0, 0, &[0; 8]).repeat(1_000);
    let mut rounds = 0;
    while !server.is_congested() {
        for _ in 0..10 {
            server.second_passed();
        }
        server.receive(&pings).expect("in good time");
        rounds += 1;
    }
    assert!(rounds < 20 && server.output().len() < 300 * 1024);
}

/// A window of a byte at a time.
#[test]
fn tiny_windows_end_the_connection() {
    let mut server = server();
    server
        .receive(&[frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 0]), get(1)].concat())
        .expect("a request");
    let (key, _) = accept(&mut server);
    server
        .send_response(key, &response(200, &[]), Framing::Chunked)
        .expect("an open stream");
    let grant = frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]);
    let ended = (0..10_000).find(|_| {
        let ended = server.receive(&grant).is_err();
        let _ = server.send_data(key, &[0; 100], false);
        drain(&mut server);
        ended
    });
    assert!(ended.is_some_and(|n| n <= 2_000), "{ended:?}");
}

/// Small messages, each answered by a ping and two updates: what clients that measure the round trip do.
#[test]
fn small_messages_pay_for_what_they_bring_about() {
    let mut server = server();
    server.receive(&get(1)).expect("a request");
    let (key, _) = accept(&mut server);
    server
        .send_response(key, &response(200, &[]), Framing::Chunked)
        .expect("an open stream");
    let answer = [
        frame(Kind::Ping, 0, 0, &[0; 8]),
        frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 7]),
        frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 7]),
    ]
    .concat();
    for _ in 0..20_000 {
        assert_eq!(server.send_data(key, b"\0\0\0\0\x02hi", false), Ok(7));
        drain(&mut server);
        server.receive(&answer).expect("in good faith");
    }
}
