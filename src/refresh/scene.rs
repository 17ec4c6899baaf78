//! What the refresher sees of a snapshot: its `oauth2` credentials, their secrets, seeds and ways out. What outlives a
//! reload (tables, permits, health) is in [`Lane`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::Uri;
use sha2::{Digest as _, Sha256};

use super::endpoints::{Permits, Shared};
use super::health::Healths;
use super::table::Table;
use crate::config::model::Credential;
use crate::control::egress::egress;
use crate::control::outward::{Plain, Way};
use crate::secret::value::SecretBytes;
use crate::sign::Signer;
use crate::sign::basic::PublicValue;
use crate::sign::material::Material;
use crate::snapshot::Snapshot;
use crate::snapshot::credential::Value;
use crate::token::OAuth;
use crate::token::call::CallInput;
use crate::token::grant::Insecure;
use crate::token::machine::Seed;
use crate::token::record::TokenSet;
use crate::upstream::egress::Egress;

/// A snapshot as the refresher sees it.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) snapshot: Arc<Snapshot>,
    egress: Option<Arc<Egress>>,
    clients: HashMap<Box<str>, Arc<Client>>,
}

/// One `oauth2` credential.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Arc<str>,
    pub(super) oauth: Arc<OAuth>,
    pub(super) lane: Arc<Lane>,
    pub(super) signer: Arc<Signer>,
    place: usize,
}

/// What a credential keeps over reloads.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) table: Table,
    pub(super) permits: ArcSwap<Permits>,
    pub(super) healths: Mutex<Healths>,
}

/// The secrets of token calls.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    /// The name of the first; empty where there is none.
    pub(super) name: String,
    pub(super) value: Arc<Value>,
}

/// The values of a connection's variables.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    tenant: Arc<str>,
    captures: BTreeMap<String, String>,
}

impl Filled {
    pub(super) fn new(tenant: &Arc<str>, captures: BTreeMap<String, String>) -> Self {
        Self { tenant: tenant.clone(), captures }
    }

    pub(super) fn captures(&self) -> Vec<(&str, &str)> {
        self.captures.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        if name == "tenant" && !self.tenant.is_empty() {
            return Some(&self.tenant);
        }
        self.captures.get(name).map(String::as_str)
    }
}

impl Scene {
    /// What `before` has for a credential of the same name is kept.
    pub(super) fn new(snapshot: Arc<Snapshot>, before: Option<&Self>) -> Self {
        let egress = egress(&snapshot, before.and_then(|before| before.egress.as_ref()));
        let mut clients = HashMap::new();
        for (place, credential) in snapshot.plan.config.credentials.iter().enumerate() {
            let Some(oauth) = &credential.oauth else { continue };
            let old = before.and_then(|before| before.client(&credential.name));
            let lane = old.map_or_else(|| Arc::new(Lane::new(oauth.refresh.parallel)), |old| old.lane.clone());
            if lane.permits.load().parallel != oauth.refresh.parallel.max(1) {
                lane.permits.store(Arc::new(Permits::new(oauth.refresh.parallel)));
            }
            let client = Client {
                name: credential.name.as_str().into(),
                oauth: oauth.clone(),
                lane,
                signer: credential.signer.clone(),
                place,
            };
            clients.insert(credential.name.as_str().into(), Arc::new(client));
        }
        Self { egress, clients, snapshot }
    }

    /// An `oauth2` credential by its name.
    pub(super) fn client(&self, name: &str) -> Option<&Arc<Client>> {
        self.clients.get(name)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// The way out for a call of a credential.
    pub(super) fn way(&self, client: &Client, uri: &Uri) -> Way {
        let identity = self.snapshot.plan.token_identity(client.place);
        let identity = identity.and_then(|index| self.snapshot.identities.get(index));
        Way {
            client: identity.and_then(|identity| identity.client.clone()),
            server_name: self.credential(client).and_then(|one| one.token_tls.as_ref()?.server_name.clone()),
            plain: if client.oauth.token_url.insecure == Insecure::Allowed { Plain::Allowed } else { Plain::Refused },
            ..Way::to(uri, &self.snapshot.plan.config, self.egress.as_ref())
        }
    }

    /// The way out for deliveries of events: the program's own identity, public roots or those of `[tls] roots`.
    pub(super) fn egress(&self) -> Option<&Arc<Egress>> {
        self.egress.as_ref()
    }

    fn credential(&self, client: &Client) -> Option<&Credential> {
        self.snapshot.plan.config.credentials.get(client.place)
    }

    /// The secrets of a connection's token calls, or which one cannot be used and why.
    pub(super) fn secrets(&self, client: &Client, filled: &Filled) -> Result<Secrets, String> {
        let state = self.snapshot.credentials.get(client.place).ok_or("the credential is gone")?;
        let value = state.instance(|name| filled.value(name)).and_then(|instance| instance.value());
        let value = value.cloned().map_err(|why| format!("secret {}: {}", why.secret, why.reason))?;
        let first = client.signer.requirements().first();
        let name = first.and_then(|first| first.pattern.resolve(|name| filled.value(name)));
        Ok(Secrets { name: name.map(|name| name.as_str().to_owned()).unwrap_or_default(), value })
    }

    /// The seed of a connection as it is now, with the digest of its content.
    pub(super) fn seed(&self, client: &Client, filled: &Filled) -> Option<(SecretBytes, [u8; 32])> {
        let state = self.snapshot.seeds.get(client.place)?.as_ref()?;
        let value = state.instance(|name| filled.value(name)).ok()?.value().ok()?.clone();
        match value.keys.first()? {
            Material::Text(text) => Some((text.clone(), Sha256::digest(text.expose()).into())),
            Material::Hmac(_) | Material::Private(_) | Material::AwsSecret(_) => None,
        }
    }

    /// The names of the routes that use a credential, at most `most`.
    pub(super) fn routes(&self, credential: &str, most: usize) -> Vec<String> {
        let config = &self.snapshot.plan.config;
        let Some(place) = self.snapshot.plan.credential_index(credential) else { return Vec::new() };
        let using = config.routes.iter().filter(|route| route.credentials.contains(&place));
        using.take(most).map(|route| route.name.clone()).collect()
    }
}

impl Client {
    /// Whether tenants share the endpoint.
    pub(super) fn shared(&self) -> Shared {
        let refresh = self.oauth.refresh_url.iter().flat_map(|url| url.url.variables());
        match self.oauth.token_url.url.variables().chain(refresh).next() {
            None => Shared::One,
            Some(_) => Shared::Each,
        }
    }

    /// What the signer takes of a token; the first part that is not there otherwise.
    pub(super) fn parts(&self, tokens: &TokenSet) -> Result<Vec<Material>, String> {
        let Signer::Token(signer) = &*self.signer else { return Err("access_token".to_owned()) };
        let part = |name: &str| match name.strip_prefix("value.") {
            Some(value) => tokens.values.get(value),
            None if name == crate::sign::token::ACCESS_TOKEN => tokens.access.as_ref(),
            None => tokens.values.get(name),
        };
        let parts = signer.parts().iter();
        parts.map(|name| part(name).cloned().map(Material::Text).ok_or_else(|| name.to_string())).collect()
    }

    /// Does something with the input of a token call.
    pub(super) fn with_input<R>(&self, value: &Value, filled: &Filled, then: impl FnOnce(&CallInput<'_>) -> R) -> R {
        let secrets = match &*self.signer {
            Signer::Token(signer) => signer.call_secrets(&value.keys),
            _ => crate::sign::token::CallSecrets::default(),
        };
        let written = |value: &Option<PublicValue>| match value {
            Some(PublicValue::Literal(text)) => Some(text.clone()),
            _ => None,
        };
        let (id, user) = (written(&self.oauth.client_id), written(&self.oauth.username));
        let fill = |name: &str| filled.value(name);
        then(&CallInput {
            oauth: &self.oauth,
            client_id: id.as_deref().or(text(secrets.client_id)),
            client_secret: text(secrets.client_secret),
            username: user.as_deref().or(text(secrets.username)),
            password: text(secrets.password),
            fill: &fill,
        })
    }
}

impl Lane {
    fn new(parallel: usize) -> Self {
        let permits = ArcSwap::from_pointee(Permits::new(parallel));
        Self { table: Table::default(), permits, healths: Mutex::default() }
    }

    pub(super) fn healths(&self) -> std::sync::MutexGuard<'_, Healths> {
        self.healths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(secret: Option<&SecretBytes>) -> Option<&str> {
    secret.and_then(|bytes| std::str::from_utf8(bytes.expose()).ok())
}

/// In the words of the machine.
pub(super) fn seed_word(seed: Option<&(SecretBytes, [u8; 32])>) -> Seed {
    seed.map_or(Seed::None, |(_, digest)| Seed::Is(*digest))
}
