//! `basic`: RFC 7617.

use super::Requirement;
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
pub struct Basic {
    username: Option<String>,
    requirements: Vec<Requirement>,
}

impl Basic {
    /// A user and a password. A literal user name has no `:` and no control characters (the caller checked).
    pub fn new(username: PublicValue, password: NamePattern) -> Self {
        let _ = (username, password);
        todo!()
    }
}
