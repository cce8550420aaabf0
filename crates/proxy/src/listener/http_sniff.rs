//! Tells HTTP from other protocols by the first bytes a client sends.
//!
//! HTTP/2 with prior knowledge begins with a fixed preface. HTTP/1 is recognised by a request line that could be one: a method of
//! token characters, a target, and the version. A method that no registry knows is refused early, so that binary and line-based protocols
//! are told apart after a few bytes instead of waiting for a line that may never end.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes of a request line looked at before it is taken for something else.
pub const MAX_LINE: usize = 8 * 1024;

/// Registered methods (RFC 9110, WebDAV and what Envoy's parser knows beside).
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// Another protocol.
    NotHttp,
    /// HTTP so far; more bytes are needed.
    Partial,
    Http10,
    Http11,
    /// HTTP/2 without TLS.
    Http2,
}

impl Sniffed {
    /// As `application_protocols` of a filter chain match names it.
    pub fn protocol(self) -> Option<&'static str> {
        match self {
            Sniffed::Http10 => Some("http/1.0"),
            Sniffed::Http11 => Some("http/1.1"),
            Sniffed::Http2 => Some("h2c"),
            Sniffed::NotHttp | Sniffed::Partial => None,
        }
    }
}

/// Looks at the first bytes of a connection.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return Sniffed::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Sniffed::Partial;
    }
    let line = skip_empty_lines(bytes);
    match memchr::memchr(b' ', line) {
        None if METHODS.iter().any(|method| method.as_bytes().starts_with(line)) => Sniffed::Partial,
        Some(end) if METHODS.iter().any(|method| method.as_bytes() == &line[..end]) => rest_of_line(&line[end + 1..]),
        _ => Sniffed::NotHttp,
    }
}

/// A client may send empty lines before its request (RFC 9112, 2.2); one is what parsers in the field accept.
fn skip_empty_lines(bytes: &[u8]) -> &[u8] {
    bytes
        .strip_prefix(b"\r\n")
        .or(bytes.strip_prefix(b"\n"))
        .unwrap_or(if bytes == b"\r" { b"" } else { bytes })
}

/// After the method: target, version, end of line.
fn rest_of_line(rest: &[u8]) -> Sniffed {
    let Some(end) = memchr::memchr(b'\n', rest) else {
        let binary = rest.iter().any(|b| (b.is_ascii_control() && *b != b'\r') || *b == 0x7f);
        return if binary || rest.len() > MAX_LINE {
            Sniffed::NotHttp
        } else {
            Sniffed::Partial
        };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    match version {
        b"HTTP/1.1" => Sniffed::Http11,
        b"HTTP/1.0" => Sniffed::Http10,
        _ => Sniffed::NotHttp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: &[(&[u8], Sniffed)] = &[
            (b"GET / HTTP/1.1\r\nhost: a\r\n", Sniffed::Http11),
            (b"GET / HTTP/1.0\r\n", Sniffed::Http10),
            (b"\r\nPOST /x HTTP/1.1\r\n", Sniffed::Http11),
            (b"M-SEARCH * HTTP/1.1\r\n", Sniffed::Http11),
            (b"GET http://reviews:9080/ HTTP/1.1\n", Sniffed::Http11),
            (PREFACE, Sniffed::Http2),
            (b"", Sniffed::Partial),
            (b"P", Sniffed::Partial),
            (b"PRI * HTTP/2", Sniffed::Partial),
            (b"PR", Sniffed::Partial),
            (b"PROPFIND /", Sniffed::Partial),
            (b"GE", Sniffed::Partial),
            (b"GET /a/long/path", Sniffed::Partial),
            (b"GET / HTTP/2.0\r\n", Sniffed::NotHttp),
            (b"GET / SIP/2.0\r\n", Sniffed::NotHttp),
            (b"GET \x00\x01", Sniffed::NotHttp),
            (b"get / HTTP/1.1\r\n", Sniffed::NotHttp),
            (b"EHLO example.com\r\n", Sniffed::NotHttp),
            (b"SSH-2.0-OpenSSH", Sniffed::NotHttp),
            (b"\x16\x03\x01", Sniffed::NotHttp),
            (b"*1\r\n$4\r\nPING\r\n", Sniffed::NotHttp),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_verdict_once_given_stands_whatever_follows() {
        fastrand::seed(3);
        let beginnings: [&[u8]; 6] = [
            b"",
            b"GET /",
            b"PRI * HTTP/2.0\r\n",
            b"\r\n",
            b"POST / HTTP/1.1\r\n",
            b"\x16\x03",
        ];
        for _ in 0..2000 {
            let mut bytes = fastrand::choice(beginnings).unwrap_or_default().to_vec();
            bytes.extend((0..40).map(|_| fastrand::choice(*b"GETPRI /* HTP/1.0\r\nSM\0x").unwrap_or(0)));
            let verdicts: Vec<Sniffed> = (0..=bytes.len()).map(|length| sniff(&bytes[..length])).collect();
            let first = verdicts
                .iter()
                .position(|verdict| *verdict != Sniffed::Partial)
                .unwrap_or(verdicts.len());
            let stable = verdicts[first..].windows(2).all(|pair| pair[0] == pair[1]);
            assert!(stable, "{:?}: {verdicts:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn an_endless_target_is_no_http() {
        let mut line = b"GET /".to_vec();
        line.resize(MAX_LINE + 100, b'a');
        assert_eq!(sniff(&line), Sniffed::NotHttp);
    }
}
