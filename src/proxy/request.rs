//! THE request path, top to bottom: check → match → tenant → credential → draft → body → sign → send → answer.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Proxy;
use super::answer::WorkerAnswer;
use super::callers::Arrival;
use super::exchange::exchange;
use super::failure::{Failure, Then};
use super::gate::Share;
use super::held::{Bound, Held, has_content, hold, overloaded};
use super::links::WayBack;
use super::live::Live;
use super::matching;
use super::names::Names;
use super::ready::{Ready, prepare};
use super::stand_in::{self, OwnAnswer};
use super::tally::Tally;
use super::tokens;
use super::upgrade::Handshake;
use super::{browser, callers, challenge, hop, inbound, tenant};
use crate::config::model::{RouteClock, TenantSource};
use crate::observe::Outcome;
use crate::sign::body::Holds;
use crate::sign::seal::Draft;
use crate::upstream::again::Again;
use crate::upstream::body::{RequestBody, Streamed};
use crate::upstream::from_worker::FromWorker;
use crate::upstream::lease::Answer;

const JOB: HeaderName = HeaderName::from_static("countersign-job");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest name of a job that is logged, in bytes.
const JOB_LIMIT: usize = 128;

/// Answers one request of a worker; whatever fails becomes an answer too.
pub async fn answer(proxy: &Arc<Proxy>, arrival: &Arrival, request: Request<Incoming>) -> Response<WorkerAnswer> {
    let live = proxy.live.load_full();
    let (parts, body) = request.into_parts();
    let body = FromWorker::new(body, parts.version);
    let mut tally = Box::new(Tally::start(proxy.clone(), live.clone(), &parts.method, &parts.uri));
    match pass(proxy, &live, arrival, parts, body, &mut tally).await {
        Ok((answer, _, Some(handshake))) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            handshake.switch(answer, tally)
        }
        Ok((answer, names, _)) => {
            let (mut head, body) = answer.into_parts();
            hop::clean_answer(&mut head.headers, names);
            tally.head(head.status.as_u16());
            Response::from_parts(head, WorkerAnswer::upstream(body, tally))
        }
        Err(OwnAnswer::Token(own)) => {
            tally.head(own.status().as_u16());
            own.map(|body| WorkerAnswer::own(body, tally))
        }
        Err(OwnAnswer::Refusal(failure)) => refuse(failure, &live, tally),
    }
}

/// The proxy's own answer.
pub(super) fn refuse(failure: Failure, live: &Live, mut tally: Box<Tally>) -> Response<WorkerAnswer> {
    tally.head(failure.status().as_u16());
    tally.error = Some(failure.name);
    let config = tally.route.map(|route| &live.snapshot.plan.config.routes[route]);
    let (route, detail) = (config.map(|route| route.name.as_str()), tenant::loggable(config, &failure));
    tracing::debug!(error = failure.name.as_str(), route, detail, "request refused");
    failure.answer(route).map(|body| WorkerAnswer::own(body, tally))
}

async fn pass(
    proxy: &Arc<Proxy>,
    live: &Live,
    arrival: &Arrival,
    mut parts: Parts,
    body: FromWorker,
    tally: &mut Tally,
) -> Result<(Answer, Names, Option<Handshake>), OwnAnswer> {
    let limits = &live.snapshot.plan.config.limits;
    let inbound = inbound::read(&parts, limits).inspect_err(|_| note_worker_headers(&parts.headers, tally))?;
    let names = inbound.names;
    if names.any(Names::TRACE) {
        note_worker_headers(&parts.headers, tally);
    }
    if names.any(Names::VIA) && inbound::has_passed(&parts.headers, &proxy.via) {
        return Err(Failure::new(Outcome::Loop, "the request has already passed through this proxy").into());
    }
    let matched = matching::find(&live.snapshot.plan, &arrival.entry, &inbound, &parts.method)?;
    tally.route = Some(matched.route);
    let route = &live.snapshot.plan.config.routes[matched.route];
    if names.any(Names::BROWSER) {
        browser::check(&parts.headers, &inbound.host, &matched.host, &route.callers.origins)?;
    }
    callers::admit(&live.snapshot, &matched, inbound.form, (&parts, &arrival.peer), tally.at, &mut tally.client)?;
    // Who waits for a token counts as under way.
    tally.shares = take_shares(proxy, live, matched.route)?;
    if route.stand_in.is_some() {
        return Err(stand_in::answer(proxy, &live.snapshot.plan, &matched, &parts, body, tally).await);
    }
    let tenant = tenant::find(&live.snapshot.plan, &matched, &parts)?;
    // A slot's text is not logged before it is known to name a tenant: it may be somebody's secret.
    if route.tenant != Some(TenantSource::Slot) {
        tally.tenant.clone_from(&tenant);
    }
    let tokens = match live.snapshot.plan.routes[matched.route].has_tokens {
        true => tokens::obtain(proxy, live, &matched, (&parts, tenant.as_deref()), tally.at).await?,
        false => Vec::new(),
    };
    let mut ready = prepare(&live.snapshot, matched, tenant, tokens, tally.at)?;
    tally.tenant.clone_from(&ready.tenant);
    if names.any(Names::HOP) {
        ready.trailers = hop::trailers(&parts.headers);
    }
    let way_back = WayBack::new(&ready.matched, &inbound, &parts);
    let handshake = if names.any(Names::UPGRADE) { Handshake::of(&mut parts, ready.route) } else { None };
    let asking = if names.any(Names::EXPECT) { asks_first(&parts.headers) } else { Asking::NotNeeded };
    let mut draft = ready.draft(parts, names, live.host(&ready)?)?;
    if let Some(handshake) = &handshake {
        handshake.ask(&mut draft.headers);
    }
    if live.snapshot.plan.routes[ready.index].challenged.is_some() {
        ready.turn = challenge::reserve(live, &ready, &draft);
    }
    let body = take_body(proxy, live, &ready, &mut draft, (body, asking), tally).await?;
    let origin = live.origin(&proxy.pool, &ready);
    let mut answer = exchange(proxy, live, &ready, &origin, draft, body, tally).await?;
    let names = Names::of(answer.headers());
    if names.any(Names::LINKS) {
        way_back.rewrite(&live.snapshot.plan, answer.headers_mut());
    }
    Ok((answer, names, handshake))
}

/// Whether the worker sends its body before anybody asks for it (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// It has, or will.
    NotNeeded,
    /// It waits for `100 Continue`.
    Needed,
}

fn asks_first(headers: &HeaderMap) -> Asking {
    let waits = headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits { Asking::Needed } else { Asking::NotNeeded }
}

fn take_shares(proxy: &Proxy, live: &Live, route: usize) -> Result<[Option<Share>; 2], Failure> {
    let all = proxy.in_flight.take(1).ok_or_else(|| Failure::overloaded("limits.in_flight requests are under way"))?;
    let own = live.route(route).in_flight.take(1);
    let own = own.ok_or_else(|| Failure::overloaded("limits.in_flight requests of this route are under way"))?;
    Ok([Some(all), Some(own)])
}

/// The body as it goes up.
pub(super) enum Outgoing {
    /// Passed on as it comes; once a byte of it was sent there is one attempt, but for what an upstream refuses unprocessed.
    Streamed(RequestBody),
    /// Held; there can be a second attempt.
    Held(Held),
}

async fn take_body(
    proxy: &Proxy,
    live: &Live,
    ready: &Ready<'_>,
    draft: &mut Draft,
    (mut body, asking): (FromWorker, Asking),
    tally: &Tally,
) -> Result<Outgoing, Failure> {
    let limits = &ready.route.limits;
    let length = body.size_hint().exact();
    if let (Some(length), Some(limit)) = (length, limits.request_body)
        && length > limit
    {
        let why = format!("the request body has {length} bytes, at most {limit} (limits.request_body)");
        return Err(Failure { then: Then::Close, ..Failure::new(Outcome::BodyTooLarge, why) });
    }
    if let Some(share) = share_to_hold(proxy, live, ready, &draft.headers, length)? {
        let bound = match limits.request_body {
            Some(limit) if limit < limits.signed_body as u64 => {
                Bound { bytes: limit as usize, name: Outcome::BodyTooLarge }
            }
            _ => Bound { bytes: limits.signed_body, name: Outcome::BodyTooLargeToSign },
        };
        let mut held = hold(body, bound, share, ready.route.timeouts.body).await?;
        if live.snapshot.plan.routes[ready.index].edits_body {
            held.and_a_copy()?;
            if let Some(stripped) = ready.strip_body(draft, &held.bytes)? {
                held.bytes = stripped;
            }
        }
        if length.is_none() {
            // What came in chunks leaves with its length.
            draft.headers.insert(CONTENT_LENGTH, HeaderValue::from(held.bytes.len()));
        }
        return Ok(Outgoing::Held(held));
    }
    let bare = length.is_none() && matches!(draft.method, Method::GET | Method::HEAD);
    let is_empty = body.is_end_stream()
        || (bare && asking == Asking::NotNeeded && !has_content(&mut body, ready.route.timeouts.body).await?);
    if is_empty {
        tally.progress.finish();
        return Ok(Outgoing::Streamed(RequestBody::Empty));
    }
    if bare {
        // With these methods the library sends a body of unknown length only where it is told to.
        draft.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let streamed = Streamed::new(body, tally.progress.clone(), limits.request_body);
    let mut streamed = streamed.without_trailers(ready.filled_headers()).repeatable(again(proxy, ready));
    if asking == Asking::Needed {
        draft.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        streamed = streamed.when_asked();
    }
    Ok(Outgoing::Streamed(RequestBody::Streamed(Box::new(streamed))))
}

/// What a streamed body may keep, as long as there is room, for an upstream that refuses the request unprocessed.
fn again(proxy: &Proxy, ready: &Ready<'_>) -> Option<Again> {
    let limit = ready.route.limits.replay_body;
    let share = if limit == 0 { None } else { proxy.buffered.take(0) };
    share.map(|share| Again::new(limit, share))
}

/// Room for a body that must be held: for a credential, for a challenge, or, as long as there is room, for a second attempt.
fn share_to_hold(
    proxy: &Proxy,
    live: &Live,
    ready: &Ready<'_>,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<Option<Share>, Failure> {
    let plan = &live.snapshot.plan.routes[ready.index];
    let must_ask = plan.challenged.is_some() && ready.turn.is_none();
    if must_ask || (plan.holds != Holds::Never && ready.holds_body(headers)) {
        return proxy.buffered.take(0).ok_or_else(overloaded).map(Some);
    }
    let Some(length) = length.filter(|length| *length <= ready.route.limits.replay_body as u64) else {
        return Ok(None);
    };
    let now = proxy.clock.now();
    // The upstream may refuse the time of a signature, and is then followed.
    let follows = plan.needs_request && ready.route.clock == RouteClock::Follow;
    let may_fall_back = follows
        || plan.challenged.is_some()
        || !ready.tokens.is_empty()
        || ready.instances.iter().any(|instance| instance.fallback(now).is_some());
    Ok(if may_fall_back { proxy.buffered.take(length as usize) } else { None })
}

/// What the worker says of itself, for the access line.
fn note_worker_headers(headers: &HeaderMap, tally: &mut Tally) {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    tally.job = text(&JOB).map(|job| job.chars().take(JOB_LIMIT).collect());
    // W3C trace context: version-traceid-parentid-flags.
    tally.trace_id = text(&TRACEPARENT)
        .and_then(|line| line.split('-').nth(1))
        .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned);
}
