//! A request's body on its way up, moved by the request's own task, as fast as the upstream opens its window.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use super::super::body::RequestBody;

/// A body and the stream that it goes up on.
#[derive(Debug)]
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    over: bool,
}

impl Upload {
    /// Keeps what it sends of the body, as far as that may be, until [`Upload::forget`].
    pub(super) fn new(mut body: RequestBody, stream: SendStream<Bytes>) -> Self {
        body.remember();
        Self { body, stream, over: false }
    }

    /// The whole body, for an upstream that has processed none of it; nothing where a part of it is gone.
    pub(super) fn into_whole(self) -> Option<RequestBody> {
        self.body.rewound()
    }

    /// The upstream has begun to answer: there is no second attempt.
    pub(super) fn forget(&mut self) {
        self.body.forget();
    }

    /// Ready when there is nothing more to do: all was sent, or one side has ended the stream. Why shows in the answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            ready!(self.poll_body(cx));
            self.over = true;
        }
        Poll::Ready(())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The body is asked only when there is room, so that the worker waits where the upstream does.
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            let sent = match ready!(self.body.poll_next(cx)) {
                None => self.end(),
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let last = self.body.is_end_stream();
                        self.stream.send_data(data, last).map(|()| last)
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(fields) => self.stream.send_trailers(fields).map(|()| true),
                        Err(_) => self.end(),
                    },
                },
            };
            if !matches!(sent, Ok(false)) {
                return Poll::Ready(());
            }
        }
    }

    fn end(&mut self) -> Result<bool, h2::Error> {
        self.stream.send_data(Bytes::new(), true).map(|()| true)
    }
}
