//! The functions: their names, what they take and give. What they do to text is `step`, to lists `pairs`, to a
//! time `moment`.

use super::Type;
use crate::sign::material::HashAlgorithm;

/// A function by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Lower,
    Upper,
    Trim,
    Squeeze,
    Hex,
    HexUpper,
    Base64,
    Base64Url,
    UrlEncode,
    FormEncode,
    Json,
    DecodeHex,
    DecodeBase64,
    UrlDecode,
    FormDecode,
    Digest(HashAlgorithm),
    Hmac(HashAlgorithm),
    CutPrefix,
    CutSuffix,
    Before,
    After,
    First,
    Last,
    Replace,
    Prepend,
    Append,
    Default,
    If,
    Unless,
    Add,
    Format,
    Millis,
    Micros,
    Without,
    Only,
    With,
    NonEmpty,
    Scalars,
    LowerNames,
    Merged,
    Sorted,
    Pairs,
    Join,
}

/// Every function.
pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("lower", Function::Lower),
    ("upper", Function::Upper),
    ("trim", Function::Trim),
    ("squeeze", Function::Squeeze),
    ("hex", Function::Hex),
    ("HEX", Function::HexUpper),
    ("base64", Function::Base64),
    ("base64url", Function::Base64Url),
    ("urlencode", Function::UrlEncode),
    ("formencode", Function::FormEncode),
    ("json", Function::Json),
    ("decode_hex", Function::DecodeHex),
    ("decode_base64", Function::DecodeBase64),
    ("urldecode", Function::UrlDecode),
    ("formdecode", Function::FormDecode),
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
    ("cut_prefix", Function::CutPrefix),
    ("cut_suffix", Function::CutSuffix),
    ("before", Function::Before),
    ("after", Function::After),
    ("first", Function::First),
    ("last", Function::Last),
    ("replace", Function::Replace),
    ("prepend", Function::Prepend),
    ("append", Function::Append),
    ("default", Function::Default),
    ("if", Function::If),
    ("unless", Function::Unless),
    ("add", Function::Add),
    ("format", Function::Format),
    ("millis", Function::Millis),
    ("micros", Function::Micros),
    ("without", Function::Without),
    ("only", Function::Only),
    ("with", Function::With),
    ("non_empty", Function::NonEmpty),
    ("scalars", Function::Scalars),
    ("lower_names", Function::LowerNames),
    ("merged", Function::Merged),
    ("sorted", Function::Sorted),
    ("pairs", Function::Pairs),
    ("join", Function::Join),
];

impl Function {
    /// What stands in its parentheses, for messages: "NAME takes ..".
    pub(super) fn wants(self) -> &'static str {
        match self {
            Self::CutPrefix
            | Self::CutSuffix
            | Self::Before
            | Self::After
            | Self::Prepend
            | Self::Append
            | Self::Default
            | Self::Merged
            | Self::Join => "one text in quotes",
            Self::Replace => "two texts in quotes",
            Self::UrlEncode => "no argument, or in quotes the characters to leave as they are",
            Self::Format => "a format in quotes, and perhaps an offset such as \"+08:00\"",
            Self::Add => "a duration in quotes",
            Self::First | Self::Last => "a number of bytes",
            Self::Hmac(_) => "the secret that is its key",
            Self::If | Self::Unless => "conditions",
            Self::Without | Self::Only => "names of parameters",
            Self::With => "a name, and a text in quotes, secret:NAME or value.NAME",
            Self::Sorted => "no argument, or one of name, nocase and raw",
            Self::Pairs => "a format in quotes, and perhaps a separator in quotes",
            _ => "no argument",
        }
    }

    /// How a call of it is written, for hints.
    pub(super) fn example(self, name: &str) -> String {
        match self {
            Self::CutPrefix => "cut_prefix(\"/rest\")".to_owned(),
            Self::CutSuffix => "cut_suffix('/')".to_owned(),
            Self::Before | Self::After => format!("{name}(';')"),
            Self::First | Self::Last => format!("{name}(16)"),
            Self::Replace => "replace('+','%20')".to_owned(),
            Self::Prepend => "prepend('?')".to_owned(),
            Self::Append => "append('&')".to_owned(),
            Self::Default => "default('-')".to_owned(),
            Self::If | Self::Unless => format!("{name}(body), {name}(multipart), {name}(GET,HEAD) or {name}('0')"),
            Self::UrlEncode => "urlencode or urlencode('/')".to_owned(),
            Self::Format => "format(\"%Y-%m-%d\")".to_owned(),
            Self::Add => "add('5m') or add('-30s')".to_owned(),
            Self::Hmac(_) => format!("{name}(secret:NAME)"),
            Self::Without | Self::Only => format!("{name}(sign,'x-*')"),
            Self::With => "with(app_key,'2000') or with(key,secret:NAME)".to_owned(),
            Self::Merged | Self::Join => format!("{name}(',')"),
            Self::Sorted => "sorted or sorted(nocase)".to_owned(),
            Self::Pairs => "pairs('{k}={v}','&')".to_owned(),
            _ => name.to_owned(),
        }
    }

    /// Whether it works on a value of this type. A time counts as text, its seconds.
    pub(super) fn takes(self, input: Type) -> bool {
        match self {
            Self::Hex
            | Self::HexUpper
            | Self::Base64
            | Self::Base64Url
            | Self::UrlEncode
            | Self::FormEncode
            | Self::Digest(_)
            | Self::Hmac(_)
            | Self::First
            | Self::Last
            | Self::If
            | Self::Unless => matches!(input, Type::Text | Type::Bytes | Type::Time),
            Self::Sorted => matches!(input, Type::Pairs | Type::List),
            Self::Join => input == Type::List,
            _ if self.is_of_time() => input == Type::Time,
            _ if self.is_of_pairs() => input == Type::Pairs,
            _ => matches!(input, Type::Text | Type::Time),
        }
    }

    /// Whether it works on a time alone.
    pub(super) fn is_of_time(self) -> bool {
        matches!(self, Self::Add | Self::Format | Self::Millis | Self::Micros)
    }

    /// Whether it works on a list of parameters alone.
    pub(super) fn is_of_pairs(self) -> bool {
        matches!(
            self,
            Self::Without
                | Self::Only
                | Self::With
                | Self::NonEmpty
                | Self::Scalars
                | Self::LowerNames
                | Self::Merged
                | Self::Sorted
                | Self::Pairs
        )
    }

    /// The type of what comes out where `input` goes in.
    pub(super) fn gives(self, input: Type) -> Type {
        match self {
            Self::Digest(_) | Self::Hmac(_) | Self::DecodeHex | Self::DecodeBase64 => Type::Bytes,
            Self::First | Self::Last | Self::If | Self::Unless if input == Type::Bytes => Type::Bytes,
            Self::Add => Type::Time,
            _ => Type::Text,
        }
    }

    /// Whether what comes out is ASCII whatever goes in.
    pub(super) fn gives_ascii(self) -> bool {
        matches!(self, Self::Hex | Self::HexUpper | Self::Base64 | Self::Base64Url | Self::UrlEncode | Self::FormEncode)
    }
}
