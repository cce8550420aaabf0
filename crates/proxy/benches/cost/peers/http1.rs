//! HTTP/1.1 over one connection, one request after the other.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{connect, listen};

/// What every message ends with: the empty line of a head, or the end of a body.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const END_OF_BODY: &[u8] = b"</html>\n";

const BODY: usize = 64 * 1024;

/// Answers a request without a body with a short page, and any other with a long one.
pub async fn serve() -> SocketAddr {
    listen(answer).await
}

async fn answer(mut stream: TcpStream) {
    let short = response(120);
    let long = response(BODY);
    let mut buffer = vec![0; 2 * BODY];
    loop {
        let Some(end) = read_message(&mut stream, &mut buffer).await else {
            return;
        };
        let answer = if end == END_OF_HEAD { &short } else { &long };
        stream.write_all(answer).await.expect("written");
    }
}

fn response(length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\
         date: Tue, 03 Mar 2026 10:00:00 GMT\r\nserver: bookinfo\r\ncache-control: no-store\r\n\r\n"
    );
    [head.as_bytes(), &page(length)].concat()
}

fn page(length: usize) -> Vec<u8> {
    let mut page = vec![b'x'; length - END_OF_BODY.len()];
    page.extend_from_slice(END_OF_BODY);
    page
}

/// Reads until the end of a message that is the last one under way. `None`: the peer has closed.
async fn read_message(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<&'static [u8]> {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.expect("read");
        if read == 0 {
            return None;
        }
        length += read;
        let end = [END_OF_HEAD, END_OF_BODY]
            .into_iter()
            .find(|end| buffer[..length].ends_with(end));
        if end.is_some() {
            return end;
        }
    }
}

/// Seven fields, as a browser's page would send them.
fn request(host: &str, first_line: &str, more: &str) -> String {
    format!(
        "{first_line}\r\nhost: {host}\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,application/json;q=0.9\r\n\
         accept-encoding: gzip, br\r\naccept-language: en\r\ncookie: session=4f2a\r\nx-trace: 1\r\n{more}\r\n"
    )
}

/// Sends the same request again and again.
pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn get(address: SocketAddr, host: &str) -> Self {
        Self::new(
            address,
            request(host, "GET /productpage?u=normal HTTP/1.1", "").into_bytes(),
        )
        .await
    }

    pub async fn post(address: SocketAddr, host: &str) -> Self {
        let head = request(host, "POST /upload HTTP/1.1", &format!("content-length: {BODY}\r\n"));
        Self::new(address, [head.as_bytes(), &page(BODY)].concat()).await
    }

    async fn new(address: SocketAddr, request: Vec<u8>) -> Self {
        Client {
            stream: connect(address).await,
            request,
            buffer: vec![0; 2 * BODY],
        }
    }

    pub async fn send(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.stream.write_all(&self.request).await.expect("written");
            let end = read_message(&mut self.stream, &mut self.buffer).await;
            let good = end == Some(END_OF_BODY) && self.buffer.starts_with(b"HTTP/1.1 200");
            assert!(good, "{}", String::from_utf8_lossy(&self.buffer[..200]));
        }
    }
}
