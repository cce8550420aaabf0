//! The clock on the wall, for those who want to read when something was: looked at once a second.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;

/// How long one look is believed: a clock that is set is followed that soon.
const BELIEVED: Duration = Duration::from_secs(1);

/// `2026-01-01T00:00:00.`
const SECOND: usize = 20;

thread_local! {
    /// What it said, and when that was.
    static LOOKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    /// The second that was written last, since 1970, and its text.
    static WRITTEN: Cell<(u64, [u8; SECOND])> = const { Cell::new((u64::MAX, [0; SECOND])) };
}

/// What it said at that time, since 1970.
pub(super) fn at(time: Instant) -> Duration {
    if let Some((looked, said)) = LOOKED.get() {
        match time.checked_duration_since(looked) {
            Some(since) if since < BELIEVED => return said + since,
            Some(_) => {}
            // A long request began before the last look.
            None => return said.saturating_sub(looked.saturating_duration_since(time)),
        }
    }
    let looked = Instant::now();
    let said = since_1970(SystemTime::now());
    LOOKED.set(Some((looked, said)));
    said.saturating_sub(looked.saturating_duration_since(time))
}

pub(super) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339 with milliseconds: `2026-01-01T00:00:00.000Z`
pub(super) fn write(time: Duration, out: &mut Vec<u8>) {
    let (written, mut second) = WRITTEN.get();
    if written != time.as_secs() {
        second = text_of(time.as_secs());
        WRITTEN.set((time.as_secs(), second));
    }
    let mut text = [0; SECOND + 4];
    text[..SECOND].copy_from_slice(&second);
    digits(time.subsec_millis(), &mut text[SECOND..SECOND + 3]);
    text[SECOND + 3] = b'Z';
    out.extend_from_slice(&text);
}

fn text_of(second: u64) -> [u8; SECOND] {
    let time = i64::try_from(second).ok().map(OffsetDateTime::from_unix_timestamp);
    // Clocks do not get beyond the year 9999.
    let time = time.and_then(Result::ok).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = *b"0000-00-00T00:00:00.";
    let fields: [(u32, std::ops::Range<usize>); 6] = [
        (u32::try_from(time.year()).unwrap_or(0), 0..4),
        (u8::from(time.month()).into(), 5..7),
        (time.day().into(), 8..10),
        (time.hour().into(), 11..13),
        (time.minute().into(), 14..16),
        (time.second().into(), 17..19),
    ];
    for (value, place) in fields {
        digits(value, &mut text[place]);
    }
    text
}

/// With zeros in front.
fn digits(mut value: u32, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_020, "2023-11-14T22:13:20.020Z"),
            (1_700_000_000_999, "2023-11-14T22:13:20.999Z"),
            (1_700_000_001_000, "2023-11-14T22:13:21.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        ];
        for (millis, expected) in cases {
            let mut out = Vec::new();
            write(Duration::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn what_was_before_and_after_the_last_look_is_told_by_it() {
        let now = Instant::now();
        let said = at(now);
        assert!(since_1970(SystemTime::now()).abs_diff(said) < Duration::from_secs(5));
        let later = Duration::from_millis(900);
        assert_eq!(at(now + later) - said, later);
        assert_eq!(said - at(now.checked_sub(later).expect("a time")), later);
    }
}
