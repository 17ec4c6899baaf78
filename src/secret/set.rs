//! One reading of the secrets directory: an immutable generation of file contents.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::name::SecretName;
use super::value::{BadReason, SecretBytes};

/// Tells contents apart: 128 bits of a keyed hash. Kept several times for each secret, so it is short.
pub type Digest = [u8; 16];

/// What was found under one name.
#[derive(Clone)]
pub struct SecretFile {
    /// The content, or why there is none.
    pub content: Result<SecretBytes, BadReason>,
    /// Equal contents have equal digests; keyed per process, never shown.
    pub digest: Digest,
}

impl fmt::Debug for SecretFile {
    /// Without the digest, which is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.content.fmt(f)
    }
}

/// A consistent reading of the directory: what one atomic act delivered is either wholly in it or not at all.
#[derive(Clone, Debug, Default)]
pub struct SecretSet {
    /// Counts readings in which something changed; starts at 1.
    pub generation: u64,
    /// Every name that the configuration uses and that exists in some form, by name.
    pub files: Arc<HashMap<SecretName, SecretFile>>,
}

impl SecretSet {
    /// The content under a name; a name that is not there is [`BadReason::Missing`].
    pub fn content(&self, name: &str) -> Result<&SecretBytes, BadReason> {
        match self.files.get(name) {
            Some(file) => file.content.as_ref().map_err(Clone::clone),
            None => Err(BadReason::Missing),
        }
    }

    /// The digest under a name; all zero for a name that is not there.
    pub fn digest(&self, name: &str) -> Digest {
        self.files.get(name).map_or(Digest::default(), |file| file.digest)
    }
}
