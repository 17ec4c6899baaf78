//! The keys of `aws_sigv4`; the rest of the table is in `keys_route.rs`.

use std::time::Duration;

use super::keys::{DAY, duration, key};
use super::schema::{Fallback, Kind, Section};

use Fallback::{Absent, Is, Required};

pub(super) static AWS_SIGV4: Section = Section {
    title: "aws_sigv4",
    help: "Signs `host`, `content-type`, every `x-amz-*` and what `sign_headers` lists; what the worker's SDK has signed is dropped. `{tenant}` and `{NAME}`, a capture of the route's host, may stand in `region` and `service`. [SCHEMES.md](SCHEMES.md#aws_sigv4) says what is signed of which body.",
    keys: &[
        key("access_key_id", Kind::Public, Required, "whose signature it is"),
        key("secret_access_key", Kind::SecretOnly, Required, "never a literal"),
        key("session_token", Kind::SecretOnly, Absent, "of temporary credentials"),
        key("region", Kind::Text("a region such as \"eu-central-1\""), Required, "as it stands in signatures"),
        key(
            "service",
            Kind::Text("a service such as \"s3\""),
            Required,
            "as it stands in signatures: `s3`, `sqs`, `execute-api`, ..",
        ),
        key(
            "sign_headers",
            Kind::Texts("a header such as \"Range\""),
            Absent,
            "further headers to sign, where a request has them",
        ),
        key(
            "placement",
            Kind::Choice(&["header", "query"]),
            Is("header"),
            "`Authorization` and `X-Amz-*` headers, or `X-Amz-*` parameters",
        ),
        key(
            "payload",
            Kind::Choice(&["signed", "unsigned", "as_sent"]),
            Is("signed"),
            "`signed` holds the body, `unsigned` streams it, `as_sent` does what the worker's SDK says in `X-Amz-Content-Sha256`. A body in `aws-chunked` streams in each",
        ),
        key(
            "expires",
            duration(Duration::from_secs(1), DAY.saturating_mul(7), None),
            Is("15m"),
            "how long a signature in the query is good for",
        ),
    ],
    later: &[],
    example: "[credential.archive.aws_sigv4]\naccess_key_id     = \"AKIAIOSFODNN7EXAMPLE\"\nsecret_access_key = { secret = \"aws/secret_access_key\" }\nregion            = \"eu-central-1\"\nservice           = \"s3\"\npayload           = \"as_sent\"\n",
};
