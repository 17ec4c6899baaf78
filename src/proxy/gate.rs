//! A bound on something counted: requests, bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts up to a limit. Clones share the count.
#[derive(Clone, Debug)]
pub struct Gate {
    used: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

/// A share of a [`Gate`], given back on drop.
#[derive(Debug)]
pub struct Share {
    used: Arc<AtomicUsize>,
    amount: usize,
}

impl Gate {
    /// A gate that lets `limit` through.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit: Arc::new(AtomicUsize::new(limit)) }
    }

    /// Changes the limit; what is used stays used.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How much is used now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a share, or nothing when it would pass the limit.
    pub fn take(&self, amount: usize) -> Option<Share> {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let share = Share { used: self.used.clone(), amount };
        (before.saturating_add(amount) <= self.limit.load(Ordering::Relaxed)).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_at_its_bound() {
        let gate = Gate::new(2);
        let one = gate.take(1);
        let two = gate.take(1);
        assert!(one.is_some() && two.is_some());
        assert!(gate.take(1).is_none());
        assert_eq!(gate.used(), 2);
        drop(one);
        assert!(gate.take(1).is_some());
    }
}
