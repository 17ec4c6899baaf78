//! countersign: a sidecar signing reverse proxy.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod observe;
pub mod playground;
pub mod proxy;
pub mod reload;
pub mod route;
pub mod secret;
pub mod server;
pub mod sign;
pub mod snapshot;
pub mod template;
pub mod tls;
pub mod upstream;
