//! Connections from outside: the commands on a store, an approval through a browser, the admin listener.

mod admin;
mod authority;
mod commands;
mod connect;

use authority::Authority;

use crate::support::{Ran, Scratch, countersign};

/// A configuration with one `oauth2` credential whose routes have a tenant, and one without tenants.
fn scratch(authority: &Authority, more: &str) -> Scratch {
    let keys = authority.keys();
    let config = format!(
        r#"
[listen]
proxy = []
admin = "off"

[secrets]
dir = "secrets"

[state]
url = "sqlite:state/state.db"
key = "state/key"

[credential.shop]
oauth2 = {{ {keys} }}

[credential.own]
oauth2 = {{ {keys}, per = "credential" }}

[[route]]
name = "orders"
host = "api.shop.test"
credential = "shop"
tenant = {{ header = "Countersign-Tenant" }}

[[route]]
name = "own"
host = "own.shop.test"
credential = "own"
{more}
"#
    );
    Scratch::with(&config, &[("app", "app-secret"), ("state/key", KEY)])
}

/// 32 bytes in base64: `printf 0123456789abcdef0123456789abcdef | base64`.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn run(scratch: &Scratch, words: &[&str]) -> Ran {
    countersign(&scratch.path(""), words)
}

/// The same in JSON.
fn json(scratch: &Scratch, words: &[&str]) -> serde_json::Value {
    let words: Vec<&str> = words.iter().copied().chain(["--format", "json"]).collect();
    let ran = run(scratch, &words);
    assert_eq!(ran.status, 0, "{ran:?}");
    ran.json()
}

/// Imports lines.
fn import(scratch: &Scratch, lines: &str, words: &[&str]) -> Ran {
    std::fs::write(scratch.path("lines"), lines).unwrap();
    let words: Vec<&str> = ["connections", "import", "lines"].iter().chain(words).copied().collect();
    run(scratch, &words)
}
