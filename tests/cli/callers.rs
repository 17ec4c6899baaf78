//! `explain` and `check` of routes with clients, tenants and stand-ins.

use crate::support::{Scratch, countersign};

const CONFIG: &str = r#"
[secrets]
dir = "secrets"
[credential.shop]
bearer = { secret = "shop/{tenant}/key" }
[client.importer]
token = "clients/importer"
[[route]]
name = "slot"
host = "slot.example"
credential = "shop"
tenant = { slot = true }
clients = ["importer"]
[[route]]
name = "query"
host = "query.example"
credential = "shop"
tenant = { query = "shop" }
[[route]]
name = "path"
host = "path.example"
credential = "shop"
tenant = { path = 1 }
[[route]]
name = "token"
host = "slot.example"
path = "/token"
credential = "none"
stand_in = "token"
"#;

fn scratch() -> Scratch {
    Scratch::with(CONFIG, &[("shop/m1/key", "key"), ("clients/importer", "token")])
}

#[test]
fn explain_finds_the_tenant_wherever_it_is() {
    let scratch = scratch();
    for (words, target) in [
        (&["https://slot.example/a", "-H", "Authorization: Bearer countersign-m1"][..], "/a"),
        (&["https://query.example/a?shop=m1&b=2"], "/a?b=2"),
        (&["https://query.example/a?b=2", "--tenant", "m1"], "/a?b=2"),
        (&["https://path.example/m1/a"], "/m1/a"),
        (&["https://path.example/m1/a", "--tenant", "m1"], "/m1/a"),
    ] {
        let ran = countersign(&scratch.path(""), &[&["explain", "--format", "json", "GET"], words].concat());
        assert_eq!(ran.status, 0, "{ran:?}");
        let json = ran.json();
        assert_eq!((&json["tenant"], &json["target"]), (&"m1".into(), &target.into()), "{words:?}");
    }
    let ran = countersign(&scratch.path(""), &["explain", "GET", "https://path.example/m1/a", "--tenant", "m2"]);
    assert!(ran.status == 1 && ran.err.contains("the tenant of this request is m1, not m2"), "{ran:?}");
    let ran = countersign(&scratch.path(""), &["explain", "POST", "https://slot.example/token"]);
    assert!(ran.status == 1 && ran.err.contains("route token answers with a stand-in token"), "{ran:?}");
}

#[test]
fn check_shows_callers_and_their_tokens() {
    let scratch = scratch();
    let ran = countersign(&scratch.path(""), &["check"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    for line in [
        "clients     importer",
        "tenant      slot of the credential",
        "tenant      query parameter shop",
        "tenant      segment 1 of the path",
        "answers     itself, with a stand-in token",
        "clients/importer   client:importer  ok",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let without = Scratch::with(CONFIG, &[("shop/m1/key", "key")]);
    let ran = countersign(&without.path(""), &["check"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.starts_with("error: the secret clients/importer is missing\n  --> proxy.toml:7:9\n"), "{ran:?}");
}
