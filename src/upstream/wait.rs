//! How long a request waits for its answer, and whose fault it is when that is too long. Callers: `http1`, `http2`.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::body::Progress;
use super::error::{Fault, UpstreamError, WorkerBody};
use super::lease::{Patience, SendFailure};

/// Interim answers (1xx) of one request at most.
pub(super) const INTERIM_ANSWERS: u32 = 32;

/// A timer that outlives the requests of its connection: to move one costs less than to make one.
pub(super) type Timer = Pin<Box<Sleep>>;

/// The two clocks of a request that has no answer yet: silence in the body, then the wait for the head.
pub(super) struct Watch<'t> {
    patience: Patience,
    timer: &'t mut Option<Timer>,
    body_done: bool,
    seen: u64,
    /// When the body moved last, then when it was done.
    since: Instant,
    /// Whether the timer is set for the clock that runs.
    set: bool,
}

impl<'t> Watch<'t> {
    pub(super) fn new(patience: Patience, progress: &Progress, timer: &'t mut Option<Timer>) -> Self {
        Self { since: patience.since, patience, timer, body_done: progress.is_done(), seen: 0, set: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Poll<UpstreamError> {
        if !self.body_done {
            let now = progress.bytes();
            if progress.is_done() {
                (self.body_done, self.set, self.since) = (true, false, Instant::now());
            } else if now != self.seen || progress.is_held_back() {
                (self.seen, self.since) = (now, Instant::now());
            }
        }
        let limit = if self.body_done { self.patience.response } else { self.patience.body };
        let Some(limit) = limit else { return Poll::Pending };
        loop {
            let due = self.since + limit;
            if !self.set {
                set(self.timer, due);
                self.set = true;
            }
            if poll_timer(self.timer, cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(if self.body_done { too_late(limit) } else { stalled(limit, progress) });
            }
            self.set = false;
        }
    }
}

fn set(timer: &mut Option<Timer>, due: Instant) {
    match timer {
        Some(timer) => timer.as_mut().reset(due),
        None => *timer = Some(Box::pin(sleep_until(due))),
    }
}

fn poll_timer(timer: &mut Option<Timer>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
}

fn too_late(limit: Duration) -> UpstreamError {
    UpstreamError::new(Fault::Timeout, format!("no answer within {limit:?} (timeouts.response)"))
}

fn stalled(limit: Duration, progress: &Progress) -> UpstreamError {
    if progress.is_waiting_for_worker() {
        let why = format!("the request body was silent for {limit:?} (timeouts.body)");
        UpstreamError::new(Fault::WorkerBody(WorkerBody::Stalled), why)
    } else {
        let why = format!("the upstream took no byte of the request body for {limit:?} (timeouts.body)");
        UpstreamError::new(Fault::Timeout, why)
    }
}

pub(super) fn closed() -> UpstreamError {
    UpstreamError::new(Fault::Unreachable, "the upstream closed the connection")
}

pub(super) fn no_answer(error: UpstreamError, progress: &Progress) -> SendFailure {
    SendFailure { error: blame(error, progress), unsent: None }
}

/// A body that the worker broke off is the worker's fault, however it shows.
pub(super) fn blame(error: UpstreamError, progress: &Progress) -> UpstreamError {
    match progress.fault() {
        Some(fault) => UpstreamError::new(Fault::WorkerBody(fault), "the request body failed"),
        None => error,
    }
}

/// Whether an answer never ends by itself.
pub(super) fn is_event_stream(headers: &http::HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..17).is_some_and(|head| head.eq_ignore_ascii_case(b"text/event-stream"))
    })
}
