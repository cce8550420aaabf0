//! Two connections in memory, over schedules that nobody would choose.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Exchange {
    up: usize,
    down: usize,
    trailers: bool,
}

/// What either side has still to do on a stream.
struct Side {
    key: StreamKey,
    number: usize,
    send: usize,
    trailers: bool,
    answered: bool,
    received: Vec<u8>,
    over: bool,
}

/// Bytes that tell which they are.
fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + number) as u8).collect()
}

impl Side {
    fn new(key: StreamKey, number: usize, send: usize, trailers: bool, answered: bool) -> Self {
        Side {
            key,
            number,
            send,
            trailers,
            answered,
            received: Vec::new(),
            over: false,
        }
    }

    fn send(&mut self, connection: &mut Connection, whole: usize, piece: usize) {
        if !self.answered || connection.is_sent(self.key) {
            return;
        }
        let all = body(self.number, whole);
        let rest = &all[whole - self.send..];
        let piece = &rest[..rest.len().min(piece)];
        let last = piece.len() == rest.len();
        let sent = connection
            .send_data(self.key, piece, last && !self.trailers)
            .expect("no reset");
        self.send -= sent;
        if self.send == 0 && self.trailers {
            connection
                .send_trailers(self.key, &headers(&[("x-sum", "1")]))
                .expect("no reset");
        }
    }

    fn receive(&mut self, connection: &mut Connection, most: usize) {
        let n = match connection.piece(self.key).expect("no reset") {
            Piece::Data(data) => {
                let n = data.len().min(most);
                self.received.extend_from_slice(&data[..n]);
                n
            }
            Piece::Trailers(trailers) => {
                assert_eq!(trailers.text("x-sum"), Some("1"));
                return self.over = true;
            }
            Piece::End => return self.over = true,
            Piece::Pending => return,
        };
        connection.consume(self.key, n);
    }
}

fn carry(from: &mut Connection, to: &mut Connection, wire: &mut Vec<u8>, most: usize) {
    wire.extend(drain(from));
    let n = wire.len().min(most);
    to.receive(&wire[..n]).expect("what a peer sends");
    wire.drain(..n);
}

struct World {
    client: Connection,
    server: Connection,
    exchanges: Vec<Exchange>,
    up: Vec<Side>,
    down: Vec<Side>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl World {
    fn new(exchanges: Vec<Exchange>) -> Self {
        World {
            client: Connection::new(Role::Client, Config::default()),
            server: Connection::new(Role::Server, Config::default()),
            exchanges,
            up: Vec::new(),
            down: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn open(&mut self) {
        let number = self.up.len();
        let Some(exchange) = self.exchanges.get(number) else {
            return;
        };
        if !self.client.can_open() {
            return;
        }
        let head = request(
            Method::POST,
            &format!("/{number}"),
            &[("x-number", &format!("{number}"))],
        );
        let key = self
            .client
            .send_request(&head, Overrides::default(), Framing::Chunked)
            .expect("a stream");
        self.up
            .push(Side::new(key, number, exchange.up, exchange.trailers, true));
    }

    fn move_bytes(&mut self, most: usize) {
        carry(&mut self.client, &mut self.server, &mut self.to_server, most);
        carry(&mut self.server, &mut self.client, &mut self.to_client, most);
        while let Some(event) = self.server.next_event() {
            let Event::Request(key) = event else { continue };
            let got = self.server.take_request(key).expect("a head");
            let number: usize = got.head.path[1..].parse().expect("a number");
            assert_eq!(got.head.headers.text("x-number"), Some(&got.head.path[1..]));
            let exchange = &self.exchanges[number];
            self.down
                .push(Side::new(key, number, exchange.down, exchange.trailers, false));
        }
        while self.client.next_event().is_some() {}
    }

    fn work(&mut self, choice: usize, piece: usize) {
        if !self.down.is_empty() {
            let at = choice % self.down.len();
            let side = &mut self.down[at];
            side.receive(&mut self.server, piece);
            if !side.answered {
                side.answered = true;
                let head = response(200, &[("x-number", &side.number.to_string())]);
                self.server
                    .send_response(side.key, &head, Framing::Chunked)
                    .expect("no reset");
            }
            let whole = self.exchanges[side.number].down;
            side.send(&mut self.server, whole, piece);
        }
        if !self.up.is_empty() {
            let at = choice % self.up.len();
            let side = &mut self.up[at];
            let whole = self.exchanges[side.number].up;
            side.send(&mut self.client, whole, piece);
            if let Some(got) = self.client.take_response(side.key).expect("no reset") {
                assert_eq!(
                    got.head.headers.text("x-number"),
                    Some(side.number.to_string().as_str())
                );
            }
            side.receive(&mut self.client, piece);
        }
    }

    fn finish(&mut self) {
        for turn in 0..20_000 {
            self.open();
            for at in 0..self.exchanges.len() {
                self.work(at, 1 << 20);
            }
            self.move_bytes(1 << 20);
            let over = |sides: &[Side]| sides.len() == self.exchanges.len() && sides.iter().all(|side| side.over);
            if over(&self.up) && over(&self.down) {
                return;
            }
            assert!(turn < 10_000, "nothing moves any more");
        }
    }
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let size = || prop_oneof![3 => 0..200usize, 2 => 0..70_000usize, 1 => 200_000..600_000usize];
    (size(), size(), any::<bool>()).prop_map(|(up, down, trailers)| Exchange { up, down, trailers })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent arrives, once and in order, and at the end both sides have all their windows.
    #[test]
    fn bodies_and_windows_are_conserved(
        exchanges in proptest::collection::vec(exchange(), 1..12),
        steps in proptest::collection::vec((any::<bool>(), 0..64usize, 1..30_000usize), 0..300),
    ) {
        let mut world = World::new(exchanges);
        for (open, choice, piece) in steps {
            if open {
                world.open();
            }
            world.work(choice, piece);
            world.move_bytes(piece);
        }
        world.finish();
        let (mut up, mut down) = (0, 0);
        for side in &world.down {
            let length = world.exchanges[side.number].up;
            prop_assert_eq!(&side.received, &body(side.number, length));
            up += length as i64;
        }
        for side in &world.up {
            let length = world.exchanges[side.number].down;
            prop_assert_eq!(&side.received, &body(side.number, length));
            down += length as i64;
        }
        prop_assert!(up >= 0 && down >= 0);
        prop_assert_eq!((world.client.open_streams(), world.server.open_streams()), (0, 0));
        // What the receiver has not told yet is less than half of its window.
        for window in [world.client.send_window, world.server.send_window] {
            prop_assert!(window.available() > CONNECTION_WINDOW as usize / 2, "{:?}", window);
        }
    }

    /// However the bytes are cut, a server sees the same.
    #[test]
    fn pieces_make_no_difference(script in proptest::collection::vec(0..12usize, 1..40), cuts in proptest::collection::vec(1..40usize, 1..200)) {
        let mut input = [&PREFACE[..], &frame(Kind::Settings, 0, 0, &[])].concat();
        let mut id = 1;
        for step in script {
            input.extend(match step {
                0 => get(id),
                1 => post(id),
                2 => frame(Kind::Data, 0, id, b"some data"),
                3 => frame(Kind::Data, flags::END_STREAM, id, b""),
                4 => frame(Kind::Data, flags::PADDED, id, b"\x04data\0\0\0\0"),
                5 => frame(Kind::Data, flags::PADDED | flags::END_STREAM, id, b"\x02\0\0"),
                6 => reset(id),
                7 => frame(Kind::Headers, 0, id, GET),
                8 => frame(Kind::Continuation, flags::END_HEADERS, id, b"\x00\x01a\x01b"),
                9 => frame(Kind::Headers, flags::END_HEADERS | flags::END_STREAM, id, &block(&[("x-trailer", "1")])),
                10 => frame(Kind::Ping, 0, 0, b"pingping"),
                _ => {
                    id += 2;
                    frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1])
                }
            });
        }
        let whole = seen(&[&input]);
        let mut pieces = Vec::new();
        let (mut rest, mut cut) = (&input[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*cut.next().expect("a cycle")));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(seen(&pieces), whole);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut server = server();
        let _ = server.receive(&bytes);
        let mut client = client();
        let _ = client.receive(&bytes);
    }
}

type Seen = (Option<ErrorCode>, Vec<u8>, HashMap<u32, (String, Vec<u8>, String)>);

fn seen(pieces: &[&[u8]]) -> Seen {
    let mut server = Connection::new(Role::Server, Config::default());
    let error = pieces
        .iter()
        .find_map(|piece| server.receive(piece).err())
        .map(|error| error.code);
    let mut streams = HashMap::new();
    for event in events(&mut server) {
        let Event::Request(key) = event else { continue };
        let head = format!("{:?}", server.take_request(key).expect("a head"));
        let mut body = Vec::new();
        while let Ok(Piece::Data(data)) = server.piece(key) {
            body.extend_from_slice(data);
            let n = data.len();
            server.consume(key, n);
        }
        let end = format!("{:?}", server.piece(key));
        streams.insert(key.id(), (head, body, end));
    }
    (error, server.output().to_vec(), streams)
}
