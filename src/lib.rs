//! countersign: a sidecar signing reverse proxy.
//!
//! Workers speak plain HTTP to localhost and hold no secret; countersign finds the route, proves who is
//! calling, and sends the request over TLS. Secrets are files in a mounted directory, followed as they change.
//!
//! `docs/ARCHITECTURE.md` is the map. From the bottom up, lower never uses higher:
//!
//! - [`clock`], [`secret`]: time, and secrets as names, bytes and generations
//! - [`sign`], [`template`], [`route`], [`tls`]: pure
//! - [`config`] reads `proxy.toml`
//! - [`snapshot`]: what one request sees, pure
//! - [`upstream`], [`observe`], and the reading half of [`secret`]: effects
//! - [`proxy`], [`admin`], [`reload`], [`playground`]: the shell
//! - [`server`], [`cli`]: start to end
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod observe;
pub mod playground;
pub mod proxy;
pub mod refresh;
pub mod reload;
pub mod route;
pub mod secret;
pub mod server;
pub mod sign;
pub mod snapshot;
pub mod store;
pub mod template;
pub mod tls;
pub mod token;
pub mod upstream;
