//! What follows from `proxy.toml` alone: the table of routes, and which identities exist.

use std::collections::HashMap;
use std::sync::Arc;

use super::identity::{IdentitySpec, owner_of_credential, owner_of_route};
use crate::config::model::{
    AuthoritySource, Config, Credential, Intercept, Proof, Route, RouteTls, StateUrl, TlsVersion,
};
use crate::route::table::{Entry, Table};
use crate::secret::name::NamePattern;
use crate::secret::value::{PEM_LIMIT, TEXT_LIMIT};
use crate::sign::Signer;
use crate::sign::basic::PublicValue;

/// A configuration made ready for requests.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Arc<Config>,
    /// Finds routes; its indexes are those of [`Config::routes`].
    pub table: Table,
    /// Client identities, each once however many routes share it. Index 0 is the plain one: public roots, no certificate.
    pub identities: Vec<IdentitySpec>,
    /// Per route.
    pub routes: Vec<RoutePlan>,
    /// TLS towards token endpoints: for each of [`Config::credentials`] an index into [`Plan::identities`], where it is
    /// `oauth2`.
    pub token_identity: Vec<Option<usize>>,
    /// TLS towards `[events] url`, where there is one.
    pub events_identity: Option<usize>,
    /// Index by name of [`Config::credentials`].
    pub credential_index: HashMap<String, usize>,
    /// Index by name of [`Config::routes`], of routes with a port of their own.
    own_ports: HashMap<String, usize>,
}

/// What a route needs beside its configuration.
#[derive(Debug)]
pub struct RoutePlan {
    /// Index into [`Plan::identities`]; `None` for plain HTTP upstreams.
    pub identity: Option<usize>,
    /// Whether a signature covers the body.
    pub needs_body: bool,
    /// Whether what a credential puts in depends on the request or its time.
    pub needs_request: bool,
    /// Whether a credential uses random bytes.
    pub needs_random: bool,
    /// Whether a credential has tokens, which are looked up before anything else of the request is used.
    pub has_tokens: bool,
}

impl Plan {
    /// Compiles a configuration.
    pub fn new(config: Arc<Config>) -> Self {
        let table = Table::build(config.routes.iter().map(|route| Entry {
            host: &route.host,
            path: route.path.as_deref(),
            methods: route.methods.as_deref(),
            upstream_port: route.upstream.port,
            prefix: route.prefix.as_deref(),
        }));
        let mut identities = Identities::default();
        let routes = config.routes.iter().map(|route| plan_route(&config, route, &mut identities)).collect();
        let token_identity = config.credentials.iter().map(|one| plan_token(&config, one, &mut identities)).collect();
        let events_identity = config.events.as_ref().map(|_| {
            let spec = IdentitySpec::of(&plain_tls(), &config.trust);
            identities.index_of(spec, "events".to_owned())
        });
        let credential_index =
            config.credentials.iter().enumerate().map(|(index, credential)| (credential.name.clone(), index)).collect();
        let own_ports = config
            .routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| route.listen.as_ref().map(|_| (route.name.clone(), index)))
            .collect();
        Self {
            table,
            identities: identities.list,
            routes,
            token_identity,
            events_identity,
            credential_index,
            own_ports,
            config,
        }
    }

    /// The index of a route with a port of its own.
    pub fn own_port(&self, route: &str) -> Option<usize> {
        self.own_ports.get(route).copied()
    }

    /// The secrets of `[state]` and `[events]`.
    fn state_secrets(&self) -> Vec<&NamePattern> {
        let state = &self.config.state;
        let url = match &state.url {
            StateUrl::Postgres(PublicValue::Secret(name)) => Some(name),
            _ => None,
        };
        let events = self.config.events.as_ref().map(|events| &events.secret.value);
        state.keys.iter().map(|key| &key.value).chain(url).chain(events).collect()
    }

    /// Every secret that the configuration names, with the largest size that it may have.
    pub fn wanted(&self) -> Vec<(NamePattern, u64)> {
        let tokens = self.config.clients.iter().filter_map(|client| match &client.proof {
            Proof::Token(token) => Some(&**token),
            Proof::Uid(_) => None,
        });
        let seeds = self.config.credentials.iter().filter_map(|credential| credential.seed.as_deref());
        let texts = self.config.credentials.iter().chain(tokens).chain(seeds).flat_map(|credential| {
            credential.signer.requirements().iter().map(|requirement| (requirement.pattern.clone(), TEXT_LIMIT))
        });
        let state = self.state_secrets().into_iter().map(|name| (name.clone(), TEXT_LIMIT));
        let pems = self.identities.iter().flat_map(|spec| {
            let pair = [&spec.client_cert, &spec.client_key].into_iter().flatten();
            pair.chain(&spec.ca).map(|name| (name.clone(), PEM_LIMIT))
        });
        let admin = self.config.admin.token.iter().map(|token| (token.value.clone(), TEXT_LIMIT));
        let authority = match &self.config.intercept {
            Some(Intercept { authority: AuthoritySource::Secrets { cert, key } }) => vec![cert, key],
            _ => Vec::new(),
        };
        let authority = authority.into_iter().map(|name| (name.value.clone(), PEM_LIMIT));
        texts.chain(pems).chain(admin).chain(authority).chain(state).collect()
    }
}

#[derive(Default)]
struct Identities {
    list: Vec<IdentitySpec>,
    index: HashMap<IdentitySpec, usize>,
}

impl Identities {
    fn index_of(&mut self, spec: IdentitySpec, owner: String) -> usize {
        if let Some(&index) = self.index.get(&spec) {
            return index;
        }
        let index = self.list.len();
        self.index.insert(spec.clone(), index);
        self.list.push(IdentitySpec { owner, ..spec });
        index
    }
}

/// TLS without anything of its own.
fn plain_tls() -> RouteTls {
    RouteTls {
        client_cert: None,
        client_key: None,
        ca: None,
        server_name: None,
        min: TlsVersion::V1_2,
        pins: Vec::new(),
    }
}

fn plan_token(config: &Config, credential: &Credential, identities: &mut Identities) -> Option<usize> {
    let spec = IdentitySpec::of(credential.token_tls.as_ref()?, &config.trust);
    Some(identities.index_of(spec, owner_of_credential(&credential.name)))
}

fn plan_route(config: &Config, route: &Route, identities: &mut Identities) -> RoutePlan {
    let signers = || route.credentials.iter().filter_map(|&index| config.credentials.get(index)).map(|c| &c.signer);
    let identity = route
        .upstream
        .tls
        .then(|| identities.index_of(IdentitySpec::of(&route.tls, &config.trust), owner_of_route(&route.name)));
    RoutePlan {
        identity,
        needs_body: signers().any(|signer| signer.needs_body()),
        needs_request: signers().any(|signer| !signer.is_constant()),
        needs_random: signers().any(|signer| signer.needs_random()),
        has_tokens: signers().any(|signer| matches!(**signer, Signer::Token(_))),
    }
}
