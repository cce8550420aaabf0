//! Reads a TLS ClientHello without taking it: server name and application protocols, as far as the bytes seen allow.
//!
//! The bytes stay in the socket for the TLS handshake (or for the server behind, when TLS passes through). So this parser sees
//! the whole beginning again each time more has arrived, keeps no state, and copies only the two things it looks for. It checks just
//! enough structure to find them; whether the hello is *good* is the business of whoever terminates TLS.

/// Most bytes ever looked at: the largest TLS record, with room for the headers. A longer hello is taken as it is known by then.
pub const MAX_HELLO: usize = 16 * 1024;

const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const RECORD_HEADER: usize = 5;
/// The longest DNS name.
const MAX_NAME: usize = 255;
/// More protocols than any client offers; a limit on what one hello can make us keep.
const MAX_PROTOCOLS: usize = 32;

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// SNI in lower case.
    pub server_name: Option<String>,
    pub protocols: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// No TLS client begins like this.
    NotTls,
    /// TLS so far, and not all of the hello yet.
    Partial,
    /// TLS. A hello that breaks its own structure has neither name nor protocols.
    Tls(ClientHello),
}

/// Looks at the first bytes of a connection.
pub fn peek(bytes: &[u8]) -> Peeked {
    match begins_like_tls(bytes) {
        Some(false) => return Peeked::NotTls,
        None => return Peeked::Partial,
        Some(true) => {}
    }
    match handshake(bytes) {
        Handshake::Whole(body) => Peeked::Tls(parse(&body).unwrap_or_default()),
        Handshake::Broken => Peeked::Tls(ClientHello::default()),
        Handshake::Partial if bytes.len() >= MAX_HELLO => Peeked::Tls(ClientHello::default()),
        Handshake::Partial => Peeked::Partial,
    }
}

/// Content type, version 3.x, length, ClientHello: `None` while the bytes agree and are too few.
fn begins_like_tls(bytes: &[u8]) -> Option<bool> {
    let fits = |index: usize, byte: u8| match index {
        0 => byte == CONTENT_HANDSHAKE,
        1 => byte == 3,
        2 => byte <= 4,
        RECORD_HEADER => byte == CLIENT_HELLO,
        _ => true, // length
    };
    let mut beginning = bytes.iter().take(RECORD_HEADER + 1).enumerate();
    if !beginning.all(|(index, byte)| fits(index, *byte)) {
        return Some(false);
    }
    (bytes.len() > RECORD_HEADER).then_some(true)
}

enum Handshake {
    Whole(Vec<u8>),
    Partial,
    Broken,
}

/// The body of the ClientHello, put together from as many records as it spans.
fn handshake(bytes: &[u8]) -> Handshake {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some(header) = message.first_chunk::<4>() {
            let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            if length > MAX_HELLO {
                return Handshake::Broken;
            }
            if message.len() >= 4 + length {
                message.truncate(4 + length);
                message.drain(..4);
                return Handshake::Whole(message);
            }
        }
        let Some(header) = rest.first_chunk::<RECORD_HEADER>() else {
            return Handshake::Partial;
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != CONTENT_HANDSHAKE || length == 0 {
            return Handshake::Broken;
        }
        let body = &rest[RECORD_HEADER..];
        let Some(fragment) = body.get(..length) else {
            return Handshake::Partial;
        };
        message.extend_from_slice(fragment);
        rest = &body[length..];
    }
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?; // version, random
    reader.vector8()?; // session
    reader.vector16()?; // cipher suites
    reader.vector8()?; // compression
    let mut hello = ClientHello::default();
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.vector16()?;
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = server_name(body),
            EXTENSION_ALPN => hello.protocols = protocols(body)?,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(extension: &[u8]) -> Option<String> {
    let mut list = Reader(Reader(extension).vector16()?);
    let kind = list.take(1)?;
    let name = list.vector16()?;
    let printable = name.iter().all(|b| b.is_ascii_graphic());
    if kind != [0] || name.is_empty() || name.len() > MAX_NAME || !printable {
        return None;
    }
    Some(String::from_utf8_lossy(name).to_ascii_lowercase())
}

fn protocols(extension: &[u8]) -> Option<Vec<String>> {
    let mut list = Reader(Reader(extension).vector16()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() && protocols.len() < MAX_PROTOCOLS {
        protocols.push(String::from_utf8_lossy(list.vector8()?).into_owned());
    }
    Some(protocols)
}

/// The rest of a structure; each step is `None` beyond its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
        let mut config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).expect("name");
        let mut client = rustls::ClientConnection::new(config.into(), name).expect("client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("in memory");
        bytes
    }

    #[test]
    fn finds_name_and_protocols_in_a_real_hello() {
        let bytes = hello("Outbound_.9080_._.reviews.default.svc.cluster.local", &["istio", "h2"]);
        let expected = ClientHello {
            server_name: Some("outbound_.9080_._.reviews.default.svc.cluster.local".into()),
            protocols: vec!["istio".into(), "h2".into()],
        };
        assert_eq!(peek(&bytes), Peeked::Tls(expected));
        let by_address = hello("127.0.0.1", &[]);
        assert_eq!(peek(&by_address), Peeked::Tls(ClientHello::default()));
    }

    #[test]
    fn every_beginning_of_a_hello_asks_for_more() {
        let bytes = hello("example.com", &["h2"]);
        for length in 0..bytes.len() {
            assert_eq!(peek(&bytes[..length]), Peeked::Partial, "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn a_hello_in_many_records_is_put_together() {
        let whole = hello("example.com", &["h2"]);
        let mut split = Vec::new();
        for fragment in whole[RECORD_HEADER..].chunks(7) {
            split.extend_from_slice(&[22, 3, 1, 0, fragment.len() as u8]);
            split.extend_from_slice(fragment);
        }
        assert_eq!(peek(&split), peek(&whole));
        assert_eq!(peek(&split[..split.len() - 1]), Peeked::Partial);
    }

    #[test]
    fn other_protocols_are_told_by_their_first_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\0",
            b"\x16\x02",
            b"\x16\x03\x01\0\x05\x02",
            b"PRI * HTTP/2.0",
        ] {
            assert_eq!(peek(bytes), Peeked::NotTls, "{bytes:?}");
        }
    }

    #[test]
    fn nonsense_never_panics_and_never_waits_for_ever() {
        let whole = hello("example.com", &["h2"]);
        for index in RECORD_HEADER + 1..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[index] = value;
                let _ = peek(&broken);
            }
        }
        fastrand::seed(5);
        for _ in 0..2000 {
            let mut noise = vec![22, 3, 1, 0, fastrand::u8(..), 1, 0, 0, fastrand::u8(..)];
            noise.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(300));
            let _ = peek(&noise);
        }
        let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xff];
        endless.resize(MAX_HELLO, 0);
        assert_eq!(peek(&endless), Peeked::Tls(ClientHello::default()));
    }
}
