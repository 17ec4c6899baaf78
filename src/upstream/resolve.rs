//! Names to addresses, in process: `/etc/hosts`, then DNS as `/etc/resolv.conf` says. Nothing is read before first use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};

use super::error::{Fault, UpstreamError};

/// Answers kept by TTL, at most this many names.
const CACHED_NAMES: u64 = 1024;

/// Resolves names; one per process.
#[derive(Default)]
pub struct Resolver {
    hosts_file: HostsFile,
    system: OnceLock<Result<TokioResolver, String>>,
}

/// Whether `/etc/hosts` is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostsFile {
    /// Before DNS.
    #[default]
    Used,
    /// Never: it may lead the worker's names to this proxy.
    Ignored,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// A resolver that does or does not look at the hosts file.
    pub fn new(hosts_file: HostsFile) -> Self {
        Self { hosts_file, system: OnceLock::new() }
    }

    /// The addresses of a host, in the order in which to try them: IPv6 and IPv4 in turn (RFC 8305 section 4).
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UpstreamError> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        // RFC 6761 section 6.3: never asked of DNS.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let system = self.system.get_or_init(|| build(self.hosts_file).map_err(|e| e.to_string()));
        let system = system
            .as_ref()
            .map_err(|why| UpstreamError::new(Fault::Unreachable, format!("no name resolution: {why}")))?;
        let found = system.lookup_ip(host).await.map_err(|error| {
            UpstreamError::new(Fault::Unreachable, format!("the name {host} was not resolved: {error}"))
        })?;
        let addresses = interleave(found.iter());
        if addresses.is_empty() {
            return Err(UpstreamError::new(Fault::Unreachable, format!("the name {host} has no address")));
        }
        Ok(addresses)
    }
}

fn build(hosts_file: HostsFile) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.cache_size = CACHED_NAMES;
    if hosts_file == HostsFile::Ignored {
        options.use_hosts_file = ResolveHosts::Never;
    }
    builder.build()
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mixed = [ip("10.0.0.1"), ip("10.0.0.2"), ip("2001:db8::1")];
        assert_eq!(interleave(mixed.into_iter()), [ip("2001:db8::1"), ip("10.0.0.1"), ip("10.0.0.2")]);
    }

    #[tokio::test]
    async fn the_hosts_file_can_be_left_out() {
        let hosts = |hosts_file| build(hosts_file).unwrap().options().use_hosts_file;
        assert!(matches!(hosts(HostsFile::Ignored), ResolveHosts::Never));
        assert!(!matches!(hosts(HostsFile::Used), ResolveHosts::Never));
    }

    #[tokio::test]
    async fn literals_and_localhost_ask_nobody() {
        let resolver = Resolver::default();
        assert_eq!(resolver.addresses("[::1]").await.unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        assert_eq!(resolver.addresses("localhost").await.unwrap().len(), 2);
        assert!(resolver.system.get().is_none());
    }
}
