//! `hmac`: a canonical text by template, an HMAC over it, headers and query parameters made of it.

use super::Place;
use super::material::{HashAlgorithm, KeyEncoding};
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

/// An HMAC key ready for use.
#[derive(Clone)]
pub struct Key {}

/// A compiled `hmac` credential.
#[derive(Debug)]
pub struct Hmac {}

impl Hmac {
    /// Parses and type-checks every template; all mistakes at once, each with the key that it is in.
    pub fn compile(spec: HmacSpec) -> Result<Self, Vec<(Place, TemplateError)>> {
        let _ = spec;
        todo!()
    }
}
