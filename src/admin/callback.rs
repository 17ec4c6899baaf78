//! What a merchant's browser shows after an approval: small pages without script, links, or anything secret. The admin
//! listener serves them at [`PATH`], `countersign connect` on a listener of its own.

use http::StatusCode;

use super::answer::{self, Answer};
use super::page::html::Html;

/// Where the admin listener takes the browser back.
pub const PATH: &str = "/connect/callback";

/// The approval is stored.
pub fn approved(credential: &str, tenant: Option<&str>) -> Answer {
    let mut words = format!("{credential} is connected");
    if let Some(tenant) = tenant {
        words = format!("{credential} is connected for {tenant}");
    }
    page(StatusCode::OK, &words, "You can close this window.")
}

/// It is not; `why` is shown as text.
pub fn failed(why: &str) -> Answer {
    page(StatusCode::BAD_REQUEST, "Not connected", why)
}

/// Nothing is at this path of the command line's own listener.
pub fn nothing() -> Answer {
    answer::problem(StatusCode::NOT_FOUND, "there is nothing at this path")
}

fn page(status: StatusCode, title: &str, words: &str) -> Answer {
    let mut html = Html::default();
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><title>").text(title).raw("</title></head><body>");
    html.raw("<h1>").text(title).raw("</h1><p>").text(words).raw("</p></body></html>\n");
    answer::body(status, "text/html; charset=utf-8", html.into_string())
}
