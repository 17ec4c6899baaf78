//! What parts of the file have to do with one another: duplicates, routes that could claim the
//! same request, credentials that get in each other's way, secrets of two kinds.
//!
//! Every check is one pass with a hash map, so that ten thousand routes cost milliseconds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::credential;
use super::credential_hmac::Hole;
use super::diagnostic::Diagnostic;
use super::fields::Mistakes;
use super::model::{Admin, Credential, Listen, Route, Span, Spanned, Trust};
use super::route::Declared;
use crate::secret::name::NamePattern;
use crate::sign::body::BodyKind;
use crate::sign::{Signer, Slot};

const TENANT_HINT: &str =
    "add tenant = \"{NAME}\" (a capture of the host) or tenant = { header = \"Countersign-Tenant\" } to the route";

/// Routes that no worker can reach, because nothing listens for them.
pub(super) fn reachable(routes: &[Declared], listen: &Listen, mistakes: &Mistakes) {
    if !listen.proxy.is_empty() {
        return;
    }
    for declared in routes {
        if let Some(route) = declared.made.as_ref().filter(|route| route.listen.is_none()) {
            let message =
                format!("route `{}` cannot be reached: [listen] proxy is empty and it has no `listen`", route.name);
            let warning = Diagnostic::warning(declared.name_span.clone(), message);
            mistakes.add(
                warning.with_hint("add listen = \"127.0.0.1:9001\" to the route, or an address to [listen] proxy"),
            );
        }
    }
}

/// Names and prefixes that two routes share.
pub(super) fn unique(routes: &[Declared], mistakes: &Mistakes) {
    let mut names: HashSet<&str> = HashSet::with_capacity(routes.len());
    let mut prefixes: HashMap<&str, &str> = HashMap::new();
    for declared in routes {
        let Some(route) = &declared.made else { continue };
        if !names.insert(&route.name) {
            let message = format!("there are two routes with the name `{}`", route.name);
            mistakes.hinted(
                declared.name_span.clone(),
                message,
                "logs and metrics tell routes by name; rename one of them",
            );
        }
        if let Some(prefix) = &route.prefix
            && let Some(other) = prefixes.insert(prefix, &route.name)
        {
            let message = format!("routes `{other}` and `{}` have the same prefix \"{prefix}\"", route.name);
            mistakes.hinted(declared.prefix_span.clone(), message, "give each route a prefix of its own");
        }
    }
}

/// Two routes that could both claim a request at the same specificity.
pub(super) fn ambiguous(routes: &[Declared], text: &str, mistakes: &Mistakes) {
    // Host shape, path, and a method; "" for a route without `methods`.
    let mut claimed: HashMap<(Cow<'_, str>, &str, &str), usize> = HashMap::with_capacity(routes.len());
    let mut lines = Vec::new();
    for (index, declared) in routes.iter().enumerate() {
        let Some(route) = &declared.made else { continue };
        let path = route.path.as_deref().unwrap_or("/");
        let any = route.methods.is_none().then_some("");
        let mut other = None;
        for method in route.methods.iter().flatten().map(http::Method::as_str).chain(any) {
            let first = *claimed.entry((route.host.shape(), path, method)).or_insert(index);
            if first != index && other.is_none() {
                other = Some((first, method));
            }
        }
        if let Some((first, method)) = other
            && let Some(other) = &routes[first].made
        {
            if lines.is_empty() {
                lines.extend(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)));
            }
            both(other, route, method, declared.name_span.clone(), &lines, mistakes);
        }
    }
}

fn both(first: &Route, second: &Route, method: &str, span: Span, lines: &[usize], mistakes: &Mistakes) {
    let hosts = if first.host == second.host {
        format!("host {}", second.host)
    } else {
        format!("hosts {} and {}", first.host, second.host)
    };
    let path = second.path.as_deref().unwrap_or("/");
    let method = if method.is_empty() { "any method".to_owned() } else { format!("method {method}") };
    let message = format!(
        "routes `{}` and `{}` could both claim a request: {hosts}, path {path}, {method}",
        first.name, second.name
    );
    let line = lines.partition_point(|begin| *begin <= first.span.start);
    let hint = format!("give one of them another `path` or other `methods`; `{}` is in line {line}", first.name);
    mistakes.hinted(span, message, hint);
}

/// What a route's credentials need of the route and of one another.
pub(super) fn together(routes: &[Declared], credentials: &[credential::Declared], mistakes: &Mistakes) {
    for declared in routes {
        let Some(route) = &declared.made else { continue };
        let mut filled: HashMap<Slot, &str> = HashMap::new();
        let mut covering = Covering::default();
        let mut tokens = Tokens::None;
        for (index, span) in route.credentials.iter().zip(&declared.credential_spans) {
            let Some(found) = credentials.get(*index) else { continue };
            let Some(credential) = &found.made else { continue };
            holes(route, found, mistakes);
            variables(route, credential, mistakes);
            token(credential, &mut tokens, span, mistakes);
            if route.credentials.len() == 1 {
                break; // nothing that it could get in the way of
            }
            slots(credential, &mut filled, &covering, span, mistakes);
            let covers = credential.signer.covers();
            covering.query = covering.query.or(covers.query.then_some(&credential.name));
            covering.body = covering.body.or(covers.body.then_some(&credential.name));
            for name in credential.signer.covered_headers() {
                covering.headers.entry(plain(&Slot::Header(name.clone())).0).or_insert(&credential.name);
            }
            for slot in credential.signer.slots() {
                let kind = BodyKind::of(slot).map(|kind| (kind, credential.name.as_str()));
                covering.kind = covering.kind.or(kind);
            }
        }
    }
}

/// What earlier credentials of a route do that a later one must not undo: the first of each.
#[derive(Default)]
struct Covering<'c> {
    /// Signs the query.
    query: Option<&'c str>,
    /// Signs the body.
    body: Option<&'c str>,
    /// Fills a field of the body.
    kind: Option<(BodyKind, &'c str)>,
    /// Signs these headers.
    headers: HashMap<Slot, &'c str>,
}

/// Whether a credential before has tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    None,
    Some,
}

/// `{access_token}` is the token of a credential that stands before the one that uses it.
fn token(credential: &Credential, before: &mut Tokens, span: &Span, mistakes: &Mistakes) {
    if matches!(*credential.signer, Signer::Token(_)) {
        *before = Tokens::Some;
    } else if credential.signer.needs_token() && *before == Tokens::None {
        let name = &credential.name;
        let message = format!("credential `{name}` uses {{access_token}}, but no credential before it has tokens");
        mistakes.hinted(span.clone(), message, format!("list an `oauth2` credential before \"{name}\""));
    }
}

/// Variables of templates have a value only where the route gives them one.
fn holes(route: &Route, credential: &credential::Declared, mistakes: &Mistakes) {
    for hole in &credential.holes {
        let (shown, hint) = match &hole.value {
            Hole::Tenant if route.tenant.is_some() => continue,
            Hole::Tenant => ("`tenant`".to_owned(), TENANT_HINT.to_owned()),
            Hole::Capture(name) if route.host.captures().any(|capture| capture == name) => continue,
            Hole::Capture(name) => (
                format!("capture `{name}`"),
                format!("capture it in the route's `host`, such as \"{{{name}}}.example.com\""),
            ),
        };
        let (route, credential) = (&route.name, &credential.name.value);
        let message = format!("route `{route}` uses credential `{credential}` with this template, and has no {shown}");
        mistakes.hinted(hole.span.clone(), message, hint);
    }
}

/// Variables in names of secrets have a value only where the route gives them one.
fn variables(route: &Route, credential: &Credential, mistakes: &Mistakes) {
    let own = credential.signer.requirements().iter().zip(&credential.secret_spans);
    let seed = credential.seed.iter().flat_map(|seed| seed.signer.requirements().iter().zip(&seed.secret_spans));
    for (need, span) in own.chain(seed) {
        for variable in need.pattern.variables() {
            let captured = route.host.captures().any(|capture| capture == variable);
            if captured || (variable == "tenant" && route.tenant.is_some()) {
                continue;
            }
            let message = format!(
                "route `{}` uses credential `{}`, whose secret \"{}\" needs {{{variable}}}, and the route has no {}",
                route.name,
                credential.name,
                need.pattern,
                if variable == "tenant" { "`tenant`" } else { "such capture" }
            );
            let hint = if variable == "tenant" {
                TENANT_HINT.to_owned()
            } else {
                format!("capture it in the route's `host`, such as \"{{{variable}}}.example.com\", or use {{tenant}}")
            };
            mistakes.hinted(span.clone(), message, hint);
        }
    }
}

/// Credentials are applied in order: none may write what an earlier one wrote or signed.
fn slots<'c>(
    credential: &'c Credential,
    filled: &mut HashMap<Slot, &'c str>,
    covering: &Covering<'_>,
    span: &Span,
    mistakes: &Mistakes,
) {
    let mut own = HashSet::new();
    for slot in credential.signer.slots() {
        let (slot, shown) = plain(slot);
        if !own.insert(slot.clone()) {
            continue;
        }
        if let Some(other) = filled.get(&slot) {
            let message = format!("credentials `{other}` and `{}` both write {shown}", credential.name);
            mistakes.hinted(span.clone(), message, "keep one of them in this route");
        } else if let Some((part, signer)) = changed(&slot, covering) {
            let message = format!("credential `{}` changes the {part} after `{signer}` has signed it", credential.name);
            mistakes.hinted(span.clone(), message, format!("list \"{}\" before \"{signer}\"", credential.name));
        } else if let (Some(kind), Some((other_kind, other))) = (BodyKind::of(&slot), covering.kind)
            && kind != other_kind
        {
            let message = format!(
                "credential `{}` fills {} and `{other}` fills {}, and a request has one body",
                credential.name,
                kind.words(),
                other_kind.words()
            );
            mistakes.hinted(span.clone(), message, "give each a route of its own");
        } else if let Some(signer) = covering.headers.get(&slot) {
            let message = format!("credential `{}` writes {shown} after `{signer}` has signed it", credential.name);
            mistakes.hinted(span.clone(), message, format!("list \"{}\" before \"{signer}\"", credential.name));
        }
        filled.insert(slot, &credential.name);
    }
}

/// What a slot changes that an earlier credential has signed, and which credential that is.
fn changed<'c>(slot: &Slot, covering: &Covering<'c>) -> Option<(&'static str, &'c str)> {
    match slot {
        Slot::Query(_) => Some("query").zip(covering.query),
        Slot::Form(_) | Slot::Json(_) => Some("body").zip(covering.body),
        Slot::Header(_) | Slot::Cookie(_) => None,
    }
}

/// A slot in a form that can be compared (headers with `-` for `_`), and in words.
fn plain(slot: &Slot) -> (Slot, String) {
    match slot {
        Slot::Header(name) => {
            let text = name.as_str().replace('_', "-");
            let shown = format!("the header `{name}`");
            (http::HeaderName::from_bytes(text.as_bytes()).map_or(slot.clone(), Slot::Header), shown)
        }
        Slot::Query(name) => (slot.clone(), format!("the query parameter `{name}`")),
        Slot::Cookie(name) => (slot.clone(), format!("the cookie `{name}`")),
        Slot::Form(name) => (slot.clone(), format!("the form field `{name}`")),
        Slot::Json(name) => (slot.clone(), format!("the JSON member `{name}`")),
    }
}

/// A credential that no route names.
pub(super) fn unused(routes: &[Declared], credentials: &[credential::Declared], mistakes: &Mistakes) {
    let mut used = vec![false; credentials.len()];
    for index in routes.iter().filter_map(|r| r.made.as_ref()).flat_map(|route| &route.credentials) {
        if let Some(used) = used.get_mut(*index) {
            *used = true;
        }
    }
    // A route with mistakes may be the one that uses it.
    if routes.iter().any(|route| route.made.is_none() || route.dangling) {
        return;
    }
    for (credential, _) in credentials.iter().zip(used).filter(|(c, used)| !used && c.made.is_some()) {
        let message = format!("no route uses credential `{}`", credential.name.value);
        let hint = format!("write credential = \"{}\" in a route, or remove it", credential.name.value);
        mistakes.add(Diagnostic::warning(credential.name.span.clone(), message).with_hint(hint));
    }
}

/// A file is read as one kind of secret: text, or certificate and key.
pub(super) fn kinds(
    routes: &[Declared],
    credentials: &[credential::Declared],
    egress: Option<&Credential>,
    admin: &Admin,
    trust: &Trust,
    mistakes: &Mistakes,
) {
    // By whom a text is used; `None` is the admin listener.
    let mut text: HashMap<&str, Option<&str>> = HashMap::with_capacity(credentials.len());
    text.extend(admin.token.iter().map(|token| (token.value.as_str(), None)));
    for credential in credentials.iter().filter_map(|c| c.made.as_ref()).chain(egress) {
        let owner = Some(credential.name.as_str());
        let seed = credential.seed.iter().flat_map(|seed| seed.signer.requirements());
        let needs = credential.signer.requirements().iter().chain(seed);
        text.extend(needs.map(|need| (need.pattern.as_str(), owner)));
    }
    let of_routes = routes.iter().filter_map(|r| r.made.as_ref()).map(|route| &route.tls);
    let of_tokens = credentials.iter().filter_map(|c| c.made.as_ref()?.token_tls.as_ref());
    let of_tls = of_routes.chain(of_tokens).flat_map(|tls| {
        let names: [&Option<Spanned<NamePattern>>; 3] = [&tls.client_cert, &tls.client_key, &tls.ca];
        names.into_iter().flatten()
    });
    let roots: &[Spanned<NamePattern>] = if let Trust::Secrets(names) = trust { names } else { &[] };
    for name in of_tls.chain(roots) {
        let Some(owner) = text.get(name.value.as_str()) else { continue };
        let owner = owner.map_or("[admin] token".to_owned(), |name| format!("credential `{name}`"));
        let message = format!("the secret \"{}\" is a key or certificate here and a text in {owner}", name.value);
        mistakes.hinted(name.span.clone(), message, "keep them in two files; kinds of secrets do not mix");
    }
}
