//! The named steps of a refresh. A kill between any two of them must lose nothing that was committed; tests stop there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Where a refresh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The record was read and a call is wanted.
    Wanted,
    /// The lease and the intent are stored; nothing was sent.
    Claimed,
    /// The platform answered; nothing of it is stored.
    Answered,
    /// The answer is stored; nobody uses it yet.
    Committed,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 4] = [Self::Wanted, Self::Claimed, Self::Answered, Self::Committed];
}

/// Is told of each step and may hold it up. Used by tests.
pub trait Steps: Send + Sync + fmt::Debug {
    /// A refresh has come to `step`.
    fn reached(&self, step: Step) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
