//! Private keys: read from whatever form they are kept in, parsed once per generation, shared by those who sign.
//!
//! `der`, `pem` and `jwk` say what a file holds ([`Parts`]), without regard to what it is wanted for; here it is held
//! against the algorithm and handed to the crypto provider. The one thing in `sign` that takes randomness by itself:
//! ECDSA and PSS need some that nobody else has seen, and the provider draws it. Keys of HMACs are in `keyed`.
//! Caller: [`super::material::Kind::load`].

mod der;
mod jwk;
mod pem;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::SignError;
use super::material::decode_base64;
use crate::secret::value::BadReason;

/// What one private key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2).
    RsaSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsaSha512,
    /// RSASSA-PSS with SHA-256 and a salt of the same length (RFC 8017 section 8.1).
    PssSha256,
    /// RSASSA-PSS with SHA-384 and a salt of the same length.
    PssSha384,
    /// RSASSA-PSS with SHA-512 and a salt of the same length.
    PssSha512,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// How an ECDSA signature is written; the other algorithms have one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EcdsaForm {
    /// `ECDSA-Sig-Value` (RFC 3279 section 2.2.3), as X.509 and most programs have it.
    Der,
    /// `r || s`, each as long as the curve's order: 64 or 96 bytes (RFC 7518 section 3.4).
    Fixed,
}

/// A private key ready for use, shared by those who hold it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Arc<Pair>);

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    /// The provider fixes the form of a signature with the key.
    Ecdsa(Box<EcdsaKeyPair>, Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// A number or a text of a key; wiped.
type Number = Zeroizing<Vec<u8>>;

/// What a file holds. Numbers are big-endian, without leading zeros where they are RSA's.
enum Parts {
    Rsa(Box<Rsa>),
    Ec { curve: Curve, scalar: Number, point: Point },
    Ed25519 { seed: Number, public: Option<Vec<u8>> },
}

/// RFC 8017 section 3.2, second representation.
struct Rsa {
    use_: RsaUse,
    n: Number,
    e: Number,
    d: Number,
    p: Number,
    q: Number,
    dp: Number,
    dq: Number,
    qi: Number,
}

/// What the algorithm identifier of a key allows (RFC 4055 section 1.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum RsaUse {
    Any,
    PssAlone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

/// The public part that stands beside the scalar of an EC key.
enum Point {
    /// `04 || x || y`
    Whole(Vec<u8>),
    Compressed,
    Missing,
}

/// Why a file is no private key: what it is instead. A fixed text but for names of types; no byte of a key.
struct Instead(Cow<'static, str>);

impl Instead {
    const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// The least and the most bits of an RSA modulus that the crypto provider signs with.
const RSA_BITS: (usize, usize) = (2048, 4096);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// Reads a key in any form: PEM (PKCS#8, PKCS#1, SEC1; certificates beside it are passed over), JWK (RFC 7517; also a
    /// set with one key), the JSON file of a Google service account, base64 or plain bytes of DER, and of Ed25519 the
    /// seed of 32 bytes, or seed and public key, 64 bytes.
    ///
    /// # Errors
    /// What was found in place of a key for `algorithm`, and which forms were tried.
    pub(super) fn load(raw: &[u8], algorithm: KeyAlgorithm) -> Result<Self, BadReason> {
        if raw.iter().all(u8::is_ascii_whitespace) {
            return Err(BadReason::Empty);
        }
        let pair = parts(raw, algorithm).and_then(|parts| pair(&parts, algorithm));
        pair.map(|pair| Self(Arc::new(pair))).map_err(|Instead(found)| {
            let seed = if algorithm == KeyAlgorithm::Ed25519 { ", seed" } else { "" };
            BadReason::Key(format!(
                "this is {found}; needed is {}. Forms tried: PEM (PKCS#8, PKCS#1, SEC1), JWK, base64, DER{seed}",
                algorithm.needs()
            ))
        })
    }

    /// Signs. ECDSA and PSS give another signature each time.
    ///
    /// # Errors
    /// [`SignError::Key`] when the operating system gives no randomness, or an RSA signature does not verify.
    pub fn sign(&self, text: &[u8], form: EcdsaForm) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &*self.0 {
            Pair::Rsa(key, encoding) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, text, &mut out).map_err(|_| SignError::Key)?;
                Ok(out)
            }
            Pair::Ecdsa(der, fixed) => {
                let key = if form == EcdsaForm::Der { der } else { fixed };
                Ok(key.sign(&random, text).map_err(|_| SignError::Key)?.as_ref().to_vec())
            }
            Pair::Ed25519(key) => Ok(key.sign(text).as_ref().to_vec()),
        }
    }

    /// The public part: an `RSAPublicKey` in DER, an uncompressed point, or the 32 bytes of Ed25519.
    pub fn public(&self) -> &[u8] {
        match &*self.0 {
            Pair::Rsa(key, _) => key.public_key().as_ref(),
            Pair::Ecdsa(key, _) => key.public_key().as_ref(),
            Pair::Ed25519(key) => key.public_key().as_ref(),
        }
    }
}

impl KeyAlgorithm {
    /// The key that it needs, for messages.
    fn needs(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "an EC private key on P-256",
            Self::EcdsaP384 => "an EC private key on P-384",
            Self::Ed25519 => "an Ed25519 private key",
            _ => "an RSA private key of 2048 to 4096 bits",
        }
    }

    fn rsa(self) -> Option<&'static dyn RsaEncoding> {
        Some(match self {
            Self::RsaSha256 => &signature::RSA_PKCS1_SHA256,
            Self::RsaSha384 => &signature::RSA_PKCS1_SHA384,
            Self::RsaSha512 => &signature::RSA_PKCS1_SHA512,
            Self::PssSha256 => &signature::RSA_PSS_SHA256,
            Self::PssSha384 => &signature::RSA_PSS_SHA384,
            Self::PssSha512 => &signature::RSA_PSS_SHA512,
            Self::EcdsaP256 | Self::EcdsaP384 | Self::Ed25519 => return None,
        })
    }

    /// The curve, and the provider's two names for signatures on it.
    fn ecdsa(self) -> Option<(Curve, &'static EcdsaSigningAlgorithm, &'static EcdsaSigningAlgorithm)> {
        match self {
            Self::EcdsaP256 => Some((
                Curve::P256,
                &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            )),
            Self::EcdsaP384 => Some((
                Curve::P384,
                &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            )),
            _ => None,
        }
    }

    fn is_pss(self) -> bool {
        matches!(self, Self::PssSha256 | Self::PssSha384 | Self::PssSha512)
    }
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    /// Bytes of a scalar and of a coordinate.
    fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// By its name in a JWK (RFC 7518 section 6.2.1.1).
    fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P384].into_iter().find(|curve| curve.name() == name)
    }
}

/// Finds out in which form a key stands. The order is that of certainty: a form that shows itself comes first.
fn parts(raw: &[u8], algorithm: KeyAlgorithm) -> Result<Parts, Instead> {
    if raw.first() == Some(&0x30) && der::is_whole(raw) {
        return der::parts(raw);
    }
    // A text of that length is something else, such as the seed in hexadecimal.
    let bare = algorithm == KeyAlgorithm::Ed25519 && !raw.iter().all(u8::is_ascii_graphic);
    if let (true, Some(parts)) = (bare, seed_of(raw)) {
        return Ok(parts);
    }
    let text = raw.trim_ascii();
    if text.first() == Some(&b'{') {
        return jwk::parts(text);
    }
    if raw.windows(pem::BEGIN.len()).any(|window| window == pem::BEGIN) {
        return pem::parts(raw);
    }
    let joined: Number = Zeroizing::new(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let Ok(decoded) = decode_base64(&joined) else {
        return Err(Instead::new("no key in any form that is known"));
    };
    if decoded.first() == Some(&0x30) && der::is_whole(&decoded) {
        return der::parts(&decoded);
    }
    match seed_of(&decoded) {
        Some(parts) => Ok(parts),
        None => Err(Instead(format!("base64 of {} bytes that are no key", decoded.len()).into())),
    }
}

/// The bare forms of an Ed25519 key: 32 bytes, or 64 of which the second half is the public key.
fn seed_of(bytes: &[u8]) -> Option<Parts> {
    let (seed, public) = match bytes.len() {
        32 => (bytes, None),
        64 => (&bytes[..32], Some(bytes[32..].to_vec())),
        _ => return None,
    };
    Some(Parts::Ed25519 { seed: Zeroizing::new(seed.to_vec()), public })
}

/// Holds what was found against what is needed.
fn pair(parts: &Parts, algorithm: KeyAlgorithm) -> Result<Pair, Instead> {
    match (parts, algorithm.rsa(), algorithm.ecdsa()) {
        (Parts::Rsa(rsa), Some(encoding), _) => rsa_pair(rsa, algorithm, encoding),
        (Parts::Ec { curve, scalar, point }, _, Some((wanted, der, fixed))) if *curve == wanted => {
            ec_pair(*curve, scalar, point, [der, fixed])
        }
        (Parts::Ed25519 { seed, public }, None, None) => ed25519_pair(seed, public.as_deref()),
        (Parts::Rsa(_), ..) => Err(Instead::new("an RSA private key")),
        (Parts::Ec { curve, .. }, ..) => Err(Instead(format!("an EC private key on {}", curve.name()).into())),
        (Parts::Ed25519 { .. }, ..) => Err(Instead::new("an Ed25519 private key")),
    }
}

fn rsa_pair(rsa: &Rsa, algorithm: KeyAlgorithm, encoding: &'static dyn RsaEncoding) -> Result<Pair, Instead> {
    if rsa.use_ == RsaUse::PssAlone && !algorithm.is_pss() {
        return Err(Instead::new("an RSA private key that is marked as good for PSS alone"));
    }
    let bits = |number: &Number| 8 * number.len() - number.first().map_or(0, |first| first.leading_zeros() as usize);
    let size = bits(&rsa.n);
    if size < RSA_BITS.0 || size > RSA_BITS.1 {
        return Err(Instead(format!("an RSA private key of {size} bits").into()));
    }
    // The provider's limits (its documentation of `from_components`): two primes of half the size each.
    if bits(&rsa.p) != bits(&rsa.q) || !bits(&rsa.p).is_multiple_of(512) {
        let found = "an RSA private key whose two primes are not of the usual sizes, half of the key's each";
        return Err(Instead::new(found));
    }
    let key = RsaKeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n: &**rsa.n, e: &**rsa.e },
        d: &**rsa.d,
        p: &**rsa.p,
        q: &**rsa.q,
        dP: &**rsa.dp,
        dQ: &**rsa.dq,
        qInv: &**rsa.qi,
    });
    let unsound = || Instead::new("an RSA private key whose numbers do not belong together");
    let key = key.map_err(|_| unsound())?;
    // Two of the numbers are not looked at before the first signature.
    let mut out = vec![0; key.public().modulus_len()];
    key.sign(encoding, &SystemRandom::new(), b"", &mut out).map_err(|_| unsound())?;
    Ok(Pair::Rsa(Box::new(key), encoding))
}

fn ec_pair(
    curve: Curve,
    scalar: &Number,
    point: &Point,
    forms: [&'static EcdsaSigningAlgorithm; 2],
) -> Result<Pair, Instead> {
    let point = match point {
        Point::Whole(point) => point,
        Point::Compressed => {
            let found =
                "an EC private key whose public part is compressed; write it anew (openssl ec -conv_form uncompressed)";
            return Err(Instead::new(found));
        }
        Point::Missing => {
            let found = "an EC private key without its public part; write it anew (openssl ec -in KEY -out NEW)";
            return Err(Instead::new(found));
        }
    };
    // Some programs leave leading zeros out.
    let mut padded = Zeroizing::new(vec![0; curve.bytes().saturating_sub(scalar.len())]);
    padded.extend_from_slice(scalar);
    let make = |form| {
        EcdsaKeyPair::from_private_key_and_public_key(form, &padded, point, &SystemRandom::new())
            .map(Box::new)
            .map_err(|_| Instead::new("an EC private key whose public part belongs to another key"))
    };
    Ok(Pair::Ecdsa(make(forms[0])?, make(forms[1])?))
}

fn ed25519_pair(seed: &Number, public: Option<&[u8]>) -> Result<Pair, Instead> {
    let key = match public {
        Some(public) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
        None => Ed25519KeyPair::from_seed_unchecked(seed),
    };
    key.map(Pair::Ed25519).map_err(|_| Instead::new("an Ed25519 private key whose public part belongs to another key"))
}
