//! How many connections there are, which protocol they speak, and when they end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::playground::rotate::Volume;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify};

use super::{GET, identity, proxy, settings};
use crate::support::http2::{Exchange, Http2};
use crate::support::pki::{self, Clients};
use crate::support::wait::{until, within};
use crate::support::worker::Answer;
use crate::support::{Running, Setup};

/// So many requests at one time.
async fn at_once(proxy: &Running, count: usize) -> Vec<Answer> {
    let mut workers = Vec::new();
    for _ in 0..count {
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        workers.push(worker);
    }
    let mut answers = Vec::new();
    for mut worker in workers {
        answers.push(worker.answer().await);
    }
    answers
}

/// Answers when this many requests are there.
fn together(
    count: usize,
) -> impl Fn(Exchange) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + 'static {
    let all = Arc::new(Barrier::new(count));
    move |exchange: Exchange| {
        let all = all.clone();
        Box::pin(async move {
            all.wait().await;
            exchange.ok("ok");
        })
    }
}

#[tokio::test]
async fn a_burst_shares_one_connection_and_is_sent_in_the_terms_of_http2() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), together(20)).await;
    let proxy = proxy(&upstream, &ca, "").await;
    for answer in at_once(&proxy, 20).await {
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
    assert_eq!(upstream.connections(), 1);
    let seen = &upstream.seen()[0];
    assert_eq!(seen.uri, "https://api.test/a?b=%2f");
    assert_eq!(seen.headers.get("host"), None);
    let pool = async |state| {
        proxy.metric(&format!("countersign_upstream_connections{{route=\"api\",state=\"{state}\"}}")).await
    };
    assert_eq!((pool("idle").await, pool("active").await), (1.0, 0.0));
}

#[tokio::test]
async fn more_requests_than_the_upstream_allows_take_another_connection() {
    let (config, ca) = identity();
    let mut few = settings();
    few.max_concurrent_streams(10);
    let upstream = Http2::serving(&config, &few, together(25)).await;
    let proxy = proxy(&upstream, &ca, "").await;
    assert!(at_once(&proxy, 25).await.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.connections(), 3);
    let on = |connection| upstream.seen().iter().filter(|seen| seen.connection == connection).count();
    assert_eq!([on(0), on(1), on(2)], [10, 10, 5]);
}

#[tokio::test]
async fn an_upstream_that_chooses_http1_gets_it() {
    let (config, ca) = identity();
    let upstream = Http2::scripted(&config, &["http/1.1"], |mut wire| async move {
        assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut buffer = [0; 4096];
        while wire.stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            assert!(buffer.starts_with(b"GET /a?b=%2f HTTP/1.1\r\n"));
            wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    assert!(at_once(&proxy, 5).await.iter().all(|answer| answer.status == 200));
    let before = upstream.connections();
    for _ in 0..5 {
        assert_eq!(proxy.raw(GET).await.status, 200);
    }
    assert_eq!(upstream.connections(), before);
}

#[tokio::test]
async fn a_websocket_goes_by_http1_beside_the_shared_connection() {
    let (config, ca) = identity();
    let upstream = Http2::scripted(&config, &["h2", "http/1.1"], |mut wire| async move {
        if wire.stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return wire.serve(&settings(), |exchange| async { exchange.ok("h2") }).await;
        }
        let mut buffer = [0; 4096];
        let count = wire.stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..count].starts_with(b"GET /chat HTTP/1.1\r\n"));
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello";
        wire.stream.write_all(switched.as_bytes()).await.unwrap();
        let _ = wire.stream.read(&mut buffer).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    assert_eq!(proxy.raw(GET).await.text(), "h2");
    let mut worker = proxy.worker().await;
    worker
        .send(
            "GET /chat HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await;
    assert_eq!(worker.head().await.unwrap().status(), 101);
    assert_eq!(worker.take(5).await, b"hello");
    assert_eq!(proxy.raw(GET).await.text(), "h2");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_connection_that_fails_do_not_wait_for_each_other() {
    let (_, ca) = identity();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, first, all) = (listener.local_addr().unwrap(), Arc::new(Notify::new()), Arc::new(Barrier::new(5)));
    let (go, accepted) = (first.clone(), Arc::new(AtomicUsize::new(0)));
    let count = accepted.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (go, all) = (go.clone(), all.clone());
            let number = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                // The others fail only when all five are there.
                if number == 0 {
                    go.notified().await;
                } else {
                    all.wait().await;
                }
                drop(tcp);
            });
        }
    });
    let text = format!(
        "[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"https://{address}\"\ncredential = \"none\"\n\
         tls = {{ ca = \"ca.crt\" }}\n"
    );
    let proxy = Setup::new(text).secret("ca.crt", &ca).start().await;
    let mut workers = Vec::new();
    for _ in 0..6 {
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        workers.push(worker);
    }
    until("six requests", async || proxy.metric("countersign_requests_in_flight").await >= 6.0).await;
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "one connects, the others wait");
    first.notify_one();
    for mut worker in workers {
        assert_eq!(worker.answer().await.error(), Some("upstream_unreachable"));
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn an_idle_connection_closes_after_the_time_of_its_route() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |exchange| async { exchange.ok("ok") }).await;
    let proxy = proxy(&upstream, &ca, "timeouts = { pool = \"50ms\" }").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    until("the end of the idle connection", async || upstream.ended() == 1).await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_retired_identity_finishes_what_it_has_and_takes_nothing_more() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let config = pki::server(&ca, Clients::Of(clients.certificate()));
    let slow = Arc::new(Notify::new());
    let release = slow.clone();
    let upstream = Http2::serving(&config, &settings(), move |exchange| {
        let slow = slow.clone();
        async move {
            if exchange.request.uri().path() == "/slow" {
                slow.notified().await;
            }
            exchange.ok("ok");
        }
    })
    .await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let setup = Setup::new(
        upstream
            .route("credential = \"none\"")
            .replace("{ ca", "{ client_cert = \"client.crt\", client_key = \"client.key\", ca"),
    );
    let write = |folder: &std::path::Path, pair: &countersign::playground::certs::Pair| {
        let files = [
            ("ca.crt", ca.certificate().as_bytes()),
            ("client.crt", pair.certificate.as_bytes()),
            ("client.key", pair.key.as_bytes()),
        ];
        Volume::new(folder).unwrap().write(&files).unwrap();
    };
    write(&setup.secrets_dir(), &one);
    let proxy = setup.start().await;
    let mut slow = proxy.worker().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    upstream.arrived(1).await;
    write(&proxy.scratch.path("secrets"), &two);
    let serial = async || {
        assert_eq!(proxy.raw(GET).await.status, 200);
        upstream.seen().pop().unwrap().serial.unwrap()
    };
    until("the new certificate", async || serial().await == two.serial).await;
    assert_eq!((upstream.connections(), upstream.ended()), (2, 0));
    release.notify_one();
    assert_eq!(within("the request of before", slow.answer()).await.status, 200);
    until("the end of the old connection", async || upstream.ended() == 1).await;
    assert_eq!(serial().await, two.serial);
    assert_eq!(upstream.connections(), 2);
}
