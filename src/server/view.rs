//! What the admin listener shows, taken from the running proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::connections::Steering;
use super::state;
use super::tasks::Command;
use crate::admin::{
    AdminToken, Connections, CredentialView, Health, ListenerView, Readiness, Reads, ReloadResult, ReloadView,
    RouteView, Source, StatusView, Unhealthy,
};
use crate::clock::Timestamp;
use crate::config::model::{AtStart, Route};
use crate::observe::metrics::PoolState;
use crate::proxy::Proxy;
use crate::reload::{credentials_now, names_of_route};
use crate::secret::set::SecretSet;
use crate::secret::value::SecretBytes;
use crate::sign::material::{Kind, Material};
use crate::snapshot::credential::CredentialState;
use crate::snapshot::health::Health as State;
use crate::snapshot::identity::{Part, owner_of_credential};
use crate::snapshot::{Snapshot, authority};
use crate::upstream::pool::Origin;

/// Answers the admin listener from memory.
pub(super) struct View {
    proxy: Arc<Proxy>,
    listeners: Vec<ListenerView>,
    commands: mpsc::Sender<Command>,
    started: Timestamp,
    draining: AtomicBool,
    token: ArcSwap<Token>,
    /// `None` where no credential has connections.
    steering: Option<Steering>,
}

/// The admin token as of one generation of secrets.
struct Token {
    /// The newest value and the one before it.
    accepted: AdminToken,
    /// When the one before ends.
    previous_until: Timestamp,
}

impl View {
    /// For a proxy that has just started.
    pub(super) fn new(
        proxy: Arc<Proxy>,
        listeners: Vec<ListenerView>,
        commands: mpsc::Sender<Command>,
        steering: Option<Steering>,
        set: &SecretSet,
    ) -> Self {
        let started = proxy.clock.now();
        let token = ArcSwap::from_pointee(Token { accepted: AdminToken::NotConfigured, previous_until: started });
        let view = Self { proxy, listeners, commands, started, draining: AtomicBool::new(false), token, steering };
        view.secrets_changed(set);
        view
    }

    /// From now on not ready.
    pub(super) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes the admin token from a generation of secrets; a bad one keeps the last good one.
    pub(super) fn secrets_changed(&self, set: &SecretSet) {
        let live = self.proxy.live.load();
        let next = match &live.snapshot.plan.config.admin.token {
            None => AdminToken::NotConfigured,
            Some(name) => match set.content(name.value.as_str()).and_then(|bytes| Kind::HeaderText.load(bytes)) {
                Ok(Material::Text(value)) => AdminToken::Values(vec![value]),
                _ => match &self.token.load().accepted {
                    AdminToken::Values(values) => AdminToken::Values(values.clone()),
                    _ => AdminToken::Unusable,
                },
            },
        };
        let old = self.token.load();
        let changed =
            newest(&next).is_some_and(|next| newest(&old.accepted).is_some_and(|old| old.expose() != next.expose()));
        let overlap = i64::try_from(live.snapshot.plan.config.secrets.overlap.as_secs()).unwrap_or(0);
        let previous_until = if changed { self.now().plus_seconds(overlap) } else { old.previous_until };
        let accepted = with_previous(next, &old.accepted);
        self.token.store(Arc::new(Token { accepted, previous_until }));
        if let Some(steering) = &self.steering {
            state::take_keys(steering.tokens().store(), &live.snapshot.plan.config, set);
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.proxy.live.load().snapshot.clone()
    }

    /// The own port of a route with the port that the system gave.
    fn real_listen(&self, route: &Route) -> Option<String> {
        route.listen.as_ref()?;
        let bound = self.listeners.iter().find(|listener| listener.route.as_deref() == Some(&route.name));
        bound.map(|listener| listener.address.clone())
    }
}

fn newest(token: &AdminToken) -> Option<&SecretBytes> {
    match token {
        AdminToken::Values(values) => values.first(),
        AdminToken::NotConfigured | AdminToken::Unusable => None,
    }
}

/// The newest token and the one before it.
fn with_previous(next: AdminToken, old: &AdminToken) -> AdminToken {
    let (AdminToken::Values(new), AdminToken::Values(old)) = (&next, old) else { return next };
    let newest: Vec<SecretBytes> = new.iter().take(1).cloned().collect();
    let previous = old.iter().find(|value| newest.iter().all(|new| new.expose() != value.expose()));
    AdminToken::Values(newest.into_iter().chain(previous.cloned()).collect())
}

impl Source for View {
    fn now(&self) -> Timestamp {
        self.proxy.clock.now()
    }

    fn status(&self) -> StatusView {
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.snapshot().generation,
            uptime: (self.now().seconds - self.started.seconds).max(0) as u64,
            listeners: self.listeners.clone(),
        }
    }

    fn routes(&self) -> Vec<RouteView> {
        let snapshot = self.snapshot();
        let config = &snapshot.plan.config;
        let row = |(index, route): (usize, &Route)| RouteView {
            name: route.name.clone(),
            host: route.host.to_string(),
            path: route.path.as_deref().map(str::to_owned),
            methods: route.methods.as_ref().map(|methods| methods.iter().map(ToString::to_string).collect()),
            prefix: route.prefix.as_deref().map(str::to_owned),
            listen: self.real_listen(route),
            upstream: route.upstream.url(route.host.without_port()),
            credentials: route.credentials.iter().map(|&index| config.credentials[index].name.clone()).collect(),
            ready: is_ready(&snapshot, index, self.now()),
        };
        config.routes.iter().enumerate().map(row).collect()
    }

    fn credentials(&self) -> Vec<CredentialView> {
        credential_rows(&self.snapshot(), self.now())
    }

    fn readiness(&self) -> Readiness {
        let snapshot = self.snapshot();
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("draining".to_owned());
        }
        let waiting = snapshot.plan.config.secrets.at_start == AtStart::Wait;
        if waiting && snapshot.problems().iter().any(|problem| !problem.last_good) {
            reasons.push("waiting for secrets".to_owned());
        }
        if let Some(why) = self.proxy.tokens.as_ref().and_then(|tokens| tokens.store().unreached()) {
            reasons.push(format!("the store of connections was not reached: {why}"));
        }
        let unhealthy = credential_rows(&snapshot, self.now())
            .into_iter()
            .filter(|row| row.health != Health::Ok)
            .map(|row| Unhealthy { name: row.name, health: row.health, reason: row.reason })
            .collect();
        Readiness { ready: reasons.is_empty(), reasons, unhealthy }
    }

    fn metrics_text(&self) -> String {
        let live = self.proxy.live.load_full();
        let metrics = &self.proxy.metrics;
        metrics.in_flight.set(self.proxy.in_flight.used() as i64);
        metrics.worker_connections.set(self.proxy.connections.open() as i64);
        metrics.buffered_bytes.set(self.proxy.buffered.used() as i64);
        for route in live.called() {
            let origin = route.last_origin();
            let of = |count: fn(&Origin) -> usize| origin.as_deref().map_or(0, count) as i64;
            route.metrics.connections(PoolState::Connecting).set(of(Origin::connecting));
            route.metrics.connections(PoolState::Active).set(of(Origin::active));
            route.metrics.connections(PoolState::Idle).set(of(Origin::idle));
        }
        let routes = live.snapshot.plan.config.routes.iter().map(|route| route.name.as_str());
        metrics.text(routes, credentials_now(&live.snapshot))
    }

    fn admin_token(&self) -> AdminToken {
        let token = self.token.load();
        match &token.accepted {
            AdminToken::Values(values) if self.now() >= token.previous_until => {
                AdminToken::Values(values.iter().take(1).cloned().collect())
            }
            accepted => accepted.clone(),
        }
    }

    fn reads(&self) -> Reads {
        if self.snapshot().plan.config.admin.protect_reads { Reads::Protected } else { Reads::Open }
    }

    fn names(&self) -> Vec<String> {
        self.snapshot().plan.config.listen.names.clone()
    }

    fn connections(&self) -> Option<&dyn Connections> {
        self.steering.as_ref().map(|steering| steering as &dyn Connections)
    }

    fn reload(&self) -> oneshot::Receiver<ReloadView> {
        let (reply, receiver) = oneshot::channel();
        if let Err(mpsc::error::TrySendError::Full(Command::Reload(reply))) =
            self.commands.try_send(Command::Reload(reply))
        {
            let messages = vec!["reloads are already waiting".to_owned()];
            let _ = reply.send(ReloadView {
                result: ReloadResult::Failed,
                generation: self.snapshot().generation,
                messages,
            });
        }
        receiver
    }
}

fn is_ready(snapshot: &Snapshot, route: usize, now: Timestamp) -> bool {
    let config = &snapshot.plan.config.routes[route];
    let credentials = config.credentials.iter().all(|&index| snapshot.credentials[index].health() != State::Missing);
    let identity = snapshot.plan.routes[route].identity.is_none_or(|identity| {
        let client = snapshot.identities[identity].client.as_ref();
        client.is_some_and(|client| client.not_after.is_none_or(|end| end >= now))
    });
    credentials && identity
}

fn credential_rows(snapshot: &Snapshot, now: Timestamp) -> Vec<CredentialView> {
    let config = &snapshot.plan.config;
    let own = snapshot.credentials.iter().enumerate().map(|(index, state)| {
        let uses = |route: &&Route| route.credentials.contains(&index);
        row_of(state, config.routes.iter().filter(uses).map(|route| route.name.clone()).collect())
    });
    let identities = config.routes.iter().zip(&snapshot.plan.routes).flat_map(|(route, plan)| {
        let state = plan.identity.map(|identity| &snapshot.identities[identity]);
        let row = move |(half, part)| part_row(names_of_route(route, half), vec![route.name.clone()], part, now);
        state.into_iter().flat_map(move |state| state.parts().map(row))
    });
    let tokens = config.credentials.iter().enumerate().filter_map(|(index, credential)| {
        let state = &snapshot.identities[snapshot.plan.token_identity(index)?];
        let uses = |route: &&Route| route.credentials.contains(&index);
        let routes: Vec<String> = config.routes.iter().filter(uses).map(|route| route.name.clone()).collect();
        let owner = owner_of_credential(&credential.name);
        Some(state.parts().map(move |(half, part)| part_row(format!("{owner}/{half}"), routes.clone(), part, now)))
    });
    let clients = snapshot.clients.iter().enumerate().filter_map(|(index, state)| {
        let names = |route: &&Route| route.callers.clients.as_ref().is_some_and(|clients| clients.contains(&index));
        let routes = config.routes.iter().filter(names).map(|route| route.name.clone()).collect();
        Some(CredentialView { scheme: "client".to_owned(), ..row_of(state.as_ref()?, routes) })
    });
    let authority = snapshot.authority.iter().map(|state| {
        let routes = config.routes.iter().map(|route| route.name.clone()).collect();
        part_row(authority::NAME.to_owned(), routes, &state.part, now)
    });
    own.chain(identities).chain(tokens.flatten()).chain(authority).chain(clients).collect()
}

fn row_of(state: &CredentialState, routes: Vec<String>) -> CredentialView {
    let newest = state.instances().filter_map(|(_, i)| i.current.as_ref()).max_by_key(|value| value.generation);
    let bad = state.problems().into_iter().next();
    let single = state.variables.is_empty();
    CredentialView {
        name: state.name.clone(),
        scheme: state.signer.scheme().to_owned(),
        fingerprint: newest.filter(|_| single).map(|value| value.fingerprint()),
        health: health(state.health()),
        reason: bad.map(|problem| format!("{}: {}", problem.secret, problem.reason)),
        loaded_at: newest.map(|value| value.loaded_at),
        expires_at: None,
        generation: newest.map_or(0, |value| value.generation),
        routes,
    }
}

fn part_row(name: String, routes: Vec<String>, part: &Part, now: Timestamp) -> CredentialView {
    let expired = part.expires_at.is_some_and(|end| end < now);
    let state = if expired { State::Expired } else { part.health };
    CredentialView {
        name,
        scheme: "tls".to_owned(),
        fingerprint: part.fingerprint.clone(),
        health: health(state),
        reason: part.bad.as_ref().map(|(name, reason)| format!("{name}: {reason}")),
        loaded_at: part.loaded_at,
        expires_at: part.expires_at,
        generation: if part.loaded_at.is_some() { part.generation } else { 0 },
        routes,
    }
}

fn health(state: State) -> Health {
    match state {
        State::Ok => Health::Ok,
        State::Fallback => Health::Fallback,
        State::Stale => Health::Stale,
        State::Expired => Health::Expired,
        State::Missing => Health::Missing,
    }
}
