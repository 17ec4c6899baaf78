//! What the playground's upstream may be asked to demand, and why it may not start. The server
//! beside this file acts on it; callers fill it in.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{SharedClock, SystemClock};
use crate::playground::certs;
use crate::secret::value::SecretBytes;

/// What an upstream demands and where it listens.
pub struct UpstreamConfig {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Plain or TLS.
    pub transport: Transport,
    /// Signed or not.
    pub signature: Signature,
    /// Tells whether a timestamp is recent.
    pub clock: SharedClock,
}

/// How connections are made.
pub enum Transport {
    /// HTTP without TLS.
    Plain,
    /// HTTPS.
    Tls {
        /// The server's certificate chain, PEM.
        certificate: String,
        /// Its key, PEM.
        key: String,
        /// Who may connect.
        clients: Clients,
    },
}

/// Which clients may connect.
pub enum Clients {
    /// With or without a certificate; none is asked for.
    Anyone,
    /// Only with a certificate of one of these authorities (PEM bundles).
    SignedBy(Vec<String>),
}

/// How requests prove themselves.
pub enum Signature {
    /// Not at all.
    Unchecked,
    /// By HMAC with any of these keys; more can be accepted later. Trailing line ends do not count.
    Hmac(Vec<SecretBytes>),
    /// By HMAC with what this file holds, or held when an earlier request was checked.
    HmacFile(PathBuf),
}

/// Why an upstream did not start, or did not take an authority.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// A file of the playground could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// A certificate or key is not PEM.
    #[error("not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// A certificate or key was refused.
    #[error("certificate or key refused: {0}")]
    Tls(#[from] rustls::Error),
    /// No usable authority for client certificates.
    #[error("no usable authority for client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl UpstreamConfig {
    /// The upstream of `[playground]`, with what [`certs::make_missing`] made in the secrets directory.
    /// It follows the file of the HMAC key, so that a newcomer can rotate it.
    pub fn playground(secrets: &Path, listen: SocketAddr) -> Result<Self, StartError> {
        let folder = secrets.join(certs::FOLDER);
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| StartError::Read(path, error))
        };
        let clients = Clients::SignedBy(vec![read("ca.crt")?]);
        let transport = Transport::Tls { certificate: read("server.crt")?, key: read("server.key")?, clients };
        let signature = Signature::HmacFile(folder.join("hmac-key"));
        Ok(Self { listen, transport, signature, clock: Arc::new(SystemClock) })
    }
}
