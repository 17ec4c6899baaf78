//! A bound on something counted: requests, bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::upstream::again::Allowance;

/// Counts up to a limit. Clones share the count.
#[derive(Clone, Debug)]
pub struct Gate {
    count: Arc<Count>,
}

#[derive(Debug)]
struct Count {
    used: AtomicUsize,
    limit: AtomicUsize,
}

/// A share of a [`Gate`], given back on drop.
#[derive(Debug)]
pub struct Share {
    count: Arc<Count>,
    amount: usize,
}

impl Gate {
    /// A gate that lets `limit` through.
    pub fn new(limit: usize) -> Self {
        Self { count: Arc::new(Count { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }) }
    }

    /// Changes the limit; what is used stays used.
    pub fn set_limit(&self, limit: usize) {
        self.count.limit.store(limit, Ordering::Relaxed);
    }

    /// How much is used now.
    pub fn used(&self) -> usize {
        self.count.used.load(Ordering::Relaxed)
    }

    /// Takes a share, or nothing when it would pass the limit.
    pub fn take(&self, amount: usize) -> Option<Share> {
        let mut share = Share { count: self.count.clone(), amount: 0 };
        share.grow(amount).then_some(share)
    }
}

impl Share {
    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Takes more; `false`, and no more, when that would pass the limit.
    pub fn grow(&mut self, more: usize) -> bool {
        let before = self.count.used.fetch_add(more, Ordering::Relaxed);
        let fits = before.saturating_add(more) <= self.count.limit.load(Ordering::Relaxed);
        if fits {
            self.amount += more;
        } else {
            self.count.used.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }
}

impl Allowance for Share {
    fn grow(&mut self, more: usize) -> bool {
        Self::grow(self, more)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        let mut again = gate.take(1).unwrap();
        assert!(!again.grow(1) && again.amount() == 1);
        drop((two, again));
        assert_eq!(gate.used(), 0);
    }
}
