//! A worker's connection below HTTP: ends slow heads, carries out the guard's refusals, and turns the HTTP library's own bare error
//! answers into ones that carry `Countersign-Error`, so that nobody takes them for the upstream's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::failure::{Failure, Then};
use super::guard::frames::Given;
use super::guard::{Guard, Part, Refusal, Violation};
use super::rest::Bed;
use super::tunnel::Tunnel;
use crate::observe::Outcome;

/// From the first byte of a head to its end.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The library's own answers are a status line and two short headers.
const BARE_ANSWER: usize = 160;
/// Comes in place of a refused head: NUL is an error for the library wherever in a head it stands, and
/// the empty line makes it look, even where it waits for the end of a head it has the beginning of.
const POISON: &[u8] = b"\0\n\n";

/// What the connection is doing; shared between its bytes and its requests.
#[derive(Debug)]
pub struct Activity {
    phase: AtomicU8,
    requests: AtomicU64,
    body_begun: AtomicBool,
    /// Whether it may rest, when it is idle.
    may_rest: AtomicBool,
    /// Over HTTP/2: requests under way.
    streams: AtomicU32,
    /// Over HTTP/2: requests that ended with an answer, and parts of answers.
    given: (AtomicU64, AtomicU64),
    /// What the connection becomes after its last answer, which is a 101.
    tunnel: Mutex<Option<Box<Tunnel>>>,
}

const IDLE: u8 = 0;
const READING_HEAD: u8 = 1;
const ANSWERING: u8 = 2;
const ANSWER_ENDS: u8 = 3;
/// After a 101: the bytes are no HTTP, the guard has nothing to watch.
const TUNNEL: u8 = 4;

impl Activity {
    /// Nothing has happened yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(IDLE),
            requests: AtomicU64::new(0),
            body_begun: AtomicBool::new(false),
            may_rest: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            given: (AtomicU64::new(0), AtomicU64::new(0)),
            tunnel: Mutex::default(),
        })
    }

    /// The answer that is about to be written is a 101.
    pub fn switches(&self, tunnel: Box<Tunnel>) {
        self.phase.store(TUNNEL, Ordering::Relaxed);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// The tunnel that the connection has become.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A request's head was read.
    pub fn request_begins(&self) {
        self.phase.store(ANSWERING, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.may_rest.store(false, Ordering::Relaxed);
    }

    /// It has been idle for a while.
    pub fn let_rest(&self) {
        self.may_rest.store(true, Ordering::Relaxed);
    }

    /// Whether the worker has begun to send the body behind the last head: it waits for no `100 Continue`.
    pub fn has_body_begun(&self) -> bool {
        self.body_begun.load(Ordering::Relaxed)
    }

    /// The last byte of an answer was handed over.
    pub fn answer_ends(&self) {
        let _ = self.phase.compare_exchange(ANSWERING, ANSWER_ENDS, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Over HTTP/2: a request's head was read. Other requests may be under way.
    pub fn stream_begins(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Over HTTP/2: a part of an answer was handed over.
    pub fn stream_gives(&self) {
        self.given.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Over HTTP/2: an answer was handed over to its end.
    pub fn stream_is_answered(&self) {
        self.given.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Over HTTP/2: a request is over, however it ended.
    pub fn stream_ends(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Over HTTP/2: requests under way.
    pub fn open_streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Over HTTP/2: what the worker was given so far.
    pub fn given(&self) -> Given {
        Given { answers: self.given.0.load(Ordering::Relaxed), parts: self.given.1.load(Ordering::Relaxed) }
    }

    /// How many requests there were, where none is under way.
    pub fn idle_after(&self) -> Option<u64> {
        let idle = matches!(self.phase.load(Ordering::Relaxed), IDLE | ANSWER_ENDS) && self.open_streams() == 0;
        idle.then(|| self.requests.load(Ordering::Relaxed))
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }
}

/// Bytes of a worker's connection.
pub struct WorkerIo<S> {
    /// There until it is taken out at the end.
    inner: Option<S>,
    bed: Bed<S>,
    /// What was read of it before.
    first: Bytes,
    at_rest: bool,
    activity: Arc<Activity>,
    watch: Watch,
    slow_head: Option<Pin<Box<Sleep>>>,
    replacement: Option<Replacement>,
    /// The names of the errors that replaced a bare answer, for the metrics.
    pub replaced: Arc<AtomicU8>,
}

/// What the guard has said.
enum Watch {
    /// So far all is well.
    Sound(Guard),
    /// A head was refused; so much of [`POISON`] is still to be read.
    RefusedHead(Refusal, &'static [u8]),
    /// A body was refused: it fails.
    RefusedBody(Refusal),
}

struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    stands_for: usize,
}

impl<S> WorkerIo<S> {
    /// Wraps a connection of which `first` was read before. It is left in `bed` when it goes to rest.
    pub fn new(inner: S, first: Bytes, activity: Arc<Activity>, bed: Bed<S>) -> Self {
        Self {
            inner: Some(inner),
            bed,
            first,
            at_rest: false,
            activity,
            watch: Watch::Sound(Guard::default()),
            slow_head: None,
            replacement: None,
            replaced: Arc::default(),
        }
    }

    /// The connection without what is wrapped around it.
    pub fn into_inner(mut self) -> Option<S> {
        self.inner.take()
    }

    /// Whether nothing is under way, and HTTP may be taken down: the library is told that the worker has hung up.
    fn goes_to_rest(&self, guard: &Guard) -> bool {
        (self.activity.may_rest.load(Ordering::Relaxed) || self.bed.is_wanted())
            && self.activity.is(IDLE)
            && self.activity.requests.load(Ordering::Relaxed) > 0
            && self.replacement.is_none()
            && !guard.is_in_head()
            && !guard.is_in_body()
    }

    fn poll_slow_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.is(READING_HEAD) {
            self.slow_head = None;
            return Poll::Pending;
        }
        let timer = self.slow_head.get_or_insert_with(|| Box::pin(sleep(HEAD_TIMEOUT)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request head took too long")))
    }

    /// Notes what was written. With the last byte of an answer the connection is idle; where it is to rest at once, it
    /// is polled once more, since nothing else may happen on it for long.
    fn note_written(&self, complete: bool, cx: &Context<'_>) {
        let ends = || self.activity.phase.compare_exchange(ANSWER_ENDS, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        if complete && ends().is_ok() && self.bed.is_wanted() {
            cx.waker().wake_by_ref();
        }
    }

    /// The answer that stands for a bare one, when `buf` is one.
    fn replacement_of(&self, buf: &[u8]) -> Option<Replacement> {
        let bare = buf.len() < BARE_ANSWER
            && (buf.starts_with(b"HTTP/1.1 4") || buf.starts_with(b"HTTP/1.0 4"))
            && buf.ends_with(b"\r\n\r\n");
        if !bare || !(self.activity.is(IDLE) || self.activity.is(READING_HEAD)) {
            return None;
        }
        let failure = match buf.get(9..12) {
            Some(b"431" | b"414") => Failure {
                then: Then::Close,
                ..Failure::new(Outcome::HeadersTooLarge, "the request head is over [limits] head or headers")
            },
            _ => match &self.watch {
                Watch::RefusedHead(refusal, _) => Failure::bad_request(refusal.to_string()),
                _ => Failure::bad_request("the request head is malformed"),
            },
        };
        self.replaced.store(failure.name.index() as u8 + 1, Ordering::Relaxed);
        Some(Replacement { bytes: raw_answer(&failure), written: 0, stands_for: buf.len() })
    }
}

impl<S: AsyncWrite + Unpin> WorkerIo<S> {
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(replacement) = self.replacement.as_mut() else { return Poll::Ready(Ok(0)) };
        while replacement.written < replacement.bytes.len() {
            let rest = &replacement.bytes[replacement.written..];
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Err(gone())) };
            let count = ready!(Pin::new(inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            replacement.written += count;
        }
        let stands_for = replacement.stands_for;
        self.replacement = None;
        Poll::Ready(Ok(stands_for))
    }
}

impl<S> Drop for WorkerIo<S> {
    fn drop(&mut self) {
        if let Some(stream) = self.inner.take().filter(|_| self.at_rest) {
            self.bed.lie_down(stream);
        }
    }
}

/// The connection was taken out; nothing of the library's is called after that.
fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// A failure as HTTP/1.1 text, for where no library writes it.
fn raw_answer(failure: &Failure) -> Vec<u8> {
    let answer = failure.answer(None);
    let mut out = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(answer.body());
    out
}

impl Watch {
    /// Shows the guard what was read after the first `before` bytes of `buf`, and takes out what it refuses.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize, activity: &Activity) -> io::Result<()> {
        let Self::Sound(guard) = self else { return Ok(()) };
        let watched = guard.watch(&buf.filled()[before..]);
        activity.body_begun.store(guard.has_body_begun(), Ordering::Relaxed);
        let Err(Violation { good, part, refusal }) = watched else { return Ok(()) };
        buf.set_filled(before + good);
        match part {
            Part::Head => {
                *self = Self::RefusedHead(refusal, POISON);
                self.refuse(buf)
            }
            Part::Body => {
                *self = Self::RefusedBody(refusal);
                // What came before it may end another request, which is to be answered first.
                if good == 0 { self.refuse(buf) } else { Ok(()) }
            }
        }
    }

    /// What is read after a violation.
    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        match self {
            Self::Sound(_) => Ok(()),
            Self::RefusedHead(_, poison) if !poison.is_empty() => {
                let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
                buf.put_slice(now);
                *poison = later;
                Ok(())
            }
            Self::RefusedHead(refusal, _) | Self::RefusedBody(refusal) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, *refusal))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WorkerIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Watch::Sound(guard) = &this.watch else { return Poll::Ready(this.watch.refuse(buf)) };
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Err(gone())) };
        if this.activity.is(TUNNEL) {
            return Pin::new(inner).poll_read(cx, buf);
        }
        let in_head = guard.is_in_head();
        let before = buf.filled().len();
        let read = if this.first.is_empty() {
            Pin::new(inner).poll_read(cx, buf)
        } else {
            buf.put_slice(&this.first.split_to(this.first.len().min(buf.remaining())));
            Poll::Ready(Ok(()))
        };
        match read {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before && this.activity.idle_after().is_some() {
                    this.activity.phase.store(READING_HEAD, Ordering::Relaxed);
                }
                Poll::Ready(this.watch.look(buf, before, &this.activity))
            }
            Poll::Pending if this.goes_to_rest(guard) => {
                this.at_rest = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                // The beginning of this head came while an earlier request was being answered.
                if in_head && this.activity.idle_after().is_some() {
                    this.activity.phase.store(READING_HEAD, Ordering::Relaxed);
                }
                this.poll_slow_head(cx)
            }
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WorkerIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replacement.is_none() {
            this.replacement = this.replacement_of(buf);
        }
        if this.replacement.is_some() {
            return this.poll_replacement(cx);
        }
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Err(gone())) };
        let count = ready!(Pin::new(inner).poll_write(cx, buf))?;
        this.note_written(count == buf.len(), cx);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().inner.as_mut() {
            Some(inner) => Pin::new(inner).poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.inner.as_mut().filter(|_| !this.at_rest) {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replacement.is_some() || bufs.len() == 1 {
            let only = bufs.first().map_or(&[][..], |buf| &**buf);
            return Pin::new(this).poll_write(cx, only);
        }
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Err(gone())) };
        let count = ready!(Pin::new(inner).poll_write_vectored(cx, bufs))?;
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        this.note_written(count == all, cx);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

#[cfg(test)]
#[path = "worker_io_tests.rs"]
mod tests;
