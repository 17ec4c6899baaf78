//! Who may call, for whom, and the token that a worker gets in place of one.

mod browsers;
mod clients;
mod leaks;
mod stand_in;
mod tenants;

use crate::support::{Setup, Upstream};

/// Two clients by token and a route that takes the first alone, with more keys of the route.
fn guarded(upstream: &Upstream, keys: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        r#"
        [client.importer]
        token = "clients/importer"
        [client.other]
        token = "clients/other"
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "none"
        clients = ["importer"]
        {keys}
        [[route]]
        name = "others"
        host = "others.test"
        upstream = "{url}"
        credential = "none"
        clients = ["other"]
        [[route]]
        name = "open"
        host = "open.test"
        upstream = "{url}"
        credential = "none"
        "#
    ))
    .secret("clients/importer", "token-one\n")
    .secret("clients/other", "token-of-the-other")
}

fn get(host: &str, lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}
