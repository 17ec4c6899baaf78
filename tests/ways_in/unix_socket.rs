//! The way in over a Unix socket: its mode, left-overs, and whoever is there already.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use super::open_route;
use crate::support::worker::Worker;
use crate::support::{Setup, Upstream};

const SOCKET: &str = r#"proxy = ["unix:proxy.sock"]"#;

#[tokio::test]
async fn a_unix_socket_takes_any_way_in_and_has_tight_permissions() {
    let upstream = Upstream::ok().await;
    let setup = Setup::new(open_route(&upstream, "prefix = \"/example\"")).listen(SOCKET);
    let path = setup.scratch.path("proxy.sock");
    let _proxy = setup.start().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for request in [
        "GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /example/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = Worker::unix(&path).await.exchange(request).await;
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        let head = upstream.last().head;
        assert_eq!((head.target(), head.header("host")), ("/x", Some("api.test")));
    }
}

#[tokio::test]
async fn the_mode_of_a_socket_is_configurable() {
    let upstream = Upstream::ok().await;
    let lines = format!("{SOCKET}\nsocket_mode = \"0600\"");
    let setup = Setup::new(open_route(&upstream, "")).listen(&lines);
    let path = setup.scratch.path("proxy.sock");
    let _proxy = setup.start().await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_socket_that_nobody_answers_on_is_replaced() {
    let upstream = Upstream::ok().await;
    let setup = Setup::new(open_route(&upstream, "")).listen(SOCKET);
    let path = setup.scratch.path("proxy.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file is left over");
    let _proxy = setup.start().await;
    let answer = Worker::unix(&path).await.exchange("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_socket_in_use_and_a_file_in_the_way_are_refused_and_left_alone() {
    let upstream = Upstream::ok().await;
    let setup = Setup::new(open_route(&upstream, "")).listen(SOCKET);
    let path = setup.scratch.path("proxy.sock");
    let other = UnixListener::bind(&path).unwrap();
    let error = setup.try_start().await.err().unwrap().to_string();
    assert!(error.contains("proxy.sock") && error.contains("another process answers there"), "{error}");
    drop(other);

    let setup = Setup::new(open_route(&upstream, "")).listen(SOCKET);
    let path = setup.scratch.path("proxy.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = setup.try_start().await.err().unwrap().to_string();
    assert!(error.contains("no socket"), "{error}");
}
