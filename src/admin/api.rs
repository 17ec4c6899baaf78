//! The paths of the admin and health listeners.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use serde_json::json;

use super::answer::{self, Answer};
use super::guard::{self, Refusal};
use super::{Kind, Readiness, Reads, ReloadResult, Source, connections, page};
use crate::observe::metrics;

/// How long `POST /api/reload` waits before it answers that the reload goes on.
const RELOAD_WAIT: Duration = Duration::from_secs(10);

/// Bytes of a question's body at most; the longest is a query that a platform gave to a browser.
const BODY_LIMIT: usize = 64 * 1024;
/// How long such a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Page,
    Live,
    Ready,
    Metrics,
    Status,
    Routes,
    Credentials,
    Reload,
}

impl Place {
    fn find(path: &str, kind: Kind) -> Option<Self> {
        let place = match path {
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            _ if kind == Kind::Health => return None,
            "/" => Self::Page,
            "/api/status" => Self::Status,
            "/api/routes" => Self::Routes,
            "/api/credentials" => Self::Credentials,
            "/api/reload" => Self::Reload,
            _ => return None,
        };
        Some(place)
    }

    /// The value of `Allow`.
    fn methods(self) -> &'static str {
        match self {
            Self::Reload => "POST",
            _ => "GET, HEAD",
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Reload => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// Answers one request. The body of a HEAD is left out by the connection, its length stays.
pub(super) async fn answer<B>(request: Request<B>, kind: Kind, local: IpAddr, source: &dyn Source) -> Answer
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(refusal) = guard::check_name(&request, kind, local, &source.names()) {
        return answer::refused(refusal);
    }
    if kind == Kind::Admin
        && let Some(path) = connections::Path::find(request.uri().path(), request.method())
    {
        return connections(path, request, source).await;
    }
    let Some(place) = Place::find(request.uri().path(), kind) else {
        return answer::problem(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if !place.takes(request.method()) {
        return answer::method_not_allowed(place.methods());
    }
    if let Err(refusal) = permit(place, kind, request.headers(), source) {
        if place == Place::Reload {
            tracing::warn!(reason = %refusal, "refused a changing call of the admin listener");
        }
        return answer::refused(refusal);
    }
    match place {
        Place::Page => page::page(source).await,
        Place::Live => answer::text(StatusCode::OK, "ok\n"),
        Place::Ready => ready(&source.readiness(), is_verbose(request.uri().query())),
        Place::Metrics => answer::body(StatusCode::OK, metrics::CONTENT_TYPE, source.metrics_text()),
        Place::Status => answer::json(StatusCode::OK, &source.status()),
        Place::Routes => answer::json(StatusCode::OK, &json!({ "routes": source.routes() })),
        Place::Credentials => answer::json(StatusCode::OK, &json!({ "credentials": source.credentials() })),
        Place::Reload => reload(source).await,
    }
}

/// The paths of connections.
async fn connections<B>(path: connections::Path, request: Request<B>, source: &dyn Source) -> Answer
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (method, headers) = (request.method(), request.headers());
    let (takes, allow) = match path.is_changing() {
        true => (method == Method::POST, "POST"),
        false => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if !takes {
        return answer::method_not_allowed(allow);
    }
    let permitted = match path.is_changing() {
        true => guard::check_site(headers).and_then(|()| guard::check_token(headers, source)),
        false if path.is_callback() || source.reads() == Reads::Open => Ok(()),
        false => guard::check_token(headers, source),
    };
    if let Err(refusal) = permitted {
        if path.is_changing() {
            tracing::warn!(reason = %refusal, "refused a changing call of the admin listener");
        }
        return answer::refused(refusal);
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = if path.is_changing() { body_of(request.into_body()).await } else { Ok(Bytes::new()) };
    match body {
        Ok(body) => connections::answer(path, &query, &body, source.connections()).await,
        Err(status) => answer::problem(status, "the body of this call is too long or did not come whole"),
    }
}

async fn body_of<B>(body: B) -> Result<Bytes, StatusCode>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Probes need no token; the health listener has nothing else to protect.
fn permit(place: Place, kind: Kind, headers: &HeaderMap, source: &dyn Source) -> Result<(), Refusal> {
    match place {
        Place::Reload => {
            guard::check_site(headers)?;
            guard::check_token(headers, source)
        }
        Place::Live | Place::Ready => Ok(()),
        _ if kind == Kind::Admin && source.reads() == Reads::Protected => guard::check_token(headers, source),
        _ => Ok(()),
    }
}

/// How much `/readyz` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Short,
    Verbose,
}

fn is_verbose(query: Option<&str>) -> Detail {
    let named = |part: &str| part.split('=').next() == Some("verbose");
    match query.is_some_and(|query| query.split('&').any(named)) {
        true => Detail::Verbose,
        false => Detail::Short,
    }
}

fn ready(readiness: &Readiness, detail: Detail) -> Answer {
    let (status, word) = match readiness.ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let mut out = word.to_owned();
    if !readiness.reasons.is_empty() {
        let _ = write!(out, ": {}", readiness.reasons.join("; ")); // a String takes everything
    }
    out.push('\n');
    if detail == Detail::Verbose {
        for item in &readiness.unhealthy {
            let reason = item.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let _ = writeln!(out, "unhealthy: {}: {}{reason}", item.name, item.health.as_str());
        }
    }
    answer::text(status, out)
}

async fn reload(source: &dyn Source) -> Answer {
    tracing::info!("reload asked for through the admin listener");
    match tokio::time::timeout(RELOAD_WAIT, source.reload()).await {
        Ok(Ok(view)) if view.result == ReloadResult::Failed => answer::problem_with(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the configuration has mistakes; the last good one stays in force",
            &view.messages,
        ),
        Ok(Ok(view)) => answer::json(StatusCode::OK, &view),
        Ok(Err(_)) => answer::problem(StatusCode::SERVICE_UNAVAILABLE, "the process is about to end"),
        Err(_) => answer::json(StatusCode::ACCEPTED, &json!({ "result": "pending" })),
    }
}
