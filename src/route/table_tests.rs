#![allow(clippy::unwrap_used)]

use super::*;

struct Spec(&'static str, Option<&'static str>, Option<Vec<Method>>, Option<&'static str>);

fn table(specs: &[Spec]) -> Table {
    let hosts: Vec<HostPattern> = specs.iter().map(|s| HostPattern::parse(s.0).unwrap()).collect();
    Table::build(specs.iter().zip(&hosts).map(|(spec, host)| Entry {
        host,
        path: spec.1,
        methods: spec.2.as_deref(),
        upstream_port: 8443,
        prefix: spec.3,
    }))
}

fn find(table: &Table, host: &str, path: &str, method: Method) -> Option<usize> {
    table.find(host, Port::default(), path, &method).map(|found| found.route)
}

#[test]
fn the_most_specific_route_wins() {
    let table = table(&[
        Spec("*.example.com", None, None, None),
        Spec("api.example.com", None, None, None),
        Spec("api.example.com", Some("/v2"), None, None),
        Spec("api.example.com", Some("/v2"), Some(vec![Method::POST]), None),
        Spec("api.example.com", Some("/v2/orders/"), None, None),
        Spec("{shop}.shops.example", None, None, None),
    ]);
    assert_eq!(find(&table, "x.example.com", "/", Method::GET), Some(0));
    assert_eq!(find(&table, "api.example.com", "/v1", Method::GET), Some(1));
    assert_eq!(find(&table, "api.example.com", "/v2", Method::GET), Some(2));
    assert_eq!(find(&table, "api.example.com", "/v2/x", Method::GET), Some(2));
    assert_eq!(find(&table, "api.example.com", "/v2x", Method::GET), Some(1));
    assert_eq!(find(&table, "api.example.com", "/v2/x", Method::POST), Some(3));
    assert_eq!(find(&table, "api.example.com", "/v2/orders/7", Method::POST), Some(4));
    assert_eq!(find(&table, "api.example.com", "/v2/orders", Method::GET), Some(2));
    assert_eq!(find(&table, "example.com", "/", Method::GET), None);
    let found = table.find("m1.shops.example", Port::default(), "/", &Method::GET).unwrap();
    assert_eq!(found, Found { route: 5, captures: vec![("shop", "m1")] });
    assert!(table.knows("m1.shops.example") && !table.knows("shops.example"));
}

#[test]
fn the_most_specific_host_is_chosen_alone_and_shapes_are_one_host() {
    let table = table(&[
        Spec("{shop}.a.test", Some("/x"), None, None),
        Spec("{s}.a.test", Some("/y"), None, None),
        Spec("p{id}.a.test", Some("/z"), None, None),
        Spec("one.a.test", Some("/w"), None, None),
    ]);
    assert_eq!(find(&table, "m.a.test", "/x", Method::GET), Some(0));
    assert_eq!(find(&table, "m.a.test", "/y", Method::GET), Some(1));
    assert_eq!(find(&table, "p1.a.test", "/z", Method::GET), Some(2));
    assert_eq!(find(&table, "p1.a.test", "/x", Method::GET), None);
    assert_eq!(find(&table, "one.a.test", "/x", Method::GET), None);
}

#[test]
fn a_method_outside_a_path_falls_to_the_next_shorter_path() {
    let table = table(&[
        Spec("a.test", Some("/x"), Some(vec![Method::POST]), None),
        Spec("a.test", None, Some(vec![Method::GET]), None),
    ]);
    assert_eq!(find(&table, "a.test", "/x/y", Method::GET), Some(1));
    assert_eq!(find(&table, "a.test", "/x/y", Method::DELETE), None);
}

#[test]
fn a_named_port_must_be_usual_or_the_routes_own() {
    let table = table(&[Spec("a.test", None, None, None), Spec("a.test:9000", None, None, None)]);
    let at =
        |named, local| table.find("a.test", Port::Asked { named, local }, "/", &Method::GET).map(|found| found.route);
    assert_eq!(at(None, Some(8080)), Some(0));
    assert_eq!(at(Some(443), None), Some(0));
    assert_eq!(at(Some(8443), None), Some(0));
    assert_eq!(at(Some(8080), Some(8080)), Some(0));
    assert_eq!(at(Some(22), Some(8080)), None);
    assert_eq!(at(Some(9000), None), Some(1));
}

#[test]
fn prefixes_match_byte_for_byte_on_a_segment_boundary() {
    let table = table(&[Spec("a.test", None, None, Some("/pa")), Spec("b.test", None, None, Some("/pa/deep"))]);
    assert_eq!(table.find_prefix("/pa"), Some((0, 3)));
    assert_eq!(table.find_prefix("/pa/x"), Some((0, 3)));
    assert_eq!(table.find_prefix("/pa/deep/x"), Some((1, 8)));
    assert_eq!(table.find_prefix("/pa/deeper"), Some((0, 3)));
    for other in ["/pax", "/PA/x", "/%70a/x", "//pa/x", "/./pa", "/"] {
        assert_eq!(table.find_prefix(other), None, "{other}");
    }
}

#[test]
fn dot_segments_are_seen_in_every_spelling() {
    for path in ["/a/../b", "/..", "/a/.", "/a/%2e%2e/b", "/a/.%2E", "/a%2f..%2fb", "/a/..;x=1/b", "/a\\..\\b"] {
        assert!(has_dot_segment(path), "{path}");
    }
    for path in ["/", "/a.b", "/.well-known/x", "/...", "/a%20b", "/a..b"] {
        assert!(!has_dot_segment(path), "{path}");
    }
}

#[test]
fn ten_thousand_routes_are_found_by_hash() {
    let specs: Vec<(HostPattern, String)> =
        (0..10_000).map(|i| (HostPattern::parse("a.test").unwrap(), format!("/r{i}/"))).collect();
    let table = Table::build(specs.iter().map(|(host, path)| Entry {
        host,
        path: Some(path),
        methods: None,
        upstream_port: 443,
        prefix: None,
    }));
    assert_eq!(find(&table, "a.test", "/r9999/x", Method::GET), Some(9999));
    assert_eq!(find(&table, "a.test", "/r10000/x", Method::GET), None);
}

#[test]
fn a_host_with_one_route_is_small() {
    // In a table of 10 000 hosts each is kept with up to one empty place: 16 384 times 40 bytes.
    assert!(size_of::<(Name, Host)>() <= 40, "{}", size_of::<(Name, Host)>());
}
