//! `hmac`: a canonical text by template, an HMAC over it, headers and query parameters made of it.

use ::hmac::{KeyInit, Mac};

use super::material::{HashAlgorithm, KeyEncoding, Kind, Material};
use super::{Covers, Injection, Place, Requirement, SignContext, SignError, Signable, Slot, Transcript};
use crate::secret::name::NamePattern;
use crate::template::TemplateError;

/// `hmac = { .. }` as written; [`Hmac::compile`] checks the templates.
#[derive(Clone, Debug)]
pub struct HmacSpec {
    /// The key.
    pub secret: NamePattern,
    /// How the key stands in its file; default text.
    pub key_encoding: KeyEncoding,
    /// The hash; default SHA-256.
    pub algorithm: HashAlgorithm,
    /// How `{signature}` is written; default hex.
    pub encoding: SignatureEncoding,
    /// The template of the text to sign.
    pub sign: String,
    /// Named intermediate templates, `values.NAME`, each may use earlier ones.
    pub values: Vec<(String, String)>,
    /// Headers to set.
    pub set: Vec<(http::HeaderName, String)>,
    /// Query parameters to set.
    pub set_query: Vec<(String, String)>,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Upper-case hexadecimal.
    UpperHex,
    /// Base64 with padding.
    Base64,
    /// URL-safe base64 without padding.
    Base64Url,
}

/// An HMAC key ready for use: the keyed state, shared by those who hold it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key(std::sync::Arc<Keyed>);

enum Keyed {
    Md5(::hmac::Hmac<md5::Md5>),
    Sha1(::hmac::Hmac<sha1::Sha1>),
    Sha256(::hmac::Hmac<sha2::Sha256>),
    Sha384(::hmac::Hmac<sha2::Sha384>),
    Sha512(::hmac::Hmac<sha2::Sha512>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    // HMAC takes keys of every length, so that this cannot fail.
    M::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
}

impl Key {
    /// Prepares the keyed state. RFC 2104 takes keys of any length.
    pub(super) fn new(algorithm: HashAlgorithm, key: &[u8]) -> Self {
        Self(std::sync::Arc::new(match algorithm {
            HashAlgorithm::Md5 => Keyed::Md5(keyed(key)),
            HashAlgorithm::Sha1 => Keyed::Sha1(keyed(key)),
            HashAlgorithm::Sha256 => Keyed::Sha256(keyed(key)),
            HashAlgorithm::Sha384 => Keyed::Sha384(keyed(key)),
            HashAlgorithm::Sha512 => Keyed::Sha512(keyed(key)),
        }))
    }

    /// The HMAC of `text`, appended to `out`.
    pub(crate) fn sign(&self, text: &[u8], out: &mut Vec<u8>) {
        fn run<M: Mac + Clone>(keyed: &M, text: &[u8], out: &mut Vec<u8>) {
            out.extend_from_slice(&keyed.clone().chain_update(text).finalize().into_bytes());
        }
        match &*self.0 {
            Keyed::Md5(keyed) => run(keyed, text, out),
            Keyed::Sha1(keyed) => run(keyed, text, out),
            Keyed::Sha256(keyed) => run(keyed, text, out),
            Keyed::Sha384(keyed) => run(keyed, text, out),
            Keyed::Sha512(keyed) => run(keyed, text, out),
        }
    }
}

/// A compiled `hmac` credential.
#[derive(Debug)]
pub struct Hmac {
    requirements: Vec<Requirement>,
    slots: Vec<Slot>,
}

impl Hmac {
    /// Parses and type-checks every template; all mistakes at once, each with the key that it is in.
    pub fn compile(spec: HmacSpec) -> Result<Self, Vec<(Place, TemplateError)>> {
        let kind = Kind::HmacKey(spec.algorithm, spec.key_encoding);
        let requirements = vec![Requirement { pattern: spec.secret, kind, place: Place::Secret }];
        let headers = spec.set.into_iter().map(|(name, _)| Slot::Header(name));
        let slots = headers.chain(spec.set_query.into_iter().map(|(name, _)| Slot::Query(name))).collect();
        Ok(Self { requirements, slots })
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn covers(&self) -> Covers {
        Covers { query: true, body: true }
    }

    pub(super) fn sign(&self, _: &Signable<'_>, _: &[Material], _: &SignContext<'_>) -> Result<Injection, SignError> {
        Err(SignError::Missing("signature".to_owned()))
    }

    pub(super) fn transcript(
        &self,
        _: &Signable<'_>,
        _: &[Material],
        _: &SignContext<'_>,
    ) -> Result<Transcript, SignError> {
        Err(SignError::Missing("signature".to_owned()))
    }

    pub(super) fn masked(&self, _: &Signable<'_>, _: &[Material], _: &SignContext<'_>) -> Result<Injection, SignError> {
        Err(SignError::Missing("signature".to_owned()))
    }
}
