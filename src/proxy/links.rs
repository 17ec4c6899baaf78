//! URLs in an answer's `Location`, `Content-Location` and `Link`: those that lead to a route lead back to the proxy, by the way in that the
//! request took, so that following a redirect or a page link never leaves it.
//!
//! Nothing else is touched: no other header, no relative reference but a rooted one behind a prefix, no URL of a
//! host without a route, no body. Caller: `request`, once per answer of an upstream.

use http::header::{CONTENT_LOCATION, HOST, LINK, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::inbound::{Form, Inbound};
use super::matching::{Matched, Way, allows_path, find_local};
use crate::config::model::{ListenAddr, Route};
use crate::route::table::{Port, has_dot_segment};
use crate::snapshot::plan::Plan;

/// What the worker must be sent back to.
#[derive(Debug)]
pub struct WayBack {
    way: Way,
    route: usize,
    method: Method,
    /// The Host as the worker wrote it, `host[:port]`; nothing where names alone lead back.
    host: Option<HeaderValue>,
    port: Option<u16>,
}

/// An absolute URL, cut where it matters. `rest` begins with `/`, `?`, `#` or is empty.
struct Target<'u> {
    /// Whether it says `https://`.
    tls: bool,
    host: String,
    port: Option<u16>,
    rest: &'u str,
}

impl WayBack {
    /// Kept until the answer comes.
    pub fn new(matched: &Matched<'_>, inbound: &Inbound<'_>, parts: &Parts) -> Self {
        let by_name = matched.way != Way::Intercepted
            && (matches!(matched.way, Way::Host | Way::Absolute) || inbound.form == Form::Absolute);
        let (way, host) = if by_name { (Way::Absolute, None) } else { (matched.way, parts.headers.get(HOST)) };
        Self { way, route: matched.route, method: parts.method.clone(), host: host.cloned(), port: inbound.port }
    }

    /// `host[:port]`, lower case.
    fn authority(&self) -> String {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        host.unwrap_or_default().to_ascii_lowercase()
    }

    /// Rewrites the headers of an answer.
    pub fn rewrite(&self, plan: &Plan, headers: &mut HeaderMap) {
        for name in [LOCATION, CONTENT_LOCATION] {
            self.each_line(headers, &name, |line| self.reference(plan, line.trim_matches([' ', '\t'])));
        }
        self.each_line(headers, &LINK, |line| self.links(plan, line));
    }

    fn each_line(&self, headers: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
        if !headers.contains_key(name) {
            return;
        }
        for line in headers.iter_mut().filter(|(other, _)| *other == name).map(|(_, line)| line) {
            let changed = std::str::from_utf8(line.as_bytes()).ok().and_then(&change);
            if let Some(changed) = changed.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()) {
                *line = changed;
            }
        }
    }

    /// RFC 8288 section 3: `<URI-Reference>` and parameters, several behind commas. Only the targets change.
    fn links(&self, plan: &Plan, line: &str) -> Option<String> {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        let mut changed = false;
        loop {
            let start = rest.find(|c| !matches!(c, ' ' | '\t' | ','))?;
            let Some((target, after)) = rest[start..].strip_prefix('<').and_then(|from| from.split_once('>')) else {
                // No link begins here: what follows stays as it is.
                out.push_str(rest);
                return changed.then_some(out);
            };
            out.push_str(&rest[..start]);
            let new = self.reference(plan, target);
            changed |= new.is_some();
            out.push('<');
            out.push_str(new.as_deref().unwrap_or(target));
            out.push('>');
            let end = end_of_link(after);
            out.push_str(&after[..end]);
            rest = &after[end..];
            if rest.trim_matches([' ', '\t', ',']).is_empty() {
                out.push_str(rest);
                return changed.then_some(out);
            }
        }
    }

    /// Another text for one URI reference, or nothing where it stays.
    fn reference(&self, plan: &Plan, text: &str) -> Option<String> {
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
            return None;
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return self.rooted(plan, text);
        }
        let target = Target::parse(text)?;
        let path = match target.rest.split(['?', '#']).next() {
            None | Some("") => "/",
            Some(path) => path,
        };
        if has_dot_segment(path) {
            return None;
        }
        match self.way {
            // The worker called the upstream's own name: links lead back by themselves.
            Way::Intercepted => None,
            // What says http:// already, or the scheme that the worker came by, is as it should be.
            Way::Host | Way::Absolute if !target.tls => None,
            Way::Host | Way::Absolute => {
                self.by_table(plan, &target, path)?;
                let port = target.port.filter(|port| !matches!(port, 80 | 443));
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                Some(format!("http://{}{port}{}", target.host, target.rest))
            }
            Way::LocalName => {
                let found = self.by_table(plan, &target, path)?;
                // A host may have routes that differ in their port alone, which a localhost name does not say.
                let led = |method| find_local(plan, &target.host, path, method).map(|led| led.route);
                if led(&Method::GET).or_else(|| led(&self.method)) != Some(found) {
                    return None;
                }
                let port = self.port.map_or(String::new(), |port| format!(":{port}"));
                Some(format!("http://{}.localhost{port}{}", target.host, target.rest))
            }
            Way::Prefix => {
                let route = self.with(plan, &target, path, |route| route.prefix.is_some())?;
                Some(format!("http://{}{}{}", self.authority(), route.prefix.as_deref()?, target.rest))
            }
            Way::OwnPort => {
                let route = self.with(plan, &target, path, |route| route.listen.is_some())?;
                Some(format!("http://{}{}", self.own_authority(plan, route)?, target.rest))
            }
        }
    }

    /// `/path`: behind a prefix it would leave the prefix.
    fn rooted(&self, plan: &Plan, text: &str) -> Option<String> {
        let path = text.split(['?', '#']).next().unwrap_or(text);
        if self.way != Way::Prefix || has_dot_segment(path) {
            return None;
        }
        plan.config.routes[self.route].prefix.as_ref().map(|prefix| format!("{prefix}{text}"))
    }

    /// The route that would claim the URL: what is followed is a GET, or the same method again (307, 308).
    fn by_table(&self, plan: &Plan, target: &Target<'_>, path: &str) -> Option<usize> {
        let port = Port::Asked { named: target.port, local: None };
        let find = |method: &Method| plan.table.find(&target.host, port, path, method).map(|found| found.route);
        find(&Method::GET).or_else(|| find(&self.method))
    }

    /// The route of the URL that has the same kind of way in; the one that the worker is on comes first.
    fn with<'p>(
        &self,
        plan: &'p Plan,
        target: &Target<'_>,
        path: &str,
        has_way: impl Fn(&Route) -> bool,
    ) -> Option<&'p Route> {
        let found = &plan.config.routes[self.by_table(plan, target, path)?];
        let own = &plan.config.routes[self.route];
        if own.host.exact_name() == Some(&target.host) && allows_path(own, path) {
            return Some(own);
        }
        (has_way(found) && found.host.is_exact()).then_some(found)
    }

    fn own_authority(&self, plan: &Plan, route: &Route) -> Option<String> {
        if route.name == plan.config.routes[self.route].name {
            return Some(self.authority());
        }
        // Of another route's port only the configured number is known here.
        match route.listen {
            Some(ListenAddr::Tcp(address)) if address.port() != 0 => {
                let authority = self.authority();
                let host = match self.port {
                    Some(port) => authority.strip_suffix(&format!(":{port}"))?,
                    None => &authority,
                };
                Some(format!("{host}:{}", address.port()))
            }
            _ => None,
        }
    }
}

impl<'u> Target<'u> {
    /// `http://`, `https://` or `//`, a host and perhaps a port; no user info.
    fn parse(text: &'u str) -> Option<Self> {
        let behind = |scheme: &str| {
            let (start, rest) = text.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let secure = behind("https://");
        let tls = secure.is_some();
        let rest = secure.or_else(|| behind("http://")).or_else(|| behind("//"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracket..].find(':') {
            None => (authority, None),
            Some(colon) => {
                let digits = &authority[bracket + colon + 1..];
                let sound = digits.bytes().all(|byte| byte.is_ascii_digit());
                let port = if digits.is_empty() { None } else { Some(digits.parse::<u16>().ok().filter(|_| sound)?) };
                (&authority[..bracket + colon], port)
            }
        };
        if host.is_empty() || host.contains('@') {
            return None;
        }
        Some(Self { tls, host: host.to_ascii_lowercase(), port, rest })
    }
}

/// Where the parameters of a link end: at a comma outside of quotes, or with the line.
fn end_of_link(text: &str) -> usize {
    let (mut quoted, mut escaped) = (Quoted::No, false);
    for (at, byte) in text.bytes().enumerate() {
        match (quoted, byte) {
            (Quoted::Yes, _) if escaped => escaped = false,
            (Quoted::Yes, b'\\') => escaped = true,
            (Quoted::Yes, b'"') => quoted = Quoted::No,
            (Quoted::No, b'"') => quoted = Quoted::Yes,
            (Quoted::No, b',') => return at,
            _ => {}
        }
    }
    text.len()
}

#[derive(Clone, Copy)]
enum Quoted {
    No,
    Yes,
}
