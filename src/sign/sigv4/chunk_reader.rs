//! Takes the chunks of `aws-chunked` apart, as strictly as they can be read: sizes in hexadecimal, a signature where
//! one belongs, CR LF and nothing else. Knows nothing of what leaves. Caller: `chunks`.

use super::chunks::{ChunkError, Framing, TAIL};

/// What comes before a chunk's signature.
const EXTENSION: &[u8] = b";chunk-signature=";
/// Digits of a size at most: content of up to 2^60 bytes.
const DIGITS: usize = 15;

/// Reads a body part by part.
#[derive(Debug)]
pub(super) struct Reader {
    framing: Framing,
    at: At,
    /// The line that is being read; at the end the trailers with their line ends.
    line: Vec<u8>,
    /// The digits of the last chunk's size, as they came.
    size: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Content(u64),
    /// CR and LF that are left.
    End(u8),
    /// Trailers; where their last line begins.
    Trailers(usize),
    Done,
}

/// What a part of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'i> {
    /// Of a line that is not whole yet, or of the trailers.
    Nothing,
    /// A chunk of this size begins.
    Begin(u64),
    /// Content of a chunk.
    Content(&'i [u8]),
    /// A chunk with content has ended.
    End,
}

impl Reader {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, at: At::Size, line: Vec::new(), size: Vec::new() }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The digits of the last chunk's size.
    pub(super) fn size_as_sent(&self) -> &[u8] {
        &self.size
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.line.capacity() + self.size.capacity()
    }

    /// The next part of `input`, which is not empty, and what is left of it.
    pub(super) fn next<'i>(&mut self, input: &'i [u8]) -> Result<(Part<'i>, &'i [u8]), ChunkError> {
        match self.at {
            At::Size => {
                let (whole, rest) = self.take_line(input, ChunkError::Size)?;
                if !whole {
                    return Ok((Part::Nothing, rest));
                }
                let size = self.read_size()?;
                self.line.clear();
                self.at = if size == 0 { At::Trailers(0) } else { At::Content(size) };
                Ok((Part::Begin(size), rest))
            }
            At::Content(left) => {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (content, rest) = input.split_at(now);
                let left = left - now as u64;
                self.at = if left == 0 { At::End(2) } else { At::Content(left) };
                Ok((Part::Content(content), rest))
            }
            At::End(left) => {
                let wanted = if left == 2 { b'\r' } else { b'\n' };
                if input[0] != wanted {
                    return Err(ChunkError::End);
                }
                self.at = if left == 2 { At::End(1) } else { At::Size };
                Ok((if left == 2 { Part::Nothing } else { Part::End }, &input[1..]))
            }
            At::Trailers(start) => {
                let (whole, rest) = self.take_line(input, ChunkError::Trailer)?;
                if whole {
                    self.at = At::Trailers(self.line.len());
                    if self.line.len() == start + 2 {
                        self.line.truncate(start);
                        self.at = At::Done;
                    }
                }
                Ok((Part::Nothing, rest))
            }
            At::Done => Err(ChunkError::After),
        }
    }

    /// The digits of the last size and the lines of the trailers, once all has come.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Vec<u8>), ChunkError> {
        if self.at == At::Done { Ok((self.size, self.line)) } else { Err(ChunkError::Short) }
    }

    /// Adds to the line up to its end; whether it is whole. CR is nowhere but before LF.
    fn take_line<'i>(&mut self, input: &'i [u8], wrong: ChunkError) -> Result<(bool, &'i [u8]), ChunkError> {
        let end = memchr::memchr(b'\n', input);
        let (now, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        if self.line.len() + now.len() > TAIL {
            return Err(wrong);
        }
        let from = self.line.len();
        self.line.extend_from_slice(now);
        for (index, byte) in self.line.iter().enumerate().skip(from) {
            let after_return = index > 0 && self.line[index - 1] == b'\r';
            if (*byte == b'\n') != after_return {
                return Err(wrong);
            }
        }
        Ok((end.is_some(), rest))
    }

    /// Reads the line of a size, which ends in CR LF.
    fn read_size(&mut self) -> Result<u64, ChunkError> {
        let line = &self.line[..self.line.len() - 2];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (number, extension) = line.split_at(digits);
        let fits = match extension.strip_prefix(EXTENSION) {
            Some(signature) => {
                self.framing.is_signed() && signature.len() == 64 && signature.iter().all(u8::is_ascii_hexdigit)
            }
            None => !self.framing.is_signed() && extension.is_empty(),
        };
        if number.is_empty() || number.len() > DIGITS || !fits {
            return Err(ChunkError::Size);
        }
        self.size.clear();
        self.size.extend_from_slice(number);
        Ok(number.iter().fold(0, |sum, digit| sum << 4 | u64::from(hex_value(*digit))))
    }
}

fn hex_value(digit: u8) -> u8 {
    crate::template::encode::nibble(digit).unwrap_or_default()
}
