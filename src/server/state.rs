//! `[state]` opened: the store, and what fingerprints are keyed with. Callers: the start of the proxy, and commands that
//! work on the store themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};

use super::connections::{Fingerprints, Steering};
use crate::clock::{SharedClock, SystemClock};
use crate::config::model::{Config, StateUrl};
use crate::control::outward::Outward;
use crate::observe::metrics::Metrics;
use crate::refresh::{Parts, Sharing, Tokens};
use crate::secret::name::NamePattern;
use crate::secret::set::SecretSet;
use crate::secret::value::{BadReason, SecretBytes};
use crate::sign::basic::PublicValue;
use crate::sign::material::{Kind, Material};
use crate::snapshot::Snapshot;
use crate::store::place::{self, PlaceRefused, Rotation, Surroundings};
use crate::store::{self, Place, Store, StoreError};

/// An open store.
#[derive(Debug)]
pub struct Kept {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What tokens are shown by.
    pub fingerprints: Fingerprints,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A secret that `[state]` names cannot be used.
    #[error("secret {name} of [state] {key}: {reason}")]
    Secret {
        /// The secret's name.
        name: String,
        /// `key` or `url`.
        key: &'static str,
        /// Why.
        reason: BadReason,
    },
    /// The store itself.
    #[error("{place}: {error}")]
    Store {
        /// Where it is; no password.
        place: String,
        /// Why.
        error: StoreError,
    },
    /// The place does not fit a grant whose tokens it would keep.
    #[error("credential {credential}: {why}")]
    Unfit {
        /// Whose tokens.
        credential: String,
        /// Why.
        why: PlaceRefused,
    },
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

impl StateError {
    /// Whether it may work later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store { error: StoreError::Unavailable(_), .. })
    }
}

/// Opens the store that `[state]` names, with its keys from a generation of secrets.
pub async fn open(config: &Config, set: &SecretSet, clock: SharedClock) -> Result<Kept, StateError> {
    let state = &config.state;
    let mut keys = Vec::with_capacity(state.keys.len());
    for name in &state.keys {
        keys.push(text(set, &name.value, "key")?);
    }
    let place = match &state.url {
        StateUrl::Memory => Place::Memory,
        StateUrl::Sqlite(path) => Place::Sqlite(path.clone()),
        StateUrl::Postgres(PublicValue::Literal(url)) => Place::Postgres(SecretBytes::copy_of(url.as_bytes())),
        StateUrl::Postgres(PublicValue::Secret(name)) => Place::Postgres(text(set, name, "url")?),
    };
    fits(config, &place, surroundings())?;
    let fingerprints = match keys.first() {
        Some(key) => Fingerprints::keyed(key.expose()),
        None => Fingerprints::keyed(&random()?),
    };
    let of_place = |error| StateError::Store { place: place.to_string(), error };
    let store = store::open(&place, keys, clock).await.map_err(of_place)?;
    Ok(Kept { store, fingerprints })
}

/// Whether the place keeps what rotates: refresh tokens that a person approved once.
fn fits(config: &Config, place: &Place, surroundings: Surroundings) -> Result<(), StateError> {
    let sharing = if config.state.single { place::Sharing::Single } else { place::Sharing::Unknown };
    for credential in &config.credentials {
        let Some(oauth) = &credential.oauth else { continue };
        let rotation = if oauth.grant.needs_consent() { Rotation::Possible } else { Rotation::Never };
        let unfit = |why| StateError::Unfit { credential: credential.name.clone(), why };
        place::check_place(place, surroundings, rotation, sharing).map_err(unfit)?;
    }
    Ok(())
}

/// Every pod has this variable (Kubernetes, "Discovering services").
#[allow(clippy::disallowed_methods)] // where this process runs is no setting of ours
fn surroundings() -> Surroundings {
    match std::env::var_os("KUBERNETES_SERVICE_HOST") {
        Some(_) => Surroundings::Kubernetes,
        None => Surroundings::Other,
    }
}

/// The keys of a new generation of secrets. Bad ones leave those in use that there were.
pub(super) fn take_keys(store: &Arc<dyn Store>, config: &Config, set: &SecretSet) {
    let keys: Result<Vec<SecretBytes>, StateError> =
        config.state.keys.iter().map(|name| text(set, &name.value, "key")).collect();
    let taken = keys.and_then(|keys| match keys.is_empty() {
        true => Ok(()),
        false => store.use_keys(keys).map_err(|error| StateError::Store { place: "[state] key".to_owned(), error }),
    });
    if let Err(error) = taken {
        tracing::error!(%error, "the keys of [state] stay as they were");
    }
}

/// Opens the store and begins to keep its tokens usable, where a credential of the configuration has any.
pub(super) async fn start(
    snapshot: &Arc<Snapshot>,
    set: &SecretSet,
    own: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
) -> Result<Option<Steering>, StateError> {
    let config = &snapshot.plan.config;
    if config.credentials.iter().all(|credential| credential.oauth.is_none()) {
        return Ok(None);
    }
    let clock: SharedClock = Arc::new(SystemClock);
    let Kept { store, fingerprints } = open(config, set, clock.clone()).await?;
    let outward = Arc::new(Outward::new(own));
    outward.resolve_by(&config.dns);
    let sharing = if config.state.url == StateUrl::Memory { Sharing::Alone } else { Sharing::Shared };
    let parts = Parts { store, sharing, snapshot: snapshot.clone(), outward, clock, metrics };
    Ok(Some(Steering::new(Tokens::start(parts), fingerprints)))
}

fn text(set: &SecretSet, name: &NamePattern, key: &'static str) -> Result<SecretBytes, StateError> {
    let bad = |reason| StateError::Secret { name: name.as_str().to_owned(), key, reason };
    match set.content(name.as_str()).and_then(|bytes| Kind::Text.load(bytes)).map_err(bad)? {
        Material::Text(text) => Ok(text),
        Material::Hmac(_) | Material::Private(_) | Material::AwsSecret(_) => {
            Err(bad(BadReason::NotAllowed("not a text")))
        }
    }
}

fn random() -> Result<[u8; 32], StateError> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| StateError::Random)?;
    Ok(key)
}
