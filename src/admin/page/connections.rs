//! The table of connections on the page: those that need somebody first, then others, as many as a person reads.

use std::time::Duration;

use super::html::{Html, Tone, ago, until};
use crate::admin::connections::{ConnectionView, ListQuery};
use crate::admin::{Connections, Source};
use crate::clock::Timestamp;

/// Rows at most; the rest is at `/api/connections`.
const ROWS: u32 = 50;
/// How long the page waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the table shows.
pub(super) enum Found {
    /// No credential of the configuration has connections: no table.
    NoSuchCredential,
    /// The store did not answer.
    NoAnswer(String),
    /// Rows, and whether there are more.
    Rows(Vec<ConnectionView>, More),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    None,
    Some,
}

/// Asks for the rows.
pub(super) async fn collect(source: &dyn Source) -> Found {
    let Some(connections) = source.connections() else { return Found::NoSuchCredential };
    match tokio::time::timeout(PATIENCE, rows(connections)).await {
        Ok(Ok((rows, more))) => Found::Rows(rows, more),
        Ok(Err(refused)) => Found::NoAnswer(refused.message),
        Err(_) => Found::NoAnswer(format!("the store did not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn rows(
    connections: &dyn Connections,
) -> Result<(Vec<ConnectionView>, More), crate::admin::connections::Refused> {
    let mut rows: Vec<ConnectionView> = Vec::new();
    let mut more = More::None;
    for state in [Some("reauthorize"), Some("degraded"), None] {
        let query = ListQuery { state: state.map(str::to_owned), limit: ROWS, ..ListQuery::default() };
        let page = connections.list(query).await?;
        if page.next.is_some() {
            more = More::Some;
        }
        for row in page.connections {
            if !rows.iter().any(|old| old.credential == row.credential && old.tenant == row.tenant) {
                rows.push(row);
            }
        }
    }
    if rows.len() > ROWS as usize {
        rows.truncate(ROWS as usize);
        more = More::Some;
    }
    Ok((rows, more))
}

/// Draws it.
pub(super) fn table(html: &mut Html, found: &Found, now: Timestamp) {
    let (rows, more) = match found {
        Found::NoSuchCredential => return,
        Found::NoAnswer(why) => {
            html.raw("<section><h2>Connections</h2><p class=\"empty\">").text(why).raw("</p></section>");
            return;
        }
        Found::Rows(rows, more) => (rows, *more),
    };
    let columns = ["Connection", "State", "Token", "Next refresh", "Used", "Fingerprint", "Routes"];
    let none = "No merchant is connected yet: countersign connect CREDENTIAL --tenant NAME";
    if !html.table("Connections", &columns, rows.is_empty(), none) {
        return;
    }
    for row in rows {
        html.raw("<tr><th scope=\"row\">").text(&row.credential);
        if let Some(tenant) = &row.tenant {
            html.raw("/").text(tenant);
        }
        html.raw("</th><td>");
        html.chip(tone_of(row), row.state);
        if let Some(reason) = row.reason {
            html.raw("<p class=\"reason\">").text(reason);
            if let Some(detail) = &row.detail {
                html.raw(": ").text(detail);
            }
            html.raw("</p>");
        }
        html.raw("</td>");
        match row.access_token {
            Some(_) if row.expires_at.is_some() => html.time(row.expires_at, |at| format!("ends {}", until(at, now))),
            Some(_) if row.usable => html.raw("<td>usable</td>"),
            _ => html.raw("<td>–</td>"),
        };
        html.time(row.next_refresh_at, |at| until(at, now));
        html.time(row.last_used_at, |at| ago(at, now));
        html.raw("<td>").code(row.access_token.as_deref()).raw("</td><td>");
        html.text(&row.routes.join(", ")).raw("</td></tr>");
    }
    if more == More::Some {
        html.raw("<tr><td colspan=\"7\">and more: <code>countersign connections list</code></td></tr>");
    }
    html.end_table();
}

fn tone_of(row: &ConnectionView) -> Tone {
    match row.state {
        "reauthorize" => Tone::Bad,
        "degraded" | "revoked" => Tone::Warn,
        _ if row.usable => Tone::Good,
        _ => Tone::Warn,
    }
}
