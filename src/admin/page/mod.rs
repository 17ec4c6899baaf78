//! The page for people: one HTML document that loads nothing, readable without script.
//!
//! Everything that comes from the configuration is escaped. Style and script stand in the document;
//! its policy allows exactly these two by their digests. The script replaces the content every few
//! seconds; without script the document reloads itself.

mod connections;
pub(super) mod html;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use http::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use self::html::{Html, Tone, ago, until};
use super::answer::{self, Answer};
use super::{CredentialView, Health, Readiness, RouteView, Source, StatusView};
use crate::clock::Timestamp;
use crate::observe::line::time_text;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// A certificate that expires within this many seconds is amber: 14 days.
const EXPIRES_SOON: i64 = 14 * 24 * 3600;

static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    HeaderValue::try_from(policy).ok()
});

/// The page as it is now.
pub(super) async fn page(source: &dyn Source) -> Answer {
    let now = source.now();
    let (status, readiness) = (source.status(), source.readiness());
    let (credentials, routes) = (source.credentials(), source.routes());
    let connections = connections::collect(source).await;
    let mut html = Html::default();
    head(&mut html);
    html.raw("<main id=\"content\">");
    banner(&mut html, &status, &readiness);
    facts(&mut html, &status, &routes, &credentials, now);
    credentials_table(&mut html, credentials, now);
    connections::table(&mut html, &connections, now);
    routes_table(&mut html, &routes);
    listeners_table(&mut html, &status);
    html.raw("<footer>As of <time>").text(&time_text(now)).raw("</time> · ");
    html.raw("JSON: <a href=\"/api/status\">status</a> <a href=\"/api/routes\">routes</a> ");
    html.raw("<a href=\"/api/credentials\">credentials</a> <a href=\"/api/connections\">connections</a> · <a href=\"/metrics\">metrics</a> · ");
    html.raw("<a href=\"/readyz?verbose\">readiness</a></footer></main>");
    html.raw("<script>").raw(SCRIPT).raw("</script></body></html>\n");

    let mut answer: Response<_> = answer::body(StatusCode::OK, "text/html; charset=utf-8", html.into_string());
    if let Some(policy) = &*POLICY {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    answer
}

fn head(html: &mut Html) {
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><title>countersign</title>");
    html.raw("<link rel=\"icon\" href=\"data:,\"><noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>");
    html.raw("<style>").raw(STYLE).raw("</style></head><body>");
    html.raw("<p id=\"lost\" role=\"alert\" hidden>No answer from countersign. What you see may be out of date.</p>");
}

/// The one line that says whether all is well.
fn banner(html: &mut Html, status: &StatusView, readiness: &Readiness) {
    let unhealthy = readiness.unhealthy.len();
    let (tone, words) = match (readiness.ready, unhealthy) {
        (false, _) => (Tone::Bad, format!("Not ready: {}", readiness.reasons.join("; "))),
        (true, 0) => (Tone::Good, "Ready, all credentials healthy".to_owned()),
        (true, 1) => (Tone::Warn, "Ready, 1 credential needs attention".to_owned()),
        (true, many) => (Tone::Warn, format!("Ready, {many} credentials need attention")),
    };
    html.raw("<header><h1>countersign <small>").text(&status.version).raw("</small></h1><p class=\"state ");
    html.raw(tone.class()).raw("\">").text(&words).raw("</p></header>");
}

fn facts(html: &mut Html, status: &StatusView, routes: &[RouteView], credentials: &[CredentialView], now: Timestamp) {
    let healthy = credentials.iter().filter(|credential| tone_of(credential, now) == Tone::Good).count();
    let ready = routes.iter().filter(|route| route.ready).count();
    let facts = [
        ("Credentials", format!("{healthy}/{}", credentials.len()), "healthy"),
        ("Routes", format!("{ready}/{}", routes.len()), "ready"),
        ("Generation", status.generation.to_string(), "in force"),
        ("Up", html::span(i64::try_from(status.uptime).unwrap_or(i64::MAX)), "running"),
    ];
    html.raw("<dl class=\"facts\">");
    for (name, value, unit) in facts {
        html.raw("<div><dt>").text(name).raw("</dt><dd>").text(&value);
        html.raw(" <small>").text(unit).raw("</small></dd></div>");
    }
    html.raw("</dl>");
}

/// A value that cannot be used is red even while the last good one serves: somebody has to act.
fn tone_of(credential: &CredentialView, now: Timestamp) -> Tone {
    let soon = credential.expires_at.is_some_and(|at| at.seconds - now.seconds < EXPIRES_SOON);
    match credential.health {
        Health::Ok if soon => Tone::Warn,
        Health::Ok => Tone::Good,
        Health::Fallback => Tone::Warn,
        Health::Stale | Health::Missing | Health::Expired => Tone::Bad,
    }
}

fn credentials_table(html: &mut Html, mut credentials: Vec<CredentialView>, now: Timestamp) {
    credentials.sort_by_key(|credential| std::cmp::Reverse(tone_of(credential, now))); // stable: worst first
    let columns = ["Credential", "Health", "Scheme", "Age", "Expires", "Fingerprint", "Routes"];
    if !html.table("Credentials", &columns, credentials.is_empty(), "No credential is configured.") {
        return;
    }
    for credential in &credentials {
        let tone = tone_of(credential, now);
        html.raw("<tr><th scope=\"row\">").text(&credential.name).raw("</th><td>");
        html.chip(tone, credential.health.as_str());
        if let Some(reason) = &credential.reason {
            html.raw("<p class=\"reason\">").text(reason).raw("</p>");
        } else if credential.health == Health::Ok && tone == Tone::Warn {
            html.raw("<p class=\"reason\">expires soon</p>");
        }
        html.raw("</td><td>").text(&credential.scheme).raw("</td>");
        html.time(credential.loaded_at, |at| ago(at, now));
        html.time(credential.expires_at, |at| until(at, now));
        html.raw("<td>").code(credential.fingerprint.as_deref()).raw("</td><td>");
        html.text(&credential.routes.join(", ")).raw("</td></tr>");
    }
    html.end_table();
}

fn routes_table(html: &mut Html, routes: &[RouteView]) {
    let columns = ["Route", "State", "Host and path", "Ways in", "Upstream", "Credentials"];
    if !html.table("Routes", &columns, routes.is_empty(), "No route is configured.") {
        return;
    }
    for route in routes {
        html.raw("<tr><th scope=\"row\">").text(&route.name).raw("</th><td>");
        match route.ready {
            true => html.chip(Tone::Good, "ready"),
            false => html.chip(Tone::Bad, "answers 503"),
        };
        html.raw("</td><td><code>").text(&route.host).text(route.path.as_deref().unwrap_or_default());
        html.raw("</code>");
        if let Some(methods) = &route.methods {
            html.raw(" <small>").text(&methods.join(" ")).raw("</small>");
        }
        html.raw("</td><td>");
        for way in [&route.prefix, &route.listen].into_iter().flatten() {
            html.code(Some(way)).raw(" ");
        }
        html.raw("</td><td>").code(Some(&route.upstream)).raw("</td><td>");
        let none = route.credentials.is_empty();
        html.text(&if none { "none".to_owned() } else { route.credentials.join(", ") }).raw("</td></tr>");
    }
    html.end_table();
}

fn listeners_table(html: &mut Html, status: &StatusView) {
    let columns = ["Listener", "Address", "Route"];
    if !html.table("Listeners", &columns, status.listeners.is_empty(), "Nothing listens yet.") {
        return;
    }
    for listener in &status.listeners {
        html.raw("<tr><th scope=\"row\">").text(listener.kind).raw("</th><td>").code(Some(&listener.address));
        html.raw("</td><td>").text(listener.route.as_deref().unwrap_or("–")).raw("</td></tr>");
    }
    html.end_table();
}
