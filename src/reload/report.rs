//! What changed, for the log and the metrics.

use std::sync::Arc;

use crate::config::model::Route;
use crate::observe::metrics::{CredentialNow, Metrics};
use crate::secret::value::BadReason;
use crate::snapshot::credential::{CredentialState, Instance};
use crate::snapshot::health::Health;
use crate::snapshot::identity::{Part, owner_of_credential, owner_of_route};
use crate::snapshot::{Snapshot, authority};

/// Compares two snapshots and says each change once.
pub(super) fn changes(metrics: &Metrics, old: Option<&Snapshot>, new: &Snapshot) {
    for credential in new.credentials.iter().chain(new.clients.iter().flatten()) {
        let before = old.and_then(|old| old.credential(&credential.name));
        if !before.is_some_and(|before| Arc::ptr_eq(before, credential)) {
            credential_changes(metrics, before, credential);
        }
    }
    for seed in new.seeds.iter().flatten() {
        bad_seeds(old.and_then(|old| old.seeds.iter().flatten().find(|other| other.name == seed.name)), seed);
    }
    let before: std::collections::HashMap<String, &Part> = old.into_iter().flat_map(all_parts).collect();
    // Of the first snapshot there is nothing to say of what is good.
    if old.is_some() || new.identities.iter().any(|state| state.parts().any(|(_, part)| part.bad.is_some())) {
        for (name, part) in all_parts(new) {
            part_changes(metrics, &name, before.get(&name).copied(), part);
        }
    }
    // Names come and go with the configuration alone.
    if old.is_none_or(|old| Arc::ptr_eq(&old.plan, &new.plan)) {
        return;
    }
    let config = &new.plan.config;
    let known: std::collections::HashSet<String> = all_parts(new)
        .map(|(name, _)| name)
        .chain(config.credentials.iter().map(|credential| credential.name.clone()))
        .chain(new.clients.iter().flatten().map(|state| state.name.clone()))
        .collect();
    let routes: std::collections::HashSet<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    metrics.retain(|route| routes.contains(route), |credential| known.contains(credential));
}

/// Hosts that the CA of interception may not vouch for: new ones of a changed `proxy.toml`, patterns open to their end.
pub(super) fn uncovered(snapshot: &Snapshot) {
    let Some(ca) = snapshot.authority.as_ref().and_then(|state| state.authority.as_ref()) else { return };
    let hosts: Vec<&str> = snapshot
        .plan
        .config
        .routes
        .iter()
        .filter(|route| !ca.permits(&route.host.domain()))
        .map(|route| route.host.without_port())
        .take(10)
        .collect();
    if !hosts.is_empty() {
        let hosts = hosts.join(",");
        tracing::warn!(
            hosts,
            "the CA of interception may not vouch for these hosts, so they cannot be intercepted; a restart makes a new CA where none is configured"
        );
    }
}

/// What each credential is now, for the metrics.
pub fn credentials_now(snapshot: &Snapshot) -> Vec<CredentialNow> {
    let credentials = snapshot.credentials.iter().chain(snapshot.clients.iter().flatten()).map(|state| CredentialNow {
        name: state.name.to_string(),
        stale: !matches!(state.health(), Health::Ok | Health::Fallback),
        loaded: state.instances().filter_map(|(_, i)| i.current.as_ref()).map(|value| value.loaded_at).max(),
        not_after: None,
    });
    let parts = all_parts(snapshot).map(|(name, part)| CredentialNow {
        name,
        stale: part.bad.is_some(),
        loaded: part.loaded_at,
        not_after: part.expires_at,
    });
    credentials.chain(parts).collect()
}

/// Every half of every identity under the name of each route and credential that uses it, and the CA of interception.
fn all_parts(snapshot: &Snapshot) -> impl Iterator<Item = (String, &Part)> {
    let config = &snapshot.plan.config;
    let authority = snapshot.authority.iter().map(|state| (authority::NAME.to_owned(), &state.part));
    let identities = config.routes.iter().zip(&snapshot.plan.routes).flat_map(move |(route, plan)| {
        let state = plan.identity.map(|identity| &snapshot.identities[identity]);
        state
            .into_iter()
            .flat_map(move |state| state.parts().map(move |(half, part)| (names_of_route(route, half), part)))
    });
    let tokens = config.credentials.iter().enumerate().flat_map(move |(index, credential)| {
        let state = snapshot.plan.token_identity(index).map(|identity| &snapshot.identities[identity]);
        let owner = owner_of_credential(&credential.name);
        let parts = state.into_iter().flat_map(|state| state.parts());
        parts.map(move |(half, part)| (format!("{owner}/{half}"), part))
    });
    identities.chain(tokens).chain(authority)
}

/// `route:NAME/client_cert`, `route:NAME/ca`.
pub fn names_of_route(route: &Route, half: &str) -> String {
    format!("{}/{half}", owner_of_route(&route.name))
}

fn credential_changes(metrics: &Metrics, old: Option<&Arc<CredentialState>>, new: &CredentialState) {
    for (values, instance) in new.instances() {
        let before = old.and_then(|old| old.by_values(values));
        if before.is_some_and(|before| Arc::ptr_eq(before, instance)) {
            continue;
        }
        let generation = |instance: &Arc<Instance>| instance.current.as_ref().map(|value| value.generation);
        if old.is_some() && generation(instance).is_some() && before.and_then(generation) != generation(instance) {
            metrics.credential(&new.name).reloaded();
            let value = instance.current.as_ref();
            tracing::info!(kind = "audit", credential = %new.name, tenant = tenant(values), fingerprint = value.map(|value| value.fingerprint()), "secret rotated");
        }
        let (was, is) = (before.and_then(|before| before.bad.as_deref()), instance.bad.as_deref());
        match is {
            Some((secret, reason)) if was != is => {
                if old.is_some() {
                    metrics.credential(&new.name).refused(reason.label());
                }
                let use_of = if instance.current.is_some() {
                    "the last good value stays in use"
                } else {
                    "there is no good value"
                };
                tracing::warn!(credential = %new.name, tenant = tenant(values), secret = %secret, reason = %reason, "secret cannot be used; {use_of}");
            }
            None if was.is_some() => {
                tracing::info!(credential = %new.name, tenant = tenant(values), "secret is good again")
            }
            _ => {}
        }
    }
}

/// A seed that cannot be used is said once; one that is not there is nothing to say, and none has a health of its own.
fn bad_seeds(old: Option<&Arc<CredentialState>>, new: &CredentialState) {
    for (values, instance) in new.instances() {
        let was = old.and_then(|old| old.by_values(values)).and_then(|before| before.bad.as_deref());
        let Some((secret, reason)) = instance.bad.as_deref().filter(|bad| bad.1 != BadReason::Missing) else {
            continue;
        };
        if was != instance.bad.as_deref() {
            tracing::warn!(credential = %new.name, tenant = tenant(values), secret = %secret, reason = %reason, "the first refresh token cannot be used");
        }
    }
}

fn tenant(values: &str) -> Option<&str> {
    (!values.is_empty()).then_some(values)
}

fn part_changes(metrics: &Metrics, name: &str, old: Option<&Part>, new: &Part) {
    let changed = old.is_some_and(|old| old.fingerprint != new.fingerprint);
    if changed && new.fingerprint.is_some() {
        metrics.credential(name).reloaded();
        tracing::info!(kind = "audit", credential = name, fingerprint = new.fingerprint.as_deref(), "identity rotated");
    }
    let was = old.and_then(|old| old.bad.as_ref());
    match &new.bad {
        Some((secret, reason)) if was != new.bad.as_ref() => {
            if old.is_some() {
                metrics.credential(name).refused(reason.label());
            }
            let use_of =
                if new.loaded_at.is_some() { "the last good one stays in use" } else { "there is no good one" };
            tracing::warn!(credential = name, secret = %secret, reason = %reason, "identity cannot be used; {use_of}");
        }
        None if was.is_some() => tracing::info!(credential = name, "identity is good again"),
        _ => {}
    }
}
