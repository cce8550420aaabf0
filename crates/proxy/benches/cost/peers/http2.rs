//! HTTP/2 with unary gRPC calls. The first message of a connection fills the table of header compression, the others speak of its entries.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{connect, listen};

/// Calls under way at a time.
const AT_ONCE: u32 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A gRPC message of 32 bytes, with its prefix.
const MESSAGE: [u8; 37] = {
    let mut message = [b'm'; 37];
    [message[0], message[1], message[2], message[3], message[4]] = [0, 0, 0, 0, 32];
    message
};

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("small").to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Literals that enter the table, each by the index of its name in the static table (0: the name is written out).
fn entering(fields: &[(u8, &str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (index, name, value) in fields {
        block.push(0x40 | index);
        for text in [name, value] {
            if !text.is_empty() {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
    }
    block
}

/// The same fields once they are in the table, and nothing after them.
fn entered(fields: &[(u8, &str, &str)]) -> Vec<u8> {
    (0..fields.len())
        .rev()
        .map(|age| 0x80 | (62 + u8::try_from(age).expect("few")))
        .collect()
}

/// A connection of which only the outlines of frames are looked at.
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Frames to be written with the next ones.
    out: Vec<u8>,
    /// Frames of data that have come.
    messages: u32,
}

impl Connection {
    /// Each side begins with its settings, and with all the credit a connection can have.
    fn new(stream: TcpStream) -> Self {
        let mut out = Vec::new();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
        Connection {
            stream,
            unread: Vec::new(),
            out,
            messages: 0,
        }
    }

    async fn flush(&mut self) {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.expect("written");
            self.out.clear();
        }
    }

    /// Reads once and gives the streams whose end has come; `None`: the peer has closed.
    async fn ended(&mut self) -> Option<Vec<u32>> {
        if self.stream.read_buf(&mut self.unread).await.expect("read") == 0 {
            return None;
        }
        let mut ended = Vec::new();
        let mut at = 0;
        while let Some([a, b, c, kind, flags, stream @ ..]) = self.unread.get(at..at + 9) {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let stream = u32::from_be_bytes(stream.try_into().expect("four bytes"));
            let Some(payload) = self.unread.get(at + 9..at + 9 + length) else {
                break;
            };
            self.messages += u32::from(*kind == DATA);
            match *kind {
                DATA | HEADERS if flags & END_STREAM != 0 => ended.push(stream),
                SETTINGS | PING if flags & ACK == 0 => {
                    let payload = if *kind == PING { payload } else { &[] };
                    frame(&mut self.out, *kind, ACK, 0, payload);
                }
                RESET | GO_AWAY => panic!("stream {stream}: frame {kind} {payload:?}"),
                _ => {}
            }
            at += 9 + length;
        }
        self.unread.drain(..at);
        Some(ended)
    }
}

pub async fn serve() -> SocketAddr {
    listen(answer).await
}

async fn answer(mut stream: TcpStream) {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.expect("a preface");
    let mut connection = Connection::new(stream);
    let head = [
        (31, "", "application/grpc"),
        (0, "grpc-accept-encoding", "identity,gzip"),
    ];
    let trailers = [(0, "grpc-status", "0")];
    let (mut first_head, mut first_trailers) = (Some(entering(&head)), Some(entering(&trailers)));
    loop {
        connection.flush().await;
        let Some(calls) = connection.ended().await else { return };
        for stream in calls {
            // The trailer enters the table last of the three, and stays the youngest.
            let head = first_head.take().unwrap_or_else(|| vec![0x80 | 64, 0x80 | 63]);
            let trailers = first_trailers.take().unwrap_or_else(|| vec![0x80 | 62]);
            frame(
                &mut connection.out,
                HEADERS,
                END_HEADERS,
                stream,
                &[&[0x88], head.as_slice()].concat(),
            );
            frame(&mut connection.out, DATA, 0, stream, &MESSAGE);
            frame(
                &mut connection.out,
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                &trailers,
            );
        }
    }
}

/// Calls in groups of eight, a group written at once.
pub struct Client {
    connection: Connection,
    /// The head of the very first call.
    first: Option<Vec<u8>>,
    usual: Vec<u8>,
    next_stream: u32,
}

impl Client {
    pub async fn new(address: SocketAddr, host: &str) -> Self {
        let mut connection = Connection::new(connect(address).await);
        connection.out.splice(0..0, PREFACE.iter().copied());
        let fields = [
            (4, "", "/shop.Reviews/Get"),
            (1, "", host),
            (31, "", "application/grpc"),
            (0, "te", "trailers"),
            (58, "", "grpc-rust/1.0"),
            (0, "grpc-accept-encoding", "identity,gzip"),
            (0, "grpc-timeout", "5S"),
        ];
        // POST, http
        let head = |fields: Vec<u8>| [&[0x83, 0x86], fields.as_slice()].concat();
        Client {
            connection,
            first: Some(head(entering(&fields))),
            usual: head(entered(&fields)),
            next_stream: 1,
        }
    }

    /// `rounds` is a multiple of eight.
    pub async fn send(&mut self, rounds: u32) {
        let connection = &mut self.connection;
        let came = connection.messages;
        for _ in 0..rounds / AT_ONCE {
            for _ in 0..AT_ONCE {
                let block = self.first.take();
                let block = block.as_ref().unwrap_or(&self.usual);
                frame(&mut connection.out, HEADERS, END_HEADERS, self.next_stream, block);
                frame(&mut connection.out, DATA, END_STREAM, self.next_stream, &MESSAGE);
                self.next_stream += 2;
            }
            let mut open = AT_ONCE as usize;
            while open > 0 {
                connection.flush().await;
                open -= connection.ended().await.expect("a server that stays").len();
            }
        }
        // A proxy that cannot reach the server answers without a message.
        assert_eq!(connection.messages - came, rounds);
    }
}
