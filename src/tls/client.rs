//! Configurations for the way upstream.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use super::pin::PinnedVerifier;
use super::{Identity, Pin, Roots, TlsFailure, provider};

/// TLS sessions that one configuration keeps for resumption.
const SESSIONS: usize = 64;

/// HTTP/2 over TLS by ALPN (RFC 9113 section 3.1).
pub const HTTP_2: &[u8] = b"h2";
/// HTTP/1.1 by ALPN (RFC 7301 section 6).
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// A text that is neither a DNS name nor an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a DNS name nor an IP address")]
pub struct NotAServerName;

/// A configuration for one identity and one set of roots: always verifies, offers HTTP/2 and
/// `http/1.1`, sends no early data. Each call makes a session store of its own, so that a session which an
/// old identity began is never resumed under a new one: one call for each generation. With `pins`,
/// the chain must contain one of these keys as well; an empty list pins nothing.
pub fn client_config(
    roots: &Roots,
    identity: Option<&Identity>,
    min: TlsVersion,
    pins: &[Pin],
) -> Result<Arc<ClientConfig>, TlsFailure> {
    let versions = match min {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13][..],
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| TlsFailure::of(&error))?;
    let builder = if pins.is_empty() {
        builder.with_root_certificates(roots.store())
    } else {
        // It does all that the default one does, and refuses more.
        builder.dangerous().with_custom_certificate_verifier(Arc::new(PinnedVerifier::new(roots, pins)?))
    };
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The same identity, roots and pins for connections that must speak HTTP/1.1. It has a session store of its own:
/// a session belongs to one configuration, and ends with it.
pub fn http1_only(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Arc::new(config)
}

/// The same identity, roots, pins and protocols for an identity that has been replaced: its connections neither
/// resume a session nor keep one.
pub fn unresumed(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The name to put into SNI and to look for in the upstream's certificate: a DNS name (a dot at
/// its end is dropped) or an IP address (IPv6 with or without brackets).
pub fn server_name(host: &str) -> Result<ServerName<'static>, NotAServerName> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_owned()).map_err(|_| NotAServerName)
}
