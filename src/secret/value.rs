//! What a file held: good bytes, or the reason why they cannot be used.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Bytes of one secret; wiped when the last owner is gone. `Debug` shows the length only.
#[derive(Clone)]
pub struct SecretBytes {
    bytes: Arc<Zeroizing<Box<[u8]>>>,
    /// How many of them count; what is cut off a text stays in memory that is wiped all the same.
    end: u32,
}

impl SecretBytes {
    /// Takes ownership of bytes that were read.
    pub fn new(bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self::owning(bytes.into_boxed_slice());
        }
        // Shrinking might move the bytes and leave a copy behind: that copy is wiped here.
        Self::copy_of(&Zeroizing::new(bytes))
    }

    /// Copies bytes whose owner wipes its own.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::owning(bytes.into())
    }

    fn owning(bytes: Box<[u8]>) -> Self {
        // No secret is larger: the limits are below.
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { bytes: Arc::new(Zeroizing::new(bytes)), end }
    }

    /// The first bytes of the same secret, without a copy.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let end = u32::try_from(count).unwrap_or(u32::MAX).min(self.end);
        Self { bytes: self.bytes.clone(), end }
    }

    /// The bytes. Named so that a reader sees where secrets are used.
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.end as usize).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.expose().len())
    }
}

/// Why a secret cannot be used. The texts are shown to operators; none has any part of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReason {
    /// No such file.
    #[error("missing")]
    Missing,
    /// No bytes, or only line ends.
    #[error("empty")]
    Empty,
    /// Over the limit of its kind.
    #[error("too large ({size} bytes, at most {limit})")]
    TooLarge {
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A directory, FIFO, socket or device.
    #[error("not a regular file ({0})")]
    NotRegular(&'static str),
    /// A link that leads nowhere or round in a circle.
    #[error("link leads nowhere")]
    BrokenLink,
    /// The operating system refused.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// Text that begins with a byte order mark (UTF-8 or UTF-16).
    #[error("byte order mark")]
    ByteOrderMark,
    /// CR or LF inside a text value.
    #[error("line break inside the value")]
    LineBreak,
    /// NUL, another control byte or DEL inside a text value.
    #[error("control byte inside the value")]
    ControlByte,
    /// A byte over 0x7E where a header is made of it.
    #[error("non-ASCII byte in a value that a header is made of")]
    NonAscii,
    /// Bytes that do not decode as the configuration says (`hex`, `base64`).
    #[error("not valid {0}")]
    Encoding(&'static str),
    /// A PEM file, key or certificate that cannot be used; the text says what was found.
    #[error("{0}")]
    Pem(String),
    /// A file that is no private key of the type that is needed; the text says what was found and which forms were tried.
    #[error("{0}")]
    Key(String),
    /// A certificate past its end; RFC 5280 section 4.1.2.5.
    #[error("the certificate expired at {0}")]
    Expired(Second),
    /// A certificate before its beginning. It is used once that has come.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(Second),
    /// Certificate and key are each good but do not belong together.
    #[error("key does not match certificate")]
    PairMismatch,
    /// A character that the scheme cannot carry, such as `:` in a Basic user name.
    #[error("{0}")]
    NotAllowed(&'static str),
}

/// A second since 1970, shown as RFC 3339 in UTC; as the number where the calendar ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second(pub i64);

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "second {}", self.0),
        }
    }
}

impl BadReason {
    /// A short word from a closed set, for metric labels.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::NotRegular(_) => "not_regular",
            Self::BrokenLink => "broken_link",
            Self::Unreadable(_) => "unreadable",
            Self::ByteOrderMark => "byte_order_mark",
            Self::LineBreak => "line_break",
            Self::ControlByte => "control_byte",
            Self::NonAscii => "non_ascii",
            Self::Encoding(_) => "encoding",
            Self::Pem(_) => "pem",
            Self::Key(_) => "key",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::PairMismatch => "pair_mismatch",
            Self::NotAllowed(_) => "not_allowed",
        }
    }
}

/// Largest text secret, in bytes.
pub const TEXT_LIMIT: u64 = 64 * 1024;
/// Largest PEM file, in bytes.
pub const PEM_LIMIT: u64 = 1024 * 1024;
