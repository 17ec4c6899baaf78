//! From a request's host, path and method to a route, at a cost that does not grow with the number of routes.
//!
//! Exact hosts are one hash lookup; patterns are looked up by their literal end; within a host, paths
//! are looked up segment by segment from the longest. Order of specificity: exact host before wildcard
//! or capture, then longest path, then methods given before not given. The host is chosen first, alone.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::Method;

use super::host::HostPattern;

/// What the table needs to know of one route.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The `host`.
    pub host: &'a HostPattern,
    /// The `path`.
    pub path: Option<&'a str>,
    /// The `methods`.
    pub methods: Option<&'a [Method]>,
    /// The port that the upstream is reached at; a request may name it.
    pub upstream_port: u16,
    /// The `prefix` way in.
    pub prefix: Option<&'a str>,
}

/// A compiled set of routes; answers with their indexes.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<Name, Host>,
    patterns: HashMap<Box<str>, Vec<Pattern>>,
    prefixes: HashMap<Box<str>, usize>,
    longest_prefix: usize,
}

/// A route that claims a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'t, 'h> {
    /// The index of the route.
    pub route: usize,
    /// What the host pattern captured.
    pub captures: Vec<(&'t str, &'h str)>,
}

/// A pattern with its routes. Patterns of one shape differ in the names of their captures only.
#[derive(Debug)]
struct Pattern {
    pattern: HostPattern,
    shape: Box<str>,
    host: Host,
}

/// An exact host without its port: the beginning of a pattern's text, shared with it.
#[derive(Debug)]
struct Name {
    text: Arc<str>,
    length: u16,
}

/// The routes of a host. Most hosts have one route for every path and method, which needs no memory of its own.
#[derive(Debug)]
enum Host {
    One(Claim),
    Many(Box<Paths>),
}

#[derive(Debug, Default)]
struct Paths {
    by_path: HashMap<Box<str>, Vec<Candidate>>,
    any_path: Vec<Candidate>,
    longest_path: usize,
}

#[derive(Debug)]
struct Candidate {
    claim: Claim,
    methods: Option<Box<[Method]>>,
}

/// A route and the ports that it can be asked for on.
#[derive(Clone, Copy, Debug)]
struct Claim {
    route: u32,
    port: Option<u16>,
    upstream_port: u16,
}

/// The port that a request's authority named, and what else is usual where it arrived.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// It says what is asked for.
    Asked {
        /// As in the authority.
        named: Option<u16>,
        /// The port that the request arrived at.
        local: Option<u16>,
    },
    /// It says nothing: a localhost name has the port of this proxy.
    Any,
}

impl Default for Port {
    fn default() -> Self {
        Self::Asked { named: None, local: None }
    }
}

impl Table {
    /// Compiles routes; their order gives the indexes.
    pub fn build<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Self {
        let entries = entries.into_iter();
        let mut table = Self::default();
        table.exact.reserve(entries.size_hint().0);
        for (route, entry) in entries.enumerate() {
            if let Some(prefix) = entry.prefix {
                table.longest_prefix = table.longest_prefix.max(prefix.len());
                table.prefixes.insert(prefix.into(), route);
            }
            // A file of the size that is read has far fewer.
            table.insert(u32::try_from(route).unwrap_or(u32::MAX), &entry);
        }
        table.exact.shrink_to_fit();
        for hosts in table.patterns.values_mut() {
            hosts.sort_by(|a, b| {
                let weight = |one: &Pattern| one.pattern.literal_bytes();
                weight(b).cmp(&weight(a)).then_with(|| a.shape.cmp(&b.shape))
            });
        }
        table
    }

    fn insert(&mut self, route: u32, entry: &Entry<'_>) {
        let pattern = entry.host;
        if let Some(name) = Name::of(pattern) {
            match self.exact.entry(name) {
                Place::Vacant(place) => drop(place.insert(Host::of(route, entry))),
                Place::Occupied(mut host) => host.get_mut().insert(route, entry),
            }
            return;
        }
        let hosts = self.patterns.entry(pattern.literal_suffix().into()).or_default();
        match hosts.iter_mut().find(|known| known.pattern == *pattern) {
            Some(known) => known.host.insert(route, entry),
            None => {
                // A port chooses among the routes of a host, as with exact hosts.
                let shape = pattern.shape().split(':').next().unwrap_or_default().into();
                hosts.push(Pattern { pattern: pattern.clone(), shape, host: Host::of(route, entry) });
            }
        }
    }

    /// The route of a host (lower case, without port), path and method. The most specific host that fits is
    /// the host of the request: what its routes leave out is not looked for under a wider pattern.
    pub fn find<'t, 'h>(&'t self, host: &'h str, port: Port, path: &str, method: &Method) -> Option<Found<'t, 'h>> {
        if let Some(entry) = self.exact.get(host) {
            return entry.find(port, path, method).map(|route| Found { route, captures: Vec::new() });
        }
        if self.patterns.is_empty() {
            return None;
        }
        // Suffixes from the longest: "b.c", "c", "" for "a.b.c".
        let starts = host.match_indices('.').map(|(i, _)| i + 1).chain(std::iter::once(host.len()));
        starts.map(|start| self.patterns.get(&host[start..])).find_map(|patterns| {
            let mut claimed = None;
            for one in patterns.into_iter().flatten() {
                let mut captures = Vec::new();
                if claimed.is_some_and(|shape| shape != &one.shape) {
                    break;
                }
                if one.pattern.matches(host, &mut captures) {
                    claimed = Some(&one.shape);
                    if let Some(route) = one.host.find(port, path, method) {
                        return Some(Some(Found { route, captures }));
                    }
                }
            }
            claimed.map(|_| None)
        })?
    }

    /// Whether any route has this host, whatever its path and methods; for messages.
    pub fn knows(&self, host: &str) -> bool {
        self.exact.contains_key(host)
            || host.match_indices('.').map(|(i, _)| i + 1).chain(std::iter::once(host.len())).any(|start| {
                let mut scratch = Vec::new();
                let mut hosts = self.patterns.get(&host[start..]).into_iter().flatten();
                hosts.any(|one| one.pattern.matches(host, &mut scratch))
            })
    }

    /// Whether a route of this host can be asked for on this port of `https`: 443, its pattern's, or its upstream's.
    pub fn takes_port(&self, host: &str, port: u16) -> bool {
        let exact = self.exact.get(host).into_iter();
        let starts = host.match_indices('.').map(|(i, _)| i + 1).chain(std::iter::once(host.len()));
        let patterns = starts.flat_map(|start| self.patterns.get(&host[start..]).into_iter().flatten());
        let patterns = patterns.filter(|one| one.pattern.matches(host, &mut Vec::new())).map(|one| &one.host);
        exact.chain(patterns).any(|host| host.takes_port(port))
    }

    /// The route whose `prefix` the path begins with, the longest, on a segment boundary, byte for byte.
    /// Answers the route and the length of the prefix.
    pub fn find_prefix(&self, path: &str) -> Option<(usize, usize)> {
        boundaries(path, self.longest_prefix).find_map(|end| self.prefixes.get(&path[..end]).map(|&route| (route, end)))
    }
}

impl Name {
    fn of(pattern: &HostPattern) -> Option<Self> {
        let length = u16::try_from(pattern.exact_name()?.len()).ok()?;
        Some(Self { text: pattern.shared_text(), length })
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.text[..usize::from(self.length)]
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for Name {}

impl Host {
    fn of(route: u32, entry: &Entry<'_>) -> Self {
        if entry.methods.is_none() && matches!(entry.path, None | Some("/")) {
            return Self::One(Claim::of(route, entry));
        }
        let mut paths = Paths::default();
        paths.insert(route, entry);
        Self::Many(Box::new(paths))
    }

    fn insert(&mut self, route: u32, entry: &Entry<'_>) {
        match self {
            Self::Many(paths) => paths.insert(route, entry),
            Self::One(only) => {
                let any_path = vec![Candidate { claim: *only, methods: None }];
                let mut paths = Paths { any_path, ..Paths::default() };
                paths.insert(route, entry);
                *self = Self::Many(Box::new(paths));
            }
        }
    }

    fn find(&self, port: Port, path: &str, method: &Method) -> Option<usize> {
        match self {
            Self::One(claim) => claim.takes(port).then_some(claim.route as usize),
            Self::Many(paths) => paths.find(port, path, method),
        }
    }

    fn takes_port(&self, port: u16) -> bool {
        match self {
            Self::One(claim) => claim.takes_https(port),
            Self::Many(paths) => {
                let mut all = paths.by_path.values().flatten().chain(&paths.any_path);
                all.any(|one| one.claim.takes_https(port))
            }
        }
    }
}

impl Paths {
    fn insert(&mut self, route: u32, entry: &Entry<'_>) {
        let candidate = Candidate { claim: Claim::of(route, entry), methods: entry.methods.map(Into::into) };
        let list = match entry.path {
            None | Some("/") => &mut self.any_path,
            Some(path) => {
                self.longest_path = self.longest_path.max(path.len());
                self.by_path.entry(path.into()).or_default()
            }
        };
        // Those with a port first, then those with methods: the more specific are asked first.
        let rank = |c: &Candidate| (c.claim.port.is_none(), c.methods.is_none());
        let at = list.partition_point(|known| rank(known) <= rank(&candidate));
        list.insert(at, candidate);
    }

    fn find(&self, port: Port, path: &str, method: &Method) -> Option<usize> {
        let first = |list: &[Candidate]| list.iter().find(|c| c.accepts(port, method)).map(|c| c.claim.route as usize);
        if !self.by_path.is_empty() {
            let found = boundaries(path, self.longest_path)
                .find_map(|end| self.by_path.get(&path[..end]).and_then(|list| first(list)));
            if found.is_some() {
                return found;
            }
        }
        first(&self.any_path)
    }
}

impl Candidate {
    fn accepts(&self, port: Port, method: &Method) -> bool {
        self.claim.takes(port) && self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }
}

impl Claim {
    fn of(route: u32, entry: &Entry<'_>) -> Self {
        Self { route, port: entry.host.port(), upstream_port: entry.upstream_port }
    }

    fn takes(&self, port: Port) -> bool {
        match (self.port, port) {
            (_, Port::Any) | (None, Port::Asked { named: None, .. }) => true,
            (Some(wanted), Port::Asked { named, .. }) => named == Some(wanted),
            (None, Port::Asked { named: Some(named), local }) => {
                named == 80 || named == 443 || named == self.upstream_port || Some(named) == local
            }
        }
    }

    /// Whether it can be asked for on this port of `https`.
    fn takes_https(&self, port: u16) -> bool {
        self.port.map_or(port == 443 || port == self.upstream_port, |only| only == port)
    }
}

/// The ends of all prefixes of `path` that stop at a segment boundary, longest first: the whole path,
/// each `/` with it and without it. None longer than `limit`.
fn boundaries(path: &str, limit: usize) -> impl Iterator<Item = usize> {
    let bytes = path.as_bytes();
    (1..=bytes.len().min(limit))
        .rev()
        .filter(move |&end| end == bytes.len() || bytes[end] == b'/' || bytes[end - 1] == b'/')
}

/// Whether a path has a segment that a server may resolve: `.` or `..`, with dots, slashes or backslashes escaped or not.
pub fn has_dot_segment(path: &str) -> bool {
    // Fast way: no dot at all, or none that could be a whole segment.
    if !path.contains("/.") && !path.contains('%') && !path.contains('\\') {
        return false;
    }
    let plain =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    plain.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or(segment);
        name == "." || name == ".."
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
