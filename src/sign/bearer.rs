//! `bearer`: `Authorization: Bearer` (RFC 6750).

use super::Requirement;
use crate::secret::name::NamePattern;

/// `bearer = { secret }`
#[derive(Debug)]
pub struct Bearer {
    requirement: [Requirement; 1],
}

impl Bearer {
    /// A token from `secret`.
    pub fn new(secret: NamePattern) -> Self {
        let _ = secret;
        todo!()
    }
}
