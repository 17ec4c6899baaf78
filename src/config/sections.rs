//! From tables to values: everything but credentials and routes.

use std::net::SocketAddr;
use std::path::Path;

use super::fields::{Fields, Mistakes};
use super::model::{
    Admin, AtStart, Authority, Drain, Limits, Listen, ListenAddr, Log, LogFormat, OnMissing, Secrets, Span, Spanned,
};
use super::units::{self, UnitError};

/// Listening addresses and where they were written, to find one that is used twice.
pub(super) type Taken = Vec<Spanned<ListenAddr>>;

/// `[listen]`
pub(super) fn listen(fields: &Fields<'_, '_>, folder: &Path, taken: &mut Taken) -> Listen {
    let mistakes = fields.mistakes();
    let allow_remote = fields.flag("allow_remote");
    let mut keep = |found: &Spanned<ListenAddr>| taken.push(found.clone());
    let proxy = match fields.texts("proxy") {
        None => {
            let default = units::listen(fields.default_text("proxy"), folder).ok();
            default.into_iter().inspect(|value| keep(&Spanned { value: value.clone(), span: fields.span() })).collect()
        }
        Some(texts) => texts
            .iter()
            .filter_map(|text| address(text, folder, mistakes))
            .inspect(|found| local(found, allow_remote, mistakes))
            .inspect(&mut keep)
            .map(|found| found.value)
            .collect(),
    };
    let admin = fields.text_or_default("admin");
    let admin = if admin.value == "off" { None } else { tcp(&admin, mistakes) };
    if let Some(admin) = &admin {
        local(admin, allow_remote, mistakes);
        keep(admin);
    }
    let health = fields.text("health").and_then(|text| tcp(&text, mistakes));
    if let Some(health) = &health {
        keep(health);
    }
    let tls = fields.text("tls").and_then(|text| tcp(&text, mistakes));
    if let Some(tls) = &tls {
        local(tls, allow_remote, mistakes);
        keep(tls);
    }
    Listen {
        proxy,
        socket_mode: socket_mode(&fields.text_or_default("socket_mode"), mistakes),
        admin: admin.and_then(socket),
        health: health.and_then(socket),
        tls: tls.and_then(socket),
        allow_remote,
        names: names(fields, allow_remote),
    }
}

fn socket(found: Spanned<ListenAddr>) -> Option<SocketAddr> {
    match found.value {
        ListenAddr::Tcp(address) => Some(address),
        ListenAddr::Unix(_) => None,
    }
}

/// An address to listen on; one that cannot be used is recorded.
pub(super) fn address(text: &Spanned<&str>, folder: &Path, mistakes: &Mistakes) -> Option<Spanned<ListenAddr>> {
    match units::listen(text.value, folder) {
        Ok(value) => Some(Spanned { value, span: text.span.clone() }),
        Err(error) => no_address(text, error, mistakes),
    }
}

/// A TCP address to listen on.
pub(super) fn tcp(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Spanned<ListenAddr>> {
    match units::tcp(text.value) {
        Ok(address) => Some(Spanned { value: ListenAddr::Tcp(address), span: text.span.clone() }),
        Err(error) => no_address(text, error, mistakes),
    }
}

fn no_address<T>(text: &Spanned<&str>, error: UnitError, mistakes: &Mistakes) -> Option<T> {
    let hint = match units::mended_address(text.value) {
        Some(mended) => format!("write \"{mended}\" for this machine alone"),
        None => error.to_string(),
    };
    mistakes.hinted(text.span.clone(), format!("\"{}\" is no address to listen on", text.value), hint);
    None
}

/// Refuses an address that other hosts reach, unless they are allowed to.
pub(super) fn local(found: &Spanned<ListenAddr>, allow_remote: bool, mistakes: &Mistakes) {
    if let ListenAddr::Tcp(address) = &found.value
        && !allow_remote
        && !units::is_loopback(address.ip())
    {
        mistakes.hinted(
            found.span.clone(),
            format!("{address} can be reached from other hosts, which could then use every credential"),
            format!(
                "write 127.0.0.1:{}, or allow_remote = true in [listen] if other hosts are meant to come in",
                address.port()
            ),
        );
    }
}

/// `"0660"`
fn socket_mode(text: &Spanned<&str>, mistakes: &Mistakes) -> u32 {
    let digits = text.value.strip_prefix("0o").unwrap_or(text.value);
    let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if octal && mode <= 0o777 => mode,
        _ => {
            let message = format!("\"{}\" is no octal mode", text.value);
            mistakes.hinted(text.span.clone(), message, "write octal digits such as \"0660\" or \"0600\"");
            0o660
        }
    }
}

fn names(fields: &Fields<'_, '_>, allow_remote: bool) -> Vec<String> {
    let mistakes = fields.mistakes();
    let Some(texts) = fields.texts("names") else { return Vec::new() };
    if !allow_remote && !texts.is_empty() {
        mistakes.hinted(
            fields.span_of("names"),
            "`names` is for workers on other hosts, but none is allowed to come in",
            "write allow_remote = true in [listen], or remove `names`",
        );
    }
    let mut names = Vec::new();
    for text in texts {
        match units::host(text.value) {
            Some(name) => names.push(name),
            None => mistakes.hinted(
                text.span.clone(),
                format!("\"{}\" is no host name", text.value),
                "write a name without scheme and port, such as \"countersign\"",
            ),
        }
    }
    names
}

/// Two listeners on one address; port 0 is a new port each time.
pub(super) fn listen_twice(taken: &Taken, mistakes: &Mistakes) {
    let mut seen: std::collections::HashMap<&ListenAddr, &Span> = std::collections::HashMap::new();
    for found in taken {
        let shown = match &found.value {
            ListenAddr::Tcp(address) if address.port() == 0 => continue,
            ListenAddr::Tcp(address) => address.to_string(),
            ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        };
        if seen.insert(&found.value, &found.span).is_some() {
            let message = format!("{shown} is listened on twice");
            mistakes.hinted(found.span.clone(), message, "give each listener an address of its own");
        }
    }
}

/// `[runtime] threads`
pub(super) fn threads(fields: &Fields<'_, '_>) -> Option<usize> {
    fields.count("threads")
}

/// `[log]`
pub(super) fn log(fields: &Fields<'_, '_>) -> Log {
    Log {
        level: match fields.choice("level") {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "debug" => tracing::Level::DEBUG,
            "trace" => tracing::Level::TRACE,
            _ => tracing::Level::INFO,
        },
        format: match fields.choice("format") {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => LogFormat::Auto,
        },
        access: fields.choice("access") == "on",
    }
}

/// `[secrets]`
pub(super) fn secrets(fields: &Fields<'_, '_>, folder: &Path) -> Secrets {
    let mistakes = fields.mistakes();
    let dir = fields.text_or_default("dir");
    if dir.value.is_empty() || dir.value.contains('\0') {
        mistakes.hinted(
            dir.span.clone(),
            "`dir` is no directory",
            "write its path, such as \"/run/secrets/countersign\"",
        );
    }
    let secrets = Secrets {
        dir: folder.join(dir.value),
        dir_span: fields.value("dir").map(toml::Spanned::span),
        poll: fields.duration("poll"),
        events: fields.choice("watch") == "auto",
        on_missing: if fields.choice("on_missing") == "fail" { OnMissing::Fail } else { OnMissing::Keep },
        at_start: match fields.choice("at_start") {
            "wait" => AtStart::Wait,
            "serve" => AtStart::Serve,
            _ => AtStart::Refuse,
        },
        overlap: fields.wait("overlap"),
    };
    if !secrets.events && secrets.poll.is_none() {
        mistakes.hinted(
            fields.span_of("poll"),
            "`poll = \"off\"` with `watch = \"poll\"`: no rotation would ever be noticed",
            "give `poll` a duration such as \"10s\", or remove `watch`",
        );
    }
    secrets
}

/// `[admin]`
pub(super) fn admin(fields: &Fields<'_, '_>) -> Admin {
    let token = fields.secret("token");
    let mistakes = fields.mistakes();
    if let Some(token) = &token
        && token.value.as_static().is_none()
    {
        mistakes.hinted(
            token.span.clone(),
            "the token of the admin listener belongs to no route, so its name cannot have variables",
            "write a plain name such as \"admin/token\"",
        );
    }
    let protect_reads = fields.flag("protect_reads");
    if protect_reads && fields.value("token").is_none() {
        mistakes.hinted(
            fields.span_of("protect_reads"),
            "`protect_reads` needs a `token`, without which nobody could read anything",
            "add token = \"admin/token\" to [admin]",
        );
    }
    Admin { token, protect_reads }
}

/// `[limits]`
pub(super) fn limits(fields: &Fields<'_, '_>) -> Limits {
    Limits {
        head: fields.bytes("head"),
        headers: fields.count("headers").unwrap_or(usize::MAX),
        connections: fields.count("connections").unwrap_or(usize::MAX),
        in_flight: fields.count("in_flight").unwrap_or(usize::MAX),
        buffered: fields.bytes("buffered"),
    }
}

/// `[drain]`
pub(super) fn drain(fields: &Fields<'_, '_>) -> Drain {
    Drain { deadline: fields.wait("deadline"), delay: fields.wait("delay") }
}

/// `[playground]`
pub(super) fn playground(fields: &Fields<'_, '_>, taken: &mut Taken) -> Option<SocketAddr> {
    let mistakes = fields.mistakes();
    let found = tcp(&fields.text("listen")?, mistakes)?;
    taken.push(found.clone());
    let span = found.span.clone();
    let address = socket(found)?;
    if !units::is_loopback(address.ip()) {
        mistakes.hinted(
            span,
            format!("the playground is for this machine alone, and {address} can be reached from other hosts"),
            format!("write 127.0.0.1:{}", address.port()),
        );
    }
    Some(address)
}

/// `[connect_to]`
pub(super) fn connect_to(root: &Fields<'_, '_>) -> Vec<(Authority, Authority)> {
    let mistakes = root.mistakes();
    let mut seen = std::collections::HashSet::new();
    let mut pairs = Vec::new();
    for (key, value) in root.entries("connect_to") {
        let toml::de::DeValue::String(target) = value.get_ref() else {
            let message = format!("what `{}` is to be connected to must be a string", key.value);
            mistakes.hinted(value.span(), message, UnitError::Authority.to_string());
            continue;
        };
        let target = Spanned { value: &**target, span: value.span() };
        if let (Some(from), Some(to)) = (authority(&key, mistakes), authority(&target, mistakes)) {
            if !seen.insert(from.clone()) {
                let message = format!("`{}` is there twice (case does not count)", key.value);
                mistakes.hinted(key.span.clone(), message, "remove one of them");
            }
            pairs.push((from, to));
        }
    }
    pairs
}

fn authority(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Authority> {
    match units::authority(text.value) {
        Ok(authority) => Some(authority),
        Err(error) => {
            mistakes.hinted(text.span.clone(), format!("\"{}\" is no host and port", text.value), error.to_string());
            None
        }
    }
}
