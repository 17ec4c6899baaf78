//! An HTTP/2 connection: opened with bounds on all that its peer can make us hold, then driven by a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::super::connect::Connected;
use super::super::error::UpstreamError;
use super::super::pool::Origin;
use super::fault;
use super::shared::{Connecting, Control, Leading, Shared, UNKNOWN};
use super::stream::StreamUse;

/// Bytes of a head at most, as on HTTP/1.1.
const HEADER_LIST: u32 = 64 * 1024;
/// What one answer may send ahead of its worker, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all answers of a connection together may. A worker that does not read keeps a whole stream window, so it
/// takes sixteen of them to stall the others; the worker's side, where each connection is one client's, has a quarter.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What a request's body may send ahead of the connection, in bytes; beyond that its worker waits.
const SEND_BUFFER: usize = 128 * 1024;
/// How long a connection that nobody uses any more takes to say so.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// How a connection is found dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// Between an answer to a PING and the next one, while requests are under way.
    pub(super) every: Duration,
    /// For the answer, and for the first SETTINGS.
    pub(super) patience: Duration,
}

const BEAT: Beat = Beat { every: Duration::from_secs(20), patience: Duration::from_secs(10) };

/// Speaks HTTP/2 on a fresh connection; the returned use is that of the request that has made it.
pub(in super::super) async fn open(
    connected: Connected,
    origin: &Arc<Origin>,
    connecting: Option<Connecting>,
    unused_for: Duration,
) -> Result<StreamUse, UpstreamError> {
    let control = Arc::new(Control::new(connected.is_local));
    let opened = settings().handshake::<_, Bytes>(connected.stream).await;
    let (sender, connection) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            connecting.into_iter().for_each(Connecting::fail);
            return Err(fault::classify(&error, &control, "opening the connection"));
        }
    };
    let stream = origin.shared().add(origin, sender, control.clone(), unused_for);
    let leading = connecting.and_then(Connecting::done);
    tokio::spawn(drive(connection, control, leading, Arc::downgrade(origin.shared()), BEAT));
    Ok(stream)
}

/// The library's budgets for resets and CONTINUATION frames stand.
pub(super) fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNKNOWN)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// The task of a connection, to its end. `leading` are those who wait for the upstream's SETTINGS.
pub(super) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
    control: Arc<Control>,
    mut leading: Option<Leading>,
    shared: Weak<Shared>,
    beat: Beat,
) {
    let mut dead = pin!(dead(connection.ping_pong(), &control, beat));
    let mut silent = pin!(sleep(beat.patience));
    let settled = AtomicBool::new(false);
    let mut gathered = false;
    loop {
        let waits = !settled.load(Relaxed);
        let moved = poll_fn(|cx| {
            // First the turn of others that are ready: what they send leaves in one write.
            gathered = !gathered;
            if gathered {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let polled = Pin::new(&mut connection).poll(cx);
            if !settled.load(Relaxed) && connection.max_concurrent_send_streams() != UNKNOWN {
                settled.store(true, Relaxed);
            }
            if settled.load(Relaxed) && control.is_taken_up() {
                leading = None;
            }
            polled
        });
        tokio::select! {
            biased;
            _ended = moved => break,
            () = control.wake.notified() => {
                if control.is_draining() && control.streams() == 0 {
                    // The library says GOAWAY and closes once nobody holds the connection any more.
                    let _ = timeout(CLOSE_WAIT, &mut connection).await;
                    break;
                }
            }
            () = &mut dead => {
                let _ = control.lost.set(format!("the upstream answered no PING within {:?}", beat.patience));
                break;
            }
            () = &mut silent, if waits => {
                // They may have come since the branch was taken up.
                if settled.load(Relaxed) {
                    continue;
                }
                let _ = control.lost.set(format!("the upstream sent no SETTINGS within {:?}", beat.patience));
                break;
            }
        }
    }
    // Ends what is under way; whoever waits looks again.
    drop(connection);
    control.drain();
    leading.into_iter().for_each(Leading::fail);
    if let Some(shared) = shared.upgrade() {
        shared.tell();
    }
}

/// Resolves when a PING had no answer. There are none while nothing is under way: an idle connection is only
/// closed in time.
async fn dead(ping: Option<PingPong>, control: &Control, beat: Beat) {
    let Some(mut ping) = ping else { return std::future::pending().await };
    loop {
        sleep(beat.every).await;
        if control.streams() == 0 {
            continue;
        }
        match timeout(beat.patience, ping.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            // The connection itself has ended.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_elapsed) => return,
        }
    }
}
