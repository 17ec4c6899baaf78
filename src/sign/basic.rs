//! `basic`: RFC 7617, UTF-8.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::account::Account;
use super::material::Material;
use super::text::{mask, secret};
use super::{Injection, Requirement, SignError};
use crate::secret::name::NamePattern;

/// A value that may be public: written in the configuration or kept in a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicValue {
    /// Written in the configuration.
    Literal(String),
    /// Kept in a secret.
    Secret(NamePattern),
}

/// `basic = { username, password }`
#[derive(Debug)]
pub struct Basic(Account);

impl Basic {
    /// A user and a password. A literal user name has no `:` and no control characters (the caller checked).
    pub fn new(username: PublicValue, password: NamePattern) -> Self {
        Self(Account::new(username, password))
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        self.0.requirements()
    }

    /// The user name, where the configuration has it written.
    pub(super) fn public_username(&self) -> Option<&str> {
        self.0.public_username()
    }

    /// `Authorization: Basic ..`, whatever the request is.
    pub fn sign(&self, keys: &[Material]) -> Result<Injection, SignError> {
        let (username, password) = self.0.read(keys)?;
        let pair = Zeroizing::new(format!("{username}:{password}"));
        let mut value = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
        value.push_str("Basic ");
        STANDARD.encode_string(pair.as_bytes(), &mut value);
        fill(value)
    }

    /// `Basic [USER:PASSWORD]` with the names of the secrets, for people to read.
    pub(super) fn masked(&self) -> Result<Injection, SignError> {
        let inner: Vec<&str> = self.public_username().into_iter().chain(self.names()).collect();
        fill(Zeroizing::new(format!("Basic {}", mask(inner.join(":")))))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.requirements().iter().map(|requirement| requirement.pattern.as_str())
    }
}

fn fill(value: Zeroizing<String>) -> Result<Injection, SignError> {
    let value = secret(value, AUTHORIZATION.as_str())?;
    Ok(Injection::header(AUTHORIZATION, value))
}
