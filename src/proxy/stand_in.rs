//! A token endpoint's answer, made here: the worker's SDK gets the token that it insists on, which is worth nothing
//! elsewhere and may carry the tenant's name. Nothing goes upstream. Called by `request`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA};
use http::request::Parts;
use http::{HeaderValue, Response};
use serde::Serialize;

use super::callers;
use super::failure::{Failure, Then};
use super::gate::Share;
use super::held::{next_frame, overloaded};
use super::matching::Matched;
use super::tally::Tally;
use super::{Proxy, tenant};
use crate::config::model::{Route, TenantSource};
use crate::observe::Outcome;
use crate::route::tenant::placeholder;
use crate::sign::spoken::{authorizations, query_values};
use crate::snapshot::plan::Plan;
use crate::upstream::from_worker::FromWorker;

/// The largest token request that is read, in bytes; real ones have a few hundred.
const BODY_LIMIT: usize = 64 * 1024;
/// Seconds until an SDK asks again. The placeholder itself never ends.
const EXPIRES_IN: u32 = 3600;
/// Fields of token requests in which an SDK carries what it takes for a secret (RFC 6749 sections 2.3.1, 4.3 and 6).
const SECRET_FIELDS: [&str; 5] = ["client_secret", "refresh_token", "password", "client_id", "username"];

/// What the proxy answers instead of the upstream.
#[derive(Debug)]
pub enum OwnAnswer {
    /// An error in the shape of `failure`.
    Refusal(Failure),
    /// A stand-in.
    Token(Response<Bytes>),
}

impl From<Failure> for OwnAnswer {
    fn from(failure: Failure) -> Self {
        Self::Refusal(failure)
    }
}

/// RFC 6749 section 5.1.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u32,
    scope: &'a str,
    /// Where the credential's grant has one: SDKs that get one insist on the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// Reads the request to its end and answers it.
pub async fn answer(
    proxy: &Proxy,
    plan: &Plan,
    matched: &Matched<'_>,
    parts: &Parts,
    body: FromWorker,
    tally: &mut Tally,
) -> OwnAnswer {
    match token(proxy, plan, matched, parts, body, tally).await {
        Ok(response) => {
            // Complete as it is: of an answer to HEAD no body is ever asked for.
            tally.complete = true;
            OwnAnswer::Token(response)
        }
        Err(failure) => OwnAnswer::Refusal(failure),
    }
}

async fn token(
    proxy: &Proxy,
    plan: &Plan,
    matched: &Matched<'_>,
    parts: &Parts,
    body: FromWorker,
    tally: &mut Tally,
) -> Result<Response<Bytes>, Failure> {
    let route = &plan.config.routes[matched.route];
    let mut share = proxy.buffered.take(0).ok_or_else(overloaded)?;
    let body = read(body, route, &mut share, tally).await?;
    let fields = Fields::read(&body);
    let tenant = match &route.tenant {
        Some(TenantSource::Slot) => Some(in_slots(route, parts, &fields)?),
        _ => tenant::find(plan, matched, parts)?,
    };
    callers::check_tenant(&plan.config, tally.client, tenant.as_deref())?;
    let random = super::random()?;
    let access_token = placeholder(tenant.as_deref(), half(&random, 0));
    let oauth = route.credentials.iter().find_map(|&index| plan.config.credentials[index].oauth.as_deref());
    let refresh_token =
        oauth.filter(|oauth| oauth.grant.needs_consent()).map(|_| placeholder(tenant.as_deref(), half(&random, 16)));
    // A worker that still has its real secret writes it where a tenant may stand: such a name is not logged.
    if route.tenant != Some(TenantSource::Slot) {
        tally.tenant = tenant;
    }
    let granted = oauth.map(|oauth| oauth.scope.join(&oauth.scope_separator)).filter(|scope| !scope.is_empty());
    let scope = granted.or_else(|| fields.first("scope")).unwrap_or_default();
    Ok(response(&TokenAnswer {
        access_token: &access_token,
        token_type: "Bearer",
        expires_in: EXPIRES_IN,
        scope: &scope,
        refresh_token: refresh_token.as_deref(),
    }))
}

/// 16 of the random bytes, from a place on.
fn half(random: &[u8; 32], from: usize) -> [u8; 16] {
    std::array::from_fn(|index| random[from + index])
}

fn response(answer: &TokenAnswer<'_>) -> Response<Bytes> {
    // The shape has no map with odd keys and no failing writer: it always serialises.
    let body = Bytes::from(serde_json::to_vec(answer).unwrap_or_default());
    let length = body.len();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

async fn read(mut body: FromWorker, route: &Route, share: &mut Share, tally: &Tally) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    while let Some(frame) = next_frame(&mut body, route.timeouts.body).await? {
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > BODY_LIMIT {
            let why = format!("a token request may have {BODY_LIMIT} bytes at most");
            return Err(Failure { then: Then::Close, ..Failure::new(Outcome::BodyTooLarge, why) });
        }
        if !share.grow(data.len()) {
            return Err(overloaded());
        }
        tally.progress.count(data.len() as u64);
        whole.extend_from_slice(&data);
    }
    tally.progress.finish();
    Ok(whole)
}

/// Where SDKs put client and user secrets: `Authorization`, the query, and the body.
fn in_slots(route: &Route, parts: &Parts, fields: &Fields<'_>) -> Result<String, Failure> {
    let mut texts = authorizations(&parts.headers);
    for name in SECRET_FIELDS {
        texts.extend(query_values(parts.uri.query().unwrap_or_default(), name));
        texts.extend(fields.all(name));
    }
    texts.retain(|text| !text.is_empty());
    tenant::in_slots(route, texts)
}

/// The fields of a token request, whatever its Content-Type says: SDKs differ.
enum Fields<'b> {
    Json(serde_json::Map<String, serde_json::Value>),
    Form(&'b str),
}

impl<'b> Fields<'b> {
    fn read(body: &'b [u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(serde_json::Value::Object(object)) => Self::Json(object),
            _ => Self::Form(std::str::from_utf8(body).unwrap_or_default()),
        }
    }

    fn all(&self, name: &str) -> Vec<String> {
        match self {
            Self::Json(object) => {
                object.get(name).and_then(|value| value.as_str()).map(str::to_owned).into_iter().collect()
            }
            Self::Form(text) => query_values(text, name),
        }
    }

    fn first(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }
}
