//! `digest`: an upstream asks, and gets what it asked for once; what is known is used at once.

mod judge;
mod load;
mod rotation;
mod rounds;

use crate::support::{Setup, Upstream};

/// A route `api` with the user `Mufasa`, whose password is in `password`.
fn digest(upstream: &Upstream, route: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        "[credential.d]\ndigest = {{ username = \"Mufasa\", password = {{ secret = \"password\" }} }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"d\"\n{route}\n"
    ))
}
