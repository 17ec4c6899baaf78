//! A snapshot in use, with the counters and connections that belong to its routes.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::failure::Failure;
use super::gate::Gate;
use super::gates::Gates;
use super::ready::Ready;
use super::skew::Skew;
use crate::config::model::Authority;
use crate::control::egress::egress;
use crate::observe::metrics::{Metrics, PoolState, RouteMetrics};
use crate::sign::target::Host;
use crate::snapshot::Snapshot;
use crate::snapshot::identity::TlsClient;
use crate::upstream::address::Naming;
use crate::upstream::connect::{Destination, Security};
use crate::upstream::egress::Egress;
use crate::upstream::pool::{Origin, OriginKey, Pool};

/// What a request loads once.
#[derive(Debug)]
pub struct Live {
    /// Routes, credentials, identities.
    pub snapshot: Arc<Snapshot>,
    /// In the order of the configuration's routes, each from its first request on; kept over rotations.
    routes: Arc<[OnceLock<Box<RouteLive>>]>,
    gates: Gates,
    metrics: Arc<Metrics>,
    connect_to: HashMap<Authority, Authority>,
    egress: Option<Arc<Egress>>,
}

/// What belongs to a route that is called, while its configuration stands.
#[derive(Debug)]
pub struct RouteLive {
    /// Counters of the route.
    pub metrics: Arc<RouteMetrics>,
    /// Requests at one time.
    pub in_flight: Gate,
    /// The clock of its upstream.
    pub skew: Skew,
    /// The names of its credentials, for the access line.
    pub credentials: Option<String>,
    /// The Host that leaves, where the route has one name.
    host: OnceLock<Box<Host>>,
    /// The origin used last; of an exact host it is the only one.
    origin: ArcSwapOption<(OriginKey, Arc<Origin>)>,
}

impl Live {
    /// Makes a snapshot ready for requests; what `previous` has for the same plan is kept.
    pub fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>, metrics: &Arc<Metrics>) -> Self {
        let plan = &snapshot.plan;
        let same_plan = |live: &&Self| Arc::ptr_eq(&live.snapshot.plan, plan);
        let (routes, gates) = match previous.filter(same_plan) {
            Some(previous) => (previous.routes.clone(), previous.gates.clone()),
            None => {
                // The origins that these counts are of are looked for anew.
                for route in previous.iter().flat_map(|live| live.called()) {
                    for state in PoolState::ALL {
                        route.metrics.connections(state).set(0);
                    }
                }
                let gates = previous.map(|live| live.gates.next(&plan.config.routes)).unwrap_or_default();
                (plan.config.routes.iter().map(|_| OnceLock::new()).collect(), gates)
            }
        };
        let connect_to = plan.config.connect_to.iter().cloned().collect();
        let egress = egress(&snapshot, previous.and_then(|live| live.egress.as_ref()));
        Self { routes, gates, metrics: metrics.clone(), connect_to, egress, snapshot }
    }

    /// What belongs to a route, made when it is asked for the first time.
    pub fn route(&self, index: usize) -> &RouteLive {
        self.routes[index].get_or_init(|| Box::new(self.first_call(index)))
    }

    fn first_call(&self, index: usize) -> RouteLive {
        let config = &self.snapshot.plan.config;
        let route = &config.routes[index];
        let names: Vec<&str> = route.credentials.iter().map(|&i| config.credentials[i].name.as_str()).collect();
        RouteLive {
            metrics: self.metrics.route(&route.name),
            in_flight: self.gates.of(&route.name, route.limits.in_flight),
            credentials: (!names.is_empty()).then(|| names.join(",")),
            skew: Skew::default(),
            host: OnceLock::new(),
            origin: ArcSwapOption::empty(),
        }
    }

    /// Every route that was called since its configuration was taken into use.
    pub fn called(&self) -> impl Iterator<Item = &RouteLive> {
        self.routes.iter().filter_map(|route| route.get().map(Box::as_ref))
    }

    /// The origin of a request.
    pub fn origin(&self, pool: &Pool, ready: &Ready<'_>) -> Arc<Origin> {
        let client = ready.client;
        let config = ready.route;
        let learned = ready.learned_host();
        // Destinations, `connect_to` and certificates have IPv6 without brackets.
        let host = learned.unwrap_or(&ready.matched.host).trim_matches(['[', ']']);
        let upstream_host = learned.or(config.upstream.host.as_deref()).unwrap_or(host);
        let port = if learned.is_some() { 443 } else { config.upstream.port };
        let may_learn = self.snapshot.plan.routes[ready.index].has_tokens;
        let live = self.route(ready.index);
        let identity = client.map_or(0, |client| client.id());
        if let Some(known) = &*live.origin.load() {
            let (key, origin) = &**known;
            if key.identity == identity
                && self.leads_as_now(key)
                // Where connections are moved, a pattern's host alone does not say which one is kept. Nor does an
                // exact one where tokens bring hosts of their own.
                && (config.host.is_exact() && !may_learn
                    || self.connect_to.is_empty()
                        && key_is_for(key, upstream_host, &config.tls, host)
                        && (!may_learn || (&*key.host, key.port) == (upstream_host, port)))
            {
                return origin.clone();
            }
        }
        let wanted = Authority { host: upstream_host.to_owned(), port };
        let moved = self.connect_to.get(&wanted);
        let target = moved.unwrap_or(&wanted);
        // What a request fills in names nothing, however it is written.
        let written =
            moved.is_some() || learned.is_none() && (config.upstream.host.is_some() || config.host.is_exact());
        let naming = if written { Naming::of(&target.host) } else { Naming::Name };
        let egress = self.egress_to(&target.host).filter(|_| config.upstream.tls);
        let server_name = client.map(|_| Arc::from(config.tls.server_name.as_deref().unwrap_or(host)));
        let key = OriginKey {
            host: target.host.as_str().into(),
            port: target.port,
            server_name,
            identity,
            naming,
            egress: egress.map_or(0, |egress| egress.id()),
        };
        let origin = pool.origin(&key, client, || destination(&key, client, egress));
        live.origin.store(Some(Arc::new((key, origin.clone()))));
        origin
    }

    /// The Host that leaves.
    pub fn host(&self, ready: &Ready<'_>) -> Result<Host, Failure> {
        if let Some(learned) = ready.learned_host() {
            return Host::new(learned).ok_or_else(|| Failure::bad_request("the learned host cannot be sent"));
        }
        let kept = &self.route(ready.index).host;
        if let Some(host) = kept.get() {
            return Ok((**host).clone());
        }
        let host = ready.upstream_host()?;
        if ready.route.host.is_exact() {
            let _ = kept.set(Box::new(host.clone()));
        }
        Ok(host)
    }

    /// The egress proxy, where the way to this host leads through it.
    fn egress_to(&self, host: &str) -> Option<&Arc<Egress>> {
        let config = self.snapshot.plan.config.egress.as_ref()?;
        self.egress.as_ref().filter(|_| config.leads_to(host))
    }

    /// Whether a key of this plan still names the way there: direct ones do, others by the proxy as it is now.
    fn leads_as_now(&self, key: &OriginKey) -> bool {
        key.egress == 0 || self.egress.as_ref().is_some_and(|egress| egress.id() == key.egress)
    }
}

impl RouteLive {
    /// The origin that the route used last; of an exact host it is the only one.
    pub fn last_origin(&self) -> Option<Arc<Origin>> {
        self.origin.load().as_ref().map(|known| known.1.clone())
    }
}

/// Whether a key of a pattern's route is the one for this host. With `connect_to` the name tells, not the target.
fn key_is_for(key: &OriginKey, upstream_host: &str, tls: &crate::config::model::RouteTls, host: &str) -> bool {
    match &key.server_name {
        Some(name) if tls.server_name.is_none() => &**name == host,
        _ => &*key.host == upstream_host,
    }
}

fn destination(key: &OriginKey, client: Option<&Arc<TlsClient>>, egress: Option<&Arc<Egress>>) -> Destination {
    let security = match client.zip(key.server_name.as_deref()) {
        None => Security::Plain,
        Some((client, name)) => match crate::tls::server_name(name) {
            Ok(name) => Security::Tls(client.clone(), name),
            Err(_) => Security::Impossible,
        },
    };
    Destination { host: key.host.clone(), port: key.port, naming: key.naming, egress: egress.cloned(), security }
}
