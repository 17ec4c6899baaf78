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

/// The two clocks of a request that has no answer yet: silence in the body, then the wait for the head.
pub(super) struct Watch {
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
    body_done: bool,
    seen: u64,
    /// When the body moved last, then when it was done.
    since: Instant,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, timer: None, body_done: false, seen: 0, since: Instant::now() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Poll<UpstreamError> {
        if !self.body_done {
            let now = progress.bytes();
            if progress.is_done() {
                (self.body_done, self.timer, self.since) = (true, None, Instant::now());
            } else if now != self.seen || progress.is_held_back() {
                (self.seen, self.since) = (now, Instant::now());
            }
        }
        let limit = if self.body_done { self.patience.response } else { self.patience.body };
        let Some(limit) = limit else { return Poll::Pending };
        loop {
            let due = self.since + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(if self.body_done { too_late(limit) } else { stalled(limit, progress) });
            }
            self.timer = None;
        }
    }
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
