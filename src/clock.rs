//! The only place that reads the time of day.
//!
//! Everything that signs, expires or is logged takes a [`Clock`], so that tests and
//! `explain --at` can say what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1 000 000 000.
    pub nanos: u32,
}

impl Timestamp {
    /// A whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.seconds * 1000 + (self.nanos / 1_000_000) as i64
    }

    /// Whole and fractional seconds since the epoch.
    pub fn as_seconds_f64(self) -> f64 {
        self.seconds as f64 + f64::from(self.nanos) / 1e9
    }

    /// This moment moved by a number of seconds.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self { seconds: self.seconds + seconds, nanos: self.nanos }
    }

    /// This moment moved on; at the end of what can be told it stays there.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::of_nanos(self.total_nanos() + by.as_nanos() as i128)
    }

    /// This moment moved back; at the beginning of what can be told it stays there.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::of_nanos(self.total_nanos() - by.as_nanos() as i128)
    }

    /// How much later than `earlier` this is; nothing if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = u128::try_from(self.total_nanos() - earlier.total_nanos()).unwrap_or(0);
        Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
    }

    fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    fn of_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Self { seconds: seconds as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
    }
}

/// Numbers that are greater than those of every attempt before, in three units: for nonces that must grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// About the milliseconds since 1970.
    pub millis: u64,
    /// About the microseconds since 1970.
    pub micros: u64,
    /// About the nanoseconds since 1970.
    pub nanos: u64,
}

/// Hands out [`Sequence`]s: each number is the clock's, or one more than the last where the clock has not moved on or
/// has been set back. There is one for the whole process, so that a new configuration, or two credentials with
/// one key, never begin anew.
#[derive(Debug, Default)]
pub struct Sequences {
    millis: AtomicU64,
    micros: AtomicU64,
    nanos: AtomicU64,
}

impl Sequences {
    /// The next numbers.
    pub fn next(&self, now: Timestamp) -> Sequence {
        let next = |last: &AtomicU64, unit: i128| {
            let now = u64::try_from(now.total_nanos() / unit).unwrap_or(0);
            let grown = |last: u64| Some(now.max(last.saturating_add(1)));
            let last = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).unwrap_or_else(|last| last);
            now.max(last.saturating_add(1))
        };
        Sequence {
            millis: next(&self.millis, 1_000_000),
            micros: next(&self.micros, 1_000),
            nanos: next(&self.nanos, 1),
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(before) => {
                let before: Duration = before.duration();
                Self::from_seconds(-(before.as_secs() as i64))
            }
        }
    }
}

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The time of day now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still, for `explain --at` and tests.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A clock that several tasks share.
pub type SharedClock = Arc<dyn Clock>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_grows_whatever_the_clock_does() {
        let sequences = Sequences::default();
        let at = |seconds| sequences.next(Timestamp::from_seconds(seconds));
        assert_eq!(at(100), Sequence { millis: 100_000, micros: 100_000_000, nanos: 100_000_000_000 });
        assert_eq!(at(100), Sequence { millis: 100_001, micros: 100_000_001, nanos: 100_000_000_001 });
        assert_eq!(at(50).millis, 100_002);
        assert_eq!(at(-1).millis, 100_003);
        assert_eq!(at(200).millis, 200_000);
    }
}
