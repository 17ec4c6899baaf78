//! The keys of `[client.*]` and of `tenant`; the rest of the table is in `keys.rs` and `keys_route.rs`.

use super::keys::key;
use super::schema::{Fallback, Kind, Section};

use Fallback::Absent;

/// `[client.NAME]`
pub(super) static CLIENT: Section = Section {
    title: "[client.NAME]",
    help: "A caller that can be told from others: by exactly one of `token` and `uid`. Routes name it in `clients`. A token comes in `Proxy-Authorization`, as `Bearer TOKEN` or as the password of `Basic` (the user name does not matter, so that `http://x:TOKEN@127.0.0.1:8080` is a proxy URL). After a rotation the previous token counts for `[secrets] overlap`. Names have letters, digits, `.`, `_` and `-`. Health rows and metrics call the token `client:NAME`.",
    keys: &[
        key("token", Kind::SecretName, Absent, "the secret that the caller carries"),
        key(
            "uid",
            Kind::Count { least: 0, most: 4_294_967_294, word: None },
            Absent,
            "the user of the process at the other end of a Unix socket",
        ),
        key(
            "tenants",
            Kind::Texts("a tenant or a pattern such as \"acme-*\""),
            Absent,
            "the only tenants that it may ask for, on any route; absent: all",
        ),
    ],
    later: &[],
    example: "[client.importer]\ntoken   = \"clients/importer\"\ntenants = [\"m1\", \"acme-*\"]\n\n[client.cron]\nuid = 1001\n",
};

/// `tenant` of a route.
pub(super) static TENANT: Section = Section {
    title: "tenant",
    help: "Exactly one of these keys. Tenants have 1 to 128 letters, digits, `.`, `_` and `-`, never `..`. A request that names none is refused with `tenant_unknown`, one that names two with `tenant_ambiguous`.",
    keys: &[
        key(
            "header",
            Kind::Text("the name of a header"),
            Absent,
            "the worker names the tenant in this header, which is dropped",
        ),
        key(
            "query",
            Kind::Text("the name of a query parameter"),
            Absent,
            "the worker names the tenant in this query parameter, which is dropped",
        ),
        key(
            "path",
            Kind::Count { least: 1, most: 64, word: None },
            Absent,
            "the tenant is this segment of the path, counted from 1 after `prefix` is cut; the path stays as it is",
        ),
        key(
            "slot",
            Kind::Flag,
            Absent,
            "with `true` the worker writes the tenant where its SDK wants the secret (key, token, user or password): bare, as `countersign-TENANT`, or as the placeholder of a `stand_in`. What stands there is dropped anyway",
        ),
    ],
    later: &[],
    example: "",
};
