//! One request on a stream of a shared connection.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;

use super::super::answer::AnswerBody;
use super::super::body::{Progress, RequestBody};
use super::super::error::{Fault, UpstreamError};
use super::super::lease::{Answer, Patience, SendFailure, Trailers};
use super::super::pool::Origin;
use super::super::wait::{INTERIM_ANSWERS, Watch, blame, is_event_stream, no_answer};
use super::download::Download;
use super::shared::Control;
use super::upload::Upload;
use super::{fault, head};

/// A stream that was not begun yet.
#[derive(Debug)]
pub(in super::super) struct StreamUse {
    sender: SendRequest<Bytes>,
    in_use: InUse,
}

/// One request of a connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct InUse {
    control: Arc<Control>,
    origin: Arc<Origin>,
    unused_for: Duration,
}

impl InUse {
    /// What an error says of the upstream's way with connections.
    fn note(&self, error: &h2::Error) {
        if error.is_remote() && error.is_go_away() {
            self.origin.shared().left_unprocessed(&self.control);
        }
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.control.taken_up();
        self.origin.shared().release(&self.origin, &self.control, self.unused_for);
    }
}

/// What a second attempt needs. A streamed body is with the [`Upload`].
struct Spare {
    parts: Parts,
    held: Option<RequestBody>,
}

impl StreamUse {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        control: Arc<Control>,
        origin: Arc<Origin>,
        unused_for: Duration,
    ) -> Self {
        control.begin(&origin);
        Self { sender, in_use: InUse { control, origin, unused_for } }
    }

    pub(in super::super) fn peer_is_local(&self) -> bool {
        self.in_use.control.peer_is_local
    }

    /// Sends a request and waits for the head of its answer.
    pub(in super::super) async fn send(
        self,
        request: Request<RequestBody>,
        progress: &Arc<Progress>,
        patience: Patience,
        trailers: Trailers,
    ) -> Result<Answer, SendFailure> {
        let Self { mut sender, in_use } = self;
        let (parts, body) = request.into_parts();
        let spare = Spare { parts: parts.clone(), held: body.spare() };
        let Some(head) = head::of(parts, trailers) else {
            let error = UpstreamError::new(Fault::Protocol, "the Host cannot be sent on HTTP/2");
            return Err(SendFailure { error, unsent: None });
        };
        // A fresh clone never waits here; an error says that the connection takes nothing more.
        let sent = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(head, body.is_end_stream()),
            Err(error) => Err(error),
        };
        drop(sender);
        in_use.control.taken_up();
        let (response, stream) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                in_use.control.drain();
                in_use.note(&error);
                let error = fault::classify(&error, &in_use.control, "sending the request");
                return Err(SendFailure { error: blame(error, progress), unsent: Some(spare.whole(Some(body))) });
            }
        };
        let mut upload = (!body.is_end_stream()).then(|| Upload::new(body, stream));
        match answer(response, &mut upload, progress, patience).await {
            Ok(response) => Ok(answered(response, upload, progress, patience, in_use)),
            Err(Trouble::Own(error)) => Err(no_answer(error, progress)),
            Err(Trouble::Theirs(error)) => Err(failed(&error, upload, spare, &in_use, progress)),
        }
    }
}

/// Why there is no answer.
enum Trouble {
    /// Our patience or a bound.
    Own(UpstreamError),
    /// The stream or its connection.
    Theirs(h2::Error),
}

async fn answer(
    response: ResponseFuture,
    upload: &mut Option<Upload>,
    progress: &Progress,
    patience: Patience,
) -> Result<Response<RecvStream>, Trouble> {
    let mut response = pin!(response);
    let mut timer = None;
    let mut watch = Watch::new(patience, progress, &mut timer);
    let mut interim = 0;
    let mut poll_interim = |response: &mut Pin<&mut ResponseFuture>, cx: &mut Context<'_>| {
        while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
            interim += 1;
            if interim > INTERIM_ANSWERS {
                return Err(UpstreamError::new(Fault::Protocol, format!("over {INTERIM_ANSWERS} interim answers")));
            }
            match head.status() {
                StatusCode::CONTINUE => progress.ask(),
                // RFC 9113 section 8.6.
                StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(UpstreamError::new(Fault::Protocol, "the upstream switched protocols on HTTP/2"));
                }
                _ => {}
            }
        }
        Ok(())
    };
    poll_fn(|cx| {
        if let Err(error) = poll_interim(&mut response, cx) {
            return Poll::Ready(Err(Trouble::Own(error)));
        }
        if let Some(upload) = upload.as_mut() {
            // At its end it stays: the body of a refused request may be whole.
            let _ = upload.poll(cx);
        }
        if let Poll::Ready(done) = response.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(Trouble::Theirs));
        }
        watch.poll(cx, progress).map(|error| Err(Trouble::Own(error)))
    })
    .await
}

fn answered(
    response: Response<RecvStream>,
    mut upload: Option<Upload>,
    progress: &Arc<Progress>,
    patience: Patience,
    in_use: InUse,
) -> Answer {
    let (mut head, body) = response.into_parts();
    upload.iter_mut().for_each(Upload::forget);
    // What reads it further on need not know.
    head.version = Version::HTTP_11;
    let idle = if is_event_stream(&head.headers) { None } else { patience.body };
    let download = Download::new(&head.headers, body, upload, progress.clone(), in_use);
    Response::from_parts(head, AnswerBody::http2(download, idle))
}

fn failed(error: &h2::Error, upload: Option<Upload>, spare: Spare, in_use: &InUse, progress: &Progress) -> SendFailure {
    if fault::is_refused(error) {
        // It has no room after all; what it has goes on.
        in_use.control.drain();
    }
    in_use.note(error);
    let told = blame(fault::classify(error, &in_use.control, "waiting for the answer"), progress);
    let repeatable = fault::is_unprocessed(error) && progress.fault().is_none();
    let unsent = repeatable.then(|| spare.again(upload)).flatten();
    SendFailure { error: told, unsent }
}

impl Spare {
    /// The request with its body as it was.
    fn whole(self, body: Option<RequestBody>) -> Box<Request<RequestBody>> {
        Box::new(Request::from_parts(self.parts, body.unwrap_or(RequestBody::Empty)))
    }

    /// The request, unless too much of its streamed body was taken.
    fn again(mut self, upload: Option<Upload>) -> Option<Box<Request<RequestBody>>> {
        let body = match (self.held.take(), upload) {
            (Some(held), _) => held,
            (None, Some(upload)) => upload.into_whole()?,
            (None, None) => return None,
        };
        Some(self.whole(Some(body)))
    }
}
