//! Flow control.

use super::*;

const WINDOW: usize = STREAM_WINDOW as usize;

fn data(stream: u32, length: usize) -> Vec<u8> {
    let whole = frame(Kind::Data, 0, stream, &[7; 16_384]).repeat(length / 16_384);
    [whole, frame(Kind::Data, 0, stream, &vec![7; length % 16_384])].concat()
}

#[test]
fn nobody_sends_more_than_the_windows() {
    let mut server_ = server();
    server_.receive(&post(1)).expect("a request");
    server_.receive(&data(1, WINDOW)).expect("what the window allows");
    server_.receive(&data(1, 1)).expect("an error of the stream");
    assert_eq!(resets(&drain(&mut server_)), [(1, ErrorCode::FLOW_CONTROL_ERROR)]);

    let mut server_ = server();
    for id in [1, 3, 5, 7] {
        server_
            .receive(&[post(id), data(id, WINDOW)].concat())
            .expect("within the windows");
    }
    server_.receive(&post(9)).expect("a request");
    let error = server_.receive(&data(9, 1)).expect_err("the connection's window");
    assert_eq!(error.code, ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn windows_open_by_what_is_consumed_half_a_window_at_a_time() {
    let mut server = server();
    server
        .receive(&[post(1), data(1, WINDOW)].concat())
        .expect("within the windows");
    let (key, _) = accept(&mut server);
    server.consume(key, WINDOW / 2 - 1);
    assert!(drain(&mut server).is_empty());
    server.consume(key, 1);
    assert_eq!(
        frames(&drain(&mut server)),
        [(8, 1, (WINDOW as u32 / 2).to_be_bytes().to_vec())]
    );
    server.consume(key, usize::MAX);
    server.receive(&data(1, WINDOW)).expect("all was consumed");
    // Who lets go of a stream gives back what it did not read: to the connection.
    drain(&mut server);
    server.release(key);
    let out = drain(&mut server);
    let updates: Vec<_> = frames(&out).into_iter().filter(|(kind, ..)| *kind == 8).collect();
    assert_eq!(updates, [(8, 0, (2 * WINDOW as u32).to_be_bytes().to_vec())]);
}

/// However often streams are filled and dropped, the connection's window comes back.
#[test]
fn what_nobody_reads_is_given_back() {
    let mut server = server();
    for id in (1..4_001).step_by(2) {
        server
            .receive(
                &[
                    post(id),
                    data(id, 16_384),
                    frame(Kind::Data, flags::PADDED, id, b"\x01a\0"),
                ]
                .concat(),
            )
            .expect("within the windows");
        let (key, _) = accept(&mut server);
        match id % 4 {
            1 => server.release(key),
            _ => server.reset(key, ErrorCode::CANCEL),
        }
        // On its way when the stream was closed.
        server.receive(&data(id, 16_384)).expect("within the windows");
        server.release(key);
        drain(&mut server);
        for _ in 0..100 {
            server.second_passed();
        }
    }
}

#[test]
fn a_sender_waits_for_windows_and_is_told() {
    let mut server = server();
    server
        .receive(&[frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 10]), get(1)].concat())
        .expect("a request");
    let (key, _) = accept(&mut server);
    server
        .send_response(key, &response(200, &[]), Framing::Chunked)
        .expect("an open stream");
    assert_eq!(server.send_data(key, &[1; 20], true), Ok(10));
    assert_eq!(server.send_data(key, &[1; 10], true), Ok(0));
    // Below zero, up again by SETTINGS and WINDOW_UPDATE.
    server
        .receive(&frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 5]))
        .expect("settings");
    assert!(events(&mut server).is_empty());
    assert_eq!(server.send_data(key, &[1; 10], true), Ok(0));
    server
        .receive(&frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 5]))
        .expect("an update");
    assert!(events(&mut server).is_empty());
    server
        .receive(&frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 11]))
        .expect("settings");
    assert_eq!(events(&mut server), [Event::Writable(key)]);
    assert_eq!(server.send_data(key, &[1; 10], true), Ok(6));
    server
        .receive(&frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 9]))
        .expect("an update");
    assert_eq!(server.send_data(key, &[1; 4], true), Ok(4));
    assert!(server.is_sent(key) && server.open_streams() == 0);
}

#[test]
fn the_connection_s_window_and_a_full_output_are_shared_in_turn() {
    let mut server = server();
    // The stream's windows are large, the connection's is 65,535.
    server
        .receive(
            &[
                frame(Kind::Settings, 0, 0, &[0, 4, 0, 0x10, 0, 0]),
                get(1),
                get(3),
                get(5),
            ]
            .concat(),
        )
        .expect("requests");
    let keys: Vec<_> = events(&mut server)
        .into_iter()
        .filter_map(|event| match event {
            Event::Request(key) => Some(key),
            _ => None,
        })
        .collect();
    for key in &keys {
        server
            .send_response(*key, &response(200, &[]), Framing::Chunked)
            .expect("an open stream");
    }
    let sent: Vec<_> = keys
        .iter()
        .map(|key| server.send_data(*key, &[1; 100_000], false))
        .collect();
    assert!(matches!(sent[..], [Ok(64_000..65_536), Ok(0), Ok(0)]), "{sent:?}");
    server.offer_room();
    assert!(events(&mut server).is_empty());
    drain(&mut server);
    server
        .receive(&frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0x40, 0]))
        .expect("an update");
    server.offer_room();
    assert_eq!(
        events(&mut server),
        [Event::Writable(keys[1]), Event::Writable(keys[2])]
    );
    assert!(matches!(
        server.send_data(keys[1], &[1; 100_000], false),
        Ok(16_000..17_500)
    ));
    assert_eq!(server.send_data(keys[2], &[1; 100_000], false), Ok(0));
    server.offer_room();
    assert!(events(&mut server).is_empty());
}

/// An end that follows the last data at once is said by the frame of that data, if that has not left.
#[test]
fn the_last_data_says_the_end() {
    for (written, ends) in [(0, vec![1, 0]), (25, vec![0, 0, 1])] {
        let mut server = server();
        server.receive(&[get(1), get(3)].concat()).expect("requests");
        let keys: Vec<_> = events(&mut server)
            .into_iter()
            .filter_map(|event| match event {
                Event::Request(key) => Some(key),
                _ => None,
            })
            .collect();
        for key in &keys {
            server
                .send_response(*key, &response(200, &[]), Framing::Chunked)
                .expect("an open stream");
        }
        drain(&mut server);
        for key in &keys {
            assert_eq!(server.send_data(*key, &[1; 20], false), Ok(20));
        }
        server.advance_output(written);
        server.send_end(keys[0]).expect("an open stream");
        assert_eq!(server.open_streams(), 1);
        let out = server.output().to_vec();
        let skipped = if written == 0 { 0 } else { 29 - written };
        let mut flags = if written == 0 { Vec::new() } else { vec![0] };
        let mut rest = &out[skipped..];
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            flags.push(head[4]);
            rest = &after[usize::from(head[2])..];
        }
        assert_eq!(flags, ends);
    }
}

#[test]
fn data_is_taken_out_whole_and_credited_when_consumed() {
    let mut server = server();
    server
        .receive(&[post(1), data(1, WINDOW)].concat())
        .expect("within the windows");
    let (key, _) = accept(&mut server);
    let mut buffer = Vec::new();
    assert!(matches!(server.take_piece(key, &mut buffer), Ok(Taken::Data)));
    assert_eq!(buffer.len(), WINDOW);
    assert!(matches!(server.take_piece(key, &mut buffer), Ok(Taken::Pending)) && drain(&mut server).is_empty());
    server.consumed(key, WINDOW);
    assert_eq!(frames(&drain(&mut server)).len(), 1);
    server
        .receive(&frame(Kind::Data, flags::END_STREAM, 1, b"end"))
        .expect("within the windows");
    assert!(matches!(server.take_piece(key, &mut buffer), Ok(Taken::Data)) && buffer == b"end");
    assert!(matches!(server.take_piece(key, &mut buffer), Ok(Taken::End)));
}

#[test]
fn a_ping_is_awaited_until_it_is_answered() {
    let mut client = client();
    drain(&mut client);
    client.send_ping();
    client.send_ping();
    let sent = frames(&drain(&mut client));
    assert_eq!(sent.len(), 1, "one at a time: {sent:?}");
    assert!(client.is_pinging());
    client
        .receive(&frame(Kind::Ping, flags::ACK, 0, b"whatever"))
        .expect("an answer to somebody else");
    assert!(client.is_pinging());
    client
        .receive(&frame(Kind::Ping, flags::ACK, 0, &sent[0].2))
        .expect("the answer");
    assert!(!client.is_pinging());
    client.send_ping();
    assert_eq!(frames(&drain(&mut client)).len(), 1);
}
