//! From `[client.*]` tables to [`Client`]s, and what they have to do with listeners and routes. What a route says of
//! its callers is in `route_callers.rs`.

use std::collections::{HashMap, HashSet};

use toml::de::DeValue;

use super::credential::check_name;
use super::diagnostic::Diagnostic;
use super::fields::{Fields, Mistakes};
use super::hints::{mask_value, type_name};
use super::keys_client::CLIENT;
use super::model::{Client, Credential, Listen, ListenAddr, Proof, Span, Spanned};
use super::route;
use crate::route::tenant::TenantPattern;
use crate::secret::name::NamePattern;
use crate::sign::Signer;
use crate::sign::bearer::Bearer;

/// A `[client.NAME]` table; `made` is `None` when it has mistakes.
pub(super) struct Declared<'t> {
    pub name: Spanned<&'t str>,
    pub made: Option<Client>,
    /// Where its proof was written.
    proof_span: Span,
}

/// All clients, in the order of the file.
pub(super) fn clients<'t>(root: &Fields<'t, '_>) -> Vec<Declared<'t>> {
    let mistakes = root.mistakes();
    let mut declared = Vec::new();
    for (name, value) in root.entries("client") {
        check_name(&name, mistakes);
        let (made, proof_span) = match value.get_ref() {
            DeValue::Table(table) => client(&name, &Fields::open(table, value.span(), &CLIENT, mistakes)),
            other => {
                mask_value(value, mistakes);
                let message = format!("client `{}` must be a table, not {}", name.value, type_name(other));
                let hint = format!("write [client.{}] and below it token = \"clients/{0}\"", name.value);
                mistakes.hinted(value.span(), message, hint);
                (None, value.span())
            }
        };
        declared.push(Declared { name, made, proof_span });
    }
    declared
}

fn client(name: &Spanned<&str>, fields: &Fields<'_, '_>) -> (Option<Client>, Span) {
    let mistakes = fields.mistakes();
    let token = fields.secret("token");
    let uid = fields.value("uid").and_then(|_| fields.count("uid"));
    let tenants = tenants(fields);
    let (message, hint) = match (fields.value("token"), fields.value("uid")) {
        (Some(_), Some(_)) => (
            "has both `token` and `uid`",
            "keep one of them; a caller that may prove itself in two ways is two clients".to_owned(),
        ),
        (None, None) => (
            "has no proof",
            format!("add token = \"clients/{}\", or uid = 1001 for a process behind a Unix socket", name.value),
        ),
        (Some(_), None) => {
            let proof = token.map(|token| fixed(&token, mistakes)).map(|token| token_proof(name, token));
            return (proof.map(|proof| made(name, proof, tenants)), fields.span_of("token"));
        }
        (None, Some(_)) => {
            let proof = uid.and_then(|uid| u32::try_from(uid).ok()).map(Proof::Uid);
            return (proof.map(|proof| made(name, proof, tenants)), fields.span_of("uid"));
        }
    };
    mistakes.hinted(name.span.clone(), format!("client `{}` {message}", name.value), hint);
    (None, name.span.clone())
}

fn made(name: &Spanned<&str>, proof: Proof, tenants: Option<Vec<TenantPattern>>) -> Client {
    Client { name: name.value.to_owned(), proof, tenants }
}

/// A caller has one token, whatever tenant it asks for.
fn fixed(token: &Spanned<NamePattern>, mistakes: &Mistakes) -> Spanned<NamePattern> {
    if token.value.as_static().is_none() {
        mistakes.hinted(
            token.span.clone(),
            "the token of a client belongs to no request, so its name cannot have variables",
            "write a plain name such as \"clients/importer\"; `tenants` says for whom it may ask",
        );
    }
    token.clone()
}

fn token_proof(name: &Spanned<&str>, token: Spanned<NamePattern>) -> Proof {
    let signer = Signer::Bearer(Bearer::new(token.value));
    let credential = Credential::plain(format!("client:{}", name.value), name.span.clone(), signer, vec![token.span]);
    Proof::Token(Box::new(credential))
}

fn tenants(fields: &Fields<'_, '_>) -> Option<Vec<TenantPattern>> {
    let mistakes = fields.mistakes();
    let texts = fields.texts("tenants")?;
    if texts.is_empty() {
        mistakes.hinted(
            fields.span_of("tenants"),
            "`tenants` is empty, so the client could ask for nobody",
            "list tenants such as \"m1\" or \"acme-*\", or remove `tenants` for all of them",
        );
    }
    let mut patterns = Vec::new();
    for text in texts {
        match TenantPattern::parse(text.value) {
            Some(pattern) => patterns.push(pattern),
            None => mistakes.hinted(
                text.span.clone(),
                format!("\"{}\" is no tenant and no pattern of tenants", text.value),
                "use letters, digits, \".\", \"_\" and \"-\", with one \"*\" at most for any of them",
            ),
        }
    }
    Some(patterns)
}

/// What clients have to do with one another, with listeners and with routes.
pub(super) fn check(clients: &[Declared<'_>], routes: &[route::Declared], listen: &Listen, mistakes: &Mistakes) {
    same_proof(clients, mistakes);
    needs_socket(clients, routes, listen, mistakes);
    kinds(clients, routes, mistakes);
    unused(clients, routes, mistakes);
}

/// Two clients that could not be told from one another.
fn same_proof(clients: &[Declared<'_>], mistakes: &Mistakes) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for declared in clients {
        let Some(client) = &declared.made else { continue };
        let proof = match &client.proof {
            Proof::Uid(uid) => format!("the uid {uid}"),
            Proof::Token(token) => match token.signer.requirements().first() {
                Some(need) => format!("the token \"{}\"", need.pattern),
                None => continue,
            },
        };
        if let Some(other) = seen.get(&proof) {
            let message = format!("clients `{other}` and `{}` have {proof}", client.name);
            mistakes.hinted(
                declared.proof_span.clone(),
                message,
                "give each client a proof of its own, or keep one of them",
            );
        }
        seen.entry(proof).or_insert(declared.name.value);
    }
}

/// Only a Unix socket tells who is behind it.
fn needs_socket(clients: &[Declared<'_>], routes: &[route::Declared], listen: &Listen, mistakes: &Mistakes) {
    let made = routes.iter().filter_map(|declared| declared.made.as_ref());
    let mut all = listen.proxy.iter().chain(made.filter_map(|route| route.listen.as_ref()));
    if all.any(|address| matches!(address, ListenAddr::Unix(_))) {
        return;
    }
    for declared in clients {
        if let Some(Client { proof: Proof::Uid(_), name, .. }) = &declared.made {
            let message =
                format!("client `{name}` is never recognised: `uid` is known of Unix sockets alone, and there is none");
            let hint = "add \"unix:/run/countersign/proxy.sock\" to [listen] proxy, or give the client a `token`";
            mistakes.add(Diagnostic::warning(declared.proof_span.clone(), message).with_hint(hint));
        }
    }
}

/// A file is read as one kind of secret.
fn kinds(clients: &[Declared<'_>], routes: &[route::Declared], mistakes: &Mistakes) {
    let tls = routes.iter().filter_map(|declared| declared.made.as_ref()).map(|route| &route.tls);
    let pems: HashSet<&str> = tls
        .flat_map(|tls| [&tls.client_cert, &tls.client_key, &tls.ca].into_iter().flatten())
        .map(|name| name.value.as_str())
        .collect();
    for declared in clients {
        let Some(Client { proof: Proof::Token(token), .. }) = &declared.made else { continue };
        for need in token.signer.requirements().iter().filter(|need| pems.contains(need.pattern.as_str())) {
            let message = format!("the secret \"{}\" is a text here and a key or certificate in a route", need.pattern);
            mistakes.hinted(
                declared.proof_span.clone(),
                message,
                "keep them in two files; kinds of secrets do not mix",
            );
        }
    }
}

/// A client that no route names.
fn unused(clients: &[Declared<'_>], routes: &[route::Declared], mistakes: &Mistakes) {
    // A route with mistakes may be the one that names it.
    if routes.iter().any(|route| route.made.is_none() || route.callers.dangling) {
        return;
    }
    let routes = routes.iter().filter_map(|declared| declared.made.as_ref());
    let used: HashSet<usize> = routes.flat_map(|route| route.callers.clients.iter().flatten().copied()).collect();
    for (_, client) in clients.iter().enumerate().filter(|(index, c)| c.made.is_some() && !used.contains(index)) {
        let message = format!("no route names client `{}`", client.name.value);
        let hint = format!("write clients = [\"{}\"] in a route, or remove it", client.name.value);
        mistakes.add(Diagnostic::warning(client.name.span.clone(), message).with_hint(hint));
    }
}
