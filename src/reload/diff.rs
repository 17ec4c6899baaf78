//! What a changed `proxy.toml` changes, as one line of names and numbers. No value of a secret is in a
//! configuration, and of its text only names come into the line. Called by `reload` alone.

use std::collections::BTreeMap;

use crate::config::model::{Client, Config, Credential, Proof, Route, Settings};
use crate::snapshot::identity::IdentitySpec;

/// Most names of one kind of change in the line; the numbers beside them are whole.
const NAMES: usize = 10;

/// What was added, removed and changed among things that have names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) changed: Vec<String>,
}

impl Changes {
    fn between(old: BTreeMap<String, String>, mut new: BTreeMap<String, String>) -> Self {
        let mut changes = Self::default();
        for (name, shape) in old {
            match new.remove(&name) {
                None => changes.removed.push(name),
                Some(other) if other != shape => changes.changed.push(name),
                Some(_) => {}
            }
        }
        changes.added.extend(new.into_keys());
        changes
    }

    fn count(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }
}

/// Everything that differs between two configurations.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) routes: Changes,
    pub(super) credentials: Changes,
    pub(super) clients: Changes,
    /// Keys outside routes, credentials and clients.
    pub(super) settings: Vec<&'static str>,
}

impl Diff {
    pub(super) fn between(old: &Config, new: &Config) -> Self {
        let routes = |config: &Config| shapes(&config.routes, |route| (route.name.clone(), route_shape(config, route)));
        let credentials = |config: &Config| shapes(&config.credentials, |one| credential_shape(config, one));
        let clients = |config: &Config| shapes(&config.clients, client_shape);
        Self {
            routes: Changes::between(routes(old), routes(new)),
            credentials: Changes::between(credentials(old), credentials(new)),
            clients: Changes::between(clients(old), clients(new)),
            settings: settings(old, new),
        }
    }

    /// The audit line. Fields of what did not change are empty.
    pub(super) fn log(&self, routes: usize) {
        let Self { routes: r, credentials: c, clients, settings } = self;
        tracing::info!(
            kind = "audit",
            routes,
            changes = r.count() + c.count() + clients.count() + settings.len(),
            routes_added = list(&r.added),
            routes_removed = list(&r.removed),
            routes_changed = list(&r.changed),
            credentials_added = list(&c.added),
            credentials_removed = list(&c.removed),
            credentials_changed = list(&c.changed),
            clients_added = list(&clients.added),
            clients_removed = list(&clients.removed),
            clients_changed = list(&clients.changed),
            settings = settings.join(","),
            "proxy.toml taken into use"
        );
    }
}

/// `a,b,c`, or `a,b and 7 more`.
fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES)].join(",");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn shapes<T>(all: &[T], shape: impl Fn(&T) -> (String, String)) -> BTreeMap<String, String> {
    all.iter().map(shape).collect()
}

fn credential_shape(config: &Config, credential: &Credential) -> (String, String) {
    let Credential { name, span: _, signer, secret_spans: _, oauth, token_tls, seed: _ } = credential;
    let tls = token_tls.as_ref().map(|tls| {
        let spec = IdentitySpec::of(tls, &config.trust);
        format!("{spec:?} {:?}", tls.server_name)
    });
    (name.clone(), format!("{signer:?} {oauth:?} {tls:?}"))
}

fn client_shape(client: &Client) -> (String, String) {
    let proof = match &client.proof {
        Proof::Token(token) => format!("{:?}", token.signer),
        Proof::Uid(uid) => format!("uid {uid}"),
    };
    (client.name.clone(), format!("{proof} {:?}", client.tenants))
}

/// What a route says, without where it stands in the file. Names nothing by index, because indexes move.
fn route_shape(config: &Config, route: &Route) -> String {
    let Route { name: _, span: _, host, path, prefix, upstream, credentials, settings } = route;
    let Settings { methods, listen, tenant, callers, stand_in, tls, websocket, clock, timeouts, limits } = &**settings;
    let identity = IdentitySpec::of(tls, &config.trust);
    let clients = callers
        .clients
        .as_ref()
        .map(|list| list.iter().map(|&index| config.clients[index].name.as_str()).collect::<Vec<_>>());
    let origins = &callers.origins;
    let server_name = &tls.server_name;
    let names: Vec<&str> = credentials.iter().map(|&index| config.credentials[index].name.as_str()).collect();
    format!(
        "{host} {path:?} {methods:?} {prefix:?} {listen:?} {upstream:?} {tenant:?} {identity:?} {server_name:?} \
         {websocket} {clock:?} {timeouts:?} {limits:?} {names:?} {clients:?} {origins:?} {stand_in:?}"
    )
}

/// Keys outside routes, credentials and clients that a running process follows; the others need a restart.
fn settings(old: &Config, new: &Config) -> Vec<&'static str> {
    let token = |config: &Config| config.admin.token.as_ref().map(|token| token.value.clone());
    let differs = [
        (old.secrets.on_missing != new.secrets.on_missing, "secrets.on_missing"),
        (old.secrets.overlap != new.secrets.overlap, "secrets.overlap"),
        (old.secrets.at_start != new.secrets.at_start, "secrets.at_start"),
        (old.log.level != new.log.level, "log.level"),
        (old.limits.in_flight != new.limits.in_flight, "limits.in_flight"),
        (old.limits.buffered != new.limits.buffered, "limits.buffered"),
        (old.drain != new.drain, "drain"),
        (token(old) != token(new), "admin.token"),
        (old.admin.protect_reads != new.admin.protect_reads, "admin.protect_reads"),
        (old.connect_to != new.connect_to, "connect_to"),
        (old.dns != new.dns, "dns"),
        (egress(old) != egress(new), "egress"),
        (old.events != new.events, "events"),
    ];
    differs.into_iter().filter(|(changed, _)| *changed).map(|(_, key)| key).collect()
}

/// The egress proxy, its credential by name.
fn egress(config: &Config) -> Option<String> {
    let egress = config.egress.as_ref()?;
    let credential = egress.credential.map(|index| config.credentials[index].name.as_str());
    Some(format!("{:?} {:?} {credential:?}", egress.proxy, egress.no_proxy))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(name: &str, text: &str) -> Config {
        let path = std::env::temp_dir().join(format!("countersign-diff-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path);
        std::fs::remove_file(path).unwrap();
        let texts: Vec<String> = loaded.diagnostics.iter().map(|one| one.render(&loaded.source)).collect();
        loaded.config.unwrap_or_else(|| panic!("{texts:?}"))
    }

    const OLD: &str = r#"
        [credential.kept]
        bearer = { secret = "a" }
        [credential.moved]
        bearer = { secret = "b" }
        [credential.gone]
        api_key = { secret = "c", header = "X-Key" }
        [client.worker]
        token = { secret = "w" }
        [[route]]
        name = "kept"
        host = "kept.example"
        credential = "kept"
        [[route]]
        name = "changed"
        host = "changed.example"
        credential = "moved"
        [[route]]
        name = "gone"
        host = "gone.example"
        credential = "gone"
    "#;

    #[test]
    fn everything_that_differs_is_named_once_and_order_does_not_matter() {
        let new = r#"
            [secrets]
            overlap = "1m"
            [client.worker]
            token = { secret = "w2" }
            [credential.new]
            bearer = { secret = "n" }
            [credential.moved]
            bearer = { secret = "b2" }
            [credential.kept]
            bearer = { secret = "a" }
            [[route]]
            name = "new"
            host = "new.example"
            credential = "new"
            [[route]]
            name = "changed"
            host = "changed.example"
            credential = "moved"
            websocket = false
            [[route]]
            name = "kept"
            host = "kept.example"
            credential = "kept"
        "#;
        let diff = Diff::between(&config("old", OLD), &config("new", new));
        let one = |name: &str| vec![name.to_owned()];
        assert_eq!(diff.routes, Changes { added: one("new"), removed: one("gone"), changed: one("changed") });
        assert_eq!(diff.credentials, Changes { added: one("new"), removed: one("gone"), changed: one("moved") });
        assert_eq!(diff.clients, Changes { changed: one("worker"), ..Changes::default() });
        assert_eq!(diff.settings, ["secrets.overlap"]);
    }

    #[test]
    fn a_file_that_is_only_written_differently_differs_in_nothing() {
        let spaced = OLD.replace("\n        ", "\n\n# a comment\n");
        let diff = Diff::between(&config("same", OLD), &config("spaced", &spaced));
        let none = || Changes::default();
        let same = Diff { routes: none(), credentials: none(), clients: none(), settings: Vec::new() };
        assert_eq!(diff, same);
    }

    #[test]
    fn what_a_credential_says_of_its_tokens_is_part_of_it() {
        let with = |refresh: &str, state: &str| {
            format!(
                r#"
                [state]
                url = "{state}"
                [credential.c.oauth2]
                grant = "client_credentials"
                token_url = "https://auth.example/token"
                client_id = "app"
                client_auth = "none"
                refresh = {{ {refresh} }}
                tls = {{ ca = "c/ca.pem" }}
                [[route]]
                name = "r"
                host = "r.example"
                credential = "c"
                "#
            )
        };
        let old = config("tokens", &with("at = 0.8", "memory:"));
        let new = config("tokens-new", &with("at = 0.7", "memory:"));
        let diff = Diff::between(&old, &new);
        assert_eq!(diff.credentials, Changes { changed: vec!["c".to_owned()], ..Changes::default() });
        assert!(Diff::between(&old, &config("tokens-same", &with("", "memory:"))).credentials.count() == 0);
        let elsewhere = config(
            "tokens-state",
            &with("at = 0.8", "postgres://db.example/state").replace("[credential", "key = \"state/key\"\n[credential"),
        );
        assert_eq!(crate::reload::restart::needed(&old, &elsewhere), ["state"]);
        let without = config("tokens-none", "");
        assert_eq!(crate::reload::restart::needed(&without, &old), ["state"]);
        assert!(
            crate::reload::restart::needed(&old, &without).is_empty()
                && crate::reload::restart::needed(&old, &new).is_empty()
        );
    }

    #[test]
    fn a_long_list_is_cut_and_says_by_how_much() {
        let names: Vec<String> = (0..12).map(|n| format!("r{n:02}")).collect();
        assert_eq!(list(&names), "r00,r01,r02,r03,r04,r05,r06,r07,r08,r09 and 2 more");
        assert_eq!((list(&names[..2]), list(&[])), ("r00,r01".to_owned(), String::new()));
    }
}
