//! A chunked body by the letter of RFC 9112 section 7.1. Byte by byte between the chunks, at one step over their data.

use super::{Refusal, is_control};

/// Bytes of all chunk extensions of a body; nobody uses them.
pub const EXTENSION_LIMIT: u32 = 1024;
/// Bytes of all trailers of a body.
pub const TRAILER_LIMIT: u32 = 8 * 1024;
/// Digits of a chunk's size, so that it fits 64 bits.
const SIZE_DIGITS: u8 = 16;

/// A chunked body as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk, or what is left of its data.
    size: u64,
    extensions: u32,
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many digits of the size were read.
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or at the last CRLF.
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

impl Default for State {
    fn default() -> Self {
        Self::Size(0)
    }
}

/// How far the bytes led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of them are of the body.
    More,
    /// The body ended.
    End,
}

impl Chunked {
    /// Reads on; the number is how many bytes are of this body and sound.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Result<Step, Refusal>) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let used = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= used as u64;
                at += used;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let byte = bytes[at];
            if self.state == State::LastLf && byte == b'\n' {
                return (at + 1, Ok(Step::End));
            }
            match self.next(byte) {
                Ok(state) => self.state = state,
                Err(refusal) => return (at, Err(refusal)),
            }
            at += 1;
        }
        (at, Ok(Step::More))
    }

    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size(count), _) => self.size(count, byte),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, _) => self.extension(byte),
            (State::SizeLf, b'\n') if self.size == 0 => Ok(State::LineStart),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size(0)),
            (State::SizeLf | State::Data | State::DataCr | State::DataLf, _) => Err(Refusal::ChunkEnd),
            (State::LineStart, b'\r') => Ok(State::LastLf),
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::LineStart | State::TrailerName, _) if is_token(byte) => self.trailer(State::TrailerName),
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerLf),
            (State::TrailerValue, _) if !is_control(byte) => self.trailer(State::TrailerValue),
            (State::TrailerLf, b'\n') => self.trailer(State::LineStart),
            _ => Err(Refusal::Trailer),
        }
    }

    fn size(&mut self, count: u8, byte: u8) -> Result<State, Refusal> {
        if count == 0 {
            self.size = 0;
        }
        match (hex(byte), byte) {
            (Some(digit), _) if count < SIZE_DIGITS => {
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size(count + 1))
            }
            (None, b'\r') if count > 0 => Ok(State::SizeLf),
            (None, b';') if count > 0 => self.extension(byte),
            _ => Err(Refusal::ChunkSize),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<State, Refusal> {
        self.extensions += 1;
        if self.extensions > EXTENSION_LIMIT || is_control(byte) {
            return Err(Refusal::ChunkExtension);
        }
        Ok(State::Extension)
    }

    fn trailer(&mut self, state: State) -> Result<State, Refusal> {
        self.trailers += 1;
        if self.trailers > TRAILER_LIMIT { Err(Refusal::Trailer) } else { Ok(state) }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
