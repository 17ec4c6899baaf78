//! The keys of `[credential.*]` and `[[route]]`; the rest of the table is in `keys.rs`.

use std::time::Duration;

use super::keys::{DAY, HOUR, MILLISECOND, duration, key, size};
use super::keys_client::TENANT;
use super::keys_http_signature::HTTP_SIGNATURE;
use super::keys_oauth::OAUTH2;
use super::keys_oauth1::OAUTH1;
use super::keys_sigv4::AWS_SIGV4;
use super::schema::{Fallback, Key, Kind, Section};

use Fallback::{Absent, Is, Required};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const TEMPLATES: Kind = Kind::Map("`NAME = TEMPLATE`");

/// `[credential.NAME]`
pub(super) static CREDENTIAL: Section = Section {
    title: "[credential.NAME]",
    help: "Exactly one of these keys, which names the scheme. `[credential.NAME.hmac]` with the scheme's keys below it means the same as `hmac = { .. }`. Names have letters, digits, `.`, `_` and `-`; `none` is taken.\n\nA secret is named by its path below `[secrets] dir`. `{tenant}` and the captures of the route's host may stand in it: `\"shop/{tenant}/key\"`.",
    keys: &[
        key(
            "api_key",
            Kind::Table(&API_KEY),
            Absent,
            "a key in a header, query parameter, cookie or field of the body",
        ),
        key("bearer", Kind::Table(&BEARER), Absent, "`Authorization: Bearer` (RFC 6750)"),
        key("basic", Kind::Table(&BASIC), Absent, "`Authorization: Basic` (RFC 7617)"),
        key("digest", Kind::Table(&DIGEST), Absent, "`Authorization: Digest` (RFC 7616)"),
        key("hmac", Kind::Table(&HMAC), Absent, "an HMAC (FIPS 198-1) over a text made from the request"),
        key(
            "http_signature",
            Kind::Table(&HTTP_SIGNATURE),
            Absent,
            "HTTP Message Signatures (RFC 9421), and eBay's variant",
        ),
        key("aws_sigv4", Kind::Table(&AWS_SIGV4), Absent, "AWS Signature Version 4, for AWS and what is like its S3"),
        key(
            "oauth1",
            Kind::Table(&OAUTH1),
            Absent,
            "OAuth 1.0a: a signature over method, URL and parameters (RFC 5849)",
        ),
        key("oauth2", Kind::Table(&OAUTH2), Absent, "a token that is fetched, kept and refreshed here (RFC 6749)"),
    ],
    later: &["digest_of", "signature", "jwt", "session", "recipe"],
    example: "[credential.partner-key]\napi_key = { secret = \"partner/key\", header = \"X-API-Key\" }\n\n[credential.erp]\nbasic = { username = \"shop\", password = { secret = \"erp/password\" } }\n",
};

static API_KEY: Section = Section {
    title: "api_key",
    help: "Exactly one of `header`, `query`, `cookie`, `form` and `json`.",
    keys: &[
        key("secret", Kind::SecretName, Required, "the key"),
        key("header", Kind::Text("the name of a header"), Absent, "puts it into this header"),
        key("query", Kind::Text("the name of a query parameter"), Absent, "puts it into this query parameter"),
        key("cookie", Kind::Text("the name of a cookie"), Absent, "puts it into this cookie"),
        key("form", Kind::Text("the name of a form field"), Absent, "puts it into this field of the form body"),
        key(
            "json",
            Kind::Text("the name of a member"),
            Absent,
            "puts it into this member of the JSON body's outermost object",
        ),
        key("prefix", Kind::Text("a text such as \"Token \""), Is(""), "stands before the key"),
    ],
    later: &[],
    example: "",
};

static BEARER: Section = Section {
    title: "bearer",
    help: "",
    keys: &[key("secret", Kind::SecretName, Required, "the token")],
    later: &[],
    example: "",
};

static BASIC: Section = Section {
    title: "basic",
    help: "",
    keys: &[
        key("username", Kind::Public, Required, "without `:`"),
        key("password", Kind::SecretOnly, Required, "never a literal"),
    ],
    later: &[],
    example: "",
};

static DIGEST: Section = Section {
    title: "digest",
    help: "The upstream asks first: a request to one that has not asked yet leaves without proof, and once more when it was asked. Its body is held for that, up to `limits.signed_body`. After that requests are signed at once, under the nonce that is known, and bodies stream.",
    keys: &[
        key("username", Kind::Public, Required, "without `:`"),
        key("password", Kind::SecretOnly, Required, "never a literal"),
    ],
    later: &[],
    example: "[credential.shopware]\ndigest = { username = \"api\", password = { secret = \"shopware/api-key\" } }\n",
};

static HMAC: Section = Section {
    title: "hmac",
    help: "Templates are literal text with `{variable|function}`; braces are doubled to mean themselves.",
    keys: &[
        key("secret", Kind::SecretName, Absent, "the key; this or `key`"),
        key(
            "key",
            Kind::Text("a template such as \"{secret:a}&{secret:b}\""),
            Absent,
            "template of the key, where it is made of several secrets or of the request",
        ),
        key(
            "key_encoding",
            Kind::Choice(&["text", "bytes", "hex", "base64"]),
            Is("text"),
            "how the key of `secret` stands in its file",
        ),
        key("algorithm", Kind::Choice(&["md5", "sha1", "sha256", "sha384", "sha512"]), Is("sha256"), "the hash"),
        key(
            "encoding",
            Kind::Choice(&["hex", "HEX", "base64", "base64url"]),
            Is("hex"),
            "how `{signature}` is written",
        ),
        key(
            "sign",
            Kind::Text("a template such as \"{method}\\n{path}\""),
            Required,
            "template of the text that is signed",
        ),
        key("values", TEMPLATES, Absent, "named templates, used as `{value.NAME}`; each may use those before it"),
        key("set", TEMPLATES, Absent, "headers to set"),
        key("set_query", TEMPLATES, Absent, "query parameters to set"),
        key("set_form", TEMPLATES, Absent, "fields of the form body to set"),
        key("set_json", TEMPLATES, Absent, "members of the JSON body's outermost object to set, each a string"),
    ],
    later: &[],
    example: "[credential.vendor.hmac]\nsecret    = \"vendor/key\"\nalgorithm = \"sha256\"\nencoding  = \"hex\"\nsign      = \"{method}\\n{path}\\n{timestamp}\\n{body|sha256|hex}\"\nset       = { \"X-Signature\" = \"{signature}\", \"X-Timestamp\" = \"{timestamp}\" }\n",
};

/// `[[route]]`
pub(super) static ROUTE: Section = Section {
    title: "[[route]]",
    help: "An exact host wins over a wildcard or capture, then the longest `path`, then a route with `methods`. Two routes that are equal in all three and could claim one request are an error.",
    keys: &[
        key(
            "name",
            Kind::Text("a name such as \"partner\""),
            Required,
            "unique; letters, digits, `.`, `_` and `-`; in logs, metrics and answers",
        ),
        key(
            "host",
            Kind::Text("a host such as \"api.example.com\""),
            Required,
            "exact, `\"*.example.com\"` (one label) or `\"{shop}.example.com\"` (a capture)",
        ),
        key(
            "path",
            Kind::Text("a path such as \"/v2\""),
            Absent,
            "matches the path or what is below it; absent: every path",
        ),
        key("methods", Kind::Texts("a method such as \"GET\""), Absent, "absent: every method"),
        key(
            "prefix",
            Kind::Text("a path such as \"/partner\""),
            Absent,
            "way in by `http://127.0.0.1:8080/partner`; cut off before signing; needs an exact `host`",
        ),
        key(
            "listen",
            Kind::Text("an address such as \"127.0.0.1:9001\""),
            Absent,
            "way in by a port or Unix socket of its own; needs an exact `host`",
        ),
        key(
            "upstream",
            Kind::Text("an origin such as \"https://api.example.com\""),
            Absent,
            "where to connect, `https://HOST[:PORT]`; absent: `https://` and the host that the request was matched by",
        ),
        key(
            "insecure_upstream",
            Kind::Flag,
            Is("false"),
            "allows a credential on an `http://` upstream that is not this machine",
        ),
        key(
            "credential",
            Kind::TextOrTexts("the name of a credential"),
            Required,
            "applied in order; `\"none\"` for a route that proves nothing",
        ),
        key(
            "tenant",
            Kind::TextOrTable("a capture of the host such as \"{shop}\"", &TENANT),
            Absent,
            "where the tenant of a request is found",
        ),
        key(
            "clients",
            Kind::Texts("the name of a client"),
            Absent,
            "the only callers that may use the route; absent: anyone who reaches the listener",
        ),
        key(
            "origins",
            Kind::Texts("an origin such as \"https://app.example\""),
            Absent,
            "web pages that may use the route; pages of all other sites are refused. Answers get no CORS headers from here",
        ),
        key(
            "stand_in",
            Kind::Choice(&["token"]),
            Absent,
            "answers every request of the route itself, as a token endpoint does, with a placeholder that is worth nothing; needs `path`; `upstream` and `credential` are not used",
        ),
        key("tls", Kind::Table(&TLS), Absent, "client certificate, private CA"),
        key(
            "websocket",
            Kind::Flag,
            Is("true"),
            "passes WebSocket handshakes (RFC 6455) and then the bytes of both sides; every other upgrade is dropped, and with `false` this one too",
        ),
        key(
            "clock",
            Kind::Choice(&["system", "follow"]),
            Is("system"),
            "whose time signatures use: this machine's, or the upstream's as the `Date` of its answers tells it; with `\"follow\"` a request that was refused for its time is sent once more, where its body can be repeated (`limits.replay_body`)",
        ),
        key("timeouts", Kind::Table(&TIMEOUTS), Absent, "how long to wait"),
        key("limits", Kind::Table(&ROUTE_LIMITS), Absent, "bounds of this route"),
    ],
    later: &["recipe", "endpoints", "rate_limit", "retry", "breaker"],
    example: "[[route]]\nname       = \"partner\"\nhost       = \"api.partner.example\"\npath       = \"/v2\"\nmethods    = [\"GET\", \"POST\"]\nprefix     = \"/partner\"\nupstream   = \"https://api.partner.example:8443\"\ncredential = \"partner-key\"\ntls        = { client_cert = \"partner/tls.crt\", client_key = \"partner/tls.key\" }\ntimeouts   = { connect = \"5s\", response = \"60s\" }\n",
};

/// Of a route, and of an `oauth2` credential.
pub(super) const TLS_KEYS: &[Key] = &[
    key("client_cert", Kind::SecretName, Absent, "PEM certificate chain; may hold the key as well"),
    key("client_key", Kind::SecretName, Absent, "PEM key; absent with a `client_cert`: that file holds both"),
    key("ca", Kind::SecretName, Absent, "PEM bundle that replaces the public roots"),
    key("server_name", Kind::Text("a host name"), Absent, "the name for SNI and verification; absent: the host"),
    key("min", Kind::Choice(&["1.2", "1.3"]), Is("1.2"), "the lowest TLS version"),
    key(
        "pin",
        Kind::Texts("\"sha256/\" and a digest in base64"),
        Absent,
        "SHA-256 of public keys (SubjectPublicKeyInfo), of which the verified chain must have one: the upstream's own, an intermediate's or the root's. Checked beside chain and name, never instead",
    ),
];

static TLS: Section = Section {
    title: "tls of a route",
    help: "The values of `client_cert`, `client_key` and `ca` are names of secrets, never paths.",
    keys: TLS_KEYS,
    later: &[],
    example: "",
};

static TIMEOUTS: Section = Section {
    title: "timeouts",
    help: "",
    keys: &[
        key("connect", duration(MILLISECOND, HOUR, None), Is("5s"), "name lookup, TCP and TLS together"),
        key(
            "response",
            duration(MILLISECOND, DAY, Some("none")),
            Is("60s"),
            "from the whole request sent to the head of the answer",
        ),
        key(
            "pool",
            duration(Duration::ZERO, Duration::from_secs(600), None),
            Is("50s"),
            "how long an unused upstream connection is kept",
        ),
        key(
            "body",
            duration(MILLISECOND, DAY, Some("none")),
            Is("5m"),
            "silence within a body; not in `text/event-stream` and not in gRPC calls",
        ),
        key(
            "tunnel",
            duration(MILLISECOND, DAY, Some("none")),
            Is("none"),
            "silence in both directions of a WebSocket; then it is closed",
        ),
    ],
    later: &[],
    example: "",
};

static ROUTE_LIMITS: Section = Section {
    title: "limits of a route",
    help: "",
    keys: &[
        key(
            "signed_body",
            size(0, 4 * GIB, None),
            Is("16MiB"),
            "the largest body that is held for a signature, or to fill a field of it",
        ),
        key("request_body", size(0, TIB, Some("none")), Is("none"), "the largest body"),
        key("replay_body", size(0, GIB, None), Is("64KiB"), "the largest body that is kept for a second attempt"),
        key("in_flight", Kind::Count { least: 1, most: 1_000_000, word: None }, Is("256"), "requests at one time"),
    ],
    later: &[],
    example: "",
};
