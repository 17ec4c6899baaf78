//! Judges a demo: what was sent beside what the partner saw. Called by the scenario alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::playground::load::Tally;
use crate::playground::upstream::Seen;

/// A new value must be in use this long after the swap.
pub const PICKUP_LIMIT: Duration = Duration::from_secs(1);

/// One rotation that was made.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// What it brought: key and certificate of this number.
    pub generation: usize,
    /// Just before the swap.
    pub at: Instant,
}

/// The result, as `--format json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Requests sent.
    pub requests: u64,
    /// Requests without a 2xx answer.
    pub failed: u64,
    /// Rotations made.
    pub rotations: u64,
    /// Milliseconds from a swap to the first request that used it, at worst; null when one never was.
    pub worst_pickup_ms: Option<f64>,
    /// The same, median of those in use.
    pub p50_pickup_ms: Option<f64>,
    /// The same, 99th percentile.
    pub p99_pickup_ms: Option<f64>,
    /// Rotations that were never in use.
    pub not_picked_up: u64,
    /// Requests signed with one generation's key over another's certificate.
    pub mixed_pairs: u64,
    /// Requests sent after a newer generation had been in use that still used an older one.
    pub older_after_newer: u64,
    /// Requests by the status of their answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by what went wrong, where there was no answer.
    pub errors: BTreeMap<String, u64>,
}

impl Outcome {
    /// Whether everything is as promised.
    pub fn passed(&self) -> bool {
        let in_time = self.rotations == 0 || self.worst_pickup_ms.is_some_and(|ms| ms <= millis(PICKUP_LIMIT));
        let wrong = self.failed + self.not_picked_up + self.mixed_pairs + self.older_after_newer;
        self.requests > 0 && wrong == 0 && in_time
    }

    /// The result for people, several lines without an end of line.
    pub fn text(&self) -> String {
        let mut text = format!("{} requests, {} failed, {} rotations", self.requests, self.failed, self.rotations);
        let (p50, worst) = (self.p50_pickup_ms.unwrap_or(0.0), self.worst_pickup_ms);
        let _ = match worst {
            Some(worst) => write!(text, "; new values in use after {p50:.1} ms (median), {worst:.1} ms (worst)"),
            None => write!(text, "; {} of them never came into use", self.not_picked_up),
        };
        let _ = write!(
            text,
            "\n{} requests with key and certificate of different rotations, {} with an older value after a newer one",
            self.mixed_pairs, self.older_after_newer
        );
        for (status, count) in self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status)) {
            let _ = write!(text, "\n{count} answers with status {status}");
        }
        for (error, count) in &self.errors {
            let _ = write!(text, "\n{count} requests: {error}");
        }
        text
    }
}

/// From the swap to the first accepted request that used its values, or later ones; `None` when there is none.
pub fn pickup(rotation: &Rotation, seen: &[Seen]) -> Option<Duration> {
    let using = seen.iter().filter(|seen| seen.key.is_some_and(|key| key >= rotation.generation));
    using.map(|seen| seen.at).min().map(|at| at.saturating_duration_since(rotation.at))
}

/// Lays both records side by side. `serials` says which generation a client certificate is of; keys
/// count generations themselves.
pub fn judge(tally: &Tally, seen: &[Seen], rotations: &[Rotation], serials: &HashMap<String, usize>) -> Outcome {
    let certificate = |seen: &Seen| seen.serial.as_deref().and_then(|serial| serials.get(serial)).copied();
    let mut pickups: Vec<f64> = rotations.iter().filter_map(|rotation| pickup(rotation, seen)).map(millis).collect();
    pickups.sort_by(f64::total_cmp);
    let not_picked_up = (rotations.len() - pickups.len()) as u64;
    let mixed = seen.iter().filter(|seen| seen.key.is_some() && seen.key != certificate(seen)).count();
    Outcome {
        requests: tally.sent.len() as u64,
        failed: tally.failed(),
        rotations: rotations.len() as u64,
        worst_pickup_ms: if not_picked_up == 0 { pickups.last().copied() } else { None },
        p50_pickup_ms: percentile(&pickups, 50),
        p99_pickup_ms: percentile(&pickups, 99),
        not_picked_up,
        mixed_pairs: mixed as u64,
        older_after_newer: older_after_newer(tally, seen, certificate),
        statuses: tally.by_status(),
        errors: tally.by_error().into_iter().map(|(error, count)| (error.to_string(), count)).collect(),
    }
}

/// A request in flight may arrive with what it started with. One that was begun after the partner
/// had seen a newer generation may not.
fn older_after_newer(tally: &Tally, seen: &[Seen], certificate: impl Fn(&Seen) -> Option<usize>) -> u64 {
    let generations = |seen: &Seen| Some((seen.key?, certificate(seen)?));
    let mut first: BTreeMap<usize, Instant> = BTreeMap::new();
    for (seen, (key, certificate)) in seen.iter().filter_map(|seen| Some((seen, generations(seen)?))) {
        let at = first.entry(key.max(certificate)).or_insert(seen.at);
        *at = seen.at.min(*at);
    }
    let begun: HashMap<u64, Instant> = tally.sent.iter().map(|sent| (sent.number, sent.at)).collect();
    let older = seen.iter().filter(|seen| {
        let Some((key, certificate)) = generations(seen) else { return false };
        let Some(begun) = number(&seen.target).and_then(|number| begun.get(&number)) else { return false };
        first.range(key.min(certificate) + 1..).any(|(_, first)| first < begun)
    });
    older.count() as u64
}

fn number(target: &str) -> Option<u64> {
    target.rsplit_once("?n=")?.1.parse().ok()
}

/// Nearest rank, of sorted values.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Milliseconds with one decimal, rounded up, so that no limit is met by rounding.
fn millis(duration: Duration) -> f64 {
    duration.as_micros().div_ceil(100) as f64 / 10.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::playground::load::Sent;
    use http::{Method, StatusCode};

    struct Story {
        start: Instant,
        tally: Tally,
        seen: Vec<Seen>,
    }

    impl Story {
        fn new() -> Self {
            Self { start: Instant::now(), tally: Tally::default(), seen: Vec::new() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        /// A request begun and arrived at these milliseconds.
        fn request(mut self, begun: u64, arrived: u64, key: usize, certificate: usize) -> Self {
            let number = self.tally.sent.len() as u64;
            let (outcome, took) = (Ok(StatusCode::OK), Duration::ZERO);
            self.tally.sent.push(Sent { number, at: self.at(begun), took, outcome });
            self.seen.push(Seen {
                at: self.at(arrived),
                connection: 0,
                method: Method::GET,
                target: format!("/v1/orders?n={number}"),
                key: Some(key),
                serial: Some(format!("0{certificate}").into()),
                refused: None,
            });
            self
        }

        fn judge(&self, rotations: &[(usize, u64)]) -> Outcome {
            let rotations: Vec<_> =
                rotations.iter().map(|&(generation, at)| Rotation { generation, at: self.at(at) }).collect();
            let serials = (0..9).map(|number| (format!("0{number}"), number)).collect();
            judge(&self.tally, &self.seen, &rotations, &serials)
        }
    }

    #[test]
    fn a_good_run_passes_and_a_request_in_flight_may_be_late() {
        let story = Story::new().request(0, 1, 0, 0).request(9, 40, 0, 0).request(20, 25, 1, 1).request(50, 51, 1, 1);
        let outcome = story.judge(&[(1, 10)]);
        assert!(outcome.passed(), "{outcome:?}");
        assert_eq!((outcome.requests, outcome.rotations, outcome.worst_pickup_ms), (4, 1, Some(15.0)));
    }

    #[test]
    fn an_older_value_after_a_newer_one_is_found() {
        let story = Story::new().request(0, 1, 0, 0).request(20, 25, 1, 1).request(26, 27, 0, 0);
        let outcome = story.judge(&[(1, 10)]);
        assert_eq!(outcome.older_after_newer, 1);
        assert!(!outcome.passed());
    }

    #[test]
    fn mixed_pairs_and_rotations_that_nobody_used_are_found() {
        let story = Story::new().request(0, 1, 0, 0).request(20, 25, 1, 0);
        let outcome = story.judge(&[(1, 10), (2, 30)]);
        assert_eq!((outcome.mixed_pairs, outcome.not_picked_up, outcome.worst_pickup_ms), (1, 1, None));
        assert!(!outcome.passed());
    }

    #[test]
    fn a_pickup_is_too_late_just_past_the_limit() {
        let story = Story::new().request(0, 1, 0, 0).request(500, 1010, 1, 1);
        assert!(story.judge(&[(1, 10)]).passed());
        assert!(!story.judge(&[(1, 9)]).passed());
        assert!(!Story::new().judge(&[]).passed(), "no request proves nothing");
    }
}
