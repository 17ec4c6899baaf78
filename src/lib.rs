//! countersign: a sidecar signing reverse proxy.

pub mod admin;
pub mod clock;
pub mod config;
pub mod observe;
pub mod route;
pub mod secret;
pub mod sign;
pub mod template;
