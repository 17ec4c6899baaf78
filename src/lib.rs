//! countersign: a sidecar signing reverse proxy.

pub mod clock;
pub mod secret;
pub mod sign;
