//! Who is woken for a connection that has no task of its own: whoever uses it now, else nobody. Caller: `http1`.
//!
//! The library keeps the waker that it was polled with. With one for the life of the connection there is nothing to
//! exchange at each use, and nothing of an earlier request is left to be woken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The waker of one connection.
#[derive(Debug)]
pub(super) struct Relay {
    to: Arc<Target>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Target(Mutex<Option<Waker>>);

impl Relay {
    /// Wakes nobody.
    pub(super) fn new() -> Self {
        let to = Arc::<Target>::default();
        Self { waker: to.clone().into(), to }
    }

    /// What the connection is polled with.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// From now on this task is woken.
    pub(super) fn lead_to(&self, task: &Waker) {
        let mut target = self.to.target();
        if !target.as_ref().is_some_and(|now| now.will_wake(task)) {
            *target = Some(task.clone());
        }
    }

    /// From now on nobody is woken.
    pub(super) fn end(&self) {
        *self.to.target() = None;
    }
}

impl Target {
    fn target(&self) -> MutexGuard<'_, Option<Waker>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Woken without the lock: whose waker it is is not known here.
        let task = self.target().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_of_now_is_woken_and_no_other() {
        let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
        let counts = || (first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed));
        let relay = Relay::new();
        // As the library keeps it.
        let kept = relay.waker().clone();
        kept.wake_by_ref();
        assert_eq!(counts(), (0, 0));
        relay.lead_to(&first.clone().into());
        kept.wake_by_ref();
        assert_eq!(counts(), (1, 0));
        relay.lead_to(&second.clone().into());
        kept.wake_by_ref();
        assert_eq!(counts(), (1, 1));
        relay.end();
        kept.wake();
        assert_eq!(counts(), (1, 1));
        assert!(relay.waker().will_wake(&relay.waker().clone()));
    }
}
