//! A circuit breaker for one token endpoint: after several failures in a row, of whichever connections, the endpoint is
//! left alone for a while, then asked by one call at a time. PURE: the time is given. Only what says something about the
//! endpoint counts: not reached, no answer, 5xx. A refused merchant is an answer.

use std::time::Duration;

use crate::clock::Timestamp;

/// Failures in a row that open it.
pub const FAILURES: u32 = 5;
/// The first time that it stays open.
pub const OPEN_FIRST: Duration = Duration::from_secs(1);
/// The longest.
pub const OPEN_MAX: Duration = Duration::from_secs(60);

/// The state of one endpoint. A clock that was set back opens nothing for longer than [`OPEN_MAX`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// No call before.
    open_until: Option<Timestamp>,
    /// A call that tries whether the endpoint is back, and when it is taken for lost.
    probe_until: Option<Timestamp>,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Yes. Its outcome must be told.
    Go,
    /// Not for so long.
    Wait(Duration),
}

impl Breaker {
    /// Asks for leave to make a call that takes at most `timeout`.
    pub fn ask(&mut self, now: Timestamp, timeout: Duration) -> Leave {
        let left = |until: Option<Timestamp>, most: Duration| {
            until.map(|until| until.since(now)).filter(|left| !left.is_zero() && *left <= most)
        };
        if self.failures < FAILURES {
            return Leave::Go;
        }
        if let Some(left) = left(self.open_until, OPEN_MAX).or(left(self.probe_until, timeout)) {
            return Leave::Wait(left);
        }
        self.probe_until = Some(now.plus(timeout));
        Leave::Go
    }

    /// The endpoint answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// It did not, or with 5xx. `random` is from 0 to 1.
    pub fn failed(&mut self, now: Timestamp, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.probe_until = None;
        if self.failures >= FAILURES {
            let bound = OPEN_FIRST.saturating_mul(1 << (self.failures - FAILURES).min(10)).min(OPEN_MAX);
            let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
            self.open_until = Some(now.plus(bound.mul_f64(0.5 + random / 2.0)));
        }
    }

    /// A call for which leave was given was not made after all.
    pub fn not_made(&mut self) {
        self.probe_until = None;
    }

    /// Whether calls are held back now.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.failures >= FAILURES && self.open_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
    const TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_call_try() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.ask(NOW, TIMEOUT), Leave::Go);
            breaker.failed(NOW, 1.0);
        }
        assert!(breaker.is_open(NOW));
        assert_eq!(breaker.ask(NOW, TIMEOUT), Leave::Wait(Duration::from_secs(1)));
        let later = NOW.plus_seconds(1);
        assert_eq!(breaker.ask(later, TIMEOUT), Leave::Go);
        assert_eq!(breaker.ask(later, TIMEOUT), Leave::Wait(TIMEOUT), "one at a time");
        breaker.not_made();
        assert_eq!(breaker.ask(later, TIMEOUT), Leave::Go);
        assert_eq!(breaker.ask(later.plus(TIMEOUT), TIMEOUT), Leave::Go, "the one before was lost");
        breaker.failed(later, 1.0);
        assert_eq!(breaker.ask(later, TIMEOUT), Leave::Wait(Duration::from_secs(2)));
        breaker.answered();
        assert_eq!(breaker.ask(later, TIMEOUT), Leave::Go);
    }

    #[test]
    fn an_answer_between_keeps_it_closed_and_a_clock_set_back_opens_it() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            breaker.failed(NOW, 0.0);
            breaker.answered();
        }
        assert_eq!(breaker.ask(NOW, TIMEOUT), Leave::Go);
        for _ in 0..40 {
            breaker.failed(NOW, 1.0);
        }
        assert_eq!(breaker.ask(NOW, TIMEOUT), Leave::Wait(OPEN_MAX));
        assert_eq!(breaker.ask(NOW.plus_seconds(-3600), TIMEOUT), Leave::Go);
    }
}
