//! Names to addresses, in process: `/etc/hosts`, then DNS as `[dns]` or `/etc/resolv.conf` says.
//!
//! Nothing is read before first use; changed files are noticed within seconds, without a watch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::ResolverOpts;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::Instant;

use super::address::is_localhost;
use super::error::{Fault, UpstreamError};
use crate::config::model::Dns;

/// Answers kept by TTL, at most this many names.
const CACHED_NAMES: u64 = 1024;
/// Files are looked at again at most this often.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Largest file that is read, in bytes.
const FILE_LIMIT: u64 = 16 << 20;

/// Resolves names; one per process.
pub struct Resolver {
    files: Files,
    state: Mutex<State>,
}

/// What names depend on beside `[dns]`.
struct Files {
    hosts: PathBuf,
    resolv: PathBuf,
    check_every: Duration,
}

#[derive(Default)]
struct State {
    dns: Dns,
    built: Option<Built>,
    checked: Option<Instant>,
}

#[derive(Clone)]
struct Built {
    resolver: Arc<TokioResolver>,
    stamps: [Option<Stamp>; 2],
}

/// What tells one version of a file from another.
type Stamp = (u64, u64, i64, i64);

impl Default for Resolver {
    fn default() -> Self {
        let files = Files { hosts: "/etc/hosts".into(), resolv: "/etc/resolv.conf".into(), check_every: CHECK_EVERY };
        Self { files, state: Mutex::default() }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// From now on names are resolved this way; what was learned the other way is forgotten.
    pub fn set(&self, dns: &Dns) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.dns != *dns {
            *state = State { dns: dns.clone(), ..State::default() };
        }
    }

    /// The addresses of a host, in the order in which to try them: IPv6 and IPv4 in turn (RFC 8305 section 4).
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UpstreamError> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        if is_localhost(host) {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let unreachable = |why: String| UpstreamError::new(Fault::Unreachable, why);
        let resolver = self.current().map_err(|error| unreachable(format!("no name resolution: {error}")))?;
        let found = resolver.lookup_ip(host).await.map_err(|error| unreachable(not_resolved(host, &error)))?;
        let addresses = interleave(found.iter());
        if addresses.is_empty() {
            return Err(unreachable(format!("the name {host} has no address")));
        }
        Ok(addresses)
    }

    /// The resolver for the files as they are, or were a moment ago.
    fn current(&self) -> Result<Arc<TokioResolver>, NetError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = state.checked.is_some_and(|checked| now - checked < self.files.check_every);
        if let Some(built) = state.built.as_ref().filter(|_| fresh) {
            return Ok(built.resolver.clone());
        }
        state.checked = Some(now);
        let stamps = self.files.stamps();
        if let Some(built) = state.built.as_ref().filter(|built| built.stamps == stamps) {
            return Ok(built.resolver.clone());
        }
        match self.files.build(&state.dns) {
            Ok(resolver) => {
                let resolver = Arc::new(resolver);
                state.built = Some(Built { resolver: resolver.clone(), stamps });
                Ok(resolver)
            }
            // Half written, perhaps: the last good one goes on, and the next look decides.
            Err(error) => match &state.built {
                Some(built) => {
                    tracing::warn!(%error, "changed name resolution cannot be used; the last good one stays");
                    Ok(built.resolver.clone())
                }
                None => Err(error),
            },
        }
    }
}

impl Files {
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.hosts, &self.resolv].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        })
    }

    fn build(&self, dns: &Dns) -> Result<TokioResolver, NetError> {
        let (config, mut options) = if dns.servers.is_empty() { self.system()? } else { given(&dns.servers) };
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.cache_size = CACHED_NAMES;
        // The file is read here, so that a change of it is one.
        options.use_hosts_file = ResolveHosts::Never;
        let provider = TokioRuntimeProvider::default();
        let mut resolver = TokioResolver::builder_with_config(config, provider).with_options(options).build()?;
        let mut hosts = Hosts::default();
        if dns.hosts_file
            && let Some(text) = content(&self.hosts)
        {
            hosts.read_hosts_conf(&*text)?;
        }
        resolver.set_hosts(Arc::new(hosts));
        Ok(resolver)
    }

    /// As `/etc/resolv.conf` says; without a server in it the one on this machine (resolv.conf(5)).
    fn system(&self) -> Result<(ResolverConfig, ResolverOpts), NetError> {
        let text = content(&self.resolv).unwrap_or_default();
        let has_server = text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii().starts_with(b"nameserver"));
        match has_server {
            true => system_conf::parse_resolv_conf(text),
            false => Ok(given(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))])),
        }
    }
}

/// These servers, over UDP and, for long answers, TCP.
fn given(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    (ResolverConfig::from_name_servers(servers.iter().map(server).collect()), ResolverOpts::default())
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let size = std::fs::metadata(path).ok()?.len();
    if size <= FILE_LIMIT { std::fs::read(path).ok() } else { None }
}

fn not_resolved(host: &str, error: &NetError) -> String {
    if error.is_nx_domain() {
        return format!("the name {host} does not exist (DNS)");
    }
    if error.is_no_records_found() {
        return format!("the name {host} has no address (DNS)");
    }
    format!("the name {host} was not resolved: {error}")
}

/// IPv6 first, then the families in turn.
fn interleave(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = found.partition(IpAddr::is_ipv6);
    let mut out = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        match (six.next(), four.next()) {
            (None, None) => return out,
            (a, b) => out.extend(a.into_iter().chain(b)),
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
