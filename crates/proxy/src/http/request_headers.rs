//! What a connection manager does to the headers of every request before routing, and of every response at the end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Instant;

use super::date;
use crate::config::{ConnectionFacts, HttpConnectionManager, ServerHeader};
use crate::head::{Headers, Name, RequestHead, ResponseHead, Text, Value};

const XFF: Name<'static> = Name::from_static("x-forwarded-for");
const XFP: Name<'static> = Name::from_static("x-forwarded-proto");
const REQUEST_ID: Name<'static> = Name::from_static("x-request-id");
const EXTERNAL_ADDRESS: Name<'static> = Name::from_static("x-envoy-external-address");

/// Fields that belong to one connection and never pass.
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What Envoy believes from internal addresses only, of which there are none unless configured: instructions to a router.
const INTERNAL: [&str; 16] = [
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
];

/// Removes what belongs to the connection, and what `connection` names; `te: trailers` stays. Most heads have none of it.
pub(super) fn remove_hop_by_hop(headers: &mut Headers) {
    if !headers.has_hop_by_hop() {
        return;
    }
    let named: Vec<String> = headers
        .all("connection")
        .filter_map(|value| value.to_str())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|token| {
            !HOP_BY_HOP
                .iter()
                .chain(&["", "close"])
                .any(|known| token.eq_ignore_ascii_case(known))
        })
        .map(str::to_ascii_lowercase)
        .collect();
    let trailers = headers.has_token("te", "trailers");
    headers.retain(|name, _| !HOP_BY_HOP.contains(&name) && !named.iter().any(|n| n == name));
    if trailers {
        headers.set(Name::from_static("te"), Value::from_static("trailers"));
    }
}

/// Forwarding headers, request id and host, as the connection manager says. `client` is the address of the peer, as text.
pub(super) fn prepare(manager: &HttpConnectionManager, client: &str, local: SocketAddr, head: &mut RequestHead) {
    // From outside nothing of the kind is believed; from inside, no instructions to a router.
    let distrusted = manager.use_remote_address && manager.xff_num_trusted_hops == 0;
    head.headers.retain_raw(|name, _| {
        !name.starts_with(b"x-envoy-") || !(is_internal(name) || (distrusted && !is_peer_metadata(name)))
    });
    let says_scheme = head.headers.contains(XFP.as_str());
    if manager.use_remote_address {
        let trusted = manager.xff_num_trusted_hops > 0;
        if let (false, Ok(client)) = (trusted, Value::new(client.as_bytes())) {
            head.headers.set(EXTERNAL_ADDRESS, client);
        }
        if !manager.skip_xff_append {
            // An address is text without control characters.
            let _ = head.headers.append_to_list(XFF, client);
        }
        if !(trusted && says_scheme) {
            head.headers.set(XFP, Value::from_static(head.scheme));
        }
    } else if !says_scheme {
        head.headers.append(XFP, Value::from_static(head.scheme));
    }
    request_id(manager, head);
    strip_port(manager, local, head);
}

fn is_internal(name: &[u8]) -> bool {
    INTERNAL.iter().any(|internal| internal.as_bytes() == name)
}

fn is_peer_metadata(name: &[u8]) -> bool {
    [crate::telemetry::PEER_METADATA, crate::telemetry::PEER_METADATA_ID]
        .map(str::as_bytes)
        .contains(&name)
}

fn request_id(manager: &HttpConnectionManager, head: &mut RequestHead) {
    if !manager.generate_request_id {
        return;
    }
    let has_one = head.headers.contains(REQUEST_ID.as_str());
    let external = manager.use_remote_address && !manager.preserve_external_request_id;
    if has_one && !external {
        return;
    }
    if let Ok(id) = Value::new(&new_request_id()) {
        match has_one {
            true => head.headers.set(REQUEST_ID, id),
            false => head.headers.append(REQUEST_ID, id),
        }
    }
}

/// A random UUID (version 4), as text.
fn new_request_id() -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    /// Where the digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let bits = fastrand::u128(..) & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (byte, at) in bits.to_be_bytes().into_iter().zip(PLACES) {
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

/// The head as routing would see it, of a request that came by such a connection.
///
/// # Errors
/// As [`normalize_path`].
pub(crate) fn as_routed(
    manager: &HttpConnectionManager,
    connection: &ConnectionFacts,
    head: &mut RequestHead,
) -> Result<(), ()> {
    remove_hop_by_hop(&mut head.headers);
    let client = connection
        .source
        .map_or_else(String::new, |source| source.ip().to_string());
    if let Some(local) = connection.destination {
        prepare(manager, &client, local, head);
    }
    normalize_path(manager, head)
}

fn strip_port(manager: &HttpConnectionManager, local: SocketAddr, head: &mut RequestHead) {
    if !(manager.strip_any_host_port || manager.strip_matching_host_port) {
        return;
    }
    let host = super::routing::without_port(&head.authority);
    if host.len() == head.authority.len() {
        return;
    }
    let port = &head.authority.as_str()[host.len() + 1..];
    if manager.strip_any_host_port || port.parse() == Ok(local.port()) {
        head.authority = Text::from(host);
    }
}

/// The path as routing and access rules see it: (if asked) escaped slashes are slashes, escapes that need not be are decoded, `\` is `/`,
/// `.` and `..` are resolved, and (if asked) repeated slashes merged. Each escape is decoded once.
///
/// # Errors
/// If the path holds a NUL: the request is answered 400.
pub(super) fn normalize_path(manager: &HttpConnectionManager, head: &mut RequestHead) -> Result<(), ()> {
    let wanted = manager.normalize_path || manager.merge_slashes || manager.unescape_slashes;
    if !wanted || !could_be_cleaner(head.path.as_bytes()) {
        return Ok(());
    }
    let path = head.path_only();
    if !path.starts_with('/') {
        return Ok(());
    }
    if path.contains("%00") {
        return Err(());
    }
    let unescaped = match manager.unescape_slashes && path.contains('%') {
        true => Cow::Owned(unescape_slashes(path)),
        false => Cow::Borrowed(path),
    };
    let escaped = unescaped.len() != path.len();
    let query = path.len();
    let path = &*unescaped;
    let dotted = manager.normalize_path && (path.contains("/.") || path.contains(['%', '\\']));
    let doubled = manager.merge_slashes && path.contains("//");
    if !dotted && !doubled && !escaped {
        return Ok(());
    }
    let rest = head.path.as_str()[query..].to_owned();
    let mut clean = if dotted {
        resolve_dots(&decode_unreserved(path))
    } else {
        path.to_owned()
    };
    if manager.merge_slashes {
        while clean.contains("//") {
            clean = clean.replace("//", "/");
        }
    }
    clean.push_str(&rest);
    head.path = Text::from(clean);
    Ok(())
}

/// Whether there is anything before the query that is ever changed or refused: most paths have nothing of it, and are looked at once.
fn could_be_cleaner(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        match byte {
            b'?' | b'#' => return false,
            b'%' | b'\\' => return true,
            b'/' | b'.' if before == b'/' => return true,
            _ => before = byte,
        }
    }
    false
}

/// `%2f` and `%5c` are what they stand for.
fn unescape_slashes(path: &str) -> String {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let slash = match part.as_bytes() {
            [b'2', b'f' | b'F', ..] => '/',
            [b'5', b'c' | b'C', ..] => '\\',
            _ => '%',
        };
        out.push(slash);
        out.push_str(if slash == '%' { part } else { &part[2..] });
    }
    out
}

/// `%2e` and other escapes of characters that need none; a backslash is a slash.
fn decode_unreserved(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| path.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                out.push(char::from(plain));
                at += 3;
                continue;
            }
            _ if byte == b'\\' => out.push('/'),
            _ => {
                let Some(c) = path[at..].chars().next() else { break };
                out.push(c);
                at += c.len_utf8();
                continue;
            }
        }
        at += 1;
    }
    out
}

/// `..` at the root stays there, as RFC 3986 has it.
fn resolve_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let all: Vec<&str> = path[1..].split('/').collect();
    for (i, segment) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        match *segment {
            "." if last => segments.push(""),
            "." => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

/// The last touch on every response.
pub(super) fn finish_response(manager: &HttpConnectionManager, head: &mut ResponseHead, now: Instant) {
    const SERVER: Name<'static> = Name::from_static("server");
    const DATE: Name<'static> = Name::from_static("date");
    let ours = match manager.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !head.headers.contains(SERVER.as_str()),
        ServerHeader::PassThrough => false,
    };
    if ours {
        head.headers.set(SERVER, manager.server_name.as_value());
    }
    if !head.headers.contains(DATE.as_str()) {
        date::with(now, |date| head.headers.append(DATE, date));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_and_never_leave_the_root() {
        let cases = [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/a/../../b", "/b"),
            ("/a//b", "/a//b"),
        ];
        for (path, expected) in cases {
            assert_eq!(resolve_dots(path), expected, "{path}");
        }
        assert_eq!(decode_unreserved(r"/%2e%2E/%41\x%2Fy"), "/../A/x%2Fy");
    }

    #[test]
    fn rules_see_the_path_that_is_meant() {
        let manager = crate::http::tests::harness::plain_manager();
        let cases = [
            ("/%61dmin", "/admin"),
            ("/x/%61dmin?q=%61", "/x/admin?q=%61"),
            ("/a%2e%2e/b", "/a../b"),
            ("/a%2fb", "/a%2fb"),
            ("/a/%2e%2E/b", "/b"),
            ("/100%", "/100%"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalized(&manager, path), expected);
        }
    }

    #[test]
    fn escaped_slashes_are_slashes_where_that_is_wanted() {
        let mut manager = crate::http::tests::harness::plain_manager();
        (manager.unescape_slashes, manager.merge_slashes) = (true, true);
        let cases = [
            ("/a%2Fb%2f%5Cc%5cd?e=%2f", "/a/b/c/d?e=%2f"),
            ("/a%2f..%2fb", "/b"),
            ("/a%252fb", "/a%252fb"),
            ("/a%2", "/a%2"),
            ("/%", "/%"),
            ("/ü%2fü", "/ü/ü"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalized(&manager, path), expected);
        }
        (manager.normalize_path, manager.merge_slashes) = (false, false);
        assert_eq!(normalized(&manager, "/a%2f%2fb%41"), "/a//b%41");
    }

    fn normalized(manager: &HttpConnectionManager, path: &str) -> String {
        let mut head = RequestHead {
            method: http::Method::GET,
            scheme: "http",
            authority: Text::from("mesh"),
            path: Text::from(path),
            version: crate::telemetry::HttpVersion::Http11,
            headers: Headers::default(),
        };
        assert_eq!(normalize_path(manager, &mut head), Ok(()));
        head.path.as_str().to_owned()
    }

    #[test]
    fn request_ids_are_uuids() {
        let id = new_request_id();
        assert!(id.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-'));
        assert_eq!([8, 13, 18, 23].map(|at| id[at]), [b'-'; 4]);
        assert_eq!(id[14], b'4');
        assert!(b"89ab".contains(&id[19]));
        assert_ne!(id, new_request_id());
    }

    #[test]
    fn connection_fields_do_not_pass() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("connection", "x-private, close"),
            ("x-private", "1"),
            ("te", "trailers, gzip"),
            ("accept", "*/*"),
            ("keep-alive", "5"),
        ] {
            headers.append(Name::from_static(name), Value::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.iter().map(|(n, v)| (n, v.to_str().unwrap())).collect();
        assert_eq!(left, [("accept", "*/*"), ("te", "trailers")]);
    }
}
