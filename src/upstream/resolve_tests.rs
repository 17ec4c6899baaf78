//! Names over real sockets: a tiny DNS server on loopback, files in a directory of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, UdpSocket};

use super::super::address::Naming;
use super::super::connect::{ConnectLimit, Connected, Destination, Offer, Security, connect};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const A: u16 = 1;
const AAAA: u16 = 28;

type Zone = HashMap<&'static str, (u32, Vec<IpAddr>)>;

/// A server that answers A and AAAA from a zone, and NXDOMAIN for all else.
struct Dns53 {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<AtomicUsize>,
}

impl Dns53 {
    async fn start(zone: &[(&'static str, u32, &[&str])]) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self { address: socket.local_addr().unwrap(), zone: Arc::default(), asked: Arc::default() };
        zone.iter().for_each(|(name, ttl, ips)| server.set(name, *ttl, ips));
        let (zone, asked) = (server.zone.clone(), server.asked.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((count, peer)) = socket.recv_from(&mut buffer).await {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer(&buffer[..count], &zone.lock().unwrap());
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        server
    }

    fn set(&self, name: &'static str, ttl: u32, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.zone.lock().unwrap().insert(name, (ttl, ips));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn resolver(&self) -> Resolver {
        let resolver = Resolver::default();
        resolver.set(&Dns { hosts_file: false, servers: vec![self.address] });
        resolver
    }
}

/// RFC 1035 section 4.1, written down by hand: header, the question as it came, answers by pointer.
fn answer(query: &[u8], zone: &Zone) -> Vec<u8> {
    let mut at = 12;
    let mut name = Vec::new();
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let found = zone.get(&*name.join("."));
    let ips: Vec<&IpAddr> =
        found.iter().flat_map(|(_, ips)| ips).filter(|ip| kind == if ip.is_ipv6() { AAAA } else { A }).collect();
    let mut out = query[..2].to_vec();
    out.extend([0x85, if found.is_some() { 0x80 } else { 0x83 }]); // response, authoritative; NOERROR or NXDOMAIN
    out.extend([0, 1, 0, u8::try_from(ips.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(question);
    for ip in ips {
        let ttl = found.unwrap().0.to_be_bytes();
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl);
        match ip {
            IpAddr::V4(v4) => out.extend([&[0, 4][..], &v4.octets()].concat()),
            IpAddr::V6(v6) => out.extend([&[0, 16][..], &v6.octets()].concat()),
        }
    }
    out
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn families_take_turns() {
    let mixed = ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
    assert_eq!(interleave(mixed.into_iter()), ips(&["2001:db8::1", "10.0.0.1", "10.0.0.2"]));
}

#[tokio::test]
async fn literals_and_localhost_ask_nobody() {
    let resolver = Resolver::default();
    assert_eq!(resolver.addresses("[::1]").await.unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    assert_eq!(resolver.addresses("localhost").await.unwrap().len(), 2);
    assert!(resolver.state.lock().unwrap().built.is_none());
}

#[tokio::test]
async fn servers_of_the_configuration_are_asked() {
    let server = Dns53::start(&[("api.test", 60, &["192.0.2.1", "2001:db8::1", "192.0.2.2"])]).await;
    let resolver = server.resolver();
    let found = resolver.addresses("api.test").await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], ips(&["2001:db8::1"])[0], "IPv6 first");
    let error = resolver.addresses("other.test").await.unwrap_err();
    assert_eq!((error.fault, &*error.detail), (Fault::Unreachable, "the name other.test does not exist (DNS)"));
}

#[tokio::test]
async fn answers_are_kept_as_long_as_they_say() {
    let (old, new) = (["2001:db8::1", "192.0.2.1"], ["2001:db8::9", "192.0.2.9"]);
    let server = Dns53::start(&[("long.test", 60, &old), ("short.test", 0, &old)]).await;
    let resolver = server.resolver();
    for name in ["long.test", "short.test"] {
        assert_eq!(resolver.addresses(name).await.unwrap(), ips(&old));
    }
    server.set("long.test", 60, &new);
    server.set("short.test", 60, &new);
    let asked = server.asked();
    assert_eq!(resolver.addresses("long.test").await.unwrap(), ips(&old));
    assert_eq!(server.asked(), asked, "within its TTL nobody is asked");
    assert_eq!(resolver.addresses("short.test").await.unwrap(), ips(&new));
}

#[tokio::test]
async fn another_configuration_forgets_what_was_learned() {
    let one = Dns53::start(&[("api.test", 60, &["192.0.2.1"])]).await;
    let two = Dns53::start(&[("api.test", 60, &["192.0.2.2"])]).await;
    let resolver = one.resolver();
    assert_eq!(resolver.addresses("api.test").await.unwrap(), ips(&["192.0.2.1"]));
    let same = Dns { hosts_file: false, servers: vec![one.address] };
    resolver.set(&same);
    assert!(resolver.state.lock().unwrap().built.is_some(), "the same again changes nothing");
    resolver.set(&Dns { servers: vec![two.address], ..same });
    assert_eq!(resolver.addresses("api.test").await.unwrap(), ips(&["192.0.2.2"]));
}

/// A directory with both files.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("countersign-resolve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// As editors and kubelets do it: a new file in place of the old one.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join("new"), text).unwrap();
        std::fs::rename(self.0.join("new"), self.0.join(name)).unwrap();
    }

    fn resolver(&self) -> Resolver {
        let (hosts, resolv) = (self.0.join("hosts"), self.0.join("resolv.conf"));
        Resolver { files: Files { hosts, resolv, check_every: Duration::ZERO }, state: Mutex::default() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_changed_hosts_file_is_followed() {
    let folder = Folder::new("hosts");
    let server = Dns53::start(&[("api.test", 60, &["192.0.2.99"])]).await;
    folder.write("hosts", "192.0.2.1 api.test other # comment\n2001:db8::1 API.test\n");
    folder.write("resolv.conf", "");
    let resolver = folder.resolver();
    resolver.set(&Dns { hosts_file: true, servers: vec![server.address] });
    assert_eq!(resolver.addresses("api.test").await.unwrap(), ips(&["2001:db8::1", "192.0.2.1"]));
    assert_eq!(server.asked(), 0);
    folder.write("hosts", "192.0.2.2 api.test\n");
    assert_eq!(resolver.addresses("api.test").await.unwrap()[0], ips(&["192.0.2.2"])[0]);
    resolver.set(&Dns { hosts_file: false, servers: vec![server.address] });
    assert_eq!(resolver.addresses("api.test").await.unwrap(), ips(&["192.0.2.99"]), "hosts_file = false");
}

#[tokio::test]
async fn a_changed_resolv_conf_is_followed_and_a_damaged_one_is_not() {
    let folder = Folder::new("resolv");
    folder.write("hosts", "192.0.2.1 api.test\n");
    folder.write("resolv.conf", "# no server at all\noptions timeout:1 attempts:1\n");
    let resolver = folder.resolver();
    assert_eq!(resolver.addresses("api.test").await.unwrap()[0], ips(&["192.0.2.1"])[0]);
    let before = resolver.current().unwrap();
    assert!(Arc::ptr_eq(&before, &resolver.current().unwrap()), "nothing changed");
    folder.write("resolv.conf", "nameserver 192.0.2.53\n");
    let after = resolver.current().unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    folder.write("resolv.conf", "nameserver nonsense\n");
    assert!(Arc::ptr_eq(&after, &resolver.current().unwrap()), "the last good one stays");
    folder.write("resolv.conf", "nameserver 192.0.2.54\n");
    assert!(!Arc::ptr_eq(&after, &resolver.current().unwrap()));
}

fn to(port: u16) -> Destination {
    Destination { host: "api.test".into(), port, naming: Naming::Name, egress: None, security: Security::Plain }
}

async fn reached(server: &Dns53, port: u16) -> Result<Connected, UpstreamError> {
    connect(&to(port), Offer::Both, &server.resolver(), ConnectLimit::from_now(LIMIT), |_, _| None).await
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    // Nobody listens on the others; ::1 may not even exist here.
    let server = Dns53::start(&[("api.test", 60, &["127.0.0.7", "::1", "127.0.0.1", "127.0.0.8"])]).await;
    let upstream = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = upstream.local_addr().unwrap();
    assert_eq!(reached(&server, address.port()).await.unwrap().peer, address);
    drop(upstream);
    let error = reached(&server, address.port()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unreachable);
    assert!(error.detail.contains("connection refused"), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_is_silent() {
    // 192.0.2.1 (RFC 5737) answers nobody, or there is no way to it at all.
    let server = Dns53::start(&[("api.test", 60, &["192.0.2.1", "127.0.0.1"])]).await;
    let upstream = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = upstream.local_addr().unwrap();
    assert_eq!(reached(&server, address.port()).await.unwrap().peer, address);
}

#[tokio::test]
async fn both_families_are_tried_ipv6_first() {
    let server = Dns53::start(&[("api.test", 60, &["127.0.0.1", "::1"])]).await;
    let Ok(six) = TcpListener::bind(("::1", 0)).await else { return }; // a machine without IPv6
    let port = six.local_addr().unwrap().port();
    let Ok(_four) = TcpListener::bind(("127.0.0.1", port)).await else { return };
    assert_eq!(reached(&server, port).await.unwrap().peer, six.local_addr().unwrap());
    drop(six);
    assert!(reached(&server, port).await.unwrap().peer.is_ipv4());
}

#[tokio::test]
async fn refused_addresses_are_left_out() {
    let server = Dns53::start(&[("api.test", 60, &["127.0.0.1", "127.0.0.2"])]).await;
    let upstream = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = upstream.local_addr().unwrap().port();
    let not_one = |address: SocketAddr, _| {
        let forbidden = address.ip() == ips(&["127.0.0.1"])[0];
        forbidden.then(|| UpstreamError::new(Fault::Forbidden, "not this one"))
    };
    let connected =
        connect(&to(port), Offer::Both, &server.resolver(), ConnectLimit::from_now(LIMIT), not_one).await.unwrap();
    assert_eq!(connected.peer.ip(), ips(&["127.0.0.2"])[0]);
    let none = |_, _| Some(UpstreamError::new(Fault::Forbidden, "none"));
    let error =
        connect(&to(port), Offer::Both, &server.resolver(), ConnectLimit::from_now(LIMIT), none).await.unwrap_err();
    assert_eq!((error.fault, &*error.detail), (Fault::Forbidden, "none"));
}
