//! Web pages: none but those of listed origins.

use super::{get, guarded};
use crate::support::Upstream;

#[tokio::test]
async fn pages_are_kept_out_unless_the_route_lists_them() {
    let upstream = Upstream::ok().await;
    let setup = guarded(&upstream, "origins = [\"https://App.example:443\", \"http://localhost:3000\"]");
    let proxy = setup.start().await;
    let proof = "Proxy-Authorization: Bearer token-one\r\n";
    for (host, lines, status) in [
        ("api.test", "Origin: https://app.example\r\n", 200),
        ("api.test", "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n", 200),
        ("api.test", "Origin: http://localhost:3000\r\n", 200),
        ("api.test", "Origin: https://api.test\r\n", 200),
        ("api.test", "Sec-Fetch-Site: none\r\n", 200),
        ("api.test", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("api.test", "Origin: http://app.example\r\n", 403),
        ("api.test", "Origin: http://localhost:3001\r\n", 403),
        ("api.test", "Origin: null\r\n", 403),
        ("open.test", "Origin: https://app.example\r\n", 403),
        ("open.test", "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ] {
        let answer = proxy.raw(get(host, &format!("{proof}{lines}"))).await;
        assert_eq!(answer.status, status, "{host} {lines}: {answer:?}");
        assert_eq!(answer.error(), (status == 403).then_some("client_denied"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn a_preflight_is_not_answered_here() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream, "origins = [\"https://app.example\"]").start().await;
    let preflight = |host: &str, origin: &str| {
        format!(
            "OPTIONS /x HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let answer = proxy.raw(preflight("open.test", "https://evil.example")).await;
    assert_eq!((answer.status, answer.error()), (403, Some("client_denied")));
    let absolute = "GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\nOrigin: https://evil.example\r\n\r\n";
    assert_eq!(proxy.raw(absolute).await.status, 403, "a page is not asked for a password");
    assert_eq!(upstream.connections(), 0);
}
