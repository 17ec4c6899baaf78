//! A streamed body whose framing is made anew on its way up, for one attempt. The bytes are `sign`'s; here is when it
//! gets them and how long a body is told to be. Caller: `body`.

use bytes::Bytes;
use http_body::SizeHint;

use crate::sign::sigv4::chunks::{ChunkError, Reframer};
use crate::sign::{Length, Reframing};

/// What a body is made into.
#[derive(Debug)]
pub(super) struct Reframed {
    /// Until the last of it was made.
    reframer: Option<Reframer>,
    length: Length,
    /// Bytes that were made.
    made: u64,
}

impl Reframed {
    pub(super) fn new(reframing: Reframing) -> Self {
        Self { reframer: Some(reframing.reframer), length: reframing.length, made: 0 }
    }

    /// What leaves for a part of the worker's body, or for its end. May be empty: a chunk is not whole yet.
    pub(super) fn next(&mut self, sent: Option<Bytes>) -> Result<Bytes, ChunkError> {
        let mut out = Vec::new();
        match (sent, &mut self.reframer) {
            (Some(data), Some(reframer)) => {
                out.reserve(data.len());
                reframer.push(&data, &mut out)?;
            }
            (None, reframer) => {
                if let Some(reframer) = reframer.take() {
                    reframer.finish(&mut out)?;
                }
            }
            (Some(_), None) => return Err(ChunkError::After),
        }
        self.made += out.len() as u64;
        Ok(Bytes::from(out))
    }

    /// Whether nothing more will leave.
    pub(super) fn is_done(&self) -> bool {
        self.reframer.is_none()
    }

    /// What is still to leave; nothing where it is as much as the worker sends.
    pub(super) fn size_hint(&self) -> Option<SizeHint> {
        match self.length {
            Length::AsSent => None,
            Length::Exact(length) => Some(SizeHint::with_exact(length.saturating_sub(self.made))),
            Length::Unknown => Some(SizeHint::new()),
        }
    }
}
