//! Which route a request takes, by which way in.

use std::borrow::Cow;

use http::Method;

use super::failure::Failure;
use super::inbound::{Form, Inbound, is_loopback_name};
use crate::config::model::{ListenAddr, Route};
use crate::observe::Outcome;
use crate::route::table::{Found, Port, has_dot_segment};
use crate::snapshot::plan::Plan;

/// The default port of `https`.
const HTTPS: u16 = 443;

/// Where a connection arrived.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The address as configured.
    pub address: ListenAddr,
    /// The TCP port, once bound.
    pub port: Option<u16>,
    /// Whether it is the own port of a route.
    pub kind: EntryKind,
}

/// Whether a listener serves all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `listen.proxy`
    Shared,
    /// The `listen` of the route with this name.
    OwnPort(String),
    /// `listen.tls`: TLS ends there first, and requests come from [`EntryKind::Inside`] it.
    TlsByName,
    /// Inside TLS that ended here.
    Inside(Inside),
}

/// The name that TLS with a worker ended for. Requests inside are bound to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Lower case; IPv6 with brackets.
    pub host: String,
    /// The port of the CONNECT; `None` on the TLS listener, which cannot know.
    pub port: Option<u16>,
}

/// How a request named its route (the precedence is that of [`find`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A listener of the route alone.
    OwnPort,
    /// An absolute-form target, as to a forward proxy.
    Absolute,
    /// The Host header.
    Host,
    /// The Host header with `.localhost` behind the name.
    LocalName,
    /// A prefix of the path under a loopback name.
    Prefix,
    /// Inside TLS that ended here: no base URL was changed, so links lead back by themselves.
    Intercepted,
}

/// A request that a route claims.
#[derive(Debug)]
pub struct Matched<'p> {
    /// How it was named.
    pub way: Way,
    /// The index of the route.
    pub route: usize,
    /// The name that it was matched by, which is the upstream's Host.
    pub host: Cow<'p, str>,
    /// What the host pattern captured.
    pub captures: Vec<(String, String)>,
    /// Bytes at the start of the path that only led here.
    pub cut: usize,
}

/// Finds the route. Precedence: own port, then absolute-form, then Host, then prefix.
pub fn find<'p>(plan: &'p Plan, entry: &Entry, inbound: &Inbound<'_>, method: &Method) -> Result<Matched<'p>, Failure> {
    let matched = match &entry.kind {
        EntryKind::OwnPort(route) => own_port(plan, route, inbound, method)?,
        EntryKind::Shared | EntryKind::TlsByName => shared(plan, entry, inbound, method)?,
        EntryKind::Inside(inside) => intercepted(plan, entry, inside, inbound, method)?,
    };
    let route = &plan.config.routes[matched.route];
    // A credential is bound to the path of its route: a path that a server would resolve could leave it.
    if (route.path.is_some() || matched.cut > 0) && has_dot_segment(&inbound.path[matched.cut..]) {
        return Err(Failure::new(Outcome::BadRequest, "dot segments in the path of a route that is bound to a path"));
    }
    Ok(matched)
}

fn own_port<'p>(plan: &'p Plan, name: &str, inbound: &Inbound<'_>, method: &Method) -> Result<Matched<'p>, Failure> {
    let Some(route) = plan.own_port(name) else {
        return Err(Failure::no_route("this port belongs to no route any more"));
    };
    let config = &plan.config.routes[route];
    if inbound.form == Form::Absolute && config.host.exact_name() != Some(&inbound.host) {
        return Err(Failure::no_route(format!("this port belongs to route {}, which has another host", config.name)));
    }
    named(config, route, inbound.path, 0, method)
}

fn shared<'p>(plan: &'p Plan, entry: &Entry, inbound: &Inbound<'_>, method: &Method) -> Result<Matched<'p>, Failure> {
    let port = Port::Asked { named: inbound.port, local: entry.port };
    let way = if inbound.form == Form::Absolute { Way::Absolute } else { Way::Host };
    if let Some(matched) = by_host(plan, way, port, inbound, method) {
        return Ok(matched);
    }
    if inbound.form == Form::Origin
        && let Some(name) = local_name(&inbound.host).filter(|_| !plan.table.knows(&inbound.host))
        && let Some(found) = find_local(plan, name, inbound.path, method)
    {
        return Ok(by_name(plan, Way::LocalName, name, &found));
    }
    if inbound.form == Form::Origin && is_loopback_name(&inbound.host, &plan.config.listen.names) {
        if let Some((route, length)) = plan.table.find_prefix(inbound.path) {
            return named(&plan.config.routes[route], route, inbound.path, length, method);
        }
        return Err(Failure::no_route("no route has a prefix that this path begins with"));
    }
    Err(unclaimed(plan, inbound))
}

/// Inside TLS the name is settled: what a request says must be that name, a default port aside.
fn intercepted<'p>(
    plan: &'p Plan,
    entry: &Entry,
    inside: &Inside,
    inbound: &Inbound<'_>,
    method: &Method,
) -> Result<Matched<'p>, Failure> {
    let fits = match (inside.port, inbound.port) {
        (Some(port), Some(named)) => named == port,
        (Some(port), None) => port == HTTPS || inbound.form == Form::Absolute,
        (None, _) => true,
    };
    if *inbound.host != *inside.host || !fits {
        let why = format!("the request is for another host than {}, which its TLS was opened for", inside.host);
        return Err(Failure::no_route(why));
    }
    let named = inside.port.or(inbound.port).unwrap_or(HTTPS);
    let port = Port::Asked { named: Some(named), local: entry.port.filter(|_| inside.port.is_none()) };
    by_host(plan, Way::Intercepted, port, inbound, method).ok_or_else(|| unclaimed(plan, inbound))
}

fn by_host<'p>(plan: &'p Plan, way: Way, port: Port, inbound: &Inbound<'_>, method: &Method) -> Option<Matched<'p>> {
    let found = plan.table.find(&inbound.host, port, inbound.path, method)?;
    Some(by_name(plan, way, &inbound.host, &found))
}

fn unclaimed(plan: &Plan, inbound: &Inbound<'_>) -> Failure {
    Failure::no_route(if plan.table.knows(&inbound.host) {
        format!("no route of host {} allows this method, path and port", inbound.host)
    } else {
        format!("no route has the host {}", inbound.host)
    })
}

/// The name that a localhost name stands for: `api.example.com` of `api.example.com.localhost`.
pub fn local_name(host: &str) -> Option<&str> {
    host.strip_suffix(".localhost").filter(|name| !name.is_empty())
}

/// The route that a localhost name leads to. Its port is this proxy's own and chooses nothing.
pub fn find_local<'p, 'h>(plan: &'p Plan, name: &'h str, path: &str, method: &Method) -> Option<Found<'p, 'h>> {
    let find = |port| plan.table.find(name, port, path, method);
    find(Port::default()).or_else(|| find(Port::Any))
}

fn by_name<'p>(plan: &'p Plan, way: Way, host: &str, found: &Found<'_, '_>) -> Matched<'p> {
    let captures = found.captures.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let exact = plan.config.routes[found.route].host.exact_name();
    let host = exact.map_or_else(|| Cow::Owned(host.to_owned()), Cow::Borrowed);
    Matched { way, route: found.route, host, captures, cut: 0 }
}

/// A way in that names its route: path and methods must still match.
fn named<'p>(config: &'p Route, route: usize, path: &str, cut: usize, method: &Method) -> Result<Matched<'p>, Failure> {
    let rest = if path.len() == cut { "/" } else { &path[cut..] };
    if cut > 0 && rest.starts_with("//") {
        return Err(Failure::new(Outcome::BadRequest, format!("\"//\" after the prefix of route {}", config.name)));
    }
    if !allows_path(config, rest) {
        return Err(Failure::no_route(format!("route {} does not allow this path", config.name)));
    }
    if !config.methods.as_ref().is_none_or(|methods| methods.contains(method)) {
        return Err(Failure::no_route(format!("route {} does not allow this method", config.name)));
    }
    // The configuration admits these ways in only for exact hosts.
    let host = Cow::Borrowed(config.host.exact_name().unwrap_or_default());
    let way = if cut > 0 { Way::Prefix } else { Way::OwnPort };
    Ok(Matched { way, route, host, captures: Vec::new(), cut })
}

/// Whether a path is within the route's.
pub fn allows_path(config: &Route, path: &str) -> bool {
    config.path.as_deref().is_none_or(|wanted| begins_with(path, wanted))
}

/// Whether a path begins with another one on a segment boundary.
fn begins_with(path: &str, wanted: &str) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || wanted.ends_with('/') || rest.starts_with('/'))
}
