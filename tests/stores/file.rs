//! What only a SQLite file has: permissions, its bytes, its keys, and holders that die.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Arc;

use countersign::clock::SystemClock;
use countersign::secret::value::SecretBytes;
use countersign::store::{Claim, Existing, Filter, Known, Place, Store, StoreError, open};
use countersign::token::ConnectionKey;
use sqlx::{Connection, SqliteConnection};

use super::{Folder, KEY, TERM, exposed, opened, record, tokens};

fn keys(keys: &[&[u8]]) -> Vec<SecretBytes> {
    keys.iter().map(|key| SecretBytes::copy_of(key)).collect()
}

/// A statement by somebody else.
async fn tamper(folder: &Folder, sql: &'static str) {
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", folder.file().display())).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
}

async fn filled(folder: &Folder) -> Arc<dyn Store> {
    let store = folder.open().await;
    let record = |tenant: &str| record(ConnectionKey::new("shop", tenant), tokens(&format!("CANARY-{tenant}")));
    store.put(vec![record("m1"), record("m2")], Existing::Refuse, Vec::new()).await.unwrap();
    store
}

fn m(tenant: &str) -> ConnectionKey {
    ConnectionKey::new("shop", tenant)
}

#[tokio::test]
async fn files_are_private_and_hold_no_token() {
    let folder = Folder::new();
    let store = filled(&folder).await;
    store.claim(&record(m("m1"), tokens("")), Known::Version(1), "holder", TERM).await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder.0).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"), "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["state.db", "state.db-owner-holder", "state.db-shm", "state.db-wal"]);
    store.close().await.unwrap();
    assert!(!fs::read(folder.file()).unwrap().windows(6).any(|window| window == b"CANARY"));
    assert!(!folder.0.join("state.db-owner-holder").exists());
}

#[tokio::test]
async fn a_file_that_others_may_read_is_closed_and_an_open_folder_is_refused() {
    let folder = Folder::new();
    fs::DirBuilder::new().mode(0o755).create(&folder.0).unwrap();
    fs::write(folder.file(), "").unwrap();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    folder.open().await.close().await.unwrap();
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = open(&Place::Sqlite(folder.file()), keys(&[KEY]), Arc::new(SystemClock)).await.unwrap_err();
    assert!(refused.to_string().contains("can be written by others (mode 777)"), "{refused}");
}

#[tokio::test]
async fn a_dead_holder_gives_way_at_once_and_a_living_one_does_not() {
    let folder = Folder::new();
    let (one, two) = (filled(&folder).await, folder.open().await);
    let template = |tenant| record(m(tenant), tokens(""));
    for tenant in ["m1", "m2"] {
        let claim = one.claim(&template(tenant), Known::Version(1), "one", TERM).await.unwrap();
        assert!(matches!(claim, Claim::Won { .. }));
    }
    let held = two.claim(&template("m1"), Known::Version(1), "two", TERM).await.unwrap();
    assert!(matches!(held, Claim::Held { .. }));
    drop(one); // without closing: its lock ends as the kernel ends it with a process
    let claim = two.claim(&template("m1"), Known::Version(1), "two", TERM).await.unwrap();
    assert!(matches!(claim, Claim::Won { interrupted: Some(_), .. }), "{claim:?}");
    two.due(TERM, 10).await.unwrap();
    assert!(!folder.0.join("state.db-owner-one").exists(), "swept");
    let other = two.load(&m("m2")).await.unwrap().unwrap();
    assert!(other.lease.is_none() && other.intent.is_some(), "what it had begun is known");
    fs::remove_file(folder.0.join("state.db-owner-two")).unwrap();
    let three = folder.open().await;
    let held = three.claim(&template("m1"), Known::Version(1), "three", TERM).await.unwrap();
    assert!(matches!(held, Claim::Held { .. }), "a file that is not there proves nothing");
}

#[tokio::test]
async fn keys_are_exchanged_step_by_step() {
    let folder = Folder::new();
    let store = filled(&folder).await;
    let (old, new) = (KEY, &[3; 32][..]);
    store.use_keys(keys(&[new, old])).unwrap();
    assert_eq!(store.rekey().await.unwrap(), 2);
    assert_eq!(store.rekey().await.unwrap(), 0);
    let read = store.load(&m("m1")).await.unwrap().unwrap();
    assert_eq!((exposed(&read.tokens.access), read.version), ("access-CANARY-m1", 1));
    store.use_keys(keys(&[new])).unwrap();
    assert!(store.load(&m("m2")).await.unwrap().is_some());
    store.close().await.unwrap();
    let wrong = opened(Place::Sqlite(folder.file()), old).await;
    let shut = wrong.load(&m("m1")).await.unwrap_err();
    assert_eq!(shut.to_string(), "shop/m1: the stored tokens cannot be opened with any key of [state] key");
    let claim = wrong.claim(&record(m("m1"), tokens("")), Known::Version(1), "one", TERM).await;
    assert!(matches!(claim, Err(StoreError::Sealed { .. })));
    assert!(matches!(wrong.rekey().await, Err(StoreError::Sealed { .. })));
    let before = wrong.revoke(&m("m1"), Vec::new()).await.unwrap().unwrap();
    assert!(before.tokens.access.is_none(), "ended all the same");
    assert!(open(&Place::Sqlite(folder.file()), Vec::new(), Arc::new(SystemClock)).await.is_err(), "no key, no store");
}

#[tokio::test]
async fn a_token_that_was_changed_or_moved_does_not_open() {
    for sql in [
        "UPDATE countersign_connections SET access_sealed = zeroblob(40) WHERE tenant = 'm1'",
        "UPDATE countersign_connections SET access_sealed = refresh_sealed WHERE tenant = 'm1'",
        "UPDATE countersign_connections SET access_sealed = (SELECT access_sealed FROM countersign_connections \
         WHERE tenant = 'm2') WHERE tenant = 'm1'",
        "UPDATE countersign_connections SET values_sealed = X'01' WHERE tenant = 'm1'",
    ] {
        let folder = Folder::new();
        let store = filled(&folder).await;
        tamper(&folder, sql).await;
        assert!(matches!(store.load(&m("m1")).await, Err(StoreError::Sealed { key }) if key == m("m1")), "{sql}");
        assert_eq!(exposed(&store.load(&m("m2")).await.unwrap().unwrap().tokens.access), "access-CANARY-m2");
        let all = store.list(&Filter::default(), None, 10).await.unwrap();
        for one in all {
            let tokens = &one.record.tokens;
            let is_shut = *one.record.key.tenant == *"m1";
            assert_eq!(matches!(one.shut, Some(StoreError::Sealed { .. })), is_shut, "{sql}: {one:?}");
            assert_eq!(tokens.access.is_none() && tokens.refresh.is_none(), is_shut, "nothing of it in part: {one:?}");
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_used_only_if_it_says_so() {
    let folder = Folder::new();
    filled(&folder).await.close().await.unwrap();
    tamper(
        &folder,
        "UPDATE countersign_meta SET value = 9 WHERE name = 'schema'; \
         ALTER TABLE countersign_connections ADD COLUMN later TEXT",
    )
    .await;
    let store = folder.open().await;
    assert!(store.load(&m("m1")).await.unwrap().is_some());
    store.put(vec![record(m("m3"), tokens("x"))], Existing::Refuse, Vec::new()).await.unwrap();
    store.close().await.unwrap();
    tamper(&folder, "UPDATE countersign_meta SET value = 8 WHERE name = 'reads_from'").await;
    let refused = open(&Place::Sqlite(folder.file()), keys(&[KEY]), Arc::new(SystemClock)).await.unwrap_err();
    assert_eq!(refused.to_string(), "the store has schema 9, this version reads up to 1: update countersign");
}

#[tokio::test]
async fn a_full_store_says_so_and_loses_nothing() {
    let folder = Folder::new();
    let store = filled(&folder).await;
    // As a full disk is told: SQLITE_FULL, from the database itself.
    tamper(
        &folder,
        "CREATE TRIGGER full BEFORE UPDATE ON countersign_connections WHEN NEW.version > OLD.version \
         BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    )
    .await;
    store.claim(&record(m("m1"), tokens("")), Known::Version(1), "one", TERM).await.unwrap();
    let failed = store.commit(&m("m1"), 1, "one", super::change("new")).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    let read = store.load(&m("m1")).await.unwrap().unwrap();
    assert_eq!((read.version, exposed(&read.tokens.refresh)), (1, "refresh-CANARY-m1"));
    tamper(&folder, "DROP TRIGGER full").await;
    let stored = store.commit(&m("m1"), 1, "one", super::change("new")).await.unwrap();
    assert!(matches!(stored, countersign::store::Committed::Stored(_)), "the lease is still there: it is tried again");
}
