//! The store in a database: every operation one short transaction that locks its row, asks `rules`, and writes. The same
//! statements for SQLite and PostgreSQL. Made by `sqlite` and `postgres`; `writes` has the operations on one connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::database::{Arg, Database, For, OPERATION, Sql, within};
use super::marks::Marks;
use super::rows::{Stored, approval_row, columns, select};
use super::seal::{Keyring, Seat};
use super::time::{later, minute, moment};
use super::{
    APPROVALS, Approval, Change, Claim, Committed, Existing, Filter, Known, Listed, News, Pending, Store, StoreError,
    Waiting, outbox,
};
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::token::record::State;
use crate::token::{ConnectionKey, Event, Record};

/// A store in a database.
pub(super) struct Ledger {
    pub(super) database: Database,
    pub(super) keys: ArcSwap<Keyring>,
    /// Where a dead holder can be proved dead.
    pub(super) marks: Option<Arc<Marks>>,
}

/// More time for writes of many records: each adds this much.
const PER_RECORD: Duration = Duration::from_millis(5);

const LOAD: Sql = Sql::Same(select!("WHERE credential = $1 AND tenant = $2"));
const LIST: Sql = Sql::Same(select!(
    "WHERE (credential, tenant) > ($1, $2) AND ($3 IS NULL OR tenant = $3) AND ($4 IS NULL OR state = $4) \
     ORDER BY credential, tenant LIMIT $5"
));
const LIST_ONE: Sql = Sql::Same(select!(
    "WHERE credential = $1 AND ($2 IS NULL OR tenant > $2) AND ($3 IS NULL OR tenant = $3) \
     AND ($4 IS NULL OR state = $4) ORDER BY credential, tenant LIMIT $5"
));
const NEWS: Sql = Sql::Same(
    "SELECT credential, tenant, version, updated_at FROM countersign_connections WHERE updated_at >= $1 AND version > 0 \
     ORDER BY updated_at, credential, tenant LIMIT $2",
);
const NEWS_AT: Sql = Sql::Same(
    "SELECT credential, tenant, version, updated_at FROM countersign_connections WHERE updated_at = $1 AND version > 0 \
     ORDER BY credential, tenant",
);
const DUE: Sql = Sql::Same(
    "SELECT credential, tenant FROM countersign_connections WHERE next_refresh_at IS NOT NULL AND next_refresh_at <= $1 \
     AND (lease_until IS NULL OR lease_until <= $2) ORDER BY next_refresh_at, credential, tenant LIMIT $3",
);
const USED: Sql = Sql::Same(
    "UPDATE countersign_connections SET last_used_at = $3 WHERE credential = $1 AND tenant = $2 \
     AND (last_used_at IS NULL OR last_used_at < $3)",
);
const LAPSE: Sql = Sql::Same(
    "UPDATE countersign_connections SET lease_owner = NULL, lease_until = NULL, \
     interrupted_at = COALESCE(interrupted_at, began_at), began_at = NULL WHERE lease_owner = $1",
);
const APPROVALS_OVER: Sql = Sql::Same("DELETE FROM countersign_approvals WHERE ends_at <= $1");
const APPROVALS_COUNT: Sql = Sql::Same("SELECT count(*) FROM countersign_approvals");
const APPROVAL: Sql = Sql::Same(
    "INSERT INTO countersign_approvals (state, credential, tenant, verifier_sealed, redirect_url, ends_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);
const TAKE_APPROVAL: Sql = Sql::Same(
    "DELETE FROM countersign_approvals WHERE state = $1 RETURNING credential, tenant, verifier_sealed, redirect_url, ends_at",
);

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.database {
            Database::Sqlite { .. } => "Ledger(SQLite)",
            Database::Postgres(_) => "Ledger(PostgreSQL)",
        })
    }
}

impl Ledger {
    async fn list(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let (tenant, state) = (filter.tenant.as_deref(), filter.state.map(State::as_str));
        let rest = [Arg::Text(tenant), Arg::Text(state), Arg::Int(Some(i64::from(limit)))];
        let (sql, from) = match (&filter.credential, after) {
            (Some(name), Some(after)) if *after.credential > **name => return Ok(Vec::new()),
            (Some(name), after) => {
                let after = after.filter(|after| *after.credential == **name).map(|after| &*after.tenant);
                (LIST_ONE, [Arg::Text(Some(name)), Arg::Text(after)])
            }
            // No credential has an empty name.
            (None, after) => {
                let (name, tenant) = after.map_or(("", ""), |after| (&*after.credential, &*after.tenant));
                (LIST, [Arg::Text(Some(name)), Arg::Text(Some(tenant))])
            }
        };
        let args: Vec<_> = from.into_iter().chain(rest).collect();
        let rows = self.database.begin(For::Reading).await?.rows(sql, &args).await?;
        let keys = self.keys.load();
        let listed = |row| {
            let mut stored = Stored::read(row)?;
            let shut = stored.open(&keys).err();
            Ok(Listed { record: stored.kept.record, shut })
        };
        rows.iter().map(listed).collect()
    }

    async fn news(&self, since: Timestamp, limit: u32) -> Result<Vec<News>, StoreError> {
        let mut work = self.database.begin(For::Reading).await?;
        let args = [Arg::Int(Some(since.millis())), Arg::Int(Some(i64::from(limit)))];
        let mut rows = work.rows(NEWS, &args).await?;
        let last = rows.last().map(|row| row.int(3)).transpose()?.flatten();
        if let Some(last) = last.filter(|_| rows.len() >= limit as usize) {
            // Whoever goes on from the last moment must get past it.
            let mut whole = Vec::new();
            for row in rows {
                if row.int(3)? != Some(last) {
                    whole.push(row);
                }
            }
            whole.extend(work.rows(NEWS_AT, &[Arg::Int(Some(last))]).await?);
            rows = whole;
        }
        let news = |row: &super::database::Row| {
            Ok(News {
                key: ConnectionKey::new(&row.text(0)?.unwrap_or_default(), &row.text(1)?.unwrap_or_default()),
                version: row.int(2)?.and_then(|version| u64::try_from(version).ok()).unwrap_or(0),
                at: moment(row.int(3)?.unwrap_or(0)),
            })
        };
        rows.iter().map(news).collect()
    }

    async fn due(&self, ahead: Duration, limit: u32) -> Result<Vec<ConnectionKey>, StoreError> {
        self.sweep().await?;
        let mut work = self.database.begin(For::Reading).await?;
        let now = work.now().await?;
        let by = later(now, ahead).millis();
        let args = [Arg::Int(Some(by)), Arg::Int(Some(now.millis())), Arg::Int(Some(i64::from(limit)))];
        let rows = work.rows(DUE, &args).await?;
        let key = |row: &super::database::Row| {
            Ok(ConnectionKey::new(&row.text(0)?.unwrap_or_default(), &row.text(1)?.unwrap_or_default()))
        };
        rows.iter().map(key).collect()
    }

    /// Ends the leases of processes that are proved dead.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let Some(marks) = &self.marks else { return Ok(()) };
        for owner in marks.dead() {
            self.lapse(&owner).await?;
            marks.forget(&owner);
        }
        Ok(())
    }

    async fn lapse(&self, owner: &str) -> Result<(), StoreError> {
        let mut work = self.database.begin(For::Writing).await?;
        work.run(LAPSE, &[Arg::Text(Some(owner))]).await?;
        work.commit().await
    }

    async fn used(&self, mut keys: Vec<ConnectionKey>) -> Result<(), StoreError> {
        keys.sort_unstable(); // two processes that note the same ones lock them in the same order
        let mut work = self.database.begin(For::Writing).await?;
        let at = minute(work.now().await?).millis();
        for key in &keys {
            let args = [Arg::Text(Some(&key.credential)), Arg::Text(Some(&key.tenant)), Arg::Int(Some(at))];
            work.run(USED, &args).await?;
        }
        work.commit().await
    }

    async fn begin_approval(&self, approval: Approval, term: Duration) -> Result<(), StoreError> {
        let row = approval_row(&approval.state, &approval.key);
        let sealed = self.keys.load().seal(Seat { field: "verifier", row: &row }, approval.verifier.expose())?;
        let mut work = self.database.begin(For::Writing).await?;
        let now = work.now().await?;
        work.run(APPROVALS_OVER, &[Arg::Int(Some(now.millis()))]).await?;
        let count = work.row(APPROVALS_COUNT, &[]).await?.map(|row| row.int(0)).transpose()?.flatten();
        if count.unwrap_or(0) >= APPROVALS as i64 {
            return Err(StoreError::TooManyApprovals);
        }
        let args = [
            Arg::Bytes(Some(&approval.state)),
            Arg::Text(Some(&approval.key.credential)),
            Arg::Text(Some(&approval.key.tenant)),
            Arg::Bytes(Some(&sealed)),
            Arg::Text(Some(&approval.redirect_url)),
            Arg::Int(Some(later(now, term).millis())),
        ];
        work.run(APPROVAL, &args).await?;
        work.commit().await
    }

    async fn take_approval(&self, state: &[u8; 32]) -> Result<Option<Approval>, StoreError> {
        let mut work = self.database.begin(For::Writing).await?;
        let now = work.now().await?;
        let Some(row) = work.row(TAKE_APPROVAL, &[Arg::Bytes(Some(state))]).await? else { return Ok(None) };
        work.commit().await?;
        let text = |at| row.text(at).map(Option::unwrap_or_default);
        if row.int(4)?.is_none_or(|end| end <= now.millis()) {
            return Ok(None);
        }
        let key = ConnectionKey::new(&text(0)?, &text(1)?);
        let seat = approval_row(state, &key);
        let opened = self.keys.load().open(Seat { field: "verifier", row: &seat }, &row.bytes(2)?.unwrap_or_default());
        let verifier = opened.map_err(|_| StoreError::Sealed { key: key.clone() })?;
        Ok(Some(Approval { state: *state, key, verifier, redirect_url: text(3)? }))
    }

    async fn shut(&self) -> Result<(), StoreError> {
        let mut done = Ok(());
        if let Some(marks) = &self.marks {
            for (owner, lock) in marks.give_up() {
                let lapsed = within(OPERATION, self.lapse(&owner)).await;
                if lapsed.is_ok() {
                    marks.forget(&owner);
                }
                drop(lock);
                done = done.and(lapsed);
            }
        }
        self.database.close().await;
        done
    }
}

impl Store for Ledger {
    fn now(&self) -> Pending<'_, Timestamp> {
        Box::pin(within(OPERATION, async { self.database.begin(For::Reading).await?.now().await }))
    }

    fn load<'a>(&'a self, key: &'a ConnectionKey) -> Pending<'a, Option<Record>> {
        Box::pin(within(OPERATION, async move {
            let mut work = self.database.begin(For::Reading).await?;
            let args = [Arg::Text(Some(&key.credential)), Arg::Text(Some(&key.tenant))];
            let Some(row) = work.row(LOAD, &args).await? else { return Ok(None) };
            let mut stored = Stored::read(&row)?;
            stored.open(&self.keys.load())?;
            Ok(Some(stored.kept.record))
        }))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a ConnectionKey>,
        limit: u32,
    ) -> Pending<'a, Vec<Listed>> {
        Box::pin(within(OPERATION, self.list(filter, after, limit)))
    }

    fn news(&self, since: Timestamp, limit: u32) -> Pending<'_, Vec<News>> {
        Box::pin(within(OPERATION, self.news(since, limit)))
    }

    fn due(&self, ahead: Duration, limit: u32) -> Pending<'_, Vec<ConnectionKey>> {
        Box::pin(within(OPERATION, self.due(ahead, limit)))
    }

    fn put(&self, records: Vec<Record>, existing: Existing, events: Vec<Event>) -> Pending<'_, Vec<Record>> {
        let many = PER_RECORD.saturating_mul(u32::try_from(records.len()).unwrap_or(u32::MAX));
        Box::pin(within(OPERATION.saturating_add(many), self.write_records(records, existing, events)))
    }

    fn claim<'a>(&'a self, template: &'a Record, known: Known, owner: &'a str, term: Duration) -> Pending<'a, Claim> {
        Box::pin(within(OPERATION, self.write_claim(template, known, owner, term)))
    }

    fn commit<'a>(
        &'a self,
        key: &'a ConnectionKey,
        version: u64,
        owner: &'a str,
        change: Change,
    ) -> Pending<'a, Committed> {
        Box::pin(within(OPERATION, self.write_commit(key, version, owner, change)))
    }

    fn release<'a>(&'a self, key: &'a ConnectionKey, owner: &'a str) -> Pending<'a, ()> {
        Box::pin(within(OPERATION, self.write_release(key, owner)))
    }

    fn revoke<'a>(&'a self, key: &'a ConnectionKey, events: Vec<Event>) -> Pending<'a, Option<Record>> {
        Box::pin(within(OPERATION, self.write_revoke(key, events)))
    }

    fn used(&self, keys: Vec<ConnectionKey>) -> Pending<'_, ()> {
        Box::pin(within(OPERATION, self.used(keys)))
    }

    fn begin_approval(&self, approval: Approval, term: Duration) -> Pending<'_, ()> {
        Box::pin(within(OPERATION, self.begin_approval(approval, term)))
    }

    fn take_approval<'a>(&'a self, state: &'a [u8; 32]) -> Pending<'a, Option<Approval>> {
        Box::pin(within(OPERATION, self.take_approval(state)))
    }

    fn tell(&self, events: Vec<Event>) -> Pending<'_, ()> {
        Box::pin(within(OPERATION, async move {
            let mut work = self.database.begin(For::Writing).await?;
            let now = work.now().await?;
            outbox::tell(&mut work, &events, now).await?;
            work.commit().await
        }))
    }

    fn take_events(&self, limit: u32, term: Duration) -> Pending<'_, (Vec<Waiting>, u64)> {
        Box::pin(within(OPERATION, outbox::take(&self.database, limit, term)))
    }

    fn delivered<'a>(&'a self, id: &'a str) -> Pending<'a, ()> {
        Box::pin(within(OPERATION, outbox::delivered(&self.database, id)))
    }

    fn postpone<'a>(&'a self, id: &'a str, pause: Duration) -> Pending<'a, ()> {
        Box::pin(within(OPERATION, outbox::postpone(&self.database, id, pause)))
    }

    fn use_keys(&self, keys: Vec<SecretBytes>) -> Result<(), StoreError> {
        self.keys.store(Arc::new(Keyring::new(&keys)?));
        Ok(())
    }

    fn rekey(&self) -> Pending<'_, u64> {
        Box::pin(self.write_keys())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(self.shut())
    }
}
