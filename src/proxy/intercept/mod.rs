//! Interception: TLS that a worker meant for an upstream ends here, with a leaf for that very name.
//!
//! [`connect`] decides about CONNECT, [`handshake`] takes the TLS, [`leaves`] keeps the leaves. What is inside goes the
//! same request path as everything else, with an [`Entry`](super::matching::Entry) that is bound to the name. Called by
//! `proxy::listener`.

pub mod connect;
pub mod handshake;
pub mod leaves;
mod rewound;

use tokio::io::{AsyncRead, AsyncWrite};

pub use rewound::Rewound;

/// A worker's connection, whatever it is made of.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}
