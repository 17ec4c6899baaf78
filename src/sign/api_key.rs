//! `api_key`: a key in a header, query parameter or cookie.

use super::{Requirement, Slot};
use crate::secret::name::NamePattern;

/// `api_key = { secret, header | query | cookie, prefix }`
#[derive(Debug)]
pub struct ApiKey {
    slot: [Slot; 1],
    prefix: String,
    requirement: [Requirement; 1],
}

impl ApiKey {
    /// A key from `secret`, put into `slot` after `prefix`.
    pub fn new(secret: NamePattern, slot: Slot, prefix: String) -> Self {
        let _ = (secret, slot, prefix);
        todo!()
    }
}
