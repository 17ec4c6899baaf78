//! The keys of `http_signature`; the rest of the table is in `keys.rs`.

use std::time::Duration;

use super::keys::{DAY, duration, key};
use super::schema::{Fallback, Kind, Section};

use Fallback::{Absent, Is, Required};

const ALGORITHMS: [&str; 6] =
    ["hmac-sha256", "ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256"];
const SECOND: Duration = Duration::from_secs(1);

/// `http_signature = { .. }`
pub(super) static HTTP_SIGNATURE: Section = Section {
    title: "http_signature",
    help: "HTTP Message Signatures. `docs/SCHEMES.md` says what each component is worth and how eBay's profile differs.",
    keys: &[
        key("key", Kind::SecretName, Required, "the key: a private one (PEM, JWK, DER, base64), or that of the HMAC"),
        key(
            "key_encoding",
            Kind::Choice(&["text", "bytes", "hex", "base64"]),
            Is("text"),
            "how the key of `hmac-sha256` stands in its file",
        ),
        key("key_id", Kind::Public, Absent, "`keyid`; with `profile = \"ebay\"` the JWE for `x-ebay-signature-key`"),
        key("algorithm", Kind::Choice(&ALGORITHMS), Required, "by its name in the registry of RFC 9421"),
        key(
            "components",
            Kind::Texts("a component such as \"@method\" or \"content-type\""),
            Absent,
            "what is covered, in this order; absent: `@method`, `@target-uri` and `content-digest`, and with `profile = \"ebay\"` what eBay's libraries cover; parameters stand behind a name: `'@query-param;name=\"page\"'`, `'x-fields;key=\"a\"'`, `\"x-list;sf\"`, `\"x-lines;bs\"`. `content-digest` is made here (RFC 9530), in place of the worker's own",
        ),
        key(
            "parameters",
            Kind::Texts("a parameter such as \"created\""),
            Absent,
            "the parameters in their order, of `created`, `expires`, `nonce`, `alg`, `keyid`, `tag`; absent: `created`, and those whose keys are given",
        ),
        key("label", Kind::Text("a name such as \"sig1\""), Is("sig1"), "the name of the signature"),
        key("tag", Kind::Text("a text such as \"orders\""), Absent, "`tag`: what the signature is for"),
        key("expires", duration(SECOND, DAY, None), Absent, "whole seconds from `created` to `expires`"),
        key(
            "digest",
            Kind::Choice(&["sha-256", "sha-512"]),
            Is("sha-256"),
            "the hash of `content-digest` where the worker has sent none",
        ),
        key("profile", Kind::Choice(&["rfc9421", "ebay"]), Is("rfc9421"), "whose rules apply"),
    ],
    later: &[],
    example: "[credential.bank.http_signature]\nkey        = \"bank/signing-key\"\nkey_id     = \"shop-2026\"\nalgorithm  = \"ed25519\"\ncomponents = [\"@method\", \"@target-uri\", \"content-type\", \"content-digest\"]\nexpires    = \"5m\"\n",
};
