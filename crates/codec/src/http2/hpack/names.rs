//! The names that HTTP/2 or HPACK knows: what they mean, where the static table has them, and whether their values are worth remembering.

use crate::fields::NAME_BYTES;

/// What a field of that name is to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) enum Kind {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    /// Nothing that the protocol cares about.
    Plain,
    ContentLength,
    Cookie,
    Host,
    Te,
    /// Belongs to a connection of HTTP/1.1: it has no place in a message here (RFC 9113 §8.2.2).
    Hop,
    /// No name of a field.
    Invalid,
}

/// What the encoder does with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Those that come again get an entry.
    Learn,
    /// Another one each time: only the name may come from a table.
    Changing,
    /// Must not leave a trace in any table (RFC 7541 §7.1).
    Secret,
}

#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Its first index in the static table; 0: none.
    pub(super) index: u8,
    pub(super) kind: Kind,
    pub(super) policy: Policy,
}

const fn known(name: &'static str, index: u8, kind: Kind, policy: Policy) -> Known {
    Known {
        name,
        index,
        kind,
        policy,
    }
}

const fn learn(name: &'static str, index: u8) -> Known {
    known(name, index, Kind::Plain, Policy::Learn)
}

const fn changing(name: &'static str, index: u8) -> Known {
    known(name, index, Kind::Plain, Policy::Changing)
}

const fn secret(name: &'static str, index: u8) -> Known {
    known(name, index, Kind::Plain, Policy::Secret)
}

const fn hop(name: &'static str, index: u8) -> Known {
    known(name, index, Kind::Hop, Policy::Changing)
}

static KNOWN: [Known; 70] = [
    known(":authority", 1, Kind::Authority, Policy::Learn),
    known(":method", 2, Kind::Method, Policy::Learn),
    known(":path", 4, Kind::Path, Policy::Learn),
    known(":scheme", 6, Kind::Scheme, Policy::Learn),
    known(":status", 8, Kind::Status, Policy::Learn),
    learn("accept-charset", 15),
    learn("accept-encoding", 16),
    learn("accept-language", 17),
    learn("accept-ranges", 18),
    learn("accept", 19),
    learn("access-control-allow-origin", 20),
    changing("age", 21),
    learn("allow", 22),
    secret("authorization", 23),
    learn("cache-control", 24),
    learn("content-disposition", 25),
    learn("content-encoding", 26),
    learn("content-language", 27),
    known("content-length", 28, Kind::ContentLength, Policy::Changing),
    changing("content-location", 29),
    changing("content-range", 30),
    learn("content-type", 31),
    known("cookie", 32, Kind::Cookie, Policy::Secret),
    changing("date", 33),
    changing("etag", 34),
    learn("expect", 35),
    changing("expires", 36),
    learn("from", 37),
    known("host", 38, Kind::Host, Policy::Learn),
    changing("if-match", 39),
    changing("if-modified-since", 40),
    changing("if-none-match", 41),
    changing("if-range", 42),
    changing("if-unmodified-since", 43),
    changing("last-modified", 44),
    learn("link", 45),
    changing("location", 46),
    learn("max-forwards", 47),
    learn("proxy-authenticate", 48),
    secret("proxy-authorization", 49),
    changing("range", 50),
    learn("referer", 51),
    learn("refresh", 52),
    learn("retry-after", 53),
    learn("server", 54),
    secret("set-cookie", 55),
    learn("strict-transport-security", 56),
    hop("transfer-encoding", 57),
    learn("user-agent", 58),
    learn("vary", 59),
    learn("via", 60),
    learn("www-authenticate", 61),
    hop("connection", 0),
    hop("keep-alive", 0),
    hop("proxy-connection", 0),
    hop("upgrade", 0),
    known("te", 0, Kind::Te, Policy::Learn),
    changing("traceparent", 0),
    changing("tracestate", 0),
    changing("b3", 0),
    changing("x-b3-traceid", 0),
    changing("x-b3-spanid", 0),
    changing("x-b3-parentspanid", 0),
    changing("x-request-id", 0),
    changing("x-envoy-upstream-service-time", 0),
    changing("x-envoy-expected-rq-timeout-ms", 0),
    secret("x-api-key", 0),
    secret("x-auth-token", 0),
    secret("x-amz-security-token", 0),
    secret("x-csrf-token", 0),
];

const SLOTS: usize = 256;

/// Places in `KNOWN`, plus one, by hash; those that collide stand in the next free slots.
static BY_HASH: [u8; SLOTS] = {
    let mut slots = [0; SLOTS];
    let mut at = 0;
    while at < KNOWN.len() {
        let mut slot = hash(KNOWN[at].name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8 + 1;
        at += 1;
    }
    slots
};

/// Of a name that is not empty.
const fn hash(name: &[u8]) -> usize {
    let n = name.len();
    let mixed = (n as u32)
        .wrapping_mul(0x9e37)
        .wrapping_add((name[0] as u32).wrapping_mul(0x85eb_ca6b))
        .wrapping_add((name[n - 1] as u32).wrapping_mul(0xc2b2_ae35))
        .wrapping_add((name[n / 2] as u32).wrapping_mul(0x27d4_eb2f));
    ((mixed ^ (mixed >> 15)) as usize) % SLOTS
}

#[inline]
pub(super) fn find(name: &[u8]) -> Option<&'static Known> {
    if name.is_empty() {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let known = KNOWN.get(usize::from(BY_HASH[slot]).checked_sub(1)?)?;
        if known.name.as_bytes() == name {
            return Some(known);
        }
        slot = (slot + 1) % SLOTS;
    }
}

impl Kind {
    /// Of a name as it was received.
    pub(super) fn of(name: &[u8]) -> Kind {
        if let Some(known) = find(name) {
            return known.kind;
        }
        let is_token = name
            .iter()
            .all(|byte| NAME_BYTES[usize::from(*byte)] == *byte && *byte != 0);
        if is_token && !name.is_empty() && name.len() <= usize::from(u16::MAX) {
            Kind::Plain
        } else {
            Kind::Invalid
        }
    }
}

/// Whether a value of `te` says `trailers`, and nothing else.
#[inline]
pub(in crate::http2) fn is_trailers(value: &[u8]) -> bool {
    value == b"trailers" || value.eq_ignore_ascii_case(b"trailers")
}

/// Whether a value may stand in a field: no control characters, and no white space around it (RFC 9113 §8.2.1).
pub(super) fn is_value(value: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let good = value.iter().fold(true, |good, byte| {
        good & ((*byte >= b' ') | (*byte == b'\t')) & (*byte != 0x7f)
    });
    good && !edge(value.first()) && !edge(value.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::table::STATIC;

    #[test]
    fn the_static_table_is_known_by_name() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|(other, _)| other == name).expect("itself") + 1;
            let known = find(name.as_bytes()).expect("known");
            assert_eq!(usize::from(known.index), first, "{name} at {at}");
        }
        for known in &KNOWN {
            assert_eq!(find(known.name.as_bytes()).expect("known").name, known.name);
        }
    }

    #[test]
    fn kinds_of_names() {
        for (name, kind) in [
            ("x-tenant", Kind::Plain),
            ("content-type", Kind::Plain),
            ("Content-Type", Kind::Invalid),
            ("connection", Kind::Hop),
            ("te", Kind::Te),
            (":path", Kind::Path),
            (":protocol", Kind::Invalid),
            ("", Kind::Invalid),
            ("a b", Kind::Invalid),
            ("a\0", Kind::Invalid),
        ] {
            assert_eq!(Kind::of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn values() {
        for good in ["", "a", "a b", "a\tb", "\u{e4}"] {
            assert!(is_value(good.as_bytes()), "{good:?}");
        }
        for bad in [" a", "a ", "\ta", "a\r\nb", "\0", "\x7f"] {
            assert!(!is_value(bad.as_bytes()), "{bad:?}");
        }
    }
}
