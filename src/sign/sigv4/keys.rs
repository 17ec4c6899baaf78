//! The secret key of an AWS account and the signing keys derived from it, which serve for a day each. They lie beside
//! the secret, so that they go with it when it is replaced. Callers: `material`, which loads one, and this scheme.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::secret::value::SecretBytes;
use crate::sign::hmac::Key;
use crate::sign::material::HashAlgorithm;

/// Signing keys that are kept of one secret, the newest first: a day, region and service each.
const KEPT: usize = 32;

/// A secret access key. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SecretKey(Arc<Inner>);

struct Inner {
    secret: SecretBytes,
    derived: ArcSwap<Vec<Arc<Derived>>>,
}

struct Derived {
    date: [u8; 8],
    region: Box<str>,
    service: Box<str>,
    key: Key,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A key of checked text.
    pub(in crate::sign) fn new(secret: SecretBytes) -> Self {
        Self(Arc::new(Inner { secret, derived: ArcSwap::default() }))
    }

    /// The signing key for a day (`YYYYMMDD`), a region and a service.
    pub(super) fn signing(&self, date: &[u8; 8], region: &str, service: &str) -> Key {
        let kept = self.0.derived.load();
        let fits = |one: &&Arc<Derived>| one.date == *date && *one.region == *region && *one.service == *service;
        if let Some(found) = kept.iter().find(fits) {
            return found.key.clone();
        }
        let key = self.derive(date, region, service);
        let made = Derived { date: *date, region: region.into(), service: service.into(), key: key.clone() };
        let others = kept.iter().take(KEPT - 1).cloned();
        // Two that do this at once lose one of the two, which is made again.
        self.0.derived.store(Arc::new(std::iter::once(Arc::new(made)).chain(others).collect()));
        key
    }

    /// The chain of HMACs from the secret over date, region and service.
    fn derive(&self, date: &[u8], region: &str, service: &str) -> Key {
        let secret = self.0.secret.expose();
        let mut key = Zeroizing::new(Vec::with_capacity(secret.len() + 4));
        key.extend_from_slice(b"AWS4");
        key.extend_from_slice(secret);
        for part in [date, region.as_bytes(), service.as_bytes(), b"aws4_request"] {
            let mut next = Zeroizing::new(Vec::with_capacity(32));
            Key::new(HashAlgorithm::Sha256, &key).sign(part, &mut next);
            key = next;
        }
        Key::new(HashAlgorithm::Sha256, &key)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex_of(key: &Key, text: &[u8]) -> String {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        key.sign(text, &mut raw);
        crate::template::encode::hex(&raw, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_derived_once_a_day_region_and_service_and_few_are_kept() {
        let key = SecretKey::new(SecretBytes::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec()));
        let first = key.signing(b"20150830", "us-east-1", "iam");
        // Python: hmac.new(key, b"x", sha256).hexdigest(), the key being the example of the AWS documentation, c4afb1cc..
        assert_eq!(hex_of(&first, b"x"), "8308ae1d6b6da6a0b33ec660ba35cfd48e7cd000cce6af9f0b17775e8eda9018");
        key.signing(b"20150830", "us-east-1", "iam");
        assert_eq!(key.0.derived.load().len(), 1);
        for region in 0..100 {
            key.signing(b"20150830", &format!("region-{region}"), "iam");
        }
        assert_eq!(key.0.derived.load().len(), KEPT);
        assert_eq!(hex_of(&key.signing(b"20150830", "us-east-1", "iam"), b"x"), hex_of(&first, b"x"));
        assert_ne!(hex_of(&key.signing(b"20150831", "us-east-1", "iam"), b"x"), hex_of(&first, b"x"));
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
    }
}
