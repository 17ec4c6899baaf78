//! Whom we trust: the bundled public roots, or a private bundle.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

use super::pem::certificates;
use crate::secret::value::{BadReason, SecretBytes};

/// A set of trusted roots. Cheap to clone.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads a PEM bundle. One member that cannot be used refuses the whole bundle: half a
    /// bundle would be a trust that nobody asked for. Expired members stay (they verify nothing),
    /// so that old and new can overlap.
    pub fn load(pem: &SecretBytes) -> Result<Self, BadReason> {
        let mut store = RootCertStore::empty();
        for (index, cert) in certificates(pem)?.into_iter().enumerate() {
            store
                .add(cert)
                .map_err(|_| BadReason::Pem(format!("certificate {} of the bundle cannot be a root", index + 1)))?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// The public roots that come with the program (Mozilla's list); built at first use.
    pub fn public() -> Self {
        static PUBLIC: OnceLock<Roots> = OnceLock::new();
        PUBLIC.get_or_init(|| Self(Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))).clone()
    }

    /// How many roots there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true for what [`Roots::load`] and [`Roots::public`] return.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        self.0.clone()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}
