//! What follows from `proxy.toml` alone: the table of routes, and which identities exist.

use std::collections::HashMap;
use std::sync::Arc;

use super::identity::{IdentitySpec, owner_of_credential, owner_of_route};
use crate::config::model::{
    AuthoritySource, Config, Credential, Intercept, Proof, Route, RouteTls, Settings, StateUrl, Trust,
};
use crate::route::table::{Entry, Table};
use crate::secret::name::NamePattern;
use crate::secret::value::{PEM_LIMIT, TEXT_LIMIT};
use crate::sign::Signer;
use crate::sign::basic::PublicValue;
use crate::sign::body::Holds;

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
    /// `oauth2`; empty where none is.
    token_identity: Vec<Option<usize>>,
    /// TLS towards `[events] url`, where there is one.
    pub events_identity: Option<usize>,
    /// Indexes into [`Config::credentials`], in the order of the names.
    by_name: Box<[u32]>,
    /// Index by name of [`Config::routes`], of routes with a port of their own.
    own_ports: HashMap<String, usize>,
}

/// What a route needs beside its configuration.
#[derive(Debug)]
pub struct RoutePlan {
    /// Index into [`Plan::identities`]; `None` for plain HTTP upstreams.
    pub identity: Option<usize>,
    /// Whether the whole body must be there before anything is signed.
    pub holds: Holds,
    /// Whether credentials fill fields of the body.
    pub edits_body: bool,
    /// Whether what a credential puts in depends on the request or its time.
    pub needs_request: bool,
    /// Whether a credential uses random bytes.
    pub needs_random: bool,
    /// Whether a credential uses numbers that grow.
    pub needs_sequence: bool,
    /// Which of the route's credentials, counted from 0, waits for the upstream's challenge (`digest`).
    pub challenged: Option<usize>,
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
        let token_identity = match config.credentials.iter().any(|one| one.token_tls.is_some()) {
            true => config.credentials.iter().map(|one| plan_token(&config, one, &mut identities)).collect(),
            false => Vec::new(),
        };
        let events_identity = config.events.as_ref().map(|_| {
            let spec = IdentitySpec::of(&RouteTls::default(), &config.trust);
            identities.index_of(spec, || "events".to_owned())
        });
        // A file of the size that is read has far fewer.
        let count = u32::try_from(config.credentials.len()).unwrap_or(u32::MAX);
        let mut by_name: Box<[u32]> = (0..count).collect();
        by_name.sort_unstable_by_key(|index| config.credentials[*index as usize].name.as_str());
        let own_ports = config
            .routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| route.listen.as_ref().map(|_| (route.name.clone(), index)))
            .collect();
        Self { table, identities: identities.list, routes, token_identity, events_identity, by_name, own_ports, config }
    }

    /// TLS towards the token endpoints of a credential: an index into [`Plan::identities`], where it is `oauth2`.
    pub fn token_identity(&self, credential: usize) -> Option<usize> {
        self.token_identity.get(credential).copied().flatten()
    }

    /// The index of a credential by its name.
    pub fn credential_index(&self, name: &str) -> Option<usize> {
        let name_of = |index: &u32| self.config.credentials[*index as usize].name.as_str();
        let place = self.by_name.binary_search_by(|index| name_of(index).cmp(name)).ok()?;
        Some(self.by_name[place] as usize)
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
    /// The settings that were looked at last: routes share them.
    last: Option<(Arc<Settings>, usize)>,
}

impl Identities {
    fn of_route(&mut self, route: &Route, trust: &Trust) -> usize {
        if let Some((_, index)) = self.last.as_ref().filter(|(settings, _)| Arc::ptr_eq(settings, &route.settings)) {
            return *index;
        }
        let index = self.index_of(IdentitySpec::of(&route.tls, trust), || owner_of_route(&route.name));
        self.last = Some((route.settings.clone(), index));
        index
    }

    fn index_of(&mut self, spec: IdentitySpec, owner: impl FnOnce() -> String) -> usize {
        if let Some(&index) = self.index.get(&spec) {
            return index;
        }
        let index = self.list.len();
        self.index.insert(spec.clone(), index);
        self.list.push(IdentitySpec { owner: owner(), ..spec });
        index
    }
}

fn plan_token(config: &Config, credential: &Credential, identities: &mut Identities) -> Option<usize> {
    let spec = IdentitySpec::of(credential.token_tls.as_ref()?, &config.trust);
    Some(identities.index_of(spec, || owner_of_credential(&credential.name)))
}

fn plan_route(config: &Config, route: &Route, identities: &mut Identities) -> RoutePlan {
    let signers = || route.credentials.iter().filter_map(|&index| config.credentials.get(index)).map(|c| &c.signer);
    let identity = route.upstream.tls.then(|| identities.of_route(route, &config.trust));
    RoutePlan {
        identity,
        holds: signers().map(|signer| signer.holds()).max().unwrap_or_default(),
        edits_body: signers().any(|signer| signer.edits_body()),
        needs_request: signers().any(|signer| !signer.is_constant()),
        needs_random: signers().any(|signer| signer.needs_random()),
        needs_sequence: signers().any(|signer| signer.needs_sequence()),
        challenged: signers().position(|signer| matches!(**signer, Signer::Digest(_))),
        has_tokens: signers().any(|signer| matches!(**signer, Signer::Token(_))),
    }
}
