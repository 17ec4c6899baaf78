//! An answer's body on its way down, and the rest of the request's that may still go up beside it (gRPC).

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

use super::super::body::Progress;
use super::super::error::UpstreamError;
use super::super::wait::blame;
use super::fault;
use super::stream::InUse;
use super::upload::Upload;

/// A body and what it comes over. Dropped before its end it resets the stream.
#[derive(Debug)]
pub(in super::super) struct Download {
    body: RecvStream,
    upload: Option<Upload>,
    progress: Arc<Progress>,
    in_use: Option<InUse>,
    /// What the head has announced and has not come yet.
    left: Option<u64>,
    data: Data,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    More,
    Over,
    TrailersOver,
}

impl Download {
    pub(super) fn new(
        head: &HeaderMap,
        body: RecvStream,
        upload: Option<Upload>,
        progress: Arc<Progress>,
        in_use: InUse,
    ) -> Self {
        let left = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut download = Self { body, upload, progress, in_use: Some(in_use), left, data: Data::More };
        if download.is_end_stream() {
            download.finish();
        }
        download
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if self.upload.as_mut().is_some_and(|upload| upload.poll(cx).is_ready()) {
            self.upload = None;
        }
        while self.data == Data::More {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // Given back only now that the worker takes it: who does not read stalls its own stream.
                    if let Err(error) = self.body.flow_control().release_capacity(data.len()) {
                        return self.fail(&error);
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.fail(&error),
                None => self.data = Data::Over,
            }
        }
        if self.data == Data::Over {
            match ready!(self.body.poll_trailers(cx)) {
                Ok(fields) => {
                    self.data = Data::TrailersOver;
                    return Poll::Ready(fields.map(|fields| Ok(Frame::trailers(fields))));
                }
                Err(error) => return self.fail(&error),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: &h2::Error) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        self.data = Data::TrailersOver;
        let error = match self.in_use.take() {
            Some(in_use) => fault::classify(error, in_use.control(), "reading the answer"),
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Err(blame(error, &self.progress))))
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.data == Data::TrailersOver || self.body.is_end_stream()
    }

    pub(in super::super) fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The answer is over: what is left of the request's body is not wanted.
    pub(in super::super) fn finish(&mut self) {
        self.upload = None;
        self.in_use = None;
    }
}
