//! Secrets made ready for signing: checked by kind, prepared once per generation.

use crate::secret::value::{BadReason, SecretBytes};

/// A hash that digests and HMACs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// MD5, for platforms that still want it.
    Md5,
    /// SHA-1, for platforms that still want it.
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

/// How the bytes of an HMAC key stand in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    /// Text: trailing line ends are cut.
    Text,
    /// Bytes as they are.
    Bytes,
    /// Hexadecimal text.
    Hex,
    /// Base64 text, standard or URL alphabet, with or without padding.
    Base64,
}

/// What a secret is used as; decides how its bytes are checked. Kinds do not mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text that goes into a header or cookie: visible ASCII and space.
    HeaderText,
    /// Text that goes into a query parameter (percent-encoded) or a template.
    Text,
    /// A Basic user name: text without `:`.
    Username,
    /// A Basic password: text.
    Password,
    /// An HMAC key.
    HmacKey(HashAlgorithm, KeyEncoding),
}

/// A secret ready to be used.
#[derive(Clone)]
pub enum Material {
    /// Checked text, without trailing line ends.
    Text(SecretBytes),
    /// A keyed HMAC state, cloned per signature.
    Hmac(super::hmac::Key),
}

impl Kind {
    /// Checks and prepares the bytes of a file.
    pub fn load(self, bytes: &SecretBytes) -> Result<Material, BadReason> {
        let _ = bytes;
        todo!()
    }
}
