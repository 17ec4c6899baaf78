//! Connections for people: a table of many, lines for one.

use crate::admin::connections::{ConnectionView, RevokedView};
use crate::cli::terminal;
use crate::clock::Timestamp;
use crate::observe::line::time_text;

/// A row for each.
pub(super) fn table(views: &[ConnectionView], now: Timestamp) -> String {
    let head =
        ["CREDENTIAL", "TENANT", "STATE", "REASON", "TOKEN", "NEXT REFRESH", "LAST REFRESH", "USED", "FINGERPRINT"];
    let row = |view: &ConnectionView| {
        let token = match (&view.access_token, view.expires_at) {
            (None, _) => "none".to_owned(),
            (_, Some(at)) if view.usable => format!("ends {}", when(at, now)),
            (_, Some(at)) => format!("ended {}", when(at, now)),
            (_, None) if view.usable => "usable".to_owned(),
            _ => "not usable".to_owned(),
        };
        let last = view.last_refresh.as_ref().map(|last| match last.at {
            Some(at) => format!("{} {}", last.outcome, when(at, now)),
            None => last.outcome.to_owned(),
        });
        let time = |at: Option<Timestamp>| at.map(|at| when(at, now)).unwrap_or_default();
        vec![
            view.credential.clone(),
            view.tenant.clone().unwrap_or_default(),
            view.state.to_owned(),
            view.reason.unwrap_or_default().to_owned(),
            token,
            time(view.next_refresh_at),
            last.unwrap_or_default(),
            time(view.last_used_at),
            view.access_token.clone().unwrap_or_default(),
        ]
    };
    terminal::table(&head, &views.iter().map(row).collect::<Vec<_>>())
}

/// Every fact in a line of its own; what is not known is left out.
pub(super) fn one(view: &ConnectionView) -> String {
    let time = |at: Option<Timestamp>| at.map(time_text);
    let words = |list: &[String]| Some(list.join(", ")).filter(|text| !text.is_empty());
    let last = view.last_refresh.as_ref().map(|last| format!("{} {}", time(last.at).unwrap_or_default(), last.outcome));
    let state = match view.reason {
        Some(reason) => format!("{} ({reason})", view.state),
        None => view.state.to_owned(),
    };
    let facts = [
        ("credential", Some(view.credential.clone())),
        ("tenant", view.tenant.clone()),
        ("platform", view.platform.clone()),
        ("grant", Some(view.grant.clone())),
        ("state", Some(state)),
        ("detail", view.detail.clone()),
        ("usable", Some(if view.usable { "yes" } else { "no" }.to_owned())),
        ("scopes", words(&view.scopes)),
        ("access token", view.access_token.clone()),
        ("issued at", time(view.issued_at)),
        ("expires at", time(view.expires_at)),
        ("refresh token", view.refresh_token.clone()),
        ("ends at", time(view.refresh_expires_at)),
        ("next refresh", time(view.next_refresh_at)),
        ("last refresh", last),
        ("failures", Some(view.failures).filter(|count| *count > 0).map(|count| count.to_string())),
        ("version", Some(view.version.to_string())),
        ("created at", time(view.created_at)),
        ("updated at", time(view.updated_at)),
        ("last used at", time(view.last_used_at)),
        ("routes", words(&view.routes)),
    ];
    let lines = facts.into_iter().filter_map(|(name, fact)| Some(format!("{name:<14}{}\n", clean(&fact?))));
    lines.collect()
}

/// What was ended, and what it stops.
pub(super) fn revoked(views: &[RevokedView]) -> String {
    let row = |view: &RevokedView| {
        let tenant = view.tenant.clone().unwrap_or_default();
        vec![view.credential.clone(), tenant, view.state.to_owned(), view.platform.to_owned(), view.routes.join(", ")]
    };
    let head = ["CREDENTIAL", "TENANT", "STATE", "AT THE PLATFORM", "STOPS ROUTES"];
    terminal::table(&head, &views.iter().map(row).collect::<Vec<_>>())
}

/// Text of others in one line.
fn clean(text: &str) -> String {
    terminal::harmless(text).replace('\n', " ")
}

/// `in 42 min`, `3 h ago`
fn when(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.seconds - now.seconds;
    let span = span(seconds.unsigned_abs());
    if seconds > 0 { format!("in {span}") } else { format!("{span} ago") }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let at = Timestamp::from_seconds;
        let words =
            [when(at(160), at(100)), when(at(100), at(7300)), when(at(100), at(400_000)), when(at(7300), at(0))];
        assert_eq!(words, ["in 60 s", "2 h ago", "4 d ago", "in 2 h"]);
    }
}
