//! PROXY protocol, versions 1 and 2: telling a server who the client really is.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;

use super::stream::Raw;
use crate::config::ProxyProtocol;

/// The two ends of a client's connection to us: the client, and where it went.
pub type Origin = (SocketAddr, SocketAddr);

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, for the connection of somebody else; of our own.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
/// TCP over IPv4, over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Writes the header; `None`: the connection is our own.
pub(super) async fn write(version: ProxyProtocol, origin: Option<Origin>, raw: &mut Raw) -> io::Result<()> {
    let bytes = match version {
        ProxyProtocol::V1 => version1(origin),
        ProxyProtocol::V2 => version2(origin),
    };
    raw.write_all(&bytes).await
}

fn version1(origin: Option<Origin>) -> Vec<u8> {
    let line = match origin.map(same_family) {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((client, server)) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.ip(), server.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), server.port())
        }
    };
    line.into_bytes()
}

fn version2(origin: Option<Origin>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    match origin.map(same_family) {
        None => bytes.extend([LOCAL, 0, 0, 0]),
        Some((SocketAddr::V4(client), SocketAddr::V4(server))) => {
            bytes.extend([PROXY, TCP4, 0, 12]);
            bytes.extend(client.ip().octets());
            bytes.extend(server.ip().octets());
            ports(&mut bytes, client.port(), server.port());
        }
        Some((client, server)) => {
            bytes.extend([PROXY, TCP6, 0, 36]);
            for end in [client, server] {
                match end {
                    SocketAddr::V6(end) => bytes.extend(end.ip().octets()),
                    SocketAddr::V4(end) => bytes.extend(end.ip().to_ipv6_mapped().octets()),
                }
            }
            ports(&mut bytes, client.port(), server.port());
        }
    }
    bytes
}

fn ports(bytes: &mut Vec<u8>, client: u16, server: u16) {
    bytes.extend(client.to_be_bytes());
    bytes.extend(server.to_be_bytes());
}

/// The format has one family for both ends.
fn same_family((client, server): Origin) -> Origin {
    if client.is_ipv4() == server.is_ipv4() {
        return (client, server);
    }
    let mapped = |end: SocketAddr| match end {
        SocketAddr::V4(end) => SocketAddr::new(end.ip().to_ipv6_mapped().into(), end.port()),
        SocketAddr::V6(_) => end,
    };
    (mapped(client), mapped(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::proxy_protocol::{Header, Peeked, peek};

    #[test]
    fn what_is_written_is_what_our_own_listeners_read() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let origins = [
            Some((address("10.0.0.1:1234"), address("10.0.0.2:80"))),
            Some((address("[fd00::1]:1234"), address("[fd00::2]:80"))),
            None,
        ];
        for origin in origins {
            for bytes in [version1(origin), version2(origin)] {
                let header = Header {
                    length: bytes.len(),
                    addresses: origin,
                };
                assert_eq!(peek(&bytes), Peeked::Header(header), "{origin:?}");
            }
        }
        let mixed = Some((address("10.0.0.1:1"), address("[fd00::2]:2")));
        assert_eq!(
            String::from_utf8_lossy(&version1(mixed)),
            "PROXY TCP6 ::ffff:10.0.0.1 fd00::2 1 2\r\n"
        );
    }
}
