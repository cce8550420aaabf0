//! Looking at the first bytes of a connection without taking them.
//!
//! A peek that saw too little must wait for *more*, and the socket stays readable all the while. So readiness is cleared by hand after such a peek:
//! the poller is edge-triggered and wakes us when more arrives (or the client is done), never before. Nothing is held while waiting: the
//! bytes stay in the kernel, and the buffer is one per worker, used for the length of a call.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use super::Needs;
use super::client_hello::{self, ClientHello, MAX_HELLO};
use super::http_sniff::{self, Sniffed};
use super::proxy_protocol;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_HELLO]);
}

/// What the first bytes tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Present if the client speaks TLS.
    pub(super) hello: Option<ClientHello>,
    pub(super) http: Option<&'static str>,
}

/// Waits until enough has come to answer what the chains ask, or the client stops sending.
pub(super) async fn inspect(stream: &TcpStream, needs: Needs) -> io::Result<Seen> {
    peek_until(stream, |bytes, last| look(bytes, last, needs)).await
}

/// `None`: more bytes are needed (never on the `last` look).
fn look(bytes: &[u8], last: bool, needs: Needs) -> Option<Seen> {
    match client_hello::peek(bytes) {
        client_hello::Peeked::Partial if !last => return None,
        client_hello::Peeked::Tls(hello) => {
            return Some(Seen {
                hello: Some(hello),
                http: None,
            });
        }
        client_hello::Peeked::Partial | client_hello::Peeked::NotTls => {}
    }
    if !needs.http {
        return Some(Seen::default());
    }
    match http_sniff::sniff(bytes) {
        Sniffed::Partial if !last => None,
        sniffed => Some(Seen {
            hello: None,
            http: sniffed.protocol(),
        }),
    }
}

/// Takes a PROXY protocol header off the stream.
pub(super) async fn proxy_header(stream: &mut TcpStream) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let header = peek_until(stream, |bytes, last| match proxy_protocol::peek(bytes) {
        proxy_protocol::Peeked::Partial if !last => None,
        proxy_protocol::Peeked::Partial => Some(Err("the PROXY protocol header is cut off")),
        proxy_protocol::Peeked::Broken(reason) => Some(Err(reason)),
        proxy_protocol::Peeked::Header(header) => Some(Ok(header)),
    });
    let header = header
        .await?
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
    let mut rest = header.length;
    let mut sink = [0; 256];
    while rest > 0 {
        let part = rest.min(sink.len());
        stream.read_exact(&mut sink[..part]).await?;
        rest -= part;
    }
    Ok(header.addresses)
}

/// Peeks, each time more has arrived, until `look` is content. Its second argument says that no more will come. A client that leaves
/// without a byte is an error: there is nothing to serve.
async fn peek_until<T>(stream: &TcpStream, look: impl Fn(&[u8], bool) -> Option<T>) -> io::Result<T> {
    let mut known = None;
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let peeked = stream.try_io(Interest::READABLE, || {
            SCRATCH.with_borrow_mut(|scratch| {
                let length = recv(stream.as_raw_fd(), scratch, MsgFlags::MSG_PEEK)?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let full = length == scratch.len();
                let grown = known.replace(length) != Some(length);
                // A wake-up that brought nothing, because the client has closed its side.
                let last = full || (ready.is_read_closed() && !grown);
                match look(&scratch[..length], last) {
                    Some(answer) => Ok(answer),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                }
            })
        });
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("connected"), server.expect("accepted").0)
    }

    const BOTH: Needs = Needs { tls: true, http: true };

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for_and_left_in_place() {
        let (mut client, mut server) = pair().await;
        let sender = tokio::spawn(async move {
            for byte in b"GET /productpage HTTP/1.1\r\n" {
                client.write_all(&[*byte]).await.expect("written");
                tokio::task::yield_now().await;
            }
            client
        });
        let seen = inspect(&server, BOTH).await.expect("inspected");
        assert_eq!(
            seen,
            Seen {
                hello: None,
                http: Some("http/1.1")
            }
        );
        let _client = sender.await.expect("no panic");
        let mut bytes = [0; 27];
        server.read_exact(&mut bytes).await.expect("read");
        assert!(bytes.starts_with(b"GET /productpage"));
    }

    #[tokio::test]
    async fn a_client_that_stops_half_way_is_judged_by_what_it_sent() {
        let (mut client, server) = pair().await;
        client.write_all(b"GE").await.expect("written");
        client.shutdown().await.expect("half-closed");
        let seen = tokio::time::timeout(Duration::from_secs(5), inspect(&server, BOTH))
            .await
            .expect("no waiting for ever");
        assert_eq!(seen.expect("inspected"), Seen::default());
        let (client, server) = pair().await;
        drop(client);
        assert!(inspect(&server, BOTH).await.is_err());
    }

    #[tokio::test]
    async fn a_proxy_header_is_taken_and_nothing_else() {
        let (mut client, mut server) = pair().await;
        client
            .write_all(b"PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\nGET")
            .await
            .expect("written");
        let addresses = proxy_header(&mut server).await.expect("a header").expect("addresses");
        assert_eq!(addresses.0.to_string(), "1.2.3.4:8080");
        let mut rest = [0; 3];
        server.read_exact(&mut rest).await.expect("read");
        assert_eq!(&rest, b"GET");
    }
}
