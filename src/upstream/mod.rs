//! Connections to upstreams: names resolved in process, addresses by RFC 8305, TLS, and a pool of our own.
//!
//! [`pool::Pool`] hands out an [`pool::Origin`] per (scheme, host, port, client identity); a
//! [`lease::Lease`] is one request's way there: an HTTP/1.1 connection (`http1`) or a stream of an HTTP/2 connection
//! that it shares (`http2`), whichever the upstream chose. An HTTP/1.1 connection has no task of its own: whoever
//! holds it drives it, so a request never changes threads and an idle connection costs nothing but
//! its socket. An HTTP/2 connection has one. Knows nothing of routes, credentials or problem answers; callers: `proxy`.

pub mod address;
pub mod again;
pub mod answer;
pub mod body;
pub mod connect;
pub mod egress;
pub mod error;
pub mod from_worker;
mod http1;
mod http2;
pub mod lease;
pub mod pool;
mod reframed;
mod relay;
pub mod resolve;
pub mod stream;
mod trailers;
mod wait;
