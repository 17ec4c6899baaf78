//! What is known of upstreams that ask for Digest: the nonces under which requests may be signed at once, and who counts
//! under them. It lies beside the secrets that it is used with ([`crate::snapshot::credential::Value`]), so that a
//! rotated password begins with nothing. No time and no randomness of its own. Caller: the request path.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use super::challenge::{Challenge, next_nonce};

/// Origins that are remembered under one set of secrets; the one that was learned first makes way.
const ORIGINS: usize = 64;
/// Nonces kept of an origin whose nonces are not shared.
const IDLE: usize = 256;
/// So many requests refused for coming after their successors, and an origin's nonces are not shared any more.
const STRIKES: u8 = 2;

/// A challenge that was received, and how far its counter is.
pub struct Known {
    pub(super) challenge: Challenge,
    /// The client nonce of all requests of a `-sess` algorithm.
    pub(super) session: [u8; 16],
    /// The last count that was given out.
    given: AtomicU32,
    /// The highest count that was accepted.
    accepted: AtomicU32,
}

/// The right to sign one request, with a count that nobody else has.
#[derive(Clone, Debug)]
pub struct Turn {
    pub(super) known: Arc<Known>,
    pub(super) count: u32,
    since: Since,
}

/// When the nonce of a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// With the answer to this very request.
    Now,
    /// Before it.
    Before,
}

/// Where a nonce belongs: the scheme and Host that leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// The Host that is sent.
    pub host: &'a str,
}

/// The known nonces by origin. Locked for as long as a lookup takes.
#[derive(Default)]
pub struct Nonces(Mutex<Option<Box<Spots>>>);

/// In the order in which they were learned. Most secrets are not for `digest` and have none.
#[derive(Default)]
struct Spots(VecDeque<Spot>);

/// One origin.
struct Spot {
    tls: bool,
    host: Box<str>,
    shared: Option<Arc<Known>>,
    /// Where each request has a nonce to itself: those that nobody uses now.
    idle: Vec<Arc<Known>>,
    order: Order,
    strikes: u8,
}

/// Whether requests under way at once may share a nonce.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Their counts arrive in any order.
    Any,
    /// The upstream refuses a count that comes after a higher one, or gives each answer a nonce of its own.
    Strict,
}

impl Known {
    /// `session` are random bytes, the client nonce of a `-sess` algorithm.
    pub fn new(challenge: Challenge, session: [u8; 16]) -> Arc<Self> {
        Arc::new(Self { challenge, session, given: AtomicU32::new(0), accepted: AtomicU32::new(0) })
    }

    /// The next count; nothing once there is no further one of 8 digits.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let given = self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| given.checked_add(1));
        given.ok().map(|given| Turn { known: self.clone(), count: given + 1, since: Since::Before })
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known(..)")
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

impl Turn {
    /// The first turn under a challenge that this very request was answered with.
    pub fn first(challenge: Challenge, session: [u8; 16]) -> Self {
        let known = Known::new(challenge, session);
        known.given.store(1, Ordering::Relaxed);
        Self { known, count: 1, since: Since::Now }
    }

    /// Whether this very request was answered with the challenge. A nonce from before may have ended meanwhile.
    pub fn is_fresh(&self) -> bool {
        self.since == Since::Now
    }
}

impl Nonces {
    /// A count under a known nonce of this origin.
    pub fn take(&self, at: At<'_>) -> Option<Turn> {
        let mut spots = self.lock();
        let spot = spots.as_deref_mut()?.0.iter_mut().find(|spot| spot.is(at))?;
        match spot.order {
            Order::Any => spot.shared.as_ref()?.turn(),
            Order::Strict => spot.idle.pop()?.turn(),
        }
    }

    /// The upstream took a request that was signed in this turn; `headers` are those of its answer.
    pub fn accepted(&self, at: At<'_>, turn: &Turn, headers: &HeaderMap) {
        turn.known.accepted.fetch_max(turn.count, Ordering::Relaxed);
        let next = next_nonce(headers).and_then(|nonce| turn.known.challenge.with_nonce(&nonce));
        if next.is_none() && !turn.is_fresh() && self.is_shared(at, turn) {
            return;
        }
        self.with(at, |spot| {
            if let Some(challenge) = next {
                spot.order = Order::Strict;
                spot.shared = None;
                spot.keep(Known::new(challenge, turn.known.session));
            } else if spot.order == Order::Strict {
                spot.keep(turn.known.clone());
            } else if turn.is_fresh() {
                spot.shared = Some(turn.known.clone());
            }
        });
    }

    /// The upstream answered 401 to a request that was signed in this turn.
    pub fn refused(&self, at: At<'_>, turn: &Turn) {
        let overtaken = turn.known.accepted.load(Ordering::Relaxed) > turn.count;
        self.with(at, |spot| {
            if overtaken {
                // The nonce is good: others, who signed later, were heard earlier.
                spot.strikes = spot.strikes.saturating_add(1);
                if spot.strikes >= STRIKES {
                    spot.order = Order::Strict;
                }
            }
            if spot.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, &turn.known)) {
                spot.shared = None;
            }
        });
    }

    /// A challenge that came with a 401 to a request that cannot be sent again: the next one will use it.
    pub fn learned(&self, at: At<'_>, challenge: Challenge, session: [u8; 16]) {
        let known = Known::new(challenge, session);
        self.with(at, |spot| match spot.order {
            Order::Any => spot.shared = Some(known),
            Order::Strict => spot.keep(known),
        });
    }

    fn is_shared(&self, at: At<'_>, turn: &Turn) -> bool {
        let spots = self.lock();
        let spot = spots.as_deref().and_then(|spots| spots.0.iter().find(|spot| spot.is(at)));
        spot.and_then(|spot| spot.shared.as_ref()).is_some_and(|shared| Arc::ptr_eq(shared, &turn.known))
    }

    fn with(&self, at: At<'_>, change: impl FnOnce(&mut Spot)) {
        let mut spots = self.lock();
        let spots = &mut spots.get_or_insert_default().0;
        if let Some(spot) = spots.iter_mut().find(|spot| spot.is(at)) {
            return change(spot);
        }
        if spots.len() >= ORIGINS {
            spots.pop_front();
        }
        let mut spot = Spot::new(at);
        change(&mut spot);
        spots.push_back(spot);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Spots>>> {
        // Nothing that runs under the lock can leave it half made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spot {
    fn new(at: At<'_>) -> Self {
        let At { tls, host } = at;
        Self { tls, host: host.into(), shared: None, idle: Vec::new(), order: Order::Any, strikes: 0 }
    }

    fn is(&self, at: At<'_>) -> bool {
        self.tls == at.tls && *self.host == *at.host
    }

    fn keep(&mut self, known: Arc<Known>) {
        if self.idle.len() < IDLE {
            self.idle.push(known);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    const AT: At<'static> = At { tls: true, host: "api.test" };

    fn challenge(nonce: &str) -> Challenge {
        let mut headers = HeaderMap::new();
        let line = format!(r#"Digest realm="r", nonce="{nonce}", qop="auth""#);
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&line).unwrap());
        Challenge::strongest(&headers).unwrap()
    }

    fn first(nonce: &str) -> Turn {
        Turn::first(challenge(nonce), [7; 16])
    }

    fn nonce(turn: &Turn) -> &str {
        std::str::from_utf8(&turn.known.challenge.nonce).unwrap()
    }

    fn plain() -> HeaderMap {
        HeaderMap::new()
    }

    #[test]
    fn an_accepted_nonce_is_counted_on_by_everybody() {
        let nonces = Nonces::default();
        assert!(nonces.take(AT).is_none());
        nonces.accepted(AT, &first("n1"), &plain());
        let turns: Vec<Turn> = (0..3).map(|_| nonces.take(AT).unwrap()).collect();
        assert_eq!(turns.iter().map(|turn| turn.count).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(turns.iter().all(|turn| nonce(turn) == "n1" && !turn.is_fresh()));
        assert!(nonces.take(At { tls: false, ..AT }).is_none(), "another origin");
        assert!(nonces.take(At { host: "other.test", ..AT }).is_none(), "another origin");
    }

    #[test]
    fn a_refused_nonce_is_forgotten_and_one_that_came_since_stays() {
        let nonces = Nonces::default();
        nonces.accepted(AT, &first("n1"), &plain());
        let (one, two) = (nonces.take(AT).unwrap(), nonces.take(AT).unwrap());
        nonces.refused(AT, &one);
        assert!(nonces.take(AT).is_none());
        nonces.accepted(AT, &first("n2"), &plain());
        nonces.refused(AT, &two);
        assert_eq!(nonce(&nonces.take(AT).unwrap()), "n2");
        nonces.learned(AT, challenge("n3"), [0; 16]);
        assert_eq!(nonces.take(AT).map(|turn| (nonce(&turn).to_owned(), turn.count)), Some(("n3".to_owned(), 1)));
    }

    #[test]
    fn an_upstream_that_wants_counts_in_order_gets_a_nonce_for_each_request_under_way() {
        let nonces = Nonces::default();
        for round in ["n1", "n2"] {
            nonces.accepted(AT, &first(round), &plain());
            let (late, early) = (nonces.take(AT).unwrap(), nonces.take(AT).unwrap());
            nonces.accepted(AT, &early, &plain());
            nonces.refused(AT, &late);
        }
        nonces.accepted(AT, &first("n3"), &plain());
        nonces.accepted(AT, &first("n4"), &plain());
        let (one, two) = (nonces.take(AT).unwrap(), nonces.take(AT).unwrap());
        assert_ne!(nonce(&one), nonce(&two));
        assert!(nonces.take(AT).is_none(), "a third one asks for a challenge of its own");
        nonces.accepted(AT, &one, &plain());
        let again = nonces.take(AT).unwrap();
        assert_eq!((nonce(&again), again.count), (nonce(&one), 3));
    }

    #[test]
    fn an_expiry_is_no_question_of_order() {
        let nonces = Nonces::default();
        for round in 0..5 {
            nonces.accepted(AT, &first(&format!("n{round}")), &plain());
            let (one, two) = (nonces.take(AT).unwrap(), nonces.take(AT).unwrap());
            nonces.accepted(AT, &one, &plain());
            nonces.refused(AT, &two);
        }
        nonces.accepted(AT, &first("n"), &plain());
        let (one, two) = (nonces.take(AT).unwrap(), nonces.take(AT).unwrap());
        assert_eq!(nonce(&one), nonce(&two), "still shared");
    }

    #[test]
    fn a_next_nonce_takes_the_place_of_the_last_one() {
        let nonces = Nonces::default();
        let mut headers = HeaderMap::new();
        headers.insert("authentication-info", HeaderValue::from_static("nextnonce=\"n2\", qop=auth"));
        let turn = first("n1");
        nonces.accepted(AT, &turn, &headers);
        let next = nonces.take(AT).unwrap();
        assert_eq!((nonce(&next), next.count, next.is_fresh()), ("n2", 1, false));
        assert_eq!(next.known.session, turn.known.session);
        assert!(nonces.take(AT).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let nonces = Nonces::default();
        for index in 0..ORIGINS + 8 {
            let host = format!("h{index}.test");
            nonces.accepted(At { tls: true, host: &host }, &first("n"), &plain());
        }
        let known = (0..ORIGINS + 8).filter(|index| {
            let host = format!("h{index}.test");
            nonces.take(At { tls: true, host: &host }).is_some()
        });
        assert_eq!(known.count(), ORIGINS);
        let last = first("n");
        last.known.given.store(u32::MAX, Ordering::Relaxed);
        nonces.accepted(AT, &last, &plain());
        assert!(nonces.take(AT).is_none(), "the counter has ended");
        let mut headers = HeaderMap::new();
        headers.insert("authentication-info", HeaderValue::from_static("nextnonce=\"n\""));
        (0..IDLE + 8).for_each(|_| nonces.accepted(AT, &first("n"), &headers));
        assert_eq!((0..2 * IDLE).filter(|_| nonces.take(AT).is_some()).count(), IDLE);
    }
}
