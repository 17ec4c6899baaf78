//! What becomes of connections, told: a line of the log each, and a delivery to `[events] url` as Standard Webhooks say,
//! at least once. Events wait in the store; this is the task that takes them there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::inner::Inner;
use super::scene::Scene;
use super::standard::Key;
use crate::clock::Timestamp;
use crate::config::model::Events;
use crate::control::outward::{Plain, Way};
use crate::store::Waiting;
use crate::token::{Event, EventKind};

/// How often the store is asked for events whose time has come; those of this process are told at once.
const EVERY: Duration = Duration::from_secs(5);
/// Deliveries at one time.
const AT_ONCE: u32 = 8;
/// What a delivery's hold is longer than the delivery.
const HOLD_SLACK: Duration = Duration::from_secs(10);
/// The first pause after a failed delivery; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// Names of routes in an event.
const ROUTES: usize = 100;

/// The line of the log.
pub(super) fn log(event: &Event) {
    let (kind, state) = (event.kind.as_str(), event.state.map(|state| state.as_str()));
    let previous = event.previous.map(|state| state.as_str());
    let (reason, detail) = (event.reason.map(|reason| reason.as_str()), event.detail.as_deref());
    let Event { key, version, .. } = event;
    match event.kind {
        EventKind::Degraded | EventKind::Reauthorize | EventKind::Unhealthy => {
            tracing::warn!(connection = %key, state, previous, reason, detail, version, "{kind}");
        }
        _ => tracing::info!(connection = %key, state, previous, reason, detail, version, "{kind}"),
    }
}

/// Delivers events until it is aborted.
pub(super) async fn deliver(inner: Arc<Inner>) {
    loop {
        let scene = inner.scene.load_full();
        let full = match &scene.snapshot.plan.config.events {
            Some(events) => batch(&inner, &scene, events).await,
            None => false,
        };
        if !full {
            let _ = timeout(EVERY, inner.told.notified()).await;
        }
    }
}

/// Delivers what waits; whether there may be more.
async fn batch(inner: &Arc<Inner>, scene: &Arc<Scene>, events: &Events) -> bool {
    let (waiting, dropped) = match inner.parts.store.take_events(AT_ONCE, events.timeout + HOLD_SLACK).await {
        Ok(taken) => taken,
        Err(error) => {
            tracing::warn!(%error, "the store of connections");
            return false;
        }
    };
    if dropped > 0 {
        tracing::warn!(events = dropped, "events were not delivered within 24 h and are dropped");
        inner.parts.metrics.calls().events("dropped", dropped);
    }
    let full = waiting.len() >= AT_ONCE as usize;
    let mut deliveries = JoinSet::new();
    for one in waiting {
        deliveries.spawn(settle(inner.clone(), scene.clone(), one));
    }
    while deliveries.join_next().await.is_some() {}
    full
}

/// Delivers one event and tells the store what came of it.
async fn settle(inner: Arc<Inner>, scene: Arc<Scene>, waiting: Waiting) {
    let Some(events) = &scene.snapshot.plan.config.events else { return };
    let wanted = events.types.contains(&waiting.event.kind);
    let sent = if wanted { send(&inner, &scene, events, &waiting).await } else { Ok(()) };
    let stored = match sent {
        Ok(()) => {
            inner.parts.metrics.calls().events("delivered", u64::from(wanted));
            inner.parts.store.delivered(&waiting.id).await
        }
        Err(why) => {
            inner.parts.metrics.calls().events("failed", 1);
            let bound = PAUSE.saturating_mul(1 << waiting.attempts.min(12)).min(PAUSE_MAX);
            let pause = bound.mul_f64(0.5 + inner.random() / 2.0);
            tracing::warn!(
                id = waiting.id,
                kind = waiting.event.kind.as_str(),
                why,
                ?pause,
                "an event was not delivered"
            );
            inner.parts.store.postpone(&waiting.id, pause).await
        }
    };
    if let Err(error) = stored {
        tracing::warn!(%error, "the store of connections");
    }
}

async fn send(inner: &Inner, scene: &Scene, events: &Events, waiting: &Waiting) -> Result<(), String> {
    let named = |why: &str| format!("secret {}: {why}", events.secret.value.as_str());
    let secret = scene.snapshot.events_key.as_ref().ok_or_else(|| named("it has no good value"))?;
    let key = Key::read(secret.expose()).map_err(|why| named(&why.to_string()))?;
    let request = request(scene, events, &key, waiting, inner.parts.clock.now())?;
    let way = Way {
        client: scene.snapshot.events_client().cloned(),
        // The configuration has judged the URL.
        plain: Plain::Allowed,
        ..Way::to(request.uri(), &scene.snapshot.plan.config, scene.egress())
    };
    match inner.parts.outward.call(request, &way, events.timeout).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it was answered {}", StatusCode::as_u16(&answer.status()))),
        Err(error) => Err(error.to_string()),
    }
}

/// One delivery: the headers and the body of Standard Webhooks.
fn request(
    scene: &Scene,
    events: &Events,
    key: &Key,
    waiting: &Waiting,
    now: Timestamp,
) -> Result<Request<Bytes>, String> {
    let event = &waiting.event;
    let tenant = Some(&*event.key.tenant).filter(|tenant| !tenant.is_empty());
    let body = json!({
        "type": event.kind.as_str(),
        "timestamp": rfc3339(event.at),
        "data": {
            "credential": &*event.key.credential,
            "tenant": tenant,
            "platform": null,
            "state": event.state.map(|state| state.as_str()),
            "previous": event.previous.map(|state| state.as_str()),
            "reason": event.reason.map(|reason| reason.as_str()),
            "detail": event.detail,
            "version": event.version,
            "routes": scene.routes(&event.key.credential, ROUTES),
        }
    })
    .to_string();
    let signature = key.sign(&waiting.id, now.seconds, body.as_bytes());
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "its id is no header".to_owned());
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = events.url.clone();
    let headers = request.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = concat!("countersign/", env!("CARGO_PKG_VERSION"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert("webhook-id", value(&waiting.id)?);
    headers.insert("webhook-timestamp", HeaderValue::from(now.seconds));
    headers.insert("webhook-signature", value(&signature)?);
    Ok(request)
}

fn rfc3339(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    time.to_string()
}
