//! Both listeners over real loopback sockets, in raw HTTP text.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const TOKEN: &str = "canary-admin-token";

struct Fixture {
    token: AdminToken,
    reads: Reads,
    readiness: Readiness,
    connections: Option<Box<dyn Connections>>,
    reload: Mutex<Option<ReloadView>>,
}

impl Default for Fixture {
    fn default() -> Self {
        let values = ["", "previous", TOKEN].map(|value| SecretBytes::new(value.into()));
        Self {
            token: AdminToken::Values(values.into()),
            reads: Reads::Open,
            readiness: Readiness {
                ready: true,
                reasons: vec![],
                unhealthy: vec![Unhealthy {
                    name: "erp".into(),
                    health: Health::Stale,
                    reason: Some("erp/password: empty".into()),
                }],
            },
            connections: None,
            reload: Mutex::new(None),
        }
    }
}

impl Source for Fixture {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_795_510_800)
    }
    fn status(&self) -> StatusView {
        let listener = |kind, address: &str, route: Option<&str>| ListenerView {
            kind,
            address: address.into(),
            route: route.map(Into::into),
        };
        StatusView {
            version: "0.1.0".into(),
            generation: 7,
            uptime: 93_784,
            listeners: vec![
                listener("proxy", "127.0.0.1:8080", None),
                listener("proxy", "unix:/run/countersign/proxy.sock", None),
                listener("route", "127.0.0.1:9001", Some("partner")),
                listener("admin", "127.0.0.1:9901", None),
            ],
        }
    }
    fn routes(&self) -> Vec<RouteView> {
        let route = |name: &str, host: &str, credentials: &[&str], ready| RouteView {
            name: name.into(),
            host: host.into(),
            path: (name == "partner").then(|| "/v2/".into()),
            methods: (name == "partner").then(|| vec!["GET".into(), "POST".into()]),
            prefix: (name == "partner").then(|| "/partner".into()),
            listen: (name == "partner").then(|| "127.0.0.1:9001".into()),
            upstream: format!("https://{host}"),
            credentials: credentials.iter().map(|name| (*name).into()).collect(),
            ready,
        };
        vec![
            route("partner", "api.partner.example", &["partner-key"], true),
            route("erp", "erp.example", &["erp"], true),
            route("shops", "{shop}.myshopify.com", &["shop<script>"], false),
            route("open", "open.example", &[], true),
        ]
    }
    fn credentials(&self) -> Vec<CredentialView> {
        let at = |days: i64| Some(self.now().plus_seconds(days * 86_400));
        let credential = |name: &str, scheme: &str, health, reason: Option<&str>, expires_at| CredentialView {
            name: name.into(),
            scheme: scheme.into(),
            fingerprint: (health != Health::Missing).then(|| "1a2b3c4d".into()),
            health,
            reason: reason.map(Into::into),
            loaded_at: (health != Health::Missing).then(|| self.now().plus_seconds(-4_000)),
            expires_at,
            generation: 3,
            routes: vec!["partner".into()],
        };
        vec![
            credential("partner-key", "api_key", Health::Ok, None, None),
            credential("erp", "basic", Health::Stale, Some("erp/password: empty"), None),
            credential("shop<script>", "hmac", Health::Missing, Some("shop/key: missing"), None),
            credential("vendor", "bearer", Health::Fallback, Some("upstream refuses the newest value"), None),
            credential("route:partner/client_cert", "tls", Health::Ok, None, at(9)),
            credential("route:erp/client_cert", "tls", Health::Ok, None, at(300)),
        ]
    }
    fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
    fn metrics_text(&self) -> String {
        "# TYPE countersign_build_info gauge\ncountersign_build_info{version=\"0.1.0\"} 1\n".into()
    }
    fn admin_token(&self) -> AdminToken {
        self.token.clone()
    }
    fn reads(&self) -> Reads {
        self.reads
    }
    fn names(&self) -> Vec<String> {
        vec!["sidecar".into()]
    }
    fn connections(&self) -> Option<&dyn Connections> {
        self.connections.as_deref()
    }
    fn reload(&self) -> oneshot::Receiver<ReloadView> {
        let (sender, receiver) = oneshot::channel();
        if let Some(view) = self.reload.lock().unwrap().take() {
            sender.send(view).unwrap();
        }
        receiver
    }
}

/// A running listener; it stops when this is dropped.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<()>,
}

async fn run(kind: Kind, fixture: Fixture) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let done = tokio::spawn(serve(listener, kind, Arc::new(fixture), shutdown));
    Running { address, stop, done }
}

impl Running {
    /// Sends a head (the end of lines and of the head are added) and reads until the connection ends.
    async fn send(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{}\r\nConnection: close\r\n\r\n", head.replace('\n', "\r\n"));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await; // a refused head may be answered with a reset behind it
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\nHost: localhost")).await
    }

    async fn status_of(&self, head: &str) -> u16 {
        let answer = self.send(head).await;
        answer.get(9..12).unwrap_or_else(|| panic!("{head}: {answer:?}")).parse().unwrap()
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn parsed(answer: &str) -> serde_json::Value {
    serde_json::from_str(body(answer)).unwrap()
}

#[tokio::test]
async fn the_health_listener_has_three_paths_and_nothing_else() {
    let health = run(Kind::Health, Fixture::default()).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(health.get(path).await.starts_with("HTTP/1.1 200 OK\r\n"), "{path}");
    }
    for path in ["/", "/api/status", "/api/credentials", "/page.js"] {
        assert!(health.get(path).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
    let head = format!("POST /api/reload HTTP/1.1\nHost: localhost\nAuthorization: Bearer {TOKEN}");
    assert_eq!(health.status_of(&head).await, 404);
}

#[tokio::test]
async fn readiness_lists_who_is_unhealthy() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    assert_eq!(body(&admin.get("/livez").await), "ok\n");
    assert_eq!(body(&admin.get("/readyz").await), "ready\n");
    assert_eq!(body(&admin.get("/readyz?verbose").await), "ready\nunhealthy: erp: stale (erp/password: empty)\n");
    let readiness = Readiness { ready: false, reasons: vec!["draining".into()], ..Readiness::default() };
    let draining = run(Kind::Admin, Fixture { readiness, ..Fixture::default() }).await;
    let answer = draining.get("/readyz?verbose=1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && body(&answer) == "not ready: draining\n", "{answer}");
}

#[tokio::test]
async fn json_has_the_documented_shapes() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let status = parsed(&admin.get("/api/status").await);
    assert_eq!(
        status["listeners"][2],
        serde_json::json!({"kind": "route", "address": "127.0.0.1:9001", "route": "partner"})
    );
    assert_eq!((&status["generation"], &status["uptime"]), (&7.into(), &93_784.into()));
    assert_eq!(
        parsed(&admin.get("/api/routes").await)["routes"][0],
        serde_json::json!({
            "name": "partner", "host": "api.partner.example", "path": "/v2/", "methods": ["GET", "POST"],
            "prefix": "/partner", "listen": "127.0.0.1:9001", "upstream": "https://api.partner.example",
            "credentials": ["partner-key"], "ready": true
        })
    );
    let credentials = parsed(&admin.get("/api/credentials").await);
    assert_eq!(
        credentials["credentials"][1],
        serde_json::json!({
            "name": "erp", "scheme": "basic", "fingerprint": "1a2b3c4d", "health": "stale",
            "reason": "erp/password: empty", "loaded_at": "2026-11-24T07:53:20.000Z", "expires_at": null,
            "generation": 3, "routes": ["partner"]
        })
    );
    let metrics = admin.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_say_what_they_are() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let missing = admin.get("/api/nothing").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("application/problem+json"));
    assert_eq!(parsed(&missing)["status"], 404);
    for (method, path, allow) in
        [("POST", "/", "GET, HEAD"), ("GET", "/api/reload", "POST"), ("OPTIONS", "/livez", "GET, HEAD")]
    {
        let answer = admin.send(&format!("{method} {path} HTTP/1.1\nHost: localhost")).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains(&format!("allow: {allow}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    for path in ["/", "/livez", "/api/status", "/metrics"] {
        let get = admin.get(path).await;
        let head = admin.send(&format!("HEAD {path} HTTP/1.1\nHost: localhost")).await;
        let length = format!("content-length: {}\r\n", body(&get).len());
        assert!(head.contains(&length) && get.contains(&length) && body(&head).is_empty(), "{head}");
    }
}

#[tokio::test]
async fn it_answers_to_loopback_names_and_its_own_address_only() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let port = admin.address.port();
    let own = format!("127.0.0.1:{port}");
    for host in ["localhost", "LOCALHOST.", "localhost:19901", "127.0.0.1", "127.8.9.1", "[::1]:9901", "sidecar", &own]
    {
        assert_eq!(admin.status_of(&format!("GET / HTTP/1.1\nHost: {host}")).await, 200, "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "10.0.0.7", "[2001:db8::1]", "127.0.0.1.evil.example", "0.0.0.0"]
    {
        assert_eq!(admin.status_of(&format!("GET / HTTP/1.1\nHost: {host}")).await, 421, "{host}");
    }
    for head in [
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\nHost: localhost\nHost: localhost",
        "GET / HTTP/1.1\nHost: a@localhost",
        "GET / HTTP/1.1\nHost:",
    ] {
        assert_eq!(admin.status_of(head).await, 400, "{head}");
    }
    assert_eq!(admin.status_of("GET http://evil.example/ HTTP/1.1\nHost: localhost").await, 421);
    assert_eq!(admin.status_of("GET / HTTP/1.0").await, 421);
}

#[tokio::test]
async fn probes_may_use_any_address_but_no_foreign_name() {
    let health = run(Kind::Health, Fixture::default()).await;
    for head in [
        "GET /readyz HTTP/1.1\nHost: 10.0.0.7:9902",
        "GET /readyz HTTP/1.0",
        "GET /readyz HTTP/1.1\nHost: sidecar:9902",
    ] {
        assert_eq!(health.status_of(head).await, 200, "{head}");
    }
    assert_eq!(health.status_of("GET /metrics HTTP/1.1\nHost: evil.example").await, 421);
}

#[tokio::test]
async fn changing_calls_need_the_token() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let reload = "POST /api/reload HTTP/1.1\nHost: localhost";
    let answer = admin.send(reload).await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Bearer realm=\"countersign\"\r\n")
    );
    for token in ["canary-admin-toke", "canary-admin-token2", "x", ""] {
        let head = format!("{reload}\nAuthorization: Bearer {token}");
        assert_eq!(admin.status_of(&head).await, 401, "{token:?}");
    }
    let twice = format!("{reload}\nAuthorization: Bearer {TOKEN}\nAuthorization: Bearer {TOKEN}");
    assert_eq!(admin.status_of(&twice).await, 401);
    for token in [TOKEN, "previous"] {
        // accepted: the reload itself never comes to an end here
        assert_eq!(admin.status_of(&format!("{reload}\nauthorization: bearer {token}")).await, 503);
    }
    for (token, word) in [(AdminToken::NotConfigured, "[admin] token"), (AdminToken::Unusable, "no usable value")] {
        let off = run(Kind::Admin, Fixture { token, ..Fixture::default() }).await;
        let answer = off.send(&format!("{reload}\nAuthorization: Bearer {TOKEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(word), "{answer}");
        assert!(!answer.contains(TOKEN));
    }
}

#[tokio::test]
async fn a_reload_says_what_came_of_it() {
    let authorised =
        format!("POST /api/reload HTTP/1.1\nHost: localhost\nContent-Length: 0\nAuthorization: Bearer {TOKEN}");
    let view = |result, messages: &[&str]| Fixture {
        reload: Mutex::new(Some(ReloadView {
            result,
            generation: 8,
            messages: messages.iter().map(|text| (*text).into()).collect(),
        })),
        ..Fixture::default()
    };
    let good = run(Kind::Admin, view(ReloadResult::Ok, &[])).await.send(&authorised).await;
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    assert_eq!(parsed(&good), serde_json::json!({"result": "ok", "generation": 8, "messages": []}));
    let bad =
        run(Kind::Admin, view(ReloadResult::Failed, &["proxy.toml:12:5: unknown key"])).await.send(&authorised).await;
    assert!(bad.starts_with("HTTP/1.1 422 "), "{bad}");
    assert_eq!(parsed(&bad)["messages"][0], "proxy.toml:12:5: unknown key");
}

#[tokio::test]
async fn browsers_of_other_sites_change_nothing() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let authorised = format!("POST /api/reload HTTP/1.1\nHost: localhost:9901\nAuthorization: Bearer {TOKEN}");
    for header in [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost:9902",
    ] {
        assert_eq!(admin.status_of(&format!("{authorised}\n{header}")).await, 403, "{header}");
    }
    for header in ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin\nOrigin: http://localhost:9901"] {
        assert_eq!(admin.status_of(&format!("{authorised}\n{header}")).await, 503, "{header}");
    }
}

#[tokio::test]
async fn protected_reads_need_the_token_but_probes_do_not() {
    let admin = run(Kind::Admin, Fixture { reads: Reads::Protected, ..Fixture::default() }).await;
    for path in ["/", "/metrics", "/api/status", "/api/routes", "/api/credentials"] {
        let head = format!("GET {path} HTTP/1.1\nHost: localhost");
        assert_eq!(admin.status_of(&head).await, 401, "{path}");
        assert_eq!(admin.status_of(&format!("{head}\nAuthorization: Bearer {TOKEN}")).await, 200, "{path}");
    }
    for path in ["/livez", "/readyz?verbose"] {
        assert!(admin.get(path).await.starts_with("HTTP/1.1 200 "), "{path}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_and_escapes_what_it_shows() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let page = admin.get("/").await;
    for header in [
        "content-type: text/html; charset=utf-8\r\n",
        "x-content-type-options: nosniff\r\n",
        "cache-control: no-store\r\n",
        "x-frame-options: DENY\r\n",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
    ] {
        assert!(page.contains(header), "{header}\n{page}");
    }
    let html = body(&page);
    assert_eq!(html.matches("<script").count(), 1, "our own alone");
    assert!(html.contains("shop&lt;script&gt;") && !html.contains("style=") && !html.contains("unsafe"));
    assert!(!html.contains("src=") && !html.contains("//cdn") && !html.contains(TOKEN));
    let place = |word: &str| html.find(word).unwrap_or_else(|| panic!("{word}"));
    assert!(place("<span class=\"chip bad\">stale</span>") < place("<span class=\"chip warn\">fallback</span>"));
    assert!(place("<span class=\"chip warn\">fallback</span>") < place("<span class=\"chip good\">ok</span>"));
    assert!(html.contains("expires soon") && html.contains("in 300 d") && html.contains("1 h 6 min ago"));
    assert!(html.contains("1 d 2 h") && html.contains("Ready, 1 credential needs attention"));
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let filled = |bytes: usize| format!("GET /livez HTTP/1.1\nHost: localhost\nX-Fill: {}", "x".repeat(bytes));
    assert_eq!(admin.status_of(&filled(8 * 1024)).await, 200);
    assert_eq!(admin.status_of(&filled(17 * 1024)).await, 431);
}

#[tokio::test]
async fn it_stops_when_told_and_idle_connections_do_not_hold_it() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0u8; 15];
    idle.read_exact(&mut first).await.unwrap();
    admin.stop.send(()).unwrap();
    admin.done.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_their_turn() {
    let admin = run(Kind::Admin, Fixture::default()).await;
    let mut held = Vec::new();
    for _ in 0..server::CONNECTION_LIMIT {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0u8; 15];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let mut next = std::pin::pin!(admin.get("/livez"));
    let early = poll_once(next.as_mut()).await;
    assert!(early.is_none());
    held.pop();
    assert!(next.await.starts_with("HTTP/1.1 200 "));
}

/// Polls once: whether a future is done already.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
