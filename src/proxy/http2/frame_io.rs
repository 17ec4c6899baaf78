//! A worker's HTTP/2 connection below the library: shows the frame guard what is read, carries out its refusals, ends
//! slow heads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::proxy::guard::frames::{Excess, Frames, Violation};
use crate::proxy::worker_io::{Activity, HEAD_TIMEOUT};

/// What the connection's task learns of its bytes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    begun: AtomicBool,
    refusal: OnceLock<Excess>,
}

impl Seen {
    /// Whether the preface has come.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Why the connection was closed by the guard.
    pub(super) fn refusal(&self) -> Option<Excess> {
        self.refusal.get().copied()
    }
}

/// Bytes of a worker's connection.
pub(super) struct FrameIo<S> {
    inner: S,
    activity: Arc<Activity>,
    seen: Arc<Seen>,
    watch: Watch,
    /// The head that is under way, and when it has taken too long.
    slow_head: Option<(u64, Pin<Box<Sleep>>)>,
    /// From the first byte of a head to its end.
    patience: Duration,
}

/// What the guard has said.
enum Watch {
    /// So far all is well.
    Sound(Frames),
    /// A frame was refused; from now on the library reads [`Poison`].
    Refused(Poison),
    /// The same in the middle of a frame, where no other bytes can be put.
    Broken,
}

/// What is read in place of a refused frame: a head in endless pieces. The library answers it with
/// GOAWAY(ENHANCE_YOUR_CALM), at its own pace and between its own frames, and closes the connection.
struct Poison {
    stream: [u8; 4],
    kind: u8,
    /// Bytes of the frame that are out.
    at: usize,
}

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

impl Poison {
    /// Where a head is under way the pieces are its own.
    fn new(block: Option<u32>) -> Self {
        let kind = if block.is_some() { CONTINUATION } else { HEADERS };
        Self { stream: block.unwrap_or(1).to_be_bytes(), kind, at: 0 }
    }

    fn fill(&mut self, buf: &mut ReadBuf<'_>) {
        while buf.remaining() > 0 {
            let [a, b, c, d] = self.stream;
            let frame = [0, 0, 0, self.kind, 0, a, b, c, d];
            let rest = &frame[self.at..];
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..count]);
            self.at += count;
            if self.at == frame.len() {
                (self.at, self.kind) = (0, CONTINUATION);
            }
        }
    }
}

impl<S> FrameIo<S> {
    /// Wraps a connection that has not been read yet, its preface included.
    pub(super) fn new(inner: S, frames: Frames, activity: Arc<Activity>, seen: Arc<Seen>) -> Self {
        Self { inner, activity, seen, watch: Watch::Sound(frames), slow_head: None, patience: HEAD_TIMEOUT }
    }

    /// Shows the guard what was read after the first `before` bytes of `buf`, and takes out what it refuses.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Watch::Sound(frames) = &mut self.watch else { return Ok(()) };
        let watched = frames.watch(&buf.filled()[before..], Instant::now(), self.activity.given());
        if frames.has_begun() && !self.seen.has_begun() {
            self.seen.begun.store(true, Ordering::Relaxed);
        }
        let Err(Violation { good, excess, block }) = watched else { return Ok(()) };
        // The first word stands.
        let _ = self.seen.refusal.set(excess);
        match good {
            Some(good) => {
                buf.set_filled(before + good);
                self.watch = Watch::Refused(Poison::new(block));
                // No bytes at all would be the end of the connection.
                if good == 0 { self.refuse(buf) } else { Ok(()) }
            }
            None => {
                self.watch = Watch::Broken;
                self.refuse(buf)
            }
        }
    }

    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        match &mut self.watch {
            Watch::Sound(_) => Ok(()),
            Watch::Refused(poison) => {
                poison.fill(buf);
                Ok(())
            }
            Watch::Broken => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn poll_slow_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Watch::Sound(frames) = &self.watch else { return Poll::Pending };
        let Some(head) = frames.head_under_way() else {
            self.slow_head = None;
            return Poll::Pending;
        };
        if self.slow_head.as_ref().is_none_or(|(known, _)| *known != head) {
            self.slow_head = Some((head, Box::pin(sleep(self.patience))));
        }
        let Some((_, timer)) = self.slow_head.as_mut() else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let _ = self.seen.refusal.set(Excess::SlowHead);
        self.watch = Watch::Broken;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.watch, Watch::Sound(_)) {
            return Poll::Ready(this.refuse(buf));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(this.look(buf, before)),
            Poll::Pending => this.poll_slow_head(cx),
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::proxy::guard::frames::Bounds;
    use crate::proxy::http2::opening::PREFACE;

    fn pair() -> (DuplexStream, FrameIo<DuplexStream>, Arc<Seen>) {
        let (worker, proxy) = duplex(1 << 16);
        let seen = Arc::new(Seen::default());
        let io = FrameIo::new(proxy, Frames::new(Bounds::of_list(65_536)), Activity::new(), seen.clone());
        (worker, io, seen)
    }

    /// HEADERS on stream 1 without END_HEADERS, and a CONTINUATION.
    const HEAD: [u8; 9] = [0, 0, 0, 1, 0, 0, 0, 0, 1];
    const MORE: [u8; 9] = [0, 0, 0, 9, 0, 0, 0, 0, 1];

    async fn poll_once<T>(work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_ends_the_connection() {
        let (mut worker, mut io, seen) = pair();
        io.patience = Duration::from_millis(200);
        worker.write_all(&[PREFACE, &HEAD[..]].concat()).await.unwrap();
        let mut got = [0; 24 + 9];
        io.read_exact(&mut got).await.unwrap();
        let began = Instant::now();
        // A piece now and then is not enough.
        for _ in 0..3 {
            worker.write_all(&MORE).await.unwrap();
            io.read_exact(&mut got[..9]).await.unwrap();
            // Nothing more to read is what sets the timer.
            assert!(poll_once(io.read(&mut got)).await.is_none());
        }
        let error = io.read(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= io.patience);
        assert_eq!(seen.refusal(), Some(Excess::SlowHead));
    }

    #[tokio::test]
    async fn silence_between_frames_is_no_slow_head() {
        let (mut worker, mut io, seen) = pair();
        io.patience = Duration::from_millis(1);
        worker.write_all(PREFACE).await.unwrap();
        let mut got = [0; 24];
        io.read_exact(&mut got).await.unwrap();
        assert!(seen.has_begun());
        let waited = tokio::time::timeout(Duration::from_millis(20), io.read(&mut got)).await;
        assert!(waited.is_err() && seen.refusal().is_none());
    }

    #[tokio::test]
    async fn in_place_of_a_refused_frame_comes_a_head_without_end() {
        for (first, kind) in [(&[][..], HEADERS), (&HEAD[..], CONTINUATION)] {
            let (mut worker, mut io, seen) = pair();
            worker.write_all(&[PREFACE, first].concat()).await.unwrap();
            // As large as a frame can say that it is.
            let refused = if first.is_empty() {
                [0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 3]
            } else {
                [0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 1]
            };
            worker.write_all(&refused).await.unwrap();
            let mut got = vec![0; 24 + first.len() + 20];
            io.read_exact(&mut got).await.unwrap();
            let poison = &got[24 + first.len()..];
            assert_eq!(poison[..9], [0, 0, 0, kind, 0, 0, 0, 0, 1]);
            assert_eq!(poison[9..18], MORE);
            assert_eq!(seen.refusal(), Some(Excess::Block));
        }
    }
}
