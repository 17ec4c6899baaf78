//! What the playground's upstream demands of a request's signature. It shares no code with the
//! signers of the product, so that it can prove them. Called by the server beside it alone.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::playground::certs::hex;
use crate::secret::value::SecretBytes;

/// The header with the seconds since the epoch at which a request was signed.
pub const TIMESTAMP: &str = "x-timestamp";
/// The header with the signature.
pub const SIGNATURE: &str = "x-signature";
/// How old, or how far ahead, a signature may be, in seconds.
pub const WINDOW: i64 = 300;
/// Keys that are remembered, withdrawn ones included; the oldest is forgotten first.
pub const KEYS: usize = 64;
/// Bytes of a key's file.
const KEY_FILE: u64 = 64 * 1024;

/// Why a request was refused. The texts are shown to the caller; none has an expected value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header that is needed is not there.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header that may be there once is there several times.
    #[error("the header {0} is there more than once")]
    Repeated(&'static str),
    /// The header is not what it should be.
    #[error("the header {0} must be {1}")]
    Malformed(&'static str, &'static str),
    /// Signed too long ago, or in the future.
    #[error("the timestamp is {0} s away from this upstream's clock, at most {WINDOW} s are allowed")]
    Stale(i64),
    /// No known key made this signature.
    #[error(
        "the signature is wrong for this method, target, timestamp and body, whichever of the accepted keys made it"
    )]
    Wrong,
    /// The signature is right, but its key is accepted no longer.
    #[error("the signature was made with key {0}, which was withdrawn")]
    Withdrawn(usize),
    /// The body is larger than this upstream reads.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The body ended early or was malformed.
    #[error("the body could not be read to its end")]
    BodyBroken,
}

impl Refusal {
    /// A word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Repeated(_) => "repeated",
            Self::Malformed(..) => "malformed",
            Self::Stale(_) => "stale",
            Self::Wrong => "wrong_signature",
            Self::Withdrawn(_) => "withdrawn_key",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::BodyBroken => "body_broken",
        }
    }
}

/// The part of a request that the signature covers.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// The keys that the upstream knows, in the order in which it came to know them.
pub(super) struct Keys {
    known: Mutex<Known>,
    /// A file whose content is accepted, whenever it changes.
    file: Option<PathBuf>,
}

struct Known {
    /// Index of the first entry; grows as old ones are forgotten.
    first: usize,
    entries: VecDeque<Entry>,
}

struct Entry {
    key: SecretBytes,
    accepted: bool,
}

impl Keys {
    pub(super) fn new(keys: Vec<SecretBytes>, file: Option<PathBuf>) -> Self {
        let known = Self { known: Mutex::new(Known { first: 0, entries: VecDeque::new() }), file };
        for key in keys {
            known.accept(key);
        }
        known
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the key from now on.
    pub(super) fn accept(&self, key: SecretBytes) -> usize {
        let mut known = self.lock();
        if known.entries.len() == KEYS {
            known.entries.pop_front();
            known.first += 1;
        }
        known.entries.push_back(Entry { key: trimmed(key), accepted: true });
        known.first + known.entries.len() - 1
    }

    pub(super) fn withdraw(&self, index: usize) {
        let mut known = self.lock();
        let at = index.checked_sub(known.first);
        if let Some(entry) = at.and_then(|at| known.entries.get_mut(at)) {
            entry.accepted = false;
        }
    }

    /// Checks a request; the index of the key that signed it.
    pub(super) async fn check(&self, request: &Signed<'_>, now: Timestamp) -> Result<usize, Refusal> {
        let timestamp = once(request.headers, TIMESTAMP)?;
        let at: i64 = timestamp.parse().map_err(|_| Refusal::Malformed(TIMESTAMP, "whole seconds since 1970"))?;
        let signature = once(request.headers, SIGNATURE)?;
        let signature = unhex(signature).ok_or(Refusal::Malformed(SIGNATURE, "64 hexadecimal digits"))?;
        let away = now.seconds.saturating_sub(at);
        if away.saturating_abs() > WINDOW {
            return Err(Refusal::Stale(away));
        }
        let digest = hex(&Sha256::digest(request.body));
        let text = format!("{}\n{}\n{timestamp}\n{digest}", request.method, request.target);
        match self.find(text.as_bytes(), &signature) {
            Err(Refusal::Wrong) if self.read_file().await => self.find(text.as_bytes(), &signature),
            result => result,
        }
    }

    fn find(&self, text: &[u8], signature: &[u8; 32]) -> Result<usize, Refusal> {
        let known = self.lock();
        for (at, entry) in known.entries.iter().enumerate().rev() {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(entry.key.expose()) else { continue };
            mac.update(text);
            if mac.verify_slice(signature).is_ok() {
                let index = known.first + at;
                return if entry.accepted { Ok(index) } else { Err(Refusal::Withdrawn(index)) };
            }
        }
        Err(Refusal::Wrong)
    }

    /// Accepts what the file holds now; whether that is a key that was not known before.
    async fn read_file(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let small = tokio::fs::metadata(file).await.is_ok_and(|meta| meta.is_file() && meta.len() <= KEY_FILE);
        let Some(key) = (if small { tokio::fs::read(file).await.ok() } else { None }) else { return false };
        let key = trimmed(SecretBytes::new(key));
        let known = self.lock().entries.iter().any(|entry| entry.key.expose() == key.expose());
        if known || key.expose().is_empty() {
            return false;
        }
        self.accept(key);
        true
    }
}

/// Without trailing line ends, as text keys are used.
fn trimmed(key: SecretBytes) -> SecretBytes {
    let bytes = key.expose();
    let len = bytes.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
    if len == bytes.len() { key } else { SecretBytes::new(bytes[..len].to_vec()) }
}

fn once<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Refusal::Missing(name))?;
    if values.next().is_some() {
        return Err(Refusal::Repeated(name));
    }
    value.to_str().map_err(|_| Refusal::Malformed(name, "visible ASCII"))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = [0; 32];
    for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
