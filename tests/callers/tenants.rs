//! Tenants from the query, the path, and the place of the secret.

use crate::support::{Running, Setup, Upstream};

/// A route `api` with this `tenant`, its credential table, and keys of two tenants.
async fn start(upstream: &Upstream, tenant: &str, scheme: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        r#"
        [credential.shop]
        {scheme}
        [[route]]
        name = "api"
        host = "api.test"
        prefix = "/shop"
        upstream = "{url}"
        credential = "shop"
        tenant = {tenant}
        "#
    ))
    .secret("shop/m1/key", "key-of-m1")
    .secret("shop/acme-eu/key", "key-of-acme-eu")
    .secret("shop/m1/user", "user-of-m1")
    .secret("shop/acme-eu/user", "user-of-acme-eu")
    .start()
    .await
}

const KEY: &str = r#"api_key = { secret = "shop/{tenant}/key", header = "X-Key" }"#;

fn get(target: &str, lines: &str) -> String {
    let host = if target.starts_with("/shop") { "localhost" } else { "api.test" };
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_query_parameter_names_the_tenant_and_is_dropped() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, r#"{ query = "shop id" }"#, KEY).await;
    for (target, left) in [
        ("/orders?shop+id=m1", "/orders"),
        ("/orders?a=%31&shop%20id=m%31&b", "/orders?a=%31&b"),
        ("/shop/orders?shop+id=m1&shop+id=m1&c=3", "/orders?c=3"),
    ] {
        assert_eq!(proxy.raw(get(target, "")).await.status, 200, "{target}");
        let head = upstream.last().head;
        assert_eq!((head.target(), head.header("x-key")), (left, Some("key-of-m1")));
    }
    for (target, error) in [
        ("/orders", "tenant_unknown"),
        ("/orders?shop+id=", "tenant_unknown"),
        ("/orders?shop+id=..%2fm1", "tenant_unknown"),
        ("/orders?shop+id=m1&shop+id=acme-eu", "tenant_ambiguous"),
    ] {
        let answer = proxy.raw(get(target, "")).await;
        assert_eq!((answer.status, answer.error()), (400, Some(error)), "{target}");
    }
}

#[tokio::test]
async fn a_segment_of_the_path_names_the_tenant_and_stays() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "{ path = 2 }", KEY).await;
    for (target, left) in [("/v2/m1/orders?x", "/v2/m1/orders?x"), ("/shop/v2/m1", "/v2/m1")] {
        assert_eq!(proxy.raw(get(target, "")).await.status, 200, "{target}");
        let head = upstream.last().head;
        assert_eq!((head.target(), head.header("x-key")), (left, Some("key-of-m1")));
    }
    for (target, error) in [
        ("/v2", "tenant_unknown"),
        ("/v2/", "tenant_unknown"),
        ("/v2//m1", "tenant_unknown"),
        ("/v2/m%31", "tenant_unknown"),
        ("/v2%2fx/m1", "tenant_unknown"),
        ("/v2/m1/../acme-eu", "bad_request"),
        ("/v2/m1/%2e%2e/acme-eu", "bad_request"),
    ] {
        let answer = proxy.raw(get(target, "")).await;
        assert_eq!((answer.status, answer.error()), (400, Some(error)), "{target}");
    }
}

#[tokio::test]
async fn the_place_of_the_secret_names_the_tenant() {
    let upstream = Upstream::ok().await;
    for (scheme, target, lines, expected) in [
        (KEY, "/", "X-Key: TENANT\r\n", "X-Key: key-of-TENANT"),
        (
            r#"api_key = { secret = "shop/{tenant}/key", header = "Authorization", prefix = "Token " }"#,
            "/",
            "Authorization: Token TENANT\r\n",
            "authorization: Token key-of-TENANT",
        ),
        (
            r#"api_key = { secret = "shop/{tenant}/key", query = "key" }"#,
            "/?a=1&key=TENANT",
            "",
            "/?a=1&key=key-of-TENANT",
        ),
        (
            r#"api_key = { secret = "shop/{tenant}/key", cookie = "sid" }"#,
            "/",
            "Cookie: a=1; sid=TENANT\r\n",
            "a=1; sid=key-of-TENANT",
        ),
        (
            r#"bearer = { secret = "shop/{tenant}/key" }"#,
            "/",
            "Authorization: Bearer TENANT\r\n",
            "Bearer key-of-TENANT",
        ),
    ] {
        let proxy = start(&upstream, "{ slot = true }", scheme).await;
        for tenant in ["m1", "acme-eu"] {
            for written in [tenant.to_owned(), format!("countersign-{tenant}")] {
                let fill = |text: &str, with: &str| text.replace("TENANT", with);
                let answer = proxy.raw(get(&fill(target, &written), &fill(lines, &written))).await;
                assert_eq!(answer.status, 200, "{scheme} {written}: {answer:?}");
                let raw = upstream.last().head.raw.to_lowercase();
                assert!(raw.contains(&fill(expected, tenant).to_lowercase()), "{raw}");
                assert!(!raw.contains(&format!("countersign-{tenant}")), "{raw}");
            }
        }
        let answer = proxy.raw(get("/", "")).await;
        assert_eq!((answer.status, answer.error()), (400, Some("tenant_unknown")), "{scheme}");
    }
}

#[tokio::test]
async fn a_user_or_a_password_names_the_tenant() {
    let upstream = Upstream::ok().await;
    let both =
        r#"basic = { username = { secret = "shop/{tenant}/user" }, password = { secret = "shop/{tenant}/key" } }"#;
    let known = r#"basic = { username = "shop", password = { secret = "shop/{tenant}/key" } }"#;
    // printf 'm1:' | base64, and so on
    let cases = [
        (both, "bTE6", Ok("dXNlci1vZi1tMTprZXktb2YtbTE=")),     // m1:
        (both, "Om0x", Ok("dXNlci1vZi1tMTprZXktb2YtbTE=")),     // :m1
        (both, "bTE6bTE=", Ok("dXNlci1vZi1tMTprZXktb2YtbTE=")), // m1:m1
        (both, "eDpjb3VudGVyc2lnbi1tMQ==", Ok("dXNlci1vZi1tMTprZXktb2YtbTE=")), // x:countersign-m1
        (both, "bTE6eA==", Err("tenant_ambiguous")),            // m1:x
        (both, "Og==", Err("tenant_unknown")),                  // :
        (known, "c2hvcDptMQ==", Ok("c2hvcDprZXktb2YtbTE=")),    // shop:m1
        (known, "b3RoZXI6bTE=", Err("tenant_ambiguous")),       // other:m1
    ];
    for (scheme, sent, expected) in cases {
        let proxy = start(&upstream, "{ slot = true }", scheme).await;
        let answer = proxy.raw(get("/", &format!("Authorization: Basic {sent}\r\n"))).await;
        match expected {
            Ok(basic) => {
                assert_eq!(answer.status, 200, "{sent}: {answer:?}");
                assert_eq!(upstream.last().head.header("authorization"), Some(&*format!("Basic {basic}")));
            }
            Err(error) => assert_eq!((answer.status, answer.error()), (400, Some(error)), "{sent}"),
        }
    }
}
