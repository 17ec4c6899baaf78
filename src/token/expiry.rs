//! When a token ends, in every spelling that platforms have for it. PURE.

use std::time::Duration;

use jiff::civil;
use jiff::fmt::rfc2822;

use super::grant::ExpiresUnit;
use crate::clock::Timestamp;

/// The longest life that is believed; what is longer counts as this. 100 years.
const LIFE_LIMIT: f64 = 100.0 * 365.25 * 86_400.0;
/// A number from here on counts milliseconds since 1970, where nothing says what it counts: in seconds it is the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// What a field is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `expires_in`: from now, where nothing else is said.
    Span,
    /// `expires_at`: since 1970, where nothing else is said.
    Moment,
}

/// The moment that a value means; `None` where it means none: not a number nor a date, or a span that is not positive,
/// which platforms write for tokens without end.
pub(super) fn read(value: &str, unit: Option<ExpiresUnit>, kind: Kind, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    if let Some(unit @ (ExpiresUnit::Date | ExpiresUnit::Local(_))) = unit {
        let east = if let ExpiresUnit::Local(seconds) = unit { seconds } else { 0 };
        return date(value, east);
    }
    let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite()) else { return date(value, 0) };
    let counted = unit.unwrap_or(match kind {
        Kind::Span => ExpiresUnit::Seconds,
        Kind::Moment if number >= MILLIS_FROM => ExpiresUnit::EpochMillis,
        Kind::Moment => ExpiresUnit::Epoch,
    });
    if number <= 0.0 {
        return None;
    }
    let bounded = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, LIFE_LIMIT));
    let start = Timestamp::from_seconds(0);
    Some(match counted {
        ExpiresUnit::Seconds => now.plus(bounded(number)),
        ExpiresUnit::Millis => now.plus(bounded(number / 1000.0)),
        ExpiresUnit::Epoch => start.plus(bounded(number)),
        ExpiresUnit::EpochMillis => start.plus(bounded(number / 1000.0)),
        ExpiresUnit::Date | ExpiresUnit::Local(_) => return None,
    })
}

/// RFC 3339 or RFC 1123; without a zone so many seconds east of UTC.
fn date(value: &str, east: i32) -> Option<Timestamp> {
    if let Ok(moment) = value.parse::<jiff::Timestamp>() {
        return Some(of(moment));
    }
    if let Some(moment) = http_date(value) {
        return Some(moment);
    }
    let local: civil::DateTime = value.parse().ok()?;
    let offset = jiff::tz::Offset::from_seconds(east).ok()?;
    offset.to_timestamp(local).ok().map(of)
}

/// RFC 9110 section 5.6.7, of which RFC 1123 is the form that is sent.
pub(super) fn http_date(value: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(value).ok().map(of)
}

fn of(moment: jiff::Timestamp) -> Timestamp {
    let nanos = moment.as_nanosecond();
    Timestamp { seconds: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}
