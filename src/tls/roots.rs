//! Whom we trust: the bundled public roots, those of the system, or private bundles.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};

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

    /// Several bundles as one; each is read as [`Roots::load`] does.
    pub fn join(bundles: impl IntoIterator<Item = Self>) -> Self {
        let mut all = RootCertStore::empty();
        for bundle in bundles {
            all.extend(bundle.0.roots.iter().cloned());
        }
        Self(Arc::new(all))
    }

    /// Reads what a platform keeps in its PEM files and skips what cannot be used, as every program
    /// on it does: one odd certificate among 150 must not take all the others away.
    pub fn of_platform<'p>(files: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut store = RootCertStore::empty();
        for pem in files {
            let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).map_while(Result::ok);
            let certificates = sections.filter(|(kind, _)| *kind == SectionKind::Certificate);
            store.add_parsable_certificates(certificates.map(|(_, der)| CertificateDer::from(der)));
        }
        Self(Arc::new(store))
    }

    /// SHA-256 over all of them in their order: the same roots have the same digest.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for root in &self.0.roots {
            for part in [root.subject.as_ref(), root.subject_public_key_info.as_ref()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            let constraints = root.name_constraints.as_ref().map(|der| der.as_ref());
            hash.update((constraints.map_or(0, <[u8]>::len) as u64).to_be_bytes());
            hash.update(constraints.unwrap_or_default());
        }
        hash.finalize().into()
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

    /// Never true for what [`Roots::load`] and [`Roots::public`] return; a platform may have none.
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
