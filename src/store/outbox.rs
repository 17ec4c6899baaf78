//! Events on their way out, as rows. At least once: who takes one has it for a while, and it comes again unless it was
//! delivered. Callers: `ledger`.

use std::time::Duration;

use super::database::{Arg, Database, For, Row, Sql, Work};
use super::time::{later, moment, until};
use super::{EVENT_AGE, EVENTS, StoreError, Waiting, fresh_id};
use crate::clock::Timestamp;
use crate::token::record::{Reason, State};
use crate::token::{ConnectionKey, Event, EventKind};

const INSERT: Sql = Sql::Same(
    "INSERT INTO countersign_events (id, kind, credential, tenant, happened_at, state, previous, reason, detail, version, \
     written_at, due_at, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, 0)",
);
const ANY_DUE: Sql = Sql::Same("SELECT due_at FROM countersign_events WHERE due_at <= $1 LIMIT 1");
const DROP_OLD: Sql = Sql::Same("DELETE FROM countersign_events WHERE written_at < $1");
const DROP_MANY: Sql = Sql::Same(
    "DELETE FROM countersign_events WHERE id IN (SELECT id FROM countersign_events ORDER BY written_at DESC, id DESC \
     LIMIT 1000000 OFFSET $1)",
);
const DUE: Sql = Sql::Each {
    sqlite: "SELECT id, kind, credential, tenant, happened_at, state, previous, reason, detail, version, written_at, \
             attempts FROM countersign_events WHERE due_at <= $1 ORDER BY written_at, id LIMIT $2",
    postgres: "SELECT id, kind, credential, tenant, happened_at, state, previous, reason, detail, version, written_at, \
               attempts FROM countersign_events WHERE due_at <= $1 ORDER BY written_at, id LIMIT $2 \
               FOR UPDATE SKIP LOCKED",
};
const TAKEN: Sql = Sql::Same("UPDATE countersign_events SET due_at = $2, attempts = attempts + 1 WHERE id = $1");
const DELIVERED: Sql = Sql::Same("DELETE FROM countersign_events WHERE id = $1");
const POSTPONE: Sql = Sql::Same("UPDATE countersign_events SET due_at = $2 WHERE id = $1");

/// Writes events in the transaction of what they tell of.
pub(super) async fn tell(work: &mut Work, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
    for event in events {
        let args = [
            Arg::Text(Some(&fresh_id()?)),
            Arg::Text(Some(event.kind.as_str())),
            Arg::Text(Some(&event.key.credential)),
            Arg::Text(Some(&event.key.tenant)),
            Arg::Int(Some(event.at.millis())),
            Arg::Text(event.state.map(State::as_str)),
            Arg::Text(event.previous.map(State::as_str)),
            Arg::Text(event.reason.map(Reason::as_str)),
            Arg::Text(event.detail.as_deref()),
            Arg::Int(Some(i64::try_from(event.version).unwrap_or(i64::MAX))),
            Arg::Int(Some(now.millis())),
        ];
        work.run(INSERT, &args).await?;
    }
    Ok(())
}

/// Takes those whose time has come, and says how many were dropped unsent.
pub(super) async fn take(database: &Database, limit: u32, term: Duration) -> Result<(Vec<Waiting>, u64), StoreError> {
    let mut look = database.begin(For::Reading).await?;
    let now = look.now().await?;
    if look.row(ANY_DUE, &[Arg::Int(Some(now.millis()))]).await?.is_none() {
        return Ok((Vec::new(), 0)); // the usual case takes no lock
    }
    drop(look);
    let mut work = database.begin(For::Writing).await?;
    let now = work.now().await?;
    let oldest = now.millis().saturating_sub(super::time::millis(EVENT_AGE));
    let mut dropped = work.run(DROP_OLD, &[Arg::Int(Some(oldest))]).await?;
    dropped += work.run(DROP_MANY, &[Arg::Int(Some(EVENTS as i64))]).await?;
    let rows = work.rows(DUE, &[Arg::Int(Some(now.millis())), Arg::Int(Some(i64::from(limit)))]).await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        let id = row.text(0)?.unwrap_or_default();
        work.run(TAKEN, &[Arg::Text(Some(&id)), Arg::Int(Some(later(now, term).millis()))]).await?;
        // One of a kind that only a later version knows is left to that one.
        taken.extend(read(row, id, now)?);
    }
    work.commit().await?;
    Ok((taken, dropped))
}

fn read(row: &Row, id: String, now: Timestamp) -> Result<Option<Waiting>, StoreError> {
    let text = |at| row.text(at).map(Option::unwrap_or_default);
    let int = |at| row.int(at).map(Option::unwrap_or_default);
    let Some(kind) = EventKind::from_word(&text(1)?) else { return Ok(None) };
    let state = |at| row.text(at).map(|word| word.and_then(|word| State::from_word(&word)));
    let event = Event {
        kind,
        key: ConnectionKey::new(&text(2)?, &text(3)?),
        at: moment(int(4)?),
        state: state(5)?,
        previous: state(6)?,
        reason: row.text(7)?.and_then(|word| Reason::from_word(&word)),
        detail: row.text(8)?,
        version: u64::try_from(int(9)?).unwrap_or(0),
    };
    let attempts = u32::try_from(int(11)?).unwrap_or(u32::MAX);
    Ok(Some(Waiting { id, event, attempts, age: until(moment(int(10)?), now) }))
}

/// Forgets one.
pub(super) async fn delivered(database: &Database, id: &str) -> Result<(), StoreError> {
    let mut work = database.begin(For::Writing).await?;
    work.run(DELIVERED, &[Arg::Text(Some(id))]).await?;
    work.commit().await
}

/// Puts one off.
pub(super) async fn postpone(database: &Database, id: &str, pause: Duration) -> Result<(), StoreError> {
    let mut work = database.begin(For::Writing).await?;
    let due = later(work.now().await?, pause);
    work.run(POSTPONE, &[Arg::Text(Some(id)), Arg::Int(Some(due.millis()))]).await?;
    work.commit().await
}
