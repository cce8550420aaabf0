//! Durations as users write them: `5s`, `0.5s`, `100ms`, `1m30s`.
//!
//! Protobuf's JSON form knows seconds only; the original reads Go's notation everywhere, and its documentation uses it, so all of it is read here.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// Longest accepted text; no meaningful duration is longer.
const MAX_TEXT: usize = 64;

/// Units of Go's notation with their nanoseconds, longest spelling first where one is a prefix of another.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads Go's duration notation; a bare `0` needs no unit. Negative durations are refused: no field means anything by one.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    const RULE: &str = "a duration is a number with a unit (ns, us, ms, s, m, h), such as 5s, 0.5s or 1m30s";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("a duration must not be negative");
    }
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(RULE);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(RULE)?;
        let number: f64 = rest[..digits].parse().map_err(|_| RULE)?;
        rest = &rest[digits..];
        let (unit, scale) = unit_of(rest).ok_or(RULE)?;
        nanos += number * scale;
        rest = &rest[unit.len()..];
    }
    if nanos > u64::MAX as f64 {
        return Err("this duration is longer than any clock runs");
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// The unit at the start of `text`: the letters up to the next number.
fn unit_of(text: &str) -> Option<(&'static str, f64)> {
    let end = text
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(text.len());
    UNITS.iter().find(|(unit, _)| *unit == &text[..end]).copied()
}

/// For `#[serde(deserialize_with)]` on `Option<Duration>` fields; `null` is none.
pub(super) fn option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_option(OptionVisitor)
}

/// For `#[serde(deserialize_with)]` on `Duration` fields that always have a value.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_newtype_struct("Duration", TextVisitor)
}

struct OptionVisitor;

impl<'de> Visitor<'de> for OptionVisitor {
    type Value = Option<Duration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 5s")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        required(deserializer).map(Some)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 5s")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|rule| E::custom(format_args!("{text:?} is not a duration: {rule}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_notation_is_read() {
        let cases = [
            ("5s", 5_000),
            ("0.5s", 500),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1h0m0.25s", 3_600_250),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1500ns"), Ok(Duration::from_nanos(1500)));
        assert_eq!(parse("2µs"), Ok(Duration::from_micros(2)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "5 s",
            "5x",
            "1..2s",
            "5sm",
            "1e3s",
            ".s",
            "99999999999999h",
            &"1s".repeat(40),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
