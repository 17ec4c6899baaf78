//! The tasks that no request causes: connections whose time has come, news of other processes, what was used, and the
//! leaving of idle entries.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::attempt::Cause;
use super::inner::Inner;
use super::scene::Client;
use super::table::{Entry, Found};
use crate::clock::Timestamp;
use crate::token::ConnectionKey;
use crate::token::record::State;

/// How often the store is asked whose time has come.
const DUE_EVERY: Duration = Duration::from_secs(5);
/// After a full batch.
const DUE_SOON: Duration = Duration::from_millis(500);
/// Connections that are begun at one time.
const DUE_BATCH: u32 = 256;
/// Connections that are asked for beyond those that are held up.
const DUE_MOST: u32 = 20_000;
/// How often the news of other processes are fetched.
const NEWS_EVERY: Duration = Duration::from_secs(5);
/// How much of the past is fetched again: a transaction may become visible after a later one.
const NEWS_OVERLAP: Duration = Duration::from_secs(15);
/// Records at one time.
const NEWS_BATCH: u32 = 1000;
/// How often entries are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Connections of one statement.
const USED_BATCH: usize = 500;

/// Refreshes connections whose time has come, used or not.
pub(super) async fn due(inner: Arc<Inner>) {
    inner.compare_clocks().await;
    // So that replicas that start together do not ask together.
    sleep(DUE_EVERY.mul_f64(inner.random())).await;
    let mut held = 0;
    loop {
        let limit = (DUE_BATCH + held).min(DUE_MOST);
        let begun = match inner.parts.store.due(Duration::ZERO, limit).await {
            Ok(keys) => {
                let (begun, full) = (begin(&inner, &keys), keys.len() as u32 >= limit);
                held = keys.len() as u32 - begun;
                if full { begun } else { 0 }
            }
            Err(error) => {
                tracing::warn!(%error, "the store of connections");
                0
            }
        };
        sleep(if begun > 0 { DUE_SOON } else { DUE_EVERY }).await;
    }
}

/// Starts the tasks of connections; how many.
fn begin(inner: &Arc<Inner>, keys: &[ConnectionKey]) -> u32 {
    let scene = inner.scene.load_full();
    let now = inner.parts.clock.now();
    let mut begun = 0;
    for key in keys {
        let Some(client) = scene.client(&key.credential) else { continue };
        let Some(Found { entry, gone }) = client.lane.table.entry(key.clone(), &[], now) else { continue };
        if let Some(gone) = gone {
            inner.forget(client, &gone);
        }
        let waits = entry.slot().next.is_some_and(|next| next > Instant::now());
        if !entry.is_busy() && !waits {
            inner.kick(client, &entry, Cause::Due);
            begun += 1;
        }
    }
    begun
}

/// Reads again what other processes wrote, as far as it is in use here.
pub(super) async fn news(inner: Arc<Inner>) {
    let mut since = loop {
        match inner.parts.store.now().await {
            Ok(now) => break now,
            Err(_) => sleep(NEWS_EVERY).await,
        }
    };
    loop {
        let next = Instant::now() + NEWS_EVERY;
        inner.compare_clocks().await;
        match fetch(&inner, since).await {
            Ok(last) => since = last.max(since),
            Err(error) => tracing::warn!(%error, "the store of connections"),
        }
        sleep_until(next).await;
    }
}

/// Fetches what was written since; the last moment that was seen.
async fn fetch(inner: &Arc<Inner>, since: Timestamp) -> Result<Timestamp, crate::store::StoreError> {
    let (mut from, mut last, mut seen) = (since.minus(NEWS_OVERLAP), since, HashSet::new());
    loop {
        let news = inner.parts.store.news(from, NEWS_BATCH).await?;
        let count = news.len();
        let scene = inner.scene.load_full();
        for one in news {
            (from, last) = (one.at, last.max(one.at));
            if !seen.insert((one.key.clone(), one.version)) {
                continue;
            }
            let Some(client) = scene.client(&one.key.credential) else { continue };
            let Some(entry) = client.lane.table.find(&one.key.tenant) else { continue };
            if one.version > entry.version.load(Ordering::Relaxed) {
                read_again(inner, client, &entry).await?;
            }
        }
        if count < NEWS_BATCH as usize {
            return Ok(last);
        }
        // Those of the last moment came whole: what is left is later.
        from = Timestamp { nanos: from.nanos, ..from }.plus(Duration::from_millis(1));
    }
}

/// Takes a record as it is stored into use.
pub(super) async fn read_again(inner: &Inner, client: &Client, entry: &Entry) -> Result<(), crate::store::StoreError> {
    match inner.parts.store.load(&entry.key).await? {
        Some(record) => {
            inner.adopt(client, entry, &record);
            if matches!(record.state, State::Active) {
                // Whoever waits for the pause of an older failure need not.
                entry.slot().next = None;
            }
        }
        None => inner.forget(client, entry),
    }
    Ok(())
}

/// Once a minute: tells the store what was used, lets idle entries go, and old events that nobody is told of.
pub(super) async fn sweep(inner: Arc<Inner>) {
    loop {
        sleep(SWEEP_EVERY).await;
        tell_used(&inner).await;
        if inner.scene.load().snapshot.plan.config.events.is_none() {
            drop_old_events(&inner).await;
        }
        let now = inner.parts.clock.now();
        for client in inner.scene.load_full().clients() {
            for gone in client.lane.table.sweep(now) {
                inner.forget(client, &gone);
            }
        }
    }
}

/// Without `[events]` nobody takes events; those that are too old leave all the same.
pub(super) async fn drop_old_events(inner: &Inner) {
    if let Err(error) = inner.parts.store.take_events(0, Duration::ZERO).await {
        tracing::warn!(%error, "the store of connections");
    }
}

/// Tells the store which connections were used.
pub(super) async fn tell_used(inner: &Inner) {
    let scene = inner.scene.load_full();
    let entries = scene.clients().flat_map(|client| client.lane.table.all());
    let used: Vec<_> = entries
        .filter_map(|entry| {
            let (used, told) = (entry.used.load(Ordering::Relaxed), entry.told.load(Ordering::Relaxed));
            (used > told).then_some((entry, used))
        })
        .collect();
    for batch in used.chunks(USED_BATCH) {
        let keys = batch.iter().map(|(entry, _)| entry.key.clone()).collect();
        if let Err(error) = inner.parts.store.used(keys).await {
            tracing::warn!(%error, "the store of connections");
            return;
        }
        for (entry, used) in batch {
            entry.told.store(*used, Ordering::Relaxed);
        }
    }
}
