//! Every key of `proxy.toml`: the one table that the reader checks against and that
//! `docs/CONFIGURATION.md` is printed from. Credentials and routes are in `keys_route.rs`, the way out is in `keys_net.rs`.

use std::time::Duration;

use super::keys_client::CLIENT;
use super::keys_net::{DNS, EGRESS, TLS_TRUST};
use super::keys_oauth::{EVENTS, STATE};
use super::keys_route::{CREDENTIAL, ROUTE};
use super::schema::{Fallback, Key, Kind, Section};

use Fallback::{Absent, Is, Required};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) const fn key(name: &'static str, kind: Kind, default: Fallback, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

pub(super) const fn duration(least: Duration, most: Duration, word: Option<&'static str>) -> Kind {
    Kind::Duration { least, most, word }
}

pub(super) const fn size(least: u64, most: u64, word: Option<&'static str>) -> Kind {
    Kind::Size { least, most, word }
}

const ADDRESS: Kind = Kind::Text("an address such as \"127.0.0.1:9901\"");

/// The file as a whole.
pub(super) static ROOT: Section = Section {
    title: "proxy.toml",
    help: "",
    keys: &[
        key("listen", Kind::Table(&LISTEN), Absent, "where workers, operators and probes connect"),
        key("secrets", Kind::Table(&SECRETS), Absent, "the directory of secrets and how it is watched"),
        key("credential", Kind::Named(&CREDENTIAL), Absent, "`[credential.NAME]`: a proof of identity"),
        key("client", Kind::Named(&CLIENT), Absent, "`[client.NAME]`: a caller that can be told from others"),
        key("route", Kind::Tables(&ROUTE), Absent, "an upstream and what is done for it"),
        key(
            "intercept",
            Kind::Table(&super::intercept::INTERCEPT),
            Absent,
            "ends the TLS of workers whose SDK insists on https; absent: off",
        ),
        key("log", Kind::Table(&LOG), Absent, "what is logged and how"),
        key("admin", Kind::Table(&ADMIN), Absent, "who may change what on the admin listener"),
        key("state", Kind::Table(&STATE), Absent, "where connections of `oauth2` credentials are kept"),
        key("events", Kind::Table(&EVENTS), Absent, "who is told of changes of connections"),
        key("limits", Kind::Table(&LIMITS), Absent, "bounds of the whole process"),
        key("drain", Kind::Table(&DRAIN), Absent, "how the process ends"),
        key("runtime", Kind::Table(&RUNTIME), Absent, "threads"),
        key(
            "connect_to",
            Kind::Map("`\"host:port\" = \"host:port\"`"),
            Absent,
            "connects elsewhere than the upstream's address says; only the TCP destination changes, the names in TLS, Host and signatures stay. A loopback address as destination is allowed when it is written as such or as `localhost`",
        ),
        key("tls", Kind::Table(&TLS_TRUST), Absent, "whom to trust"),
        key("dns", Kind::Table(&DNS), Absent, "how names are resolved"),
        key("egress", Kind::Table(&EGRESS), Absent, "a proxy that leads out of the network"),
        key("playground", Kind::Table(&PLAYGROUND), Absent, "a built-in upstream to try things out"),
    ],
    later: &["audit", "recipes", "webhook"],
    example: "",
};

static LISTEN: Section = Section {
    title: "[listen]",
    help: "Addresses are `\"127.0.0.1:8080\"`, `\"[::1]:8080\"` or `\"unix:/run/countersign/proxy.sock\"`. Port 0 lets the system choose; `/api/status` tells the real port.",
    keys: &[
        key(
            "proxy",
            Kind::Texts("an address such as \"127.0.0.1:8080\" or \"unix:/run/countersign/proxy.sock\""),
            Is("127.0.0.1:8080"),
            "where workers connect; `[]` is right where every route has its own `listen`",
        ),
        key("socket_mode", Kind::Text("an octal mode such as \"0660\""), Is("0660"), "permissions of Unix sockets"),
        key(
            "admin",
            Kind::Text("an address such as \"127.0.0.1:9901\" or \"off\""),
            Is("127.0.0.1:9901"),
            "admin page, JSON and metrics; answers the health paths too",
        ),
        key(
            "health",
            ADDRESS,
            Absent,
            "`/livez`, `/readyz` and `/metrics` only; may listen on any address; absent: no such listener",
        ),
        key(
            "tls",
            ADDRESS,
            Absent,
            "TLS by name: for workers that resolve an upstream's name to this listener; picks the certificate by SNI; needs `[intercept]`. \
             With it, the names of upstreams are looked up in DNS alone, never in the hosts file that the worker may share",
        ),
        key(
            "allow_remote",
            Kind::Flag,
            Is("false"),
            "allows proxy, route and admin ports on addresses that other hosts reach. Whoever reaches a proxy port uses the credentials",
        ),
        key(
            "names",
            Kind::Texts("a host name"),
            Absent,
            "more names that count as loopback names, such as a Compose service; needs `allow_remote = true`",
        ),
    ],
    later: &["webhooks"],
    example: "[listen]\nproxy  = [\"127.0.0.1:8080\", \"unix:/run/countersign/proxy.sock\"]\nadmin  = \"127.0.0.1:9901\"\nhealth = \"0.0.0.0:9902\"\n",
};

static RUNTIME: Section = Section {
    title: "[runtime]",
    help: "",
    keys: &[key(
        "threads",
        Kind::Count { least: 1, most: 256, word: Some("auto") },
        Is("auto"),
        "worker threads; `\"auto\"` is the processors that the process may use (it knows the cgroup quota), at most 4",
    )],
    later: &[],
    example: "",
};

static LOG: Section = Section {
    title: "[log]",
    help: "Logs go to standard error.",
    keys: &[
        key(
            "level",
            Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            Is("info"),
            "the least severe lines that are written",
        ),
        key(
            "format",
            Kind::Choice(&["auto", "json", "text"]),
            Is("auto"),
            "`auto` is text on a terminal and JSON elsewhere",
        ),
        key("access", Kind::Choice(&["on", "off"]), Is("on"), "whether each request has its line"),
    ],
    later: &[],
    example: "",
};

static SECRETS: Section = Section {
    title: "[secrets]",
    help: "Every regular file below `dir` is one secret, named by its path below it. Components that begin with `.` never count.",
    keys: &[
        key(
            "dir",
            Kind::Text("a directory"),
            Is("/run/secrets/countersign"),
            "the directory; a relative path is below the folder of `proxy.toml`",
        ),
        key(
            "poll",
            duration(Duration::from_millis(10), DAY, Some("off")),
            Is("10s"),
            "how often the directory is read beside file events; less often where that would cost more than 0.4 % of a processor (5 % where some directories send no events)",
        ),
        key(
            "watch",
            Kind::Choice(&["auto", "poll"]),
            Is("auto"),
            "`auto` uses file events and polls; `poll` only polls",
        ),
        key(
            "on_missing",
            Kind::Choice(&["keep", "fail"]),
            Is("keep"),
            "a deleted file keeps its last good value, or ends its credential at once",
        ),
        key(
            "at_start",
            Kind::Choice(&["refuse", "wait", "serve"]),
            Is("refuse"),
            "with a bad or missing secret: exit with status 1, be live but not ready, or serve (its routes answer 503)",
        ),
        key(
            "overlap",
            duration(Duration::ZERO, Duration::from_secs(30 * 86_400), None),
            Is("10m"),
            "how long a replaced value is kept as the fallback; `\"0s\"` keeps none",
        ),
    ],
    later: &[],
    example: "[secrets]\ndir  = \"/run/secrets/countersign\"\npoll = \"10s\"\n",
};

static ADMIN: Section = Section {
    title: "[admin]",
    help: "",
    keys: &[
        key(
            "token",
            Kind::SecretName,
            Absent,
            "the secret that changing calls carry as a bearer token; absent: such calls are off",
        ),
        key("protect_reads", Kind::Flag, Is("false"), "whether reading needs the token too"),
    ],
    later: &[],
    example: "",
};

static LIMITS: Section = Section {
    title: "[limits]",
    help: "Bounds of the whole process. What is over one is refused, never queued without end.",
    keys: &[
        key("head", size(256, MIB, None), Is("64KiB"), "a request's line and headers"),
        key("headers", Kind::Count { least: 1, most: 10_000, word: None }, Is("100"), "headers of a request"),
        key(
            "connections",
            Kind::Count { least: 1, most: 1_000_000, word: None },
            Is("10000"),
            "connections of workers",
        ),
        key("in_flight", Kind::Count { least: 1, most: 1_000_000, word: None }, Is("1024"), "requests at one time"),
        key("buffered", size(KIB, 64 * GIB, None), Is("64MiB"), "bytes of all held bodies together"),
    ],
    later: &[],
    example: "",
};

static DRAIN: Section = Section {
    title: "[drain]",
    help: "On SIGTERM new connections are refused and requests in flight are finished.",
    keys: &[
        key(
            "deadline",
            duration(Duration::ZERO, HOUR, None),
            Is("25s"),
            "after it the process ends whatever is in flight",
        ),
        key(
            "delay",
            duration(Duration::ZERO, HOUR, None),
            Is("0s"),
            "how long to go on as before first, for clusters without native sidecars",
        ),
    ],
    later: &[],
    example: "",
};

static PLAYGROUND: Section = Section {
    title: "[playground]",
    help: "An HTTPS upstream inside the process that demands a client certificate and an HMAC signature. Its certificates and keys are made in the secrets directory at the first start. Not for production.",
    keys: &[key("listen", ADDRESS, Required, "a loopback address")],
    later: &[],
    example: "[playground]\nlisten = \"127.0.0.1:8443\"\n",
};
