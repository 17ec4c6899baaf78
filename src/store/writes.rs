//! What changes one connection, or many: each a transaction that locks the row first. The rules are in `rules`.

use std::time::Duration;

use super::database::{Arg, For, OPERATION, Row, Sql, Work, within};
use super::ledger::Ledger;
use super::rows::{Sealed, Stored, columns, select};
use super::rules::{Fate, Kept, Verdict, mark, mark_all};
use super::{Change, Claim, Committed, Existing, Known, StoreError, outbox};
use crate::token::{ConnectionKey, Event, Record};

/// Records whose tokens are sealed anew in one transaction.
const BATCH: i64 = 200;
/// Records that are written before the clock is read again, so that few have the same moment.
const MOMENT: usize = 100;

const LOCKED: Sql = Sql::Each {
    sqlite: select!("WHERE credential = $1 AND tenant = $2"),
    postgres: select!("WHERE credential = $1 AND tenant = $2 FOR UPDATE"),
};
const MAKE: Sql = Sql::Same(
    "INSERT INTO countersign_connections (credential, tenant, grant_type, state, scopes, version, failures, captures, \
     created_at, updated_at, writer) VALUES ($1, $2, $3, $4, '[]', 0, 0, '{}', $5, $5, '') \
     ON CONFLICT (credential, tenant) DO NOTHING",
);
const PAGE: Sql = Sql::Each {
    sqlite: select!("WHERE (credential, tenant) > ($1, $2) ORDER BY credential, tenant LIMIT $3"),
    postgres: select!("WHERE (credential, tenant) > ($1, $2) ORDER BY credential, tenant LIMIT $3 FOR UPDATE"),
};
const RESEAL: Sql = Sql::Same(
    "UPDATE countersign_connections SET access_sealed = $3, refresh_sealed = $4, values_sealed = $5 \
     WHERE credential = $1 AND tenant = $2",
);

async fn locked(work: &mut Work, key: &ConnectionKey) -> Result<Option<Stored>, StoreError> {
    let args = [Arg::Text(Some(&key.credential)), Arg::Text(Some(&key.tenant))];
    work.row(LOCKED, &args).await?.as_ref().map(Stored::read).transpose()
}

impl Ledger {
    pub(super) async fn write_claim(
        &self,
        template: &Record,
        known: Known,
        owner: &str,
        term: Duration,
    ) -> Result<Claim, StoreError> {
        if let Some(marks) = &self.marks {
            marks.hold(owner).map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        }
        let key = &template.key;
        let mut work = self.database.begin(For::Writing).await?;
        let mut found = locked(&mut work, key).await?;
        if found.is_none() && known == Known::Nothing {
            let now = work.now().await?;
            let args = [
                Arg::Text(Some(&key.credential)),
                Arg::Text(Some(&key.tenant)),
                Arg::Text(Some(template.grant.as_str())),
                Arg::Text(Some(template.state.as_str())),
                Arg::Int(Some(now.millis())),
            ];
            // Another process may make it at this moment: then theirs is looked at.
            if work.run(MAKE, &args).await? == 1 {
                let sealed = Sealed::of(&template.tokens, key, &self.keys.load())?;
                Stored { kept: Kept::fresh(template, 0, now), sealed }.save(&mut work).await?;
            }
            found = locked(&mut work, key).await?;
        }
        let Some(mut stored) = found else { return Ok(Claim::Absent) };
        let now = work.now().await?; // not before the row was had: others may have held it for long
        stored.open(&self.keys.load())?;
        let mut verdict = stored.kept.claim(known, owner, term, now);
        if let Verdict::Held { owner: holder, .. } = &verdict
            && self.marks.as_ref().is_some_and(|marks| marks.is_dead(holder))
        {
            stored.kept.lapse();
            verdict = stored.kept.claim(known, owner, term, now);
        }
        let claim = match verdict {
            Verdict::Won { interrupted } => {
                stored.save_lease(&mut work).await?;
                Claim::Won { record: Box::new(stored.kept.record), interrupted }
            }
            Verdict::Held { remaining, .. } => return Ok(Claim::Held { remaining }),
            Verdict::Moved => return Ok(Claim::Moved(Box::new(stored.kept.record))),
        };
        work.commit().await?;
        Ok(claim)
    }

    pub(super) async fn write_commit(
        &self,
        key: &ConnectionKey,
        version: u64,
        owner: &str,
        mut change: Change,
    ) -> Result<Committed, StoreError> {
        let keys = self.keys.load_full();
        let sealed = change.tokens.as_ref().map(|tokens| Sealed::of(tokens, key, &keys)).transpose()?;
        let mut work = self.database.begin(For::Writing).await?;
        let Some(mut stored) = locked(&mut work, key).await? else { return Ok(Committed::Lost(None)) };
        let now = work.now().await?;
        let opened = stored.open(&keys);
        let fate = stored.kept.commit(version, owner, &mut change, now);
        if fate == Fate::Written {
            match sealed {
                Some(sealed) => stored.sealed = sealed, // what was there before need not open
                None => opened?,
            }
            stored.save(&mut work).await?;
            outbox::tell(&mut work, &change.events, now).await?;
            work.commit().await?;
        } else {
            opened?;
        }
        let record = Box::new(stored.kept.record);
        Ok(match fate {
            Fate::Written | Fate::Again => Committed::Stored(record),
            Fate::Lost => Committed::Lost(Some(record)),
        })
    }

    pub(super) async fn write_release(&self, key: &ConnectionKey, owner: &str) -> Result<(), StoreError> {
        let mut work = self.database.begin(For::Writing).await?;
        let Some(mut stored) = locked(&mut work, key).await? else { return Ok(()) };
        if stored.kept.release(owner) {
            stored.save_lease(&mut work).await?;
            work.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn write_revoke(
        &self,
        key: &ConnectionKey,
        mut events: Vec<Event>,
    ) -> Result<Option<Record>, StoreError> {
        let mut work = self.database.begin(For::Writing).await?;
        let Some(mut stored) = locked(&mut work, key).await? else { return Ok(None) };
        let now = work.now().await?;
        // Tokens that do not open any more must not keep a connection from being ended.
        let _ = stored.open(&self.keys.load());
        let before = stored.kept.record.clone();
        if stored.kept.revoke(now) {
            stored.sealed = Sealed::default();
            stored.save(&mut work).await?;
            mark(&mut events, &stored.kept.record);
            outbox::tell(&mut work, &events, now).await?;
            work.commit().await?;
        }
        Ok(Some(before))
    }

    pub(super) async fn write_records(
        &self,
        records: Vec<Record>,
        existing: Existing,
        mut events: Vec<Event>,
    ) -> Result<Vec<Record>, StoreError> {
        let keys = self.keys.load_full();
        let mut work = self.database.begin(For::Writing).await?;
        let mut now = work.now().await?;
        let mut written = Vec::with_capacity(records.len());
        for (place, record) in records.into_iter().enumerate() {
            if place > 0 && place % MOMENT == 0 {
                now = work.now().await?;
            }
            let sealed = Sealed::of(&record.tokens, &record.key, &keys)?;
            let kept = match (locked(&mut work, &record.key).await?, existing) {
                (Some(_), Existing::Refuse) => return Err(StoreError::Exists { key: record.key }),
                (Some(mut before), Existing::Replace) => {
                    before.kept.replace(&record, now);
                    before.kept
                }
                (None, _) => Kept::fresh(&record, 1, now),
            };
            let stored = Stored { kept, sealed };
            stored.save(&mut work).await?;
            written.push(stored.kept.record);
        }
        mark_all(&mut events, &written);
        outbox::tell(&mut work, &events, now).await?;
        work.commit().await?;
        Ok(written)
    }

    /// Some records a transaction, so that refreshes go on meanwhile. One that does not open is told of at the end: the
    /// others are not left with the old key because of it.
    pub(super) async fn write_keys(&self) -> Result<u64, StoreError> {
        let (mut after, mut rewritten, mut shut) = (ConnectionKey::new("", ""), 0, None);
        loop {
            let (last, count, failed) = within(OPERATION, self.write_keys_of(&after)).await?;
            rewritten += count;
            shut = shut.or(failed);
            match last {
                Some(last) => after = last,
                None => return shut.map_or(Ok(rewritten), Err),
            }
        }
    }

    async fn write_keys_of(
        &self,
        after: &ConnectionKey,
    ) -> Result<(Option<ConnectionKey>, u64, Option<StoreError>), StoreError> {
        let keys = self.keys.load_full();
        let mut work = self.database.begin(For::Writing).await?;
        let args = [Arg::Text(Some(&after.credential)), Arg::Text(Some(&after.tenant)), Arg::Int(Some(BATCH))];
        let (mut last, mut rewritten, mut shut) = (None, 0, None);
        for row in &work.rows(PAGE, &args).await? {
            let key = key_of(row)?;
            last = Some(key.clone());
            let resealed = Stored::read(row).and_then(|mut stored| {
                if stored.sealed.is_current(&keys) {
                    return Ok(None);
                }
                stored.open(&keys)?;
                Sealed::of(&stored.kept.record.tokens, &key, &keys).map(Some)
            });
            match resealed {
                Ok(None) => {}
                Ok(Some(sealed)) => {
                    let args = [
                        Arg::Text(Some(&key.credential)),
                        Arg::Text(Some(&key.tenant)),
                        Arg::Bytes(sealed.access.as_deref()),
                        Arg::Bytes(sealed.refresh.as_deref()),
                        Arg::Bytes(sealed.values.as_deref()),
                    ];
                    rewritten += work.run(RESEAL, &args).await?;
                }
                Err(error) => shut = shut.or(Some(error)),
            }
        }
        work.commit().await?;
        Ok((last, rewritten, shut))
    }
}

fn key_of(row: &Row) -> Result<ConnectionKey, StoreError> {
    Ok(ConnectionKey::new(&row.text(0)?.unwrap_or_default(), &row.text(1)?.unwrap_or_default()))
}
