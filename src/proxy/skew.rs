//! How far an upstream's clock is from ours: measured from the `Date` of its answers now and then, logged once when it
//! is far, exported, and followed by signatures where the route says `clock = "follow"`. Caller: `exchange`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use http::header::{AGE, DATE};
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822;

use crate::clock::Timestamp;

/// The least time between two readings of `Date`, in seconds.
const EVERY: i64 = 10;
/// From here on a difference is logged, in milliseconds.
const FAR: i64 = 30_000;
/// What `Date`, which tells whole seconds, cannot tell: nearer clocks are the same, in milliseconds.
const SAME: i64 = 2_000;
/// An answer that took longer says too little of the time at which its `Date` was written, in milliseconds.
const SLOW: i64 = 10_000;

/// What is known of the clock of one route's upstream.
#[derive(Debug)]
pub struct Skew {
    /// The second of the last reading.
    read: AtomicI64,
    /// The upstream's clock less ours, in milliseconds.
    offset: AtomicI64,
    is_far: AtomicBool,
}

/// What a reading changes for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing to say.
    None,
    /// The clocks have come to be far from each other.
    Far,
    /// They no longer are.
    Near,
}

impl Default for Skew {
    fn default() -> Self {
        Self { read: AtomicI64::new(i64::MIN), offset: AtomicI64::new(0), is_far: AtomicBool::new(false) }
    }
}

impl Skew {
    /// Whether it is time for a reading. One comparison, for every answer.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.seconds.abs_diff(self.read.load(Ordering::Relaxed)) >= EVERY.unsigned_abs()
    }

    /// Reads the `Date` of an answer to a request that was signed at `sent`; both times are ours. What follows is the new
    /// offset in milliseconds and what there is to say; nothing where the answer does not tell the time.
    pub fn read(&self, headers: &HeaderMap, sent: Timestamp, received: Timestamp) -> Option<(i64, Change)> {
        self.read.store(received.seconds, Ordering::Relaxed);
        let offset = offset(headers, sent, received)?;
        self.offset.store(offset, Ordering::Relaxed);
        let is_far = offset.abs() > FAR;
        let change = match (self.is_far.swap(is_far, Ordering::Relaxed), is_far) {
            (false, true) => Change::Far,
            (true, false) => Change::Near,
            _ => Change::None,
        };
        Some((offset, change))
    }

    /// What a signature has to add to our time, in milliseconds.
    pub fn correction(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Whether a time that was corrected by `used` was wrong by more than clocks that are the same differ.
    pub fn was_wrong(&self, used: i64) -> bool {
        (self.correction() - used).abs() > SAME
    }
}

/// The statuses by which platforms refuse a time: 400 are those of AWS's JSON protocols and of eBay.
pub fn may_be_skew(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// This moment by a clock that is `offset` milliseconds ahead of ours.
pub fn shifted(now: Timestamp, offset: i64) -> Timestamp {
    let by = std::time::Duration::from_millis(offset.unsigned_abs());
    if offset < 0 { now.minus(by) } else { now.plus(by) }
}

/// `Date` was written between sending and receiving, and tells the second. Where our clock fits to that, the two are the
/// same; otherwise the middle of what fits.
fn offset(headers: &HeaderMap, sent: Timestamp, received: Timestamp) -> Option<i64> {
    if headers.contains_key(AGE) {
        return None; // of a cache: written long ago (RFC 9111 section 4.2.3)
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(headers.get(DATE)?.to_str().ok()?).ok()?;
    let date = date.as_millisecond();
    let (sent, received) = (sent.millis(), received.millis());
    let (least, most) = (date - received, date + 999 - sent);
    if !(0..=SLOW).contains(&(received - sent)) {
        return None;
    }
    let middle = (least + most) / 2;
    Some(if middle.abs() <= SAME || (least <= 0 && most >= 0) { 0 } else { middle })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// 1 790 000 000 is Mon, 21 Sep 2026 14:13:20 GMT.
    fn at(seconds: i64, millis: u32) -> Timestamp {
        Timestamp { seconds: 1_790_000_000 + seconds, nanos: millis * 1_000_000 }
    }

    fn date(text: &'static str) -> HeaderMap {
        [(DATE, HeaderValue::from_static(text))].into_iter().collect()
    }

    const THEN: &str = "Mon, 21 Sep 2026 14:13:20 GMT";

    #[test]
    fn clocks_that_fit_are_the_same_however_long_an_answer_took() {
        for (sent, received) in [((0, 100), (0, 200)), ((-9, 0), (0, 500)), ((0, 900), (1, 100)), ((0, 999), (2, 900))]
        {
            let skew = Skew::default();
            let read = skew.read(&date(THEN), at(sent.0, sent.1), at(received.0, received.1));
            assert_eq!(read, Some((0, Change::None)), "{sent:?}");
        }
    }

    #[test]
    fn a_difference_is_measured_and_said_once() {
        let skew = Skew::default();
        assert!(skew.is_due(at(0, 0)));
        // Ours is a minute behind: the answer took 200 ms.
        let (offset, change) = skew.read(&date(THEN), at(-60, 0), at(-60, 200)).unwrap();
        assert_eq!((offset, change), (60_399, Change::Far));
        assert!(!skew.is_due(at(-51, 0)) && skew.is_due(at(-50, 0)) && skew.is_due(at(-70, 0)));
        assert_eq!(skew.read(&date(THEN), at(-61, 0), at(-61, 200)).unwrap().1, Change::None);
        assert_eq!(shifted(at(-60, 0), skew.correction()).seconds - 1_790_000_000, 1);
        assert!(skew.was_wrong(0) && !skew.was_wrong(60_000));
        // Ours is 20 s ahead.
        assert_eq!(skew.read(&date(THEN), at(20, 0), at(20, 0)).unwrap(), (-19_500, Change::Near));
        assert_eq!(shifted(at(20, 0), skew.correction()), at(0, 500));
    }

    #[test]
    fn what_does_not_tell_the_time_changes_nothing() {
        let skew = Skew::default();
        skew.read(&date(THEN), at(-60, 0), at(-60, 0)).unwrap();
        let mut cached = date(THEN);
        cached.insert(AGE, HeaderValue::from_static("0"));
        for headers in [&cached, &date("yesterday"), &HeaderMap::new()] {
            assert_eq!(skew.read(headers, at(5, 0), at(5, 0)), None);
        }
        assert_eq!(skew.read(&date(THEN), at(5, 0), at(16, 0)), None, "it took too long");
        assert_eq!(skew.read(&date(THEN), at(5, 0), at(4, 0)), None, "our clock was set back meanwhile");
        assert!(skew.correction() > 60_000);
    }
}
