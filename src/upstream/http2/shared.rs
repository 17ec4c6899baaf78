//! The HTTP/2 connections of one origin: which has a free stream, whether to open one more, when one ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::super::error::{Fault, UpstreamError};
use super::super::pool::{Freshness, MAX_AGE, Origin};
use super::stream::StreamUse;

/// Connections to one origin that take requests, at most; those that only finish what they have are apart. Over
/// it a request waits for a free stream, within `timeouts.connect`.
const CONNECTIONS: usize = 64;
/// Requests on one connection at most, whatever the upstream allows: what one broken connection takes with it.
const STREAMS: usize = 100;
/// How long it is remembered that an upstream ends its connections after some requests. Then one connection finds out.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Fewer requests than this on a connection are no habit of the upstream, but a restart.
const HABIT: usize = 10;
/// What the library takes for the upstream's limit until its SETTINGS came, which are 32 bits wide.
pub(super) const UNKNOWN: usize = usize::MAX - 1;

/// The connections of one origin.
#[derive(Debug, Default)]
pub(in super::super) struct Shared {
    state: Mutex<State>,
    /// A stream was freed, a connection was opened, or an attempt has ended.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Those that may take requests.
    open: Vec<Entry>,
    connecting: usize,
    /// Whether others wait for one of those that are connecting.
    led: bool,
    failures: u64,
    /// How many requests the upstream has taken on a connection before it ended that one and left others
    /// unprocessed, and when. Connections get no more than that for [`REMEMBERED`].
    taken: Option<(usize, Instant)>,
}

/// A connection that may take requests. Dropped it takes no more, and closes when it has none.
#[derive(Debug)]
struct Entry {
    sender: Option<SendRequest<Bytes>>,
    control: Arc<Control>,
}

/// What requests, the pool and the task of one connection know of it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) peer_is_local: bool,
    opened: Instant,
    streams: AtomicUsize,
    /// Requests that it was given, ever.
    begun: AtomicUsize,
    /// Those of them that the upstream did not process when it ended the connection.
    unprocessed: AtomicUsize,
    /// Until when it may be without a request.
    until: Mutex<Instant>,
    /// Whether the request that has opened it was sent: it goes first, so that it is never the one too many.
    taken_up: AtomicBool,
    /// Takes no new request.
    draining: AtomicBool,
    /// Something above changed that the task must look at.
    pub(super) wake: Notify,
    /// Why the task gave up.
    pub(super) lost: OnceLock<String>,
}

/// What a request does next.
pub(in super::super) enum Turn {
    /// It is sent on this.
    Stream(StreamUse),
    /// It connects.
    Connect(Connecting),
    /// It waits until something has changed.
    Wait,
}

/// A connection is being made. Dropped it has failed by no fault of the upstream.
#[derive(Debug)]
pub(in super::super) struct Connecting {
    shared: Arc<Shared>,
    leading: Option<Leading>,
}

/// Others wait for this connection.
#[derive(Debug)]
pub(super) struct Leading {
    shared: Arc<Shared>,
}

impl Shared {
    /// Resolves when something has changed; made before looking, so that nothing is missed.
    pub(in super::super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Attempts that failed so far.
    pub(in super::super) fn failures(&self) -> u64 {
        self.lock().failures
    }

    /// What a request may do. `failures` is what it has seen when it began to wait.
    pub(in super::super) fn turn(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        freshness: Freshness,
        failures: u64,
        unused_for: Duration,
    ) -> Turn {
        let mut state = self.lock();
        if origin.is_retired() {
            state.open.clear();
            return Turn::Connect(self.connecting(&mut state, None));
        }
        let most = state.most();
        state.open.retain_mut(|entry| entry.is_usable() && entry.control.begun() < most);
        let full = state.open.len() + state.connecting >= CONNECTIONS;
        if freshness.takes_used() || full {
            let free = state.open.iter().find(|entry| entry.has_room());
            if let Some(stream) = free.and_then(|entry| entry.take(origin, unused_for)) {
                return Turn::Stream(stream);
            }
        }
        if full || (state.led && freshness.takes_used() && state.failures == failures) {
            return Turn::Wait;
        }
        let leads = freshness.takes_used() && !state.led;
        let leading = leads.then(|| Leading { shared: self.clone() });
        state.led |= leads;
        Turn::Connect(self.connecting(&mut state, leading))
    }

    fn connecting(self: &Arc<Self>, state: &mut State, leading: Option<Leading>) -> Connecting {
        state.connecting += 1;
        Connecting { shared: self.clone(), leading }
    }

    /// Why a request that has waited for its whole time had no stream, where it is not that nobody could connect.
    pub(in super::super) fn all_in_use(&self) -> Option<UpstreamError> {
        let state = self.lock();
        (state.open.len() >= CONNECTIONS).then(|| {
            let why = format!("all streams of {CONNECTIONS} HTTP/2 connections are in use (timeouts.connect)");
            UpstreamError::new(Fault::Full, why)
        })
    }

    /// A new connection takes requests from now on; the first of them is the returned one.
    pub(super) fn add(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        sender: SendRequest<Bytes>,
        control: Arc<Control>,
        unused_for: Duration,
    ) -> StreamUse {
        let stream = StreamUse::new(sender.clone(), control.clone(), origin.clone(), unused_for);
        let entry = Entry { sender: Some(sender), control };
        if !origin.is_retired() {
            self.lock().open.push(entry);
        }
        stream
    }

    /// The upstream has ended a connection and left one more of its requests unprocessed.
    pub(super) fn left_unprocessed(&self, control: &Control) {
        let left = control.unprocessed.fetch_add(1, Ordering::SeqCst) + 1;
        let taken = control.begun().saturating_sub(left);
        if taken >= HABIT {
            self.lock().taken = Some((taken, Instant::now()));
        }
    }

    /// A request has ended.
    pub(super) fn release(&self, origin: &Origin, control: &Control, unused_for: Duration) {
        *lock(&control.until) = Instant::now() + unused_for;
        if control.streams.fetch_sub(1, Ordering::SeqCst) == 1 {
            origin.uncount_active();
            if control.is_draining() {
                control.wake.notify_one();
            }
        }
        self.changed.notify_one();
    }

    /// Connections without a request.
    pub(in super::super) fn idle(&self) -> usize {
        self.lock().open.iter().filter(|entry| entry.control.streams() == 0).count()
    }

    /// Ends what is over its time, what the upstream has ended, and everything of an identity that is retired.
    pub(in super::super) fn sweep(&self, retired: bool) {
        self.lock().open.retain_mut(|entry| !retired && entry.is_usable());
    }

    /// Every connection closes when it has no request.
    pub(in super::super) fn close(&self) {
        self.lock().open.clear();
    }

    /// Wakes everybody who waits.
    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Requests that a connection may be given, ever.
    fn most(&self) -> usize {
        match self.taken {
            Some((taken, when)) if when.elapsed() < REMEMBERED => taken,
            _ => usize::MAX,
        }
    }
}

impl Entry {
    fn is_usable(&mut self) -> bool {
        let now = Instant::now();
        let control = &self.control;
        let in_time = control.opened + MAX_AGE > now && (control.streams() > 0 || *lock(&control.until) > now);
        // Nothing waits for this answer: it says whether the connection is over or got GOAWAY.
        let mut cx = Context::from_waker(Waker::noop());
        let open = self.sender.as_mut().is_some_and(|sender| matches!(sender.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        in_time && open && !control.is_draining()
    }

    /// Whether one more request may be sent. Before the upstream's SETTINGS it is the one that opened it.
    fn has_room(&self) -> bool {
        let allowed = match self.sender.as_ref().map_or(0, SendRequest::current_max_send_streams) {
            UNKNOWN => 1,
            allowed => allowed.min(STREAMS),
        };
        self.control.is_taken_up() && self.control.streams() < allowed
    }

    fn take(&self, origin: &Arc<Origin>, unused_for: Duration) -> Option<StreamUse> {
        let sender = self.sender.clone()?;
        Some(StreamUse::new(sender, self.control.clone(), origin.clone(), unused_for))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sender = None;
        self.control.drain();
    }
}

impl Control {
    pub(super) fn new(peer_is_local: bool) -> Self {
        let now = Instant::now();
        Self {
            peer_is_local,
            opened: now,
            streams: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            unprocessed: AtomicUsize::new(0),
            until: Mutex::new(now),
            taken_up: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            wake: Notify::new(),
            lost: OnceLock::new(),
        }
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }

    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Counts one more request.
    pub(super) fn begin(&self, origin: &Origin) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.streams.fetch_add(1, Ordering::SeqCst) == 0 {
            origin.count_active();
        }
    }

    /// The request that has opened the connection was sent, or never will be.
    pub(super) fn taken_up(&self) {
        if !self.taken_up.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    pub(super) fn is_taken_up(&self) -> bool {
        self.taken_up.load(Ordering::SeqCst)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// It takes no new request, and its task closes it when it has none.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl Connecting {
    /// The upstream is to blame: nobody waits for anybody until the next success.
    pub(in super::super) fn fail(self) {
        self.shared.lock().failures += 1;
    }

    /// There is a connection; who leads goes on until the upstream's SETTINGS say how many may follow.
    pub(super) fn done(mut self) -> Option<Leading> {
        self.leading.take()
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.shared.lock().connecting -= 1;
        self.shared.tell();
    }
}

impl Leading {
    /// The connection ended before it could be used by others.
    pub(super) fn fail(self) {
        self.shared.lock().failures += 1;
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.shared.lock().led = false;
        self.shared.tell();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held; should it ever, the data is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
