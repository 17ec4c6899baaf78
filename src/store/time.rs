//! Moments and spans as stores keep them: whole milliseconds. Used inside `store` alone.

use std::time::Duration;

use crate::clock::Timestamp;

/// From milliseconds since 1970.
pub(super) const fn moment(millis: i64) -> Timestamp {
    Timestamp { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as u32 * 1_000_000 }
}

/// Milliseconds, at most what the calendar takes.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// This much later.
pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    moment(at.millis().saturating_add(millis(span)))
}

/// From one moment to a later one; zero the other way round.
pub(super) fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.millis() - from.millis()).unwrap_or(0))
}

/// The minute that this moment is in.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    moment(at.millis() - at.millis().rem_euclid(60_000))
}
