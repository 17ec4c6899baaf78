//! From tables to values: `[tls]`, `[dns]`, `[egress]`, and the pins of a route.

use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;

use super::credential;
use super::fields::{Fields, Mistakes};
use super::model::{Authority, Credential, Dns, Egress, NoProxy, Spanned, Trust};
use super::route::Declared;
use super::{system_roots, units};
use crate::secret::name::NamePattern;
use crate::tls::Pin;

/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Servers that are asked at most.
const DNS_SERVERS: usize = 8;
/// The egress proxy's user name and password among the credentials; no table can have that name.
const EGRESS_CREDENTIAL: &str = "egress:proxy";

/// `[tls] roots`
pub(super) fn trust(fields: &Fields<'_, '_>) -> Trust {
    let mistakes = fields.mistakes();
    let Some(value) = fields.value("roots") else { return Trust::Bundled };
    match value.get_ref() {
        DeValue::String(word) => match &**word {
            "bundled" => Trust::Bundled,
            "system" => match system_roots::read() {
                Ok(roots) => Trust::System(roots),
                Err(places) => {
                    let message = "no CA certificate of the system was found";
                    let hint = format!("looked at {places}; install ca-certificates, or write roots = \"bundled\"");
                    mistakes.hinted(value.span(), message, hint);
                    Trust::Bundled
                }
            },
            _ => {
                let message = format!("`roots` must be \"bundled\", \"system\" or a list of secrets, not \"{word}\"");
                mistakes.hinted(value.span(), message, format!("for a secret of that name write roots = [\"{word}\"]"));
                Trust::Bundled
            }
        },
        DeValue::Array(_) => secrets(fields),
        _ => fields.mismatch("roots", value).unwrap_or_default(),
    }
}

fn secrets(fields: &Fields<'_, '_>) -> Trust {
    let mistakes = fields.mistakes();
    let texts = fields.texts("roots").unwrap_or_default();
    if texts.is_empty() {
        let message = "`roots` is empty, so that no upstream would be trusted";
        mistakes.hinted(fields.span_of("roots"), message, "name secrets, or write \"bundled\" or \"system\"");
    }
    let mut names: Vec<Spanned<NamePattern>> = Vec::new();
    for text in texts {
        let Some(name) = fields.secret_name(text.value, text.span) else { continue };
        if name.value.as_static().is_none() {
            let message = "roots belong to no route, so the names of their secrets cannot have variables";
            mistakes.hinted(name.span, message, "write a plain name such as \"corporate/ca.crt\"");
        } else if names.iter().any(|other| other.value == name.value) {
            mistakes.hinted(name.span, "this secret is listed twice", "remove one of them");
        } else {
            names.push(name);
        }
    }
    Trust::Secrets(names)
}

/// `[dns]`
pub(super) fn dns(fields: &Fields<'_, '_>) -> Dns {
    let mistakes = fields.mistakes();
    let texts = fields.texts("servers");
    if texts.as_ref().is_some_and(|texts| texts.is_empty() || texts.len() > DNS_SERVERS) {
        let message = format!("`servers` must have from 1 to {DNS_SERVERS} addresses");
        mistakes.hinted(fields.span_of("servers"), message, "leave it out for those of /etc/resolv.conf");
    }
    let mut servers = Vec::new();
    for text in texts.unwrap_or_default() {
        match server(text.value) {
            Some(server) => servers.push(server),
            None => mistakes.hinted(
                text.span,
                format!("\"{}\" is no address of a DNS server", text.value),
                "write an address such as \"1.1.1.1\", \"1.1.1.1:53\" or \"[2606:4700:4700::1111]:53\"",
            ),
        }
    }
    Dns { hosts_file: fields.flag("hosts_file"), servers }
}

fn server(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|_| text.parse()).ok()?;
    (address.port() != 0).then_some(address)
}

/// `[egress]`, and the credential for it, which joins the others at this index.
pub(super) fn egress(fields: &Fields<'_, '_>, text: &str, index: usize) -> (Option<Egress>, Option<Credential>) {
    let credential = credential::of_proxy(fields, EGRESS_CREDENTIAL, text);
    let proxy = fields.text("proxy").and_then(|text| proxy(&text, fields.mistakes()));
    let no_proxy = no_proxy(fields);
    let egress = proxy.map(|proxy| Egress { proxy, no_proxy, credential: credential.as_ref().map(|_| index) });
    let credential = credential.filter(|_| egress.is_some());
    (egress, credential)
}

fn proxy(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Authority> {
    let rest = text.value.strip_prefix("http://");
    let found = rest.and_then(|rest| units::authority(rest.strip_suffix('/').unwrap_or(rest)).ok());
    if found.is_none() {
        let user_info = text.value.contains('@');
        if user_info {
            mistakes.mask(text.span.clone());
        }
        let hint = match text.value.split_once("://") {
            _ if user_info => "remove the user info; add username and password = { secret = \"NAME\" } to [egress]",
            Some(("https", _)) => "write http://: the proxy is spoken to in clear text, TLS goes through it",
            _ => "write the host and the port too, such as \"http://proxy.corp:3128\"",
        };
        mistakes.hinted(text.span.clone(), "`proxy` must be http://HOST:PORT", hint);
    }
    found
}

fn no_proxy(fields: &Fields<'_, '_>) -> Vec<NoProxy> {
    let mut entries = Vec::new();
    for text in fields.texts("no_proxy").unwrap_or_default() {
        match direct(text.value) {
            Some(entry) => entries.push(entry),
            None => {
                let hint = match text.value.strip_prefix("*.") {
                    Some(rest) => format!("write \".{rest}\" for every name below {rest}"),
                    None => "write \"git.corp.example\", \".corp.example\", \"10.1.2.3\" or \"10.0.0.0/8\", without scheme and port"
                        .to_owned(),
                };
                let message = format!("\"{}\" is no host, suffix, address or network", text.value);
                fields.mistakes().hinted(text.span, message, hint);
            }
        }
    }
    entries
}

fn direct(text: &str) -> Option<NoProxy> {
    let lower = text.to_ascii_lowercase();
    if let Some((net, bits)) = lower.split_once('/') {
        let net: IpAddr = net.parse().ok()?;
        let most = if net.is_ipv4() { 32 } else { 128 };
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| digits && *bits <= most)?;
        return Some(NoProxy::Net(net, bits));
    }
    let bare = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&lower);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(NoProxy::Net(ip.to_canonical(), if ip.to_canonical().is_ipv4() { 32 } else { 128 }));
    }
    match lower.strip_prefix('.') {
        Some(rest) => units::host(rest).map(|_| NoProxy::Suffix(lower.clone())),
        None => units::host(&lower).map(NoProxy::Host),
    }
}

/// `tls.pin` of a route.
pub(super) fn pins(fields: &Fields<'_, '_>) -> Vec<Pin> {
    let mistakes = fields.mistakes();
    let Some(texts) = fields.texts("pin") else { return Vec::new() };
    if texts.is_empty() {
        let message = "`pin` is empty, so that it pins nothing";
        mistakes.hinted(fields.span_of("pin"), message, "list pins, or remove it");
    }
    let mut pins = Vec::new();
    for text in texts {
        match Pin::parse(text.value) {
            Ok(pin) => pins.push(pin),
            Err(error) => {
                let hint = format!(
                    "{error}: openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
                );
                mistakes.hinted(text.span, format!("\"{}\" is no pin", text.value), hint);
            }
        }
    }
    // The same pins in another order are the same identity.
    pins.sort_unstable();
    pins.dedup();
    pins
}

/// Upstreams in clear text cannot go through CONNECT; one that would have to is a mistake.
pub(super) fn clear_text(
    routes: &[Declared],
    egress: Option<&Egress>,
    connect_to: &[(Authority, Authority)],
    mistakes: &Mistakes,
) {
    let Some(egress) = egress else { return };
    for declared in routes {
        let Some(route) = declared.made.as_ref().filter(|route| !route.upstream.tls) else { continue };
        let Some(host) = route.upstream.host.as_deref() else { continue };
        let moved = connect_to.iter().find(|(from, _)| from.host == host && from.port == route.upstream.port);
        let host = moved.map_or(host, |(_, to)| &to.host);
        if egress.leads_to(host) {
            let message = format!("route `{}`: an http:// upstream cannot go through the egress proxy", route.name);
            let hint = format!("write https:// in `upstream`, or add \"{host}\" to [egress] no_proxy");
            mistakes.hinted(declared.name_span.clone(), message, hint);
        }
    }
}
