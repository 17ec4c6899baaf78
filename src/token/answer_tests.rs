//! Answers of every kind: what they mean, that none makes the reader panic, and that none gives a secret away.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::{Answer, Class, Refusal, read, retry_after};
use super::detail;
use super::expiry::{self, Kind};
use super::grant::{ExpiresUnit, OAuth};
use super::record::{Reason, TokenSet};
use super::vectors::{oauth, secret};
use crate::clock::Timestamp;

/// 2026-09-21T14:13:20Z
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn plain() -> OAuth {
    oauth(&json!({ "grant": "refresh_token", "token_url": "https://as.test/token" }))
}

fn answer(status: u16, body: &[u8]) -> Result<TokenSet, Refusal> {
    with_headers(status, &HeaderMap::new(), body)
}

fn with_headers(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<TokenSet, Refusal> {
    let before = TokenSet { refresh: Some(secret("old")), ..TokenSet::default() };
    let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers, body, sent: &[] };
    read(&plain(), &answer, &before, NOW)
}

fn judged(status: u16, body: &str) -> (Reason, Class) {
    let refusal = answer(status, body.as_bytes()).unwrap_err();
    (refusal.reason, refusal.class)
}

const PASSING: Class = Class::Passing { retry_after: None };

#[test]
fn every_fault_of_an_endpoint_has_its_meaning() {
    for (status, body, reason, class) in [
        (200, "", Reason::BadAnswer, Class::Unread),
        (204, "", Reason::BadAnswer, Class::Unread),
        (200, "<html>captive portal</html>", Reason::BadAnswer, Class::Unread),
        (200, r#"{"access_token":"a","refr"#, Reason::BadAnswer, Class::Unread),
        (200, r#"{"token":"a"}"#, Reason::BadAnswer, Class::Unread),
        (200, r#"{"access_token":""}"#, Reason::BadAnswer, Class::Unread),
        (200, r#"{"access_token":"a\r\nX: y"}"#, Reason::BadAnswer, Class::Unread),
        (200, r#"{"error":"invalid_grant"}"#, Reason::InvalidGrant, Class::Dead),
        (400, r#"{"error":"invalid_grant"}"#, Reason::InvalidGrant, Class::Dead),
        (401, r#"{"error":"invalid_grant"}"#, Reason::InvalidGrant, Class::Dead),
        (400, r#"{"error":"invalid_client"}"#, Reason::InvalidClient, Class::Client),
        (401, r#"{"error":"invalid_client"}"#, Reason::InvalidClient, Class::Client),
        (400, r#"{"error":"unauthorized_client"}"#, Reason::InvalidClient, Class::Client),
        (401, "", Reason::InvalidClient, Class::Client),
        (400, r#"{"error":"invalid_scope"}"#, Reason::BadAnswer, Class::Configuration),
        (400, r#"{"error":"unsupported_grant_type"}"#, Reason::BadAnswer, Class::Configuration),
        (400, r#"{"error":"invalid_target"}"#, Reason::BadAnswer, Class::Configuration),
        (404, "<html>", Reason::BadAnswer, Class::Configuration),
        (400, r#"{"error":"temporarily_unavailable"}"#, Reason::Http5xx, PASSING),
        (400, r#"{"error":"slow_down"}"#, Reason::RateLimited, PASSING),
        (429, "", Reason::RateLimited, PASSING),
        (408, "", Reason::BadAnswer, PASSING),
        (500, "oops", Reason::Http5xx, PASSING),
        (503, r#"{"error":"server_error"}"#, Reason::Http5xx, PASSING),
        (502, "<html>bad gateway</html>", Reason::Http5xx, PASSING),
        (302, "", Reason::BadAnswer, PASSING),
        (307, r#"{"access_token":"a"}"#, Reason::BadAnswer, PASSING),
    ] {
        assert_eq!(judged(status, body), (reason, class), "{status} {body}");
    }
    let long = format!("{{\"access_token\":\"a\",\"pad\":\"{}\"}}", "x".repeat(300 * 1024));
    assert_eq!(judged(200, &long), (Reason::BadAnswer, Class::Unread));
}

#[test]
fn a_wrong_content_type_hides_no_json() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let tokens = with_headers(200, &headers, b"\xEF\xBB\xBF {\"access_token\":\"a\"}\n").unwrap();
    assert_eq!(tokens.access.unwrap().expose(), b"a");
}

#[test]
fn a_refresh_token_that_is_not_returned_stays() {
    for (body, kept) in [
        (r#"{"access_token":"a"}"#, "old"),
        (r#"{"access_token":"a","refresh_token":null}"#, "old"),
        (r#"{"access_token":"a","refresh_token":""}"#, "old"),
        (r#"{"access_token":"a","refresh_token":"old"}"#, "old"),
        (r#"{"access_token":"a","refresh_token":"new"}"#, "new"),
    ] {
        assert_eq!(answer(200, body.as_bytes()).unwrap().refresh.unwrap().expose(), kept.as_bytes(), "{body}");
    }
}

#[test]
fn a_retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
    let asked = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers, NOW)
    };
    assert_eq!(asked("17"), Some(Duration::from_secs(17)));
    assert_eq!(asked("Mon, 21 Sep 2026 14:14:20 GMT"), Some(Duration::from_secs(60)));
    assert_eq!(asked("Mon, 21 Sep 2026 14:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(asked("86400"), Some(Duration::from_secs(3600)));
    assert_eq!(asked("Wed, 23 Sep 2026 14:14:20 GMT"), Some(Duration::from_secs(3600)));
    assert_eq!(asked("soon"), None);
    assert_eq!(asked("-5"), None);
}

/// Moments computed with `date -u -d .. +%s`.
#[test]
fn an_end_is_read_in_every_spelling() {
    let at = |value: &str, unit, kind| expiry::read(value, unit, kind, NOW).map(|at| at.seconds);
    let now = NOW.seconds;
    for (value, unit, kind, wanted) in [
        ("3600", None, Kind::Span, Some(now + 3600)),
        ("3600.0", Some(ExpiresUnit::Seconds), Kind::Span, Some(now + 3600)),
        ("3600000", Some(ExpiresUnit::Millis), Kind::Span, Some(now + 3600)),
        ("1790003600", Some(ExpiresUnit::Epoch), Kind::Span, Some(now + 3600)),
        ("1790003600000", Some(ExpiresUnit::EpochMillis), Kind::Span, Some(now + 3600)),
        ("1790003600", None, Kind::Moment, Some(now + 3600)),
        ("1790003600000", None, Kind::Moment, Some(now + 3600)),
        ("2026-09-21T15:13:20Z", None, Kind::Moment, Some(now + 3600)),
        ("2026-09-21T17:13:20+02:00", Some(ExpiresUnit::Date), Kind::Moment, Some(now + 3600)),
        ("2026-09-21T15:13:20", Some(ExpiresUnit::Date), Kind::Moment, Some(now + 3600)),
        ("2026-09-21 15:13:20", Some(ExpiresUnit::Date), Kind::Moment, Some(now + 3600)),
        ("Mon, 21 Sep 2026 15:13:20 GMT", Some(ExpiresUnit::Date), Kind::Moment, Some(now + 3600)),
        ("2026-09-22T00:13:20", Some(ExpiresUnit::Local(9 * 3600)), Kind::Moment, Some(now + 3600)),
        ("0", None, Kind::Span, None),
        ("-1", None, Kind::Span, None),
        ("never", None, Kind::Span, None),
        ("NaN", None, Kind::Span, None),
        ("1e300", None, Kind::Span, Some(now + 36_525 * 86_400)),
    ] {
        assert_eq!(at(value, unit, kind), wanted, "{value} {unit:?}");
    }
}

#[test]
fn a_learned_host_is_a_host() {
    let oauth = oauth(&json!({ "grant": "refresh_token", "token_url": "https://as.test/", "answer": { "host": "h" } }));
    let host = |value: &str| {
        let body = json!({ "access_token": "a", "h": value }).to_string();
        let answer = Answer { status: StatusCode::OK, headers: &HeaderMap::new(), body: body.as_bytes(), sent: &[] };
        read(&oauth, &answer, &TokenSet::default(), NOW).unwrap().host
    };
    assert_eq!(host("https://EU1.api.test/v2/").as_deref(), Some("eu1.api.test"));
    assert_eq!(host("na.api.test:8443").as_deref(), Some("na.api.test:8443"));
    for bad in ["http://plain.test", "https://user@evil.test", "a b", "", "evil.test/..", "a..b", "x:99999", "-a.test"]
    {
        assert_eq!(host(bad), None, "{bad}");
    }
}

#[test]
fn a_detail_is_fit_to_be_shown() {
    let sent = [Zeroizing::new("s3cr+t/x".to_owned()), Zeroizing::new("tok".to_owned())];
    let clean = |text: &str| detail::clean(text, &sent).unwrap_or_default();
    assert_eq!(clean("bad\r\n\tthing\u{202e}\0 here "), "bad thing here");
    assert_eq!(clean("s3cr+t/x and tok"), "[masked] and [masked]");
    assert_eq!(clean("url ?s=s3cr%2Bt%2Fx"), "url ?s=[masked]");
    assert_eq!(clean(&"y".repeat(900)).chars().count(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in 100u16..600) {
        let _ = answer(status, &body);
    }

    /// JSON with the right members and any values in them.
    #[test]
    fn no_values_make_the_reader_panic(
        number in any::<f64>(), text in "\\PC{0,40}", odd in "[0-9TZ:+. -]{0,24}", unit in 0usize..7,
    ) {
        let mut oauth = plain();
        let units = [ExpiresUnit::Seconds, ExpiresUnit::Millis, ExpiresUnit::Epoch, ExpiresUnit::EpochMillis,
            ExpiresUnit::Date, ExpiresUnit::Local(-43_200)];
        oauth.answer.expires_unit = units.get(unit).copied();
        for value in [json!(number), json!(text), json!(odd), json!([text]), json!({ "code": number })] {
            let body = json!({ "access_token": "a", "expires_in": value, "expires_at": value, "scope": value,
                "refresh_token_expires_in": value, "error": "" });
            let body = body.to_string();
            let answer = Answer { status: StatusCode::OK, headers: &HeaderMap::new(), body: body.as_bytes(), sent: &[] };
            let tokens = read(&oauth, &answer, &TokenSet::default(), NOW);
            prop_assert!(tokens.is_ok(), "{body}");
        }
    }

    #[test]
    fn a_detail_has_nothing_that_was_sent(secret in "[ -~]{1,24}", around in "\\PC{0,30}", other in "[a-d\\[\\]]{1,3}") {
        let sent = [Zeroizing::new(secret.clone()), Zeroizing::new(other.clone())];
        for said in [format!("{around}{secret}{around}"), format!("{other}{secret}{other}{around}")] {
            let body = json!({ "error": "invalid_grant", "error_description": said }).to_string();
            let answer = Answer {
                status: StatusCode::BAD_REQUEST, headers: &HeaderMap::new(), body: body.as_bytes(), sent: &sent,
            };
            let refusal = read(&plain(), &answer, &TokenSet::default(), NOW).unwrap_err();
            let shown = refusal.detail.unwrap_or_default();
            prop_assert!(!shown.contains(&secret) && !shown.contains(&other), "{shown:?}");
            prop_assert!(shown.chars().count() <= 300 && !shown.chars().any(char::is_control));
        }
    }
}
