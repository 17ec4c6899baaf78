//! One row for each secret that the configuration names: whether it is good, and why not.

use std::collections::HashSet;

use serde::{Serialize, Serializer};

use crate::cli::source::made_at_first_start;
use crate::cli::terminal;
use crate::clock::Timestamp;
use crate::config::model::{
    AuthoritySource, Config, Credential, Intercept, Proof, RouteTls, Span, Spanned, StateUrl, Trust,
};
use crate::observe::line::time_text;
use crate::playground::certs::FOLDER;
use crate::secret::name::NamePattern;
use crate::secret::set::SecretSet;
use crate::secret::value::BadReason;
use crate::sign::basic::PublicValue;
use crate::sign::material::Kind;
use crate::snapshot::Snapshot;
use crate::snapshot::authority::NAME as AUTHORITY;
use crate::snapshot::credential::CredentialState;
use crate::snapshot::identity::{owner_of_credential, owner_of_route};
use crate::tls::{Authority, Chain, Identity, PrivateKey, Roots};

/// Rows for the files of one pattern at most.
const PATTERN_ROWS: usize = 1000;
/// A certificate that ends within so many days is a warning.
const SOON: i64 = 14;
const DAY: i64 = 24 * 60 * 60;
/// The owner of secrets of `[tls] roots`.
const ROOTS: &str = "tls:roots";

/// One use of one secret.
#[derive(Debug, Serialize)]
pub(super) struct SecretRow {
    /// Its name, or the pattern of its names.
    pub(super) name: String,
    /// Which credential needs it; `route:NAME/client_cert`, `route:NAME/ca`, the same with `credential:`, `intercept/ca`, `state`, `events`, `tls:roots`, `egress:proxy`, `admin`.
    pub(super) credential: String,
    /// Whether it can be used.
    #[serde(rename = "ok", serialize_with = "is_ok")]
    pub(super) state: State,
    /// Why not, or what else is to be known.
    reason: Option<String>,
    /// The last second of a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Whole days until then; negative when it is past.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    #[serde(skip)]
    pub(super) span: Option<Span>,
}

/// How a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Good,
    /// A good certificate with this many days left.
    EndsSoon(i64),
    /// A pattern that no file matches yet.
    NoFile,
    /// The seed of a connection that may be made in another way, or is made already.
    NoSeed,
    /// `[playground]` makes it.
    MadeAtStart,
    Missing,
    Bad(BadReason),
}

fn is_ok<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(state.is_ok())
}

impl State {
    fn of<T>(loaded: Result<T, BadReason>) -> Self {
        match loaded {
            Ok(_) => Self::Good,
            Err(BadReason::Missing) => Self::Missing,
            Err(reason) => Self::Bad(reason),
        }
    }

    fn is_ok(&self) -> bool {
        !matches!(self, Self::Missing | Self::Bad(_))
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Good | Self::EndsSoon(_) => None,
            Self::NoFile => Some("no file matches".to_owned()),
            Self::NoSeed => Some("no file; optional, the first refresh token".to_owned()),
            Self::MadeAtStart => Some("made at first start".to_owned()),
            Self::Missing => Some(BadReason::Missing.to_string()),
            Self::Bad(reason) => Some(reason.to_string()),
        }
    }
}

impl SecretRow {
    fn new(name: &str, credential: &str, state: State, span: Option<Span>) -> Self {
        let reason = state.reason();
        Self {
            name: name.to_owned(),
            credential: credential.to_owned(),
            state,
            reason,
            expires_at: None,
            days_left: None,
            span,
        }
    }

    /// Who needs it, in a sentence.
    pub(super) fn user(&self) -> String {
        if let Some((credential, _)) =
            self.credential.strip_prefix("credential:").and_then(|rest| rest.rsplit_once('/'))
        {
            return format!("tls of credential {credential}");
        }
        match self.credential.strip_prefix("route:").and_then(|rest| rest.rsplit_once('/')) {
            Some((route, _)) => format!("tls of route {route}"),
            None if self.credential == AUTHORITY => "[intercept]".to_owned(),
            None if self.credential == "state" => "[state]".to_owned(),
            None if self.credential == "events" => "[events]".to_owned(),
            None if self.credential == "admin" => "[admin] token".to_owned(),
            None if self.credential == ROOTS => "[tls] roots".to_owned(),
            None if self.credential == "egress:proxy" => "[egress]".to_owned(),
            None => format!("credential {}", self.credential),
        }
    }
}

/// Every use of every secret, in the order of the configuration.
pub(super) fn rows(snapshot: &Snapshot, set: &SecretSet, now: Timestamp) -> Vec<SecretRow> {
    let config = &snapshot.plan.config;
    let mut rows = Vec::new();
    for (index, (credential, state)) in config.credentials.iter().zip(&snapshot.credentials).enumerate() {
        rows.extend(of_credential(credential, state, set));
        if let (Some(seed), Some(state)) = (&credential.seed, &snapshot.seeds[index]) {
            rows.extend(of_seed(&credential.name, of_credential(seed, state, set)));
        }
    }
    for (client, state) in config.clients.iter().zip(&snapshot.clients) {
        if let (Proof::Token(token), Some(state)) = (&client.proof, state) {
            rows.extend(of_credential(token, state, set));
        }
    }
    rows.extend(snapshot.plan.identities.iter().flat_map(|identity| {
        let route = config.routes.iter().find(|route| owner_of_route(&route.name) == identity.owner);
        let credential = || config.credentials.iter().find(|one| owner_of_credential(&one.name) == identity.owner);
        let tls = route.map(|route| &route.tls).or_else(|| credential()?.token_tls.as_ref());
        tls.map(|tls| of_tls(&identity.owner, tls, set, now)).unwrap_or_default()
    }));
    if let Trust::Secrets(names) = &config.trust {
        // Read only where a route leaves its trust to them.
        let is_used =
            |name: &&Spanned<NamePattern>| snapshot.plan.identities.iter().any(|i| i.ca.contains(&name.value));
        rows.extend(names.iter().filter(is_used).map(|name| of_roots(ROOTS, name, set)));
    }
    rows.extend(config.admin.token.iter().map(|token| {
        let loaded = set.content(token.value.as_str()).and_then(|bytes| Kind::HeaderText.load(bytes));
        SecretRow::new(token.value.as_str(), "admin", State::of(loaded), Some(token.span.clone()))
    }));
    rows.extend(of_state(config, set));
    if let Some(Intercept { authority: AuthoritySource::Secrets { cert, key } }) = &config.intercept {
        rows.extend(of_authority(cert, key, set, now));
    }
    excuse_playground(config, &mut rows);
    rows
}

fn of_credential(credential: &Credential, state: &CredentialState, set: &SecretSet) -> Vec<SecretRow> {
    let mut rows = Vec::new();
    for (index, requirement) in credential.signer.requirements().iter().enumerate() {
        let pattern = &requirement.pattern;
        let span = credential.secret_spans.get(index).cloned();
        let state = match pattern.as_static() {
            Some(name) => State::of(set.content(name.as_str()).and_then(|bytes| requirement.kind.load(bytes))),
            None if set.files.keys().any(|name| pattern.captures(name.as_str()).is_some()) => State::Good,
            None => State::NoFile,
        };
        rows.push(SecretRow::new(pattern.as_str(), &credential.name, state, span));
    }
    if !state.variables.is_empty() {
        let known: HashSet<String> = rows.iter().map(|row| row.name.clone()).collect();
        let problems = state.problems().into_iter().filter(|problem| !known.contains(problem.secret.as_str()));
        let mut found: Vec<SecretRow> = problems
            .take(PATTERN_ROWS)
            .map(|problem| {
                let patterns = credential.signer.requirements().iter().map(|requirement| &requirement.pattern);
                let index =
                    patterns.enumerate().find(|(_, pattern)| pattern.captures(problem.secret.as_str()).is_some());
                let span = index.and_then(|(index, _)| credential.secret_spans.get(index).cloned());
                SecretRow::new(problem.secret.as_str(), &credential.name, State::of(Err::<(), _>(problem.reason)), span)
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        rows.extend(found);
    }
    rows
}

/// A seed is needed by nobody who has a connection, so that its absence is no fault.
fn of_seed(credential: &str, mut rows: Vec<SecretRow>) -> Vec<SecretRow> {
    for row in &mut rows {
        row.credential = credential.to_owned();
        if matches!(row.state, State::Missing | State::NoFile) {
            row.state = State::NoSeed;
            row.reason = row.state.reason();
        }
    }
    rows
}

/// The secrets of `[state]`, where a credential has tokens to keep, and of `[events]`.
fn of_state(config: &Config, set: &SecretSet) -> Vec<SecretRow> {
    let row = |owner: &str, name: &NamePattern, span: Option<Span>| {
        SecretRow::new(name.as_str(), owner, State::of(set.content(name.as_str())), span)
    };
    let mut rows = Vec::new();
    if config.credentials.iter().any(|credential| credential.oauth.is_some()) {
        if let StateUrl::Postgres(PublicValue::Secret(name)) = &config.state.url {
            rows.push(row("state", name, None));
        }
        rows.extend(config.state.keys.iter().map(|key| row("state", &key.value, Some(key.span.clone()))));
    }
    rows.extend(config.events.iter().map(|e| row("events", &e.secret.value, Some(e.secret.span.clone()))));
    rows
}

fn of_tls(owner: &str, tls: &RouteTls, set: &SecretSet, now: Timestamp) -> Vec<SecretRow> {
    let mut rows = Vec::new();
    if let Some(cert) = &tls.client_cert {
        rows.extend(of_pair(&format!("{owner}/client_cert"), cert, tls.client_key.as_ref(), set, now));
    }
    rows.extend(tls.ca.iter().map(|ca| of_roots(&format!("{owner}/ca"), ca, set)));
    rows
}

fn of_roots(owner: &str, name: &Spanned<NamePattern>, set: &SecretSet) -> SecretRow {
    let loaded = set.content(name.value.as_str()).and_then(Roots::load);
    SecretRow::new(name.value.as_str(), owner, State::of(loaded), Some(name.span.clone()))
}

/// A certificate and its key, each judged alone first, so that the right file is named.
fn of_pair(
    credential: &str,
    cert: &Spanned<NamePattern>,
    key: Option<&Spanned<NamePattern>>,
    set: &SecretSet,
    now: Timestamp,
) -> Vec<SecretRow> {
    let cert_bytes = set.content(cert.value.as_str());
    let key_bytes = key.map_or_else(|| cert_bytes.clone(), |key| set.content(key.value.as_str()));
    let chain = cert_bytes.clone().and_then(Chain::parse);
    let private = key_bytes.clone().and_then(PrivateKey::parse);
    let pair = match (&chain, &private) {
        (Ok(_), Ok(_)) => cert_bytes.and_then(|cert| Identity::load_at_any_time(cert, key_bytes?)).map(Some),
        _ => Ok(None),
    };
    let mut state = State::of(chain.map(drop).and(pair.as_ref().map(drop).map_err(Clone::clone)));
    if key.is_none() && state == State::Good {
        state = State::of(private.as_ref().map(drop).map_err(Clone::clone));
    }
    let validity = pair.ok().flatten().map(|identity| identity.validity());
    let days = validity.map(|validity| (validity.not_after.seconds - now.seconds).div_euclid(DAY));
    if let Some(Err(reason)) = validity.map(|validity| validity.check(now)) {
        state = State::Bad(reason);
    }
    if let (State::Good, Some(days)) = (&state, days.filter(|days| *days < SOON)) {
        state = State::EndsSoon(days);
    }
    let mut row = SecretRow::new(cert.value.as_str(), credential, state, Some(cert.span.clone()));
    row.expires_at = validity.map(|validity| time_text(validity.not_after));
    row.days_left = days;
    let key = key.map(|key| SecretRow::new(key.value.as_str(), credential, State::of(private), Some(key.span.clone())));
    std::iter::once(row).chain(key).collect()
}

/// The CA of interception: a pair, and of a CA.
fn of_authority(
    cert: &Spanned<NamePattern>,
    key: &Spanned<NamePattern>,
    set: &SecretSet,
    now: Timestamp,
) -> Vec<SecretRow> {
    let mut rows = of_pair(AUTHORITY, cert, Some(key), set, now);
    let both = set.content(cert.value.as_str()).and_then(|cert| Ok((cert, set.content(key.value.as_str())?)));
    let loaded = both.and_then(|(cert, key)| Authority::load(cert, key, now));
    if let (true, Err(reason), Some(row)) = (rows.iter().all(|row| row.state.is_ok()), loaded, rows.first_mut()) {
        row.reason = Some(reason.to_string());
        row.state = State::Bad(reason);
    }
    rows
}

/// The playground makes its certificates together or not at all, and its key on its own.
fn excuse_playground(config: &Config, rows: &mut [SecretRow]) {
    let is_certificate = |row: &SecretRow| row.name != format!("{FOLDER}/hmac-key");
    let ours = |row: &SecretRow| made_at_first_start(config, &row.name);
    let some_are_there = rows.iter().any(|row| ours(row) && is_certificate(row) && row.state != State::Missing);
    for row in rows.iter_mut() {
        if ours(row) && row.state == State::Missing && !(is_certificate(row) && some_are_there) {
            row.state = State::MadeAtStart;
            row.reason = row.state.reason();
        }
    }
}

/// A table for people.
pub(super) fn text(rows: &[SecretRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let word = if row.state.is_ok() { "ok" } else { "bad" };
            let end = row.expires_at.as_deref().and_then(|end| end.split('T').next());
            let end = end.map(|end| match row.days_left {
                Some(days) if days >= 0 => format!("until {end} ({days} days left)"),
                _ => format!("until {end}"),
            });
            let remark = [row.reason.clone(), end].into_iter().flatten().collect::<Vec<_>>().join("; ");
            vec![row.name.clone(), row.credential.clone(), word.to_owned(), remark]
        })
        .collect();
    terminal::table(&["SECRET", "CREDENTIAL", "STATE", "REMARK"], &cells)
}
