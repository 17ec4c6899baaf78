//! Secrets, certificates and `proxy.toml` change while the proxy runs.

mod admin_token;
mod config;
mod contents;
mod fallback;
mod identities;
mod last_good;
mod log_lines;
mod seen_from_outside;
mod sessions;
mod stage;
mod under_load;
mod ways;
mod writers;

use crate::support::{Setup, Upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A route `api` whose credential `k` is the bearer token in `partner/key`.
fn bearer(upstream: &Upstream) -> Setup {
    Setup::new(bearer_text(&upstream.url()))
}

fn bearer_text(url: &str) -> String {
    format!(
        "[credential.k]\nbearer = {{ secret = \"partner/key\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n"
    )
}
