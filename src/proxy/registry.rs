//! Every open connection of a worker, so that a drain or long silence can end it without a timer per connection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use super::rest::Awake;
use super::worker_io::Activity;

/// Sweeps without a request after which a connection is closed; there is one a second.
const IDLE_SWEEPS: u32 = 600;
/// Sweeps without a request after which a connection rests.
const REST_SWEEPS: u32 = 1;

/// All open connections.
#[derive(Debug, Default)]
pub struct Registry {
    /// Those that HTTP is put up around.
    pub awake: Awake,
    open: Mutex<Vec<Weak<Ending>>>,
    draining: AtomicBool,
}

/// How one connection is told to end after its answer.
#[derive(Debug)]
pub struct Ending {
    activity: Arc<Activity>,
    told: AtomicBool,
    cut: AtomicBool,
    waker: OnceLock<Waker>,
    seen: AtomicU64,
    idle_sweeps: AtomicU32,
}

impl Registry {
    /// Takes a connection in.
    pub fn add(&self, activity: Arc<Activity>) -> Arc<Ending> {
        let ending = Arc::new(Ending {
            activity,
            told: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: OnceLock::new(),
            seen: AtomicU64::new(u64::MAX),
            idle_sweeps: AtomicU32::new(0),
        });
        self.list().push(Arc::downgrade(&ending));
        // After the push: a drain that began meanwhile has either seen it or is seen here.
        if self.draining.load(Ordering::SeqCst) {
            ending.tell();
        }
        ending
    }

    /// Ends every connection after the answer it is writing, those to come included.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.list().iter().filter_map(Weak::upgrade).for_each(|ending| ending.tell());
    }

    /// The deadline of a drain: ends tunnels, which have no answer to end after.
    pub fn cut(&self) {
        self.list().iter().filter_map(Weak::upgrade).for_each(|ending| {
            ending.cut.store(true, Ordering::Relaxed);
            ending.tell();
        });
    }

    /// Forgets what is closed and ends what has been idle for long. Called once a second.
    pub fn sweep(&self) {
        let mut list = self.list();
        list.retain(|one| match one.upgrade() {
            Some(ending) => {
                ending.look();
                true
            }
            None => false,
        });
        if list.capacity() > 4 * list.len() + 64 {
            list.shrink_to_fit();
        }
    }

    /// Open connections, as of the last sweep.
    pub fn open(&self) -> usize {
        self.list().iter().filter(|one| one.strong_count() > 0).count()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Weak<Ending>>> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// Whether the connection is to end now.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// Whether a tunnel is to end now.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Leaves the waker of the connection's task, which stays the same for its life.
    pub fn wake_with(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Waits until the connection is to end. For the connection's own task alone.
    pub async fn told(&self) {
        std::future::poll_fn(|cx| {
            self.wake_with(cx.waker());
            if self.is_told() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    fn tell(&self) {
        self.told.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn look(&self) {
        let now = self.activity.idle_after().unwrap_or(u64::MAX);
        if now == u64::MAX || now != self.seen.swap(now, Ordering::Relaxed) {
            self.idle_sweeps.store(0, Ordering::Relaxed);
        } else {
            match self.idle_sweeps.fetch_add(1, Ordering::Relaxed) {
                REST_SWEEPS => {
                    self.activity.let_rest();
                    self.wake();
                }
                IDLE_SWEEPS.. => self.tell(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_connection_is_told_to_end_and_a_drain_tells_all() {
        let registry = Registry::default();
        let activity = Activity::new();
        let silent = registry.add(activity.clone());
        for _ in 0..=IDLE_SWEEPS {
            registry.sweep();
        }
        assert!(!silent.is_told());
        registry.sweep();
        assert!(silent.is_told());

        let busy = registry.add(Activity::new());
        registry.drain();
        assert!(busy.is_told());
        assert!(registry.add(Activity::new()).is_told());
        drop((silent, busy));
        registry.sweep();
        assert_eq!(registry.open(), 0);
    }
}
