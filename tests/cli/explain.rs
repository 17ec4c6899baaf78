use super::run;
use crate::support::{Ran, Scratch};

const CONFIG: &str = r#"
[listen]
proxy = ["127.0.0.1:8080"]
[secrets]
dir = "secrets"
[credential.key]
api_key = { secret = "partner/key", header = "X-API-Key" }
[credential.query]
api_key = { secret = "partner/key", query = "key" }
[credential.shop]
bearer = { secret = "shop/{tenant}/token" }
[credential.echo.hmac]
secret = "vendor/key"
sign = "{header.Authorization}"
set = { "X-Token" = "{header.Authorization|cut_prefix(\"Bearer \")}", "X-Sum" = "{signature}" }
[credential.asked]
digest = { username = "Mufasa", password = { secret = "zoo/password" } }
[credential.signed.hmac]
secret = "vendor/key"
algorithm = "sha256"
encoding = "hex"
sign = "{method}\n{path}\n{timestamp}\n{nonce}\n{header.X-API-Key}\n{body|sha256|hex}"
set = { "X-Signature" = "{signature}", "X-Echo" = "{header.X-API-Key}" }
[[route]]
name = "partner"
host = "api.partner.example"
path = "/v2/"
methods = ["GET", "POST"]
prefix = "/partner"
listen = "127.0.0.1:9001"
upstream = "https://api.partner.example:8443"
credential = ["key", "signed"]
[[route]]
name = "shop"
host = "{shop}.shop.example"
tenant = "{shop}"
credential = ["shop", "query", "echo"]
[[route]]
name = "zoo"
host = "zoo.example"
credential = "asked"
[[route]]
name = "named"
host = "named.example"
tenant = { header = "Countersign-Tenant" }
credential = "shop"
"#;

const SECRETS: &[(&str, &str)] = &[
    ("partner/key", "canary-key"),
    ("vendor/key", "canary-hmac\n"),
    ("shop/m1/token", "canary-token"),
    ("zoo/password", "Circle of Life"),
];

fn explain(words: &[&str]) -> Ran {
    let scratch = Scratch::with(CONFIG, SECRETS);
    let ran = run(&scratch, &[&["explain", "--format", "json"], words].concat());
    assert!(!ran.out.contains("canary") && !ran.err.contains("canary"), "a secret is shown: {ran:?}");
    ran
}

fn header(json: &serde_json::Value, name: &str) -> Option<String> {
    let headers = json["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned())
}

/// The signature was computed with Python's hmac over the text with the real key in the place of `[partner/key]`.
#[test]
fn the_canonical_text_and_its_signature_are_shown_and_secrets_are_not() {
    let ways: [&[&str]; 5] = [
        &["http://127.0.0.1:8080/partner/v2/orders?x=1"],
        &["https://api.partner.example/v2/orders?x=1"],
        &["http://localhost:9001/v2/orders?x=1"],
        &["http://api.partner.example.localhost:8080/v2/orders?x=1"],
        &["/v2/orders?x=1", "-H", "Host: API.partner.example"],
    ];
    for way in ways {
        let rest =
            ["--body", "{\"a\":1}", "--at", "2026-01-01T00:00:00Z", "--nonce", "abc", "-H", "x_api_key: worker's"];
        let ran = explain(&[&["POST"], way, &rest].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{way:?} {ran:?}");
        let json = ran.json();
        let digest = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"; // sha256sum of the body
        let text = format!("POST\n/v2/orders\n1767225600\nabc\n[partner/key]\n{digest}");
        assert_eq!(
            json["canonical"],
            serde_json::json!([{"credential": "signed", "text": text, "string_to_sign": text}])
        );
        assert_eq!((&json["route"], &json["tenant"]), (&"partner".into(), &serde_json::Value::Null));
        assert_eq!(json["credentials"], serde_json::json!(["key", "signed"]));
        assert_eq!(json["upstream"], "https://api.partner.example:8443");
        assert_eq!((&json["method"], &json["target"]), (&"POST".into(), &"/v2/orders?x=1".into()));
        let signature = "32a970500608f46ff49f77c2f244c9fc1b2b804297a8d223a200b0fd8accfdd4";
        assert_eq!(header(&json, "x-signature").as_deref(), Some(signature));
        assert_eq!(header(&json, "x-api-key").as_deref(), Some("[partner/key]"));
        assert_eq!(header(&json, "x-echo").as_deref(), Some("[partner/key]"));
        assert_eq!(header(&json, "host").as_deref(), Some("api.partner.example:8443"));
        assert_eq!(header(&json, "x_api_key"), None);
    }
}

#[test]
fn tenants_come_from_host_header_or_option() {
    let json = explain(&["GET", "https://m1.shop.example/a?key=worker&b=2"]).json();
    assert_eq!((&json["tenant"], &json["target"]), (&"m1".into(), &"/a?b=2&key=[partner/key]".into()));
    assert_eq!(header(&json, "authorization").as_deref(), Some("Bearer [shop/{tenant}/token]"));

    let json = explain(&["GET", "https://named.example/", "--tenant", "m1"]).json();
    assert_eq!((&json["tenant"], header(&json, "countersign-tenant")), (&"m1".into(), None));

    let ran = explain(&["GET", "https://m1.shop.example/", "--tenant", "m2"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("the tenant of this host is m1, not m2"), "{ran:?}");
}

#[test]
fn what_the_proxy_would_refuse_is_refused_in_its_words() {
    let cases: [(&[&str], &str); 6] = [
        (&["GET", "https://nowhere.example/"], "421 no_route: no route has the host nowhere.example"),
        (&["PUT", "http://127.0.0.1:9001/v2/x"], "421 no_route: route partner does not allow this method"),
        (&["GET", "http://127.0.0.1:8080/partner/v2/../x"], "400 bad_request: dot segments"),
        (&["GET", "/x"], "400 bad_request: the request has no Host header"),
        (&["GET", "https://named.example/"], "400 tenant_unknown: route named takes the tenant from the header"),
        (
            &["GET", "https://m2.shop.example/"],
            "503 credential_unavailable: credential shop: secret shop/m2/token: missing",
        ),
    ];
    for (words, said) in cases {
        let ran = explain(words);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.starts_with(&format!("error: the proxy would answer {said}")), "{ran:?}");
        assert_eq!(ran.json()["type"], format!("urn:countersign:error:{}", said[4..].split(':').next().unwrap()));
    }
}

#[test]
fn urls_that_cannot_be_meant_are_errors() {
    for url in ["ftp://a/", "api.partner.example/v2", "http://127.0.0.1:1/partner"] {
        let ran = explain(&["GET", url]);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains("hint: "), "{ran:?}");
    }
}

/// A later credential's template may read what an earlier one put in; that is masked too. `x-sum` is Python's
/// hmac over `Bearer canary-token`.
#[test]
fn people_get_the_request_as_it_would_leave() {
    let scratch = Scratch::with(CONFIG, SECRETS);
    let ran = run(&scratch, &["explain", "GET", "https://m1.shop.example/a"]);
    let expected = "\
route       shop
credential  shop, then query, then echo
tenant      m1
upstream    https://m1.shop.example

GET /a?key=[partner/key] HTTP/1.1
host: m1.shop.example
authorization: Bearer [shop/{tenant}/token]
x-token: [shop/{tenant}/token]
x-sum: 90f956480a31ed0aad3cbb2dd8243436311b870577b8aec8d5e9a07b37b0986c

echo signs this text:
    Bearer [shop/{tenant}/token]
";
    assert_eq!((ran.status, ran.out.as_str()), (0, expected));
}

/// RFC 7616 section 3.9.1.
#[test]
fn an_answer_to_a_challenge_is_explained_with_it() {
    let asked = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let url = "https://zoo.example/dir/index.html";
    let ran = explain(&["GET", url, "--challenge", asked, "--nonce", cnonce]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(!ran.out.contains("Circle"), "{ran:?}");
    let (json, response) = (ran.json(), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    assert!(header(&json, "authorization").unwrap().contains(&format!("response=\"{response}\"")), "{json}");
    let text = "Mufasa:http-auth@example.org:[zoo/password]\nGET:/dir/index.html";
    assert_eq!(json["canonical"][0]["text"], text);

    let ran = explain(&["GET", url]);
    assert_eq!(header(&ran.json(), "authorization"), None, "nothing was asked yet");
    assert_eq!(ran.json()["canonical"][0]["text"], "Mufasa:<realm>:[zoo/password]\nGET:/dir/index.html");
    let ran = explain(&["GET", url, "--challenge", "Basic realm=\"x\""]);
    assert!(ran.status == 1 && ran.err.contains("--challenge"), "{ran:?}");
}
