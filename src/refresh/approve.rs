//! A person's approval from end to end: begun here, approved in a browser, finished by whoever the browser comes back
//! to. State and verifier lie in the store, so that another process, or another replica, may finish what one began.
//!
//! Not here: what an approval looks like on the wire (`token::approve`), the page and the listener (`cli`, `admin`).

use std::collections::BTreeMap;

use http::Uri;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::call::{self, Called};
use super::scene::{Client, Filled, Scene, Secrets};
use super::tokens::Tokens;
use crate::config::model::TenantSource;
use crate::secret::value::SecretBytes;
use crate::snapshot::Snapshot;
use crate::store::{Approval, Existing, StoreError};
use crate::token::answer::{Class, Refusal};
use crate::token::approve::{self, Callback, CallbackError, Decision};
use crate::token::call::{Ask, CallError};
use crate::token::grant::Per;
use crate::token::machine::Outcome;
use crate::token::record::TokenSet;
use crate::token::{ConnectionKey, EventKind, OAuth, Record, machine};

/// How long an approval may be finished where nobody says: a person signs in, looks, and asks a colleague.
pub const TERM: std::time::Duration = std::time::Duration::from_secs(3600);

/// An approval that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser is sent.
    pub url: String,
    /// The `state` in it: unguessable, good once.
    pub state: String,
}

/// What an approval brought.
#[derive(Debug)]
pub struct Connected {
    /// As it is stored.
    pub record: Record,
    /// Whether what is granted differs from what was asked for, or from what was granted before.
    pub scope: Scope,
}

/// Whether what is granted is what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As far as the platform says.
    AsAsked,
    /// There is an event, `connection.scope_changed`.
    Changed,
}

/// Why there is no approval, or none any more. No text has a secret.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// No such credential, or it is not `oauth2`.
    #[error("there is no oauth2 credential \"{0}\"")]
    UnknownCredential(String),
    /// The credential has nowhere to send a person.
    #[error("credential {0} has no authorize_url: nobody can approve it in a browser")]
    NoAuthorizeUrl(String),
    /// The credential has a connection for each tenant.
    #[error("credential {0} has a connection for each tenant: name one")]
    TenantNeeded(String),
    /// The credential has one connection for all.
    #[error("credential {0} has one connection for all tenants: name none")]
    TenantUnneeded(String),
    /// A name that no tenant has.
    #[error("a tenant's name is of the form [A-Za-z0-9._-]{{1,128}}")]
    Tenant,
    /// The request to the platform cannot be made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A secret of the credential is not there.
    #[error("credential {credential}: {why}")]
    Secret {
        /// The credential.
        credential: String,
        /// Which, and why.
        why: String,
    },
    /// The browser brought something else than an approval.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// Nobody began it, it was finished before, or it is too old.
    #[error("this approval was not begun here, was finished before, or is too old: begin again")]
    Spent,
    /// RFC 9207: the answer is of another platform's authorization server.
    #[error("the answer comes from {0}, which is not where this approval was begun: refused")]
    Issuer(String),
    /// A person, or the platform, said no.
    #[error("not approved: {error}{}", shown(.detail.as_deref()))]
    Denied {
        /// The platform's code.
        error: String,
        /// Its words.
        detail: Option<String>,
    },
    /// The token endpoint did not answer.
    #[error("the token endpoint did not answer: {0}")]
    Unanswered(String),
    /// The token endpoint did not give tokens.
    #[error("the token endpoint gave no tokens: {}{}", .0.reason.as_str(), shown(.0.detail.as_deref()))]
    Refused(Refusal),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// What is to be done about an [`ApproveError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask otherwise, or correct the configuration.
    Correct,
    /// There is no such credential.
    Unknown,
    /// Begin again.
    Begin,
    /// A person must act.
    PersonMustAct,
    /// Wait: it may pass.
    Wait,
}

fn shown(detail: Option<&str>) -> String {
    detail.map(|detail| format!(" ({detail})")).unwrap_or_default()
}

impl ApproveError {
    /// What is to be done about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownCredential(_) => Remedy::Unknown,
            Self::NoAuthorizeUrl(_)
            | Self::TenantNeeded(_)
            | Self::TenantUnneeded(_)
            | Self::Tenant
            | Self::Call(_)
            | Self::Secret { .. }
            | Self::Callback(_) => Remedy::Correct,
            Self::Spent => Remedy::Begin,
            Self::Denied { error, .. } if matches!(&**error, "server_error" | "temporarily_unavailable") => {
                Remedy::Wait
            }
            Self::Denied { error, .. } if error.starts_with("invalid_") || error.starts_with("unsupported_") => {
                Remedy::Correct
            }
            Self::Denied { .. } | Self::Issuer(_) => Remedy::PersonMustAct,
            Self::Refused(refusal) => match refusal.class {
                Class::Passing { .. } | Class::Unread => Remedy::Wait,
                Class::Dead => Remedy::PersonMustAct,
                Class::Client | Class::Configuration => Remedy::Correct,
            },
            Self::Store(StoreError::Unavailable(_)) | Self::Unanswered(_) | Self::Random => Remedy::Wait,
            Self::Store(_) => Remedy::Correct,
        }
    }
}

impl Tokens {
    /// Begins an approval that may be finished within `term`. Without a `redirect_url` the configured one is used.
    pub async fn begin_approval(
        &self,
        key: &ConnectionKey,
        redirect_url: Option<&str>,
        term: std::time::Duration,
    ) -> Result<Begun, ApproveError> {
        let snapshot = self.snapshot();
        let oauth = oauth_of(&snapshot, &key.credential)?;
        if oauth.authorize_url.is_none() {
            return Err(ApproveError::NoAuthorizeUrl(key.credential.to_string()));
        }
        check_key(&snapshot, key)?;
        let redirect_url = redirect_url.unwrap_or(&oauth.redirect_url);
        let captures = self.captures(&snapshot, key).await?;
        let (state, verifier) = (approve::state(&random()?), approve::verifier(&random()?));
        let scene = self.inner.scene.load_full();
        let (client, filled) = (client_of(&scene, key)?, Filled::new(&key.tenant, captures));
        let secrets = secrets_of(&scene, client, &filled)?;
        let url = client.with_input(&secrets.value, &filled, |input| {
            approve::authorize_url(input, &state, &approve::challenge(&verifier), redirect_url)
        })?;
        let approval = Approval {
            state: approve::state_digest(&state),
            key: key.clone(),
            verifier: SecretBytes::copy_of(verifier.as_bytes()),
            redirect_url: redirect_url.to_owned(),
        };
        self.store().begin_approval(approval, term).await?;
        tracing::info!(credential = &*key.credential, tenant = &*key.tenant, "an approval was begun");
        Ok(Begun { url, state })
    }

    /// Finishes an approval: takes it, so that it cannot be finished twice, exchanges its code, stores the tokens.
    pub async fn finish_approval(&self, query: &str) -> Result<Connected, ApproveError> {
        // Which name the code has depends on the credential, which is known by the state.
        let state = Callback::read(query, "state")?.state;
        let approval = self.store().take_approval(&approve::state_digest(&state)).await?;
        let Some(approval) = approval else { return Err(ApproveError::Spent) };
        let key = approval.key.clone();
        let done = self.finish(query, approval).await;
        match &done {
            Ok(_) => tracing::info!(credential = &*key.credential, tenant = &*key.tenant, "connected"),
            Err(error) => {
                tracing::warn!(credential = &*key.credential, tenant = &*key.tenant, %error, "an approval failed");
            }
        }
        done
    }

    async fn finish(&self, query: &str, approval: Approval) -> Result<Connected, ApproveError> {
        let (snapshot, key) = (self.snapshot(), &approval.key);
        let oauth = oauth_of(&snapshot, &key.credential)?;
        let renamed = oauth.request.rename.iter().find(|(from, to)| from == "code" && !to.is_empty());
        let callback = Callback::read(query, renamed.map_or("code", |(_, to)| to))?;
        if let Some(issuer) = &callback.issuer {
            check_issuer(&snapshot, oauth, issuer)?;
        }
        let code: Zeroizing<String> = match callback.outcome {
            Decision::Approved(code) => code,
            Decision::Denied { error, detail } => return Err(ApproveError::Denied { error, detail }),
        };
        let captures = self.captures(&snapshot, key).await?;
        let verifier = std::str::from_utf8(approval.verifier.expose()).unwrap_or_default();
        let ask = Ask::Code { code: &code, verifier, redirect_url: &approval.redirect_url };
        let now = self.now();
        let tokens = self.exchange(key, captures.clone(), &ask).await?;
        let before = self.store().load(key).await?;
        let list: Vec<(&str, &str)> = captures.iter().map(|(name, value)| (&**name, &**value)).collect();
        let fresh = Record { tokens, ..machine::template(key.clone(), oauth, &list, now) };
        let (record, events) = machine::connected(before.as_ref(), fresh, oauth, now, part(random()?));
        let changed = events.iter().any(|event| event.kind == EventKind::ScopeChanged);
        let mut stored = self.store().put(vec![record], Existing::Replace, events.clone()).await?;
        self.inner.told(&events);
        self.changed(key).await;
        let Some(record) = stored.pop() else { return Err(ApproveError::Spent) };
        Ok(Connected { record, scope: if changed { Scope::Changed } else { Scope::AsAsked } })
    }

    /// The token call of an approval; nothing is stored.
    async fn exchange(
        &self,
        key: &ConnectionKey,
        captures: BTreeMap<String, String>,
        ask: &Ask<'_>,
    ) -> Result<TokenSet, ApproveError> {
        let scene = self.inner.scene.load_full();
        let (client, filled) = (client_of(&scene, key)?, Filled::new(&key.tenant, captures));
        let secrets = secrets_of(&scene, client, &filled)?;
        let with = Called { scene: &scene, client, secrets: &secrets, filled: &filled, seed: None };
        let answered = call::make(&self.inner, &with, ask, &TokenSet::default(), None).await;
        match answered.outcome {
            Outcome::Fresh(tokens) => Ok(*tokens),
            Outcome::Refused(refusal) => Err(ApproveError::Refused(refusal)),
            Outcome::Lost(reason) | Outcome::Unsent(reason) => {
                Err(ApproveError::Unanswered(answered.words.unwrap_or_else(|| reason.as_str().to_owned())))
            }
        }
    }

    /// What the host of a route would capture for this connection: what its record knows, and the tenant, where a
    /// route takes it from its host.
    async fn captures(
        &self,
        snapshot: &Snapshot,
        key: &ConnectionKey,
    ) -> Result<BTreeMap<String, String>, ApproveError> {
        let mut captures = self.store().load(key).await?.map(|record| record.captures).unwrap_or_default();
        captures.extend(captures_of(snapshot, key));
        Ok(captures)
    }
}

/// Captures that follow from the tenant alone.
pub fn captures_of(snapshot: &Snapshot, key: &ConnectionKey) -> BTreeMap<String, String> {
    let mut captures = BTreeMap::new();
    let Some(index) = snapshot.plan.credential_index(&key.credential) else { return captures };
    for route in snapshot.plan.config.routes.iter().filter(|route| route.credentials.contains(&index)) {
        if let Some(TenantSource::Capture(name)) = &route.tenant
            && !key.tenant.is_empty()
        {
            captures.insert(name.clone(), key.tenant.to_string());
        }
    }
    captures
}

fn client_of<'s>(scene: &'s Scene, key: &ConnectionKey) -> Result<&'s Client, ApproveError> {
    let unknown = || ApproveError::UnknownCredential(key.credential.to_string());
    scene.client(&key.credential).map(|client| &**client).ok_or_else(unknown)
}

fn secrets_of(scene: &Scene, client: &Client, filled: &Filled) -> Result<Secrets, ApproveError> {
    let credential = || client.name.to_string();
    scene.secrets(client, filled).map_err(|why| ApproveError::Secret { credential: credential(), why })
}

/// The `oauth2` part of a credential.
fn oauth_of<'s>(snapshot: &'s Snapshot, credential: &str) -> Result<&'s OAuth, ApproveError> {
    let index = snapshot.plan.credential_index(credential);
    let found = index.and_then(|index| snapshot.plan.config.credentials[index].oauth.as_deref());
    found.ok_or_else(|| ApproveError::UnknownCredential(credential.to_owned()))
}

/// Whether a credential's connections have a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Each has one.
    Each,
    /// There is one connection for all.
    None,
    /// Routes with and without tenants share the credential.
    Both,
}

/// Whether a credential's connections have a tenant: as its routes do, unless `per` says that they share one.
pub fn tenants_of(snapshot: &Snapshot, credential: &str) -> Option<Tenants> {
    let index = snapshot.plan.credential_index(credential)?;
    let config = &snapshot.plan.config;
    let oauth = config.credentials[index].oauth.as_deref()?;
    if oauth.per == Per::Credential {
        return Some(Tenants::None);
    }
    let routes = || config.routes.iter().filter(|route| route.credentials.contains(&index));
    let with = routes().filter(|route| route.tenant.is_some()).count();
    Some(match (with, routes().count() - with) {
        (0, 0) => Tenants::Both,
        (0, _) => Tenants::None,
        (_, 0) => Tenants::Each,
        _ => Tenants::Both,
    })
}

/// Refuses a connection that no route could use.
pub fn check_key(snapshot: &Snapshot, key: &ConnectionKey) -> Result<(), ApproveError> {
    oauth_of(snapshot, &key.credential)?;
    let credential = || key.credential.to_string();
    let tenants = tenants_of(snapshot, &key.credential);
    match (tenants, &*key.tenant) {
        (Some(Tenants::Each), "") => Err(ApproveError::TenantNeeded(credential())),
        (_, "") => Ok(()),
        (Some(Tenants::None), _) => Err(ApproveError::TenantUnneeded(credential())),
        (_, tenant) if crate::route::tenant::is_tenant(tenant) => Ok(()),
        _ => Err(ApproveError::Tenant),
    }
}

/// RFC 9207 against mix-up. No key of the configuration names an issuer, so that what is known is where this
/// credential's endpoints are, and where those of the others are: an answer from another platform is refused, one
/// from a host that the configuration does not know is not.
fn check_issuer(snapshot: &Snapshot, own: &OAuth, issuer: &str) -> Result<(), ApproveError> {
    let host = issuer.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    let host = host.ok_or_else(|| ApproveError::Issuer("an issuer that is no URL".to_owned()))?;
    let is_of = |oauth: &OAuth| {
        let urls = [oauth.authorize_url.as_ref(), Some(&oauth.token_url)];
        urls.into_iter().flatten().any(|endpoint| host_of(&endpoint.url.to_string()).is_some_and(|own| own == host))
    };
    let others = snapshot.plan.config.credentials.iter().filter_map(|credential| credential.oauth.as_deref());
    if is_of(own) || !others.into_iter().any(is_of) { Ok(()) } else { Err(ApproveError::Issuer(host)) }
}

/// The host of a URL as it is written, port left out; of one with variables in it nothing is known.
fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    if authority.contains('{') {
        return None;
    }
    authority.parse::<http::uri::Authority>().ok().map(|authority| authority.host().to_ascii_lowercase())
}

fn random() -> Result<[u8; 32], ApproveError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ApproveError::Random)?;
    Ok(bytes)
}

/// From 0 to 1, so that the refreshes of many that were connected at one time are spread.
fn part(bytes: [u8; 32]) -> f64 {
    f64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) / f64::from(u32::MAX)
}
