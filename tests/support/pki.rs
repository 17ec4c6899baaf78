//! Certificates of scenarios: one authority for the upstream, one for its clients.

use std::sync::Arc;

use countersign::playground::certs::{Authority, Pair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The name that upstreams have in their certificates.
pub(crate) const NAME: &str = "api.test";

/// Which clients an upstream takes.
pub(crate) enum Clients<'a> {
    Anyone,
    /// With a certificate of an authority (PEM).
    Of(&'a str),
}

pub(crate) fn authority(name: &str) -> Authority {
    Authority::new(name).unwrap()
}

/// A server for [`NAME`] with a certificate of `authority`.
pub(crate) fn server(authority: &Authority, clients: Clients<'_>) -> Arc<ServerConfig> {
    server_with(&authority.server(&[NAME]).unwrap(), clients, rustls::ALL_VERSIONS)
}

/// A server with this certificate that speaks these versions.
pub(crate) fn server_with(
    pair: &Pair,
    clients: Clients<'_>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match clients {
        Clients::Anyone => WebPkiClientVerifier::no_client_auth(),
        Clients::Of(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap()
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        );
    Arc::new(config.unwrap())
}

/// A certificate's serial number, lower-case hexadecimal, as [`Pair::serial`] has it.
pub(crate) fn serial(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
}
