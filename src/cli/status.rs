//! `status`: what the admin listener of a running proxy says, as tables or as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};
use serde_json::{Map, Value};

use super::args::{Format, Global};
use super::exit::{Ended, Exit};
use super::{small_runtime, source, terminal};
use crate::config::model::Config;
use crate::control::{Control, ControlError};
use crate::sign::material::{Kind, Material};
use crate::snapshot::plan::Plan;

/// A listener on this machine answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ten thousand routes are about 3 MiB.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Asks and prints.
pub(super) fn command(global: &Global) -> anyhow::Result<Exit> {
    let config = source::config(global)?;
    let Some(address) = config.listen.admin else {
        return Err(Ended::new(Exit::Bad, "the admin listener is off: listen.admin = \"off\"")
            .with_hint("give [listen] an admin address such as \"127.0.0.1:9901\"")
            .into());
    };
    let token = if config.admin.protect_reads { token(config)? } else { None };
    let answers = small_runtime()?.block_on(ask_all(address, token))?;
    match global.format {
        Format::Json => terminal::json(&answers)?,
        Format::Text => terminal::data(&text(&answers)),
    }
    Ok(Exit::Fine)
}

/// Where a listener can be asked from this machine.
pub(super) fn reachable(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    if address.port() == 0 {
        return Err(Ended::new(
            Exit::Bad,
            "the port is 0, so that only the log of the running proxy tells the real one",
        )
        .with_hint("give the listener a port of its own in [listen]")
        .into());
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

/// An error of a call with the status that it stands for.
pub(super) fn refused(error: ControlError, address: SocketAddr) -> anyhow::Error {
    let ended = match error {
        ControlError::Unreachable { .. } => {
            Ended::new(Exit::Passing, format!("no proxy is running: nothing answers on {address}"))
        }
        ControlError::Timeout { limit, .. } => {
            Ended::new(Exit::TimedOut, format!("the listener on {address} did not answer within {} s", limit.as_secs()))
        }
        ControlError::Insecure(_) => Ended::new(Exit::Bad, format!("{address} is not on this machine"))
            .with_hint("ask it with an HTTP client of yours"),
        other => Ended::new(Exit::Passing, format!("what listens on {address} is no proxy of this kind: {other}")),
    };
    ended.into()
}

/// The admin token, where reading needs it.
fn token(config: Config) -> anyhow::Result<Option<HeaderValue>> {
    let Some(name) = config.admin.token.clone() else { return Ok(None) };
    let plan = Plan::new(Arc::new(config));
    let read = source::secrets(&plan).map_err(|none| Ended::new(Exit::Bad, none.message).with_hint(none.hint))?;
    let loaded = read.set.content(name.value.as_str()).and_then(|bytes| Kind::HeaderText.load(bytes));
    match loaded {
        Ok(Material::Text(text)) => {
            let mut value = b"Bearer ".to_vec();
            value.extend_from_slice(text.expose());
            let mut value = HeaderValue::from_bytes(&value)?;
            value.set_sensitive(true);
            Ok(Some(value))
        }
        Ok(Material::Hmac(_) | Material::Private(_) | Material::AwsSecret(_)) => Ok(None),
        Err(reason) => {
            let why =
                format!("the admin listener wants a token, and the secret {} cannot be used: {reason}", name.value);
            Err(Ended::new(Exit::Bad, why).into())
        }
    }
}

/// `/api/status`, `/api/routes` and `/api/credentials` in one object.
async fn ask_all(address: SocketAddr, token: Option<HeaderValue>) -> anyhow::Result<Value> {
    let address = reachable(address)?;
    let control = Control::new(PATIENCE, ANSWER_LIMIT)?;
    let mut all = Map::new();
    for path in ["/api/status", "/api/routes", "/api/credentials"] {
        let uri: Uri = format!("http://{address}{path}").parse()?;
        let (status, body) = control.ask(uri, token.as_ref()).await.map_err(|error| refused(error, address))?;
        let answer = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK);
        match answer {
            Some(Value::Object(answer)) => all.extend(answer),
            _ => return Err(not_ok(status, address, path).into()),
        }
    }
    Ok(Value::Object(all))
}

fn not_ok(status: StatusCode, address: SocketAddr, path: &str) -> Ended {
    let exit =
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN { Exit::Bad } else { Exit::Passing };
    Ended::new(exit, format!("http://{address}{path} answered {status} instead of what was asked"))
        .with_hint("is this the configuration of the proxy that runs there?")
}

fn text(answers: &Value) -> String {
    let word = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let rows = |list: &str, keys: &[&str]| -> Vec<Vec<String>> {
        let items = answers[list].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| keys.iter().map(|key| word(&item[*key])).collect()).collect()
    };
    let uptime = answers["uptime"].as_u64().unwrap_or(0);
    let mut out = format!(
        "countersign {}, up {}, generation {}\n\n",
        terminal::harmless(&word(&answers["version"])),
        span(uptime),
        word(&answers["generation"])
    );
    let listeners = rows("listeners", &["kind", "address", "route"]);
    out += &terminal::table(&["LISTENER", "ADDRESS", "ROUTE"], &listeners);
    let routes = rows("routes", &["name", "host", "prefix", "listen", "upstream", "credentials", "ready"]);
    out += "\n";
    out += &terminal::table(&["ROUTE", "HOST", "PREFIX", "LISTEN", "UPSTREAM", "CREDENTIALS", "READY"], &routes);
    let credentials =
        rows("credentials", &["name", "scheme", "health", "fingerprint", "loaded_at", "expires_at", "reason"]);
    if !credentials.is_empty() {
        out += "\n";
        let head = ["CREDENTIAL", "SCHEME", "HEALTH", "FINGERPRINT", "LOADED", "EXPIRES", "REASON"];
        out += &terminal::table(&head, &credentials);
    }
    out
}

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`
fn span(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_what_came() {
        let answers = serde_json::json!({
            "version": "0.1.0", "generation": 2, "uptime": 3725,
            "listeners": [{"kind": "proxy", "address": "127.0.0.1:8080", "route": null}],
            "routes": [{"name": "a", "host": "a.test", "prefix": null, "listen": null, "upstream": "https://a.test",
                        "credentials": ["k", "l"], "ready": true}],
            "credentials": [],
        });
        let text = text(&answers);
        assert!(text.starts_with("countersign 0.1.0, up 1h 2m, generation 2\n"), "{text}");
        assert!(text.contains("proxy     127.0.0.1:8080\n"), "{text}");
        assert!(text.contains("a      a.test  https://a.test  k, l         yes\n"), "{text}");
    }

    #[test]
    fn wildcard_addresses_are_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9".parse().unwrap()).unwrap(), "127.0.0.1:9".parse().unwrap());
        assert_eq!(reachable("[::]:9".parse().unwrap()).unwrap(), "[::1]:9".parse().unwrap());
        assert!(reachable("127.0.0.1:0".parse().unwrap()).is_err());
    }
}
