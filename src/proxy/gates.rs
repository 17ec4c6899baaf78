//! The bound on requests of each route at one time, by the route's name: one for all snapshots, so that requests that
//! began before a reload of `proxy.toml` count beside those that begin after it. Made for routes that are called.
//! Callers: `live`, once for each route and configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::Gate;
use crate::config::model::Route;

/// Gates as one configuration uses them; clones and [`Gates::next`] share them.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    by_name: Arc<Mutex<HashMap<Box<str>, Limited>>>,
    /// Which configuration, counted from 0.
    configuration: u64,
}

#[derive(Debug)]
struct Limited {
    gate: Gate,
    /// The configuration that the limit is of.
    configuration: u64,
}

impl Gates {
    /// The gate of a route. A request of an earlier configuration does not change the limit.
    pub fn of(&self, route: &str, limit: usize) -> Gate {
        let mut gates = self.lock();
        if let Some(known) = gates.get_mut(route) {
            known.limit(limit, self.configuration);
            return known.gate.clone();
        }
        let gate = Gate::new(limit);
        gates.insert(route.into(), Limited { gate: gate.clone(), configuration: self.configuration });
        gate
    }

    /// For the configuration after this one: its limits, and what is not among its routes is forgotten.
    pub fn next(&self, routes: &[Route]) -> Self {
        let next = Self { by_name: self.by_name.clone(), configuration: self.configuration + 1 };
        let limits: HashMap<&str, usize> =
            routes.iter().map(|route| (route.name.as_str(), route.limits.in_flight)).collect();
        self.lock().retain(|name, known| match limits.get(&**name) {
            Some(limit) => {
                known.limit(*limit, next.configuration);
                true
            }
            None => false,
        });
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Limited>> {
        // Nothing panics while it is held.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limited {
    fn limit(&mut self, limit: usize, configuration: u64) {
        if configuration >= self.configuration {
            self.configuration = configuration;
            self.gate.set_limit(limit);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn routes(text: &str) -> Vec<Route> {
        crate::config::parse("proxy.toml", text, Path::new("/")).config.unwrap().routes
    }

    #[test]
    fn requests_count_over_reloads_and_the_newest_limit_holds() {
        let old = Gates::default();
        let gate = old.of("a", 2);
        let share = gate.take(2).unwrap();
        let text = "[[route]]\nname = \"a\"\nhost = \"a.test\"\ncredential = \"none\"\nlimits = { in_flight = 3 }\n";
        let new = old.next(&routes(text));
        assert!(gate.take(1).is_some() && gate.take(2).is_none());
        // A late first request of the old configuration, then the first of the new one: one count, the new limit.
        assert!(old.of("a", 2).take(2).is_none());
        let same = new.of("a", 3);
        assert!(same.take(1).is_some() && same.take(2).is_none());
        drop(share);
        assert_eq!(same.used(), 0);
    }

    #[test]
    fn a_removed_route_is_forgotten() {
        let old = Gates::default();
        let _share = old.of("a", 1).take(1).unwrap();
        let new = old.next(&[]);
        assert!(new.of("a", 1).take(1).is_some());
    }
}
