//! How a request names its upstream, and what leaves then.

mod bodies;
mod credentials;
mod entries;
mod headers;
mod http2;
mod http2_hostile;
mod links;
mod localhost;
mod matching;
mod reuse;
mod streams;
mod tenants;
mod unix_socket;
mod upgrades;
mod whole_bodies;

use crate::support::{Running, Setup, Upstream};

/// A route `api` for `api.test` without credential, with more keys.
fn open_route(upstream: &Upstream, keys: &str) -> String {
    let url = upstream.url();
    format!("[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n{keys}\n")
}

/// A proxy with the route [`open_route`] alone.
async fn open(upstream: &Upstream, keys: &str) -> Running {
    Setup::new(open_route(upstream, keys)).start().await
}
