//! One connection between this side and the library's server, in memory.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::super::address::Naming;
use super::super::body::{Progress, RequestBody};
use super::super::connect::{Destination, Security};
use super::super::error::Fault;
use super::super::lease::{Answer, Patience, SendFailure, Trailers};
use super::super::pool::{Freshness, Origin};
use super::connection::{Beat, drive, settings};
use super::shared::{Control, Turn};
use super::stream::StreamUse;

const LONG: Duration = Duration::from_secs(20);
const NEVER: Beat = Beat { every: LONG, patience: LONG };

fn origin() -> Arc<Origin> {
    let naming = Naming::Name;
    let destination =
        Destination { host: "api.test".into(), port: 443, naming, egress: None, security: Security::Impossible };
    Arc::new(Origin::new(destination, None))
}

/// A connection over this pipe, as the request has it that leads.
async fn opened(origin: &Arc<Origin>, io: DuplexStream, beat: Beat) -> (StreamUse, Arc<Control>) {
    let Turn::Connect(connecting) = turn(origin) else { panic!("it is the first") };
    let (sender, connection) = settings().handshake(io).await.unwrap();
    let control = Arc::new(Control::new(true));
    let stream = origin.shared().add(origin, sender, control.clone(), LONG);
    let shared = Arc::downgrade(origin.shared());
    tokio::spawn(drive(connection, control.clone(), connecting.done(), shared, beat));
    (stream, control)
}

fn turn(origin: &Arc<Origin>) -> Turn {
    origin.shared().turn(origin, Freshness::Any, origin.shared().failures(), LONG)
}

async fn send(stream: StreamUse) -> Result<Answer, SendFailure> {
    let request = Request::builder().uri("/").header("host", "api.test").body(RequestBody::Empty).unwrap();
    let progress = Arc::new(Progress::default());
    progress.finish();
    let patience = Patience { since: tokio::time::Instant::now(), response: None, body: None };
    timeout(LONG, stream.send(request, &progress, patience, Trailers::Welcome)).await.unwrap()
}

/// Handles one request and then goes on as long as the other side does.
fn serve(io: DuplexStream, handle: impl FnOnce(SendResponse<Bytes>) + Send + 'static) {
    tokio::spawn(async move {
        let mut http = server::handshake(io).await.unwrap();
        let (request, respond) = http.accept().await.unwrap().unwrap();
        assert_eq!(request.headers()["te"], "trailers");
        handle(respond);
        while http.accept().await.is_some() {}
    });
}

fn trailers() -> HeaderMap {
    let fields = [("grpc-status", "5"), ("grpc-message", "gone"), ("content-length", "9"), ("countersign-error", "x")];
    fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[tokio::test]
async fn trailers_of_an_answer_pass_without_those_that_may_not() {
    let (io, peer) = duplex(1 << 16);
    let origin = origin();
    serve(peer, |mut respond| {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"data"), false).unwrap();
        body.send_trailers(trailers()).unwrap();
    });
    let (stream, control) = opened(&origin, io, NEVER).await;
    assert_eq!((origin.active(), origin.idle()), (1, 0));
    let mut body = send(stream).await.unwrap().into_body();
    let mut frames = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        frames.push(frame.unwrap());
    }
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].data_ref().unwrap(), "data");
    let fields = frames[1].trailers_ref().unwrap();
    assert_eq!(fields.len(), 2);
    assert!(fields["grpc-status"] == "5" && fields["grpc-message"] == "gone");
    assert!(body.is_end_stream());
    assert_eq!((control.streams(), origin.active(), origin.idle()), (0, 0, 1));
}

#[tokio::test]
async fn the_request_that_has_opened_a_connection_goes_first() {
    let (io, peer) = duplex(1 << 16);
    let origin = origin();
    serve(peer, |mut respond| {
        respond.send_response(Response::new(()), true).unwrap();
    });
    let (stream, _control) = opened(&origin, io, NEVER).await;
    // One thread: after so many turns both sides have exchanged SETTINGS.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(turn(&origin), Turn::Wait));
    let _answer = send(stream).await.unwrap();
    assert!(matches!(turn(&origin), Turn::Stream(_)));
}

#[tokio::test]
async fn a_connection_whose_pings_stay_without_an_answer_is_given_up() {
    let (io, mut peer) = duplex(1 << 16);
    tokio::spawn(async move {
        // SETTINGS and nothing more, ever.
        peer.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        while peer.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
    });
    let origin = origin();
    let beat = Beat { every: Duration::from_millis(10), patience: Duration::from_millis(50) };
    let (stream, control) = opened(&origin, io, beat).await;
    let error = send(stream).await.unwrap_err().error;
    assert_eq!(error.fault, Fault::Unreachable);
    assert!(error.detail.contains("no PING"), "{error}");
    assert!(control.is_draining());
    assert!(matches!(turn(&origin), Turn::Connect(_)), "nobody gets it");
}

#[tokio::test]
async fn others_wait_for_the_settings_and_not_for_a_peer_that_sends_none() {
    let (io, mut peer) = duplex(1 << 16);
    tokio::spawn(async move { while peer.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {} });
    let origin = origin();
    let failures = origin.shared().failures();
    let beat = Beat { every: LONG, patience: Duration::from_millis(50) };
    let (stream, _control) = opened(&origin, io, beat).await;
    let waiting = origin.shared().changed();
    assert!(matches!(turn(&origin), Turn::Wait));
    let error = send(stream).await.unwrap_err().error;
    assert!(error.detail.contains("no SETTINGS"), "{error}");
    timeout(LONG, waiting).await.unwrap();
    // After a failure nobody waits for another who connects.
    let again = || origin.shared().turn(&origin, Freshness::Any, failures, LONG);
    let (first, second) = (again(), again());
    assert!(matches!((&first, &second), (Turn::Connect(_), Turn::Connect(_))));
}

#[tokio::test]
async fn a_leader_that_goes_away_leaves_the_lead_to_another() {
    let origin = origin();
    let first = turn(&origin);
    assert!(matches!(first, Turn::Connect(_)));
    let waiting = origin.shared().changed();
    assert!(matches!(turn(&origin), Turn::Wait));
    drop(first);
    timeout(LONG, waiting).await.unwrap();
    assert!(matches!(turn(&origin), Turn::Connect(_)));
}

#[tokio::test]
async fn over_the_bound_of_connections_a_request_waits() {
    let origin = origin();
    // Each fails to count as led, as after failures.
    let new = || origin.shared().turn(&origin, Freshness::New, 0, LONG);
    let held: Vec<Turn> = (0..64).map(|_| new()).collect();
    assert!(held.iter().all(|turn| matches!(turn, Turn::Connect(_))));
    assert!(matches!(new(), Turn::Wait));
    drop(held);
    assert!(matches!(new(), Turn::Connect(_)));
}
