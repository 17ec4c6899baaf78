//! `api_key`: a key in a header, query parameter, cookie or field of the body.

use zeroize::Zeroizing;

use super::material::{Kind, Material};
use super::text::{mask, put, text_of};
use super::{Injection, Place, Requirement, SignError, Slot};
use crate::secret::name::NamePattern;
use crate::template::encode;

/// `api_key = { secret, header | query | cookie | form | json, prefix }`
#[derive(Debug)]
pub struct ApiKey {
    slot: [Slot; 1],
    prefix: String,
    requirement: [Requirement; 1],
}

impl ApiKey {
    /// A key from `secret`, put into `slot` after `prefix`. A prefix that cannot stand in the slot
    /// is refused by [`prefix_fits`], which the caller asks first.
    pub fn new(secret: NamePattern, slot: Slot, prefix: String) -> Self {
        let kind = match slot {
            Slot::Header(_) => Kind::HeaderText,
            Slot::Query(_) | Slot::Form(_) | Slot::Json(_) => Kind::Text,
            Slot::Cookie(_) => Kind::CookieText,
        };
        Self { slot: [slot], prefix, requirement: [Requirement { pattern: secret, kind, place: Place::Secret }] }
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirement
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slot
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn sign(&self, keys: &[Material]) -> Result<Injection, SignError> {
        let [Material::Text(key), ..] = keys else {
            return Err(SignError::Missing("secret".to_owned()));
        };
        self.fill(text_of(key)?, encode::query_pair)
    }

    /// The same with the name of the secret in its place, for people to read.
    pub(super) fn masked(&self) -> Result<Injection, SignError> {
        self.fill(&mask(&self.requirement[0].pattern), encode::query_pair_shown)
    }

    fn fill(&self, key: &str, pair: fn(&str, &[u8]) -> String) -> Result<Injection, SignError> {
        let value = Zeroizing::new(format!("{}{key}", self.prefix));
        let mut injection = Injection::default();
        put(&mut injection, &self.slot[0], value, pair)?;
        Ok(injection)
    }
}

/// Whether `prefix` can stand in `slot`: header text in a header, cookie-octets in a cookie, anything elsewhere.
pub fn prefix_fits(prefix: &str, slot: &Slot) -> bool {
    let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match slot {
        Slot::Header(_) => prefix.bytes().all(visible),
        Slot::Query(_) | Slot::Form(_) | Slot::Json(_) => true,
        Slot::Cookie(_) => prefix.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\')),
    }
}
