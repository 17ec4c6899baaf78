//! Tokens at rest: AES-256-GCM under the keys of `[state] key`. The connection and the field are associated data, so that a
//! sealed token that was moved to another tenant, or from refresh to access, does not open. Callers: `ledger`.
//!
//! A sealed value is: 1 byte form (1), 8 bytes key id, 12 bytes random nonce, the ciphertext, 16 bytes tag. With random
//! nonces a key is good for 2^32 values (NIST SP 800-38D section 8.3). ring keeps expanded keys in memory that it does not
//! wipe; our own copies are wiped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::StoreError;
use crate::secret::value::SecretBytes;

/// The only form that there is.
const FORM: u8 = 1;
const ID: usize = 8;
const TAG: usize = 16;
const HEAD: usize = 1 + ID + NONCE_LEN;
/// Characters that a passphrase has at least.
const PASSPHRASE: usize = 32;

/// What is sealed, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    /// Such as `access`.
    pub(super) field: &'a str,
    /// What names the row.
    pub(super) row: &'a [&'a [u8]],
}

/// The keys: the first seals, all open.
pub(super) struct Keyring {
    keys: Vec<Key>,
}

struct Key {
    id: [u8; ID],
    key: LessSafeKey,
}

/// A value that does not open: another key, another place, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shut;

/// Bytes of key material that HKDF is asked for.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], label: &[u8]) -> Result<Zeroizing<[u8; N]>, StoreError> {
    let mut out = Zeroizing::new([0; N]);
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
    let made = prk.expand(&[label], Length(N)).and_then(|okm| okm.fill(&mut *out));
    made.map(|()| out).map_err(|_| StoreError::Key("cannot be used"))
}

/// The 32 bytes that a key file means: these very bytes, or in hex or base64 (also without padding, or URL-safe), or any
/// other text of at least 32 characters by HKDF-SHA256. Line ends after a text do not count.
fn key_of(content: &[u8]) -> Result<Zeroizing<[u8; 32]>, StoreError> {
    if let Ok(raw) = <[u8; 32]>::try_from(content) {
        return Ok(Zeroizing::new(raw));
    }
    let ends = content.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = content.get(..content.len() - ends).unwrap_or_default();
    if let Ok(raw) = <[u8; 32]>::try_from(text) {
        return Ok(Zeroizing::new(raw));
    }
    if let Some(key) = hex(text) {
        return Ok(key);
    }
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        if let Ok(bytes) = engine.decode(text).map(Zeroizing::new)
            && let Ok(raw) = <[u8; 32]>::try_from(bytes.as_slice())
        {
            return Ok(Zeroizing::new(raw));
        }
    }
    match std::str::from_utf8(text) {
        Ok(text) if text.chars().count() >= PASSPHRASE => {
            derive(b"countersign state key 1", text.as_bytes(), b"aes-256-gcm")
        }
        _ => Err(StoreError::Key(
            "a key is 32 bytes, raw or in hex or base64, or a text of at least 32 characters; `openssl rand -hex 32` makes one",
        )),
    }
}

fn hex(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?;
    }
    Some(key)
}

/// Form, key and place: nothing of a sealed value can be exchanged. Every part is told with its length.
fn associated(head: &[u8], seat: Seat<'_>) -> Vec<u8> {
    let mut data = Vec::with_capacity(64);
    for part in [head, seat.field.as_bytes()].into_iter().chain(seat.row.iter().copied()) {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

impl Keyring {
    /// From the contents of the key files.
    pub(super) fn new(contents: &[SecretBytes]) -> Result<Self, StoreError> {
        let mut keys: Vec<Key> = Vec::with_capacity(contents.len());
        for content in contents {
            let bytes = key_of(content.expose())?;
            let id = *derive::<ID>(b"countersign state key 1", &*bytes, b"id")?;
            let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(|_| StoreError::Key("cannot be used"))?;
            keys.push(Key { id, key: LessSafeKey::new(key) });
        }
        if keys.is_empty() {
            return Err(StoreError::Key("missing: tokens are not stored without a key"));
        }
        Ok(Self { keys })
    }

    /// Seals with the first key.
    pub(super) fn seal(&self, seat: Seat<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let first = self.keys.first().ok_or(StoreError::Key("missing"))?;
        let mut nonce = [0; NONCE_LEN];
        let filled = SystemRandom::new().fill(&mut nonce);
        filled.map_err(|_| StoreError::Unavailable("the operating system gives no randomness".into()))?;
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + TAG);
        sealed.push(FORM);
        sealed.extend_from_slice(&first.id);
        let data = associated(&sealed, seat);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = sealed.get_mut(HEAD..).unwrap_or_default();
        let tag = first.key.seal_in_place_separate_tag(nonce, Aad::from(data), body);
        sealed.extend_from_slice(tag.map_err(|_| StoreError::Key("cannot be used"))?.as_ref());
        Ok(sealed)
    }

    /// Opens with whichever key it was sealed with.
    pub(super) fn open(&self, seat: Seat<'_>, sealed: &[u8]) -> Result<SecretBytes, Shut> {
        let (head, body) = sealed.split_at_checked(HEAD).ok_or(Shut)?;
        let (named, nonce) = head.split_at_checked(1 + ID).ok_or(Shut)?;
        let key = self.keys.iter().find(|key| named.first() == Some(&FORM) && named.get(1..) == Some(&key.id[..]));
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Shut)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let opened = key.ok_or(Shut)?.key.open_in_place(nonce, Aad::from(associated(named, seat)), &mut plain);
        opened.map(|plain| SecretBytes::copy_of(plain)).map_err(|_| Shut)
    }

    /// Whether the first key sealed it.
    pub(super) fn is_current(&self, sealed: &[u8]) -> bool {
        self.keys.first().is_some_and(|key| sealed.get(1..=ID) == Some(&key.id[..]))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ring(contents: &[&[u8]]) -> Keyring {
        Keyring::new(&contents.iter().map(|content| SecretBytes::copy_of(content)).collect::<Vec<_>>()).unwrap()
    }

    const SEAT: Seat<'static> = Seat { field: "access", row: &[b"shop", b"m1"] };

    #[test]
    fn one_key_in_every_spelling() {
        let raw: Vec<u8> = (0..32).collect();
        let hex = "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let sealed = ring(&[&raw]).seal(SEAT, b"token").unwrap();
        for spelling in [
            hex.to_owned(),
            format!("{hex}\n"),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\r\n".to_owned(),
        ] {
            assert_eq!(ring(&[spelling.as_bytes()]).open(SEAT, &sealed).unwrap().expose(), b"token", "{spelling}");
        }
        assert!(ring(&[b"correct horse battery staple, and more"]).open(SEAT, &sealed).is_err());
        for bad in [&b""[..], b"short", &[0xff; 40], b"0123456789012345678901234567890"] {
            assert!(matches!(Keyring::new(&[SecretBytes::copy_of(bad)]), Err(StoreError::Key(_))), "{bad:?}");
        }
        assert!(Keyring::new(&[]).is_err());
    }

    /// Key and id of a passphrase, computed with Python's `cryptography` (HKDF, SHA-256) from the labels of this file;
    /// the sealed value made there with its AESGCM.
    #[test]
    fn a_value_that_another_program_sealed_opens() {
        let keys = ring(&[PASSPHRASE_OF_VECTOR.as_bytes()]);
        let digits = VECTOR.as_bytes().chunks_exact(2);
        let sealed: Vec<u8> =
            digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect();
        assert_eq!(keys.open(SEAT, &sealed).unwrap().expose(), b"a token of another program");
    }

    const PASSPHRASE_OF_VECTOR: &str = "correct horse battery staple, and more";
    const VECTOR: &str = "01b2ba7d95fa684044000102030405060708090a0b3a93a7c3594d4a79f4281d577ace6b7e40cc7372f0607b8af55dc6575472914d24888f1212eb5a2f28f7";

    #[test]
    fn nothing_opens_in_another_place_or_after_a_change() {
        let keys = ring(&[&[7; 32]]);
        let sealed = keys.seal(SEAT, b"token").unwrap();
        assert_eq!(keys.open(SEAT, &sealed).unwrap().expose(), b"token");
        for seat in [
            Seat { field: "refresh", ..SEAT },
            Seat { row: &[b"shop", b"m2"], ..SEAT },
            Seat { row: &[b"sho", b"pm1"], ..SEAT },
            Seat { row: &[b"shop"], ..SEAT },
        ] {
            assert_eq!(keys.open(seat, &sealed).unwrap_err(), Shut);
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(SEAT, &changed).is_err(), "byte {at}");
            assert!(keys.open(SEAT, &sealed[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn all_keys_open_and_the_first_seals() {
        let sealed = ring(&[&[1; 32]]).seal(SEAT, b"token").unwrap();
        let both = ring(&[&[2; 32], &[1; 32]]);
        assert!(both.open(SEAT, &sealed).is_ok() && !both.is_current(&sealed));
        let new = both.seal(SEAT, b"token").unwrap();
        assert!(both.is_current(&new) && ring(&[&[2; 32]]).open(SEAT, &new).is_ok());
        assert!(ring(&[&[2; 32]]).open(SEAT, &sealed).is_err());
        assert_ne!(new, both.seal(SEAT, b"token").unwrap(), "another nonce each time");
    }
}
