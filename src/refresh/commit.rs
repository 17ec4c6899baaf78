//! Storing what a platform answered. Until that is done nothing uses it, and while the process lives it is not lost: a
//! store that does not answer is asked again and again, and a lease that went to somebody else is asked for anew.

use std::time::Duration;

use super::call::{self, Called};
use super::inner::Inner;
use super::scene::Client;
use super::table::Entry;
use crate::store::{Claim, Committed, Known};
use crate::token::Record;
use crate::token::machine::Change;
use crate::token::record::{Reason, State, TokenSet};

/// The first pause before a store that did not answer is asked again; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What brought no tokens is given up after so many tries: the record is as it was, and due again.
const TRIES_WITHOUT_TOKENS: u32 = 8;

/// A change with the words of the call where it has none.
pub(super) fn worded(mut change: Change, words: Option<String>) -> Change {
    if change.last_refresh.is_some_and(|last| last.failed.is_some()) && change.state != State::Active {
        change.detail = change.detail.or(words);
        for event in &mut change.events {
            event.detail = event.detail.take().or_else(|| change.detail.clone());
        }
    }
    change
}

/// Stores a change of a claimed record, however long it takes. The record as it is then; `None`: others moved it on.
pub(super) async fn store(
    inner: &Inner,
    client: &Client,
    entry: &Entry,
    claimed: &Record,
    change: Change,
) -> Option<Record> {
    let (store, owner) = (&inner.parts.store, inner.owner.as_str());
    let (mut version, mut pause, mut tries) = (claimed.version, PAUSE, 0_u32);
    loop {
        match store.commit(&entry.key, version, owner, change.clone()).await {
            Ok(Committed::Stored(record)) => {
                if tries > 0 {
                    tracing::info!(connection = %entry.key, "the store took what was kept for it");
                }
                inner.told(&change.events);
                return Some(*record);
            }
            Ok(Committed::Lost(now)) => {
                let tokens = change.tokens.as_ref()?;
                version = regain(inner, client, entry, now.map(|now| *now), version, tokens).await?;
            }
            Err(error) => {
                tries += 1;
                if change.tokens.is_none() && tries >= TRIES_WITHOUT_TOKENS {
                    return None;
                }
                if tries == 1 || tries.is_multiple_of(20) {
                    tracing::warn!(connection = %entry.key, %error, tries, "the answer of the platform is not stored yet");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// The lease went to somebody else while new tokens were in hand. The version under which they may be stored after all;
/// `None`: the record has moved on to something better, or has ended.
async fn regain(
    inner: &Inner,
    client: &Client,
    entry: &Entry,
    mut now: Option<Record>,
    mut version: u64,
    tokens: &TokenSet,
) -> Option<u64> {
    let (store, owner) = (&inner.parts.store, inner.owner.as_str());
    let term = 2 * client.oauth.refresh.timeout;
    loop {
        let Some(record) = now else {
            discard(inner, client, entry, tokens).await;
            return None;
        };
        if record.state == State::Revoked {
            discard(inner, client, entry, tokens).await;
            return None;
        }
        // The other sent the old token, which ours has replaced: it was refused for that.
        let burnt = record.state == State::Reauthorize
            && matches!(record.reason, Some(Reason::InvalidGrant | Reason::RefreshInterrupted | Reason::AnswerLost));
        if record.version != version && !burnt {
            return None;
        }
        version = record.version;
        match store.claim(&record, Known::Version(version), owner, term).await {
            Ok(Claim::Won { .. }) => return Some(version),
            Ok(Claim::Moved(record)) => now = Some(*record),
            Ok(Claim::Absent) => now = None,
            Ok(Claim::Held { remaining }) => {
                tokio::time::sleep(remaining.min(Duration::from_secs(1))).await;
                now = Some(record);
            }
            Err(error) => {
                tracing::warn!(connection = %entry.key, %error, "the answer of the platform is not stored yet");
                let _ = store.release(&entry.key, owner).await;
                tokio::time::sleep(PAUSE_MAX).await;
                now = Some(record);
            }
        }
    }
}

/// The connection was ended while its refresh was under way: what came is ended too.
pub(super) async fn discard(inner: &Inner, client: &Client, entry: &Entry, tokens: &TokenSet) {
    let scene = inner.scene.load_full();
    let filled = Inner::filled(entry, None);
    let Ok(secrets) = scene.secrets(client, &filled) else { return };
    let with = Called { scene: &scene, client, secrets: &secrets, filled: &filled, seed: None };
    let platform = call::revoke(inner, &with, tokens).await;
    tracing::info!(connection = %entry.key, platform = platform.as_str(), "revoked during its refresh");
}
