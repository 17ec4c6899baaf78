//! The head of a request, line by line: what ends a line, what frames the body, where the head ends.
//!
//! Not here: whether a line is a sound request line or field line; the HTTP library refuses those itself.

use memchr::memchr;

use super::{Refusal, is_control};

/// Bytes kept of a line that is split over reads; no sound Content-Length or Transfer-Encoding line is longer.
const KEPT: usize = 64;

/// How the body of a request is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    #[default]
    None,
    Length(u64),
    Chunked,
}

/// How far the bytes led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of them are of the head.
    More,
    /// The head ended after `used` of them.
    End { used: usize, framing: Framing },
}

/// A head as far as it was read.
#[derive(Debug)]
pub(super) struct Head {
    section: Section,
    framing: Framing,
    /// The beginning of an unfinished line.
    kept: [u8; KEPT],
    /// The length of the unfinished line without its CR.
    length: usize,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    /// Nothing was read.
    #[default]
    Start,
    /// One empty line was read, which RFC 9112 section 2.2 lets pass.
    AfterEmptyLine,
    Fields,
}

/// Whether an unfinished line has come to its CR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Open,
    AfterCr,
}

impl Default for Head {
    fn default() -> Self {
        Self { section: Section::Start, framing: Framing::None, kept: [0; KEPT], length: 0, ending: Ending::Open }
    }
}

impl Head {
    /// Reads on. At the end of the head the state is a fresh one again.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let Some(length) = memchr(b'\n', rest) else {
                self.keep(rest)?;
                return Ok(Step::More);
            };
            at += length + 1;
            if self.line(&rest[..length])? == Line::Last {
                let framing = std::mem::take(&mut self.framing);
                self.section = Section::Start;
                return Ok(Step::End { used: at, framing });
            }
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.section != Section::Start || self.is_in_line()
    }

    fn is_in_line(&self) -> bool {
        self.length > 0 || self.ending == Ending::AfterCr
    }

    /// The end of a line, without its LF; where it began earlier, `self` knows the beginning.
    fn line(&mut self, end: &[u8]) -> Result<Line, Refusal> {
        if !self.is_in_line() {
            let Some((b'\r', text)) = end.split_last() else { return Err(Refusal::LineEnd) };
            self.check(text)?;
            return self.whole_line(text, text.len());
        }
        self.keep(end)?;
        if self.ending != Ending::AfterCr {
            return Err(Refusal::LineEnd);
        }
        self.ending = Ending::Open;
        let length = std::mem::take(&mut self.length);
        let kept = self.kept;
        self.whole_line(&kept[..length.min(KEPT)], length)
    }

    /// Takes a piece of a line that does not end with it.
    fn keep(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.ending == Ending::AfterCr {
            return Err(Refusal::LineEnd);
        }
        let text = match piece.split_last() {
            Some((b'\r', text)) => {
                self.ending = Ending::AfterCr;
                text
            }
            _ => piece,
        };
        self.check(text)?;
        if self.length < KEPT {
            let count = text.len().min(KEPT - self.length);
            self.kept[self.length..self.length + count].copy_from_slice(&text[..count]);
        }
        self.length = self.length.saturating_add(text.len());
        Ok(())
    }

    fn check(&self, text: &[u8]) -> Result<(), Refusal> {
        // Without an early end, so that it compiles to vector instructions.
        if text.iter().fold(false, |found, &byte| found | is_control(byte)) {
            return Err(Refusal::Control);
        }
        if self.section != Section::Fields && memchr(b'#', text).is_some() {
            return Err(Refusal::Fragment);
        }
        Ok(())
    }

    /// A line of `length` bytes, of which `text` has the first ones at least.
    fn whole_line(&mut self, text: &[u8], length: usize) -> Result<Line, Refusal> {
        match (self.section, length) {
            (Section::Start, 0) => self.section = Section::AfterEmptyLine,
            (Section::AfterEmptyLine, 0) => return Err(Refusal::EmptyLines),
            (Section::Start | Section::AfterEmptyLine, _) => self.section = Section::Fields,
            (Section::Fields, 0) => return Ok(Line::Last),
            (Section::Fields, _) => self.field(text, length)?,
        }
        Ok(Line::Inner)
    }

    fn field(&mut self, text: &[u8], length: usize) -> Result<(), Refusal> {
        match text.first() {
            Some(b' ' | b'\t') => Err(Refusal::Folded),
            Some(b'c' | b'C') => match value_of(text, b"content-length") {
                Some(value) => self.content_length(value, length),
                None => Ok(()),
            },
            Some(b't' | b'T') => match value_of(text, b"transfer-encoding") {
                Some(value) => self.transfer_encoding(value, length),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8], length: usize) -> Result<(), Refusal> {
        match self.framing {
            Framing::None => {}
            Framing::Length(_) => return Err(Refusal::ContentLength),
            Framing::Chunked => return Err(Refusal::TwoFramings),
        }
        let value = if length > KEPT { None } else { decimal(trim(value)) };
        self.framing = Framing::Length(value.ok_or(Refusal::ContentLength)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8], length: usize) -> Result<(), Refusal> {
        match self.framing {
            Framing::None => {}
            Framing::Length(_) => return Err(Refusal::TwoFramings),
            Framing::Chunked => return Err(Refusal::TransferEncoding),
        }
        if length > KEPT || !trim(value).eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferEncoding);
        }
        self.framing = Framing::Chunked;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Inner,
    Last,
}

/// The value of a field line of this name. The library takes no name with anything between it and the colon.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then_some(value)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(|byte| !is_space(byte)) else { return &[] };
    let last = value.iter().rposition(|byte| !is_space(byte)).unwrap_or(first);
    &value[first..=last]
}

/// A number of at most 19 digits, which always fits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}
