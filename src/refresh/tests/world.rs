//! A process without a proxy: a snapshot with one `oauth2` credential, a store in memory, a clock that tests move.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;

use crate::clock::{Clock, SharedClock, Timestamp};
use crate::config::model::{Config, Credential, RouteTls};
use crate::control::outward::Outward;
use crate::observe::metrics::Metrics;
use crate::refresh::{Parts, Sharing, Steps, Tokens, Want};
use crate::secret::name::{NamePattern, SecretName};
use crate::secret::set::{SecretFile, SecretSet};
use crate::secret::value::SecretBytes;
use crate::sign::material::Kind;
use crate::sign::token::{CallNames, DERIVED_TOKEN, Piece, Placement, Shared, Token};
use crate::sign::{Signer, Slot};
use crate::snapshot::plan::Plan;
use crate::snapshot::{FingerprintKey, Moment, Snapshot};
use crate::store::Store;
use crate::store::memory::Memory;
use crate::token::derive::Derive;
use crate::token::fill::Fill;
use crate::token::grant::{AnswerShape, Endpoint, Grant, Insecure, OAuth, RefreshPolicy};
use crate::token::machine;
use crate::token::record::TokenSet;
use crate::token::{ConnectionKey, Record, vectors};

pub(super) const START: i64 = 1_800_000_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(super) struct Hands(AtomicI64);

impl Hands {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START)))
    }

    pub(super) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

/// What a test changes of the usual credential.
pub(super) struct Settings {
    pub(super) grant: Grant,
    pub(super) token_url: String,
    pub(super) revoke_url: Option<String>,
    pub(super) policy: RefreshPolicy,
    pub(super) seed: bool,
    /// What goes into `Authorization`.
    pub(super) part: &'static str,
    /// The port of a second token's endpoint, which then goes into `x-second`.
    pub(super) derive: Option<u16>,
}

impl Settings {
    /// A refresh token at this port, on a quick policy.
    pub(super) fn at(port: u16) -> Self {
        Self {
            grant: Grant::RefreshToken,
            token_url: format!("http://127.0.0.1:{port}/token"),
            revoke_url: None,
            policy: vectors::policy(),
            seed: false,
            part: "access_token",
            derive: None,
        }
    }

    fn oauth(&self) -> OAuth {
        let name = |text: &str| NamePattern::parse(text).unwrap();
        let keys = json!({
            "grant": self.grant.as_str(), "token_url": self.token_url, "revoke_url": self.revoke_url,
            "client_id": "client", "client_auth": "post",
        });
        OAuth {
            client_secret: Some(name("secret")),
            seed: self.seed.then(|| name("seed")),
            refresh: self.policy.clone(),
            derive: self.derive.map(|port| {
                Arc::new(Derive {
                    url: Endpoint {
                        url: Fill::literal(&format!("http://127.0.0.1:{port}/second")),
                        insecure: Insecure::Refused,
                    },
                    method: http::Method::POST,
                    body: None,
                    content_type: http::HeaderValue::from_static("application/json"),
                    answer: AnswerShape::default(),
                    ttl: None,
                    endpoints: Vec::new(),
                })
            }),
            ..vectors::oauth(&keys)
        }
    }

    fn config(&self) -> Config {
        let text = "[[route]]\nname = \"orders\"\nhost = \"shop.example\"\ncredential = \"none\"\n";
        let loaded = crate::config::parse("proxy.toml", text, Path::new("/"));
        let mut config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let names = CallNames { client_secret: Some(NamePattern::parse("secret").unwrap()), ..CallNames::default() };
        let placement = Placement {
            slot: Slot::Header(http::header::AUTHORIZATION),
            prefix: "Bearer ".to_owned(),
            value: vec![Piece::Part(self.part.into())],
        };
        let mut token = Token::new(names, vec![placement], Shared::No);
        if self.derive.is_some() {
            token = token.with_derived(vec![Placement {
                slot: Slot::Header(http::HeaderName::from_static("x-second")),
                prefix: String::new(),
                value: vec![Piece::Part(DERIVED_TOKEN.into())],
            }]);
        }
        let mut credential =
            Credential::plain("shop".to_owned(), 0..0, Signer::Token(Box::new(token)), std::iter::once(0..0).collect());
        credential.oauth = Some(Arc::new(self.oauth()));
        credential.token_tls = Some(RouteTls::default());
        credential.seed = self.seed.then(|| {
            let names = CallNames { client_secret: Some(NamePattern::parse("seed").unwrap()), ..CallNames::default() };
            let signer = Signer::Token(Box::new(Token::new(names, Vec::new(), Shared::No)));
            Box::new(Credential::plain("seed:shop".to_owned(), 0..0, signer, std::iter::once(0..0).collect()))
        });
        config.credentials.push(credential);
        config
    }

    pub(super) fn snapshot(&self, secrets: &[(&str, &str)]) -> Arc<Snapshot> {
        self.snapshot_after(None, secrets)
    }

    pub(super) fn snapshot_after(&self, before: Option<&Snapshot>, secrets: &[(&str, &str)]) -> Arc<Snapshot> {
        let mut files = HashMap::new();
        for (number, (name, content)) in secrets.iter().enumerate() {
            let mut digest = [number as u8; 16];
            content.bytes().take(12).enumerate().for_each(|(at, byte)| digest[at + 2] = byte);
            let content = Ok(SecretBytes::copy_of(content.as_bytes()));
            files.insert(SecretName::parse(name).unwrap(), SecretFile { content, digest });
        }
        let set = SecretSet { generation: 1, files: Arc::new(files) };
        let plan = before.map_or_else(|| Arc::new(Plan::new(Arc::new(self.config()))), |before| before.plan.clone());
        let moment = Moment { now: Timestamp::from_seconds(START), fingerprint_key: FingerprintKey::new(&[0; 32]) };
        Arc::new(Snapshot::compile(plan, &set, before, &moment))
    }
}

/// One process.
pub(super) struct World {
    pub(super) tokens: Arc<Tokens>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<Hands>,
    pub(super) settings: Settings,
    pub(super) snapshot: Arc<Snapshot>,
}

pub(super) fn memory(clock: &Arc<Hands>) -> Arc<dyn Store> {
    let clock: SharedClock = clock.clone();
    Arc::new(Memory::new(clock))
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let clock = Hands::new();
        let store = memory(&clock);
        Self::of(settings, store, clock, None)
    }

    pub(super) fn of(
        settings: Settings,
        store: Arc<dyn Store>,
        clock: Arc<Hands>,
        steps: Option<Arc<dyn Steps>>,
    ) -> Self {
        let snapshot = settings.snapshot(&[("secret", "hush-1"), ("seed", "seed-1")]);
        let parts = Parts {
            store: store.clone(),
            sharing: Sharing::Shared,
            snapshot: snapshot.clone(),
            outward: Arc::new(Outward::new(Vec::new())),
            clock: clock.clone(),
            metrics: Arc::new(Metrics::new("0", Timestamp::from_seconds(START))),
        };
        Self { tokens: Tokens::with_steps(parts, steps), store, clock, settings, snapshot }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn want<'w>(&self, tenant: &'w str) -> Want<'w> {
        Want { credential: "shop", tenant, captures: &[], now: self.now() }
    }

    /// Puts a connection into the store that has a refresh token alone, and captures.
    pub(super) async fn connect(&self, tenant: &str, captures: &[(&str, &str)]) {
        let oauth = self.settings.oauth();
        let key = ConnectionKey::new("shop", tenant);
        let mut record = machine::template(key, &oauth, captures, self.now());
        let refresh = Some(SecretBytes::copy_of(b"refresh-0"));
        record.tokens = TokenSet { refresh, ..TokenSet::default() };
        self.store.put(vec![record], crate::store::Existing::Replace, Vec::new()).await.unwrap();
    }

    pub(super) async fn record(&self, tenant: &str) -> Record {
        self.store.load(&ConnectionKey::new("shop", tenant)).await.unwrap().unwrap()
    }

    /// The access and refresh token that are stored.
    pub(super) async fn stored(&self, tenant: &str) -> (String, String) {
        let tokens = self.record(tenant).await.tokens;
        let text = |one: Option<SecretBytes>| {
            one.map(|bytes| String::from_utf8_lossy(bytes.expose()).into_owned()).unwrap_or_default()
        };
        (text(tokens.access), text(tokens.refresh))
    }
}

/// Whether [`Kind`] is what seeds are checked by; keeps the world honest about what configuration does.
#[test]
fn a_seed_is_text() {
    assert!(Kind::Text.load(&SecretBytes::copy_of(b"seed-1")).is_ok());
}
