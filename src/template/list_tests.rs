//! Lists, bodies and the rest of the language that the guide's examples do not show: mistakes, odd input, properties.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use http::HeaderMap;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{Input, Lists, Own, OwnPlace, Position, Scope, Secrets, Template, TemplateError};
use crate::clock::{Sequence, Timestamp};
use crate::sign::material::Material;
use crate::sign::{SignContext, SignError, Signable};

const SIGNED: Scope<'static> = Scope { position: Position::Signed, values: &[], lists: Lists::Plain };
const FORM: &str = "application/x-www-form-urlencoded";

const CONTEXT: SignContext<'static> = SignContext {
    now: Timestamp { seconds: 1_790_000_000, nanos: 7_000_000 },
    random: [9; 32],
    fixed_nonce: None,
    tenant: None,
    captures: &[],
    sequence: Sequence { millis: 5, micros: 6, nanos: 7 },
    access_token: None,
    turn: None,
};

struct Asked<'a> {
    query: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    own: &'a [Own],
}

fn evaluate(text: &str, asked: &Asked<'_>) -> Result<String, SignError> {
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let mut secrets = Secrets::default();
    let template = Template::parse(text, SIGNED, &mut secrets).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let keys: Vec<Material> = Vec::new();
    let request = Signable {
        method: "POST",
        scheme: "https",
        host: "api.example",
        path: "/p",
        query: asked.query,
        headers: &headers,
        body: Some(asked.body),
    };
    let input = Input {
        request: &request,
        context: &CONTEXT,
        keys: &keys,
        values: &[],
        shown: &[],
        own: asked.own,
        signature: None,
    };
    let mut out = Vec::new();
    template.write(&input, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn query(text: &str, query: &str) -> String {
    evaluate(text, &Asked { query: Some(query), headers: &[], body: b"", own: &[] }).unwrap()
}

fn body(text: &str, kind: &str, body: &[u8]) -> Result<String, SignError> {
    evaluate(text, &Asked { query: None, headers: &[("content-type", kind)], body, own: &[] })
}

fn mistake(text: &str) -> TemplateError {
    Template::parse(text, SIGNED, &mut Secrets::default()).expect_err(text).remove(0)
}

#[test]
fn odd_queries_have_one_reading() {
    let pairs = "{params(query)|pairs('[{k}={v}]','')}";
    for (sent, wanted) in [
        ("", ""),
        ("&&", ""),
        ("a", "[a=]"),
        ("a=", "[a=]"),
        ("=b", "[=b]"),
        ("a=b=c", "[a=b=c]"),
        ("a=1&a=2", "[a=1][a=2]"),
        ("a+b=c%2Bd+e", "[a b=c+d e]"),
        ("a=%zz%4", "[a=%zz%4]"),
        ("%61=%41", "[a=A]"),
        ("a;b=1", "[a;b=1]"),
    ] {
        assert_eq!(query(pairs, sent), wanted, "{sent}");
    }
    assert_eq!(query("{params(query)|pairs('{raw}','&')}", "b&&a=%2b"), "b&a=%2b");
    assert_eq!(query("{sorted_query}", "b&a=%2b&a"), "a&a=%2b&b");
    let many = "a&".repeat(10_001);
    let asked = Asked { query: Some(&many), headers: &[], body: b"", own: &[] };
    assert!(matches!(evaluate(pairs, &asked), Err(SignError::Unreadable(_))));
}

#[test]
fn a_body_is_read_as_what_it_is_said_to_be() {
    let all = "{params(form,json)|pairs('{k}={v}','&')}";
    assert_eq!(body(all, FORM, b"a=1&b=x+y").unwrap(), "a=1&b=x y");
    assert_eq!(body(all, "Application/X-WWW-Form-Urlencoded ; charset=utf-8", b"a=1").unwrap(), "a=1");
    let json = br#"{"b": "x\"y", "a": [1, {"c":2}], "n": 1.50, "t": true, "z": null, "a": {}}"#;
    let wanted = r#"b=x"y&a=[1, {"c":2}]&n=1.50&t=true&z=null&a={}"#;
    for kind in ["application/json", "application/vnd.api+json; v=1", "text/json"] {
        assert_eq!(body(all, kind, json).unwrap(), wanted, "{kind}");
    }
    assert_eq!(body("{params(json)|scalars|pairs('{k}','')}", "application/json", json).unwrap(), "bntz");
    assert_eq!(
        body("{params(json)|pairs('{raw_v}',' ')}", "application/json", br#"{"a":"\u0041"}"#).unwrap(),
        r#""\u0041""#
    );
    for (kind, sent) in [("text/plain", &b"a=1"[..]), ("application/json", b""), ("multipart/form-data", b"--b")] {
        assert_eq!(body(all, kind, sent).unwrap(), "", "{kind}");
        assert_eq!(body("{form.a}{json.a}", kind, sent).unwrap(), "", "{kind}");
    }
    assert!(matches!(body(all, "application/json", b"{\"a\":"), Err(SignError::Unreadable(_))));
    assert!(matches!(body("{json.a}", "application/json", b"nonsense"), Err(SignError::Unreadable(_))));
    assert!(matches!(body("{body|decode_hex|hex}", FORM, b"xyz"), Err(SignError::Unreadable(_))));
}

#[test]
fn conditions_are_of_the_request() {
    let given = |text: &str, kind: &str| body(text, kind, b"x").unwrap();
    assert_eq!(given("{method|if(POST)}{method|if(GET,HEAD)}{method|unless(GET)}", FORM), "POSTPOST");
    assert_eq!(given("{method|if(form)}{host|unless(form)}{path|if(multipart,json)}", FORM), "POST");
    assert_eq!(given("{method|if(multipart)}", "Multipart/Form-Data; boundary=x"), "POST");
    assert_eq!(given("{method|if(body)}{method|if(query)}{path|if('/p')}{path|unless('/p','/q')}", FORM), "POST/p");
    assert_eq!(body("[{method|if(body)}{body|sha256|hex|if(body)}]", FORM, b"").unwrap(), "[]");
}

#[test]
fn what_the_credential_sets_is_in_lists() {
    let own = |place, name: &str, value: &str| Own {
        place,
        name: name.into(),
        value: Zeroizing::new(value.as_bytes().to_vec()),
        shown: None,
    };
    let own = [own(OwnPlace::Query, "k", "a b"), own(OwnPlace::Header, "x-b", "2"), own(OwnPlace::Header, "date", "d")];
    let headers = [("x-c", "3"), ("x-a", "  1  "), ("x-a", "one"), ("y", "no")];
    let asked = Asked { query: Some("z=1"), headers: &headers, body: b"", own: &own };
    for (text, wanted) in [
        ("{params(query)|pairs('{k}={v}','&')}", "z=1&k=a b"),
        ("{params(query)|pairs('{raw}','&')}", "z=1&k=a%20b"),
        ("{headers('x-*')|pairs('{k}:{v}',' ')}", "x-a:1 x-a:one x-b:2 x-c:3"),
        ("{headers('HOST','date','x-none','x-*','date')|merged(', ')|pairs('{k}','; ')}", "host; date; x-a; x-b; x-c"),
        ("{headers(*)|without('X-*')|pairs('{k}',' ')}", "date host y"),
        ("{query}{header.x-b}", "z=1"),
    ] {
        assert_eq!(evaluate(text, &asked).unwrap(), wanted, "{text}");
    }
}

#[test]
fn times_and_nonces_in_other_spellings() {
    let given = |text: &str| query(text, "");
    assert_eq!(given("{timestamp|add('90d')|add('-1ms')|millis}"), "1797776000006");
    assert_eq!(given("{timestamp|format('%H:%M %z','-03:30')}"), "10:43 -0330");
    assert_eq!(given("{nonce(increasing)} {nonce(increasing,us)} {nonce(increasing,ns)}"), "5 6 7");
    let nonces = given("{nonce(alnum,64)} {nonce(alnum)} {nonce(digits,50)} {nonce(digits)}");
    let nonces: Vec<&str> = nonces.split(' ').collect();
    assert_eq!(nonces.iter().map(|nonce| nonce.len()).collect::<Vec<_>>(), [64, 22, 50, 39]);
    assert!(nonces[0].starts_with(nonces[1]) && nonces[0].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert!(nonces[2].starts_with(nonces[3]) && nonces[2].bytes().all(|byte| byte.is_ascii_digit()));
}

#[test]
fn mistakes_in_lists_are_told_with_place_and_hint() {
    for (text, at, message) in [
        ("{params(query)}", 1..14, "this gives a list, which cannot stand here"),
        ("{params(query)|pairs('{k}')}", 1..27, "this gives a list, which cannot stand here"),
        ("{params(query)|sha256|hex}", 15..21, "sha256 does not work on a list"),
        ("{params(query)|pairs('{k}')|hex}", 28..31, "hex does not work on a list"),
        ("{path|sorted}", 6..12, "sorted works on a list of parameters, which path is not"),
        ("{path|join(',')}", 6..10, "join works on what pairs(\"..\") gives, which path does not"),
        ("{params(body)|pairs('')}", 8..12, "params takes query, form and json"),
        ("{params|pairs('{k}','')}", 1..7, "params takes query, form and json"),
        ("{params(query,query)|pairs('','')}", 14..19, "query stands here twice"),
        ("{headers()|pairs('','')}", 1..8, "headers takes the names of headers"),
        ("{headers('x y')|pairs('','')}", 9..14, "\"x y\" is no name of a header"),
        ("{headers('*x')|pairs('','')}", 9..13, "\"*x\" is no name of a header"),
        ("{params(query)|pairs('{key}','')}", 23..26, "an entry of a list has no \"key\""),
        ("{params(query)|pairs('{k|uper}','')}", 25..29, "there is no function \"uper\""),
        ("{params(query)|pairs('{k|sha1}','')}", 23..29, "this gives raw bytes, which a list cannot have"),
        ("{params(query)|pairs('{k','')}", 22..24, "this { is never closed"),
        ("{params(query)|sorted(up)|pairs('','')}", 15..25, "sorted takes no argument, or one of name, nocase and raw"),
        (
            "{params(query)|with(a)|pairs('','')}",
            15..22,
            "with takes a name, and a text in quotes, secret:NAME or value.NAME",
        ),
        ("{path|if(sometimes)}", 9..18, "\"sometimes\" is no condition"),
        ("{path|first(0)}", 6..14, "first takes a number of bytes"),
        ("{path|replace('','x')}", 6..21, "replace takes two texts in quotes"),
        ("{path|prepend('\\x')}", 14..18, "there is no escape \\x"),
        ("{timestamp|add('1y')}", 11..20, "add takes a duration in quotes"),
        ("{timestamp|format('%Y','Berlin')}", 23..31, "this is no offset from UTC"),
        ("{path|hmac_sha1(secret:k,pem)}", 25..28, "this is no encoding of a key"),
        ("{path|hmac_sha1(value.k)}", 22..23, "there is no value \"k\" before this"),
        ("{nonce(digits,20)}", 1..6, "this nonce takes a number of characters, 39 to 64"),
        ("{param:region}", 7..13, "there are no parameters here"),
    ] {
        let error = mistake(text);
        assert_eq!((error.at, error.message.as_str()), (at, message), "{text}");
    }
}

fn anything() -> impl Strategy<Value = String> {
    "[a-c%=&+ 0-9A-F;é]{0,30}"
}

proptest! {
    /// A canonical text, sent as the query, is its own canonical text.
    #[test]
    fn canonical_forms_are_idempotent(sent in anything()) {
        for canonical in [
            "{params(query)|sorted|pairs('{k|urlencode}={v|urlencode}','&')}",
            "{params(query)|pairs('{k|urlencode}={v|urlencode}')|sorted|join('&')}",
            "{params(query)|sorted|pairs('{k|formencode}={v|formencode}','&')}",
            "{params(query)|merged(',')|sorted|pairs('{k|urlencode}={v|urlencode}','&')}",
            "{sorted_query}",
        ] {
            let once = query(canonical, &sent);
            prop_assert_eq!(&query(canonical, &once), &once, "{}", canonical);
        }
    }

    /// The order in which parameters were sent does not matter to a sorted list.
    #[test]
    fn sorted_lists_forget_the_order(mut pairs in proptest::collection::vec("[a-c]{0,2}=[a-c]{0,2}", 0..8)) {
        let canonical = "{params(query)|sorted|pairs('{k}={v}','&')}";
        let first = query(canonical, &pairs.join("&"));
        pairs.reverse();
        prop_assert_eq!(query(canonical, &pairs.join("&")), first);
    }

    /// Nothing that a worker sends makes a list panic, and a list of headers has no line break that the template has not.
    #[test]
    fn any_request_has_a_text_or_is_refused(sent in "\\PC{0,40}", content in proptest::collection::vec(any::<u8>(), 0..60), kind in 0..3_usize) {
        let kind = [FORM, "application/json", "multipart/x"][kind];
        let asked = Asked { query: Some(&sent), headers: &[("content-type", kind), ("x-a", "b")], body: &content, own: &[] };
        for text in [
            "{params(query,form,json)|lower_names|merged(',')|sorted(nocase)|pairs('{k|squeeze}{v|trim|base64}{raw}','')}",
            "{json./a/b}{json.a}{form.a}{query.a}{body|unless(multipart)|first(3)|last(1)}",
            "{body|decode_base64|hex}",
            "{query|urldecode|replace('a','b')|after('=')|before('&')}",
        ] {
            let _ = evaluate(text, &asked);
        }
        let headers = evaluate("{headers(*)|pairs('{k}:{v}',';')}", &asked).unwrap();
        prop_assert!(!headers.contains(['\r', '\n', '\0']));
    }
}
