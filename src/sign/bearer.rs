//! `bearer`: `Authorization: Bearer` (RFC 6750).

use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::material::{Kind, Material};
use super::text::{mask, secret, text_of};
use super::{Injection, Place, Requirement, SignError};
use crate::secret::name::NamePattern;

/// `bearer = { secret }`
#[derive(Debug)]
pub struct Bearer {
    requirement: [Requirement; 1],
}

impl Bearer {
    /// A token from `secret`. Its characters are those of a header; upstreams exist whose tokens
    /// are wider than RFC 6750's `b64token`.
    pub fn new(secret: NamePattern) -> Self {
        Self { requirement: [Requirement { pattern: secret, kind: Kind::HeaderText, place: Place::Secret }] }
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirement
    }

    pub(super) fn sign(&self, keys: &[Material]) -> Result<Injection, SignError> {
        let [Material::Text(token), ..] = keys else {
            return Err(SignError::Missing("secret".to_owned()));
        };
        fill(text_of(token)?)
    }

    /// The same with the name of the secret in its place, for people to read.
    pub(super) fn masked(&self) -> Result<Injection, SignError> {
        fill(&mask(&self.requirement[0].pattern))
    }
}

fn fill(token: &str) -> Result<Injection, SignError> {
    let value = Zeroizing::new(format!("Bearer {token}"));
    let value = secret(value, AUTHORIZATION.as_str())?;
    Ok(Injection::header(AUTHORIZATION, value))
}
