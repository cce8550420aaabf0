//! Durations as the original's flags and configuration spell them: `1m30s`, `500ms`, `2160h`, `0s`.

use std::fmt::Write;
use std::time::Duration;

/// The largest duration taken from outside: about 290 years, what a signed 64-bit count of nanoseconds holds.
const MAX_SECONDS: f64 = 9_223_372_036.0;

#[derive(Debug, PartialEq, Eq)]
pub struct InvalidDuration(String);

impl std::fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is no duration; write numbers with units, such as 500ms, 1m30s or 24h",
            self.0
        )
    }
}

impl std::error::Error for InvalidDuration {}

/// Reads a sequence of decimal numbers with the units `h`, `m`, `s`, `ms`, `us`, `ns`; `0` needs no unit.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(64).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let (seconds, unit) = unit(&rest[digits..]).ok_or_else(invalid)?;
        let part = number * seconds;
        if part > MAX_SECONDS {
            return Err(invalid());
        }
        total += Duration::from_secs_f64(part);
        rest = &rest[digits + unit..];
    }
    if text.is_empty() { Err(invalid()) } else { Ok(total) }
}

/// The unit that `text` begins with: its length in seconds and in characters.
fn unit(text: &str) -> Option<(f64, usize)> {
    let units = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    units
        .iter()
        .find(|(name, _)| text.starts_with(name))
        .map(|(name, seconds)| (*seconds, name.len()))
}

/// The shortest spelling that [`parse`] reads back: `1h30m`, `5s`, `1.5s`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut text = String::new();
    let seconds = duration.as_secs();
    for (unit, count) in [("h", seconds / 3600), ("m", seconds / 60 % 60)] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    let rest = (seconds % 60) as f64 + f64::from(duration.subsec_nanos()) / 1e9;
    if rest > 0.0 || text.is_empty() {
        let _ = write!(text, "{rest}s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_originals_flags_accept() {
        let cases = [
            ("45s", 45_000),
            ("1m0s", 60_000),
            ("100ms", 100),
            ("2160h", 2160 * 3_600_000),
            ("1.5s", 1_500),
            ("1h2m3s4ms", 3_723_004),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_by_name() {
        for text in ["", "5", "s", "5x", "-1s", "1.2.3s", "99999999999999h", "5 s", "1e3s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("5x").unwrap_err().to_string().contains("`5x`"));
    }

    #[test]
    fn formats_what_it_reads() {
        for text in ["1h30m", "45s", "1.5s", "0s", "2160h", "1m"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
