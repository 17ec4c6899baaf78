//! `[state]` opened: the store, and what fingerprints are keyed with. Callers: the start of the proxy, and commands that
//! work on the store themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::JoinHandle;

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
use crate::store::late::Late;
use crate::store::place::{self, PlaceRefused, Rotation, Surroundings};
use crate::store::{self, Place, Store, StoreError};

/// How long a start waits for the store, before it goes on without.
const OPENING: Duration = Duration::from_secs(3);
/// The first pause before a store that was not reached is tried again; doubles up to [`REACH_MAX`].
const REACH: Duration = Duration::from_millis(500);
const REACH_MAX: Duration = Duration::from_secs(5);

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

/// What a store is opened with.
struct Named {
    place: Place,
    keys: Vec<SecretBytes>,
    fingerprints: Fingerprints,
}

/// Opens the store that `[state]` names, with its keys from a generation of secrets.
pub async fn open(config: &Config, set: &SecretSet, clock: SharedClock) -> Result<Kept, StateError> {
    let Named { place, keys, fingerprints } = named(config, set)?;
    let of_place = |error| StateError::Store { place: place.to_string(), error };
    let store = store::open(&place, keys, clock).await.map_err(of_place)?;
    Ok(Kept { store, fingerprints })
}

/// The same for a process that goes on without it: one that does not answer is opened later.
async fn open_now_or_later(
    config: &Config,
    set: &SecretSet,
    clock: SharedClock,
) -> Result<(Kept, Option<Arc<Late>>), StateError> {
    let Named { place, keys, fingerprints } = named(config, set)?;
    let opened = tokio::time::timeout(OPENING, store::open(&place, keys.clone(), clock.clone())).await;
    let why = match opened {
        Ok(Ok(store)) => return Ok((Kept { store, fingerprints }, None)),
        Ok(Err(error)) if !matches!(error, StoreError::Unavailable(_)) => {
            return Err(StateError::Store { place: place.to_string(), error });
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {OPENING:?}"),
    };
    tracing::error!(place = %place, error = why, "the store of connections is not reached; without it there are no tokens");
    let late = Arc::new(Late::new(place, keys, clock, why));
    Ok((Kept { store: late.clone(), fingerprints }, Some(late)))
}

/// Tries until the store is there.
async fn reach(late: Arc<Late>) {
    let mut pause = REACH;
    loop {
        tokio::time::sleep(pause).await;
        match late.reach().await {
            Ok(()) => {
                tracing::info!("the store of connections is reached");
                return;
            }
            Err(error) => tracing::warn!(%error, "the store of connections is not reached"),
        }
        pause = (pause * 2).min(REACH_MAX);
    }
}

fn named(config: &Config, set: &SecretSet) -> Result<Named, StateError> {
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
    Ok(Named { place, keys, fingerprints })
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

/// Opens the store and begins to keep its tokens usable, where a credential of the configuration has any. A store that
/// does not answer is tried by the task that is given back.
pub(super) async fn start(
    snapshot: &Arc<Snapshot>,
    set: &SecretSet,
    own: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
) -> Result<Option<(Steering, Option<JoinHandle<()>>)>, StateError> {
    let config = &snapshot.plan.config;
    if config.credentials.iter().all(|credential| credential.oauth.is_none()) {
        return Ok(None);
    }
    let clock: SharedClock = Arc::new(SystemClock);
    let (Kept { store, fingerprints }, late) = open_now_or_later(config, set, clock.clone()).await?;
    let outward = Arc::new(Outward::new(own));
    outward.resolve_by(&config.dns);
    let sharing = if config.state.url == StateUrl::Memory { Sharing::Alone } else { Sharing::Shared };
    let parts = Parts { store, sharing, snapshot: snapshot.clone(), outward, clock, metrics };
    let steering = Steering::new(Tokens::start(parts), fingerprints);
    Ok(Some((steering, late.map(|late| tokio::spawn(reach(late))))))
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
