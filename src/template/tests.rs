#![allow(clippy::unwrap_used, clippy::expect_used)]

use http::HeaderMap;
use proptest::prelude::*;

use super::{Input, Lists, Position, Scope, Secrets, Template, TemplateError};
use crate::clock::{Sequence, Timestamp};
use crate::secret::value::SecretBytes;
use crate::sign::material::Material;
use crate::sign::{SignContext, SignError, Signable};

const SIGNED: Scope<'static> = Scope { position: Position::Signed, values: &[], lists: Lists::Plain };
const HEADER: Scope<'static> = Scope { position: Position::Header, values: &[], lists: Lists::Plain };

/// The text for the request that the guide uses throughout; every secret is `s3cret`.
pub(super) fn evaluate(text: &str) -> Result<Vec<u8>, SignError> {
    // The guide's second request has a form as its body.
    let (kind, body): (_, &[u8]) = match text.contains("form)") || text.contains("{form.") {
        true => ("application/x-www-form-urlencoded", b"b=2&a=x+y&a=&c=%26"),
        false => ("application/json", b"{\"total\":1}"),
    };
    let mut secrets = Secrets::default();
    let template = Template::parse(text, SIGNED, &mut secrets).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let secret = SecretBytes::new(b"s3cret".to_vec());
    let keys: Vec<Material> = secrets.list().iter().map(|(_, kind)| kind.load(&secret).unwrap()).collect();
    let mut headers = HeaderMap::new();
    headers.append("content-type", kind.parse().unwrap());
    headers.append("x-one", "A".parse().unwrap());
    headers.append("x-one", "B".parse().unwrap());
    let request = Signable {
        method: "POST",
        scheme: "https",
        host: "m1.shop.example",
        path: "/rest/v1/a%2Fb",
        query: Some("id=7&name=a%20b+c"),
        headers: &headers,
        body: Some(body),
    };
    let context = SignContext {
        now: Timestamp { seconds: 1_790_000_000, nanos: 7_000_000 },
        random: [7; 32],
        fixed_nonce: None,
        tenant: Some("m1"),
        captures: &[("shop", "m1")],
        sequence: Sequence { millis: 1_790_000_000_007, micros: 1_790_000_000_007_001, nanos: 3 },
        access_token: Some(b"ya29.t0ken"),
        turn: None,
    };
    let input = Input {
        request: &request,
        context: &context,
        keys: &keys,
        values: &[],
        shown: &[],
        own: &[],
        signature: Some("SIG"),
    };
    let mut out = Vec::new();
    template.write(&input, &mut out)?;
    Ok(out)
}

fn says(text: &str) -> String {
    String::from_utf8(evaluate(text).unwrap()).unwrap()
}

fn mistakes(text: &str, scope: Scope<'_>) -> Vec<TemplateError> {
    Template::parse(text, scope, &mut Secrets::default()).expect_err(text)
}

/// Digests and HMACs were computed with Python's hashlib and hmac.
#[test]
fn every_variable_and_function_gives_what_the_guide_says() {
    for (text, wanted) in [
        ("a{{b}}c", "a{b}c"),
        ("{{{method}}}", "{POST}"),
        ("{method|lower} {scheme} {host}", "post https m1.shop.example"),
        ("{path} {raw_path}", "/rest/v1/a%2Fb /rest/v1/a%2Fb"),
        ("{path|cut_prefix(\"/rest\")}{path|cut_prefix(\"/no\")}", "/v1/a%2Fb/rest/v1/a%2Fb"),
        ("{query} {target}", "id=7&name=a%20b+c /rest/v1/a%2Fb?id=7&name=a%20b+c"),
        ("{url}", "https://m1.shop.example/rest/v1/a%2Fb?id=7&name=a%20b+c"),
        ("{query.id} {query.name} [{query.none}]", "7 a b c []"),
        ("{header.X-One} {header.host} [{header.x-none}]", "A, B m1.shop.example []"),
        ("{body} {body|json}", "{\"total\":1} {\\\"total\\\":1}"),
        ("{timestamp} {timestamp_ms} {iso8601}", "1790000000 1790000000007 2026-09-21T14:13:20Z"),
        ("{timestamp|format(\"%Y%m%dT%H%M%SZ\")} {timestamp|hex}", "20260921T141320Z 31373930303030303030"),
        ("{nonce}", "07070707070707070707070707070707"),
        ("{uuid}", "07070707-0707-4707-8707-070707070707"),
        ("{tenant} {capture.shop}", "m1 m1"),
        ("{secret:shop/{tenant}/key}", "s3cret"),
        ("{ query.name | upper | trim }", "A B C"),
        ("{query.name|urlencode} {query.name|formencode}", "a%20b%20c a+b+c"),
        ("{body|sha256|hex}", "b7e28723407b7750fb0dc3b977699a5223a3b617d41c9a4feaeccbd31feadd06"),
    ] {
        assert_eq!(says(text), wanted, "{text}");
    }
    assert_eq!(says("{nonce(20)}").len(), 40);
    assert!(says("{nonce(20)}").starts_with(&says("{nonce}")));
}

#[test]
fn mistakes_are_told_with_place_and_hint() {
    let cases = [
        ("{bdy}", 1..4, "there is no variable \"bdy\"", Some("did you mean body?")),
        (
            "{shop}",
            1..5,
            "there is no variable \"shop\"",
            Some("a capture of the route's host is written {capture.shop}"),
        ),
        ("{sha256}", 1..7, "there is no variable \"sha256\"", Some("sha256 is a function: write {VARIABLE|sha256}")),
        ("{body|sha-256}", 6..13, "there is no function \"sha-256\"", Some("did you mean sha256?")),
        (
            "{body|sha256|lower}",
            13..18,
            "lower works on text, but sha256 gives raw bytes",
            Some("add |hex or |base64 before it"),
        ),
        ("{path|hex(1)}", 6..12, "hex takes no argument", Some("write hex")),
        ("{path|cut_prefix(x)}", 6..19, "cut_prefix takes one text in quotes", Some("write cut_prefix(\"/rest\")")),
        (
            "{body|hmac_sha1(k)}",
            6..18,
            "hmac_sha1 takes the secret that is its key",
            Some("write hmac_sha1(secret:NAME)"),
        ),
        (
            "{timestamp|format(\"%!\")}",
            18..22,
            "\"%!\" is no format of a time",
            Some("as in strftime: %Y-%m-%dT%H:%M:%SZ"),
        ),
        (
            "{timestamp_ms|format(\"%Y\")}",
            14..20,
            "format works on a time, which timestamp_ms is not",
            Some("only {timestamp} is a time, and format comes first"),
        ),
        ("a}b", 1..2, "this } closes nothing", Some("write }} for a literal brace")),
        (
            "{signature}",
            1..10,
            "there is no signature yet when this is evaluated",
            Some("use it in set, set_query, set_form or set_json, which are made after signing"),
        ),
        (
            "{value.x}",
            7..8,
            "there is no value \"x\" before this",
            Some("a value may use those that are declared before it"),
        ),
        (
            "{nonce(8)}",
            1..6,
            "nonce takes one number of random bytes, 16 to 48",
            Some(
                "the text is twice as long, in hexadecimal; or write nonce(alnum), nonce(digits) or nonce(increasing)",
            ),
        ),
        ("{}", 1..1, "a variable is missing between the braces", Some("write {{ and }} for literal braces")),
    ];
    for (text, at, message, hint) in cases {
        let errors = mistakes(text, SIGNED);
        let error = &errors[0];
        assert_eq!((error.at.clone(), error.message.as_str(), error.hint.as_deref()), (at, message, hint), "{text}");
        assert_eq!(errors.len(), 1, "{text}");
    }
    assert_eq!(mistakes("{a}{b}{", SIGNED).len(), 3);
    let raw = mistakes("{body|sha256}", HEADER);
    assert_eq!((raw[0].at.clone(), raw[0].hint.as_deref()), (1..12, Some("add |hex or |base64")));
    for text in ["a\r\nb", "a\0", "{timestamp|format(\"%Y%n%m\")}"] {
        assert_eq!(mistakes(text, HEADER).len(), 1, "{text:?}");
    }
}

/// Every row of the guide's table of examples is what the language does.
#[test]
fn the_examples_of_the_guide_are_true() {
    let guide = include_str!("../../docs/TEMPLATES.md");
    let mut count = 0;
    for line in guide.lines().filter_map(|line| line.strip_prefix("| `{")) {
        let Some((template, result)) = line.split_once("` | `") else { continue };
        let result = result.split_once('`').unwrap().0.replace('⏎', "\n");
        let template = format!("{{{}", template.replace("\\|", "|"));
        if template.contains("{signature") || template.contains("value.NAME") || template.contains('…') {
            continue;
        }
        assert_eq!(says(&template), result, "{template}");
        count += 1;
    }
    assert!(count > 85, "only {count} examples were found");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}", holes in "[{}|()\",.:a-z0-9]{0,60}") {
        for text in [text, holes] {
            for scope in [SIGNED, HEADER] {
                if let Err(errors) = Template::parse(&text, scope, &mut Secrets::default()) {
                    prop_assert!(!errors.is_empty());
                    for error in errors {
                        prop_assert!(text.get(error.at.clone()).is_some(), "{error:?}");
                    }
                }
            }
        }
    }
}
