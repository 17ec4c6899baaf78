//! Accepts connections of the admin and health listeners and holds their limits.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Kind, Source, api};

/// Open connections of one listener; more wait in the system's backlog.
pub(super) const CONNECTION_LIMIT: usize = 64;
/// Bytes of a request head.
const HEAD_LIMIT: usize = 16 * 1024;
/// Headers of a request.
const HEADER_LIMIT: usize = 64;
/// How long a client may take for a request head, and be idle before one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest life of a connection (the answer in flight is finished), so that readers that stand still cannot hold all of them.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How long an answer in flight may take once its connection is to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is done, then finishes the answers in flight (at most 2 s).
pub async fn serve(listener: TcpListener, kind: Kind, source: Arc<dyn Source>, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, slot) = accepted;
        let (source, stopping) = (source.clone(), stopping.clone());
        connections.spawn(async move {
            let _slot = slot;
            serve_connection(stream, kind, source, stopping).await;
        });
    }
    drop(listener);
    drop(stop); // every connection sees it and ends after its answer
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_LIMIT, finish).await; // what is left is aborted by dropping the set
}

type Slot = Option<tokio::sync::OwnedSemaphorePermit>;

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Slot) {
    let slot = slots.clone().acquire_owned().await.ok(); // never closed
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, kind: Kind, source: Arc<dyn Source>, mut stopping: watch::Receiver<()>) {
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(move |request| {
        let source = source.clone();
        async move { Ok::<_, Infallible>(api::answer(request, kind, local.ip(), &*source).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return, // an error is the client's: it went away or sent no HTTP
        _ = stopping.changed() => {}
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(STOP_LIMIT, connection).await; // over its time, it is dropped
}
