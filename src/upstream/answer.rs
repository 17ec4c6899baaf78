//! The body of an answer: drives its connection while it is read, and gives it back at the end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::{Fault, UpstreamError, classify};
use super::lease::{Lease, Tunnel};

/// An upstream's body as it streams down.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    lease: Option<Lease>,
    silence: Option<Silence>,
}

/// Watches for silence without touching the timer for every frame.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, idle: Option<Duration>) -> Self {
        let silence = idle.map(|limit| Silence { limit, last: Instant::now(), timer: None });
        let mut body = Self { incoming, lease: Some(lease), silence };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// After a 101: there is no body, and the connection is for [`AnswerBody::into_tunnel`].
    pub(super) fn switched(incoming: Incoming, lease: Lease) -> Self {
        Self { incoming, lease: Some(lease), silence: None }
    }

    /// The connection behind an answer 101; nothing after any other.
    pub fn into_tunnel(mut self) -> Option<Tunnel> {
        self.lease.take()?.into_tunnel()
    }

    fn finish(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(lease) = this.lease.as_mut() {
            lease.drive(cx);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                // Trailers are hop by hop here and not passed on; they are the end of the body.
                if frame.is_trailers() {
                    this.finish();
                    return Poll::Ready(None);
                }
                if let Some(silence) = this.silence.as_mut() {
                    silence.last = Instant::now();
                }
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(classify(&error, "reading the answer"))))
            }
            Poll::Pending => match this.silence.as_mut() {
                Some(silence) => silence.poll(cx).map(|error| Some(Err(error))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

impl Silence {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamError> {
        loop {
            let due = self.last + self.limit;
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
