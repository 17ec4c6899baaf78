//! Reads a worker's bytes beside the HTTP library, and refuses what that library lets pass or hides.
//!
//! The library reads bare LF as an end of line, drops `#fragment`, settles Transfer-Encoding against
//! Content-Length by itself, and skips chunk extensions and trailers unread: other readers of the same
//! bytes might see other requests. The guard follows the connection byte for byte, over pipelined
//! requests too. It never changes what a message means: what it accepts goes to the library as it came.
//! Because it knows the framing by stricter rules than the library's, both see a message end at the same
//! byte, or the guard has refused before that.
//!
//! Here is pure state; [`super::worker_io`] feeds it and carries out its refusals.

mod chunked;
pub mod frames;
mod head;

use chunked::Chunked;
use head::{Head, Step};

pub use chunked::{EXTENSION_LIMIT, TRAILER_LIMIT};

/// Follows one connection.
#[derive(Debug, Default)]
pub struct Guard {
    head: Head,
    phase: Phase,
    body_begun: bool,
}

#[derive(Debug, Default)]
enum Phase {
    /// In a head, or before one.
    #[default]
    Head,
    /// So many bytes of a body are left; never 0.
    Length(u64),
    Chunked(Chunked),
    /// After the head of a CONNECT: a tunnel, or the connection ends. Either way this is no HTTP.
    Opaque,
}

/// What made the guard refuse, and what of the bytes is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In a head: where, in the bytes just shown, this head begins (0 when it began before them).
    /// In a body: how many of the bytes just shown come before the violation.
    pub good: usize,
    /// The part of a message that it is in.
    pub part: Part,
    /// What is wrong.
    pub refusal: Refusal,
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The head: nothing of the request was handed over yet.
    Head,
    /// The body: the request is under way.
    Body,
}

/// A rule that a worker's bytes break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 section 2.2 lets a reader take a bare LF; not taking it is safer.
    #[error("a line of the request head does not end with CRLF")]
    LineEnd,
    /// RFC 9110 section 5.5.
    #[error("a control character in the request head")]
    Control,
    /// RFC 9112 section 3.2: no form of request target has a fragment.
    #[error("the request target has a fragment (#)")]
    Fragment,
    /// RFC 9112 section 2.2: a reader should skip at least one.
    #[error("more than one empty line before the request")]
    EmptyLines,
    /// RFC 9112 section 5.2.
    #[error("a folded header line")]
    Folded,
    /// RFC 9112 section 6.3.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// RFC 9112 section 6.1.
    #[error("Transfer-Encoding is something else than one \"chunked\"")]
    TransferEncoding,
    /// RFC 9112 section 6.3, rule 3.
    #[error("both Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// RFC 9112 section 7.1.
    #[error("a malformed chunk size")]
    ChunkSize,
    /// RFC 9112 section 7.1.1.
    #[error("a malformed chunk extension, or too many of them")]
    ChunkExtension,
    /// RFC 9112 section 7.1: size and data end with CRLF.
    #[error("a chunk does not end with CRLF")]
    ChunkEnd,
    /// RFC 9112 section 7.1.2.
    #[error("malformed trailers, or too many of them")]
    Trailer,
}

impl Guard {
    /// Looks at the next bytes of the connection. After a violation the guard must not be asked again.
    pub fn watch(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.phase {
                Phase::Head => match self.head.read(rest) {
                    Ok(Step::More) => return Ok(()),
                    Ok(Step::End { used, framing }) => {
                        self.phase = framing.into();
                        self.body_begun = false;
                        at += used;
                    }
                    Err(refusal) => return Err(Violation { good: at, part: Part::Head, refusal }),
                },
                Phase::Opaque => return Ok(()),
                Phase::Length(left) => {
                    self.body_begun = true;
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= used as u64;
                    at += used;
                    if *left == 0 {
                        self.phase = Phase::Head;
                    }
                }
                Phase::Chunked(chunked) => {
                    self.body_begun = true;
                    let (used, outcome) = chunked.read(rest);
                    at += used;
                    match outcome {
                        Ok(chunked::Step::More) => return Ok(()),
                        Ok(chunked::Step::End) => self.phase = Phase::Head,
                        Err(refusal) => return Err(Violation { good: at, part: Part::Body, refusal }),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.head.has_begun()
    }

    /// Whether bytes of the last message's body have come.
    pub fn has_body_begun(&self) -> bool {
        self.body_begun
    }

    /// Whether a body has begun and not ended.
    pub fn is_in_body(&self) -> bool {
        !matches!(self.phase, Phase::Head)
    }
}

impl From<head::Framing> for Phase {
    fn from(framing: head::Framing) -> Self {
        match framing {
            head::Framing::None | head::Framing::Length(0) => Self::Head,
            head::Framing::Length(length) => Self::Length(length),
            head::Framing::Chunked => Self::Chunked(Chunked::default()),
            head::Framing::Opaque => Self::Opaque,
        }
    }
}

/// A control character, HTAB excepted; CR and LF are ones too.
fn is_control(byte: u8) -> bool {
    (byte < b' ') & (byte != b'\t') | (byte == 0x7f)
}

#[cfg(test)]
mod tests;
