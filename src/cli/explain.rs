//! `explain`: what would leave for a request, shown without sending it and without showing a secret.
//!
//! `asked` makes the request that a worker would send. Matching, preparation, stripping and signing are the request
//! path's own (`proxy::shown` signs for people).

mod asked;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

use super::args::{ExplainArgs, Format, Global};
use super::exit::{Ended, Exit};
use super::{source, terminal};
use crate::clock::{Clock as _, Sequences, SystemClock};
use crate::config::model::{Route, TenantSource};
use crate::observe::Outcome;
use crate::proxy::failure::Failure;
use crate::proxy::names::Names;
use crate::proxy::ready::{Ready, prepare};
use crate::proxy::shown::{self, Canonical};
use crate::proxy::tokens::Obtained;
use crate::proxy::{inbound, matching, tenant, tokens};
use crate::refresh::{Token, TokenKind};
use crate::secret::value::SecretBytes;
use crate::sign::digest::{Challenge, Turn};
use crate::sign::material::Material;
use crate::sign::token::DERIVED_TOKEN;
use crate::sign::{SignContext, Signer};
use crate::snapshot::Snapshot;
use crate::snapshot::credential::{Instance, Value};
use crate::snapshot::plan::Plan;
use crate::template::encode::query_pair;
use asked::Asked;

/// What would leave.
#[derive(Debug, Serialize)]
struct Explained {
    route: String,
    credentials: Vec<String>,
    tenant: Option<String>,
    upstream: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    canonical: Vec<Canonical>,
    /// Where credentials change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// Explains one request; what the proxy would refuse is an error in the proxy's own words.
pub(super) fn command(global: &Global, args: &ExplainArgs) -> anyhow::Result<Exit> {
    let config = source::config(global)?;
    let plan = Arc::new(Plan::new(Arc::new(config)));
    let asked = Asked::new(&plan, args)?;
    let read = source::secrets(&plan).map_err(|none| Ended::new(Exit::Bad, none.message).with_hint(none.hint))?;
    let snapshot = source::snapshot(plan, &read.set);
    match explain(&snapshot, asked, args)? {
        Ok(explained) => {
            match global.format {
                Format::Json => terminal::json(&explained)?,
                Format::Text => terminal::data(&explained.text()),
            }
            Ok(Exit::Fine)
        }
        Err((failure, route)) => {
            let answer = failure.answer(route.as_deref());
            if global.format == Format::Json {
                terminal::data(std::str::from_utf8(answer.body())?);
            }
            let (name, status) = (failure.name.as_str(), failure.status().as_u16());
            Err(Ended::new(Exit::Bad, format!("the proxy would answer {status} {name}: {}", failure.detail)).into())
        }
    }
}

type Answered = Result<Explained, (Failure, Option<String>)>;

fn explain(snapshot: &Snapshot, asked: Asked, args: &ExplainArgs) -> anyhow::Result<Answered> {
    let plan = &snapshot.plan;
    let turn = turn(&args.challenge)?;
    let Asked { mut parts, entry, body } = asked;
    let inbound = match inbound::read(&parts, &plan.config.limits) {
        Ok(inbound) => inbound,
        Err(failure) => return Ok(Err((failure, None))),
    };
    let matched = match matching::find(plan, &entry, &inbound, &parts.method) {
        Ok(matched) => matched,
        Err(failure) => return Ok(Err((failure, None))),
    };
    let names = inbound.names;
    let route = &plan.config.routes[matched.route];
    let refused = |failure: Failure| (failure, Some(route.name.clone()));
    if route.stand_in.is_some() {
        let why = format!("route {} answers with a stand-in token: nothing leaves", route.name);
        return Err(Ended::new(Exit::Bad, why).with_hint("explain a call that the worker makes with the token").into());
    }
    if let Some(tenant) = &args.tenant {
        name_tenant(route, tenant, &mut parts)?;
    }
    let tokens = shown_tokens(snapshot, &matched, &parts);
    let ready = tenant::find(plan, &matched, &parts)
        .and_then(|tenant| prepare(snapshot, matched, tenant, tokens, SystemClock.now()));
    let ready = match ready {
        Ok(ready) => ready,
        Err(failure) => return Ok(Err(refused(failure))),
    };
    if let Some(tenant) = args.tenant.as_deref().filter(|tenant| ready.tenant.as_deref() != Some(tenant)) {
        let found = ready.tenant.as_deref().unwrap_or_default();
        let place = if matches!(route.tenant, Some(TenantSource::Capture(_))) { "host" } else { "request" };
        return Err(Ended::new(Exit::Bad, format!("the tenant of this {place} is {found}, not {tenant}")).into());
    }
    Ok(sign(snapshot, &ready, (parts, names, body), turn.as_ref(), args).map_err(refused))
}

/// What stands for the tokens of a route: `explain` opens no store and shows their names in their places.
fn shown_tokens(snapshot: &Snapshot, matched: &matching::Matched<'_>, parts: &http::request::Parts) -> Vec<Obtained> {
    let now = SystemClock.now();
    let config = &snapshot.plan.config;
    let credentials = config.routes[matched.route].credentials.iter();
    let named = credentials.filter_map(|&credential| {
        let signer = &snapshot.credentials[credential].signer;
        let Signer::Token(token) = &**signer else { return None };
        let text = |part: &str| Material::Text(SecretBytes::copy_of(format!("[{part}]").as_bytes()));
        let second = tokens::kind(&config.credentials[credential], matched, parts) == TokenKind::Derived;
        let names = token.parts().iter().map(|part| &**part).chain(second.then_some(DERIVED_TOKEN));
        let value = Value::of_token(names.map(text).collect(), now, 0);
        let instance = Arc::new(Instance::of_token(Arc::new(value)));
        Some(Obtained { credential, token: Arc::new(Token::shown(instance, signer)) })
    });
    named.collect()
}

/// `--challenge` stands for what the upstream would answer first.
fn turn(lines: &[http::HeaderValue]) -> anyhow::Result<Option<Turn>> {
    if lines.is_empty() {
        return Ok(None);
    }
    let mut headers = http::HeaderMap::new();
    for line in lines {
        headers.append(http::header::WWW_AUTHENTICATE, line.clone());
    }
    let Some(challenge) = Challenge::strongest(&headers) else {
        let why = "--challenge is no Digest challenge that can be answered";
        let hint =
            "write it as the upstream's WWW-Authenticate has it: 'Digest realm=\"..\", nonce=\"..\", qop=\"auth\"'";
        return Err(Ended::new(Exit::Bad, why).with_hint(hint).into());
    };
    let mut session = [0; 16];
    let random = crate::proxy::random().map_err(|failure| Ended::new(Exit::Passing, failure.detail))?;
    session.copy_from_slice(&random[..16]);
    Ok(Some(Turn::first(challenge, session)))
}

/// `--tenant` stands for what the worker would send.
fn name_tenant(route: &Route, tenant: &str, parts: &mut http::request::Parts) -> anyhow::Result<()> {
    match &route.tenant {
        Some(TenantSource::Header(name)) => {
            let value = http::HeaderValue::from_str(tenant).context("--tenant cannot stand in a header")?;
            parts.headers.append(name.clone(), value);
            Ok(())
        }
        Some(TenantSource::Query(name)) => {
            let mut uri = std::mem::take(&mut parts.uri).into_parts();
            let target = uri.path_and_query.as_ref().map_or("/", |target| target.as_str());
            let joint = if target.contains('?') { '&' } else { '?' };
            let named = format!("{target}{joint}{}", query_pair(name, tenant.as_bytes()));
            uri.path_and_query = Some(named.parse().context("--tenant cannot stand in a query")?);
            parts.uri = http::Uri::from_parts(uri)?;
            Ok(())
        }
        // Compared with what host, path or slot say.
        Some(TenantSource::Capture(_) | TenantSource::Path(_) | TenantSource::Slot) => Ok(()),
        None => Err(Ended::new(Exit::Bad, format!("route {} knows no tenants", route.name))
            .with_hint("leave --tenant out, or give the route a `tenant`")
            .into()),
    }
}

fn sign(
    snapshot: &Snapshot,
    ready: &Ready<'_>,
    (parts, names, body): (http::request::Parts, Names, Vec<u8>),
    turn: Option<&Turn>,
    args: &ExplainArgs,
) -> Result<Explained, Failure> {
    check_body(ready, &parts.headers, &body)?;
    let mut draft = ready.draft(parts, names, ready.upstream_host()?)?;
    let captures: Vec<(&str, &str)> = ready.matched.captures.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let context = SignContext {
        now,
        random: crate::proxy::random()?,
        fixed_nonce: args.nonce.as_deref(),
        tenant: ready.tenant.as_deref(),
        captures: &captures,
        sequence: Sequences::default().next(now),
        access_token: None,
        turn,
    };
    let route = &snapshot.plan.routes[ready.index];
    let mut body = Bytes::from(body);
    if route.edits_body
        && let Some(stripped) = ready.strip_body(&mut draft, &body)?
    {
        body = stripped;
    }
    let covered = ready.holds_body(&draft.headers).then_some(&*body);
    let values: Vec<&Arc<Value>> = ready.instances.iter().filter_map(|one| one.current.as_ref()).collect();
    let signed = shown::sign(snapshot, ready, &values, (draft.clone(), draft), Vec::new(), covered, &context)
        .map_err(|error| Failure::new(Outcome::BadRequest, error.to_string()))?;
    let credentials = ready.route.credentials.iter().map(|&index| snapshot.credentials[index].name.clone());
    Ok(Explained {
        route: ready.route.name.clone(),
        credentials: credentials.collect(),
        tenant: ready.tenant.clone(),
        upstream: ready.route.upstream.url(&ready.matched.host),
        method: signed.shown.method.to_string(),
        headers: signed.headers(),
        target: signed.shown.target.as_str().to_owned(),
        canonical: signed.canonical,
        body: signed.body,
    })
}

/// The bounds of a body, in the words of the request path.
fn check_body(ready: &Ready<'_>, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let limits = &ready.route.limits;
    let length = body.len();
    if limits.request_body.is_some_and(|limit| length as u64 > limit) {
        return Err(Failure::new(
            Outcome::BodyTooLarge,
            format!("the request body has {length} bytes (limits.request_body)"),
        ));
    }
    if ready.holds_body(headers) && length > limits.signed_body {
        let why = format!("the request body has {length} bytes, at most {} (limits.signed_body)", limits.signed_body);
        return Err(Failure::new(Outcome::BodyTooLargeToSign, why));
    }
    Ok(())
}

impl Explained {
    /// For people: where it goes, the head as it would leave, what was signed.
    fn text(&self) -> String {
        let credentials =
            if self.credentials.is_empty() { "none".to_owned() } else { self.credentials.join(", then ") };
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "{key:<11} {}", terminal::harmless(value)); // a String takes everything
        };
        line("route", &self.route);
        line("credential", &credentials);
        if let Some(tenant) = &self.tenant {
            line("tenant", tenant);
        }
        line("upstream", &self.upstream);
        let _ = writeln!(out, "\n{} {} HTTP/1.1", self.method, terminal::harmless(&self.target));
        for (name, value) in &self.headers {
            let _ = writeln!(out, "{name}: {}", terminal::harmless(value));
        }
        if let Some(body) = &self.body {
            let _ = writeln!(out, "\n{}", terminal::harmless(body));
        }
        for canonical in &self.canonical {
            let _ = writeln!(out, "\n{} signs this text:", canonical.credential);
            indented(&mut out, &canonical.text);
            if canonical.string_to_sign != canonical.text {
                let _ = writeln!(out, "\n{} makes of it:", canonical.credential);
                indented(&mut out, &canonical.string_to_sign);
            }
        }
        out
    }
}

fn indented(out: &mut String, text: &str) {
    for line in terminal::harmless(text).split('\n') {
        let _ = writeln!(out, "    {line}");
    }
}
