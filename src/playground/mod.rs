//! The playground: a real partner on loopback, so that the proxy can be tried and proved without one.
//!
//! `certs` makes development certificates and the playground's secrets; `upstream` is an HTTPS
//! server that demands a client certificate and an HMAC signature; `rotate` writes a secrets
//! directory as a kubelet does; `load` sends a bounded load. Callers: `run` (for `[playground]`),
//! the `demo` command and the project's own tests. Nothing here is on the request path.

pub mod certs;
pub mod load;
pub mod rotate;
pub mod upstream;
