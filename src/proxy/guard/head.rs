//! The head of a request, line by line: what ends a line, what frames the body, where the head ends.
//!
//! Not here: whether a line is a sound request line or field line; the HTTP library refuses those itself.

use memchr::{memchr, memchr2};

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
    /// The method is CONNECT, whose content is none of HTTP (RFC 9110 section 9.3.6).
    Opaque,
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
    method: Method,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Method {
    #[default]
    Other,
    Connect,
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
        let (framing, method) = (Framing::None, Method::Other);
        Self { section: Section::Start, framing, method, kept: [0; KEPT], length: 0, ending: Ending::Open }
    }
}

impl Head {
    /// Reads on. At the end of the head the state is a fresh one again.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let step = self.lines(bytes)?;
        let used = match step {
            Step::More => bytes.len(),
            Step::End { used, .. } => used,
        };
        if has_control(&bytes[..used]) { Err(Refusal::Control) } else { Ok(step) }
    }

    fn lines(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let line = if self.ending == Ending::AfterCr {
                at += 1;
                self.split_line(rest)?
            } else {
                let Some(length) = memchr2(b'\r', b'\n', rest) else {
                    self.keep(rest)?;
                    return Ok(Step::More);
                };
                let (text, end) = rest.split_at(length);
                match (end, self.length) {
                    ([b'\r', b'\n', ..], 0) => {
                        at += length + 2;
                        self.no_fragment(text)?;
                        self.whole_line(text, length)?
                    }
                    ([b'\r', ..], _) => {
                        at += length + 1;
                        self.keep(text)?;
                        self.ending = Ending::AfterCr;
                        continue;
                    }
                    _ => return Err(Refusal::LineEnd),
                }
            };
            if line == Line::Last {
                let mut framing = std::mem::take(&mut self.framing);
                if std::mem::take(&mut self.method) == Method::Connect {
                    framing = Framing::Opaque;
                }
                self.section = Section::Start;
                return Ok(Step::End { used: at, framing });
            }
        }
        Ok(Step::More)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.section != Section::Start || self.length > 0 || self.ending == Ending::AfterCr
    }

    /// The end of a line whose beginning was kept: what follows its CR.
    fn split_line(&mut self, after_cr: &[u8]) -> Result<Line, Refusal> {
        if after_cr.first() != Some(&b'\n') {
            return Err(Refusal::LineEnd);
        }
        self.ending = Ending::Open;
        let length = std::mem::take(&mut self.length);
        let kept = self.kept;
        self.whole_line(&kept[..length.min(KEPT)], length)
    }

    /// Keeps a piece of a line whose end is not there yet.
    fn keep(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.no_fragment(text)?;
        if self.length < KEPT {
            let count = text.len().min(KEPT - self.length);
            self.kept[self.length..self.length + count].copy_from_slice(&text[..count]);
        }
        self.length = self.length.saturating_add(text.len());
        Ok(())
    }

    fn no_fragment(&self, text: &[u8]) -> Result<(), Refusal> {
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
            (Section::Start | Section::AfterEmptyLine, _) => {
                self.section = Section::Fields;
                if text.starts_with(b"CONNECT ") {
                    self.method = Method::Connect;
                }
            }
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
            Framing::Chunked | Framing::Opaque => return Err(Refusal::TwoFramings),
        }
        let value = if length > KEPT { None } else { decimal(trim(value)) };
        self.framing = Framing::Length(value.ok_or(Refusal::ContentLength)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8], length: usize) -> Result<(), Refusal> {
        match self.framing {
            Framing::None => {}
            Framing::Length(_) => return Err(Refusal::TwoFramings),
            Framing::Chunked | Framing::Opaque => return Err(Refusal::TransferEncoding),
        }
        if length > KEPT || !trim(value).eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferEncoding);
        }
        self.framing = Framing::Chunked;
        Ok(())
    }
}

/// Whether there is a control character other than those that end lines, which are looked at one by one.
/// In blocks and without an early end, so that it compiles to vector instructions.
fn has_control(bytes: &[u8]) -> bool {
    const BLOCK: usize = 16;
    let one = |byte: u8| is_control(byte) & (byte != b'\r') & (byte != b'\n');
    let Some(last) = bytes.last_chunk::<BLOCK>() else { return bytes.iter().any(|&byte| one(byte)) };
    let mut found = [false; BLOCK];
    // The last block overlaps the one before, so that none is shorter.
    for block in bytes.as_chunks::<BLOCK>().0.iter().chain([last]) {
        for (found, &byte) in found.iter_mut().zip(block) {
            *found |= one(byte);
        }
    }
    found.contains(&true)
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
