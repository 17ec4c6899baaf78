//! Behaviours of the store, the same for each place: two handles, as two processes have them. `cargo test` runs memory and
//! SQLite; with `COUNTERSIGN_TEST_POSTGRES` (URLs, separated by spaces) also PostgreSQL, which `tests/peers/run stores` does.

mod behaviours;
mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use countersign::clock::{SystemClock, Timestamp};
use countersign::secret::value::SecretBytes;
use countersign::store::{Change, Claim, Known, Place, Store, open};
use countersign::token::grant::Grant;
use countersign::token::record::{State, TokenSet};
use countersign::token::{ConnectionKey, Event, EventKind, Record};

const KEY: &[u8] = b"a key for tests, which is long enough";
const TERM: Duration = Duration::from_secs(45);

/// Held by behaviours that take events: on a database that all share, one would get those of another.
static EVENTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Two handles on one store, and a name that no other test uses.
struct World {
    a: Arc<dyn Store>,
    b: Arc<dyn Store>,
    name: String,
}

fn unique(word: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A file in a folder that is not there yet; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("store")))
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.db")
    }

    async fn open(&self) -> Arc<dyn Store> {
        opened(Place::Sqlite(self.file()), KEY).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn opened(place: Place, key: &[u8]) -> Arc<dyn Store> {
    open(&place, vec![SecretBytes::copy_of(key)], Arc::new(SystemClock)).await.unwrap()
}

/// Runs one behaviour on every place.
fn everywhere<F: Future<Output = ()>>(behaviour: impl Fn(World) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let memory = opened(Place::Memory, KEY).await;
        behaviour(World { a: memory.clone(), b: memory, name: unique("c") }).await;
        let folder = Folder::new();
        let (a, b) = tokio::join!(folder.open(), folder.open());
        behaviour(World { a: a.clone(), b: b.clone(), name: unique("c") }).await;
        a.close().await.unwrap();
        b.close().await.unwrap();
        for url in postgres() {
            let place = || Place::parse(&url).unwrap();
            let (a, b) = tokio::join!(opened(place(), KEY), opened(place(), KEY));
            behaviour(World { a: a.clone(), b: b.clone(), name: unique("c") }).await;
            a.close().await.unwrap();
            b.close().await.unwrap();
        }
    });
}

#[allow(clippy::disallowed_methods)] // which databases there are, only the caller knows
fn postgres() -> Vec<String> {
    let urls = std::env::var("COUNTERSIGN_TEST_POSTGRES").unwrap_or_default();
    urls.split_whitespace().map(str::to_owned).collect()
}

impl World {
    fn key(&self, tenant: &str) -> ConnectionKey {
        ConnectionKey::new(&self.name, tenant)
    }

    /// A record without tokens, as grants make it at first use.
    fn empty(&self, tenant: &str) -> Record {
        record(self.key(tenant), TokenSet::default())
    }

    fn full(&self, tenant: &str, word: &str) -> Record {
        record(self.key(tenant), tokens(word))
    }

    fn event(&self, tenant: &str, kind: EventKind) -> Event {
        event(self.key(tenant), kind)
    }

    /// A lease that the test is sure of.
    async fn won(&self, tenant: &str, known: Known, owner: &str) -> (Box<Record>, Option<Timestamp>) {
        match self.a.claim(&self.empty(tenant), known, owner, TERM).await.unwrap() {
            Claim::Won { record, interrupted } => (record, interrupted),
            other => panic!("{other:?}"),
        }
    }
}

fn secret(text: &str) -> Option<SecretBytes> {
    Some(SecretBytes::copy_of(text.as_bytes()))
}

fn exposed(token: &Option<SecretBytes>) -> &str {
    token.as_ref().map_or("", |token| std::str::from_utf8(token.expose()).unwrap())
}

fn tokens(word: &str) -> TokenSet {
    TokenSet {
        access: secret(&format!("access-{word}")),
        refresh: secret(&format!("refresh-{word}")),
        values: [("manager".to_owned(), SecretBytes::copy_of(format!("value-{word}").as_bytes()))].into(),
        host: Some("eu.api.test".to_owned()),
        scopes: vec!["read".to_owned(), "write \"all\"".to_owned()],
        issued_at: Some(Timestamp::from_seconds(1_800_000_000)),
        expires_at: Some(Timestamp { seconds: 1_800_003_600, nanos: 123_000_000 }),
        refresh_expires_at: None,
    }
}

fn record(key: ConnectionKey, tokens: TokenSet) -> Record {
    let zero = Timestamp::from_seconds(0);
    Record {
        key,
        grant: Grant::RefreshToken,
        state: State::Active,
        reason: None,
        detail: None,
        tokens,
        version: 0,
        failures: 0,
        next_refresh_at: None,
        last_refresh: None,
        seed: None,
        captures: BTreeMap::new(),
        created_at: zero,
        updated_at: zero,
        last_used_at: None,
        lease: None,
        intent: None,
    }
}

fn event(key: ConnectionKey, kind: EventKind) -> Event {
    let at = Timestamp::from_seconds(1_800_000_000);
    Event { kind, key, at, state: Some(State::Active), previous: None, reason: None, detail: None, version: 0 }
}

fn change(word: &str) -> Change {
    Change {
        state: State::Active,
        reason: None,
        detail: None,
        tokens: Some(tokens(word)),
        failures: 0,
        next_refresh_in: Some(Duration::from_secs(600)),
        last_refresh: None,
        seed: Some([7; 32]),
        events: Vec::new(),
    }
}
