//! The body of an answer: drives its connection while it is read, and gives it back at the end.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::{Fault, UpstreamError, classify};
use super::http1::{OneUse, Tunnel};
use super::http2::Download;
use super::trailers;

/// An upstream's body as it streams down, trailers at its end included (without those that may not pass).
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    silence: Option<Silence>,
}

#[derive(Debug)]
enum Source {
    Http1 { incoming: Incoming, one: Option<OneUse> },
    Http2(Box<Download>),
}

/// Watches for silence without touching the timer for every frame.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    /// When something came; nothing while nobody has waited since.
    last: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    pub(super) fn http1(incoming: Incoming, one: OneUse, idle: Option<Duration>) -> Self {
        let mut source = Source::Http1 { incoming, one: Some(one) };
        source.finish_at_end();
        Self { source, silence: idle.map(Silence::new) }
    }

    pub(super) fn http2(download: Download, idle: Option<Duration>) -> Self {
        Self { source: Source::Http2(Box::new(download)), silence: idle.map(Silence::new) }
    }

    /// After a 101: there is no body, and the connection is for [`AnswerBody::into_tunnel`].
    pub(super) fn switched(incoming: Incoming, one: OneUse) -> Self {
        Self { source: Source::Http1 { incoming, one: Some(one) }, silence: None }
    }

    /// The connection behind an answer 101; nothing after any other.
    pub fn into_tunnel(mut self) -> Option<Tunnel> {
        match &mut self.source {
            Source::Http1 { one, .. } => one.take()?.into_tunnel(),
            Source::Http2(_) => None,
        }
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self {
            Self::Http2(download) => download.poll_frame(cx),
            Self::Http1 { incoming, one } => {
                // Only the connection brings more, so that this task need not be woken for what it brings.
                let mut nobody = Context::from_waker(Waker::noop());
                if let Some(one) = one.as_ref() {
                    one.rest_if_done();
                }
                // What came with the head is there already.
                let mut polled = Pin::new(&mut *incoming).poll_frame(&mut nobody);
                if let (Poll::Pending, Some(one)) = (&polled, one.as_mut()) {
                    one.drive(cx.waker());
                    polled = Pin::new(incoming).poll_frame(&mut nobody);
                }
                if let Poll::Ready(Some(Err(error))) = &polled {
                    *one = None;
                    return Poll::Ready(Some(Err(classify(error, "reading the answer"))));
                }
                polled.map(|frame| frame?.ok().map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1 { incoming, .. } => incoming.is_end_stream(),
            Self::Http2(download) => download.is_end_stream(),
        }
    }

    /// The end was read: an HTTP/1.1 connection goes back to the pool.
    fn finish(&mut self) {
        match self {
            Self::Http1 { one, .. } => {
                if let Some(mut one) = one.take() {
                    one.give_back();
                }
            }
            Self::Http2(download) => download.finish(),
        }
    }

    fn finish_at_end(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        match this.source.poll_frame(cx) {
            Poll::Ready(None) => {
                this.source.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    if let Some(silence) = this.silence.as_mut() {
                        silence.last = None;
                    }
                    this.source.finish_at_end();
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => {
                    // They are the end of the body.
                    this.source.finish();
                    let fields = frame.into_trailers().unwrap_or_default();
                    Poll::Ready(trailers::of_answer(fields).transpose().map(|fields| fields.map(Frame::trailers)))
                }
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Pending => match this.silence.as_mut() {
                Some(silence) => silence.poll(cx).map(|error| Some(Err(error))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1 { incoming, .. } => incoming.size_hint(),
            Source::Http2(download) => download.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.source.finish_at_end();
    }
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, last: None, timer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamError> {
        loop {
            let due = *self.last.get_or_insert_with(Instant::now) + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                let why = format!("the answer's body was silent for {:?} (timeouts.body)", self.limit);
                return Poll::Ready(UpstreamError::new(Fault::Timeout, why));
            }
            self.timer = None;
        }
    }
}
