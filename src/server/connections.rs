//! Connections as people and programs see them, and what they ask for: the shell's side of [`crate::admin::Connections`], over
//! the store and the tokens. The running proxy answers its admin listener with it, the command line itself.

use std::sync::Arc;

use ring::hmac;

use crate::admin::Connections;
use crate::admin::connections::{
    ApprovalView, BeginAsk, ConnectionList, ConnectionView, LIMIT_MAX, LastRefreshView, Later, ListQuery, Refused,
    RevokedView, SEALED, Trouble,
};
use crate::clock::Timestamp;
use crate::refresh::approve::{self, ApproveError, Remedy, TERM, Tenants};
use crate::refresh::{NoToken, NoTokenKind, SteerError, Tokens};
use crate::secret::value::SecretBytes;
use crate::snapshot::Snapshot;
use crate::store::{Filter, Listed, StoreError};
use crate::token::record::State;
use crate::token::{ConnectionKey, Record, machine};

/// What fingerprints are keyed for, so that the key of the store is used for nothing else by them.
const PURPOSE: &[u8] = b"countersign: fingerprints of tokens";
/// Rows that are read at a time where a filter is not the database's.
const PAGE: u32 = LIMIT_MAX;

/// Tells whether two tokens are the same, and nothing else. The same in every process that has the key of the store.
#[derive(Clone)]
pub struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// From the first key of `[state]`, or from random bytes where nothing is sealed.
    pub fn keyed(secret: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// 8 hexadecimal digits.
    pub fn of(&self, token: &SecretBytes) -> String {
        hmac::sign(&self.0, token.expose()).as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints")
    }
}

/// Shows and steers connections.
#[derive(Debug)]
pub struct Steering {
    tokens: Arc<Tokens>,
    fingerprints: Fingerprints,
}

impl Steering {
    /// Over these.
    pub fn new(tokens: Arc<Tokens>, fingerprints: Fingerprints) -> Self {
        Self { tokens, fingerprints }
    }

    /// The tokens and, behind them, the store.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// One connection; `now` is the store's time.
    pub fn view(&self, record: &Record, now: Timestamp) -> ConnectionView {
        let snapshot = self.tokens.snapshot();
        let place = snapshot.plan.credential_index(&record.key.credential);
        let oauth = place.and_then(|place| snapshot.plan.config.credentials[place].oauth.as_deref());
        let usable = oauth.is_some_and(|oauth| machine::usable_until(record, &oauth.refresh, now).is_some());
        let tokens = &record.tokens;
        let print = |token: &Option<SecretBytes>| token.as_ref().map(|token| self.fingerprints.of(token));
        ConnectionView {
            credential: record.key.credential.to_string(),
            tenant: tenant_of(&record.key),
            platform: None,
            grant: record.grant.as_str().to_owned(),
            state: if is_refreshing(record, now) { "refreshing" } else { record.state.as_str() },
            usable,
            reason: record.reason.map(|reason| reason.as_str()),
            detail: record.detail.clone(),
            scopes: tokens.scopes.clone(),
            issued_at: tokens.issued_at,
            expires_at: tokens.expires_at,
            refresh_expires_at: tokens.refresh_expires_at,
            next_refresh_at: record.next_refresh_at,
            access_token: print(&tokens.access),
            refresh_token: print(&tokens.refresh),
            version: record.version,
            failures: record.failures,
            last_refresh: record.last_refresh.map(|last| LastRefreshView {
                at: Some(last.at),
                outcome: last.failed.map_or("ok", |reason| reason.as_str()),
            }),
            created_at: Some(record.created_at),
            updated_at: Some(record.updated_at),
            last_used_at: record.last_used_at,
            routes: routes_of(&snapshot, &record.key.credential),
        }
    }

    /// A row of a list: of one whose tokens do not open, what is known without them.
    fn listed(&self, listed: &Listed, now: Timestamp) -> ConnectionView {
        let mut view = self.view(&listed.record, now);
        if let Some(why) = &listed.shut {
            (view.usable, view.reason, view.detail) = (false, Some(SEALED), Some(why.to_string()));
        }
        view
    }

    async fn page(&self, query: ListQuery) -> Result<ConnectionList, Refused> {
        let store = self.tokens.store();
        let refreshing = query.state.as_deref() == Some("refreshing");
        let state = query
            .state
            .as_deref()
            .filter(|_| !refreshing)
            .map(|word| State::from_word(word).ok_or_else(|| Refused::new(Trouble::Ask, "there is no such state")));
        let filter = Filter { credential: query.credential, tenant: query.tenant, state: state.transpose()? };
        let mut after = query.after.as_deref().map(cursor).transpose()?;
        let limit = query.limit.clamp(1, LIMIT_MAX) as usize;
        let mut rows = Vec::new();
        let now = store.now().await.map_err(|error| of_store(&error))?;
        // One more than is shown tells whether there is a next page.
        while rows.len() <= limit {
            let count = if refreshing { PAGE } else { query.limit.clamp(1, LIMIT_MAX) + 1 };
            let page = store.list(&filter, after.as_ref(), count).await.map_err(|error| of_store(&error))?;
            let last = page.len() < count as usize;
            after = page.last().map(|listed| listed.record.key.clone());
            rows.extend(page.into_iter().filter(|listed| !refreshing || is_refreshing(&listed.record, now)));
            if last || !refreshing {
                break;
            }
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|listed| cursor_text(&listed.record.key));
        Ok(ConnectionList { connections: rows.iter().map(|listed| self.listed(listed, now)).collect(), next })
    }

    async fn one(&self, credential: &str, tenant: &str) -> Result<ConnectionView, Refused> {
        let key = ConnectionKey::new(credential, tenant);
        let store = self.tokens.store();
        let now = store.now().await.map_err(|error| of_store(&error))?;
        match store.load(&key).await.map_err(|error| of_store(&error))? {
            Some(record) => Ok(self.view(&record, now)),
            None => Err(self.absent(&key)),
        }
    }

    fn absent(&self, key: &ConnectionKey) -> Refused {
        match approve::check_key(&self.tokens.snapshot(), key) {
            Err(error) => of_approval(&error),
            Ok(()) => Refused::new(Trouble::Unknown, format!("{key} is not connected")),
        }
    }

    async fn refresh_one(&self, credential: &str, tenant: &str) -> Result<ConnectionView, Refused> {
        let key = ConnectionKey::new(credential, tenant);
        approve::check_key(&self.tokens.snapshot(), &key).map_err(|error| of_approval(&error))?;
        tracing::info!(credential, tenant, "a refresh was asked for");
        let record = self.tokens.refresh_now(&key).await.map_err(|error| of_steering(&key, &error))?;
        // The live token may be used on, and yet there is no new one.
        if let Some(reason) = record.last_refresh.and_then(|last| last.failed) {
            let none = match record.state {
                State::Reauthorize | State::Revoked => NoToken::reauthorize(reason, record.detail),
                State::Active | State::Degraded => NoToken::unavailable(reason, record.detail, 1),
            };
            return Err(of_steering(&key, &SteerError::NoToken(none)));
        }
        let now = self.tokens.store().now().await.map_err(|error| of_store(&error))?;
        Ok(self.view(&record, now))
    }

    async fn revoke_one(&self, credential: &str, tenant: &str) -> Result<RevokedView, Refused> {
        let key = ConnectionKey::new(credential, tenant);
        let revoked = self.tokens.revoke(&key).await.map_err(|error| of_steering(&key, &error))?;
        if revoked.before.is_none() {
            return Err(self.absent(&key));
        }
        Ok(RevokedView {
            credential: credential.to_owned(),
            tenant: tenant_of(&key),
            state: State::Revoked.as_str(),
            platform: revoked.platform.as_str(),
            routes: routes_of(&self.tokens.snapshot(), credential),
        })
    }

    async fn begin_one(&self, ask: BeginAsk) -> Result<ApprovalView, Refused> {
        let key = ConnectionKey::new(&ask.credential, ask.tenant.as_deref().unwrap_or_default());
        let begun = self.tokens.begin_approval(&key, ask.redirect_url.as_deref(), TERM).await;
        let begun = begun.map_err(|error| of_approval(&error))?;
        Ok(ApprovalView { approval_url: begun.url, state: begun.state })
    }

    async fn finish_one(&self, query: &str) -> Result<ConnectionView, Refused> {
        let done = self.tokens.finish_approval(query).await.map_err(|error| of_approval(&error))?;
        let now = self.tokens.store().now().await.map_err(|error| of_store(&error))?;
        Ok(self.view(&done.record, now))
    }
}

impl Connections for Steering {
    fn list(&self, query: ListQuery) -> Later<'_, ConnectionList> {
        Box::pin(self.page(query))
    }

    fn show<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, ConnectionView> {
        Box::pin(self.one(credential, tenant))
    }

    fn refresh<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, ConnectionView> {
        Box::pin(self.refresh_one(credential, tenant))
    }

    fn revoke<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, RevokedView> {
        Box::pin(self.revoke_one(credential, tenant))
    }

    fn begin(&self, ask: BeginAsk) -> Later<'_, ApprovalView> {
        Box::pin(self.begin_one(ask))
    }

    fn finish<'a>(&'a self, query: &'a str) -> Later<'a, ConnectionView> {
        Box::pin(self.finish_one(query))
    }

    fn is_single(&self, credential: &str) -> bool {
        approve::tenants_of(&self.tokens.snapshot(), credential) == Some(Tenants::None)
    }
}

fn is_refreshing(record: &Record, now: Timestamp) -> bool {
    record.lease.as_ref().is_some_and(|lease| lease.until > now)
}

fn tenant_of(key: &ConnectionKey) -> Option<String> {
    Some(key.tenant.to_string()).filter(|tenant| !tenant.is_empty())
}

/// The names of the routes that use a credential.
pub fn routes_of(snapshot: &Snapshot, credential: &str) -> Vec<String> {
    let Some(index) = snapshot.plan.credential_index(credential) else { return Vec::new() };
    let routes = snapshot.plan.config.routes.iter().filter(|route| route.credentials.contains(&index));
    routes.map(|route| route.name.clone()).collect()
}

/// Where the next page begins: names of credentials and tenants have no `/`.
fn cursor_text(key: &ConnectionKey) -> String {
    format!("{}/{}", key.credential, key.tenant)
}

fn cursor(text: &str) -> Result<ConnectionKey, Refused> {
    let split = text.split_once('/');
    let wrong = || Refused::new(Trouble::Ask, "after is what the page before has as \"next\"");
    split.map(|(credential, tenant)| ConnectionKey::new(credential, tenant)).ok_or_else(wrong)
}

/// A store's error with what is to be done about it.
pub fn of_store(error: &StoreError) -> Refused {
    let trouble = if matches!(error, StoreError::Unavailable(_)) { Trouble::Passing } else { Trouble::Platform };
    Refused::new(trouble, with_causes(error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

/// An approval's error with what is to be done about it.
pub fn of_approval(error: &ApproveError) -> Refused {
    let trouble = match error.remedy() {
        Remedy::Correct if matches!(error, ApproveError::Refused(_) | ApproveError::Denied { .. }) => Trouble::Platform,
        Remedy::Correct => Trouble::Ask,
        Remedy::Unknown => Trouble::Unknown,
        Remedy::Begin => Trouble::Spent,
        Remedy::PersonMustAct => Trouble::PersonMustAct,
        Remedy::Wait => Trouble::Passing,
    };
    Refused::new(trouble, with_causes(error))
}

fn of_steering(key: &ConnectionKey, error: &SteerError) -> Refused {
    match error {
        SteerError::Store(error) => of_store(error),
        SteerError::UnknownCredential => {
            Refused::new(Trouble::Unknown, format!("there is no oauth2 credential \"{}\"", key.credential))
        }
        SteerError::NoToken(no) => {
            let detail = no.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            let (trouble, what) = match no.kind {
                NoTokenKind::Reauthorize => (Trouble::PersonMustAct, "must be approved again"),
                NoTokenKind::Unavailable => (Trouble::Passing, "was not refreshed"),
            };
            Refused::new(trouble, format!("{key} {what}: {}{detail}", no.reason.as_str()))
        }
    }
}
