//! The `date` of responses (RFC 9110 §6.6.1), written once a second.

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::head::{OwnedValue, Value};

/// `Tue, 24 Nov 2026 09:28:12 GMT`
const LENGTH: usize = 29;

struct Written {
    value: OwnedValue,
    /// Until then it is what the clock says.
    until: Instant,
}

thread_local! {
    static WRITTEN: RefCell<Option<Written>> = const { RefCell::new(None) };
}

/// Calls `use_it` with the date at `now`.
pub(super) fn with(now: Instant, use_it: impl FnOnce(Value<'_>)) {
    WRITTEN.with_borrow_mut(|written| {
        let current = match written {
            Some(current) if now < current.until => current,
            _ => written.insert(write(OffsetDateTime::now_utc(), now)),
        };
        use_it(current.value.as_value());
    });
}

fn write(time: OffsetDateTime, now: Instant) -> Written {
    let mut text = [b' '; LENGTH];
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    // The text is as long as its place for the next 7,900 years.
    let _ = write!(
        text.as_mut_slice(),
        "{:.3}, {:02} {:.3} {:04} {:02}:{:02}:{:02} GMT",
        weekday,
        time.day(),
        month,
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    );
    let left = Duration::from_secs(1).saturating_sub(Duration::from_nanos(time.nanosecond().into()));
    Written {
        value: OwnedValue::new(text).expect("letters and digits"),
        until: now + left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_rfc_9110_has_it_and_lasts_to_the_end_of_its_second() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(784_111_777_250_000_000).expect("a time");
        let now = Instant::now();
        let written = write(time, now);
        assert_eq!(
            written.value.as_bytes().escape_ascii().to_string(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(written.until - now, Duration::from_millis(750));
        let mut seen = Vec::new();
        for _ in 0..2 {
            with(now, |value| seen.push(value.as_bytes().to_vec()));
        }
        assert_eq!(seen[0], seen[1]);
    }
}
