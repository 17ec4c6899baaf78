//! What one request sees: routes compiled from the configuration, credentials and client identities
//! made of one generation of secrets. PURE: (configuration, secrets, previous snapshot) in, snapshot out.
//!
//! [`plan`] depends on `proxy.toml` alone and outlives rotations; [`credential`] and [`identity`]
//! hold the rule that a bad value keeps the last good one. Callers: `reload`, `check`, `explain`.

pub mod authority;
mod clients;
pub mod credential;
pub mod health;
pub mod identity;
pub mod plan;

use std::sync::Arc;

use ring::hmac as keyed;

use crate::clock::Timestamp;
use crate::config::model::{Credential, OnMissing};
use crate::secret::set::{Digest, SecretSet};
use crate::secret::value::SecretBytes;
use crate::sign::material::{Kind, Material};
use authority::AuthorityState;
use credential::CredentialState;
use identity::IdentityState;
use plan::Plan;

/// Everything that a request needs, immutable; one load per request.
#[derive(Debug)]
pub struct Snapshot {
    /// The generation of the secrets.
    pub generation: u64,
    /// What follows from `proxy.toml` alone.
    pub plan: Arc<Plan>,
    /// In the order of [`crate::config::model::Config::credentials`].
    pub credentials: Vec<Arc<CredentialState>>,
    /// In the order of [`Plan::identities`].
    pub identities: Vec<Arc<IdentityState>>,
    /// The tokens of clients, in the order of [`crate::config::model::Config::clients`].
    pub clients: Vec<Option<Arc<CredentialState>>>,
    /// The seeds of refresh tokens, in the order of [`crate::config::model::Config::credentials`]; `None` for a
    /// credential without one. A tenant without a file has no instance, and that is no fault.
    pub seeds: Vec<Option<Arc<CredentialState>>>,
    /// The key of `[events]`, the last good one.
    pub events_key: Option<SecretBytes>,
    /// The CA of interception, where that is enabled.
    pub authority: Option<Arc<AuthorityState>>,
}

/// What compiling depends on beside configuration and secrets.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The time of day.
    pub now: Timestamp,
    /// Keys fingerprints.
    pub fingerprint_key: FingerprintKey,
}

/// Keys fingerprints; per process or from the state key. Prepared once, as there may be 100 000 of them to make.
#[derive(Clone)]
pub struct FingerprintKey(Arc<keyed::Key>);

impl FingerprintKey {
    /// From 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Arc::new(keyed::Key::new(keyed::HMAC_SHA256, key)))
    }

    /// Of what has this digest.
    pub fn of(&self, digest: &Digest) -> Fingerprint {
        let mut out = [0; 4];
        out.copy_from_slice(&keyed::sign(&self.0, digest).as_ref()[..4]);
        Fingerprint(out)
    }
}

/// 8 hex digits that tell values apart and say nothing about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 4]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey")
    }
}

impl Snapshot {
    /// Compiles. What did not change since `previous` is shared with it; what is bad now keeps its last good value.
    pub fn compile(plan: Arc<Plan>, set: &SecretSet, previous: Option<&Self>, moment: &Moment) -> Self {
        let on_missing: OnMissing = plan.config.secrets.on_missing;
        let credentials = plan
            .config
            .credentials
            .iter()
            .map(|config| {
                let before = previous.and_then(|snapshot| snapshot.credential(&config.name));
                CredentialState::compile(config, set, before, on_missing, &plan.config.secrets, moment)
            })
            .collect();
        let identities = plan
            .identities
            .iter()
            .map(|spec| {
                let before = previous.and_then(|snapshot| snapshot.identity(spec));
                IdentityState::compile(spec, set, before, on_missing, moment)
            })
            .collect();
        let clients = clients::compile(&plan.config, set, previous, moment);
        let seeds = seeds(&plan, set, previous, moment);
        let events_key = plan.config.events.as_ref().and_then(|events| {
            let Ok(Material::Text(key)) = Kind::Text.load(set.content(events.secret.value.as_str()).ok()?) else {
                return None;
            };
            Some(key)
        });
        let events_key = events_key.or_else(|| previous?.events_key.clone());
        let before = previous.and_then(|snapshot| snapshot.authority.as_ref());
        let authority = AuthorityState::compile(&plan.config, set, before, on_missing, moment);
        Self { generation: set.generation, plan, credentials, identities, clients, seeds, events_key, authority }
    }

    /// TLS towards `[events] url`.
    pub fn events_client(&self) -> Option<&Arc<identity::TlsClient>> {
        self.identities.get(self.plan.events_identity?)?.client.as_ref()
    }

    /// The seed of a credential's refresh token, by the credential's name.
    pub fn seed(&self, credential: &str) -> Option<&Arc<CredentialState>> {
        self.seeds.get(self.plan.credential_index(credential)?)?.as_ref()
    }

    /// A credential's state by its name, or the token's of a client by `client:NAME`.
    pub fn credential(&self, name: &str) -> Option<&Arc<CredentialState>> {
        match self.plan.credential_index(name) {
            Some(index) => self.credentials.get(index),
            None => self.clients.iter().flatten().find(|state| state.name == name),
        }
    }

    fn identity(&self, spec: &identity::IdentitySpec) -> Option<&Arc<IdentityState>> {
        self.identities.iter().find(|state| state.spec == *spec)
    }

    /// When the first of the certificates that came before their time may be used: compiling again then adopts it.
    pub fn due(&self) -> Option<Timestamp> {
        let pairs = self.identities.iter().filter_map(|state| state.pair.as_ref());
        let authority = self.authority.iter().map(|state| &state.part);
        pairs.chain(authority).filter_map(identity::Part::valid_from).min()
    }

    /// Every secret that cannot be used now, for `at_start`, `check` and `/readyz?verbose`.
    pub fn problems(&self) -> Vec<health::Problem> {
        let credentials =
            self.credentials.iter().chain(self.clients.iter().flatten()).flat_map(|state| state.problems());
        let identities = self.identities.iter().flat_map(|state| state.problems());
        let authority = self.authority.iter().filter_map(|state| state.problem());
        credentials.chain(identities).chain(authority).collect()
    }
}

/// A seed whose file was taken away is none any more, whatever `[secrets] on_missing` says: it has done its work.
fn seeds(
    plan: &Plan,
    set: &SecretSet,
    previous: Option<&Snapshot>,
    moment: &Moment,
) -> Vec<Option<Arc<CredentialState>>> {
    let of = |credential: &Credential| {
        let seed = credential.seed.as_deref()?;
        let before = previous.and_then(|snapshot| snapshot.seed(&credential.name));
        Some(CredentialState::compile(seed, set, before, OnMissing::Fail, &plan.config.secrets, moment))
    };
    plan.config.credentials.iter().map(of).collect()
}

#[cfg(test)]
#[path = "seeds_tests.rs"]
mod seeds_tests;
