//! HTTP/2 to upstreams (RFC 9113), chosen by ALPN: a few connections per origin that many requests share.
//!
//! [`Shared`] has an origin's connections and says whose turn it is; `connection` opens one and drives it in a
//! task of its own; [`StreamUse`] sends one request; `upload` and [`Download`] carry its bodies in the request's
//! own task. Which protocol an origin speaks, and HTTP/1.1, is not here. Callers: `pool`, `lease`, `answer`.

mod connection;
mod download;
mod fault;
mod head;
mod shared;
mod stream;
mod upload;

pub(super) use connection::open;
pub(super) use download::Download;
pub(super) use shared::{Connecting, Shared, Turn};
pub(super) use stream::StreamUse;

#[cfg(test)]
mod tests;
