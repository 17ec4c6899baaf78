//! Times: `timestamp`, moved and written in the ways that platforms want.

use jiff::tz::{Offset, TimeZone};

use crate::clock::Timestamp;

/// How `timestamp` is written, and by how much it is moved.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Milliseconds that are added.
    pub(super) plus: i64,
    pub(super) form: Form,
}

/// How a time is written.
#[derive(Clone, Debug, Default)]
pub(super) enum Form {
    /// Seconds since 1970.
    #[default]
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// As in strftime, at an offset from UTC in seconds.
    Format(Box<str>, i32),
}

/// `Sun, 05 Jan 2014 21:31:40 GMT` (RFC 9110 section 5.6.7).
pub(super) const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
/// UTC, to the second.
pub(super) const ISO_8601: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Moment {
    /// A time in UTC in this format.
    pub(super) fn formatted(format: &str) -> Self {
        Self { plus: 0, form: Form::Format(format.into(), 0) }
    }

    /// The text; `None` for a year that no calendar has.
    pub(super) fn text(&self, now: Timestamp) -> Option<String> {
        let now = moved(now, self.plus)?;
        Some(match &self.form {
            Form::Seconds => now.seconds.to_string(),
            Form::Millis => now.millis().to_string(),
            Form::Micros => (i128::from(now.seconds) * 1_000_000 + i128::from(now.nanos / 1000)).to_string(),
            Form::Format(format, offset) => strftime(now, format, *offset)?,
        })
    }
}

fn moved(now: Timestamp, plus: i64) -> Option<Timestamp> {
    if plus == 0 {
        return Some(now);
    }
    let nanos = i64::from(now.nanos) + plus.rem_euclid(1000) * 1_000_000;
    let seconds = now.seconds.checked_add(plus.div_euclid(1000))?.checked_add(nanos / 1_000_000_000)?;
    Some(Timestamp { seconds, nanos: u32::try_from(nanos % 1_000_000_000).ok()? })
}

/// Formats a moment; `None` for a format that is none, or a year that no calendar has.
pub(super) fn strftime(time: Timestamp, format: &str, offset: i32) -> Option<String> {
    let moment = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).ok()?).ok()?;
    if offset == 0 {
        return jiff::fmt::strtime::format(format, moment).ok();
    }
    let zone = TimeZone::fixed(Offset::from_seconds(offset).ok()?);
    jiff::fmt::strtime::format(format, &moment.to_zoned_datetime(zone)).ok()
}

/// `Z`, `UTC`, `+08:00` or `-0330`, in seconds east of Greenwich.
pub(super) fn offset(text: &str) -> Option<i32> {
    if matches!(text, "Z" | "UTC") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// `5m`, `-30s`, `250ms`, `1h`, `7d`: milliseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let unit = match &text[at..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..at].strip_prefix('+').unwrap_or(&text[..at]).parse::<i64>().ok()?.checked_mul(unit)
}
