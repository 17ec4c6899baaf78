//! What all schemes share: header values marked sensitive, secrets as text, masks.

use std::fmt::Display;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::SignError;
use crate::secret::value::SecretBytes;

/// A header value that the HTTP library neither logs nor puts into a compression table.
pub(super) fn sensitive(value: &[u8], name: &str) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| SignError::NotAHeader(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A header value that anybody may read, such as a signature.
pub(super) fn plain(value: &str, name: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::from_str(value).map_err(|_| SignError::NotAHeader(name.to_owned()))
}

/// The same for text with a secret in it: its bytes are wiped when the last copy of the value is gone.
pub(super) fn secret(text: Zeroizing<String>, name: &str) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Text(text)))
        .map_err(|_| SignError::NotAHeader(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

struct Text(Zeroizing<String>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Text that `Kind::load` has checked to be UTF-8.
pub(super) fn text_of(secret: &SecretBytes) -> Result<&str, SignError> {
    std::str::from_utf8(secret.expose()).map_err(|_| SignError::Missing("secret".to_owned()))
}

/// What stands for a secret where people read: its name in brackets.
pub(super) fn mask(name: impl Display) -> String {
    format!("[{name}]")
}
