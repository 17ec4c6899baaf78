//! Seeds of refresh tokens, and what a snapshot has for token endpoints.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::config;
use crate::secret::name::SecretName;
use crate::secret::set::SecretFile;
use crate::secret::value::SecretBytes;
use crate::sign::material::Material;

const CONFIG: &str = r#"
[secrets]
on_missing = "keep"
[state]
key = "state/key"
[credential.plain]
api_key = { secret = "plain", header = "X-Key" }
[credential.shop.oauth2]
grant = "refresh_token"
token_url = "https://auth.example/token"
client_id = "app"
client_secret = { secret = "shop/secret" }
refresh_token = { secret = "shop/{tenant}/seed" }
tls = { ca = "shop/ca.pem" }
[[route]]
name = "shop"
host = "api.example"
tenant = { header = "Countersign-Tenant" }
credential = ["plain", "shop"]
"#;

fn compile(files: &[(&str, &str)], before: Option<&Snapshot>) -> Snapshot {
    let file = |content: &str| {
        let mut digest = [0; 16];
        content.bytes().take(16).enumerate().for_each(|(at, byte)| digest[at] = byte);
        SecretFile { content: Ok(SecretBytes::copy_of(content.as_bytes())), digest }
    };
    let files: HashMap<_, _> =
        files.iter().map(|(name, text)| (SecretName::parse(name).unwrap(), file(text))).collect();
    let set = SecretSet { generation: before.map_or(1, |before| before.generation + 1), files: Arc::new(files) };
    let loaded = config::parse("proxy.toml", CONFIG, Path::new("/"));
    let plan =
        before.map_or_else(|| Arc::new(Plan::new(Arc::new(loaded.config.unwrap()))), |before| before.plan.clone());
    Snapshot::compile(
        plan,
        &set,
        before,
        &Moment { now: Timestamp::from_seconds(0), fingerprint_key: FingerprintKey::new(&[0; 32]) },
    )
}

fn seed(snapshot: &Snapshot, tenant: &'static str) -> Option<String> {
    let instance = snapshot.seed("shop").unwrap().instance(|_| Some(tenant)).ok()?;
    let value = instance.value().ok()?;
    let [Material::Text(text)] = &value.keys[..] else { panic!("a text") };
    Some(String::from_utf8(text.expose().to_vec()).unwrap())
}

#[test]
fn a_seed_is_there_for_as_long_as_its_file() {
    let first = compile(&[("plain", "p"), ("shop/secret", "s"), ("shop/m1/seed", "seed-1\n")], None);
    assert!(first.seeds[0].is_none() && first.seed("plain").is_none());
    assert_eq!((seed(&first, "m1").as_deref(), seed(&first, "m2")), (Some("seed-1"), None));
    let changed = compile(&[("plain", "p"), ("shop/secret", "s"), ("shop/m1/seed", "seed-2")], Some(&first));
    assert_eq!(seed(&changed, "m1").as_deref(), Some("seed-2"));
    let gone = compile(&[("plain", "p"), ("shop/secret", "s")], Some(&changed));
    assert_eq!(seed(&gone, "m1"), None, "whatever on_missing says");
    let problems: Vec<String> = gone.problems().iter().map(|problem| problem.secret.to_string()).collect();
    assert_eq!(problems, ["shop/ca.pem"], "a missing seed is no fault");
}

#[test]
fn everything_that_tokens_need_is_wanted_and_planned() {
    let snapshot = compile(&[], None);
    let wanted: Vec<String> = snapshot.plan.wanted().iter().map(|(name, _)| name.to_string()).collect();
    for name in ["plain", "shop/secret", "shop/{tenant}/seed", "shop/ca.pem", "state/key"] {
        assert!(wanted.iter().any(|other| other == name), "{name} in {wanted:?}");
    }
    assert_eq!(snapshot.plan.token_identity(0), None);
    let Some(identity) = snapshot.plan.token_identity(1) else { panic!("one with tokens") };
    assert_eq!(snapshot.plan.identities[identity].owner, "credential:shop");
    assert_ne!(snapshot.plan.routes[0].identity, Some(identity), "of the route's own upstream");
    let names: Vec<String> = snapshot.problems().iter().map(|problem| problem.credential.clone()).collect();
    assert!(names.contains(&"credential:shop/ca".to_owned()), "{names:?}");
}
