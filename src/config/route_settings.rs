//! The keys of a route that most routes leave out, read into [`Settings`] that routes share: `methods`, `listen`, `tls`,
//! `timeouts`, `limits` and (read in `route_callers.rs`) those about callers. Called by `route`.

use std::sync::Arc;

use super::credential::shift;
use super::fields::{Fields, Mistakes};
use super::keys_route::ROUTE;
use super::model::{ListenAddr, RouteClock, RouteLimits, RouteTls, Settings, Spanned, Timeouts, TlsVersion, Upstream};
use super::route::Around;
use super::route_callers::{self, Callers};
use super::sections::{Taken, address, local};
use super::units;
use crate::route::host::HostPattern;
use crate::secret::name::NamePattern;

/// The keys that are read here.
const KEYS: [&str; 11] = [
    "methods",
    "listen",
    "tenant",
    "clients",
    "origins",
    "stand_in",
    "tls",
    "websocket",
    "clock",
    "timeouts",
    "limits",
];

/// Settings of earlier routes that a route is compared with; the first is that of a route without any of [`KEYS`].
const RECENT: usize = 8;

/// What routes have said so far, so that the next one that says the same has the same.
pub(super) struct Shared {
    recent: Vec<Arc<Settings>>,
    next: usize,
    places: Places,
}

/// What becomes of the places at which settings name secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// Mistakes are said of them: routes that name them in different places share nothing.
    Each,
    /// Of a file without a mistake, those of the first route that says so are enough. The text that is read stands so
    /// many bytes behind the beginning of the file.
    First(usize),
}

impl Shared {
    /// Knows the defaults alone.
    pub(super) fn new(around: &Around<'_>, places: Places) -> Self {
        let nothing = Mistakes::default();
        let absent = Fields::absent(&ROUTE, &nothing);
        let (defaults, _) = read(&absent, around, (None, None), &mut Taken::new(), None);
        Self { recent: vec![Arc::new(defaults)], next: 1, places }
    }

    /// The text that is read next stands elsewhere.
    pub(super) fn moved(&mut self, places: Places) {
        self.places = places;
    }

    /// The settings of a route with this host and upstream.
    pub(super) fn settings(
        &mut self,
        fields: &Fields<'_, '_>,
        around: &Around<'_>,
        of: (Option<&HostPattern>, Option<&Upstream>),
        taken: &mut Taken,
    ) -> (Arc<Settings>, Callers) {
        if !fields.has_any(&KEYS) {
            return (self.recent[0].clone(), Callers { dangling: false, tenant_span: fields.span() });
        }
        let (settings, callers) = read(fields, around, of, taken, Some(&self.recent[0]));
        (self.share(settings), callers)
    }

    fn share(&mut self, mut settings: Settings) -> Arc<Settings> {
        let same = |known: &&Arc<Settings>| match self.places {
            Places::Each => ***known == settings,
            Places::First(_) => alike(known, &settings),
        };
        if let Some(known) = self.recent.iter().find(same) {
            return known.clone();
        }
        if let Places::First(by) = self.places {
            let tls = &mut settings.tls;
            let names = [&mut tls.client_cert, &mut tls.client_key, &mut tls.ca].into_iter().flatten();
            names.for_each(|name| shift(&mut name.span, by));
        }
        let settings = Arc::new(settings);
        if self.recent.len() < RECENT {
            self.recent.push(settings.clone());
        } else {
            self.recent[self.next] = settings.clone();
            self.next = if self.next + 1 == RECENT { 1 } else { self.next + 1 };
        }
        settings
    }
}

/// Whether two routes say the same, wherever it is written.
fn alike(one: &Settings, other: &Settings) -> bool {
    let tls = |one: &RouteTls| {
        let RouteTls { client_cert, client_key, ca, server_name, min, pins } = one.clone();
        let names = [client_cert, client_key, ca].map(|name| name.map(|name| name.value));
        (names, server_name, min, pins)
    };
    let Settings { methods, listen, tenant, callers, stand_in, tls: of_tls, websocket, clock, timeouts, limits } = one;
    *methods == other.methods
        && *listen == other.listen
        && *tenant == other.tenant
        && *callers == other.callers
        && *stand_in == other.stand_in
        && *websocket == other.websocket
        && *clock == other.clock
        && *timeouts == other.timeouts
        && *limits == other.limits
        && tls(of_tls) == tls(&other.tls)
}

/// `defaults` saves reading those of tables that are not there.
fn read(
    fields: &Fields<'_, '_>,
    around: &Around<'_>,
    (host, upstream): (Option<&HostPattern>, Option<&Upstream>),
    taken: &mut Taken,
    defaults: Option<&Settings>,
) -> (Settings, Callers) {
    let (who, callers) = route_callers::callers(fields, around.clients);
    let unless = |table: &str| defaults.filter(|_| fields.value(table).is_none());
    let settings = Settings {
        listen: own_port(fields, around, taken),
        tenant: route_callers::tenant(fields, host),
        callers: who,
        stand_in: route_callers::stand_in(fields),
        tls: unless("tls").map_or_else(
            || tls(&fields.table("tls"), fields.value("tls").is_some(), upstream),
            |defaults| defaults.tls.clone(),
        ),
        methods: methods(fields),
        timeouts: unless("timeouts").map_or_else(|| timeouts(&fields.table("timeouts")), |d| d.timeouts.clone()),
        limits: unless("limits").map_or_else(|| limits(&fields.table("limits")), |d| d.limits.clone()),
        websocket: fields.flag("websocket"),
        clock: if fields.choice("clock") == "follow" { RouteClock::Follow } else { RouteClock::System },
    };
    (settings, callers)
}

fn own_port(fields: &Fields<'_, '_>, around: &Around<'_>, taken: &mut Taken) -> Option<ListenAddr> {
    let mistakes = fields.mistakes();
    let found = address(&fields.text("listen")?, around.folder, mistakes)?;
    local(&found, around.allow_remote, mistakes);
    taken.push(found.clone());
    Some(found.value)
}

fn methods(fields: &Fields<'_, '_>) -> Option<Vec<http::Method>> {
    let mistakes = fields.mistakes();
    let texts = fields.texts("methods")?;
    if texts.is_empty() {
        mistakes.hinted(
            fields.span_of("methods"),
            "`methods` is empty, so the route would match nothing",
            "list methods such as \"GET\", or remove `methods` for all of them",
        );
    }
    let mut methods = Vec::new();
    for text in &texts {
        let message = match http::Method::from_bytes(text.value.as_bytes()) {
            Ok(method) if matches!(method.as_str(), "CONNECT" | "TRACE") => {
                format!("{method} never goes to an upstream")
            }
            Ok(method) if methods.contains(&method) => format!("{method} is listed twice"),
            Ok(method) if method.as_str().bytes().any(|b| b.is_ascii_lowercase()) => {
                let message = format!("methods are in upper case, \"{method}\" is not");
                mistakes.hinted(text.span.clone(), message, format!("write \"{}\"", text.value.to_ascii_uppercase()));
                continue;
            }
            Ok(method) => {
                methods.push(method);
                continue;
            }
            Err(_) => format!("\"{}\" is no method", text.value),
        };
        mistakes.hinted(text.span.clone(), message, "list methods such as \"GET\" and \"POST\", each once");
    }
    Some(methods)
}

/// `tls` of a route, or of an `oauth2` credential.
pub(super) fn tls(fields: &Fields<'_, '_>, given: bool, upstream: Option<&Upstream>) -> RouteTls {
    let mistakes = fields.mistakes();
    if given && upstream.is_some_and(|upstream| !upstream.tls) {
        mistakes.hinted(
            fields.span(),
            "`tls` has no effect on an http:// upstream",
            "write https:// in `upstream`, or remove `tls`",
        );
    }
    let client_key = fields.secret("client_key");
    if client_key.is_some() && fields.value("client_cert").is_none() {
        mistakes.hinted(
            fields.span_of("client_key"),
            "`client_key` without `client_cert`: a key alone identifies nobody",
            "add client_cert = \"NAME\", the certificate that belongs to the key",
        );
    }
    let tls = RouteTls {
        client_cert: fields.secret("client_cert"),
        client_key,
        ca: fields.secret("ca"),
        server_name: fields.text("server_name").and_then(|text| server_name(&text, mistakes)),
        min: if fields.choice("min") == "1.3" { TlsVersion::V1_3 } else { TlsVersion::V1_2 },
        pins: super::net::pins(fields),
    };
    for name in [&tls.client_cert, &tls.client_key, &tls.ca].into_iter().flatten() {
        fixed_name(name, mistakes);
    }
    tls
}

fn fixed_name(name: &Spanned<NamePattern>, mistakes: &Mistakes) {
    if let Some(variable) = name.value.variables().next() {
        let message =
            format!("a secret of `tls` cannot have the variable {{{variable}}}: not supported by this version");
        mistakes.hinted(name.span.clone(), message, "write a plain name, one route for each certificate");
    }
}

fn server_name(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<String> {
    let name = units::host(text.value);
    if name.is_none() {
        let message = format!("`server_name` must be a host name, not \"{}\"", text.value);
        mistakes.hinted(
            text.span.clone(),
            message,
            "write a name such as \"api.example.com\", without scheme and port",
        );
    }
    name
}

fn timeouts(fields: &Fields<'_, '_>) -> Timeouts {
    Timeouts {
        connect: fields.wait("connect"),
        response: fields.duration("response"),
        pool: fields.wait("pool"),
        body: fields.duration("body"),
        tunnel: fields.duration("tunnel"),
    }
}

fn limits(fields: &Fields<'_, '_>) -> RouteLimits {
    RouteLimits {
        signed_body: fields.bytes("signed_body"),
        request_body: fields.size("request_body"),
        replay_body: fields.bytes("replay_body"),
        in_flight: fields.count("in_flight").unwrap_or(usize::MAX),
    }
}
