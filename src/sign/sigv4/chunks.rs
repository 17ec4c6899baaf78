//! Bodies in the chunks of `aws-chunked`: read strictly, and written anew while they stream, with signatures made by
//! the proxy's key. Bytes in, bytes out; memory is bounded by [`CHUNK`] and [`TAIL`].
//!
//! Chunks that leave unsigned keep the sizes that they came with, so that the body's length stays; signed ones have
//! [`CHUNK`] bytes each, so that it can be told before the body came. The end of a body is written when the worker's
//! has ended: one that is cut short or malformed never looks whole. `chunk_reader` reads, here is what leaves.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::chunk_reader::{Part, Reader};
use crate::sign::hmac::Key;
use crate::template::encode;

/// Bytes in a chunk that is signed here, the last of a body apart. S3 wants at least 8 KiB.
pub const CHUNK: usize = 64 * 1024;
/// The longest line of a chunk's size, and all trailers together, in bytes.
pub const TAIL: usize = 4096;
/// SHA-256 of nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EXTENSION: &[u8] = b";chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How a body comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: each chunk with a signature.
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the trailers too.
    SignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: sizes and trailers alone.
    UnsignedTrailer,
}

impl Framing {
    pub(super) fn is_signed(self) -> bool {
        self != Self::UnsignedTrailer
    }

    pub(super) fn has_trailer(self) -> bool {
        self != Self::Signed
    }
}

/// Why a body in chunks is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A line that gives no size, or one with another extension than the signature.
    #[error("a chunk's size is malformed")]
    Size,
    /// The content of a chunk is not followed by CR LF.
    #[error("a chunk does not end where its size says")]
    End,
    /// A trailer that is no `name:value`, is over [`TAIL`] or was not announced, or an announced one that is missing.
    #[error("the trailers are malformed or differ from X-Amz-Trailer")]
    Trailer,
    /// Bytes after the last line.
    #[error("there are bytes after the last chunk")]
    After,
    /// The body ended before its last line.
    #[error("the body ends within its chunks")]
    Short,
    /// The content is longer or shorter than X-Amz-Decoded-Content-Length.
    #[error("the chunks have another length than X-Amz-Decoded-Content-Length")]
    Length,
}

/// The length of signed chunks with so much content, where the values of all trailers have a known length.
pub(super) fn signed_length(framing: Framing, content: u64, trailers: &[String]) -> Option<u64> {
    let signature = (EXTENSION.len() + 64 + 2) as u64;
    let chunk = |size: u64| size.checked_add(format!("{size:x}").len() as u64 + signature + 2);
    let most = CHUNK as u64;
    let mut length = (content / most).checked_mul(chunk(most)?)?;
    let rest = content % most;
    if rest > 0 {
        length = length.checked_add(chunk(rest)?)?;
    }
    // The last chunk has no content, and its empty line comes after the trailers.
    let mut end = chunk(0)?;
    for name in trailers {
        end += (name.len() + 1 + value_length(name)? + 2) as u64;
    }
    if framing.has_trailer() {
        end += (TRAILER_SIGNATURE.len() + 1 + 64 + 2) as u64;
    }
    length.checked_add(end)
}

/// What signs the chunks of one request: each signature covers the one before.
pub struct ChunkSigner {
    key: Key,
    stamp: String,
    scope: String,
    previous: String,
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkSigner(..)")
    }
}

impl ChunkSigner {
    /// `seed` is the signature of the request's head, `stamp` its X-Amz-Date, `scope` what stands in its credential.
    pub(super) fn new(key: Key, stamp: String, scope: String, seed: String) -> Self {
        Self { key, stamp, scope, previous: seed }
    }

    fn sign(&mut self, kind: &str, digests: &[&str]) {
        let Self { stamp, scope, previous, .. } = self;
        let text = format!("AWS4-HMAC-SHA256-{kind}\n{stamp}\n{scope}\n{previous}\n{}", digests.join("\n"));
        let mut raw = Vec::with_capacity(32);
        self.key.sign(text.as_bytes(), &mut raw);
        self.previous = hexadecimal(&raw);
    }

    fn chunk(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.sign("PAYLOAD", &[NOTHING, &hexadecimal(&Sha256::digest(data))]);
        out.extend_from_slice(format!("{:x}", data.len()).as_bytes());
        out.extend_from_slice(EXTENSION);
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Makes a worker's chunks into those that leave.
pub struct Reframer {
    reader: Reader,
    writer: Writer,
    /// Content so far, and how much there should be.
    content: u64,
    expected: Option<u64>,
    announced: Vec<String>,
}

enum Writer {
    /// Chunks as they came.
    Unsigned,
    /// Content that waits for its chunk.
    Signed(ChunkSigner, Vec<u8>),
}

impl fmt::Debug for Reframer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reframer(..)")
    }
}

impl Reframer {
    /// For chunks that come in this framing, with `expected` bytes of content and trailers of these names, in lower
    /// case. Without a signer they leave as they came.
    pub(super) fn new(
        framing: Framing,
        signer: Option<ChunkSigner>,
        expected: Option<u64>,
        announced: Vec<String>,
    ) -> Self {
        let writer = match signer {
            Some(signer) => Writer::Signed(signer, Vec::new()),
            None => Writer::Unsigned,
        };
        Self { reader: Reader::new(framing), writer, content: 0, expected, announced }
    }

    /// Takes a part of the worker's body and appends what may leave of it.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), ChunkError> {
        while !input.is_empty() {
            let (part, rest) = self.reader.next(input)?;
            input = rest;
            match part {
                Part::Nothing => {}
                Part::Begin(size) => {
                    if let (Writer::Unsigned, true) = (&self.writer, size > 0) {
                        out.extend_from_slice(self.reader.size_as_sent());
                        out.extend_from_slice(b"\r\n");
                    }
                    let content = self.content.checked_add(size).ok_or(ChunkError::Length)?;
                    if self.expected.is_some_and(|expected| content > expected) {
                        return Err(ChunkError::Length);
                    }
                    self.content = content;
                }
                Part::Content(data) => self.writer.content(data, out),
                Part::End => {
                    if let Writer::Unsigned = self.writer {
                        out.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes of memory that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let waiting = if let Writer::Signed(_, waiting) = &self.writer { waiting.capacity() } else { 0 };
        waiting + self.reader.held()
    }

    /// The worker's body has ended: appends the last chunk and the trailers.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), ChunkError> {
        let framing = self.reader.framing();
        let (zero, sent) = self.reader.finish()?;
        if self.expected.is_some_and(|expected| expected != self.content) {
            return Err(ChunkError::Length);
        }
        let mut trailers = trailers(&sent, framing)?;
        self.announced.sort_unstable();
        self.announced.dedup();
        trailers.sort_unstable();
        let names = || trailers.iter().map(|(name, _)| name.as_str());
        if !names().eq(self.announced.iter().map(String::as_str)) {
            return Err(ChunkError::Trailer);
        }
        match self.writer {
            Writer::Unsigned => {
                out.extend_from_slice(&zero);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(&sent);
            }
            Writer::Signed(mut signer, rest) => {
                if trailers.iter().any(|(name, value)| value_length(name).is_some_and(|length| length != value.len())) {
                    return Err(ChunkError::Trailer);
                }
                signed_chunk(&mut signer, &rest, out);
                signer.chunk(&[], out);
                signed_trailers(&mut signer, framing, &trailers, out);
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

impl Writer {
    fn content(&mut self, mut data: &[u8], out: &mut Vec<u8>) {
        let Self::Signed(signer, waiting) = self else { return out.extend_from_slice(data) };
        while waiting.len() + data.len() >= CHUNK {
            let (now, later) = data.split_at(CHUNK - waiting.len());
            if waiting.is_empty() {
                signed_chunk(signer, now, out);
            } else {
                waiting.extend_from_slice(now);
                signed_chunk(signer, waiting, out);
                waiting.clear();
            }
            data = later;
        }
        waiting.extend_from_slice(data);
    }
}

fn signed_chunk(signer: &mut ChunkSigner, data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        signer.chunk(data, out);
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// `trailers` are sorted by name.
fn signed_trailers(signer: &mut ChunkSigner, framing: Framing, trailers: &[(String, String)], out: &mut Vec<u8>) {
    if !framing.has_trailer() {
        return;
    }
    let mut digest = Sha256::new();
    for (name, value) in trailers {
        digest.update(format!("{name}:{value}\n"));
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    signer.sign("TRAILER", &[&hexadecimal(&digest.finalize())]);
    out.extend_from_slice(format!("{TRAILER_SIGNATURE}:{}\r\n", signer.previous).as_bytes());
}

/// `name:value` of each line, names in lower case and values without white space around; the signature of what came
/// signed is left out.
fn trailers(lines: &[u8], framing: Framing) -> Result<Vec<(String, String)>, ChunkError> {
    let text = std::str::from_utf8(lines).map_err(|_| ChunkError::Trailer)?;
    let mut found = Vec::new();
    let mut signatures = 0;
    for line in text.split_terminator("\r\n") {
        let (name, value) = line.split_once(':').ok_or(ChunkError::Trailer)?;
        let value = value.trim_matches([' ', '\t']);
        let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !good || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(ChunkError::Trailer);
        }
        match name.to_ascii_lowercase() {
            name if name == TRAILER_SIGNATURE => signatures += 1,
            name => found.push((name, value.to_owned())),
        }
    }
    // One where they came signed, none otherwise.
    let wanted = usize::from(framing == Framing::SignedTrailer);
    if signatures == wanted { Ok(found) } else { Err(ChunkError::Trailer) }
}

/// The length of a checksum in base64, as S3 takes it.
fn value_length(name: &str) -> Option<usize> {
    Some(match name.strip_prefix("x-amz-checksum-")? {
        "crc32" | "crc32c" => 8,
        "crc64nvme" | "xxhash64" | "xxhash3" => 12,
        "md5" | "xxhash128" => 24,
        "sha1" => 28,
        "sha256" => 44,
        "sha512" => 88,
        _ => return None,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    encode::hex(bytes, &mut out);
    out.into_iter().map(char::from).collect()
}
