//! Single connections as people steer them: refresh now, revoke, read again.

use tokio::time::{Instant, timeout_at};

use super::attempt::Cause;
use super::call::{self, Called};
use super::scene::Filled;
use super::tokens::Tokens;
use super::view::{NoToken, PlatformRevoked, Revoked, SteerError, Want};
use crate::token::machine;
use crate::token::record::Reason;
use crate::token::{ConnectionKey, Record};

impl Tokens {
    /// A record was written by other means (an approval, an import): it is read again.
    pub async fn changed(&self, key: &ConnectionKey) {
        let scene = self.inner.scene.load_full();
        let Some(client) = scene.client(&key.credential) else { return };
        let Some(entry) = client.lane.table.find(&key.tenant) else { return };
        entry.slot().none = None;
        if let Err(error) = super::background::read_again(&self.inner, client, &entry).await {
            tracing::warn!(%error, "the store of connections");
        }
        self.inner.told.notify_one();
    }

    /// Refreshes a connection now, whatever pause it is in, and waits for the outcome. The record as it is then.
    ///
    /// # Errors
    /// The store does not answer, or there is no new token and why.
    pub async fn refresh_now(&self, key: &ConnectionKey) -> Result<Record, SteerError> {
        let now = self.inner.parts.clock.now();
        if self.inner.scene.load().client(&key.credential).is_none() {
            return Err(SteerError::UnknownCredential);
        }
        let before = self.store().load(key).await?.map_or(0, |record| record.version);
        let want = Want { credential: &key.credential, tenant: &key.tenant, captures: &[], now };
        let (client, entry) = self.entry(&want).map_err(SteerError::NoToken)?;
        // Two calls, each after a wait for leave.
        let deadline = Instant::now() + 4 * client.oauth.refresh.timeout;
        let mut ends = entry.ends();
        loop {
            let began = !entry.is_busy();
            ends.borrow_and_update();
            self.inner.kick(&client, &entry, Cause::Manual);
            if timeout_at(deadline, ends.changed()).await.is_err() {
                let none = NoToken::unavailable(Reason::Timeout, None, 1);
                return Err(SteerError::NoToken(none));
            }
            let record = self.store().load(key).await?;
            // One that was under way before may have ended for another reason.
            if !began && record.as_ref().is_none_or(|record| record.version == before) {
                continue;
            }
            let none = entry.slot().none.clone();
            return match (record, none) {
                (Some(record), None) => Ok(record),
                (_, Some(none)) => Err(SteerError::NoToken(none)),
                (None, None) => Err(SteerError::NoToken(NoToken::reauthorize(Reason::NotConnected, None))),
            };
        }
    }

    /// Ends a connection: first in the store, then at the platform.
    ///
    /// # Errors
    /// The store does not answer; then nothing has ended.
    pub async fn revoke(&self, key: &ConnectionKey) -> Result<Revoked, SteerError> {
        let inner = &self.inner;
        let Some(record) = self.store().load(key).await? else {
            return Ok(Revoked { before: None, platform: PlatformRevoked::None });
        };
        let event = machine::revoked(&record, inner.store_now());
        let before = self.store().revoke(key, vec![event.clone()]).await?;
        let scene = inner.scene.load_full();
        let Some(client) = scene.client(&key.credential) else {
            return Ok(Revoked { before, platform: PlatformRevoked::None });
        };
        if let Some(entry) = client.lane.table.find(&key.tenant) {
            super::background::read_again(inner, client, &entry).await?;
            entry.slot().none = Some(NoToken::reauthorize(Reason::Revoked, None));
        }
        if before.as_ref().is_some_and(|before| before.state != crate::token::record::State::Revoked) {
            inner.told(&[event]);
        }
        let tokens = before.as_ref().map(|before| before.tokens.clone()).unwrap_or_default();
        let filled = Filled::new(&key.tenant, record.captures);
        let platform = match scene.secrets(client, &filled) {
            Ok(secrets) => {
                let with = Called { scene: &scene, client, secrets: &secrets, filled: &filled, seed: None };
                call::revoke(inner, &with, &tokens).await
            }
            Err(_) if tokens.access.is_none() && tokens.refresh.is_none() => PlatformRevoked::None,
            Err(why) => {
                tracing::warn!(connection = %key, why, "the platform was not asked to revoke tokens");
                PlatformRevoked::Failed
            }
        };
        Ok(Revoked { before, platform })
    }
}
