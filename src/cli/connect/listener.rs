//! The listener that a browser comes back to: one path, one approval. What is not that approval is answered and waited
//! out, so that nobody who finds the port can end it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::admin::{Answer, callback};
use crate::cli::connections::opened::ended;
use crate::refresh::Tokens;
use crate::refresh::approve::{ApproveError, Connected};
use crate::server::connections::of_approval;
use crate::token::approve::Callback;

/// Connections at one time.
const CONNECTIONS: usize = 16;
/// How long a browser may take for a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request head: the code of some platforms is long.
const HEAD_LIMIT: usize = 64 * 1024;
/// How long the last page may take to reach the browser.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The path of `redirect_url`.
    pub(super) path: String,
    /// The state of the approval that this command began.
    pub(super) state: String,
}

type Outcome = Result<Connected, ApproveError>;

/// Serves until the approval was finished, one way or the other.
pub(super) async fn wait(listener: TcpListener, wanted: Wanted, tokens: Arc<Tokens>) -> anyhow::Result<Connected> {
    let (wanted, slots) = (Arc::new(wanted), Arc::new(Semaphore::new(CONNECTIONS)));
    let (done, mut outcome) = mpsc::channel::<Outcome>(1);
    let mut connections = JoinSet::new();
    let finished = loop {
        tokio::select! {
            Some(finished) = outcome.recv() => break finished,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener, &slots) => {
                let (stream, slot) = stream?;
                let (wanted, tokens, done) = (wanted.clone(), tokens.clone(), done.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    serve(stream, wanted, tokens, done).await;
                });
            }
        }
    };
    drop(listener);
    let pages = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_PAGE, pages).await; // the page is a courtesy, the approval is stored
    finished.map_err(|error| ended(of_approval(&error)).into())
}

type Slot = Option<tokio::sync::OwnedSemaphorePermit>;

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> std::io::Result<(TcpStream, Slot)> {
    let slot = slots.clone().acquire_owned().await.ok(); // never closed
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn serve(stream: TcpStream, wanted: Arc<Wanted>, tokens: Arc<Tokens>, done: mpsc::Sender<Outcome>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (wanted, tokens, done) = (wanted.clone(), tokens.clone(), done.clone());
        async move { Ok::<_, Infallible>(answer(&request, &wanted, &tokens, &done).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await; // an error is the browser's: it went away or sent no HTTP
}

async fn answer<B>(request: &Request<B>, wanted: &Wanted, tokens: &Tokens, done: &mpsc::Sender<Outcome>) -> Answer {
    if request.method() != Method::GET || request.uri().path() != wanted.path {
        return callback::nothing();
    }
    let query = request.uri().query().unwrap_or_default();
    // Its own name stands in for the code's: only the state counts here.
    let state = Callback::read(query, "state").map(|callback| callback.state).unwrap_or_default();
    if !bool::from(state.as_bytes().ct_eq(wanted.state.as_bytes())) {
        return callback::failed("This is not the approval that was begun here.");
    }
    let outcome = tokens.finish_approval(query).await;
    // A copy of a callback that is being dealt with ends nothing.
    if matches!(outcome, Err(ApproveError::Spent)) {
        return callback::failed("This approval was finished already.");
    }
    let page = match &outcome {
        Ok(connected) => {
            let tenant = Some(&*connected.record.key.tenant).filter(|tenant| !tenant.is_empty());
            callback::approved(&connected.record.key.credential, tenant)
        }
        Err(error) => callback::failed(&of_approval(error).message),
    };
    let _ = done.send(outcome).await; // whoever waited has gone, with the command
    page
}
