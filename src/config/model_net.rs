//! The configuration of the way out: whom TLS trusts, how names are resolved, the egress proxy.

use std::net::{IpAddr, SocketAddr};

use super::model::{Authority, Spanned};
use super::units;
use crate::secret::name::NamePattern;
use crate::tls::Roots;

/// `[tls] roots`: whom upstreams' certificates must come from where the route has no `ca`.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The public roots that come with the program.
    #[default]
    Bundled,
    /// Those of the platform, as they were when the configuration was read.
    System(Roots),
    /// PEM bundles in secrets, together.
    Secrets(Vec<Spanned<NamePattern>>),
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Whether `/etc/hosts` is asked first; default true.
    pub hosts_file: bool,
    /// Asked instead of those of `/etc/resolv.conf`; empty is those.
    pub servers: Vec<SocketAddr>,
}

impl Default for Dns {
    fn default() -> Self {
        Self { hosts_file: true, servers: Vec::new() }
    }
}

/// `[egress]`: a proxy that leads out of the network by CONNECT (RFC 9110 section 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The proxy itself.
    pub proxy: Authority,
    /// What is connected to directly.
    pub no_proxy: Vec<NoProxy>,
    /// Index into [`super::model::Config::credentials`] of the user name and password for it.
    pub credential: Option<usize>,
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProxy {
    /// This name, lower case.
    Host(String),
    /// Names that end with this; begins with a dot, lower case.
    Suffix(String),
    /// Addresses that share so many leading bits. Names are not resolved for it.
    Net(IpAddr, u8),
}

impl Egress {
    /// Whether connections to this host (lower case; IPv6 without brackets) go through the proxy. This
    /// machine itself never does.
    pub fn leads_to(&self, host: &str) -> bool {
        !units::is_loopback_host(host) && !self.no_proxy.iter().any(|entry| entry.matches(host))
    }
}

impl NoProxy {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => name == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Net(net, bits) => host.parse().is_ok_and(|ip: IpAddr| shares(ip.to_canonical(), *net, *bits)),
        }
    }
}

fn shares(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            let differ = u32::from(ip) ^ u32::from(net);
            differ.checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            let differ = u128::from(ip) ^ u128::from(net);
            differ.checked_shr(128 - u32::from(bits.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_goes_directly() {
        let no_proxy = vec![
            NoProxy::Host("git.corp.example".into()),
            NoProxy::Suffix(".internal".into()),
            NoProxy::Net(ip("10.0.0.0"), 8),
            NoProxy::Net(ip("2001:db8::"), 32),
            NoProxy::Net(ip("192.0.2.7"), 32),
        ];
        let egress = Egress { proxy: Authority { host: "p".into(), port: 1 }, no_proxy, credential: None };
        for direct in [
            "git.corp.example",
            "a.internal",
            "a.b.internal",
            "10.255.0.1",
            "::ffff:10.1.2.3",
            "2001:db8:ffff::1",
            "192.0.2.7",
            "127.0.0.1",
            "::1",
            "localhost",
            "x.localhost",
        ] {
            assert!(!egress.leads_to(direct), "{direct}");
        }
        for through in
            ["corp.example", "x.git.corp.example", ".internal", "internal", "11.0.0.1", "2001:db9::1", "192.0.2.8"]
        {
            assert!(egress.leads_to(through), "{through}");
        }
        let all = Egress { no_proxy: vec![NoProxy::Net(ip("0.0.0.0"), 0)], ..egress };
        assert!(!all.leads_to("192.0.2.8") && all.leads_to("::2") && all.leads_to("name.example"));
    }
}
