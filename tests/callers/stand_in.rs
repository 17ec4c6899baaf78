//! Token answers made here, and the calls that are made with them.

use serde_json::Value;

use crate::support::worker::Answer;
use crate::support::{Running, Setup, Upstream};

async fn start(upstream: &Upstream, tenant: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        r#"
        [credential.shop]
        bearer = {{ secret = "shop/{{tenant}}/key" }}
        [[route]]
        name = "token"
        host = "api.test"
        path = "/oauth/token"
        upstream = "{url}"
        credential = "none"
        stand_in = "token"
        {tenant}
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "shop"
        tenant = {{ slot = true }}
        "#
    ))
    .secret("shop/m1/key", "key-of-m1")
    .secret("shop/acme-eu/key", "key-of-acme-eu")
    .start()
    .await
}

async fn post(proxy: &Running, lines: &str, body: &str) -> Answer {
    let length = body.len();
    proxy
        .raw(format!("POST /oauth/token HTTP/1.1\r\nHost: api.test\r\n{lines}Content-Length: {length}\r\n\r\n{body}"))
        .await
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_request_is_answered_here_whatever_it_is() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "").await;
    let answer = post(&proxy, "", "grant_type=client_credentials&client_id=a&client_secret=b&scope=read+write").await;
    let found = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((&found["token_type"], &found["expires_in"]), (&"Bearer".into(), &3600.into()));
    assert_eq!(found["scope"], "read write");
    assert_eq!(found.get("refresh_token"), None::<&Value>);
    let first = token(&answer);
    assert!(first.starts_with("countersign-"), "{first}");
    let json = post(&proxy, "Content-Type: application/json\r\n", r#"{"client_secret": "b", "scope": "x"}"#).await;
    assert_eq!(json.json()["scope"], "x");
    assert_ne!(token(&json), first, "each is new");
    for request in ["GET /oauth/token?x=1", "PUT /oauth/token", "DELETE /oauth/token/more"] {
        let answer = proxy.raw(format!("{request} HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
        token(&answer);
    }
    let mut worker = proxy.worker().await;
    let head = worker.exchange("HEAD /oauth/token HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let chunked =
        "POST /oauth/token HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    token(&worker.exchange(chunked).await);
    token(&worker.exchange("GET /oauth/token HTTP/1.1\r\nHost: api.test\r\n\r\n").await);
    assert_eq!(upstream.connections(), 0);
    let metric = proxy.metric("countersign_requests_total{route=\"token\",outcome=\"2xx\"}").await;
    assert!(metric >= 8.0, "{metric}");
}

#[tokio::test]
async fn a_token_request_has_a_bound() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "").await;
    let answer = post(&proxy, "", &"x".repeat(64 * 1024)).await;
    assert_eq!(answer.status, 200);
    let answer = post(&proxy, "", &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!((answer.status, answer.error()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn the_placeholder_carries_the_tenant_to_the_call() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "tenant = { slot = true }").await;
    // printf countersign-m1:secret | base64, printf m1: | base64
    let requests = [
        ("m1", "Authorization: Basic Y291bnRlcnNpZ24tbTE6c2VjcmV0\r\n", ""),
        ("m1", "Authorization: Basic bTE6\r\n", "grant_type=client_credentials"),
        ("acme-eu", "", "client_id=an-id&client_secret=countersign-acme-eu"),
        ("acme-eu", "", "client_id=acme-eu&client_secret=acme-eu"),
        ("acme-eu", "", "{\"refresh_token\": \"acme-eu\"}"),
    ];
    for (tenant, lines, body) in requests {
        let token = token(&post(&proxy, lines, body).await);
        assert!(token.starts_with(&format!("countersign-{tenant}-")), "{token}");
        let again = post(&proxy, "", &format!("grant_type=refresh_token&refresh_token={token}")).await;
        for token in [&token, &self::token(&again)] {
            let call = format!("GET /orders HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {token}\r\n\r\n");
            assert_eq!(proxy.raw(call).await.status, 200);
            assert_eq!(upstream.last().head.all("authorization"), [format!("Bearer key-of-{tenant}")]);
        }
    }
    for (body, error) in [
        ("grant_type=client_credentials", "tenant_unknown"),
        ("client_secret=countersign-a/b", "tenant_unknown"),
        ("client_id=m1&client_secret=m2", "tenant_ambiguous"),
        ("client_id=countersign-m1&client_secret=countersign-m2", "tenant_ambiguous"),
    ] {
        let answer = post(&proxy, "", body).await;
        assert_eq!((answer.status, answer.error()), (400, Some(error)), "{body}");
    }
}

#[tokio::test]
async fn a_placeholder_without_a_tenant_names_none() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "").await;
    let token = token(&post(&proxy, "", "").await);
    let call = format!("GET /orders HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(proxy.raw(call).await.error(), Some("tenant_unknown"));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_stand_in_keeps_its_clients_to_their_tenants() {
    let proxy = Setup::new(
        r#"
        [client.importer]
        token = "clients/importer"
        tenants = ["m1"]
        [[route]]
        name = "token"
        host = "api.test"
        path = "/oauth/token"
        credential = "none"
        stand_in = "token"
        tenant = { slot = true }
        clients = ["importer"]
        "#,
    )
    .secret("clients/importer", "token-one")
    .start()
    .await;
    let proof = "Proxy-Authorization: Bearer token-one\r\n";
    assert_eq!(post(&proxy, proof, "client_secret=m1").await.status, 200);
    assert_eq!(post(&proxy, proof, "client_secret=m2").await.error(), Some("client_denied"));
    assert_eq!(post(&proxy, "", "client_secret=m1").await.error(), Some("client_denied"));
}
