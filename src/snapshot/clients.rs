//! The tokens of clients as of one generation of secrets: the same last good rules as for credentials, read the other
//! way round: who carries this token? Callers: `proxy::callers`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use subtle::{Choice, ConstantTimeEq as _};

use super::credential::{CredentialState, Instance};
use super::{Moment, Snapshot};
use crate::clock::Timestamp;
use crate::config::model::{Config, Proof};
use crate::secret::set::SecretSet;
use crate::sign::material::Material;

/// One for each client, in the order of the configuration; `None` for a client without a token.
pub(super) fn compile(
    config: &Config,
    set: &SecretSet,
    previous: Option<&Snapshot>,
    moment: &Moment,
) -> Vec<Option<Arc<CredentialState>>> {
    let clients = config.clients.iter().map(|client| {
        let Proof::Token(token) = &client.proof else { return None };
        let before = previous.and_then(|snapshot| snapshot.credential(&token.name));
        let state = CredentialState::compile(token, set, before, config.secrets.on_missing, &config.secrets, moment);
        // Nobody but us judges these values, and a good one is accepted at once: after the next rotation it is the
        // previous one, whether or not it was ever used.
        for value in state.instances().filter_map(|(_, instance)| instance.current.as_ref()) {
            value.accepted.store(true, Ordering::Relaxed);
        }
        Some(state)
    });
    clients.collect()
}

impl Snapshot {
    /// The index of the client that carries this token: the newest value, or until `[secrets] overlap` ends the one
    /// before. Every client is compared, each in constant time for a token of the same length.
    pub fn client_by_token(&self, token: &[u8], now: Timestamp) -> Option<usize> {
        let mut found = None;
        for (index, state) in self.clients.iter().enumerate() {
            let instances = state.iter().flat_map(|state| state.instances());
            let equal = instances.fold(Choice::from(0), |equal, (_, instance)| equal | carries(instance, token, now));
            if bool::from(equal) && found.is_none() {
                found = Some(index);
            }
        }
        found
    }
}

fn carries(instance: &Instance, token: &[u8], now: Timestamp) -> Choice {
    let previous = instance.previous.as_ref().filter(|_| now < instance.previous_until);
    instance.current.iter().chain(previous).fold(Choice::from(0), |equal, value| match &value.keys[..] {
        [Material::Text(expected), ..] => equal | expected.expose().ct_eq(token),
        _ => equal,
    })
}
