//! What a request needs of its route before it may leave: credentials, client identity, the draft. No I/O.
//!
//! Callers: `request`, which goes on to sign and send, and `cli::explain`, which shows.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Uri};

use super::failure::Failure;
use super::hop;
use super::matching::Matched;
use super::names::Names;
use super::tokens::Obtained;
use crate::clock::Timestamp;
use crate::config::model::{Route, TenantSource};
use crate::observe::Outcome;
use crate::sign::digest::Turn;
use crate::sign::seal::{Draft, Twins};
use crate::sign::target::{Host, Target};
use crate::sign::{Signer, Slot};
use crate::snapshot::Snapshot;
use crate::snapshot::credential::{CredentialState, Instance};
use crate::snapshot::identity::TlsClient;
use crate::upstream::lease::Trailers;

/// What a request needs of its route, all of it there.
#[derive(Debug)]
pub struct Ready<'l> {
    /// The route.
    pub route: &'l Route,
    /// Its index.
    pub index: usize,
    /// One for each of its credentials, in order; each has a value.
    pub instances: Vec<Held<'l>>,
    /// Those of them that are tokens.
    pub tokens: Vec<Obtained>,
    /// TLS towards the upstream; `None` for plain HTTP.
    pub client: Option<&'l Arc<TlsClient>>,
    /// How the route was found.
    pub matched: Matched<'l>,
    /// The tenant, where the route asks for one.
    pub tenant: Option<String>,
    /// Whether the worker takes trailers; whoever sends says so.
    pub trailers: Trailers,
    /// Under what the newest value of `digest` signs at once, where the upstream has asked before; set by whoever sends.
    pub turn: Option<Turn>,
    credentials: &'l [Arc<CredentialState>],
}

/// What a credential signs with: secrets of the snapshot, or a token, which outlives it.
#[derive(Clone, Debug)]
pub enum Held<'l> {
    /// Of the snapshot.
    Lent(&'l Arc<Instance>),
    /// A token's.
    Token(Arc<Instance>),
}

impl std::ops::Deref for Held<'_> {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        match self {
            Self::Lent(instance) => instance,
            Self::Token(instance) => instance,
        }
    }
}

/// Credentials and identity, before anything of the request is used up. `tokens` has one for each credential of the
/// route that has tokens.
pub fn prepare<'l>(
    snapshot: &'l Snapshot,
    matched: Matched<'l>,
    tenant: Option<String>,
    tokens: Vec<Obtained>,
    now: Timestamp,
) -> Result<Ready<'l>, Failure> {
    let route = &snapshot.plan.config.routes[matched.route];
    let value = |name: &str| match name {
        "tenant" => tenant.as_deref(),
        _ => matched.captures.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
    };
    let mut instances = Vec::with_capacity(route.credentials.len());
    for &index in &route.credentials {
        let credential = &snapshot.credentials[index];
        if let Signer::Token(_) = &*credential.signer {
            // Between two configurations a token may have been made for the other one.
            let obtained = tokens.iter().find(|obtained| obtained.credential == index);
            let fitting = obtained.filter(|obtained| obtained.token.fits(&credential.signer));
            let obtained = fitting.ok_or_else(|| Failure {
                credential: Some(credential.name.to_string()),
                ..Failure::new(Outcome::CredentialUnavailable, format!("credential {} has no token", credential.name))
            })?;
            instances.push(Held::Token(obtained.token.instance.clone()));
            continue;
        }
        let instance = credential.instance(value).map_err(|why| Failure::unavailable(&credential.name, &why))?;
        instance.value().map_err(|why| Failure::unavailable(&credential.name, &why))?;
        instances.push(Held::Lent(instance));
    }
    let client = client(snapshot, matched.route, now)?;
    let credentials = &*snapshot.credentials;
    Ok(Ready {
        route,
        index: matched.route,
        instances,
        tokens,
        client,
        tenant,
        trailers: Trailers::Unmentioned,
        turn: None,
        matched,
        credentials,
    })
}

fn client(snapshot: &Snapshot, route: usize, now: Timestamp) -> Result<Option<&Arc<TlsClient>>, Failure> {
    let Some(identity) = snapshot.plan.routes[route].identity else { return Ok(None) };
    let state = &snapshot.identities[identity];
    let name = &snapshot.plan.config.routes[route].name;
    let unusable = |half: &str, why: String| Failure {
        credential: Some(format!("route:{name}/{half}")),
        ..Failure::new(Outcome::CredentialUnavailable, why)
    };
    let Some(client) = &state.client else {
        let problem = state.problems().into_iter().next();
        let (half, why) = match problem {
            Some(p) => {
                let half = if p.credential.ends_with("/ca") { "ca" } else { "client_cert" };
                (half, format!("route {name}: secret {}: {}", p.secret, p.reason))
            }
            None => ("client_cert", format!("route {name} has no usable client identity")),
        };
        return Err(unusable(half, why));
    };
    if client.not_after.is_some_and(|end| end < now) {
        return Err(unusable("client_cert", format!("route {name}: the client certificate has expired")));
    }
    Ok(Some(client))
}

/// What leaves as the request target: the worker's bytes without the prefix that led here.
pub fn target(uri: &Uri, cut: usize) -> Target {
    match uri.path_and_query() {
        Some(whole) if cut == 0 => Target::from(whole.clone()),
        whole => {
            let rest = whole.map_or("", |whole| &whole.as_str()[cut..]);
            Target::from(if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") })
        }
    }
}

impl Ready<'_> {
    /// The request as it would leave without credentials: nothing of the worker's in the slots that they fill.
    pub fn draft(&self, parts: Parts, names: Names, host: Host) -> Result<Draft, Failure> {
        let target = target(&parts.uri, self.matched.cut);
        let mut headers = parts.headers;
        if let Some(TenantSource::Header(name)) = &self.route.tenant {
            headers.remove(name);
        }
        hop::clean_request(&mut headers, names)?;
        let mut draft = Draft { method: parts.method, tls: self.route.upstream.tls, host, target, headers };
        let twins = if names.any(Names::UNDERSCORE) { Twins::Possible } else { Twins::None };
        if let Some(TenantSource::Query(name)) = &self.route.tenant {
            draft.strip(&[Slot::Query(name.clone())], twins);
        }
        self.strip(&mut draft, twins);
        Ok(draft)
    }

    /// The API's host that a token's answer named, which takes the place of the route's upstream (`answer.host`).
    pub fn learned_host(&self) -> Option<&str> {
        self.tokens.iter().find_map(|obtained| obtained.token.host.as_deref()).filter(|_| self.route.upstream.tls)
    }

    /// Removes what stands where the route's credentials go.
    pub fn strip(&self, draft: &mut Draft, twins: Twins) {
        for &index in &self.route.credentials {
            draft.strip(self.credentials[index].signer.slots(), twins);
        }
    }

    /// The body without what the worker put into fields that the route's credentials fill; nothing where that changes
    /// nothing.
    pub fn strip_body(&self, draft: &mut Draft, body: &[u8]) -> Result<Option<Bytes>, Failure> {
        let slots = self.route.credentials.iter().flat_map(|&index| self.credentials[index].signer.slots());
        draft.strip_body(slots, body).map_err(|error| Failure::new(Outcome::BadRequest, error.to_string()))
    }

    /// The headers that credentials fill: no trailer of the worker's may have such a name.
    pub fn filled_headers(&self) -> impl Iterator<Item = HeaderName> {
        let slots = self.route.credentials.iter().flat_map(|&index| self.credentials[index].signer.slots());
        slots.filter_map(|slot| match slot {
            Slot::Header(name) => Some(name.clone()),
            Slot::Query(_) | Slot::Cookie(_) | Slot::Form(_) | Slot::Json(_) => None,
        })
    }

    /// The Host that the upstream sees: the name matched by, and a port only where `upstream` names that host with one.
    pub fn upstream_host(&self) -> Result<Host, Failure> {
        let upstream = &self.route.upstream;
        let default = if upstream.tls { 443 } else { 80 };
        let host = &*self.matched.host;
        // A request names IPv6 with brackets, the configuration's model without.
        let bare = host.trim_matches(['[', ']']);
        let same = upstream.host.as_deref().is_none_or(|host| host == bare);
        let made = if same && upstream.port != default {
            Host::new(&format!("{host}:{}", upstream.port))
        } else {
            Host::new(host)
        };
        made.ok_or_else(|| Failure::bad_request("the Host cannot be sent"))
    }
}
