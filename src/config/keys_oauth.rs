//! The keys of `oauth2`, `[state]` and `[events]`. Part of the one table in `keys.rs`.

use std::time::Duration;

use super::keys::{DAY, HOUR, MILLISECOND, duration, key};
use super::keys_route::TLS_KEYS;
use super::schema::Fallback::{Absent, Is, Required};
use super::schema::{Key, Kind, Section};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(366 * 86_400);
const URL: Kind = Kind::Text("a URL such as \"https://auth.example.com/oauth/token\"");
const POINTER: Kind = Kind::Text("a JSON pointer such as \"/data/access_token\", or the name of a member");

/// Values of `grant` that later versions will have.
pub(super) const GRANTS_LATER: &[&str] = &["jwt_bearer", "token_exchange"];
/// Values of `client_auth` that later versions will have.
pub(super) const CLIENT_AUTH_LATER: &[&str] = &["private_key_jwt", "client_secret_jwt", "tls", "assertion_file"];
/// Values of `request.body` that later versions will have.
pub(super) const BODIES_LATER: &[&str] = &["xml"];

/// `oauth2`
pub(super) static OAUTH2: Section = Section {
    title: "oauth2",
    help: "A token that is fetched, kept and refreshed here (RFC 6749). Each tenant of a route has a connection of its own. Tokens are kept in `[state]`, sealed with its `key`.\n\n`{tenant}` and the captures of the route's host may stand in the URLs, `audience`, `resource`, `extra` and `headers`; a URL's host must end in text, `https://{shop}.example.com`, so that no request chooses where secrets are sent. A route whose credential has a capture needs a `tenant`.",
    keys: &[
        key(
            "grant",
            Kind::Choice(&["client_credentials", "refresh_token", "authorization_code", "password"]),
            Required,
            "how a connection is made: by itself (`client_credentials`, `password`), from a first refresh token (`refresh_token`: a file, an import or an approval), or by a person's approval (`authorization_code`, always with PKCE, RFC 7636)",
        ),
        key("token_url", URL, Required, "where tokens are asked for"),
        key("refresh_url", URL, Absent, "where they are refreshed; absent: `token_url`"),
        key("authorize_url", URL, Absent, "where a person approves; needed by `authorization_code`"),
        key("revoke_url", URL, Absent, "where a token is revoked (RFC 7009); absent: revoking is known here alone"),
        key(
            "redirect_url",
            Kind::Text("a URL such as \"https://app.example.com/callback\""),
            Is("http://127.0.0.1:0/callback"),
            "where the browser comes back to, or what the platform has instead of it; port 0 is a free port of the command `connect`",
        ),
        key(
            "insecure_upstream",
            Kind::Flag,
            Is("false"),
            "allows `http://` URLs of this table to other machines than this one",
        ),
        key("client_id", Kind::Public, Absent, "needed by all grants but `password`"),
        key("client_secret", Kind::SecretOnly, Absent, "never a literal"),
        key(
            "client_auth",
            Kind::Choice(&["basic", "basic_raw", "post", "json", "query", "none"]),
            Absent,
            "how the client proves itself: Basic with both parts form-encoded (RFC 6749 section 2.3.1), Basic with both as they are, or among the parameters of the form, JSON or query; `none` sends `client_id` alone. Absent: `basic` with a `client_secret`, else `none`",
        ),
        key("scope", Kind::TextOrTexts("a scope"), Absent, "a string is split at `scope_separator`"),
        key("scope_separator", Kind::Text("a text"), Is(" "), "stands between scopes where they are sent and read"),
        key("audience", Kind::Text("a text"), Absent, "sent as `audience`"),
        key("resource", Kind::Text("a text"), Absent, "sent as `resource` (RFC 8707)"),
        key("username", Kind::Public, Absent, "of the `password` grant"),
        key("password", Kind::SecretOnly, Absent, "of the `password` grant"),
        key(
            "refresh_token",
            Kind::SecretOnly,
            Absent,
            "a file with the first refresh token, such as `{ secret = \"shop/{tenant}/refresh-token\" }`: used for a tenant that has no connection yet, and again when the file has changed since. A tenant without such a file is not connected",
        ),
        key("extra", Kind::Map("`NAME = \"text\"`"), Absent, "more parameters of every token request"),
        key("headers", Kind::Map("`NAME = \"text\"`"), Absent, "headers of every token request"),
        key("request", Kind::Table(&REQUEST), Absent, "the form of the token request"),
        key("answer", Kind::Table(&ANSWER), Absent, "where the parts of the answer are"),
        key(
            "dead",
            Kind::Texts("an error code such as \"token_revoked\""),
            Absent,
            "error codes that mean that a person must approve again, beside `invalid_grant`",
        ),
        key(
            "inject",
            Kind::TableOrTables(&INJECT),
            Absent,
            "where tokens go; absent: `{ header = \"Authorization\", prefix = \"Bearer \" }`",
        ),
        key(
            "derive",
            Kind::Table(&DERIVE),
            Absent,
            "a second token that the platform gives for the first, for some endpoints",
        ),
        key("tls", Kind::Table(&TOKEN_TLS), Absent, "client certificate and private CA towards the URLs of this table"),
        key(
            "per",
            Kind::Choice(&["tenant", "credential"]),
            Is("tenant"),
            "a connection for each tenant of a route, or one for all",
        ),
        key("refresh", Kind::Table(&REFRESH), Absent, "when tokens are refreshed, and how long to wait"),
    ],
    later: &["client_key", "client_assertion", "assertion", "sign"],
    example: "[credential.shop.oauth2]\ngrant         = \"refresh_token\"\ntoken_url     = \"https://{shop}.example.com/oauth/token\"\nclient_id     = \"my-app\"\nclient_secret = { secret = \"shop/client-secret\" }\nrefresh_token = { secret = \"shop/{tenant}/refresh-token\" }\n",
};

/// `tls`
static TOKEN_TLS: Section = Section {
    title: "tls of oauth2",
    help: "As of a route, towards all URLs of the table.",
    keys: TLS_KEYS,
    later: &[],
    example: "",
};

/// `request`
static REQUEST: Section = Section {
    title: "request of oauth2",
    help: "",
    keys: &[
        key("method", Kind::Choice(&["POST", "GET"]), Is("POST"), "a GET has no body"),
        key(
            "body",
            Kind::Choice(&["form", "json", "query"]),
            Absent,
            "`application/x-www-form-urlencoded`, a JSON object of strings, or all in the query. Absent: `form`, `query` with GET",
        ),
        key(
            "rename",
            Kind::Map("`STANDARD-NAME = \"name\"`"),
            Absent,
            "parameters that the platform calls otherwise; with `\"\"` a parameter is left out",
        ),
    ],
    later: &[],
    example: "",
};

// Of the answers of both token calls, and of both places that their tokens go to.
const IN_HEADER: Key = key("header", Kind::Text("the name of a header"), Absent, "puts it into this header");
const IN_QUERY: Key =
    key("query", Kind::Text("the name of a query parameter"), Absent, "puts it into this query parameter");
const IN_COOKIE: Key = key("cookie", Kind::Text("the name of a cookie"), Absent, "puts it into this cookie");
const PREFIX: Key = key(
    "prefix",
    Kind::Text("a text such as \"Bearer \""),
    Absent,
    "stands before the value; absent: `Bearer ` in `Authorization` where the value begins with a variable, else nothing",
);
const GOOD: Key = key(
    "ok",
    Kind::Text("POINTER == VALUE such as \"/code == 0\""),
    Absent,
    "holds for a good answer, where errors come with status 200",
);
const ERROR: Key = key("error", POINTER, Is("/error"), "the error code");
const ERROR_DETAIL: Key = key("error_detail", POINTER, Is("/error_description"), "what the platform says of it");
const EXPIRES_AT: Key = key("expires_at", POINTER, Is("/expires_at"), "an absolute end, which wins over `expires_in`");

/// `answer`
static ANSWER: Section = Section {
    title: "answer of oauth2",
    help: "JSON pointers (RFC 6901) into the answer; a name without `/` is a member of the outermost object.",
    keys: &[
        key(
            "access_token",
            Kind::Text("a JSON pointer such as \"/data/access_token\", or the name of a member"),
            Is("/access_token"),
            "`\"\"` is an answer that is the token alone",
        ),
        key("refresh_token", POINTER, Is("/refresh_token"), "where it is absent the old one stays"),
        key(
            "expires_in",
            POINTER,
            Is("/expires_in"),
            "a number or a string of one; where it is absent `refresh.default_life` counts",
        ),
        EXPIRES_AT,
        key(
            "expires_unit",
            Kind::Text("\"s\", \"ms\", \"epoch\", \"epoch_ms\", \"date\" or \"local+09:00\""),
            Absent,
            "how the ends are written: seconds or milliseconds from now, seconds or milliseconds since 1970, a date (RFC 3339 or RFC 1123; without a zone UTC), a date in that zone. Absent: as it looks",
        ),
        key(
            "refresh_expires_in",
            POINTER,
            Absent,
            "seconds that the refresh token lives; absent: `/refresh_token_expires_in`, then `/refresh_expires_in`",
        ),
        key("scope", POINTER, Is("/scope"), "what was granted"),
        key(
            "host",
            POINTER,
            Absent,
            "the host of the API for this connection, a host or a URL, which routes then connect to",
        ),
        key(
            "values",
            Kind::Map("`NAME = POINTER`"),
            Absent,
            "more values, kept sealed, used as `{value.NAME}` in `inject`",
        ),
        GOOD,
        ERROR,
        ERROR_DETAIL,
    ],
    later: &[],
    example: "",
};

/// `inject`
static INJECT: Section = Section {
    title: "inject of oauth2",
    help: "Exactly one of `header`, `query`, `cookie`, `form` and `json`; a list of tables for several places.",
    keys: &[
        IN_HEADER,
        IN_QUERY,
        IN_COOKIE,
        key("form", Kind::Text("the name of a form field"), Absent, "puts it into this field of the form body"),
        key(
            "json",
            Kind::Text("the name of a member"),
            Absent,
            "puts it into this member of the JSON body's outermost object",
        ),
        PREFIX,
        key(
            "value",
            Kind::Text("a text such as \"{access_token}\""),
            Is("{access_token}"),
            "its variables are `{access_token}`, `{value.NAME}` of `answer.values`, and `{tenant}`",
        ),
    ],
    later: &[],
    example: "",
};

/// `derive`
static DERIVE: Section = Section {
    title: "derive of oauth2",
    help: "A second token: asked for with the first one, which goes where `inject` says, and kept in memory for each connection. Requests to `endpoints` carry it; others do not.",
    keys: &[
        key("url", URL, Required, "where it is asked for"),
        key("method", Kind::Choice(&["POST", "GET"]), Is("POST"), "a GET has no body"),
        key(
            "body",
            Kind::Text("a text such as '{{\"scope\":\"orders\"}}'"),
            Absent,
            "what is sent; `{tenant}` and captures may stand in it, `{{` and `}}` are braces",
        ),
        key("content_type", Kind::Text("a content type"), Is("application/json"), "of the body"),
        key("answer", Kind::Table(&DERIVE_ANSWER), Absent, "where the parts of the answer are"),
        key(
            "ttl",
            duration(SECOND, YEAR, None),
            Absent,
            "how long it is used at most; the answer may say less. Absent: as the answer says, else `refresh.default_life`",
        ),
        key(
            "endpoints",
            Kind::Texts("an endpoint such as \"GET /v2/orders/{id}\""),
            Required,
            "which requests carry it: `{x}` is one segment, a last `{x...}` the rest; the path is the one that leaves, without its query; HEAD counts as GET",
        ),
        key(
            "inject",
            Kind::TableOrTables(&DERIVE_INJECT),
            Absent,
            "where it goes. In a place that `inject` of `oauth2` fills too it replaces what is there; elsewhere it stands beside it. Absent: wherever that puts `{access_token}`",
        ),
    ],
    later: &[],
    example: "[credential.sp.oauth2.derive]\nurl       = \"https://sellingpartnerapi-eu.amazon.com/tokens/2021-03-01/restrictedDataToken\"\nbody      = '{{\"restrictedResources\":[{{\"method\":\"GET\",\"path\":\"/orders/v0/orders\",\"dataElements\":[\"buyerInfo\"]}}]}}'\nanswer    = { access_token = \"restrictedDataToken\", expires_in = \"expiresIn\" }\nendpoints = [\"GET /orders/v0/orders\"]\n",
};

/// `answer` of `derive`
static DERIVE_ANSWER: Section = Section {
    title: "answer of derive",
    help: "As that of `oauth2`.",
    keys: &[
        key("access_token", POINTER, Is("/access_token"), "the second token"),
        key("expires_in", POINTER, Is("/expires_in"), "a number or a string of one"),
        EXPIRES_AT,
        key(
            "expires_unit",
            Kind::Text("\"s\", \"ms\", \"epoch\", \"epoch_ms\", \"date\" or \"local+09:00\""),
            Absent,
            "how the ends are written",
        ),
        GOOD,
        ERROR,
        ERROR_DETAIL,
    ],
    later: &[],
    example: "",
};

/// `inject` of `derive`
static DERIVE_INJECT: Section = Section {
    title: "inject of derive",
    help: "As that of `oauth2`, with the second token as `{derived_token}`.",
    keys: &[
        IN_HEADER,
        IN_QUERY,
        IN_COOKIE,
        PREFIX,
        key(
            "value",
            Kind::Text("a text such as \"{derived_token}\""),
            Is("{derived_token}"),
            "its variables are `{derived_token}`, `{access_token}`, `{value.NAME}` of `answer.values`, and `{tenant}`",
        ),
    ],
    later: &[],
    example: "",
};

/// `refresh`
static REFRESH: Section = Section {
    title: "refresh of oauth2",
    help: "A token is refreshed before its end, at a random moment of a window. With the defaults a token of one hour is refreshed after 45 to 48 minutes.",
    keys: &[
        key(
            "at",
            Kind::Fraction { least: 0.1, most: 0.99 },
            Is("0.8"),
            "the share of its life after which a token is refreshed at the latest",
        ),
        key(
            "before",
            duration(Duration::ZERO, DAY, None),
            Is("5m"),
            "refreshes so long before the end, where that is earlier; at most half of the life",
        ),
        key(
            "not_before",
            duration(Duration::ZERO, DAY, None),
            Is("0s"),
            "not earlier than so long before the end, for platforms that refuse it; `\"0s\"` is no bound",
        ),
        key("timeout", duration(MILLISECOND, Duration::from_secs(600), None), Is("20s"), "a whole token call"),
        key(
            "wait",
            duration(Duration::ZERO, Duration::from_secs(600), None),
            Is("10s"),
            "how long a request waits for a usable token",
        ),
        key("default_life", duration(SECOND, YEAR, None), Is("1h"), "the life of a token whose answer says none"),
        key("first", duration(MILLISECOND, HOUR, None), Is("1s"), "the first pause after a failure; doubles"),
        key("max", duration(MILLISECOND, DAY, None), Is("5m"), "the longest pause"),
        key(
            "idle",
            duration(SECOND, YEAR, None),
            Is("7d"),
            "a connection that no request uses is refreshed once in this time",
        ),
        key(
            "parallel",
            Kind::Count { least: 1, most: 1000, word: None },
            Is("16"),
            "token calls of this credential at one time",
        ),
    ],
    later: &[],
    example: "",
};

/// `[state]`
pub(super) static STATE: Section = Section {
    title: "[state]",
    help: "Where connections of `oauth2` credentials are kept. Nothing is opened unless a credential needs it. The whole table needs a restart to change.",
    keys: &[
        key(
            "url",
            Kind::Public,
            Absent,
            "`\"sqlite:PATH\"` (one machine; a relative path is below the folder of `proxy.toml`), `\"postgres://USER@HOST/DATABASE\"` (with a password: `{ secret = \"NAME\" }`, a file with the whole URL), or `\"memory:\"` (gone with the process). Absent: `sqlite:/var/lib/countersign/state.db` with a credential that needs a person's consent (`refresh_token`, `authorization_code`) or with a `key`, else `memory:`",
        ),
        key(
            "key",
            Kind::TextOrTexts("the name of a secret"),
            Absent,
            "the key that tokens are sealed with (AES-256-GCM); of a list the first seals and all open, so that keys can be changed. Needed unless `url` is `memory:`",
        ),
        key(
            "single",
            Kind::Flag,
            Is("false"),
            "says that this is the only process for its tenants and that the file outlives it: allows SQLite inside Kubernetes",
        ),
    ],
    later: &[],
    example: "[state]\nurl = \"sqlite:state/connections.db\"\nkey = [\"state/key\", \"state/old-key\"]\n",
};

/// `[events]`
pub(super) static EVENTS: Section = Section {
    title: "[events]",
    help: "Changes of connections, sent as webhooks (Standard Webhooks) to your back end, at least once each. They are in the log and the metrics whether or not this table is there.",
    keys: &[
        key("url", URL, Required, "where they are sent"),
        key("secret", Kind::SecretName, Required, "the key of their signature"),
        key(
            "types",
            Kind::Texts("a type or a pattern such as \"connection.*\""),
            Is("connection.*"),
            "`connection.connected`, `connection.degraded`, `connection.recovered`, `connection.reauthorize`, `connection.revoked`, `connection.scope_changed`, `credential.unhealthy`, `credential.healthy`; `*` is any text",
        ),
        key("timeout", duration(MILLISECOND, Duration::from_secs(300), None), Is("10s"), "one delivery"),
        key("insecure_upstream", Kind::Flag, Is("false"), "allows an `http://` URL to another machine than this one"),
    ],
    later: &[],
    example: "[events]\nurl    = \"https://backend.example.com/hooks/countersign\"\nsecret = \"events/key\"\ntypes  = [\"connection.*\", \"credential.unhealthy\"]\n",
};
