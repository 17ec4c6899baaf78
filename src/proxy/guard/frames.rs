//! Reads the frame headers of a worker's HTTP/2 connection beside the HTTP library, and bounds what that library takes
//! without end: frames that cost work and carry nothing, streams that are opened to be reset, heads that never end.
//!
//! Like the guard of HTTP/1.1 it changes nothing. Payloads are skipped unread. What is spent grows back, with time and
//! with what the worker was given, so that an honest connection may live for ever: a client acknowledges what it gets
//! with window updates and pings (gRPC measures its bandwidth so), and cancels some of what it asked for.
//!
//! Here is pure state; `proxy::http2::frame_io` feeds it and carries out its refusals.

use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::http2::opening::PREFACE;

/// Streams that a worker may reset at once (RST_STREAM; CVE-2023-44487).
pub const RESETS: u32 = 500;
/// And so many more a second, and one more for each answer that it took to its end.
pub const RESETS_A_SECOND: u32 = 100;
/// Frames without content at once: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, GOAWAY, DATA without data, unknown ones.
pub const CONTROLS: u32 = 2000;
/// And so many more a second.
pub const CONTROLS_A_SECOND: u32 = 200;
/// And for each part of an answer: two window updates and a ping acknowledge it, and there is some room.
pub const CONTROLS_A_PART: u32 = 4;
/// CONTINUATION frames of one head, where it does not need more for its size (CVE-2024-27316). A quarter more than are
/// needed is the library's bound too.
const CONTINUATIONS: u32 = 5;
/// The payload of the largest frame that we allow (RFC 9113 section 6.5.2, the default).
const FRAME: u32 = 16_384;
/// Padding of a DATA frame is no more than this (RFC 9113 section 6.1), so that a shorter one may be nothing else.
const PADDING: u32 = 256;

const HEADER_LENGTH: usize = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;

/// A budget that a connection has used up, or a head that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Rapid reset.
    #[error("too many streams are reset")]
    Resets,
    /// A flood of frames that carry nothing.
    #[error("too many frames without content")]
    Controls,
    /// A head in endless pieces.
    #[error("too many CONTINUATION frames in one head")]
    Continuations,
    /// A head whose compressed form is larger than its content may be.
    #[error("a header block is too large")]
    Block,
    /// Found by time, not by bytes.
    #[error("a request head took too long")]
    SlowHead,
}

/// Where, in the bytes just shown, the refused frame begins; nothing where it began before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Bytes before the frame.
    pub good: Option<usize>,
    /// What is too much.
    pub excess: Excess,
    /// The stream of the header block that is under way.
    pub block: Option<u32>,
}

/// How much one head may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    block: u32,
    continuations: u32,
}

impl Bounds {
    /// Where a decoded head may have so many bytes.
    pub fn of_list(list: u32) -> Self {
        let needed = (list / FRAME).max(1);
        Self { block: list, continuations: needed.saturating_add(needed / 4).max(CONTINUATIONS) }
    }
}

/// Follows one connection.
#[derive(Debug)]
pub struct Frames {
    at: At,
    block: Option<Block>,
    bounds: Bounds,
    resets: Budget,
    controls: Budget,
    /// What was given to the worker so far, as far as it was counted here.
    given: Given,
    /// Counts frames and heads that have ended.
    ended: u64,
}

/// What a worker was given on all its streams, since the connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Answers that reached their end.
    pub answers: u64,
    /// Parts of answers: heads, data, ends.
    pub parts: u64,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// So many bytes of the preface are left.
    Preface(usize),
    /// So many bytes of a frame's header are there.
    Header([u8; HEADER_LENGTH], usize),
    /// So many bytes of a payload are left, which is DATA or something else.
    Payload(usize, u8),
}

/// HEADERS and its CONTINUATION frames, until the last one.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    bytes: u32,
    continuations: u32,
    /// Whether the frame under way is its last.
    ends: bool,
}

/// What may be spent now, and how it grows back.
#[derive(Debug)]
struct Budget {
    left: u32,
    most: u32,
    a_second: u32,
    since: Option<Instant>,
}

impl Budget {
    const fn new(most: u32, a_second: u32) -> Self {
        Self { left: most, most, a_second, since: None }
    }

    fn earn(&mut self, more: u64) {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(self.most);
    }

    /// Whether there was one left.
    fn spend(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let step = Duration::from_secs(1) / self.a_second;
        let earned = now.saturating_duration_since(since).as_nanos() / step.as_nanos().max(1);
        if earned > 0 {
            // Fractions are lost, which errs on the safe side by less than one in each read.
            self.since = Some(now);
            self.earn(u64::try_from(earned).unwrap_or(u64::MAX));
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Frames {
    /// At the beginning of a connection, before the preface.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            at: At::Preface(PREFACE.len()),
            block: None,
            bounds,
            resets: Budget::new(RESETS, RESETS_A_SECOND),
            controls: Budget::new(CONTROLS, CONTROLS_A_SECOND),
            given: Given::default(),
            ended: 0,
        }
    }

    /// Looks at the next bytes of the connection. After a violation it must not be asked again.
    pub fn watch(&mut self, bytes: &[u8], now: Instant, given: Given) -> Result<(), Violation> {
        self.resets.earn(given.answers.saturating_sub(self.given.answers));
        self.controls.earn(given.parts.saturating_sub(self.given.parts).saturating_mul(CONTROLS_A_PART.into()));
        self.given = given;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.at {
                At::Preface(left) => {
                    let used = left.min(rest.len());
                    at += used;
                    self.at = if left == used { At::START } else { At::Preface(left - used) };
                }
                At::Header(mut header, have) => {
                    let used = (HEADER_LENGTH - have).min(rest.len());
                    header[have..have + used].copy_from_slice(&rest[..used]);
                    if have + used < HEADER_LENGTH {
                        self.at = At::Header(header, have + used);
                        return Ok(());
                    }
                    let good = (have == 0).then_some(at);
                    at += used;
                    self.frame(&header, now).map_err(|excess| Violation {
                        good,
                        excess,
                        block: self.block.map(|block| block.stream),
                    })?;
                }
                At::Payload(left, kind) => {
                    let used = left.min(rest.len());
                    at += used;
                    self.at = At::Payload(left - used, kind);
                    if left == used {
                        self.end_frame();
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of the head that has begun and not ended; another number is another head. Control frames are heads
    /// here: nobody sends half of one and waits.
    pub fn head_under_way(&self) -> Option<u64> {
        let under_way = match self.at {
            At::Preface(left) => left < PREFACE.len(),
            At::Header(_, have) => have > 0,
            At::Payload(_, kind) => kind != DATA,
        };
        (under_way || self.block.is_some()).then_some(self.ended)
    }

    /// Whether the preface is complete.
    pub fn has_begun(&self) -> bool {
        !matches!(self.at, At::Preface(_))
    }

    fn frame(&mut self, header: &[u8; HEADER_LENGTH], now: Instant) -> Result<(), Excess> {
        let [a, b, c, kind, flags, d, e, f, g] = *header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        match kind {
            DATA => {
                let may_be_empty = length == 0 || (flags & PADDED != 0 && length <= PADDING);
                if may_be_empty && flags & END_STREAM == 0 && !self.controls.spend(now) {
                    return Err(Excess::Controls);
                }
            }
            HEADERS => {
                if length > self.bounds.block {
                    return Err(Excess::Block);
                }
                self.block = Some(Block { stream, bytes: length, continuations: 0, ends: flags & END_HEADERS != 0 });
            }
            CONTINUATION => {
                // One without a block is an error that the library sees.
                if let Some(block) = self.block.as_mut() {
                    block.continuations += 1;
                    block.bytes = block.bytes.saturating_add(length);
                    block.ends = flags & END_HEADERS != 0;
                    if block.bytes > self.bounds.block {
                        return Err(Excess::Block);
                    }
                    if block.continuations > self.bounds.continuations {
                        return Err(Excess::Continuations);
                    }
                }
            }
            RST_STREAM if !self.resets.spend(now) => return Err(Excess::Resets),
            RST_STREAM => {}
            _ if !self.controls.spend(now) => return Err(Excess::Controls),
            _ => {}
        }
        self.at = At::Payload(length as usize, kind);
        if length == 0 {
            self.end_frame();
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        self.at = At::START;
        if self.block.is_some_and(|block| block.ends) {
            self.block = None;
        }
        if self.block.is_none() {
            self.ended += 1;
        }
    }
}

impl At {
    const START: Self = Self::Header([0; HEADER_LENGTH], 0);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "frames_tests.rs"]
mod tests;
