//! A body that a signer changes while it streams, as the request path sees it: what it is put through, and how long it
//! then is. How chunks are signed is in `sigv4::chunks`. Made by `sigv4`, carried by `seal`, applied by `upstream::body`.

use super::sigv4;

/// A body whose framing is made anew while it streams. What it holds is spent with the attempt.
#[derive(Debug)]
pub struct Reframing {
    /// Takes the worker's bytes, gives those that leave.
    pub reframer: sigv4::chunks::Reframer,
    /// The Content-Length that leaves.
    pub length: Length,
}

/// How long a body is that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As the worker sent it, whether that was told or not.
    AsSent,
    /// So many bytes.
    Exact(u64),
    /// Nobody knows yet.
    Unknown,
}
