//! What was taken of a streamed body and can be sent once more, for an upstream that says afterwards that it has
//! processed none of the request (RFC 9113 section 8.7).
//!
//! It is kept within two bounds: one for each body, and an [`Allowance`] for all that is held. Whether a request may be
//! sent once more is not decided here. Caller: `body`.

use std::fmt::Debug;

use bytes::Bytes;

/// Room among all bodies that are held; given back on drop.
pub trait Allowance: Debug + Send {
    /// Takes more, in bytes; `false`, and no more, when there is no room.
    fn grow(&mut self, more: usize) -> bool;
}

/// The parts that were taken from the start of a body. They are shared with whoever sends them.
#[derive(Debug)]
pub struct Again {
    parts: Vec<Bytes>,
    length: usize,
    /// What the allowance has given; a body that is sent once more needs no more of it.
    granted: usize,
    limit: usize,
    allowance: Box<dyn Allowance>,
}

impl Again {
    /// Keeps `limit` bytes at most.
    pub fn new(limit: usize, allowance: impl Allowance + 'static) -> Self {
        Self { parts: Vec::new(), length: 0, granted: 0, limit, allowance: Box::new(allowance) }
    }

    /// Keeps one more part; `false` when it is too much.
    pub(super) fn keep(&mut self, part: &Bytes) -> bool {
        let length = self.length.saturating_add(part.len());
        if length > self.limit {
            return false;
        }
        let more = length.saturating_sub(self.granted);
        if more > 0 && !self.allowance.grow(more) {
            return false;
        }
        self.granted += more;
        self.length = length;
        self.parts.push(part.clone());
        true
    }

    /// All parts in order, to be taken anew.
    pub(super) fn rewind(&mut self) -> Vec<Bytes> {
        self.length = 0;
        std::mem::take(&mut self.parts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Room for some bytes, and how much of it is taken.
    #[derive(Debug)]
    struct Room(usize, Arc<AtomicUsize>);

    impl Allowance for Room {
        fn grow(&mut self, more: usize) -> bool {
            let fits = self.1.load(Ordering::SeqCst) + more <= self.0;
            self.1.fetch_add(if fits { more } else { 0 }, Ordering::SeqCst);
            fits
        }
    }

    #[test]
    fn it_keeps_what_both_bounds_allow() {
        for (limit, room) in [(5, 100), (100, 5)] {
            let taken = Arc::default();
            let mut again = Again::new(limit, Room(room, Arc::clone(&taken)));
            assert!(again.keep(&Bytes::from_static(b"abc")));
            assert!(again.keep(&Bytes::from_static(b"de")));
            assert!(!again.keep(&Bytes::from_static(b"f")), "{limit} {room}");
            assert_eq!(again.rewind(), ["abc", "de"]);
            // Once more the same, which takes no more room.
            assert!(again.keep(&Bytes::from_static(b"abcde")));
            assert!(!again.keep(&Bytes::from_static(b"f")));
            assert_eq!(taken.load(Ordering::SeqCst), 5);
        }
    }
}
