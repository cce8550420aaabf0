//! Whether a request is traced. The decision stands in the request's own id, so that every proxy it passes comes to the same one.

use crate::config::Tracing;
use crate::head::{Headers, Name, Value};

/// Where in an id the reason stands, for which it is traced.
const PLACE: usize = 14;
/// Of a UUID as text; another id carries no decision, and its request is traced only if its caller's span is.
const LENGTH: usize = 36;
/// The parts that sampling knows.
const PARTS: u64 = 10_000;

/// Why a request is traced, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NotTraceable,
    Sampling,
    ClientForced,
    ServiceForced,
}

impl Reason {
    const ALL: [Reason; 4] = [
        Reason::NotTraceable,
        Reason::Sampling,
        Reason::ClientForced,
        Reason::ServiceForced,
    ];

    fn digit(self) -> u8 {
        match self {
            Reason::NotTraceable => b'4',
            Reason::Sampling => b'9',
            Reason::ServiceForced => b'a',
            Reason::ClientForced => b'b',
        }
    }

    fn count(self, tracing: &Tracing) {
        let stats = &tracing.stats;
        match self {
            Reason::NotTraceable => stats.not_traceable.inc(),
            Reason::Sampling => stats.random_sampling.inc(),
            Reason::ClientForced => stats.client_enabled.inc(),
            Reason::ServiceForced => stats.service_forced.inc(),
        }
    }

    pub(super) fn is_traced(self) -> bool {
        self != Reason::NotTraceable
    }
}

/// Decides, writes the decision into the request's id, and counts it.
pub(super) fn decide(tracing: &Tracing, headers: &mut Headers) -> Reason {
    let reason = decided(tracing, headers);
    reason.count(tracing);
    reason
}

fn decided(tracing: &Tracing, headers: &mut Headers) -> Reason {
    let Some(mut id) = id(headers) else {
        return Reason::NotTraceable;
    };
    let known = Reason::ALL.into_iter().find(|reason| reason.digit() == id[PLACE]);
    let before = known.unwrap_or(Reason::NotTraceable);
    let Some(random) = random(&id) else {
        return Reason::NotTraceable;
    };
    let within = |share: u32| random % PARTS < u64::from(share);
    let mut reason = before;
    if reason == Reason::NotTraceable {
        if headers.contains("x-client-trace-id") && (fastrand::u64(0..PARTS) < u64::from(tracing.client)) {
            reason = Reason::ClientForced;
        } else if headers.contains("x-envoy-force-trace") {
            reason = Reason::ServiceForced;
        } else if within(tracing.random) {
            reason = Reason::Sampling;
        }
    }
    if reason.is_traced() && !within(tracing.overall) {
        reason = Reason::NotTraceable;
    }
    if reason != before {
        id[PLACE] = reason.digit();
        // What was an id is one with another digit.
        if let Ok(id) = Value::new(&id) {
            headers.set(Name::from_static("x-request-id"), id);
        }
    }
    reason
}

fn id(headers: &Headers) -> Option<[u8; LENGTH]> {
    headers.get("x-request-id")?.as_bytes().try_into().ok()
}

/// The first eight digits: random to us, and the same for every proxy that sees the request.
fn random(id: &[u8; LENGTH]) -> Option<u64> {
    let text = std::str::from_utf8(id).ok()?.get(..8)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::tracing;
    use super::*;

    #[test]
    fn the_id_decides_and_tells_the_decision() {
        // (id, further field, random, overall), (reason, digit)
        let cases = [
            (
                ("00000064-5c9f-4413-8d48-485a3953bb61", "", 5_000, 10_000),
                (Reason::Sampling, b'9'),
            ),
            (
                ("00002500-5c9f-4413-8d48-485a3953bb61", "", 5_000, 10_000),
                (Reason::NotTraceable, b'4'),
            ),
            (
                ("00002500-5c9f-9413-8d48-485a3953bb61", "", 0, 10_000),
                (Reason::Sampling, b'9'),
            ),
            (
                ("00002500-5c9f-a413-8d48-485a3953bb61", "", 0, 10_000),
                (Reason::ServiceForced, b'a'),
            ),
            (
                ("00002500-5c9f-4413-8d48-485a3953bb61", "x-client-trace-id", 0, 10_000),
                (Reason::ClientForced, b'b'),
            ),
            (
                ("00002500-5c9f-4413-8d48-485a3953bb61", "x-envoy-force-trace", 0, 10_000),
                (Reason::ServiceForced, b'a'),
            ),
            (
                ("00002500-5c9f-9413-8d48-485a3953bb61", "", 0, 0),
                (Reason::NotTraceable, b'4'),
            ),
            (
                ("zzzzzzzz-5c9f-9413-8d48-485a3953bb61", "", 10_000, 10_000),
                (Reason::NotTraceable, b'9'),
            ),
        ];
        for ((id, field, random, overall), expected) in cases {
            let mut tracing = tracing();
            (tracing.random, tracing.overall) = (random, overall);
            let mut headers = Headers::default();
            headers.append(Name::from_static("x-request-id"), Value::from_static(id));
            if !field.is_empty() {
                headers.append(Name::from_static(field), Value::from_static("1"));
            }
            let reason = decide(&tracing, &mut headers);
            let digit = headers.get("x-request-id").expect("it has one").as_bytes()[PLACE];
            assert_eq!((reason, digit), expected, "{id} {field}");
        }
    }

    #[test]
    fn an_id_that_is_no_uuid_stays_as_it_is() {
        let mut headers = Headers::default();
        assert_eq!(decide(&tracing(), &mut headers), Reason::NotTraceable);
        headers.append(Name::from_static("x-request-id"), Value::from_static("short"));
        assert_eq!(decide(&tracing(), &mut headers), Reason::NotTraceable);
        assert_eq!(headers.text("x-request-id"), Some("short"));
    }
}
