//! What both programs need: words of the command line, and a rustls client configuration.
//!
//! The proxy and the load generator themselves are in `bin/`.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Any failure: these are programs that end with a message.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `--name value` pairs; a name without a value (followed by another name, or last) has the empty text.
pub struct Words(HashMap<String, String>);

impl Words {
    /// Reads the process's own arguments; what is not a name or its value is an error.
    pub fn read() -> Result<Self, Failure> {
        let (mut words, mut name) = (HashMap::new(), None::<String>);
        for word in std::env::args().skip(1) {
            match (word.strip_prefix("--"), name.take()) {
                (Some(next), before) => {
                    before.map(|before| words.insert(before, String::new()));
                    name = Some(next.to_owned());
                }
                (None, Some(before)) => {
                    words.insert(before, word);
                }
                (None, None) => return Err(format!("{word:?} belongs to no option").into()),
            }
        }
        name.map(|name| words.insert(name, String::new()));
        Ok(Self(words))
    }

    /// The value of an option, if it was given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of an option that must be given.
    pub fn needed(&self, name: &str) -> Result<&str, Failure> {
        self.value(name).ok_or_else(|| format!("--{name} is missing").into())
    }

    /// A number, or what it is when the option is absent.
    pub fn number(&self, name: &str, absent: u64) -> Result<u64, Failure> {
        self.value(name)
            .map_or(Ok(absent), |text| text.parse().map_err(|_| format!("--{name} {text:?} is no number").into()))
    }
}

/// Trusts the certificates of `--ca` and shows `--cert` with `--key`, if given; offers `protocol` by ALPN.
pub fn client_config(words: &Words, protocol: &[u8]) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(words.needed("ca")?)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match words.value("cert") {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(words.needed("key")?)?)?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}
