//! A route of the configuration as the program uses it, in a form of which ten thousand cost little. The values that
//! its keys have are in `model.rs`; `route.rs` makes it.

use std::sync::Arc;

use super::model::{ListenAddr, RouteCallers, RouteLimits, RouteTls, Span, StandIn, TenantSource, Timeouts, Upstream};
use crate::route::host::HostPattern;

/// `[[route]]`: what is a route's own. There may be ten thousand of them, so what most of them leave at its default
/// is in [`Settings`], which they share, and which a route is read through to.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// Where the table begins.
    pub span: Span,
    /// What the request's host must be.
    pub host: HostPattern,
    /// Begins with `/`; matches on a segment boundary.
    pub path: Option<Box<str>>,
    /// Path prefix way in: begins with `/`, does not end with it.
    pub prefix: Option<Box<str>>,
    /// Where to connect.
    pub upstream: Upstream,
    /// Indexes into [`Config::credentials`](super::model::Config::credentials), in order; empty is `"none"`.
    pub credentials: Indexes,
    /// Everything else.
    pub settings: Arc<Settings>,
}

impl std::ops::Deref for Route {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// What routes that say the same share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None` is any.
    pub methods: Option<Vec<http::Method>>,
    /// Own port way in.
    pub listen: Option<ListenAddr>,
    /// Where the tenant of a request is found.
    pub tenant: Option<TenantSource>,
    /// `clients` and `origins`
    pub callers: RouteCallers,
    /// `stand_in`: every request of the route is answered here.
    pub stand_in: Option<StandIn>,
    /// `tls = { .. }`
    pub tls: RouteTls,
    /// Whether WebSocket handshakes pass; default true.
    pub websocket: bool,
    /// `clock`
    pub clock: RouteClock,
    /// `timeouts = { .. }`
    pub timeouts: Timeouts,
    /// `limits = { .. }`
    pub limits: RouteLimits,
}

/// Whose time the signatures of a route use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteClock {
    /// This machine's.
    System,
    /// The upstream's, as far as its answers tell it.
    Follow,
}

/// Indexes of which there are mostly none or one: those need no memory of their own. Read as a slice.
#[derive(Clone, PartialEq, Eq)]
pub enum Indexes {
    /// None.
    None,
    /// One.
    One([usize; 1]),
    /// Several.
    Many(Box<[usize]>),
}

impl std::ops::Deref for Indexes {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl From<Vec<usize>> for Indexes {
    fn from(all: Vec<usize>) -> Self {
        match all[..] {
            [] => Self::None,
            [one] => Self::One([one]),
            _ => Self::Many(all.into()),
        }
    }
}

impl<'i> IntoIterator for &'i Indexes {
    type Item = &'i usize;
    type IntoIter = std::slice::Iter<'i, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_routes_are_small() {
        // With the texts that it points to, a route is some 300 bytes, and 10 000 of them are 3 MiB.
        assert!(size_of::<Route>() <= 168, "{}", size_of::<Route>());
        assert!(size_of::<Indexes>() <= 24, "{}", size_of::<Indexes>());
    }

    #[test]
    fn indexes_are_a_slice_however_many() {
        for all in [vec![], vec![7], vec![3, 1, 2]] {
            let indexes = Indexes::from(all.clone());
            assert_eq!(*indexes, *all);
            assert!((&indexes).into_iter().eq(&all));
            assert_eq!(format!("{indexes:?}"), format!("{all:?}"));
        }
    }
}
