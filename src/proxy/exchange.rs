//! One request's attempts at the upstream: signed, sent, and once more where that is safe. Called by `request`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::header::{UPGRADE, VIA};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tokio::time::Instant;

use super::failure::Failure;
use super::live::Live;
use super::ready::{self, Ready};
use super::request::Outgoing;
use super::skew::{self, Change, may_be_skew};
use super::tally::Tally;
use super::tokens::{self, Obtained};
use super::{Proxy, challenge, hop, transcript};
use crate::clock::{Sequence, Timestamp};
use crate::config::model::RouteClock;
use crate::observe::Outcome;
use crate::sign::SignContext;
use crate::sign::body::Holds;
use crate::sign::digest::Turn;
use crate::sign::seal::{Draft, Sealed, Step, Twins};
use crate::snapshot::Snapshot;
use crate::snapshot::credential::Value;
use crate::upstream::body::RequestBody;
use crate::upstream::lease::{Answer, Patience};
use crate::upstream::pool::{Freshness, Origin};

/// Sends; once more by the upstream's clock where it refused the time of ours and the route follows it; and once more
/// with the previous secret where a rotation may have come too early for the upstream.
pub(super) async fn exchange(
    proxy: &Proxy,
    live: &Live,
    ready: &Ready<'_>,
    origin: &Arc<Origin>,
    draft: Draft,
    body: Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Failure> {
    let attempt = Attempt { proxy, live, ready, origin, arrived: tally.at, correction: AtomicI64::new(0) };
    let (one, several);
    let newest = match &*ready.instances {
        [only] => {
            one = only.current.as_ref();
            one.as_slice()
        }
        all => {
            several = all.iter().filter_map(|instance| instance.current.as_ref()).collect::<Vec<_>>();
            &several
        }
    };
    let streamed = matches!(&body, Outgoing::Streamed(body) if !matches!(body, RequestBody::Empty));
    let (body, held) = match body {
        Outgoing::Streamed(body) => (body, None),
        Outgoing::Held(held) => (held_body(Some(&held.bytes)), Some(held)),
    };
    let bytes = held.as_ref().map(|held| &held.bytes);
    let previous = if streamed { None } else { attempt.previous() };
    let again = previous.is_some() || !ready.tokens.is_empty() || attempt.follows();
    let spare = (again && !streamed).then(|| Box::new(draft.clone()));
    let (mut answer, mut word) = match live.snapshot.plan.routes[ready.index].challenged {
        // Not by way of `said`: every request would carry its state.
        None => {
            let answer = attempt.once(draft, body, bytes, newest, None, tally).await?;
            let word = note_accepted(&answer, newest);
            (answer, word)
        }
        Some(_) => Box::pin(attempt.said(draft, body, bytes, newest, tally)).await?,
    };
    if streamed {
        if word == Word::Refused {
            tokens::renew_later(proxy, live, ready);
        }
        return Ok(answer);
    }
    if let Some(draft) = spare.as_ref().filter(|_| attempt.was_skewed(&answer)) {
        drop(answer);
        (answer, word) = Box::pin(attempt.said(draft.as_ref().clone(), held_body(bytes), bytes, newest, tally)).await?;
    }
    if word == Word::Accepted {
        return Ok(answer);
    }
    let Some(draft) = spare else { return Ok(answer) };
    let renewed = Box::pin(tokens::renew(proxy, live, ready)).await?;
    let values = match (&previous, &renewed) {
        (None, None) => return Ok(answer),
        (_, Some(renewed)) => attempt.with_tokens(previous.unwrap_or_else(|| newest.to_vec()), renewed),
        (Some(previous), None) => previous.clone(),
    };
    attempt.note_fallback();
    drop(answer);
    Ok(Box::pin(attempt.said(*draft, held_body(bytes), bytes, &values, tally)).await?.0)
}

/// What the upstream says of a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Accepted,
    Refused,
}

/// Anything but 401 ends the time of the value before.
pub(super) fn note_accepted(answer: &Answer, values: &[&Arc<Value>]) -> Word {
    if answer.status() == StatusCode::UNAUTHORIZED {
        return Word::Refused;
    }
    for value in values.iter().filter(|value| !value.accepted.load(Ordering::Relaxed)) {
        value.accepted.store(true, Ordering::Relaxed);
    }
    Word::Accepted
}

fn held_body(bytes: Option<&Bytes>) -> RequestBody {
    match bytes {
        Some(bytes) if !bytes.is_empty() => RequestBody::Held(Some(bytes.clone())),
        _ => RequestBody::Empty,
    }
}

/// A request that was signed.
struct Signed<'c> {
    sealed: Sealed,
    /// When, by this machine's clock.
    at: Timestamp,
    /// What a transcript of it is made of, where one would be written.
    unsigned: Option<Box<(Draft, SignContext<'c>)>>,
}

pub(super) struct Attempt<'a> {
    proxy: &'a Proxy,
    live: &'a Live,
    pub(super) ready: &'a Ready<'a>,
    origin: &'a Arc<Origin>,
    arrived: Timestamp,
    /// What the last attempt added to our time, in milliseconds.
    correction: AtomicI64,
}

impl Attempt<'_> {
    /// The previous values, where at least one credential has one that may be used.
    fn previous(&self) -> Option<Vec<&Arc<Value>>> {
        let instances = &self.ready.instances;
        if instances.iter().all(|instance| instance.previous.is_none()) {
            return None;
        }
        let now = self.proxy.clock.now();
        if !instances.iter().any(|instance| instance.fallback(now).is_some()) {
            return None;
        }
        Some(instances.iter().filter_map(|i| i.fallback(now).or(i.current.as_ref())).collect())
    }

    /// The same values, newer tokens in place of the old.
    fn with_tokens<'v>(&self, values: Vec<&'v Arc<Value>>, renewed: &'v [Obtained]) -> Vec<&'v Arc<Value>> {
        let places = self.ready.route.credentials.iter();
        let renewed = |index: &usize| renewed.iter().find(|one| one.credential == *index);
        let value = |index: &usize| renewed(index).and_then(|one| one.token.instance.current.as_ref());
        places.zip(values).map(|(index, old)| value(index).unwrap_or(old)).collect()
    }

    /// Never silent: a warning, a counter, and the credential's health.
    fn note_fallback(&self) {
        let now = self.proxy.clock.now();
        for (instance, &index) in self.ready.instances.iter().zip(&self.ready.route.credentials) {
            if instance.fallback(now).is_some() {
                let credential = &self.live.snapshot.credentials[index].name;
                instance.fell_back.store(true, Ordering::Relaxed);
                self.proxy.metrics.credential(credential).fallbacks.inc();
                tracing::warn!(
                    credential,
                    route = self.ready.route.name,
                    "the upstream answered 401 to the newest secret; trying the previous one"
                );
            }
        }
    }

    /// The upstream's word on these values: at once, or by way of the challenge that a scheme waits for.
    async fn said(
        &self,
        draft: Draft,
        body: RequestBody,
        held: Option<&Bytes>,
        values: &[&Arc<Value>],
        tally: &mut Tally,
    ) -> Result<(Answer, Word), Failure> {
        match self.live.snapshot.plan.routes[self.ready.index].challenged {
            None => {
                let answer = self.once(draft, body, held, values, None, tally).await?;
                let word = note_accepted(&answer, values);
                Ok((answer, word))
            }
            Some(place) => Box::pin(challenge::said(self, place, draft, (body, held), values, tally)).await,
        }
    }

    /// One attempt; again only where nothing was sent or processed: a used connection turned out to be closed, or a
    /// shared one refused the request (RFC 9113 section 8.7).
    pub(super) async fn once(
        &self,
        mut draft: Draft,
        mut body: RequestBody,
        signed: Option<&Bytes>,
        values: &[&Arc<Value>],
        turn: Option<&Turn>,
        tally: &mut Tally,
    ) -> Result<Answer, Failure> {
        let timeouts = &self.ready.route.timeouts;
        let body_silence = if hop::is_grpc(&draft.headers) { None } else { timeouts.body };
        // A handshake takes a connection of its own.
        let handshake = draft.headers.contains_key(UPGRADE);
        let mut freshness = if handshake { Freshness::Http1 } else { Freshness::Any };
        let plan = &self.live.snapshot.plan.routes[self.ready.index];
        let captures: Vec<(&str, &str)> =
            self.ready.matched.captures.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        if let Some(bytes) = signed {
            tally.progress.finish();
            if tally.attempts == 0 {
                tally.progress.count(bytes.len() as u64);
            }
        }
        loop {
            tally.attempts += 1;
            let mut now = Instant::now();
            let pool = &self.proxy.pool;
            let lease = match pool.at_once(self.origin, freshness, now, timeouts.pool) {
                Some(lease) => lease,
                None => {
                    tally.upstream_begins(now);
                    let leased = pool.checkout(self.origin, freshness, timeouts.connect, timeouts.pool).await;
                    tally.upstream_ends();
                    now = Instant::now();
                    leased?
                }
            };
            if lease.peer_is_local() {
                add_via(&mut draft.headers, &self.proxy.via_line);
            }
            let next = lease.after_refusal(freshness);
            // Boxed, as what few requests need and all would have to have room for while they wait.
            let spare = plan.reframes.then(|| Box::new(draft.clone()));
            let Signed { mut sealed, at, unsigned } = self.sign(draft, signed, values, &captures, turn)?;
            if let Some(changed) = sealed.take_body() {
                body = RequestBody::Held(Some(changed));
            }
            if let Some(reframing) = sealed.take_reframing() {
                body = body.reframed(*reframing).map_err(|error| Failure::bad_request(error.to_string()))?;
            }
            let request = sealed.into_request(body);
            let request = request.map_err(|_| Failure::bad_request("the request target or Host cannot be sent"))?;
            if signed.is_some() {
                // To sign a body takes its time.
                now = Instant::now();
            }
            tally.upstream_begins(now);
            let patience = Patience { since: now, response: timeouts.response, body: body_silence };
            let progress = tally.progress.clone();
            let sent = lease.send(request, &progress, patience, self.ready.trailers).await;
            tally.upstream_ends();
            match sent {
                Ok(answer) => {
                    self.look_at_clock(&answer, at);
                    if let Some(unsigned) = unsigned.filter(|_| transcript::is_refusal(answer.status())) {
                        let (snapshot, body) = (&self.live.snapshot, self.covered(signed));
                        let (draft, context) = *unsigned;
                        transcript::write(snapshot, self.ready, draft, (values, body), &context, answer.status());
                    }
                    return Ok(answer);
                }
                Err(failed) => match failed.unsent.zip(next) {
                    Some((request, next)) => {
                        freshness = next;
                        (draft, body) = match spare {
                            // What a body was made into is of no use to the next attempt.
                            Some(draft) => {
                                let body = request.into_body();
                                (*draft, if signed.is_some() { held_body(signed) } else { body })
                            }
                            None => self.unseal(*request)?,
                        };
                    }
                    None => return Err(failed.error.into()),
                },
            }
        }
    }

    /// Signs one attempt. Not within `once`, whose state would have to hold what signing needs while the upstream answers.
    fn sign<'c>(
        &'c self,
        draft: Draft,
        body: Option<&Bytes>,
        values: &[&Arc<Value>],
        captures: &'c [(&'c str, &'c str)],
        turn: Option<&'c Turn>,
    ) -> Result<Signed<'c>, Failure> {
        let mut context = self.context(captures, turn)?;
        let at = context.now;
        context.now = self.corrected(at);
        // Without a challenge there is nothing yet that an upstream could refuse.
        let asked = turn.is_some() || self.live.snapshot.plan.routes[self.ready.index].challenged.is_none();
        let shown = !values.is_empty() && asked && transcript::is_wanted();
        let unsigned = shown.then(|| Box::new((draft.clone(), context)));
        Ok(Signed { sealed: self.seal(draft, body, values, &context)?, at, unsigned })
    }

    fn seal(
        &self,
        draft: Draft,
        body: Option<&Bytes>,
        values: &[&Arc<Value>],
        context: &SignContext<'_>,
    ) -> Result<Sealed, Failure> {
        let snapshot = &self.live.snapshot;
        if self.ready.route.credentials.is_empty() {
            return Ok(draft.unsigned());
        }
        let credentials = &*self.ready.route.credentials;
        let (one, several);
        let steps = match (credentials, values) {
            (&[index], [value]) => {
                one = step(snapshot, index, value);
                std::slice::from_ref(&one)
            }
            _ => {
                several = credentials
                    .iter()
                    .zip(values)
                    .map(|(&index, value)| step(snapshot, index, value))
                    .collect::<Vec<_>>();
                &several
            }
        };
        // Every credential of the route, or nothing leaves.
        if steps.len() != credentials.len() {
            return Err(Failure::new(Outcome::CredentialUnavailable, "a credential of the route has no value"));
        }
        let body = self.covered(body);
        draft.seal(steps, body, context).map_err(|error| Failure::new(Outcome::BadRequest, error.to_string()))
    }

    /// What this attempt's signatures depend on beside the request.
    fn context<'c>(
        &'c self,
        captures: &'c [(&'c str, &'c str)],
        turn: Option<&'c Turn>,
    ) -> Result<SignContext<'c>, Failure> {
        let plan = &self.live.snapshot.plan.routes[self.ready.index];
        let now = if plan.needs_request { self.proxy.clock.now() } else { self.arrived };
        Ok(SignContext {
            now,
            random: if plan.needs_random { super::random()? } else { [0; 32] },
            fixed_nonce: None,
            tenant: self.ready.tenant.as_deref(),
            captures,
            sequence: if plan.needs_sequence { self.proxy.sequences.next(now) } else { Sequence::default() },
            access_token: None,
            turn,
        })
    }

    /// The body as signers get it.
    fn covered<'b>(&self, body: Option<&'b Bytes>) -> Option<&'b [u8]> {
        let plan = &self.live.snapshot.plan.routes[self.ready.index];
        (plan.holds != Holds::Never).then(|| body.map_or(&b""[..], |body| body))
    }

    /// Whether signatures of this request take their time from the upstream's clock.
    fn follows(&self) -> bool {
        self.ready.route.clock == RouteClock::Follow && self.live.snapshot.plan.routes[self.ready.index].needs_request
    }

    /// The time that signatures use.
    fn corrected(&self, now: Timestamp) -> Timestamp {
        if !self.follows() {
            return now;
        }
        let correction = self.live.route(self.ready.index).skew.correction();
        self.correction.store(correction, Ordering::Relaxed);
        skew::shifted(now, correction)
    }

    /// Whether the upstream may have refused the time of the last attempt, and another one is known now.
    fn was_skewed(&self, answer: &Answer) -> bool {
        may_be_skew(answer.status())
            && self.follows()
            && self.live.route(self.ready.index).skew.was_wrong(self.correction.load(Ordering::Relaxed))
    }

    /// Reads the upstream's clock now and then, and whenever it may have refused our time.
    fn look_at_clock(&self, answer: &Answer, sent: Timestamp) {
        let live = self.live.route(self.ready.index);
        let refused = may_be_skew(answer.status()) && self.follows();
        if !refused && !live.skew.is_due(self.arrived) {
            return;
        }
        let Some((offset, change)) = live.skew.read(answer.headers(), sent, self.proxy.clock.now()) else { return };
        live.metrics.set_clock_offset(offset);
        let (route, seconds) = (self.ready.route.name.as_str(), offset / 1000);
        match change {
            Change::None => {}
            Change::Far => {
                tracing::warn!(route, offset_seconds = seconds, "the upstream's clock is far from this machine's")
            }
            Change::Near => {
                tracing::info!(route, offset_seconds = seconds, "the upstream's clock is near this machine's again")
            }
        }
    }

    /// A request that was not sent, without what signing put in: every attempt is signed anew.
    fn unseal(&self, request: Request<RequestBody>) -> Result<(Draft, RequestBody), Failure> {
        let (parts, body) = request.into_parts();
        let target = ready::target(&parts.uri, 0);
        let mut headers = parts.headers;
        headers.remove(http::header::HOST);
        let host = self.live.host(self.ready)?;
        let mut draft = Draft { method: parts.method, tls: self.ready.route.upstream.tls, host, target, headers };
        self.ready.strip(&mut draft, Twins::Possible);
        Ok((draft, body))
    }
}

fn step<'s>(snapshot: &'s Snapshot, credential: usize, value: &'s Value) -> Step<'s> {
    Step { signer: &snapshot.credentials[credential].signer, keys: &value.keys, kept: Some(&value.kept) }
}

/// Towards this machine and private networks only: `Via` makes a loop visible.
fn add_via(headers: &mut HeaderMap, line: &HeaderValue) {
    if !headers.get_all(VIA).iter().any(|other| other == line) {
        headers.append(VIA, line.clone());
    }
}
