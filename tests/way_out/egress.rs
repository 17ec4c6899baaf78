//! `[egress]`: TLS upstreams through a proxy that wants CONNECT.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{GET, refused};
use crate::support::http1::{Head, find_head};
use crate::support::pki::{self, Clients, server};
use crate::support::wait::until;
use crate::support::{Setup, Upstream, files};

/// A proxy that answers CONNECT with these bytes and then leads to one address, whatever was asked for.
struct Corporate {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Head>>>,
}

const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n";

impl Corporate {
    async fn answering(answer: impl Into<String>, target: SocketAddr) -> Self {
        let (answer, asked) = (answer.into(), Arc::<Mutex<Vec<Head>>>::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let this = Self { address: listener.local_addr().unwrap(), asked: asked.clone() };
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (answer, asked) = (answer.clone(), asked.clone());
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    let head = loop {
                        match find_head(&mut buffer) {
                            Some(head) => break head,
                            None => assert!(tcp.read_buf(&mut buffer).await.unwrap() > 0),
                        }
                    };
                    assert!(buffer.is_empty(), "nothing comes before the tunnel stands");
                    asked.lock().unwrap().push(head);
                    let _ = tcp.write_all(answer.as_bytes()).await;
                    if answer.starts_with("HTTP/1.1 200") {
                        let mut upstream = TcpStream::connect(target).await.unwrap();
                        let _ = copy_bidirectional(&mut tcp, &mut upstream).await;
                    } else if answer.is_empty() {
                        let _ = tcp.read(&mut [0]).await; // silent until the other side gives up
                    }
                });
            }
        });
        this
    }

    fn asked(&self) -> Vec<Head> {
        self.asked.lock().unwrap().clone()
    }
}

fn text(proxy: SocketAddr, more: &str, route: &str) -> String {
    format!(
        "[tls]\nroots = [\"ca.crt\"]\n[egress]\nproxy = \"http://{proxy}\"\n{more}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\ncredential = \"none\"\n{route}\n"
    )
}

fn setup(proxy: SocketAddr, more: &str, route: &str, ca: &str) -> Setup {
    Setup::new(text(proxy, more, route)).secret("ca.crt", ca)
}

#[tokio::test]
async fn tls_goes_through_the_proxy_and_names_stay() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let corporate = Corporate::answering(ESTABLISHED, upstream.address).await;
    let proxy = setup(corporate.address, "", "", ca.certificate()).start().await;
    let mut worker = proxy.worker().await;
    for _ in 0..2 {
        assert_eq!(worker.exchange(GET).await.status, 200);
    }
    let asked = corporate.asked();
    assert_eq!(asked.len(), 1, "the tunnel is pooled like a connection");
    assert_eq!(asked[0].raw, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n");
    let seen = upstream.last();
    assert_eq!((seen.head.header("host"), seen.peer.server_name.as_deref()), (Some("api.test"), Some("api.test")));
    assert_eq!(seen.head.header("via"), None, "the proxy is near, the upstream is a stranger");
}

#[tokio::test]
async fn loopback_and_no_proxy_go_directly() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let corporate = Corporate::answering(ESTABLISHED, upstream.address).await;
    let url = format!("upstream = \"{}\"", upstream.url());
    let proxy = setup(corporate.address, "", &url, ca.certificate()).start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    for entry in ["api.test", ".test"] {
        let direct = format!("no_proxy = [\"{entry}\"]\n[dns]\nhosts_file = false\nservers = [\"127.0.0.1:1\"]");
        let connect = "timeouts = { connect = \"2s\" }";
        let proxy = setup(corporate.address, &direct, connect, ca.certificate()).start().await;
        let answer = proxy.raw(GET).await;
        assert!(matches!(answer.error(), Some("upstream_unreachable" | "upstream_timeout")), "{answer:?}");
    }
    assert_eq!(corporate.asked().len(), 0);
}

#[tokio::test]
async fn credentials_are_sent_to_the_proxy_alone_and_followed() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let corporate = Corporate::answering(ESTABLISHED, upstream.address).await;
    let login = "username = \"Aladdin\"\npassword = { secret = \"egress/password\" }";
    let proxy =
        setup(corporate.address, login, "", ca.certificate()).secret("egress/password", "open sesame").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    // RFC 7617 section 2.
    let sent = |head: &Head| head.header("proxy-authorization").map(str::to_owned);
    assert_eq!(sent(&corporate.asked()[0]).as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(upstream.last().head.header("proxy-authorization"), None);
    assert_eq!(proxy.health("egress:proxy").await, "ok");

    files::rename_over(&proxy.secret("egress/password"), "another");
    until("the new password", async || {
        proxy.raw(GET).await;
        // printf Aladdin:another | base64
        corporate.asked().last().and_then(sent).as_deref() == Some("Basic QWxhZGRpbjphbm90aGVy")
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_will_not_is_named() {
    let upstream = Upstream::ok().await;
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(40_000));
    for (answer, words) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "wants credentials (407)",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\nno".to_owned(), "answered 403 to CONNECT api.test:443"),
        ("220 smtp.corp ESMTP\r\n\r\n".to_owned(), "does not speak HTTP"),
        (format!("{ESTABLISHED}hello"), "more than its answer"),
        (huge.clone(), "over 16384 bytes"),
        (String::new(), "no tunnel in time"),
    ] {
        let corporate = Corporate::answering(answer, upstream.address).await;
        let connect = "timeouts = { connect = \"700ms\" }";
        let proxy = setup(corporate.address, "", connect, pki::authority("ca").certificate()).start().await;
        let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
        assert!(detail.contains(&format!("egress proxy {}", corporate.address)), "{detail}");
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(upstream.seen().len(), 0);

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let proxy = setup(address, "", "", pki::authority("ca").certificate()).start().await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("egress proxy") && detail.contains("connection refused"), "{detail}");
}

#[tokio::test]
async fn addresses_are_checked_before_the_proxy_is_asked() {
    let upstream = Upstream::ok().await;
    let corporate = Corporate::answering(ESTABLISHED, upstream.address).await;
    let route = "upstream = \"https://169.254.169.254\"";
    let proxy = setup(corporate.address, "", route, pki::authority("ca").certificate()).start().await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("metadata"), "{detail}");
    assert_eq!(corporate.asked().len(), 0);
}

#[tokio::test]
async fn a_reload_changes_the_way_out() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let one = Corporate::answering(ESTABLISHED, upstream.address).await;
    let two = Corporate::answering(ESTABLISHED, upstream.address).await;
    let setup = setup(one.address, "", "", ca.certificate());
    let changed = setup.text(&text(two.address, "", ""));
    let proxy = setup.start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    files::rename_over(&proxy.scratch.path("proxy.toml"), changed);
    proxy.server.reload().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!((one.asked().len(), two.asked().len()), (1, 1), "a tunnel through the old proxy takes no new request");
}
