//! The body that a worker gets: the upstream's as it streams, or the proxy's own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http2::Stream;
use super::tally::Tally;
use super::tunnel::Tunnel;
use super::worker_io::Activity;
use crate::upstream::answer::AnswerBody;
use crate::upstream::error::UpstreamError;

/// An answer's body with the account of its request.
pub struct WorkerAnswer {
    body: Source,
    tally: Option<Box<Tally>>,
    activity: Option<Arc<Activity>>,
    /// Over HTTP/2: the stream that it is the answer of.
    stream: Option<Stream>,
    /// A failure that is told at the next poll.
    failed: Option<UpstreamError>,
    /// What begins when this answer, a 101, was written.
    tunnel: Option<Box<Tunnel>>,
}

enum Source {
    Upstream(AnswerBody),
    Own(Option<Bytes>),
}

impl WorkerAnswer {
    /// The upstream's body.
    pub fn upstream(body: AnswerBody, tally: Box<Tally>) -> Self {
        Self::new(Source::Upstream(body), Some(tally)).closed_if_empty()
    }

    /// The proxy's own.
    pub fn own(body: Bytes, tally: Box<Tally>) -> Self {
        Self::new(Source::Own((!body.is_empty()).then_some(body)), Some(tally))
    }

    /// Nothing, with no account: the 200 to CONNECT.
    pub fn nothing() -> Self {
        Self::new(Source::Own(None), None)
    }

    /// That of a 101: nothing, and then the tunnel, which has the account.
    pub fn switching(tunnel: Tunnel) -> Self {
        let mut answer = Self::new(Source::Own(None), None);
        answer.tunnel = Some(Box::new(tunnel));
        answer
    }

    fn new(body: Source, tally: Option<Box<Tally>>) -> Self {
        Self { body, tally, activity: None, stream: None, failed: None, tunnel: None }
    }

    /// Tells the connection when the last byte was handed over, and that it becomes a tunnel.
    pub fn with_activity(mut self, activity: Arc<Activity>) -> Self {
        if let Some(tunnel) = self.tunnel.take() {
            activity.switches(tunnel);
        }
        self.activity = Some(activity);
        self
    }

    /// Over HTTP/2: tells the stream what is handed over, and is the end of it.
    pub fn with_stream(mut self, stream: Stream) -> Self {
        stream.gives();
        if self.is_end_stream() {
            stream.is_answered();
        }
        self.stream = Some(stream);
        self
    }

    /// Without the proxy's own body, for an answer to HEAD where the library would send it.
    pub fn without_own_body(mut self) -> Self {
        if let Source::Own(bytes) = &mut self.body {
            *bytes = None;
        }
        self
    }

    /// An answer without a body is complete with its head.
    fn closed_if_empty(mut self) -> Self {
        if self.is_end_stream() {
            self.complete();
        }
        self
    }

    fn complete(&mut self) {
        if let Some(mut tally) = self.tally.take() {
            tally.complete = true;
            if let Some(stream) = &self.stream {
                stream.is_answered();
            }
        }
    }
}

impl Body for WorkerAnswer {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match &mut this.body {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(tally), Some(data)) = (this.tally.as_mut(), frame.data_ref()) {
                    tally.bytes_out += data.len() as u64;
                }
                if let Some(stream) = &this.stream {
                    stream.gives();
                }
                // Trailers are the end, and nobody may ask for more after them.
                if frame.is_trailers() {
                    this.body = Source::Own(None);
                }
                if this.is_end_stream() {
                    this.complete();
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(mut tally) = this.tally.take() {
                    tally.error = Some(super::failure::Failure::from(error.clone()).name);
                }
                // At a failure the library drops what it has not written yet. The head and what came of the
                // body go out first, so that the worker sees an answer cut off instead of none.
                this.failed = Some(error.clone());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None) => this.complete(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Own(bytes) => bytes.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for WorkerAnswer {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.answer_ends();
        }
    }
}
