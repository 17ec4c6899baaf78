//! The keys of `oauth1`. Part of the one table in `keys.rs`.

use super::keys::key;
use super::schema::Fallback::{Absent, Is, Required};
use super::schema::{Kind, Section};

/// `oauth1`
pub(super) static OAUTH1: Section = Section {
    title: "oauth1",
    help: "OAuth 1.0a (RFC 5849): method, URL, the parameters of the query and those of a form body are signed. What the worker's own signing put into the header, the query or a form (`oauth_*`) is dropped. More is in [SCHEMES.md](SCHEMES.md).",
    keys: &[
        key("consumer_key", Kind::Public, Required, "`oauth_consumer_key`"),
        key("consumer_secret", Kind::SecretOnly, Absent, "never a literal; needed but with RSA-SHA256"),
        key("token", Kind::Public, Absent, "`oauth_token`; absent: signed for the consumer alone"),
        key("token_secret", Kind::SecretOnly, Absent, "never a literal; goes with `token`"),
        key(
            "method",
            Kind::Choice(&["HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA256", "PLAINTEXT"]),
            Is("HMAC-SHA256"),
            "how it is signed; PLAINTEXT sends the secrets themselves",
        ),
        key("key", Kind::SecretName, Absent, "the RSA private key of RSA-SHA256: PEM, DER, base64 of it, or JWK"),
        key("realm", Kind::Public, Absent, "stands in the header and is not signed"),
        key(
            "placement",
            Kind::Choice(&["header", "query", "form"]),
            Is("header"),
            "where the parameters go: `Authorization`, behind the query, or behind the fields of a form body",
        ),
    ],
    later: &[],
    example: "[credential.store.oauth1]\nconsumer_key    = { secret = \"store/{tenant}/consumer-key\" }\nconsumer_secret = { secret = \"store/{tenant}/consumer-secret\" }\ntoken           = { secret = \"store/{tenant}/token\" }\ntoken_secret    = { secret = \"store/{tenant}/token-secret\" }\n",
};
