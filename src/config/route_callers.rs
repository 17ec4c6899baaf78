//! The keys of a route about who calls it and for whom: `clients`, `origins`, `stand_in`, `tenant`.

use std::collections::HashMap;

use toml::de::DeValue;

use super::credential::{self, field_name, header};
use super::fields::{Fields, Mistakes};
use super::model::{RouteCallers, Span, Spanned, StandIn, TenantSource};
use super::route;
use super::units::{self, nearest};
use crate::route::host::HostPattern;
use crate::sign::spoken::has_slot;

/// What a route says of its callers, and where.
pub(super) struct Callers {
    /// Whether `clients` names something that is not there.
    pub dangling: bool,
    /// Where `tenant` was written.
    pub tenant_span: Span,
}

/// `clients` and `origins`; `known` are the declared clients with their indexes.
pub(super) fn callers(fields: &Fields<'_, '_>, known: &HashMap<&str, usize>) -> (RouteCallers, Callers) {
    let (clients, dangling) = clients(fields, known);
    let tenant_span = fields.span_of("tenant");
    (RouteCallers { clients, origins: origins(fields) }, Callers { dangling, tenant_span })
}

fn clients(fields: &Fields<'_, '_>, known: &HashMap<&str, usize>) -> (Option<Vec<usize>>, bool) {
    let mistakes = fields.mistakes();
    let Some(texts) = fields.texts("clients") else { return (None, false) };
    if texts.is_empty() {
        mistakes.hinted(
            fields.span_of("clients"),
            "`clients` is empty, so nobody could use the route",
            "name clients, or remove `clients` for a route that takes anyone",
        );
    }
    let (mut indexes, mut dangling) = (Vec::new(), false);
    for text in texts {
        match known.get(text.value) {
            Some(index) if indexes.contains(index) => {
                mistakes.hinted(text.span, format!("client `{}` is listed twice", text.value), "remove one of them");
            }
            Some(index) => indexes.push(*index),
            None => {
                dangling = true;
                let hint = match nearest(text.value, known.keys().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("add [client.{}]", text.value),
                };
                mistakes.hinted(text.span, format!("there is no client \"{}\"", text.value), hint);
            }
        }
    }
    (Some(indexes), dangling)
}

fn origins(fields: &Fields<'_, '_>) -> Vec<String> {
    let mistakes = fields.mistakes();
    let mut origins = Vec::new();
    for text in fields.texts("origins").unwrap_or_default() {
        match origin(text.value) {
            Some(origin) => origins.push(origin),
            None if text.value.contains('@') => {
                mistakes.mask(text.span.clone());
                mistakes.hinted(
                    text.span,
                    "an origin has no user info",
                    "write it as a browser does, such as \"https://app.example\"",
                );
            }
            None => mistakes.hinted(
                text.span,
                format!("\"{}\" is no origin", text.value),
                "write scheme, host and port as a browser does, such as \"https://app.example\", without a path",
            ),
        }
    }
    origins
}

/// As browsers write it (RFC 6454 section 6.2): lower case, without the scheme's default port.
fn origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(good) {
        return None;
    }
    let bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match rest[bracket..].split_once(':') {
        None => (rest, None),
        Some((before, port)) => (&rest[..bracket + before.len()], Some(units::port_number(port)?)),
    };
    let host = units::host(host)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let default = match &*scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    Some(match port.filter(|port| Some(*port) != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// `stand_in = "token"`
pub(super) fn stand_in(fields: &Fields<'_, '_>) -> Option<StandIn> {
    if fields.value("stand_in").is_some() && fields.value("path").is_none() {
        fields.mistakes().hinted(
            fields.span_of("stand_in"),
            "`stand_in` without `path`: every request of the host would be answered here",
            "add path = \"/oauth/token\", the path at which the platform gives tokens; other calls need a route of their own",
        );
    }
    (fields.choice("stand_in") == "token").then_some(StandIn::Token)
}

/// `tenant`
pub(super) fn tenant(fields: &Fields<'_, '_>, host: Option<&HostPattern>) -> Option<TenantSource> {
    let mistakes = fields.mistakes();
    let value = fields.value("tenant")?;
    let text = match value.get_ref() {
        DeValue::String(text) => text,
        DeValue::Table(table) => {
            if table.is_empty() {
                let hint =
                    "write { header = \"Countersign-Tenant\" }, { query = \"shop\" }, { path = 1 } or { slot = true }";
                mistakes.hinted(value.span(), "`tenant` is empty", hint);
            }
            return tenant_table(&fields.table("tenant"));
        }
        _ => return fields.mismatch("tenant", value),
    };
    let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let captures: Vec<&str> = host.map(|host| host.captures().collect()).unwrap_or_default();
    match name {
        Some(name) if captures.contains(&name) || host.is_none() => Some(TenantSource::Capture(name.to_owned())),
        _ => {
            let hint = match &captures[..] {
                [] => "capture it in the host, such as \"{shop}.example.com\", or write { header = \"Countersign-Tenant\" }".to_owned(),
                names => format!("write \"{{{}}}\"", names.join("}\" or \"{")),
            };
            let message = format!("`tenant` must name a capture of the host; \"{text}\" is none");
            mistakes.hinted(value.span(), message, hint);
            None
        }
    }
}

fn tenant_table(table: &Fields<'_, '_>) -> Option<TenantSource> {
    let mistakes = table.mistakes();
    let given: Vec<&str> =
        ["header", "query", "path", "slot"].into_iter().filter(|key| table.value(key).is_some()).collect();
    match given[..] {
        ["header"] => table.text("header").and_then(|text| tenant_header(&text, mistakes)).map(TenantSource::Header),
        ["query"] => {
            table.text("query").and_then(|text| field_name(&text, "query parameter", mistakes)).map(TenantSource::Query)
        }
        ["path"] => table.count("path").map(TenantSource::Path),
        ["slot"] => {
            if matches!(table.value("slot").map(toml::Spanned::get_ref), Some(DeValue::Boolean(false))) {
                mistakes.hinted(
                    table.span_of("slot"),
                    "`slot = false` says nothing",
                    "write { slot = true }, or name another place",
                );
            }
            table.flag("slot").then_some(TenantSource::Slot)
        }
        [one, two, ..] => {
            let message = format!("`tenant` has both `{one}` and `{two}`, but a tenant is found in one place");
            mistakes.hinted(table.span(), message, "keep one of them");
            None
        }
        // An unknown key was said already.
        _ => None,
    }
}

/// `Countersign-*` headers are ours and dropped, so the tenant may be in one of them.
fn tenant_header(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<http::HeaderName> {
    if text.value.to_ascii_lowercase().starts_with("countersign-")
        && let Ok(name) = http::HeaderName::from_bytes(text.value.as_bytes())
    {
        return Some(name);
    }
    header(text, mistakes)
}

/// `{ slot = true }` needs a slot that a worker can write into.
pub(super) fn slots(routes: &[route::Declared], credentials: &[credential::Declared], mistakes: &Mistakes) {
    for declared in routes {
        let Some(route) = declared.made.as_ref().filter(|route| route.tenant == Some(TenantSource::Slot)) else {
            continue;
        };
        // A stand-in reads what a token endpoint would get.
        if route.stand_in.is_some() || declared.dangling {
            continue;
        }
        let made = |index: &usize| credentials.get(*index).map(|credential| credential.made.as_ref());
        let readable =
            route.credentials.iter().filter_map(made).any(|made| made.is_none_or(|one| has_slot(&one.signer)));
        if !readable {
            let message =
                format!("route `{}` takes the tenant from a slot, and none of its credentials has one", route.name);
            let hint = "use `api_key`, `bearer`, `basic` or `oauth2`, or name another place, such as { header = \"Countersign-Tenant\" }";
            mistakes.hinted(declared.callers.tenant_span.clone(), message, hint);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::origin;

    #[test]
    fn origins_are_kept_as_browsers_write_them() {
        assert_eq!(origin("HTTPS://App.Example:443").unwrap(), "https://app.example");
        assert_eq!(origin("http://localhost:3000").unwrap(), "http://localhost:3000");
        assert_eq!(origin("http://[::1]:80").unwrap(), "http://[::1]");
        assert_eq!(origin("chrome-extension://abcdef").unwrap(), "chrome-extension://abcdef");
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "https://",
            "https://a/",
            "https://a b",
            "https://u@a",
            "https://*.a",
            "1x://a",
            "https://a:0x",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
