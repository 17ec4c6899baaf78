//! The CA of interception as of one generation of secrets: read from them, or made at the start and kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Moment;
use super::health::Problem;
use super::identity::{Loaded, Part, half};
use crate::config::model::{AuthoritySource, Config, OnMissing};
use crate::route::host::HostPattern;
use crate::secret::name::NamePattern;
use crate::secret::set::{Digest, SecretSet};
use crate::tls::{self, Authority, Subtree};

/// Its name in health, logs and metrics.
pub const NAME: &str = "intercept/ca";

/// The CA and how it is.
#[derive(Debug)]
pub struct AuthorityState {
    /// For health, log and metrics.
    pub part: Part,
    /// The newest good one; `None` when there never was one.
    pub authority: Option<Arc<Authority>>,
    digests: Option<[Digest; 2]>,
}

impl AuthorityState {
    /// The CA of a configuration; a bad one keeps the last good one, one that was made stays. `None` without interception.
    pub fn compile(
        config: &Config,
        set: &SecretSet,
        before: Option<&Arc<Self>>,
        on_missing: OnMissing,
        moment: &Moment,
    ) -> Option<Arc<Self>> {
        match &config.intercept.as_ref()?.authority {
            AuthoritySource::Made { .. } => before.cloned(),
            AuthoritySource::Secrets { cert, key } => {
                let digests = Some([set.digest(cert.value.as_str()), set.digest(key.value.as_str())]);
                let early = |before: &Self| before.part.valid_from().is_some_and(|from| moment.now >= from);
                if let Some(before) = before.filter(|before| before.digests == digests && !early(before)) {
                    return Some(before.clone());
                }
                let (part, authority) = half(
                    Some(&cert.value),
                    before.and_then(|before| Some((&before.part, before.authority.as_ref()?))),
                    on_missing,
                    set.generation,
                    moment,
                    |cert| load(cert, &key.value, set, moment),
                    |authority| Some(authority.validity().not_after),
                );
                Some(Arc::new(Self { part: part?, authority, digests }))
            }
        }
    }

    /// A CA that was made by this process or an earlier one.
    pub fn made(authority: Authority, moment: &Moment) -> Option<Arc<Self>> {
        let name = NamePattern::parse(NAME).ok()?;
        let digest = digest_of(&authority);
        let (part, authority) = half(
            Some(&name),
            None,
            OnMissing::Keep,
            1,
            moment,
            |_| Ok((authority, digest)),
            |authority: &Authority| Some(authority.validity().not_after),
        );
        Some(Arc::new(Self { part: part?, authority, digests: None }))
    }

    /// What is bad, for messages.
    pub fn problem(&self) -> Option<Problem> {
        let (name, reason) = self.part.bad.as_ref()?;
        Some(Problem {
            credential: NAME.to_owned(),
            secret: name.as_static()?,
            reason: reason.clone(),
            last_good: self.authority.is_some(),
        })
    }
}

/// The names that a CA must be able to vouch for: exact hosts, and of patterns the domain that all their hosts are
/// below. A pattern that is open to its end has none and cannot be intercepted.
pub fn names(config: &Config) -> BTreeSet<Subtree> {
    let all: BTreeSet<Subtree> = config.routes.iter().filter_map(|route| name_of(&route.host)).collect();
    let covered = |name: &Subtree| match name {
        Subtree::Dns(name) => {
            name.match_indices('.').any(|(dot, _)| all.contains(&Subtree::Dns(name[dot + 1..].to_owned())))
        }
        Subtree::Ip(_) => false,
    };
    all.iter().filter(|name| !covered(name)).cloned().collect()
}

fn name_of(host: &HostPattern) -> Option<Subtree> {
    let name = host.domain();
    (!name.is_empty()).then(|| Subtree::of(&name))
}

/// The beginning of the certificate's fingerprint.
fn digest_of(authority: &Authority) -> Digest {
    let mut digest = Digest::default();
    digest.iter_mut().zip(authority.fingerprint()).for_each(|(to, from)| *to = from);
    digest
}

fn load(cert: &NamePattern, key: &NamePattern, set: &SecretSet, moment: &Moment) -> Loaded<Authority> {
    let cert_bytes = set.content(cert.as_str()).map_err(|reason| (cert.clone(), reason))?;
    let key_bytes = set.content(key.as_str()).map_err(|reason| (key.clone(), reason))?;
    // Each file alone first, so that the one that is damaged is named.
    tls::Chain::parse(cert_bytes).map_err(|reason| (cert.clone(), reason))?;
    tls::PrivateKey::parse(key_bytes).map_err(|reason| (key.clone(), reason))?;
    let authority = Authority::load(cert_bytes, key_bytes, moment.now).map_err(|reason| (cert.clone(), reason))?;
    let digest = digest_of(&authority);
    Ok((authority, digest))
}
