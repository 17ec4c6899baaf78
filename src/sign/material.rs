//! Secrets made ready for signing: checked by kind, prepared once per generation.
//!
//! The reasons are ordered by what a person would call the mistake: a file that begins with a byte
//! order mark is said to have one, although it also has control bytes. Caller: `snapshot`.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::key::{KeyAlgorithm, PrivateKey};
use crate::secret::value::{BadReason, SecretBytes, TEXT_LIMIT};
use crate::template::encode;

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
    /// Text that goes into a header: visible ASCII and space.
    HeaderText,
    /// Text that goes into a cookie: the cookie-octets of RFC 6265.
    CookieText,
    /// Text that goes into a query parameter (percent-encoded) or a template.
    Text,
    /// A user name of Basic or Digest: text without `:`.
    Username,
    /// A password of Basic or Digest: text.
    Password,
    /// An HMAC key.
    HmacKey(HashAlgorithm, KeyEncoding),
    /// A private key, in whatever form.
    PrivateKey(KeyAlgorithm),
}

/// A secret ready to be used.
#[derive(Clone, Debug)]
pub enum Material {
    /// Checked text, without trailing line ends.
    Text(SecretBytes),
    /// A keyed HMAC state, cloned per signature.
    Hmac(super::hmac::Key),
    /// A private key.
    Private(PrivateKey),
}

impl Kind {
    /// Checks and prepares the bytes of a file.
    pub fn load(self, bytes: &SecretBytes) -> Result<Material, BadReason> {
        let raw = bytes.expose();
        if raw.len() as u64 > TEXT_LIMIT {
            return Err(BadReason::TooLarge { size: raw.len() as u64, limit: TEXT_LIMIT });
        }
        match self {
            Self::HmacKey(algorithm, encoding) => {
                let key = decode_key(raw, encoding)?;
                Ok(Material::Hmac(super::hmac::Key::new(algorithm, &key)))
            }
            Self::PrivateKey(algorithm) => PrivateKey::load(raw, algorithm).map(Material::Private),
            Self::HeaderText => checked_text(bytes, header_text),
            Self::CookieText => checked_text(bytes, cookie_text),
            Self::Username => checked_text(bytes, username),
            Self::Text | Self::Password => checked_text(bytes, |_| Ok(())),
        }
    }
}

fn checked_text(bytes: &SecretBytes, allowed: fn(&str) -> Result<(), BadReason>) -> Result<Material, BadReason> {
    let text = plain_text(bytes.expose())?;
    allowed(text)?;
    // Only the end of the file is cut.
    Ok(Material::Text(bytes.first(text.len())))
}

/// The rules that every text secret obeys; the result has no trailing line ends.
fn plain_text(raw: &[u8]) -> Result<&str, BadReason> {
    if [&b"\xEF\xBB\xBF"[..], b"\xFE\xFF", b"\xFF\xFE"].iter().any(|mark| raw.starts_with(mark)) {
        return Err(BadReason::ByteOrderMark);
    }
    let end = raw.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let cut = &raw[..end];
    if cut.is_empty() {
        return Err(BadReason::Empty);
    }
    if cut.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(BadReason::LineBreak);
    }
    if cut.iter().any(u8::is_ascii_control) {
        return Err(BadReason::ControlByte);
    }
    let text = std::str::from_utf8(cut).map_err(|_| BadReason::Encoding("UTF-8"))?;
    // The C1 controls, U+0080 to U+009F, are left.
    if text.chars().any(char::is_control) {
        return Err(BadReason::ControlByte);
    }
    Ok(text)
}

fn header_text(text: &str) -> Result<(), BadReason> {
    if text.is_ascii() { Ok(()) } else { Err(BadReason::NonAscii) }
}

/// RFC 6265 section 4.1.1, `cookie-octet`.
fn cookie_text(text: &str) -> Result<(), BadReason> {
    header_text(text)?;
    if text.bytes().any(|byte| matches!(byte, b' ' | b'"' | b',' | b';' | b'\\')) {
        return Err(BadReason::NotAllowed("a cookie cannot carry a space, quote, comma, semicolon or backslash"));
    }
    Ok(())
}

/// RFC 7617 section 2: the first colon ends the user name.
fn username(text: &str) -> Result<(), BadReason> {
    if text.contains(':') {
        return Err(BadReason::NotAllowed("a user name cannot have a colon"));
    }
    Ok(())
}

fn decode_key(raw: &[u8], encoding: KeyEncoding) -> Result<Zeroizing<Vec<u8>>, BadReason> {
    let key = match encoding {
        KeyEncoding::Bytes => Zeroizing::new(raw.to_vec()),
        KeyEncoding::Text => Zeroizing::new(plain_text(raw)?.as_bytes().to_vec()),
        KeyEncoding::Hex => decode_hex(plain_text(raw.trim_ascii())?.as_bytes())?,
        KeyEncoding::Base64 => decode_base64(plain_text(raw.trim_ascii())?.as_bytes())?,
    };
    if key.is_empty() { Err(BadReason::Empty) } else { Ok(key) }
}

fn decode_hex(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadReason> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BadReason::Encoding("hex"));
    }
    for [high, low] in pairs {
        match (encode::nibble(*high), encode::nibble(*low)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(BadReason::Encoding("hex")),
        }
    }
    Ok(out)
}

/// Standard or URL alphabet, with or without padding.
pub(super) fn decode_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadReason> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if url { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, LENIENT).decode(text).map(Zeroizing::new).map_err(|_| BadReason::Encoding("base64"))
}
