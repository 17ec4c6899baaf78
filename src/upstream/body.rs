//! What goes up: nothing, a held body, or the worker's body as it streams in.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::again::Again;
use super::error::WorkerBody;
use super::from_worker::FromWorker;
use super::trailers;

/// How long a body waits for an upstream that does not ask for it.
pub const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The body of a request on its way up.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// Held whole, for a signature or a second attempt.
    Held(Option<Bytes>),
    /// Passed on as it comes. Boxed: a request is moved a dozen times, and most have no body.
    Streamed(Box<Streamed>),
}

/// A worker's body with what others need to know about it.
#[derive(Debug)]
pub struct Streamed {
    incoming: FromWorker,
    progress: Arc<Progress>,
    limit: u64,
    /// Names that no trailer may have.
    forbidden: Box<[HeaderName]>,
    /// Runs while the upstream has not asked for the body (`Expect: 100-continue`).
    unasked: Option<Pin<Box<Sleep>>>,
    /// Goes up before the rest: it was taken already, by an upstream that has processed none of it.
    front: VecDeque<Bytes>,
    past: Past,
    again: Option<Again>,
}

/// What was taken of a body, as far as it matters to whoever would send it once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    /// Nothing was, and if something is, nobody will want it.
    Untouched,
    /// What is taken is to be kept.
    Kept,
    /// Something was that is not kept.
    Gone,
}

/// How far a streamed body has come; shared with whoever waits for the answer.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    done: AtomicBool,
    waiting: AtomicBool,
    held_back: AtomicBool,
    fault: AtomicU8,
    interim: AtomicU32,
}

impl Progress {
    /// Bytes passed on so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the whole body was handed over.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Marks the body as handed over; for bodies that are held or empty.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Counts bytes of a held body.
    pub fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it is the worker that has nothing to send now.
    pub fn is_waiting_for_worker(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether nobody has asked for the body yet.
    pub(super) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// The upstream said `100 Continue`. The next poll of the body asks the worker for it.
    pub(super) fn ask(&self) {
        self.held_back.store(false, Ordering::Relaxed);
    }

    /// No interim answer came yet.
    pub(super) fn attempt_begins(&self) {
        self.interim.store(0, Ordering::Relaxed);
    }

    /// An interim answer (1xx) came.
    pub(super) fn interim(&self, status: StatusCode) {
        self.interim.fetch_add(1, Ordering::Relaxed);
        if status == StatusCode::CONTINUE {
            self.ask();
        }
    }

    /// Interim answers of this attempt.
    pub(super) fn interim_answers(&self) -> u32 {
        self.interim.load(Ordering::Relaxed)
    }

    /// How the worker's body failed, if it did.
    pub fn fault(&self) -> Option<WorkerBody> {
        match self.fault.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(WorkerBody::Broken),
            2 => Some(WorkerBody::TooLarge),
            _ => Some(WorkerBody::Stalled),
        }
    }

    fn fail(&self, fault: WorkerBody) {
        let code = match fault {
            WorkerBody::Broken => 1,
            WorkerBody::TooLarge => 2,
            WorkerBody::Stalled => 3,
        };
        self.fault.store(code, Ordering::Relaxed);
    }
}

/// The worker's body failed; [`Progress::fault`] says how.
#[derive(Debug, thiserror::Error)]
#[error("the worker's body failed")]
pub struct WorkerBodyError;

impl Streamed {
    /// Passes on at most `limit` bytes of `incoming`.
    pub fn new(incoming: FromWorker, progress: Arc<Progress>, limit: Option<u64>) -> Self {
        Self {
            incoming,
            progress,
            limit: limit.unwrap_or(u64::MAX),
            forbidden: [].into(),
            unasked: None,
            front: VecDeque::new(),
            past: Past::Untouched,
            again: None,
        }
    }

    /// The same, and no trailer with one of these names goes up: where a credential stands.
    pub fn without_trailers(self, forbidden: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { forbidden: forbidden.into_iter().collect(), ..self }
    }

    /// The same, and what is taken of it can be kept within these bounds, to be sent once more.
    pub fn repeatable(self, again: Option<Again>) -> Self {
        Self { again, ..self }
    }

    /// The same for a worker that waits for `100 Continue`: its body is asked for when the upstream does, or
    /// after [`CONTINUE_WAIT`], since not every upstream does (RFC 9110 section 10.1.1).
    pub fn when_asked(self) -> Self {
        self.progress.held_back.store(true, Ordering::Relaxed);
        Self { unasked: Some(Box::pin(sleep(CONTINUE_WAIT))), ..self }
    }

    /// Ready when the worker's body may be read, which is what sends it `100 Continue`.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = self.unasked.as_mut() else { return Poll::Ready(()) };
        if self.progress.is_held_back() {
            ready!(timer.as_mut().poll(cx));
        }
        self.progress.ask();
        self.unasked = None;
        Poll::Ready(())
    }

    /// The whole body once more; nothing where a part of it is gone.
    fn rewound(mut self) -> Option<Self> {
        if self.past == Past::Gone {
            return None;
        }
        for part in self.again.as_mut().map(Again::rewind).unwrap_or_default().into_iter().rev() {
            self.front.push_front(part);
        }
        Some(self)
    }

    fn size_hint(&self) -> SizeHint {
        let front: u64 = self.front.iter().map(|part| part.len() as u64).sum();
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + front);
        }
        hint.set_lower(rest.lower() + front);
        hint
    }

    fn forget(&mut self) {
        self.again = None;
        self.past = Past::Gone;
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WorkerBodyError>>> {
        let next = match self.front.pop_front() {
            Some(part) => Some(Ok(Frame::data(part))),
            None => ready!(self.poll_worker(cx)),
        };
        if let Some(Ok(frame)) = &next {
            let kept = match (self.past, frame.data_ref(), self.again.as_mut()) {
                (Past::Kept, Some(data), Some(again)) => again.keep(data),
                _ => false,
            };
            if !kept {
                self.forget();
            }
        }
        Poll::Ready(next)
    }

    fn poll_worker(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WorkerBodyError>>> {
        ready!(self.poll_asked(cx));
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            self.progress.waiting.store(polled.is_pending(), Ordering::Relaxed);
            let Some(frame) = ready!(polled) else {
                self.progress.finish();
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else {
                self.progress.fail(WorkerBody::Broken);
                return Poll::Ready(Some(Err(WorkerBodyError)));
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let fields = frame.into_trailers().unwrap_or_default();
                    // They are the end of the body.
                    let Some(fields) = trailers::of_request(fields, &self.forbidden) else { continue };
                    self.progress.finish();
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
            };
            let total = self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
            if total > self.limit {
                self.progress.fail(WorkerBody::TooLarge);
                return Poll::Ready(Some(Err(WorkerBodyError)));
            }
            if self.incoming.is_end_stream() {
                self.progress.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

impl RequestBody {
    /// From now on what is taken is kept, as far as it may be.
    pub(super) fn remember(&mut self) {
        if let Self::Streamed(streamed) = self
            && streamed.past == Past::Untouched
        {
            streamed.past = Past::Kept;
        }
    }

    /// The whole streamed body once more; nothing where a part of it is gone.
    pub(super) fn rewound(self) -> Option<Self> {
        match self {
            Self::Streamed(streamed) => streamed.rewound().map(Box::new).map(Self::Streamed),
            Self::Empty | Self::Held(_) => None,
        }
    }

    /// It will not be sent once more.
    pub(super) fn forget(&mut self) {
        if let Self::Streamed(streamed) = self {
            streamed.forget();
        }
    }

    /// The same once more, where it is not streamed.
    pub fn spare(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Held(bytes) => Some(Self::Held(bytes.clone())),
            Self::Streamed(_) => None,
        }
    }

    /// The next part, trailers included; only HTTP/2 upstreams get those.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WorkerBodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => streamed.poll_next(cx),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = WorkerBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            match ready!(this.poll_next(cx)) {
                // The library would write them: towards HTTP/1.1 they end here.
                Some(Ok(frame)) if frame.is_trailers() => {}
                next => return Poll::Ready(next),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Held(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.front.is_empty() && streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}
