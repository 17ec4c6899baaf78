//! Tenants from a capture or a header; secrets named by tenant.

use crate::support::{Running, Setup, Upstream, files};

const SHOP: &str = r#"
[credential.shop]
api_key = { secret = "shop/{tenant}/key", header = "X-Key" }
"#;

async fn by_header(upstream: &Upstream) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        r#"{SHOP}
        [[route]]
        name = "shop"
        host = "api.test"
        upstream = "{url}"
        credential = "shop"
        tenant = {{ header = "Countersign-Tenant" }}
        "#
    ))
    .secret("shop/m1/key", "key-of-m1")
    .secret("shop/m2/key", "key-of-m2")
    .start()
    .await
}

fn request(headers: &str) -> String {
    format!("GET /orders HTTP/1.1\r\nHost: api.test\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_header_names_the_tenant_and_is_dropped() {
    let upstream = Upstream::ok().await;
    let proxy = by_header(&upstream).await;
    for tenant in ["m1", "m2"] {
        let answer = proxy.raw(request(&format!("countersign-TENANT: {tenant}\r\n"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = upstream.last();
        assert_eq!(seen.head.header("x-key"), Some(&*format!("key-of-{tenant}")));
        assert_eq!(seen.head.header("countersign-tenant"), None);
    }
    let answer = proxy.raw(request("Countersign-Tenant: m1\r\nCountersign-Tenant: m1\r\n")).await;
    assert_eq!(answer.status, 200, "twice the same is one tenant");
}

#[tokio::test]
async fn an_absent_or_malformed_tenant_is_unknown_and_two_are_ambiguous() {
    let upstream = Upstream::ok().await;
    let proxy = by_header(&upstream).await;
    let long = format!("Countersign-Tenant: {}\r\n", "a".repeat(129));
    for headers in [
        "",
        "Countersign-Tenant:\r\n",
        "Countersign-Tenant: ../m1\r\n",
        "Countersign-Tenant: m1..\r\n",
        "Countersign-Tenant: m1/key\r\n",
        "Countersign-Tenant: .hidden\r\n",
        "Countersign-Tenant: m1 m2\r\n",
        "Countersign-Tenant: m\u{fc}\r\n",
        &long,
    ] {
        let answer = proxy.raw(request(headers)).await;
        assert_eq!((answer.status, answer.error()), (400, Some("tenant_unknown")), "{headers:?}");
        assert_eq!(answer.json()["route"], "shop");
    }
    let answer = proxy.raw(request("Countersign-Tenant: m1\r\nCountersign-Tenant: m2\r\n")).await;
    assert_eq!((answer.status, answer.error()), (400, Some("tenant_ambiguous")));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_tenant_whose_file_does_not_exist_gets_an_error_that_names_the_file() {
    let upstream = Upstream::ok().await;
    let proxy = by_header(&upstream).await;
    let answer = proxy.raw(request("Countersign-Tenant: m3\r\n")).await;
    assert_eq!((answer.status, answer.error()), (503, Some("credential_unavailable")));
    let problem = answer.json();
    assert!(problem["detail"].as_str().unwrap().contains("shop/m3/key"), "{problem}");
    assert_eq!(problem["credential"], "shop");
    assert_eq!(upstream.connections(), 0);

    files::write_new(&proxy.scratch.path("secrets"), "shop/m3/key", b"key-of-m3");
    crate::support::wait::until("the new tenant", async || {
        proxy.raw(request("Countersign-Tenant: m3\r\n")).await.status == 200
    })
    .await;
    assert_eq!(upstream.last().head.header("x-key"), Some("key-of-m3"));
}

#[tokio::test]
async fn a_capture_of_the_host_names_the_tenant() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        r#"{SHOP}
        [[route]]
        name = "shop"
        host = "{{shop}}.shops.test"
        upstream = "{url}"
        credential = "shop"
        tenant = "{{shop}}"
        "#
    ))
    .secret("shop/m1/key", "key-of-m1")
    .start()
    .await;
    assert_eq!(proxy.get("M1.shops.test", "/").await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.head.header("x-key"), Some("key-of-m1"));
    assert_eq!(seen.head.header("host"), Some("m1.shops.test"));
    let answer = proxy.get("m9.shops.test", "/").await;
    assert_eq!(answer.error(), Some("credential_unavailable"));
    assert!(answer.text().contains("shop/m9/key"));
}
