//! A client identity: a certificate chain and the key that belongs to it.

use std::fmt;
use std::sync::Arc;

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem::{Chain, PrivateKey, bad};
use super::provider;
use crate::clock::Timestamp;
use crate::secret::value::{BadReason, Second, SecretBytes};

/// From when until when a certificate may be used, both inclusive (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whether a certificate may be used at that moment; the reason names the date.
    pub fn check(&self, now: Timestamp) -> Result<(), BadReason> {
        if now.seconds > self.not_after.seconds {
            return Err(BadReason::Expired(Second(self.not_after.seconds)));
        }
        if now.seconds < self.not_before.seconds {
            return Err(BadReason::NotYetValid(Second(self.not_before.seconds)));
        }
        Ok(())
    }
}

/// A certificate chain with its key, ready to be presented. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    resolver: Arc<SingleCertAndKey>,
    validity: Validity,
    fingerprint: [u8; 32],
}

impl Identity {
    /// Reads a pair and refuses one that cannot be used at `now`: expired, not yet valid, of
    /// which a half is damaged, or whose halves do not belong together. Both may be one file.
    pub fn load(cert: &SecretBytes, key: &SecretBytes, now: Timestamp) -> Result<Self, BadReason> {
        let identity = Self::load_at_any_time(cert, key)?;
        identity.validity.check(now)?;
        Ok(identity)
    }

    /// As [`Identity::load`] without looking at the dates; see [`Identity::validity`].
    pub fn load_at_any_time(cert: &SecretBytes, key: &SecretBytes) -> Result<Self, BadReason> {
        let chain = Chain::parse(cert)?;
        let key = PrivateKey::parse(key)?;
        let leaf = &chain.certificates()[0];
        let fingerprint = Sha256::digest(leaf).into();
        let validity = validity(leaf)?;
        let key = provider().key_provider.load_private_key(key.into_der()).map_err(|_| {
            bad("the key cannot be used: damaged, or neither RSA (2048 to 8192 bits), ECDSA (P-256, P-384) nor Ed25519")
        })?;
        let certified = CertifiedKey::new(chain.certificates().to_vec(), key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(BadReason::PairMismatch),
            Err(_) => return Err(bad("it cannot be told whether the key belongs to the certificate")),
        }
        let resolver = Arc::new(SingleCertAndKey::from(certified.clone()));
        Ok(Self { certified: Arc::new(certified), resolver, validity, fingerprint })
    }

    /// The dates of the end entity's certificate.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The last second of the end entity's certificate.
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    /// SHA-256 over the end entity's certificate in DER, as `openssl x509 -fingerprint -sha256`
    /// shows it. Public knowledge.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Chain and key.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        self.resolver.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Identity({} certificates, until {})",
            self.certified.cert.len(),
            Second(self.validity.not_after.seconds)
        )
    }
}

/// The dates of a certificate in DER.
pub fn validity(der: &[u8]) -> Result<Validity, BadReason> {
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| bad("certificate 1 of the file does not parse"))?;
    let dates = cert.validity();
    Ok(Validity {
        not_before: Timestamp::from_seconds(dates.not_before.timestamp()),
        not_after: Timestamp::from_seconds(dates.not_after.timestamp()),
    })
}
