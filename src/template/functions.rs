//! The functions: their names, what they take and give, and what they do.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::Digest;
use zeroize::Zeroizing;

use super::{Type, encode};
use crate::sign::SignError;
use crate::sign::material::{HashAlgorithm, Material};

/// A function by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Lower,
    Upper,
    Trim,
    Hex,
    HexUpper,
    Base64,
    Base64Url,
    UrlEncode,
    FormEncode,
    Json,
    Digest(HashAlgorithm),
    Hmac(HashAlgorithm),
    Format,
    CutPrefix,
}

/// Every function.
pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("lower", Function::Lower),
    ("upper", Function::Upper),
    ("trim", Function::Trim),
    ("hex", Function::Hex),
    ("HEX", Function::HexUpper),
    ("base64", Function::Base64),
    ("base64url", Function::Base64Url),
    ("urlencode", Function::UrlEncode),
    ("formencode", Function::FormEncode),
    ("json", Function::Json),
    ("md5", Function::Digest(HashAlgorithm::Md5)),
    ("sha1", Function::Digest(HashAlgorithm::Sha1)),
    ("sha256", Function::Digest(HashAlgorithm::Sha256)),
    ("sha384", Function::Digest(HashAlgorithm::Sha384)),
    ("sha512", Function::Digest(HashAlgorithm::Sha512)),
    ("hmac_md5", Function::Hmac(HashAlgorithm::Md5)),
    ("hmac_sha1", Function::Hmac(HashAlgorithm::Sha1)),
    ("hmac_sha256", Function::Hmac(HashAlgorithm::Sha256)),
    ("hmac_sha384", Function::Hmac(HashAlgorithm::Sha384)),
    ("hmac_sha512", Function::Hmac(HashAlgorithm::Sha512)),
    ("format", Function::Format),
    ("cut_prefix", Function::CutPrefix),
];

/// What a function wants in its parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    Text,
    Secret,
}

impl Function {
    pub(super) fn wants(self) -> Wants {
        match self {
            Self::Format | Self::CutPrefix => Wants::Text,
            Self::Hmac(_) => Wants::Secret,
            _ => Wants::Nothing,
        }
    }

    /// How a call of it is written, for hints.
    pub(super) fn example(self, name: &str) -> String {
        match self {
            Self::Format => "format(\"%Y-%m-%d\")".to_owned(),
            Self::CutPrefix => "cut_prefix(\"/rest\")".to_owned(),
            Self::Hmac(_) => format!("{name}(secret:NAME)"),
            _ => name.to_owned(),
        }
    }

    /// Whether it works on a value of this type. A time counts as text, its seconds.
    pub(super) fn takes(self, input: Type) -> bool {
        match self {
            Self::Lower | Self::Upper | Self::Trim | Self::Json | Self::CutPrefix => input != Type::Bytes,
            Self::Format => input == Type::Time,
            _ => true,
        }
    }

    pub(super) fn gives(self) -> Type {
        match self {
            Self::Digest(_) | Self::Hmac(_) => Type::Bytes,
            _ => Type::Text,
        }
    }

    /// Whether what comes out is ASCII whatever goes in.
    pub(super) fn gives_ascii(self) -> bool {
        matches!(self, Self::Hex | Self::HexUpper | Self::Base64 | Self::Base64Url | Self::UrlEncode | Self::FormEncode)
    }
}

/// One function with its arguments, ready to run.
#[derive(Debug)]
pub(super) enum Step {
    /// A function without arguments.
    Plain(Function),
    /// `hmac_*(secret:NAME)`: the place of the key in the list of secrets, and its name.
    Hmac(usize, Box<str>),
    /// `cut_prefix("..")`
    CutPrefix(Box<str>),
}

impl Step {
    /// Appends the result for `input` to `out`.
    pub(super) fn apply(&self, input: &[u8], keys: &[Material], out: &mut Vec<u8>) -> Result<(), SignError> {
        match self {
            Self::Plain(function) => plain(*function, input, out),
            Self::Hmac(index, name) => match keys.get(*index) {
                Some(Material::Hmac(key)) => key.sign(input, out),
                _ => return Err(SignError::Missing(format!("secret:{name}"))),
            },
            Self::CutPrefix(prefix) => {
                out.extend_from_slice(input.strip_prefix(prefix.as_bytes()).unwrap_or(input));
            }
        }
        Ok(())
    }
}

fn plain(function: Function, input: &[u8], out: &mut Vec<u8>) {
    match function {
        Function::Lower => out.extend(input.iter().map(u8::to_ascii_lowercase)),
        Function::Upper => out.extend(input.iter().map(u8::to_ascii_uppercase)),
        Function::Trim => out.extend_from_slice(input.trim_ascii()),
        Function::Hex => encode::hex(input, out),
        Function::HexUpper => encode::hex_upper(input, out),
        Function::Base64 => out.extend_from_slice(Zeroizing::new(STANDARD.encode(input)).as_bytes()),
        Function::Base64Url => out.extend_from_slice(Zeroizing::new(URL_SAFE_NO_PAD.encode(input)).as_bytes()),
        Function::UrlEncode => encode::url(input, out),
        Function::FormEncode => encode::form(input, out),
        Function::Json => encode::json(input, out),
        Function::Digest(algorithm) => digest(algorithm, input, out),
        // These become a step or a source of their own when the template is compiled.
        Function::Hmac(_) | Function::Format | Function::CutPrefix => out.extend_from_slice(input),
    }
}

fn digest(algorithm: HashAlgorithm, input: &[u8], out: &mut Vec<u8>) {
    match algorithm {
        HashAlgorithm::Md5 => out.extend_from_slice(&md5::Md5::digest(input)),
        HashAlgorithm::Sha1 => out.extend_from_slice(&sha1::Sha1::digest(input)),
        HashAlgorithm::Sha256 => out.extend_from_slice(&sha2::Sha256::digest(input)),
        HashAlgorithm::Sha384 => out.extend_from_slice(&sha2::Sha384::digest(input)),
        HashAlgorithm::Sha512 => out.extend_from_slice(&sha2::Sha512::digest(input)),
    }
}
