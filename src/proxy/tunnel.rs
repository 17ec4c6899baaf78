//! Bytes in both directions after a 101, until one side ends, both are silent for too long, or the process does.
//!
//! Two buffers of a fixed size are all that a tunnel holds. It runs in the task of the worker's connection, so it
//! counts as one, and it keeps the account of its request, which is written at its end. Callers: `upgrade` makes
//! it, `listener` runs it.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::registry::Ending;
use super::tally::Tally;
use crate::observe::Outcome;
use crate::upstream::lease;

/// Bytes held in each direction.
const BUFFER: usize = 16 * 1024;
/// How long the end of a tunnel may take to be told to both sides.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A tunnel whose worker has not got its 101 yet.
pub struct Tunnel {
    worker: OnUpgrade,
    upstream: lease::Tunnel,
    silence: Option<Duration>,
    tally: Box<Tally>,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side closed or broke its connection.
    Closed,
    /// `timeouts.tunnel`.
    Silence,
    /// The deadline of the drain.
    CutOff,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Tunnel {
    /// Runs once the worker's connection has become bytes.
    pub fn new(worker: OnUpgrade, upstream: lease::Tunnel, silence: Option<Duration>, tally: Box<Tally>) -> Self {
        Self { worker, upstream, silence, tally }
    }

    /// Copies until the end. The worker's 101 must have been written, or its connection be gone.
    pub async fn run(self, ending: &Ending) {
        let Self { worker, mut upstream, silence, mut tally } = self;
        let Ok(worker) = worker.await else { return };
        let mut worker = TokioIo::new(worker);
        let mut up = Flow::new(Bytes::new());
        let mut down = Flow::new(std::mem::take(&mut upstream.early));
        let mut silence = silence.map(Silence::new);
        let end = poll_fn(|cx| {
            ending.wake_with(cx.waker());
            // What the upstream said before it closed is delivered before anything ends.
            let polled =
                [down.poll(cx, &mut upstream.stream, &mut worker), up.poll(cx, &mut worker, &mut upstream.stream)];
            if polled.iter().any(Poll::is_ready) {
                return Poll::Ready(End::Closed);
            }
            if ending.is_cut() {
                return Poll::Ready(End::CutOff);
            }
            match silence.as_mut() {
                Some(silence) => silence.poll(cx, up.moved + down.moved).map(|()| End::Silence),
                None => Poll::Pending,
            }
        })
        .await;
        tally.progress.count(up.moved);
        tally.bytes_out += down.moved;
        match end {
            End::Closed => tally.complete = true,
            End::Silence => tally.error = Some(Outcome::UpstreamTimeout),
            End::CutOff => {}
        }
        drop(tally);
        // Best effort: a side that does not listen any more is dropped.
        let _ = timeout(CLOSE_WAIT, async { tokio::join!(worker.shutdown(), upstream.stream.shutdown()) }).await;
    }
}

/// One direction.
struct Flow {
    /// What came with the head, before the first read.
    early: Bytes,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    moved: u64,
    flush: Flush,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    Done,
    Due,
}

impl Flow {
    fn new(early: Bytes) -> Self {
        Self { early, buffer: vec![0; BUFFER].into(), start: 0, end: 0, moved: 0, flush: Flush::Done }
    }

    /// Ready when `from` has ended and all of it was handed on, or when either failed.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.early.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.early))?;
                self.wrote(count)?;
                self.early = self.early.slice(count..);
            }
            while self.start < self.end {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]))?;
                self.wrote(count)?;
                self.start += count;
            }
            let mut free = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut free) {
                Poll::Ready(read) => {
                    read?;
                    (self.start, self.end) = (0, free.filled().len());
                    if self.end == 0 {
                        return Pin::new(to).poll_flush(cx);
                    }
                }
                Poll::Pending => {
                    if self.flush == Flush::Due {
                        ready!(Pin::new(to).poll_flush(cx))?;
                        self.flush = Flush::Done;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn wrote(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.moved += count as u64;
        self.flush = Flush::Due;
        Ok(())
    }
}

/// Fires when nothing has moved for the limit; the timer is not touched for every byte.
struct Silence {
    limit: Duration,
    seen: u64,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        let last = Instant::now();
        Self { limit, seen: 0, last, timer: Box::pin(sleep_until(last + limit)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: u64) -> Poll<()> {
        if moved != self.seen {
            (self.seen, self.last) = (moved, Instant::now());
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.last + self.limit;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }
}
