//! What one request carries of a trace, in the forms in which it is carried: B3 in several fields, B3 in one, and W3C `traceparent`.
//!
//! Envoy's rules decide what is read and what is written, because both data planes stand in one trace: an identifier that cannot be read makes
//! a request without a span, whose fields pass as they are; what came in one form goes on in the same.

use std::ops::Range;

use super::hex;
use crate::head::{Headers, Name, Value};

const B3: Name<'static> = Name::from_static("b3");
const TRACE_ID: Name<'static> = Name::from_static("x-b3-traceid");
const SPAN_ID: Name<'static> = Name::from_static("x-b3-spanid");
const PARENT_ID: Name<'static> = Name::from_static("x-b3-parentspanid");
const SAMPLED: Name<'static> = Name::from_static("x-b3-sampled");
const TRACEPARENT: Name<'static> = Name::from_static("traceparent");
const TRACESTATE: Name<'static> = Name::from_static("tracestate");

/// The fields in which a tracer reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    B3,
    /// B3, and `traceparent` beside it; where a request carries no B3, `traceparent` is read.
    B3AndW3c,
    W3c,
}

/// How B3 is written: as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum B3Form {
    Several,
    One,
}

/// One span's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    pub trace: u128,
    pub span: u64,
    pub parent: Option<u64>,
    pub sampled: bool,
    form: B3Form,
}

/// What a request says of the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    /// The caller's span; none: a trace begins here.
    caller: Option<SpanContext>,
    sampled: bool,
    form: B3Form,
}

/// The fields speak of a trace, but cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// How the span of this proxy relates to the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinship {
    /// The server's span is the client's (Zipkin's shared spans).
    pub(super) shared: bool,
    /// New trace identifiers have 128 bits.
    pub(super) wide: bool,
}

impl Incoming {
    /// `traced`: what is decided where the request itself does not say.
    pub(super) fn read(headers: &Headers, propagation: Propagation, traced: bool) -> Result<Self, Unreadable> {
        if propagation == Propagation::W3c {
            return w3c(headers, traced);
        }
        if let Some(b3) = headers.text(B3.as_str()) {
            return one_field(b3, traced);
        }
        let sampled = headers
            .text(SAMPLED.as_str())
            .map_or(traced, |value| matches!(value, "1" | "true"));
        let root = Incoming::root(sampled, B3Form::Several);
        let (Some(trace), Some(span)) = (headers.text(TRACE_ID.as_str()), headers.text(SPAN_ID.as_str())) else {
            let w3c = propagation == Propagation::B3AndW3c && headers.contains(TRACEPARENT.as_str());
            return if w3c { self::w3c(headers, traced) } else { Ok(root) };
        };
        let parent = headers.text(PARENT_ID.as_str()).filter(|text| !text.is_empty());
        Ok(Incoming::from(SpanContext {
            trace: trace_id(trace)?,
            span: span_id(span)?,
            parent: parent.map(span_id).transpose()?.filter(|id| *id != 0),
            sampled,
            form: B3Form::Several,
        }))
    }

    /// A trace begins here.
    fn root(sampled: bool, form: B3Form) -> Self {
        Incoming {
            caller: None,
            sampled,
            form,
        }
    }

    /// The context of the span that begins here; `serves`: for a request that came in, not for one that goes out.
    pub(super) fn begin(self, kinship: Kinship, serves: bool) -> SpanContext {
        let (sampled, form) = (self.sampled, self.form);
        let own = fastrand::u64(1..);
        match self.caller {
            // Envoy's root spans have the low half of their trace's identifier.
            None => SpanContext {
                trace: u128::from(own) | u128::from(if kinship.wide { fastrand::u64(1..) } else { 0 }) << 64,
                span: own,
                parent: None,
                sampled,
                form,
            },
            Some(caller) if serves && kinship.shared => SpanContext {
                sampled,
                form,
                ..caller
            },
            Some(caller) => SpanContext {
                trace: caller.trace,
                span: own,
                parent: Some(caller.span),
                sampled,
                form,
            },
        }
    }
}

impl From<SpanContext> for Incoming {
    fn from(caller: SpanContext) -> Self {
        Incoming {
            caller: Some(caller),
            ..Incoming::root(caller.sampled, caller.form)
        }
    }
}

impl SpanContext {
    /// Puts the span into the request that goes on.
    pub(super) fn write(&self, headers: &mut Headers, propagation: Propagation) {
        match (propagation, self.form) {
            (Propagation::W3c, _) => {}
            (_, B3Form::One) => self.write_one(headers),
            (_, B3Form::Several) => self.write_several(headers),
        }
        if propagation != Propagation::B3 {
            let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
            put(&mut text, 3..35, self.trace);
            put(&mut text, 36..52, self.span.into());
            text[54] = self.flag();
            set(headers, TRACEPARENT, &text);
        }
        if propagation == Propagation::W3c && !headers.contains(TRACESTATE.as_str()) {
            set(headers, TRACESTATE, b"");
        }
    }

    fn write_several(&self, headers: &mut Headers) {
        let mut trace = [0; 32];
        set(headers, TRACE_ID, hex::trace(self.trace, &mut trace));
        let mut id = [0; 16];
        set(headers, SPAN_ID, hex::span(self.span, &mut id));
        if let Some(parent) = self.parent {
            set(headers, PARENT_ID, hex::span(parent, &mut id));
        }
        set(headers, SAMPLED, &[self.flag()]);
    }

    fn write_one(&self, headers: &mut Headers) {
        let (mut trace, mut id) = ([0; 32], [0; 16]);
        let mut text = Vec::with_capacity(68);
        text.extend_from_slice(hex::trace(self.trace, &mut trace));
        text.push(b'-');
        text.extend_from_slice(hex::span(self.span, &mut id));
        text.extend_from_slice(&[b'-', self.flag()]);
        if let Some(parent) = self.parent {
            text.push(b'-');
            text.extend_from_slice(hex::span(parent, &mut id));
        }
        set(headers, B3, &text);
    }

    fn flag(&self) -> u8 {
        if self.sampled { b'1' } else { b'0' }
    }
}

fn put(text: &mut [u8], at: Range<usize>, value: u128) {
    if let Some(place) = text.get_mut(at) {
        hex::write(value, place);
    }
}

fn set(headers: &mut Headers, name: Name<'static>, text: &[u8]) {
    // Digits and dashes are allowed in every value.
    if let Ok(value) = Value::new(text) {
        headers.set(name, value);
    }
}

fn trace_id(text: &str) -> Result<u128, Unreadable> {
    if text.len() == 32 {
        return hex::read(text).ok_or(Unreadable);
    }
    span_id(text).map(u128::from)
}

fn span_id(text: &str) -> Result<u64, Unreadable> {
    let value = hex::read(text).filter(|_| text.len() <= 16).ok_or(Unreadable)?;
    u64::try_from(value).map_err(|_| Unreadable)
}

/// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`, `TRACE-SPAN-PARENT`, or the sampling alone.
fn one_field(text: &str, traced: bool) -> Result<Incoming, Unreadable> {
    let flag = |flag: &str| match flag {
        "1" | "d" => Ok(true),
        "0" => Ok(false),
        _ => Err(Unreadable),
    };
    let form = B3Form::One;
    if text.len() == 1 {
        return Ok(Incoming::root(flag(text).unwrap_or(traced), form));
    }
    let fixed = |text: &str| {
        (text.len() == 16)
            .then_some(())
            .ok_or(Unreadable)
            .and_then(|()| span_id(text))
    };
    let mut parts = text.split('-');
    let mut next = || parts.next();
    let trace = next().filter(|text| matches!(text.len(), 16 | 32)).ok_or(Unreadable)?;
    let span = fixed(next().ok_or(Unreadable)?)?;
    let (third, fourth) = (next(), next());
    let (sampled, parent) = match (third, fourth) {
        (None, _) => (traced, None),
        (Some(parent), None) if parent.len() == 16 => (traced, Some(fixed(parent)?)),
        (Some(sampled), None) => (flag(sampled)?, None),
        (Some(sampled), Some(parent)) => (flag(sampled)?, Some(fixed(parent)?)),
    };
    if next().is_some() {
        return Err(Unreadable);
    }
    Ok(Incoming::from(SpanContext {
        trace: trace_id(trace)?,
        span,
        parent,
        sampled,
        form,
    }))
}

/// `00-TRACE-SPAN-FLAGS`; whatever a later version may add is not read.
fn w3c(headers: &Headers, traced: bool) -> Result<Incoming, Unreadable> {
    let form = B3Form::Several;
    let Some(text) = headers.text(TRACEPARENT.as_str()) else {
        return Ok(Incoming::root(traced, form));
    };
    let parts: Vec<&str> = text.split('-').take(5).collect();
    let [version, trace, span, flags] = parts[..] else {
        return Err(Unreadable);
    };
    if [version, trace, span, flags].map(str::len) != [2, 32, 16, 2] || version == "ff" {
        return Err(Unreadable);
    }
    let number = |text: &str| hex::read(text).ok_or(Unreadable);
    let (_, trace, span, flags) = (number(version)?, number(trace)?, span_id(span)?, number(flags)?);
    if trace == 0 || span == 0 {
        return Err(Unreadable);
    }
    Ok(Incoming::from(SpanContext {
        trace,
        span,
        parent: None,
        sampled: flags & 1 == 1,
        form,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
    const SPAN: &str = "a2fb4a1d1a96d312";

    fn headers(fields: &[(&'static str, String)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.append(Name::from_static(name), Value::new(value.as_bytes()).expect("a value"));
        }
        headers
    }

    fn several(trace: &str, sampled: &str) -> Vec<(&'static str, String)> {
        vec![
            ("x-b3-traceid", trace.to_owned()),
            ("x-b3-spanid", SPAN.to_owned()),
            ("x-b3-sampled", sampled.to_owned()),
        ]
    }

    /// What a request that came with `fields` goes on with: names and values, `OWN` in place of a random identifier.
    fn passed_on(fields: &[(&'static str, String)], propagation: Propagation, traced: bool) -> Option<Vec<String>> {
        let mut headers = headers(fields);
        let incoming = Incoming::read(&headers, propagation, traced).ok()?;
        let kinship = Kinship {
            shared: false,
            wide: true,
        };
        let context = incoming.begin(kinship, false);
        context.write(&mut headers, propagation);
        let mut id = [0; 16];
        let own = String::from_utf8(hex::span(context.span, &mut id).to_vec()).expect("digits");
        let line = |(name, value): (&str, Value<'_>)| {
            format!("{name}: {}", value.to_str().expect("text").replace(&own, "OWN"))
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        Some(lines)
    }

    #[test]
    fn what_came_goes_on_with_a_span_of_ours() {
        let one = |text: String| vec![("b3", text)];
        let w3c = |flags: &str| vec![("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))];
        let b3 = Propagation::B3;
        let both = Propagation::B3AndW3c;
        let cases: Vec<(Vec<_>, Propagation, bool, Option<Vec<&str>>)> = vec![
            (
                several(TRACE, "0"),
                b3,
                true,
                Some(vec![
                    "x-b3-parentspanid: a2fb4a1d1a96d312",
                    "x-b3-sampled: 0",
                    "x-b3-spanid: OWN",
                    "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124",
                ]),
            ),
            (
                several(SPAN, "true"),
                b3,
                false,
                Some(vec![
                    "x-b3-parentspanid: a2fb4a1d1a96d312",
                    "x-b3-sampled: 1",
                    "x-b3-spanid: OWN",
                    "x-b3-traceid: a2fb4a1d1a96d312",
                ]),
            ),
            (several("zz", "1"), b3, true, None),
            (
                one(format!("{TRACE}-{SPAN}-1-0000000000000001")),
                b3,
                false,
                Some(vec!["b3: 463ac35c9f6413ad48485a3953bb6124-OWN-1-a2fb4a1d1a96d312"]),
            ),
            (
                one(format!("{SPAN}-{SPAN}")),
                b3,
                true,
                Some(vec!["b3: a2fb4a1d1a96d312-OWN-1-a2fb4a1d1a96d312"]),
            ),
            (
                one(format!("{TRACE}-{SPAN}-d")),
                b3,
                false,
                Some(vec!["b3: 463ac35c9f6413ad48485a3953bb6124-OWN-1-a2fb4a1d1a96d312"]),
            ),
            (one(format!("{TRACE}-{SPAN}-x")), b3, true, None),
            (one(format!("{TRACE}-{SPAN}-1-{SPAN}-{SPAN}")), b3, true, None),
            (one("abc".into()), b3, true, None),
            (
                w3c("01"),
                b3,
                false,
                Some(vec![
                    "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
                    "x-b3-sampled: 0",
                    "x-b3-spanid: OWN",
                    "x-b3-traceid: TRACE",
                ]),
            ),
            (
                w3c("01"),
                both,
                false,
                Some(vec![
                    "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-OWN-01",
                    "x-b3-parentspanid: a2fb4a1d1a96d312",
                    "x-b3-sampled: 1",
                    "x-b3-spanid: OWN",
                    "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124",
                ]),
            ),
            (
                w3c("00"),
                Propagation::W3c,
                true,
                Some(vec![
                    "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-OWN-00",
                    "tracestate: ",
                ]),
            ),
            (w3c("zz"), Propagation::W3c, true, None),
            (w3c("01-more"), Propagation::W3c, true, None),
        ];
        for (fields, propagation, traced, expected) in cases {
            let got = passed_on(&fields, propagation, traced);
            let got = got.map(|lines| {
                let trace_of_ours = |line: &String| line.starts_with("x-b3-traceid: ") && line.ends_with("OWN");
                let mend = |line: String| {
                    if trace_of_ours(&line) {
                        "x-b3-traceid: TRACE".into()
                    } else {
                        line
                    }
                };
                lines.into_iter().map(mend).collect::<Vec<String>>()
            });
            let expected = expected.map(|lines| lines.into_iter().map(str::to_owned).collect::<Vec<String>>());
            assert_eq!(got, expected, "{fields:?} {propagation:?}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_has_identifiers_of_the_asked_width() {
        for wide in [false, true] {
            let incoming = Incoming::read(&Headers::default(), Propagation::B3, true).expect("nothing to misread");
            let context = incoming.begin(Kinship { shared: true, wide }, true);
            assert_eq!(
                (context.trace >> 64 != 0, context.parent, context.sampled),
                (wide, None, true)
            );
            assert_eq!(context.trace as u64, context.span);
        }
    }

    #[test]
    fn a_shared_span_is_the_caller_s_where_it_serves() {
        let incoming = Incoming::read(&headers(&several(TRACE, "1")), Propagation::B3, false).expect("readable");
        let caller = 0xa2fb_4a1d_1a96_d312;
        let shared = Kinship {
            shared: true,
            wide: true,
        };
        assert_eq!(incoming.begin(shared, true).span, caller);
        assert_eq!(incoming.begin(shared, false).parent, Some(caller));
        let apart = Kinship {
            shared: false,
            ..shared
        };
        assert_eq!(incoming.begin(apart, true).parent, Some(caller));
    }
}
