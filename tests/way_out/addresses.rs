//! Addresses that are never connected to, whoever names them.

use super::{GET, name_server, refused};
use crate::support::{Running, Setup, Upstream};

async fn to(url: &str, rest: &str) -> Running {
    Setup::new(format!(
        "{rest}\n[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n"
    ))
    .start()
    .await
}

#[tokio::test]
async fn metadata_link_local_and_the_like_are_refused_always() {
    for (host, word) in [
        ("169.254.169.254", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("100.100.100.200", "metadata"),
        ("169.254.7.7", "link-local"),
        ("[fe80::1]", "link-local"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("0.0.0.0", "unspecified"),
        ("[::ffff:169.254.169.254]", "metadata"),
    ] {
        let proxy = to(&format!("http://{host}"), "").await;
        let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
        assert!(detail.contains(word) && detail.contains("never connected to"), "{host}: {detail}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused() {
    let upstream = Upstream::ok().await;
    let port = upstream.address.port();
    let dns = format!("[dns]\nservers = [\"{}\"]\nhosts_file = false\n", name_server([127, 0, 0, 1]).await);
    let proxy = to(&format!("http://api.test:{port}"), &dns).await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("loopback"), "{detail}");
    assert_eq!(upstream.connections(), 0);

    for target in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let connect_to = format!("{dns}[connect_to]\n\"api.test:{port}\" = \"{target}\"\n");
        let proxy = to(&format!("http://api.test:{port}"), &connect_to).await;
        assert_eq!(proxy.raw(GET).await.status, 200, "{target}");
    }
    let by_name = format!("{dns}[connect_to]\n\"other.test:{port}\" = \"api.test:{port}\"\n");
    let proxy = to(&format!("http://other.test:{port}"), &by_name).await;
    refused(&proxy.raw(GET).await, "upstream_unreachable");
}

#[tokio::test]
async fn a_name_that_leads_to_an_own_listener_is_refused() {
    // A port that was free a moment ago: the route must name it before the proxy has it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let dns = name_server([127, 0, 0, 1]).await;
    let proxy = Setup::new(format!(
        "[dns]\nservers = [\"{dns}\"]\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"http://api.test:{port}\"\ncredential = \"none\"\n"
    ))
    .listen(&format!("proxy = [\"127.0.0.1:{port}\"]"))
    .start()
    .await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("listener of this proxy"), "{detail}");
}
