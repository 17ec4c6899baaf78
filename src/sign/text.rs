//! What all schemes share: header values marked sensitive, secrets as text, masks.

use std::fmt::Display;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::body::BodyChange;
use super::{Injection, SignError, Slot};
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

/// Puts a value into a slot. `pair` writes those of queries and forms.
pub(super) fn put(
    injection: &mut Injection,
    slot: &Slot,
    value: Zeroizing<String>,
    pair: fn(&str, &[u8]) -> String,
) -> Result<(), SignError> {
    match slot {
        Slot::Header(name) => injection.headers.push((name.clone(), secret(value, name.as_str())?)),
        Slot::Query(name) => injection.query.push(pair(name, value.as_bytes())),
        Slot::Cookie(name) => {
            if value.bytes().any(|byte| byte.is_ascii_control() || byte == b';') {
                return Err(SignError::NotAHeader("cookie".to_owned()));
            }
            injection.cookies.push(format!("{name}={}", value.as_str()));
        }
        Slot::Form(name) => {
            let pair = pair(name, value.as_bytes());
            match injection.body.as_deref_mut() {
                Some(BodyChange::Form(pairs)) => pairs.push(pair),
                _ => injection.body = Some(Box::new(BodyChange::Form(vec![pair]))),
            }
        }
        Slot::Json(name) => {
            let member = (name.clone(), value.as_str().to_owned());
            match injection.body.as_deref_mut() {
                Some(BodyChange::Json(members)) => members.push(member),
                _ => injection.body = Some(Box::new(BodyChange::Json(vec![member]))),
            }
        }
    }
    Ok(())
}

/// What stands for a secret where people read: its name in brackets.
pub(super) fn mask(name: impl Display) -> String {
    format!("[{name}]")
}
