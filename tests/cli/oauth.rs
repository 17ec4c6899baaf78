//! `check` and `explain` of credentials with tokens: no store is opened and no token is asked for.

use super::run;
use crate::support::Scratch;

const CONFIG: &str = r#"
[secrets]
dir = "secrets"
[state]
url = "sqlite:state.db"
key = "state/key"
[events]
url = "https://backend.example/hooks"
secret = "events/key"
[credential.shop.oauth2]
grant = "refresh_token"
token_url = "https://auth.example/token"
client_id = "app"
client_secret = { secret = "shop/client-secret" }
refresh_token = { secret = "shop/{tenant}/seed" }
answer = { values = { manager = "/manager" } }
inject = [{ header = "Authorization" }, { header = "X-Manager", value = "{value.manager}/{tenant}" }, { query = "t" }]
[[route]]
name = "shop"
host = "api.example"
prefix = "/shop"
tenant = { header = "Countersign-Tenant" }
credential = "shop"
"#;

const SECRETS: [(&str, &str); 3] = [
    ("shop/client-secret", "canary"),
    ("state/key", "0123456789abcdef0123456789abcdef"),
    ("events/key", "whsec_Y2FuYXJ5"),
];

#[test]
fn check_lists_the_secrets_of_tokens_and_a_seed_is_optional() {
    let scratch = Scratch::with(CONFIG, &SECRETS);
    let ran = run(&scratch, &["check", "--format", "json"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    let optional = "no file; optional, the first refresh token";
    assert_eq!(
        ran.json()["secrets"],
        serde_json::json!([
            {"name": "shop/client-secret", "credential": "shop", "ok": true, "reason": null},
            {"name": "shop/{tenant}/seed", "credential": "shop", "ok": true, "reason": optional},
            {"name": "state/key", "credential": "state", "ok": true, "reason": null},
            {"name": "events/key", "credential": "events", "ok": true, "reason": null},
        ])
    );
    assert!(!scratch.path("state.db").exists(), "check opens no store");
}

#[test]
fn a_missing_key_and_a_bad_seed_are_errors() {
    let scratch = Scratch::with(CONFIG, &[SECRETS[0], SECRETS[2], ("shop/m1/seed", "two\nlines")]);
    let ran = run(&scratch, &["check"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("error: the secret state/key is missing\n  --> proxy.toml:6:7\n"), "{ran:?}");
    assert!(ran.err.contains("shop/m1/seed") && !ran.err.contains("two"), "{ran:?}");
}

#[test]
fn explain_shows_the_names_of_the_token_s_parts_in_their_places() {
    let scratch = Scratch::with(CONFIG, &SECRETS);
    let header = "Authorization: Bearer of-the-worker";
    let url = "http://127.0.0.1:8080/shop/orders?t=1";
    let ran = run(&scratch, &["explain", "GET", url, "--tenant", "m1", "-H", header, "--format", "json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let shown = ran.json();
    assert_eq!(shown["target"], "/orders?t=[access_token]");
    assert_eq!(
        shown["headers"],
        serde_json::json!([
            ["host", "api.example"],
            ["authorization", "Bearer [access_token]"],
            ["x-manager", "[value.manager]/m1"],
        ])
    );
    assert!(!ran.out.contains("canary") && !ran.out.contains("of-the-worker"), "{ran:?}");
}
