//! HMAC keys: prepared once per generation of a secret, cloned per signature (RFC 2104, FIPS 198-1).

use std::fmt;
use std::sync::Arc;

use ::hmac::{Hmac, KeyInit, Mac};

use super::material::HashAlgorithm;
use crate::template::Sink;

/// An HMAC key ready for use: the keyed state, shared by those who hold it and wiped with the last
/// of them. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key(Arc<Running>);

/// An HMAC that is being computed: a copy of a key's state that takes text.
#[derive(Clone)]
pub(super) enum Running {
    Md5(Hmac<md5::Md5>),
    Sha1(Hmac<sha1::Sha1>),
    Sha256(Hmac<sha2::Sha256>),
    Sha384(Hmac<sha2::Sha384>),
    Sha512(Hmac<sha2::Sha512>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// HMAC takes keys of every length, so that this cannot fail.
fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"))
}

impl Key {
    /// Prepares the keyed state.
    pub(crate) fn new(algorithm: HashAlgorithm, key: &[u8]) -> Self {
        Self(Arc::new(match algorithm {
            HashAlgorithm::Md5 => Running::Md5(keyed(key)),
            HashAlgorithm::Sha1 => Running::Sha1(keyed(key)),
            HashAlgorithm::Sha256 => Running::Sha256(keyed(key)),
            HashAlgorithm::Sha384 => Running::Sha384(keyed(key)),
            HashAlgorithm::Sha512 => Running::Sha512(keyed(key)),
        }))
    }

    /// Begins an HMAC.
    pub(super) fn start(&self) -> Running {
        (*self.0).clone()
    }

    /// The HMAC of `text`, appended to `out`.
    pub(crate) fn sign(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut running = self.start();
        running.put(text);
        running.finish(out);
    }
}

impl Sink for Running {
    fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(mac) => mac.update(bytes),
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }
}

impl Running {
    /// The HMAC of everything that was put, appended to `out`.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        match self {
            Self::Md5(mac) => out.extend_from_slice(&mac.finalize().into_bytes()),
            Self::Sha1(mac) => out.extend_from_slice(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => out.extend_from_slice(&mac.finalize().into_bytes()),
            Self::Sha384(mac) => out.extend_from_slice(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => out.extend_from_slice(&mac.finalize().into_bytes()),
        }
    }
}
