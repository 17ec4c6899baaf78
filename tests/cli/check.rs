use std::fs;

use super::run;
use crate::support::Scratch;

const GOOD: &str = r#"
[secrets]
dir = "secrets"
[credential.key]
api_key = { secret = "partner/key", header = "X-API-Key" }
[[route]]
name = "partner"
host = "api.partner.example"
prefix = "/partner"
credential = "key"
[[route]]
name = "open"
host = "{shop}.open.example:8443"
credential = "none"
tenant = "{shop}"
"#;

#[test]
fn a_good_configuration_is_ok_in_json() {
    let scratch = Scratch::with(GOOD, &[("partner/key", "value\n")]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.json(),
        serde_json::json!({
            "ok": true,
            "diagnostics": [],
            "routes": [
                {"name": "partner", "host": "api.partner.example", "path": null, "methods": null, "prefix": "/partner",
                 "listen": null, "upstream": "https://api.partner.example", "credentials": ["key"], "tenant": null,
                 "local_name": "api.partner.example.localhost", "hosts_line": "127.0.0.1 api.partner.example.localhost"},
                {"name": "open", "host": "{shop}.open.example:8443", "path": null, "methods": null, "prefix": null,
                 "listen": null, "upstream": "https://{shop}.open.example:8443", "credentials": [],
                 "tenant": "{shop} of the host", "local_name": "{shop}.open.example.localhost", "hosts_line": null},
            ],
            "secrets": [{"name": "partner/key", "credential": "key", "ok": true, "reason": null}],
        })
    );
}

#[test]
fn people_get_the_localhost_name_and_the_line_that_makes_it_resolve() {
    let listen = "[listen]\nproxy = [\"unix:proxy.sock\", \"[::]:8080\", \"127.0.0.1:8081\"]\nallow_remote = true\n";
    let routes = "[[route]]\nname = \"ip\"\nhost = \"10.0.0.1\"\ncredential = \"none\"\n\
                  [[route]]\nname = \"own\"\nhost = \"own.localhost\"\ncredential = \"none\"\n";
    let scratch = Scratch::with(&format!("{listen}{GOOD}{routes}"), &[("partner/key", "value\n")]);
    let ran = run(&scratch, &["check"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let paragraphs: Vec<&str> = ran.out.split("\nroute ").collect();
    for wanted in [
        "              http://api.partner.example.localhost:8080\n",
        "              http://api.partner.example.localhost:8081\n",
        "  hosts line  ::1 api.partner.example.localhost\n",
    ] {
        assert!(paragraphs[0].contains(wanted), "{wanted}{ran:?}");
    }
    assert!(paragraphs[1].contains("http://{shop}.open.example.localhost:8080\n"), "{ran:?}");
    assert_eq!(ran.out.matches("hosts line").count(), 1, "only of exact names that do not lead here anyway: {ran:?}");
    assert!(!ran.out.contains("10.0.0.1.localhost") && !ran.out.contains("own.localhost.localhost"), "{ran:?}");
}

#[test]
fn a_missing_secret_is_an_error_where_it_is_named() {
    let scratch = Scratch::with(GOOD, &[("other", "x")]);
    let ran = run(&scratch, &["check"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.starts_with("error: the secret partner/key is missing\n  --> proxy.toml:5:22\n"), "{ran:?}");
    assert!(ran.out.contains("proxy.toml: not ok, 2 routes, 1 secret, 1 error\n"), "{ran:?}");
    let json = run(&scratch, &["check", "--format", "json"]).json();
    assert_eq!((&json["ok"], &json["secrets"][0]["reason"]), (&false.into(), &"missing".into()));
}

#[test]
fn a_missing_secret_is_a_warning_where_the_start_does_not_need_it() {
    let config = GOOD.replace("dir = \"secrets\"", "dir = \"secrets\"\nat_start = \"serve\"");
    let scratch = Scratch::with(&config, &[("other", "x")]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let json = ran.json();
    assert_eq!((ran.status, &json["ok"], &json["secrets"][0]["ok"]), (0, &true.into(), &false.into()));
    assert_eq!(json["diagnostics"][0]["severity"], "warning");
}

#[test]
fn a_bad_secret_says_why_and_never_what() {
    let scratch = Scratch::with(GOOD, &[("partner/key", "canary-4711\ncanary-4712")]);
    for format in ["text", "json"] {
        let ran = run(&scratch, &["check", "--format", format]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.out.contains("line break inside the value"), "{ran:?}");
        assert!(!ran.out.contains("canary") && !ran.err.contains("canary"), "{ran:?}");
    }
}

#[test]
fn a_secrets_directory_that_is_not_there_is_one_error() {
    let scratch = Scratch::with(GOOD, &[]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let json = ran.json();
    assert_eq!((ran.status, json["diagnostics"].as_array().unwrap().len()), (1, 1), "{ran:?}");
    let message = json["diagnostics"][0]["message"].as_str().unwrap();
    assert!(message.contains("/secrets cannot be read: it does not exist (uid "), "{message}");
    assert_eq!((&json["diagnostics"][0]["line"], &json["secrets"]), (&3.into(), &serde_json::json!([])));
}

#[test]
fn mistakes_of_the_configuration_come_together() {
    let scratch = Scratch::with("[listen]\nproxi = []\n[log]\nlevel = \"loud\"\n", &[]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let json = ran.json();
    assert_eq!((ran.status, &json["ok"], &json["routes"]), (1, &false.into(), &serde_json::json!([])));
    let lines: Vec<_> = json["diagnostics"].as_array().unwrap().iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [2, 4], "{ran:?}");
}

#[test]
fn what_the_playground_makes_is_no_mistake() {
    let config = r#"
[playground]
listen = "127.0.0.1:8443"
[secrets]
dir = "secrets"
[credential.key.hmac]
secret = "playground/hmac-key"
sign = "{method}"
set = { X-Signature = "{signature}" }
[[route]]
name = "playground"
host = "playground.example"
upstream = "https://127.0.0.1:8443"
credential = "key"
tls = { client_cert = "playground/client.crt", client_key = "playground/client.key", ca = "playground/ca.crt" }
"#;
    let scratch = Scratch::with(config, &[]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let secrets = ran.json()["secrets"].as_array().unwrap().clone();
    assert_eq!(secrets.len(), 4, "{ran:?}");
    assert!(secrets.iter().all(|one| one["ok"] == true && one["reason"] == "made at first start"), "{ran:?}");
    // The certificates are made together or not at all.
    scratch.secret("playground/ca.crt", "x");
    assert_eq!(run(&scratch, &["check"]).status, 1);
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let config = GOOD
        .replace("partner/key", "shop/{tenant}/key")
        .replace("prefix = \"/partner\"", "tenant = { header = \"Countersign-Tenant\" }");
    let scratch = Scratch::with(&config, &[("other", "x")]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let json = ran.json();
    assert_eq!((ran.status, &json["secrets"][0]["ok"]), (0, &true.into()), "{ran:?}");
    assert_eq!(json["diagnostics"][0]["message"], "no file matches the secret shop/{tenant}/key");
    scratch.secret("shop/m1/key", "");
    let ran = run(&scratch, &["check", "--format", "json"]);
    assert_eq!((ran.status, &ran.json()["secrets"][1]["name"]), (1, &"shop/m1/key".into()), "{ran:?}");
}

#[test]
fn a_secret_that_all_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::with(GOOD, &[("partner/key", "value\n")]);
    fs::set_permissions(scratch.path("secrets/partner/key"), fs::Permissions::from_mode(0o444)).unwrap();
    let ran = run(&scratch, &["check"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.err.starts_with("warning: readable for every user: partner/key"), "{ran:?}");
}

const MUTUAL: &str = r#"
[secrets]
dir = "secrets"
[[route]]
name = "erp"
host = "erp.example"
credential = "none"
tls = { client_cert = "erp/tls.crt", client_key = "erp/tls.key" }
"#;

/// A self-signed certificate that ends with that year, and its key.
fn certificate(end: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["worker".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(end, 12, 31);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn the_end_of_a_certificate_is_told_and_an_expired_one_is_an_error() {
    let (certificate_pem, key) = certificate(2090);
    let scratch = Scratch::with(MUTUAL, &[("erp/tls.crt", &certificate_pem), ("erp/tls.key", &key)]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let row = ran.json()["secrets"][0].clone();
    assert_eq!((ran.status, &row["credential"]), (0, &"route:erp/client_cert".into()), "{ran:?}");
    assert_eq!(row["expires_at"], "2090-12-31T00:00:00.000Z");
    assert!(row["days_left"].as_i64().unwrap() > 365, "{row}");

    let (certificate_pem, key) = certificate(2021);
    let scratch = Scratch::with(MUTUAL, &[("erp/tls.crt", &certificate_pem), ("erp/tls.key", &key)]);
    let ran = run(&scratch, &["check", "--format", "json"]);
    let row = ran.json()["secrets"][0].clone();
    assert_eq!((ran.status, &row["reason"]), (1, &"the certificate expired at 2021-12-31T00:00:00Z".into()), "{ran:?}");
}

#[test]
fn of_a_pair_the_file_that_is_wrong_is_named() {
    let (certificate_pem, key) = certificate(2090);
    let pairs = [
        (&*certificate_pem, "nonsense", "erp/tls.key", "not a PEM file"),
        ("nonsense", &*key, "erp/tls.crt", "not a PEM file"),
        (&*certificate_pem, &*certificate(2090).1, "erp/tls.crt", "key does not match certificate"),
    ];
    for (certificate_pem, key, name, reason) in pairs {
        let scratch = Scratch::with(MUTUAL, &[("erp/tls.crt", certificate_pem), ("erp/tls.key", key)]);
        let ran = run(&scratch, &["check", "--format", "json"]);
        let secrets = ran.json()["secrets"].as_array().unwrap().clone();
        let bad: Vec<_> = secrets.iter().filter(|row| row["ok"] == false).collect();
        assert_eq!((ran.status, bad.len()), (1, 1), "{ran:?}");
        assert_eq!((&bad[0]["name"], &bad[0]["reason"]), (&name.into(), &reason.into()));
        let ran = run(&scratch, &["explain", "GET", "https://erp.example/"]);
        assert!(
            ran.err.contains(&format!("503 credential_unavailable: route erp: secret {name}: {reason}")),
            "{ran:?}"
        );
    }
}
