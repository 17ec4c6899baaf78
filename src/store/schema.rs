//! The tables, and how they came to be: numbered steps, each under a lock that ends with its transaction. Used by `sqlite`
//! and `postgres` at opening.
//!
//! A step keeps what is there readable by the version before (columns are added, none is renamed or dropped while that one
//! may run), and says so: `reads_from` is the oldest schema whose programs can still work with it.

use super::StoreError;
use super::database::{Arg, Database, For, Sql, Work};

/// The schema that this version makes.
pub(super) const KNOWN: i64 = 1;
/// The oldest schema whose programs can work with [`KNOWN`].
const READS_FROM: i64 = 1;

/// Every step in order; `BYTES` and `TEXT_C` are each database's own words.
const STEPS: [&str; KNOWN as usize] = [FIRST];

const FIRST: &str = "
CREATE TABLE countersign_meta (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE countersign_connections (
  credential TEXT_C NOT NULL,
  tenant TEXT_C NOT NULL,
  grant_type TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  detail TEXT,
  access_sealed BYTES,
  refresh_sealed BYTES,
  values_sealed BYTES,
  host TEXT,
  scopes TEXT NOT NULL,
  issued_at BIGINT,
  expires_at BIGINT,
  refresh_expires_at BIGINT,
  version BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  next_refresh_at BIGINT,
  last_refresh_at BIGINT,
  last_refresh_failed TEXT,
  seed BYTES,
  captures TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  last_used_at BIGINT,
  lease_owner TEXT,
  lease_until BIGINT,
  began_at BIGINT,
  interrupted_at BIGINT,
  writer TEXT NOT NULL,
  PRIMARY KEY (credential, tenant)
);
CREATE INDEX countersign_connections_due ON countersign_connections (next_refresh_at) WHERE next_refresh_at IS NOT NULL;
CREATE INDEX countersign_connections_news ON countersign_connections (updated_at);
CREATE INDEX countersign_connections_lease ON countersign_connections (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE TABLE countersign_events (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  credential TEXT NOT NULL,
  tenant TEXT NOT NULL,
  happened_at BIGINT NOT NULL,
  state TEXT,
  previous TEXT,
  reason TEXT,
  detail TEXT,
  version BIGINT NOT NULL,
  written_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL
);
CREATE INDEX countersign_events_due ON countersign_events (due_at);
CREATE INDEX countersign_events_written ON countersign_events (written_at);
CREATE TABLE countersign_approvals (
  state BYTES NOT NULL PRIMARY KEY,
  credential TEXT NOT NULL,
  tenant TEXT NOT NULL,
  verifier_sealed BYTES NOT NULL,
  redirect_url TEXT NOT NULL,
  ends_at BIGINT NOT NULL
);
CREATE INDEX countersign_approvals_end ON countersign_approvals (ends_at);
";

const EXISTS: Sql = Sql::Each {
    sqlite: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'countersign_meta'",
    // Not `to_regclass`: it asks no table, so that it answers from what this session saw before it waited for the lock.
    postgres: "SELECT CAST(count(*) AS BIGINT) FROM pg_catalog.pg_class WHERE relname = 'countersign_meta' AND pg_catalog.pg_table_is_visible(oid)",
};
/// Ends with the transaction, so that PgBouncer may stand between. The number is ours alone by being odd.
const LOCK: Sql = Sql::Each {
    sqlite: "SELECT 0",
    postgres: "SELECT CAST(0 AS BIGINT) FROM (SELECT pg_advisory_xact_lock(7238714205563112)) AS it",
};
const VERSION: Sql = Sql::Same("SELECT value FROM countersign_meta WHERE name = $1");
const SET: Sql = Sql::Same(
    "INSERT INTO countersign_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
);

/// Brings the schema to [`KNOWN`]. One that is newer is left alone, and used if it says that this version can.
pub(super) async fn migrate(database: &Database) -> Result<(), StoreError> {
    if found(&mut database.begin(For::Reading).await?).await? >= KNOWN {
        return Ok(());
    }
    let mut work = database.begin(For::Writing).await?;
    work.rows(LOCK, &[]).await?;
    let found = found(&mut work).await?; // another process may have done it meanwhile
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        let sqlite = step.replace("BYTES", "BLOB").replace("TEXT_C", "TEXT");
        // Order by bytes, as SQLite has it, so that pages of a list go on where they ended whatever the locale.
        let postgres = step.replace("BYTES", "BYTEA").replace("TEXT_C", "TEXT COLLATE \"C\"");
        work.script(sqlite, postgres).await?;
    }
    if found < KNOWN {
        work.run(SET, &[Arg::Text(Some("schema")), Arg::Int(Some(KNOWN))]).await?;
        work.run(SET, &[Arg::Text(Some("reads_from")), Arg::Int(Some(READS_FROM))]).await?;
    }
    work.commit().await
}

/// The schema that is there; 0 where there is none.
async fn found(work: &mut Work) -> Result<i64, StoreError> {
    let there = work.row(EXISTS, &[]).await?.map(|row| row.int(0)).transpose()?.flatten();
    if there.unwrap_or(0) == 0 {
        return Ok(0);
    }
    let schema = value(work, "schema").await?;
    let reads_from = value(work, "reads_from").await?;
    if reads_from > KNOWN {
        return Err(StoreError::Newer { found: schema, known: KNOWN });
    }
    Ok(schema)
}

async fn value(work: &mut Work, name: &str) -> Result<i64, StoreError> {
    let row = work.row(VERSION, &[Arg::Text(Some(name))]).await?;
    let value = row.map(|row| row.int(0)).transpose()?.flatten();
    value.ok_or_else(|| StoreError::Unsuitable("the tables of countersign are there, but do not say which".to_owned()))
}
