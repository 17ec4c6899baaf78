//! `[dns]`: which servers are asked, followed over a reload. Addresses themselves: `upstream::resolve`.

use super::{GET, name_server, refused};
use crate::support::{Setup, files};

fn text(server: std::net::SocketAddr) -> String {
    format!(
        "[dns]\nhosts_file = false\nservers = [\"{server}\"]\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\ncredential = \"none\"\n\
         [[route]]\nname = \"gone\"\nhost = \"gone.test\"\ncredential = \"none\"\n"
    )
}

#[tokio::test]
async fn servers_are_asked_and_changed_ones_after_a_reload() {
    // What they answer shows in the reason why it is not connected to.
    let (one, two) = (name_server([169, 254, 1, 1]).await, name_server([224, 0, 0, 1]).await);
    let setup = Setup::new(text(one));
    let changed = setup.text(&text(two));
    let proxy = setup.start().await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("169.254.1.1:443"), "{detail}");
    let detail = refused(&proxy.get("gone.test", "/").await, "upstream_unreachable");
    assert!(detail.contains("gone.test does not exist"), "{detail}");

    files::rename_over(&proxy.scratch.path("proxy.toml"), changed);
    proxy.server.reload().await;
    let detail = refused(&proxy.raw(GET).await, "upstream_unreachable");
    assert!(detail.contains("224.0.0.1:443"), "{detail}");
}
