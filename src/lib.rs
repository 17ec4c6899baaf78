//! countersign: a sidecar signing reverse proxy.

pub mod cli;
pub mod clock;
pub mod config;
pub mod playground;
pub mod route;
pub mod secret;
pub mod sign;
pub mod template;
pub mod proxy;
pub mod snapshot;
pub mod upstream;
