//! The leaves in use: one for each host that workers ask for, made when it is first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;

use crate::clock::Timestamp;
use crate::tls::{Authority, Leaf, MintError};

/// Hosts whose leaves are kept; the one that was not used for longest goes first.
const KEPT: usize = 1024;
/// A leaf with less than this left, in seconds, is replaced at its next use.
const RENEW_BEFORE: i64 = 2 * 86_400;

/// Leaves of one CA by host.
#[derive(Debug, Default)]
pub struct Leaves {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The fingerprint of the CA that signed them.
    signer: [u8; 32],
    by_host: HashMap<Box<str>, One>,
    /// Counts uses.
    uses: u64,
}

struct One {
    leaf: Leaf,
    used: u64,
}

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaf(until {})", self.leaf.not_after.seconds)
    }
}

impl Leaves {
    /// What a TLS server needs to be `host` (lower case) under this CA. Leaves of another CA are forgotten.
    pub fn of(&self, ca: &Authority, host: &str, now: Timestamp) -> Result<Arc<ServerConfig>, MintError> {
        if let Some(known) = self.kept().find(ca, host, now) {
            return Ok(known);
        }
        // Outside the lock: others need not wait. Two at once make two leaves, of which the later stays.
        let leaf = ca.leaf(host, now)?;
        let config = leaf.config.clone();
        self.kept().keep(ca, host, leaf);
        Ok(config)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, ca: &Authority, host: &str, now: Timestamp) -> Option<Arc<ServerConfig>> {
        if self.signer != ca.fingerprint() {
            return None;
        }
        self.uses += 1;
        let uses = self.uses;
        let one = self.by_host.get_mut(host)?;
        one.used = uses;
        // Near the end of the CA itself a new leaf would end at the same second.
        let soon = one.leaf.not_after.seconds.saturating_sub(now.seconds) < RENEW_BEFORE;
        let renewable = one.leaf.not_after.seconds < ca.validity().not_after.seconds;
        (!(soon && renewable)).then(|| one.leaf.config.clone())
    }

    fn keep(&mut self, ca: &Authority, host: &str, leaf: Leaf) {
        if self.signer != ca.fingerprint() {
            self.signer = ca.fingerprint();
            self.by_host.clear();
        }
        if self.by_host.len() >= KEPT && !self.by_host.contains_key(host) {
            let oldest = self.by_host.iter().min_by_key(|(_, one)| one.used).map(|(host, _)| host.clone());
            oldest.map(|oldest| self.by_host.remove(&oldest));
        }
        self.uses += 1;
        self.by_host.insert(host.into(), One { leaf, used: self.uses });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::secret::value::SecretBytes;
    use crate::tls::{LEAF_LIFE, Subtree};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn authority() -> Authority {
        let names = BTreeSet::from([Subtree::Dns("test".to_owned())]);
        let made = Authority::make(&names, NOW).unwrap();
        Authority::load(&SecretBytes::new(made.certificate.into_bytes()), &made.key, NOW).unwrap()
    }

    #[test]
    fn a_leaf_is_kept_and_renewed_before_its_end() {
        let (leaves, ca) = (Leaves::default(), authority());
        let first = leaves.of(&ca, "api.test", NOW).unwrap();
        let at = |seconds| leaves.of(&ca, "api.test", NOW.plus_seconds(seconds)).unwrap();
        assert!(Arc::ptr_eq(&first, &at(LEAF_LIFE - RENEW_BEFORE)));
        let second = at(LEAF_LIFE - RENEW_BEFORE + 1);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &at(LEAF_LIFE)));
        assert!(!Arc::ptr_eq(&second, &leaves.of(&ca, "other.test", NOW).unwrap()));
    }

    #[test]
    fn another_ca_has_other_leaves() {
        let (leaves, old, new) = (Leaves::default(), authority(), authority());
        let first = leaves.of(&old, "api.test", NOW).unwrap();
        let second = leaves.of(&new, "api.test", NOW).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &leaves.of(&new, "api.test", NOW).unwrap()));
        assert_eq!(leaves.kept().by_host.len(), 1);
    }

    #[test]
    fn the_host_that_was_not_used_for_longest_is_forgotten() {
        let (leaves, ca) = (Leaves::default(), authority());
        let leaf = ca.leaf("h.test", NOW).unwrap();
        for number in 0..KEPT {
            leaves.kept().keep(&ca, &format!("h{number}.test"), leaf.clone());
        }
        leaves.of(&ca, "h0.test", NOW).unwrap();
        leaves.of(&ca, "new.test", NOW).unwrap();
        let kept = leaves.kept();
        assert_eq!(kept.by_host.len(), KEPT);
        assert!(kept.by_host.contains_key("h0.test") && !kept.by_host.contains_key("h1.test"));
    }
}
