#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::observe::Outcome;

fn metrics() -> Metrics {
    Metrics::new("0.1.0", Timestamp::from_seconds(1_795_510_800))
}

fn rows<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(name)).collect()
}

fn now(name: &str, loaded: Option<Timestamp>) -> CredentialNow {
    CredentialNow { name: name.to_owned(), stale: false, loaded, not_after: None }
}

#[test]
fn counters_have_the_exact_names_of_the_reference() {
    let metrics = metrics();
    let route = metrics.route("orders");
    route.count(Outcome::Success);
    route.count(Outcome::Success);
    route.count(Outcome::UpstreamTimeout);
    metrics.unmatched().count(Outcome::NoRoute);
    metrics.access_lines_dropped.inc();
    let text = metrics.text(["quiet", "orders"], Vec::new());
    assert_eq!(
        rows(&text, "countersign_requests_total"),
        [
            "countersign_requests_total{route=\"orders\",outcome=\"2xx\"} 2",
            "countersign_requests_total{route=\"orders\",outcome=\"upstream_timeout\"} 1",
            "countersign_requests_total{route=\"quiet\",outcome=\"2xx\"} 0",
            "countersign_requests_total{route=\"\",outcome=\"no_route\"} 1",
        ]
    );
    assert!(text.contains("# TYPE countersign_requests_total counter\n"));
    assert!(text.contains("# HELP countersign_requests_total Requests by route and how they ended\n"));
    assert_eq!(rows(&text, "countersign_access_lines_dropped_total"), ["countersign_access_lines_dropped_total 1"]);
    assert_eq!(rows(&text, "countersign_build_info"), ["countersign_build_info{version=\"0.1.0\"} 1"]);
}

#[test]
fn the_text_is_what_classic_parsers_take() {
    let metrics = metrics();
    metrics.route("a").count(Outcome::Success);
    metrics.credential("b").refused("empty");
    let text = metrics.text(["a", "never-called"], vec![now("b", None)]);
    assert!(text.ends_with('\n'));
    let mut kinds = std::collections::HashMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "declared twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let histogram = family.is_some_and(|family| kinds.get(family) == Some(&"histogram"));
            assert!(histogram || kinds.contains_key(name), "undeclared: {line}");
        }
    }
}

#[test]
fn a_histogram_counts_at_its_bounds() {
    let metrics = metrics();
    let route = metrics.route("r");
    route.proxy_time.observe(Duration::from_micros(50));
    route.proxy_time.observe(Duration::from_nanos(50_001));
    route.proxy_time.observe(Duration::from_secs(3));
    let text = metrics.text(["r"], Vec::new());
    let bucket = |bound: f64| {
        let wanted = |row: &&str| {
            let le = row.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            row.contains("route=\"r\"") && le.parse() == Ok(bound)
        };
        let row = rows(&text, "countersign_proxy_seconds_bucket").into_iter().find(wanted);
        row.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!([0.00005, 0.0001, 1.0, f64::INFINITY].map(bucket), ["1", "2", "2", "3"]);
    assert!(text.contains("countersign_proxy_seconds_count{route=\"r\"} 3\n"));
    assert!(text.contains("countersign_proxy_seconds_sum{route=\"r\"} 3.000100001\n"));
}

#[test]
fn credentials_show_health_and_vanish_when_they_are_removed() {
    let metrics = metrics();
    let key = metrics.credential("partner-key");
    key.reloaded();
    key.refused("empty");
    key.fallbacks.inc();
    let at = Timestamp::from_seconds;
    let identity = CredentialNow { not_after: Some(at(200)), ..now("route:orders/client_cert", None) };
    let stale = CredentialNow { stale: true, ..now("partner-key", Some(at(100))) };
    let text = metrics.text([], vec![identity.clone(), stale.clone()]);
    for row in [
        "countersign_secret_reloads_total{credential=\"partner-key\",result=\"ok\",reason=\"\"} 1",
        "countersign_secret_reloads_total{credential=\"partner-key\",result=\"error\",reason=\"empty\"} 1",
        "countersign_credential_fallbacks_total{credential=\"partner-key\"} 1",
        "countersign_credential_fallbacks_total{credential=\"route:orders/client_cert\"} 0",
        "countersign_credential_stale{credential=\"partner-key\"} 1",
        "countersign_credential_stale{credential=\"route:orders/client_cert\"} 0",
        "countersign_credential_loaded_timestamp_seconds{credential=\"partner-key\"} 100",
        "countersign_certificate_not_after_timestamp_seconds{credential=\"route:orders/client_cert\"} 200",
    ] {
        assert!(text.lines().any(|line| line == row), "{row}\n{text}");
    }
    let rows = rows(&text, "countersign_credential_stale");
    assert!(rows.is_sorted() && rows.len() == 2, "{rows:?}");
    assert!(Arc::ptr_eq(&key, &metrics.credential("partner-key")));

    metrics.retain(|_| true, |name| name != "partner-key");
    let text = metrics.text([], vec![identity, stale]);
    assert!(!text.contains("countersign_secret_reloads_total{"), "what was counted is forgotten: {text}");
    assert!(!metrics.text([], Vec::new()).contains("partner-key"));
}

#[test]
fn removed_routes_vanish_and_pools_have_their_states() {
    let metrics = metrics();
    metrics.route("old").count(Outcome::Success);
    metrics.route("new").connections(PoolState::Idle).set(3);
    metrics.retain(|name| name == "new", |_| true);
    // An old request that ends after the reload makes its row again; it shows only while the route is configured.
    metrics.route("old").count(Outcome::Success);
    let text = metrics.text(["new"], Vec::new());
    assert!(!text.contains("\"old\""));
    assert!(text.contains("countersign_upstream_connections{route=\"new\",state=\"idle\"} 3\n"));
}

#[test]
fn process_wide_metrics_are_there() {
    let metrics = metrics();
    metrics.set_watch_mode(WatchMode::Poll);
    metrics.config_reloaded(ConfigReload::Error);
    let text = metrics.text([], Vec::new());
    for row in [
        "countersign_watch_mode{mode=\"events\"} 0",
        "countersign_watch_mode{mode=\"poll\"} 1",
        "countersign_config_reloads_total{result=\"ok\"} 0",
        "countersign_config_reloads_total{result=\"error\"} 1",
        "process_start_time_seconds 1795510800.0",
    ] {
        assert!(text.lines().any(|line| line == row), "{row}\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes ") && text.contains("process_open_fds "));
}

#[test]
fn a_label_cannot_break_its_line() {
    let metrics = metrics();
    metrics.route("a\"b\\c\nd").count(Outcome::Success);
    assert!(metrics.text(["a\"b\\c\nd"], Vec::new()).contains("{route=\"a\\\"b\\\\c\\nd\",outcome=\"2xx\"} 1\n"));
}

#[test]
fn a_route_that_was_never_called_shows_the_rows_of_one_that_was_at_zero() {
    let metrics = metrics();
    metrics.route("b");
    let text = metrics.text(["c", "b", "a"], Vec::new());
    let of = |route: &str| -> Vec<String> {
        let label = format!("route=\"{route}\"");
        text.lines().filter(|line| line.contains(&label)).map(|line| line.replace(&label, "")).collect()
    };
    // One of the counter, 14 buckets, sum and count of each of two histograms, three states of connections.
    assert_eq!(of("b").len(), 1 + 2 * 16 + 3, "{text}");
    assert_eq!(of("a"), of("b"));
    assert_eq!(of("c"), of("b"));
    let first = |route: &str| text.find(&format!("requests_total{{route=\"{route}\"")).unwrap();
    assert!(first("a") < first("b") && first("b") < first("c"));

    metrics.route("a").count(Outcome::Success);
    let text = metrics.text(["c", "b", "a"], Vec::new());
    assert!(text.contains("countersign_requests_total{route=\"a\",outcome=\"2xx\"} 1\n"));
    assert!(text.contains("countersign_requests_total{route=\"c\",outcome=\"2xx\"} 0\n"));
}
