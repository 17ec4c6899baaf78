//! The keys of the way out: `[tls]`, `[dns]`, `[egress]`. Part of the one table in `keys.rs`.

use super::keys::key;
use super::schema::Fallback::{Absent, Is, Required};
use super::schema::{Kind, Section};

pub(super) static TLS_TRUST: Section = Section {
    title: "[tls]",
    help: "Whom upstreams' certificates must come from, where a route has no `ca` of its own.",
    keys: &[key(
        "roots",
        Kind::TextOrTexts("\"bundled\", \"system\" or the name of a secret"),
        Is("bundled"),
        "`\"bundled\"` are Mozilla's, which come with the program; `\"system\"` are the platform's CA files (`SSL_CERT_FILE`, `SSL_CERT_DIR`, `/etc/ssl/certs/ca-certificates.crt` and the like), read at start and at every reload; a list names secrets with PEM bundles, which then are the only roots",
    )],
    later: &[],
    example: "[tls]\nroots = [\"corporate/ca.crt\"]\n",
};

pub(super) static DNS: Section = Section {
    title: "[dns]",
    help: "Names are resolved by the program itself. Changes of `/etc/hosts` and `/etc/resolv.conf` are followed within seconds, and answers are kept as long as their TTL says. `localhost` and `*.localhost` are asked of nobody. `[connect_to]` comes first.",
    keys: &[
        key(
            "hosts_file",
            Kind::Flag,
            Is("true"),
            "whether `/etc/hosts` is asked first; with `[listen] tls` it never is",
        ),
        key(
            "servers",
            Kind::Texts("an address such as \"1.1.1.1\" or \"1.1.1.1:53\""),
            Absent,
            "asked instead of the servers of `/etc/resolv.conf`, and without its search domains; absent: those",
        ),
    ],
    later: &[],
    example: "[dns]\nservers = [\"10.0.0.2\", \"[2001:db8::53]:5353\"]\n",
};

pub(super) static EGRESS: Section = Section {
    title: "[egress]",
    help: "A proxy that leads out of the network. TLS connections to upstreams go through it by CONNECT, which also resolves their names; TLS is between this program and the upstream, so that the proxy sees no request. Loopback upstreams never go through it, and `http://` upstreams cannot.",
    keys: &[
        key("proxy", Kind::Text("http://HOST:PORT"), Required, "the proxy, such as `\"http://proxy.corp:3128\"`"),
        key(
            "no_proxy",
            Kind::Texts("a host, a \".suffix\", an address or a network such as \"10.0.0.0/8\""),
            Absent,
            "what is connected to directly: a host by its whole name, every name below a `.suffix`, upstreams given by address in a network; names are not resolved for it",
        ),
        key("username", Kind::Public, Absent, "the user name for the proxy (Basic, RFC 7617)"),
        key("password", Kind::SecretOnly, Absent, "the password that belongs to it"),
    ],
    later: &[],
    example: "[egress]\nproxy    = \"http://proxy.corp:3128\"\nno_proxy = [\".internal\", \"10.0.0.0/8\"]\nusername = \"sidecar\"\npassword = { secret = \"egress/password\" }\n",
};
