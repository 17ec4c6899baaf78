//! The server side of TLS for the playground's upstream: its certificate, and which client
//! certificates it takes. Called by the server beside it alone.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Clients, StartError};
use crate::playground::certs::hex;

/// Authorities that are accepted at one time.
const AUTHORITIES: usize = 64;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// The common name in its certificate.
    pub(super) name: Option<Arc<str>>,
    /// The certificate's serial number, lower-case hexadecimal.
    pub(super) serial: Option<Arc<str>>,
}

impl Peer {
    pub(super) fn of(session: &rustls::ServerConnection) -> Self {
        let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else { return Self::default() };
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Self::default() };
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Self { name: name.map(Arc::from), serial: Some(hex(parsed.raw_serial()).into()) }
    }
}

pub(super) struct Tls {
    certificate: String,
    key: String,
    /// `None`: clients need no certificate.
    authorities: Option<Mutex<Vec<String>>>,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    pub(super) fn new(certificate: String, key: String, clients: Clients) -> Result<Self, StartError> {
        let authorities = match clients {
            Clients::Anyone => None,
            Clients::SignedBy(authorities) => Some(authorities),
        };
        let config = ArcSwap::from(build(&certificate, &key, authorities.as_deref())?);
        Ok(Self { certificate, key, authorities: authorities.map(Mutex::new), config })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// From the next handshake on, clients of this authority are accepted too.
    pub(super) fn accept_authority(&self, pem: &str) -> Result<(), StartError> {
        let Some(authorities) = &self.authorities else { return Ok(()) };
        let mut authorities = authorities.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = authorities.clone();
        if wanted.len() == AUTHORITIES {
            wanted.remove(0);
        }
        wanted.push(pem.to_owned());
        self.config.store(build(&self.certificate, &self.key, Some(&wanted))?);
        *authorities = wanted;
        Ok(())
    }
}

fn build(certificate: &str, key: &str, authorities: Option<&[String]>) -> Result<Arc<ServerConfig>, StartError> {
    let provider = crate::tls::provider();
    let verifier: Arc<dyn ClientCertVerifier> = match authorities {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for pem in authorities {
                for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(root?)?;
                }
            }
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?
        }
    };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
