//! From PEM bytes to rustls configurations: pure, no files, no clock, no sockets.
//!
//! `pem` reads certificates and keys, `identity` joins the two and checks that they belong
//! together, `roots` are whom we trust, `pin` which keys
//! must be in a chain, `client` makes configurations, `authority` signs leaves for interception, `failure` puts rustls'
//! errors into words. Called by the snapshot (to build) and by upstream (to connect).

mod authority;
mod client;
mod failure;
mod identity;
mod pem;
mod pin;
mod roots;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use authority::{Authority, LEAF_LIFE, Leaf, Made, MintError, Subtree};
pub use client::{HTTP_2, NotAServerName, TlsVersion, client_config, http1_only, server_name, unresumed};
pub use failure::TlsFailure;
pub use identity::{Identity, Validity, validity};
pub use pem::{Chain, PrivateKey};
pub use pin::{NotAPin, Pin};
pub use roots::Roots;

/// The cryptography behind TLS: ring. The one place that names it.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

#[cfg(test)]
mod tests;
