//! PROXY protocol, versions 1 and 2: who the client really is, as told by a load balancer in front of us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A version 1 line with its end, at most.
const MAX_LINE: usize = 107;
/// Bytes of addresses and extensions a version 2 header may have here; the format allows 64 KiB, real ones stay far below.
const MAX_BODY: usize = 4 * 1024;

/// A header: its length in bytes, and the two ends of the client's connection (`None`: `LOCAL` or `UNKNOWN`, use the socket's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: usize,
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peeked {
    Partial,
    Header(Header),
    /// Not what a load balancer sends, with the reason.
    Broken(&'static str),
}

/// Looks for a header at the beginning of a connection.
pub fn peek(bytes: &[u8]) -> Peeked {
    if SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())]) {
        return if bytes.len() < 16 {
            Peeked::Partial
        } else {
            version2(bytes)
        };
    }
    if b"PROXY ".starts_with(&bytes[..bytes.len().min(6)]) {
        return if bytes.len() < 6 {
            Peeked::Partial
        } else {
            version1(bytes)
        };
    }
    Peeked::Broken("the connection does not begin with a PROXY protocol header")
}

fn version1(bytes: &[u8]) -> Peeked {
    let visible = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = memchr::memmem::find(visible, b"\r\n") else {
        return if bytes.len() >= MAX_LINE {
            Peeked::Broken("the PROXY line has no end")
        } else {
            Peeked::Partial
        };
    };
    let length = end + 2;
    let Ok(line) = std::str::from_utf8(&visible[..end]) else {
        return Peeked::Broken("the PROXY line is no text");
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Peeked::Header(Header {
            length,
            addresses: None,
        }),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let addresses = address(family, source, source_port).zip(address(family, destination, destination_port));
            match addresses {
                Some(_) => Peeked::Header(Header { length, addresses }),
                None => Peeked::Broken("the PROXY line has an address that is none"),
            }
        }
        _ => Peeked::Broken("the PROXY line is malformed"),
    }
}

fn address(family: &str, ip: &str, port: &str) -> Option<SocketAddr> {
    let ip: IpAddr = ip.parse().ok()?;
    let port = port.parse().ok()?;
    (ip.is_ipv4() == (family == "TCP4")).then_some(SocketAddr::new(ip, port))
}

fn version2(bytes: &[u8]) -> Peeked {
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0xf);
    let body_length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version != 2 || command > 1 {
        return Peeked::Broken("the PROXY header has an unknown version or command");
    }
    if body_length > MAX_BODY {
        return Peeked::Broken("the PROXY header is too long");
    }
    let length = 16 + body_length;
    let Some(body) = bytes.get(16..length) else {
        return Peeked::Partial;
    };
    let addresses = match (command, bytes[13]) {
        (1, 0x11) => Ok(ends4(body)),
        (1, 0x21) => Ok(ends6(body)),
        _ => Err(()), // local, unix sockets, datagrams: the socket's own addresses
    };
    match addresses {
        Ok(None) => Peeked::Broken("the PROXY header is shorter than its addresses"),
        Ok(addresses) => Peeked::Header(Header { length, addresses }),
        Err(()) => Peeked::Header(Header {
            length,
            addresses: None,
        }),
    }
}

fn ends4(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let body = body.first_chunk::<12>()?;
    let ip = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]);
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some(((ip(0), port(8)).into(), (ip(4), port(10)).into()))
}

fn ends6(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let body = body.first_chunk::<36>()?;
    let ip = |at: usize| <[u8; 16]>::try_from(&body[at..at + 16]).map(Ipv6Addr::from).ok();
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some(((ip(0)?, port(32)).into(), (ip(16)?, port(34)).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn reads_both_versions() {
        let ends = |a: &str, b: &str| Some((a.parse().expect("address"), b.parse().expect("address")));
        let body4 = [1, 2, 3, 4, 5, 6, 7, 8, 0x1f, 0x90, 0, 80];
        let with_extension = [&body4[..], &[3, 0, 1, 0]].concat();
        let cases = [
            (
                b"PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\nGET".to_vec(),
                36,
                ends("1.2.3.4:8080", "5.6.7.8:80"),
            ),
            (b"PROXY TCP6 ::1 ::2 1 2\r\n".to_vec(), 24, ends("[::1]:1", "[::2]:2")),
            (b"PROXY UNKNOWN whatever\r\n".to_vec(), 24, None),
            (v2(1, 0x11, &body4), 28, ends("1.2.3.4:8080", "5.6.7.8:80")),
            (v2(1, 0x11, &with_extension), 32, ends("1.2.3.4:8080", "5.6.7.8:80")),
            (v2(0, 0, &[]), 16, None),
        ];
        for (bytes, length, addresses) in cases {
            assert_eq!(peek(&bytes), Peeked::Header(Header { length, addresses }), "{bytes:?}");
            for cut in 0..length {
                assert_eq!(peek(&bytes[..cut]), Peeked::Partial, "{cut} of {bytes:?}");
            }
        }
    }

    #[test]
    fn noise_never_panics() {
        fastrand::seed(9);
        for _ in 0..2000 {
            let mut noise = if fastrand::bool() {
                SIGNATURE.to_vec()
            } else {
                b"PROXY TCP4 ".to_vec()
            };
            noise.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(..200)));
            let _ = peek(&noise);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let long = [b"PROXY ".as_slice(), &[b'a'; 200]].concat();
        let cases: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 80 99999\r\n",
            &long,
            &v2(1, 0x11, &[1, 2]),
        ];
        for bytes in cases {
            assert!(matches!(peek(bytes), Peeked::Broken(_)), "{bytes:?}");
        }
    }
}
