//! From `[[route]]` tables to [`Route`]s: each route by itself. What routes have to do with one
//! another and with their credentials is in `check.rs`.

use std::collections::HashMap;
use std::path::Path;

use toml::de::DeValue;

use super::credential::{check_name, shift};
use super::diagnostic::Diagnostic;
use super::fields::{Fields, Mistakes};
use super::keys_route::ROUTE;
use super::model::{Route, Span, Spanned, Upstream};
use super::route_callers::Callers;
pub(super) use super::route_settings::{Places, Shared};
use super::sections::Taken;
use super::units::{self, nearest};
use crate::route::host::HostPattern;

/// What a route needs to know of the rest of the file.
pub(super) struct Around<'a> {
    pub folder: &'a Path,
    pub allow_remote: bool,
    /// Every declared credential, also those with mistakes, and its index.
    pub credentials: &'a HashMap<&'a str, usize>,
    /// Every declared client, and its index.
    pub clients: &'a HashMap<&'a str, usize>,
}

/// A route and where its parts were written; `made` is `None` when it has mistakes that leave nothing to check.
pub(super) struct Declared {
    pub made: Option<Route>,
    /// Where `name` was written.
    pub name_span: Span,
    /// Where `prefix` was written.
    pub prefix_span: Span,
    /// Where each entry of `credential` was written, in the order of [`Route::credentials`].
    pub credential_spans: Vec<Span>,
    /// Whether `credential` names something that is not there.
    pub dangling: bool,
    /// What it says of its callers.
    pub callers: Callers,
}

impl Declared {
    /// Moves every place by as much as the text that it is in stands behind the beginning of the file; [`Shared`] moves
    /// those of the settings.
    pub(super) fn shift(&mut self, by: usize) {
        if let Some(route) = &mut self.made {
            shift(&mut route.span, by);
        }
        let places = [&mut self.name_span, &mut self.prefix_span, &mut self.callers.tenant_span];
        places.into_iter().chain(&mut self.credential_spans).for_each(|span| shift(span, by));
    }
}

/// All routes, in the order of the file.
pub(super) fn routes(
    root: &Fields<'_, '_>,
    around: &Around<'_>,
    taken: &mut Taken,
    shared: &mut Shared,
) -> Vec<Declared> {
    let Some(value) = root.value("route") else { return Vec::new() };
    let DeValue::Array(items) = value.get_ref() else {
        return root.mismatch("route", value).unwrap_or_default();
    };
    let mut routes = Vec::with_capacity(items.len());
    for item in items.iter() {
        match item.get_ref() {
            DeValue::Table(table) => {
                let fields = Fields::open(table, item.span(), &ROUTE, root.mistakes());
                routes.push(route(&fields, around, taken, shared));
            }
            _ => root.mismatch("route", item).unwrap_or(()),
        }
    }
    routes
}

fn route(fields: &Fields<'_, '_>, around: &Around<'_>, taken: &mut Taken, shared: &mut Shared) -> Declared {
    let mistakes = fields.mistakes();
    let name = fields.text("name");
    if let Some(name) = &name {
        check_name(name, mistakes);
    }
    let host = host(fields);
    let prefix = fields.text("prefix").and_then(|text| prefix(&text, mistakes));
    if let Some(host) = &host {
        needs_exact(fields, host);
    }
    let (credentials, credential_spans, dangling) = credentials(fields, around);
    let upstream =
        upstream(fields, host.as_ref(), if credentials.is_empty() { Proof::None } else { Proof::Credential });
    let path = fields.text("path").and_then(|text| path(&text, mistakes));
    let (settings, callers) = shared.settings(fields, around, (host.as_ref(), upstream.as_ref()), taken);
    let name_span = name.as_ref().map_or(fields.span(), |name| name.span.clone());
    let made = host.zip(upstream).zip(name).map(|((host, upstream), name)| Route {
        name: name.value.to_owned(),
        span: fields.span(),
        host,
        path,
        prefix,
        upstream,
        credentials: credentials.into(),
        settings,
    });
    Declared { made, name_span, prefix_span: fields.span_of("prefix"), credential_spans, dangling, callers }
}

fn host(fields: &Fields<'_, '_>) -> Option<HostPattern> {
    let text = fields.text("host")?;
    if text.value.contains('@') {
        fields.mistakes().mask(text.span.clone());
        fields.mistakes().hinted(
            text.span,
            "`host` has user info",
            "write the host alone; a credential proves who is calling",
        );
        return None;
    }
    match HostPattern::parse(text.value) {
        Ok(host) => Some(host),
        Err(error) => {
            let bare = text.value.split_once("://").map_or(text.value, |(_, rest)| rest);
            let bare = bare.split(['/', '?', '#']).next().unwrap_or_default();
            let hint = if bare != text.value && HostPattern::parse(bare).is_ok() {
                format!("write \"{bare}\"; a path goes into `path`")
            } else {
                "write a name such as \"api.example.com\", \"*.example.com\" or \"{shop}.example.com\"".to_owned()
            };
            let message = format!("`host` is no host pattern: {error}");
            fields.mistakes().hinted(text.span, message, hint);
            None
        }
    }
}

/// A prefix or own port names its route without a host, so the host must be known.
fn needs_exact(fields: &Fields<'_, '_>, host: &HostPattern) {
    if host.is_exact() {
        return;
    }
    for way in ["prefix", "listen"] {
        if fields.value(way).is_some() {
            let message = format!("`{way}` needs an exact `host`: \"{host}\" does not say which host a request is for");
            let hint = format!("write the whole host, or remove `{way}` and let workers name it in Host");
            fields.mistakes().hinted(fields.span_of(way), message, hint);
        }
    }
}

/// `path`: sent as it is compared, so it has no query and no bytes that a path cannot have.
fn path(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Box<str>> {
    let value = text.value;
    if !value.starts_with('/') {
        let message = format!("`path` must begin with \"/\", not \"{value}\"");
        mistakes.hinted(text.span.clone(), message, format!("write \"/{value}\""));
        return None;
    }
    if !plain_path(value) || value.contains(['*', '{', '}']) {
        mistakes.hinted(
            text.span.clone(),
            format!("`path` \"{value}\" has a character or segment that no request path is compared by"),
            "write the beginning of the path as it is sent, without query, \"*\", braces, \"//\" or dot segments",
        );
        return None;
    }
    Some(value.into())
}

/// `prefix`: compared byte for byte and cut off, so it has nothing that could be written in two ways.
fn prefix(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Box<str>> {
    let value = text.value;
    let hint = if value == "/" {
        "write a name of its own, such as \"/partner\"".to_owned()
    } else if !value.starts_with('/') {
        format!("write \"/{}\"", value.trim_end_matches('/'))
    } else if value.ends_with('/') {
        format!("write \"{}\" without the \"/\" at its end", value.trim_end_matches('/'))
    } else if !plain_path(value) || value.contains('%') {
        "write plain segments such as \"/partner\": no \"//\", dot segments, escapes, query or fragment".to_owned()
    } else {
        return Some(value.into());
    };
    mistakes.hinted(text.span.clone(), format!("`prefix` \"{value}\" is no path prefix"), hint);
    None
}

/// Characters of a path (RFC 3986 section 3.3), no empty segment before the last, no dot segment.
fn plain_path(value: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/{}".contains(&b);
    let inner = value.strip_prefix('/').unwrap_or(value);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    value.bytes().all(good)
        && (inner.is_empty() || inner.split('/').all(|part| !matches!(part, "" | "." | "..")))
        && value != "//"
}

/// The indexes of the named credentials, where each was written, and whether one is not there.
fn credentials(fields: &Fields<'_, '_>, around: &Around<'_>) -> (Vec<usize>, Vec<Span>, bool) {
    let mistakes = fields.mistakes();
    let texts = match fields.value("credential").map(|value| (value, value.get_ref())) {
        None => return (Vec::new(), Vec::new(), false),
        Some((_, DeValue::String(text))) if text == "none" => return (Vec::new(), Vec::new(), false),
        Some((value, DeValue::String(text))) => vec![Spanned { value: &**text, span: value.span() }],
        Some((_, DeValue::Array(_))) => fields.texts("credential").unwrap_or_default(),
        Some((value, _)) => fields.mismatch("credential", value).unwrap_or_default(),
    };
    let empty = fields.value("credential").is_some_and(|v| v.get_ref().as_array().is_some_and(|list| list.is_empty()));
    if empty {
        mistakes.hinted(
            fields.span_of("credential"),
            "`credential` is an empty list",
            "name a credential, or write credential = \"none\" for a route that proves nothing",
        );
    }
    let (mut indexes, mut spans, mut dangling) = (Vec::new(), Vec::new(), false);
    for text in texts {
        match around.credentials.get(text.value) {
            Some(index) if indexes.contains(index) => {
                let message = format!("credential `{}` is listed twice", text.value);
                mistakes.hinted(text.span, message, "each is applied once; remove one of them");
            }
            Some(index) => {
                indexes.push(*index);
                spans.push(text.span);
            }
            None => {
                dangling = true;
                no_credential(&text, around, mistakes);
            }
        }
    }
    (indexes, spans, dangling)
}

fn no_credential(text: &Spanned<&str>, around: &Around<'_>, mistakes: &Mistakes) {
    if text.value == "none" {
        let message = "\"none\" in a list: a route has either credentials or none";
        return mistakes.hinted(text.span.clone(), message, "remove it, or write credential = \"none\" alone");
    }
    let hint = match nearest(text.value, around.credentials.keys().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("add [credential.{}], or write \"none\" for a route that proves nothing", text.value),
    };
    mistakes.hinted(text.span.clone(), format!("there is no credential \"{}\"", text.value), hint);
}

/// `upstream`, or `https://` and the host of the route.
fn upstream(fields: &Fields<'_, '_>, host: Option<&HostPattern>, proof: Proof) -> Option<Upstream> {
    let mistakes = fields.mistakes();
    let insecure = fields.flag("insecure_upstream");
    let Some(text) = fields.text("upstream") else {
        let port = host.and_then(HostPattern::port);
        return Some(Upstream { tls: true, host: None, port: port.unwrap_or(443) });
    };
    let upstream = match origin(text.value) {
        Ok(upstream) => upstream,
        Err(hint) => {
            let message = format!(
                "`upstream` must be https://HOST or https://HOST:PORT, not \"{}\"",
                printable_origin(text.value)
            );
            if text.value.contains('@') {
                mistakes.mask(text.span.clone());
            }
            mistakes.hinted(text.span, message, hint);
            return None;
        }
    };
    let near = upstream.host.as_deref().is_some_and(units::is_loopback_host);
    if !upstream.tls && proof == Proof::Credential && !insecure && !near {
        mistakes.hinted(
            text.span,
            "a credential would travel in clear text over http://",
            "write https://, or insecure_upstream = true in this route if the network is trusted",
        );
    }
    if upstream.tls && insecure {
        mistakes.add(
            Diagnostic::warning(fields.span_of("insecure_upstream"), "`insecure_upstream` has no effect on https://")
                .with_hint("remove it"),
        );
    }
    Some(upstream)
}

/// Whether a route has a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    Credential,
}

/// User info is never repeated in a message.
fn printable_origin(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("..@{rest}"),
        None => text.to_owned(),
    }
}

/// `scheme://host[:port]` and nothing more; else what to do.
fn origin(text: &str) -> Result<Upstream, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("write the scheme too, \"https://{text}\""));
    };
    let (tls, default) = match scheme.to_ascii_lowercase().as_str() {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Err("only https:// and http:// upstreams can be reached".to_owned()),
    };
    if rest.contains('@') {
        return Err("remove the user info: a credential proves who is calling, such as basic".to_owned());
    }
    if rest.contains(['{', '*']) {
        return Err(
            "an upstream has no captures; remove `upstream` to connect to the host that the request names".to_owned()
        );
    }
    if let Some(end) = rest.find(['/', '?', '#']) {
        return Err(format!(
            "write \"{scheme}://{}\": the path and query of the request are sent as they are",
            &rest[..end]
        ));
    }
    let bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match rest[bracket..].split_once(':') {
        None => (rest, Some(default)),
        Some((before, port)) => (&rest[..bracket + before.len()], units::port_number(port)),
    };
    let Some(port) = port else {
        return Err("write the port as a number from 1 to 65535".to_owned());
    };
    match units::host(name) {
        Some(host) => Ok(Upstream { tls, host: Some(host.into()), port }),
        None => Err("write the host as a name or address such as \"https://api.example.com\"".to_owned()),
    }
}
