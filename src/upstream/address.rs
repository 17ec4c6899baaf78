//! Which addresses are never connected to: the check is made on the very address used, after names were resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// How the configuration speaks of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// By an address or as `localhost`: this machine itself may be meant.
    Address,
    /// By a name, whatever it resolves to; or not at all, where a request fills it in.
    Name,
}

impl Naming {
    /// How `host` is written: an address (IPv6 with or without brackets), `localhost`, or a name.
    pub fn of(host: &str) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if is_localhost(host) || bare.parse::<IpAddr>().is_ok() { Self::Address } else { Self::Name }
    }
}

/// RFC 6761 section 6.3.
pub(super) fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Where clouds answer with credentials of the machine, beside the link-local 169.254.0.0/16.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS instance metadata
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google Cloud
];

/// Why an address must not be connected to, in words; `None` where it may.
pub fn forbidden(ip: IpAddr, naming: Naming) -> Option<&'static str> {
    let found = match ip {
        IpAddr::V4(v4) => forbidden_v4(v4, naming),
        IpAddr::V6(v6) => forbidden_v6(v6, naming),
    };
    found.or_else(|| match ip {
        // What is wrapped is where the packets go.
        IpAddr::V6(v6) => wrapped(v6).and_then(|v4| forbidden_v4(v4, naming)),
        IpAddr::V4(_) => None,
    })
}

const LOOPBACK: &str = "a loopback address, which only an `upstream` or [connect_to] that is written as such may mean";

fn forbidden_v4(ip: Ipv4Addr, naming: Naming) -> Option<&'static str> {
    match ip {
        ip if METADATA_V4.contains(&ip) || ip == Ipv4Addr::new(169, 254, 169, 254) => {
            Some("a cloud's metadata service")
        }
        ip if ip.is_link_local() => Some("a link-local address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        ip if ip.is_broadcast() => Some("the broadcast address"),
        // RFC 1122 section 3.2.1.3: this network; Linux connects 0.0.0.0 to itself.
        ip if ip.octets()[0] == 0 => Some("an unspecified address"),
        ip if ip.is_loopback() && naming == Naming::Name => Some(LOOPBACK),
        _ => None,
    }
}

fn forbidden_v6(ip: Ipv6Addr, naming: Naming) -> Option<&'static str> {
    match ip {
        ip if METADATA_V6.contains(&ip) => Some("a cloud's metadata service"),
        ip if ip.is_unspecified() => Some("an unspecified address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        // fe80::/10, and fec0::/10 that once was the same for sites (RFC 3879).
        ip if (ip.segments()[0] & 0xff80) == 0xfe80 => Some("a link-local address"),
        ip if ip.is_loopback() && naming == Naming::Name => Some(LOOPBACK),
        _ => None,
    }
}

/// The IPv4 address within: mapped and compatible (RFC 4291 section 2.5.5), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn wrapped(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None, // unspecified and loopback
        [0, 0, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

/// Whether a connection to `address` would arrive at `listener`.
pub(super) fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    if address.port() != listener.port() {
        return false;
    }
    let (ip, own) = (address.ip().to_canonical(), listener.ip().to_canonical());
    ip == own || (own.is_unspecified() && (ip.is_loopback() || is_own(ip)))
}

/// Whether an address is one of this machine: towards itself a machine speaks from the same address.
/// Nothing is sent; connecting a UDP socket only asks the routing table.
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == ip)
}

/// Loopback, private, link-local and unique-local addresses: not strangers.
pub fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_local(IpAddr::V4(v4)),
            None => v6.is_loopback() || (v6.segments()[0] & 0xfe00) == 0xfc00 || (v6.segments()[0] & 0xffc0) == 0xfe80,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn why(ip: &str, naming: Naming) -> Option<&'static str> {
        forbidden(ip.parse().unwrap(), naming)
    }

    #[test]
    fn some_addresses_are_refused_however_they_are_named() {
        for (word, addresses) in [
            (
                "metadata",
                &["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"][..],
            ),
            ("link-local", &["169.254.0.1", "fe80::1", "febf::1", "fec0::1", "::ffff:169.254.1.1"]),
            ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::1", "::ffff:224.0.0.1"]),
            ("broadcast", &["255.255.255.255", "64:ff9b::ffff:ffff"]),
            ("unspecified", &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"]),
        ] {
            for address in addresses {
                for naming in [Naming::Address, Naming::Name] {
                    assert!(why(address, naming).is_some_and(|why| why.contains(word)), "{address}: {word}");
                }
            }
        }
    }

    #[test]
    fn loopback_must_be_meant() {
        for loopback in
            ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
        {
            assert!(why(loopback, Naming::Name).is_some_and(|why| why.contains("loopback")), "{loopback}");
            assert_eq!(why(loopback, Naming::Address), None, "{loopback}");
        }
        for host in ["127.0.0.1", "::1", "[::1]", "localhost", "api.localhost"] {
            assert_eq!(Naming::of(host), Naming::Address, "{host}");
        }
        for host in ["api.example", "localhost.example", "127.0.0.1.example", "notlocalhost"] {
            assert_eq!(Naming::of(host), Naming::Name, "{host}");
        }
    }

    #[test]
    fn everything_else_may_be_reached() {
        for address in ["192.0.2.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "2001:db8::1", "fd12::1"] {
            assert_eq!(why(address, Naming::Name), None, "{address}");
        }
    }

    #[test]
    fn own_listeners_are_known_by_every_address() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(reaches(at("127.0.0.1:80"), at("127.0.0.1:80")));
        assert!(reaches(at("[::ffff:127.0.0.1]:80"), at("127.0.0.1:80")));
        assert!(reaches(at("127.0.0.9:80"), at("0.0.0.0:80")));
        assert!(reaches(at("127.0.0.1:80"), at("[::]:80")));
        assert!(!reaches(at("127.0.0.2:80"), at("127.0.0.1:80")));
        assert!(!reaches(at("127.0.0.1:81"), at("127.0.0.1:80")));
        assert!(!reaches(at("192.0.2.1:80"), at("0.0.0.0:80")));
    }
}
