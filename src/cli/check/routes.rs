//! What each route would do.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use crate::cli::terminal::harmless;
use crate::config::model::{Config, ListenAddr, Route, StandIn, TenantSource};
use crate::route::host::HostPattern;

/// One route, named as in `/api/routes`.
#[derive(Debug, Serialize)]
pub(super) struct RouteRow {
    name: String,
    host: String,
    path: Option<String>,
    methods: Option<Vec<String>>,
    prefix: Option<String>,
    listen: Option<String>,
    upstream: String,
    credentials: Vec<String>,
    tenant: Option<String>,
    /// The host as a name that leads to this machine; `null` where there is none.
    local_name: Option<String>,
    /// The line of a hosts file that makes every program resolve `local_name`; of exact hosts only.
    hosts_line: Option<String>,
    #[serde(skip)]
    ways: Vec<String>,
    #[serde(skip)]
    schemes: Vec<String>,
    #[serde(skip)]
    clients: Option<Vec<String>>,
    #[serde(skip)]
    stand_in: Option<StandIn>,
}

/// In the order of the configuration.
pub(super) fn rows(config: &Config) -> Vec<RouteRow> {
    config.routes.iter().map(|route| row(config, route)).collect()
}

fn row(config: &Config, route: &Route) -> RouteRow {
    let credentials = || route.credentials.iter().filter_map(|&index| config.credentials.get(index));
    RouteRow {
        name: route.name.clone(),
        host: route.host.to_string(),
        path: route.path.as_deref().map(str::to_owned),
        methods: route.methods.as_ref().map(|methods| methods.iter().map(ToString::to_string).collect()),
        prefix: route.prefix.as_deref().map(str::to_owned),
        listen: route.listen.as_ref().map(address),
        upstream: route.upstream.url(&name_of(&route.host)),
        credentials: credentials().map(|credential| credential.name.clone()).collect(),
        tenant: route.tenant.as_ref().map(tenant),
        local_name: local_name(route),
        hosts_line: hosts_line(config, route),
        ways: ways(config, route),
        clients: route
            .callers
            .clients
            .as_ref()
            .map(|list| list.iter().map(|&i| config.clients[i].name.clone()).collect()),
        stand_in: route.stand_in,
        schemes: credentials().map(|one| format!("{} ({})", one.name, one.signer.scheme())).collect(),
    }
}

/// A pattern without its port.
fn name_of(host: &HostPattern) -> String {
    let text = host.to_string();
    let bare = host.port().and_then(|port| text.strip_suffix(&format!(":{port}")));
    bare.unwrap_or(&text).to_owned()
}

fn address(address: &ListenAddr) -> String {
    match address {
        ListenAddr::Tcp(address) => address.to_string(),
        ListenAddr::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn tenant(source: &TenantSource) -> String {
    match source {
        TenantSource::Capture(name) => format!("{{{name}}} of the host"),
        TenantSource::Header(name) => format!("header {name}"),
        TenantSource::Query(name) => format!("query parameter {name}"),
        TenantSource::Path(number) => format!("segment {number} of the path"),
        TenantSource::Slot => "slot of the credential".to_owned(),
    }
}

/// `api.example.com.localhost`; an address has none, and a name of this machine needs none.
fn local_name(route: &Route) -> Option<String> {
    let name = name_of(&route.host);
    let local = name == "localhost" || name.ends_with(".localhost");
    let address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
    (!local && !address).then(|| format!("{name}.localhost"))
}

/// Browsers and curl need no such line; most programs do.
fn hosts_line(config: &Config, route: &Route) -> Option<String> {
    let name = local_name(route).filter(|_| route.host.is_exact())?;
    let listener = config.listen.proxy.iter().find_map(tcp)?;
    Some(format!("{} {name}", reached_at(listener).ip()))
}

fn tcp(listener: &ListenAddr) -> Option<SocketAddr> {
    match listener {
        ListenAddr::Tcp(address) => Some(*address),
        ListenAddr::Unix(_) => None,
    }
}

/// Where a program on this machine reaches a listener.
fn reached_at(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// What a worker writes to come this way.
fn ways(config: &Config, route: &Route) -> Vec<String> {
    let mut ways = Vec::new();
    for listener in &config.listen.proxy {
        let at = match listener {
            ListenAddr::Tcp(address) => format!("http://{address}"),
            ListenAddr::Unix(_) => address(listener),
        };
        ways.push(format!("{at} with Host: {}", route.host));
        if let Some((name, address)) = local_name(route).zip(tcp(listener)) {
            ways.push(format!("http://{name}:{}", address.port()));
        }
        if let Some(prefix) = &route.prefix {
            ways.push(format!("{at}{}{prefix}", if at.starts_with("unix:") { " " } else { "" }));
        }
    }
    ways.extend(route.listen.iter().map(|own| match own {
        ListenAddr::Tcp(address) => format!("http://{address}"),
        ListenAddr::Unix(_) => address(own),
    }));
    ways
}

/// Paragraphs for people, a blank line between them.
pub(super) fn text(rows: &[RouteRow]) -> String {
    let mut out = String::new();
    for row in rows {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}route {}", harmless(&row.name));
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "  {key:<11} {}", harmless(value));
        };
        for (index, way) in row.ways.iter().enumerate() {
            line(if index == 0 { "ways in" } else { "" }, way);
        }
        if let Some(methods) = &row.methods {
            line("methods", &methods.join(", "));
        }
        if let Some(path) = &row.path {
            line("path", path);
        }
        if let Some(hosts) = &row.hosts_line {
            line("hosts line", hosts);
        }
        if row.stand_in == Some(StandIn::Token) {
            line("answers", "itself, with a stand-in token");
        } else {
            line("upstream", &row.upstream);
            let schemes = if row.schemes.is_empty() { "none".to_owned() } else { row.schemes.join(", then ") };
            line("credential", &schemes);
        }
        if let Some(clients) = &row.clients {
            line("clients", &clients.join(", "));
        }
        if let Some(tenant) = &row.tenant {
            line("tenant", tenant);
        }
    }
    out
}
