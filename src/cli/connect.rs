//! `connect`: a person approves in a browser, and the tokens are stored. The browser comes back to a listener of this
//! command, or, where `redirect_url` says so, to the admin listener of the running proxy.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use tokio::net::TcpListener;

use super::args::Global;
use super::connections::args::ConnectArgs;
use super::connections::opened::{Opened, ended, open};
use super::exit::{Ended, Exit};
use super::{connections, small_runtime, terminal};
use crate::admin::callback;
use crate::refresh::approve::{Connected, Scope};
use crate::server::connections::{of_approval, of_store};
use crate::token::{ConnectionKey, Record};

mod listener;

/// How much longer than this command an approval lives, so that the last second is not lost.
const GRACE: Duration = Duration::from_secs(30);
/// How often the store is asked where the running proxy takes the browser back.
const LOOK: Duration = Duration::from_millis(500);

/// Prints the URL, waits for the browser, prints the connection.
pub(super) fn command(global: &Global, own: &ConnectArgs) -> anyhow::Result<Exit> {
    small_runtime()?.block_on(async {
        let opened = open(global).await?;
        let done = connect(global, own, &opened).await;
        opened.close().await;
        done
    })
}

async fn connect(global: &Global, own: &ConnectArgs, opened: &Opened) -> anyhow::Result<Exit> {
    let key = ConnectionKey::new(&own.which.credential, own.which.tenant());
    let tokens = opened.steering.tokens();
    let back = way_back(opened, &key.credential).await?;
    let before = tokens.store().load(&key).await.map_err(|error| ended(of_store(&error)))?;
    let begun = tokens.begin_approval(&key, Some(&back.url), own.timeout + GRACE).await;
    let begun = begun.map_err(|error| ended(of_approval(&error)))?;
    terminal::data(&begun.url);
    if std::io::stdout().is_terminal() {
        terminal::note("Open this URL and approve; this command waits for the browser to come back.");
        if !own.no_browser {
            browse(&begun.url);
        }
    }
    let waited = match back.listener {
        Some(listener) => {
            let wanted = listener::Wanted { path: back.path, state: begun.state };
            tokio::time::timeout(own.timeout, listener::wait(listener, wanted, tokens.clone())).await
        }
        None => tokio::time::timeout(own.timeout, changed(opened, &key, before.as_ref())).await,
    };
    let Ok(done) = waited else {
        let words = format!("nobody came back from the approval within {:?}", own.timeout);
        return Err(Ended::new(Exit::TimedOut, words).into());
    };
    let done = done?;
    if done.scope == Scope::Changed {
        let granted = done.record.tokens.scopes.join(" ");
        terminal::note(&format!(
            "warning: what was granted is not what was asked for: {}",
            terminal::harmless(&granted)
        ));
    }
    connections::print(global, &opened.steering.view(&done.record, tokens.now()))
}

/// Where the browser comes back to.
struct Back {
    url: String,
    path: String,
    /// `None`: the running proxy's admin listener takes it.
    listener: Option<TcpListener>,
}

async fn way_back(opened: &Opened, credential: &str) -> anyhow::Result<Back> {
    let config = &opened.snapshot.plan.config;
    let index = opened.snapshot.plan.credential_index(credential);
    let oauth = index.and_then(|index| config.credentials[index].oauth.as_deref());
    let Some(oauth) = oauth else {
        return Err(Ended::new(Exit::Bad, format!("there is no oauth2 credential \"{credential}\"")).into());
    };
    let Some((address, path)) = loopback(&oauth.redirect_url) else {
        let words = format!("the browser comes back to {}, which this command cannot receive", oauth.redirect_url);
        return Err(Ended::new(Exit::Bad, words)
            .with_hint("set redirect_url to http://127.0.0.1:0/callback, or let your back end begin and finish: POST /api/connect of the admin listener")
            .into());
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let port = listener.local_addr()?.port();
            let url = with_port(&oauth.redirect_url, port);
            Ok(Back { url, path, listener: Some(listener) })
        }
        Err(error) => {
            let admin = config.listen.admin.is_some_and(|admin| admin.port() == address.port());
            if error.kind() == std::io::ErrorKind::AddrInUse && admin && path == callback::PATH {
                return Ok(Back { url: oauth.redirect_url.clone(), path, listener: None });
            }
            Err(Ended::new(Exit::Passing, format!("cannot listen on {address} for the browser: {error}")).into())
        }
    }
}

/// The address and path of `http://` to this machine; `None` for anything else.
fn loopback(url: &str) -> Option<(SocketAddr, String)> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback)?,
    };
    let port = uri.port_u16().unwrap_or(80);
    (uri.scheme_str() == Some("http") && uri.query().is_none())
        .then(|| (SocketAddr::new(ip, port), uri.path().to_owned()))
}

/// The same URL with the port that the system gave for 0 (RFC 8252 section 7.3: any port is allowed on loopback).
fn with_port(url: &str, port: u16) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return url.to_owned() };
    match uri.authority().map(Authority::host) {
        Some(host) if uri.port_u16() == Some(0) => format!("http://{host}:{port}{}", uri.path()),
        _ => url.to_owned(),
    }
}

/// Waits until the record is another one than before: the running proxy has finished the approval.
async fn changed(opened: &Opened, key: &ConnectionKey, before: Option<&Record>) -> anyhow::Result<Connected> {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = opened.steering.tokens().store().load(key).await.map_err(|error| ended(of_store(&error)))?;
        // A refresh moves the version as well, but not the time of the approval.
        let fresh = now.filter(|now| before.is_none_or(|before| now.created_at != before.created_at));
        if let Some(record) = fresh {
            return Ok(Connected { record, scope: Scope::AsAsked });
        }
    }
}

/// Best effort: the URL stands in the terminal anyway.
fn browse(url: &str) {
    use std::process::{Command, Stdio};
    let mut command = Command::new("xdg-open");
    let command = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.spawn().is_err() {
        terminal::note("No browser could be started here: open the URL yourself.");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_listened_on() {
        let found = |url: &str| loopback(url).map(|(address, path)| (address.to_string(), path));
        assert_eq!(found("http://127.0.0.1:0/callback"), Some(("127.0.0.1:0".into(), "/callback".into())));
        assert_eq!(found("http://localhost:8123/"), Some(("127.0.0.1:8123".into(), "/".into())));
        assert_eq!(found("http://[::1]:9/x"), Some(("[::1]:9".into(), "/x".into())));
        for other in [
            "https://127.0.0.1/x",
            "http://192.0.2.1/x",
            "http://localhost.example/",
            "Acme-App-RuName",
            "http://127.0.0.1/x?y",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        assert_eq!(with_port("http://127.0.0.1:0/callback", 4711), "http://127.0.0.1:4711/callback");
        assert_eq!(with_port("http://localhost:8123/", 8123), "http://localhost:8123/");
    }
}
