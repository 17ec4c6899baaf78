#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Wake, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::*;
use crate::proxy::rest::Awake;

/// A connection whose bytes come in these pieces and then no more, without an end.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    written: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.pieces.pop_front().filter(|piece| !piece.is_empty()) else { return Poll::Pending };
        if piece.len() > buf.remaining() {
            self.pieces.push_front(piece.split_off(buf.remaining()));
        }
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Seen {
    /// The target of each request with its body, or none where that failed.
    requests: Vec<(String, Option<Bytes>)>,
    written: String,
    closed: bool,
}

impl Seen {
    fn count(&self, text: &str) -> usize {
        self.written.matches(text).count()
    }

    fn complete(&self) -> usize {
        self.requests.iter().filter(|(_, body)| body.is_some()).count()
    }
}

/// Serves these pieces; every request is answered when its body has ended.
fn serve<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let written = Rc::new(RefCell::new(Vec::new()));
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    let activity = Activity::new();
    let script = Script { pieces, written: written.clone() };
    let io = WorkerIo::new(script, Bytes::new(), activity.clone(), Awake::default().bed());
    let seen = Rc::new(RefCell::new(Seen::default()));
    let service = service_fn(|request: Request<Incoming>| {
        activity.request_begins();
        let (seen, activity) = (seen.clone(), activity.clone());
        async move {
            let target = request.uri().to_string();
            let body = request.into_body().collect().await.ok().map(|body| body.to_bytes());
            let mut answer = Response::new(Full::new(Bytes::new()));
            if body.is_none() {
                answer = Failure::bad_request("broken").answer(None).map(Full::new);
            }
            seen.borrow_mut().requests.push((target, body));
            activity.answer_ends();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = Box::pin(http1::Builder::new().half_close(false).serve_connection(TokioIo::new(io), service));
    let mut context = Context::from_waker(Waker::noop());
    let closed = (0..200).any(|_| connection.as_mut().poll(&mut context).is_ready());
    drop(connection);
    let mut seen = seen.take();
    seen.closed = closed;
    seen.written = String::from_utf8(written.take()).unwrap();
    seen
}

/// Serves a connection until it ends or has nothing to do, lets it rest, and says what was left of it.
fn serve_and_rest(script: Script, first: &'static [u8], activity: &Arc<Activity>) -> Option<Script> {
    let bed = Awake::default().bed();
    let io = WorkerIo::new(script, Bytes::from_static(first), activity.clone(), bed.share());
    let service = service_fn(|_: Request<Incoming>| {
        activity.request_begins();
        activity.answer_ends();
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) }
    });
    let mut connection = Box::pin(http1::Builder::new().half_close(false).serve_connection(TokioIo::new(io), service));
    let mut context = Context::from_waker(Waker::noop());
    if (0..20).any(|_| connection.as_mut().poll(&mut context).is_ready()) {
        drop(connection);
        return bed.take();
    }
    activity.let_rest();
    let closed = (0..20).any(|_| connection.as_mut().poll(&mut context).is_ready());
    drop(connection);
    bed.take().filter(|_| closed)
}

#[test]
fn an_idle_connection_rests_and_goes_on_where_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let written = Rc::new(RefCell::new(Vec::new()));
    let activity = Activity::new();
    let piece = |text: &str| VecDeque::from([text.as_bytes().to_vec()]);
    let script = Script { pieces: piece("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"), written: written.clone() };
    let mut left = serve_and_rest(script, b"", &activity).unwrap();
    assert!(written.borrow().ends_with(b"ok"), "the answer was written before");
    left.pieces = piece("T /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(serve_and_rest(left, b"GE", &activity).is_some());
    assert_eq!(String::from_utf8(written.take()).unwrap().matches("HTTP/1.1 200 OK").count(), 2);
}

/// Whether a task was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_idle_connection_rests_by_itself_where_many_are_awake() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    for (others, rests) in [(10, false), (128, true)] {
        let awake = Awake::default();
        let _others: Vec<Bed<Script>> = (0..others).map(|_| awake.bed()).collect();
        let (bed, activity) = (awake.bed(), Activity::new());
        let pieces = VecDeque::from([b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()]);
        let script = Script { pieces, written: Rc::default() };
        let io = WorkerIo::new(script, Bytes::new(), activity.clone(), bed.share());
        let service = service_fn(|_: Request<Incoming>| {
            activity.request_begins();
            activity.answer_ends();
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) }
        });
        let connection = http1::Builder::new().half_close(false).serve_connection(TokioIo::new(io), service);
        let mut connection = Box::pin(connection);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = woken.clone().into();
        let mut ended = false;
        // Nothing comes any more: only what wakes the task lets it go on.
        while !ended && woken.0.swap(false, Ordering::Relaxed) {
            ended = connection.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        }
        drop(connection);
        assert_eq!((ended, bed.take().is_some()), (rests, rests), "{others} others");
    }
}

#[test]
fn nothing_rests_that_is_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    for (text, why) in [
        ("", "no request has come: a listener's look at the first bytes is cheaper"),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET", "a head has begun"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na", "a body has begun"),
    ] {
        let pieces = VecDeque::from([text.as_bytes().to_vec()]);
        let script = Script { pieces, written: Rc::default() };
        assert!(serve_and_rest(script, b"", &Activity::new()).is_none(), "{why}");
    }
}

fn every_split(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let twice = (0..bytes.len()).map(|at| [bytes.split_at(at).0, bytes.split_at(at).1].to_vec());
    twice.chain([bytes.chunks(1).collect(), bytes.chunks(7).collect()])
}

#[test]
fn a_refused_head_is_answered_once_and_reaches_nobody() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    ] {
        for pieces in every_split(head.as_bytes()) {
            let seen = serve(pieces.iter().copied());
            assert!(seen.closed && seen.requests.is_empty(), "{pieces:?} {seen:?}");
            assert!(seen.written.starts_with("HTTP/1.1 400 "), "{pieces:?} {seen:?}");
            assert_eq!((seen.count("HTTP/1.1 "), seen.count("countersign-error: bad_request")), (1, 1), "{seen:?}");
        }
    }
}

#[test]
fn requests_before_a_refused_head_are_answered_first() {
    for before in [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\0\n",
        "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
        "HEAD /1 HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n",
    ] {
        for after in ["GET /2 HTTP/1.1\nHost: a\n\n", "GET /2#f HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let bytes = format!("{before}{after}");
            for pieces in every_split(bytes.as_bytes()) {
                let seen = serve(pieces.iter().copied());
                assert!(seen.closed && seen.complete() == 1 && seen.requests.len() == 1, "{pieces:?} {seen:?}");
                let answers = (seen.count(" 200 OK"), seen.count("HTTP/1.1 400"), seen.count("countersign-error"));
                assert_eq!(answers, (1, 1, 1), "{pieces:?} {seen:?}");
            }
        }
    }
}

#[test]
fn a_refused_body_fails_and_the_connection_ends() {
    for body in
        ["1\r\na\r\n0;\0\r\n\r\n", "1\r\na\r\n0\r\nA: \0\r\n\r\n", "1\r\na\n0\r\n\r\n", ";\r\n", "1 \r\na\r\n0\r\n\r\n"]
    {
        let bytes = format!(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        for pieces in every_split(bytes.as_bytes()) {
            let seen = serve(pieces.iter().copied());
            assert!(seen.closed, "{pieces:?} {seen:?}");
            assert_eq!(seen.requests, [("/1".into(), Some(Bytes::new())), ("/2".into(), None)], "{pieces:?}");
            assert_eq!((seen.count(" 200 OK"), seen.count("HTTP/1.1 400")), (1, 1), "{pieces:?} {seen:?}");
        }
    }
}

/// Where messages end by the guard alone, and whether it refused.
fn by_guard(bytes: &[u8]) -> (usize, bool) {
    let mut guard = Guard::default();
    let (mut ends, mut inside) = (0, false);
    for byte in bytes.chunks(1) {
        if guard.watch(byte).is_err() {
            return (ends, true);
        }
        let was_inside = std::mem::replace(&mut inside, guard.is_in_head() || guard.is_in_body());
        ends += usize::from(was_inside && !inside);
    }
    (ends, false)
}

/// Pieces of requests, sound and not, in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "GET /a HTTP/1.1\r\n", "POST /b HTTP/1.1\r\n", "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /d HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "GET /e HTTP/1.0\r\n", "HEAD /f HTTP/1.1\r\n\r\n",
            "Host: a\r\n", "Content-Length: 5\r\n", "content-length: 0\r\n", "Transfer-Encoding: chunked\r\n", "A: b\r\n",
            "Expect: 100-continue\r\n", "Connection: close\r\n", "Upgrade: x\r\nConnection: upgrade\r\n", "\r\n", "\r\n\r\n",
            "0\r\n\r\n", "0\r\n", "5\r\nhello\r\n", "5;a=b\r\nhello\r\n", "hello", "5 \r\n", "\n", "\r", "\0", "#", " ", ":", ";", "0",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// The library hands over no message that the guard has not seen to its end; and where both accept, as many.
    #[test]
    fn the_library_and_the_guard_see_the_same_messages(bytes in fragments(), cut in 1usize..40) {
        let (ends, refused) = by_guard(&bytes);
        let seen = serve(bytes.chunks(cut));
        prop_assert!(seen.complete() <= ends, "{:?}", seen);
        prop_assert_eq!(seen.written.contains('\0'), false);
        if refused {
            prop_assert!(seen.closed, "{:?}", seen);
        }
        if !refused && !seen.closed {
            prop_assert_eq!(seen.complete(), ends, "{:?}", seen);
        }
    }
}
