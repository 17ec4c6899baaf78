//! The TLS listener, which is told the upstream by SNI alone.

use super::*;

const LISTEN: &str = "proxy = [\"127.0.0.1:0\"]\ntls = \"127.0.0.1:0\"";

#[tokio::test]
async fn the_leaf_is_picked_by_the_name_asked_for() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).listen(LISTEN).start().await;
    let address = proxy.listener("tls");
    let config = client(&ca(&proxy.scratch.path("")));
    for host in ["api.test", "m1.shops.test"] {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut worker = Worker::over(tls(config.clone(), host, stream).await.unwrap());
        for port in ["", ":443", &format!(":{}", address.port())] {
            let answer = worker.exchange(format!("GET /x HTTP/1.1\r\nHost: {host}{port}\r\n\r\n")).await;
            assert_eq!(answer.status, 200, "{host}{port}: {answer:?}");
            assert_eq!(upstream.last().head.header("host"), Some(host));
        }
        let answer = worker.exchange("GET / HTTP/1.1\r\nHost: m9.shops.test\r\n\r\n").await;
        assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
        let answer = worker.exchange(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n")).await;
        assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
    }
    let live = proxy.server.proxy.live.load();
    assert!(!live.snapshot.plan.config.dns.hosts_file, "upstreams are found by DNS alone");
    let listeners = proxy.admin_json("/api/status").await["listeners"].clone();
    assert!(
        listeners.as_array().unwrap().iter().any(|one| one["kind"] == "tls" && one["address"] == address.to_string())
    );
}

#[tokio::test]
async fn no_name_and_an_unknown_name_are_refused_as_unrecognized() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).listen(LISTEN).start().await;
    let config = client(&ca(&proxy.scratch.path("")));
    // An address is never sent as SNI.
    for name in ["other.test", "127.0.0.1"] {
        let stream = TcpStream::connect(proxy.listener("tls")).await.unwrap();
        let error = tls(config.clone(), name, stream).await.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
        assert_eq!(inner, Some(&rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName)), "{name}");
    }
}
