//! The egress proxy of a snapshot: from its configuration and credential to what connections are made with.

use std::sync::Arc;

use http::HeaderValue;

use crate::sign::Signer;
use crate::snapshot::Snapshot;
use crate::upstream::egress::{Authorization, Egress};

/// The egress proxy, where there is one. While nothing about it changes it is the one of `before`, so
/// that connections through it are kept; a rotated password makes another one.
pub fn egress(snapshot: &Snapshot, before: Option<&Arc<Egress>>) -> Option<Arc<Egress>> {
    let config = snapshot.plan.config.egress.as_ref()?;
    let authorization = config.credential.map_or(Authorization::None, |index| authorization(snapshot, index));
    let proxy = &config.proxy;
    let same =
        |old: &&Arc<Egress>| *old.host == proxy.host && old.port == proxy.port && old.authorization == authorization;
    match before.filter(same) {
        Some(same) => Some(same.clone()),
        None => Some(Arc::new(Egress::new(&proxy.host, proxy.port, authorization))),
    }
}

fn authorization(snapshot: &Snapshot, index: usize) -> Authorization {
    basic(snapshot, index).map_or_else(Authorization::Unavailable, Authorization::Basic)
}

fn basic(snapshot: &Snapshot, index: usize) -> Result<HeaderValue, String> {
    let state = &snapshot.credentials[index];
    let Signer::Basic(basic) = &*state.signer else { return Err("its credential is not Basic".to_owned()) };
    let value = state.instance(|_| None).and_then(|instance| instance.value());
    let value = value.map_err(|why| format!("secret {}: {}", why.secret, why.reason))?;
    let mut injection = basic.sign(&value.keys).map_err(|error| error.to_string())?;
    // Basic fills one header, here under the name that proxies read.
    injection.headers.pop().map(|(_, value)| value).ok_or_else(|| "its credential is empty".to_owned())
}
