//! Which files below the secrets directory the configuration uses. Pure.

use std::collections::{HashMap, HashSet};

use super::name::{NamePattern, SecretName};

/// The names that are read, each with its size limit; everything else is not even opened.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    names: HashMap<SecretName, u64>,
    folders: HashSet<Box<str>>,
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    whole: NamePattern,
    components: Vec<NamePattern>,
    limit: u64,
}

impl Wanted {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name or pattern with the most bytes that a file may have (`TEXT_LIMIT`,
    /// `PEM_LIMIT`). Of two limits for one name the larger counts.
    pub fn add(&mut self, pattern: &NamePattern, limit: u64) {
        if let Some(name) = pattern.as_static() {
            for (at, _) in name.as_str().match_indices('/') {
                self.folders.insert(name.as_str()[..at].into());
            }
            let entry = self.names.entry(name).or_insert(limit);
            *entry = limit.max(*entry);
            return;
        }
        if let Some(same) = self.patterns.iter_mut().find(|known| known.whole == *pattern) {
            same.limit = limit.max(same.limit);
            return;
        }
        // A hole takes no `/`, so each component of a pattern is a pattern.
        let components = pattern.as_str().split('/').filter_map(|part| NamePattern::parse(part).ok()).collect();
        self.patterns.push(Pattern { whole: pattern.clone(), components, limit });
    }

    /// The limit of a file with that name, when it is wanted. The largest of those that match.
    pub fn limit(&self, name: &str) -> Option<u64> {
        let matching = self.patterns.iter().filter(|p| p.whole.captures(name).is_some()).map(|p| p.limit);
        matching.chain(self.names.get(name).copied()).max()
    }

    /// Whether something wanted may lie below that directory (`""` is the top).
    pub fn may_hold(&self, folder: &str) -> bool {
        folder.is_empty()
            || self.folders.contains(folder)
            || self.patterns.iter().any(|pattern| {
                let mut wanted = pattern.components.iter();
                let fits = folder.split('/').all(|part| wanted.next().is_some_and(|p| p.captures(part).is_some()));
                fits && wanted.next().is_some()
            })
    }

    /// The names without holes.
    pub fn names(&self) -> impl Iterator<Item = (&SecretName, u64)> {
        self.names.iter().map(|(name, limit)| (name, *limit))
    }

    /// The name as it was wanted, not through a pattern; it shares its text with the configuration.
    pub fn name(&self, name: &str) -> Option<&SecretName> {
        self.names.get_key_value(name).map(|(name, _)| name)
    }

    /// Whether the name is wanted as it stands, not through a pattern.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }
}

/// Whether a component of a path never counts: hidden (the kubelet's own among them), or what
/// editors and secret agents leave behind.
pub fn is_left_over(component: &str) -> bool {
    component.starts_with('.')
        || component.ends_with('~')
        || [".bak", ".tmp", ".swp"].iter().any(|end| component.ends_with(end))
        || component == "4913" // vim asks with this name whether it may create files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wanted(names: &[(&str, u64)]) -> Wanted {
        let mut all = Wanted::new();
        for (name, limit) in names {
            all.add(&NamePattern::parse(name).unwrap(), *limit);
        }
        all
    }

    #[test]
    fn names_and_patterns_have_their_limits() {
        let wanted = wanted(&[("a/b/key", 10), ("a/b/key", 20), ("shop/{tenant}/key", 30), ("shop/m1/key", 5)]);
        assert_eq!(wanted.limit("a/b/key"), Some(20));
        assert_eq!(wanted.limit("shop/m1/key"), Some(30));
        assert_eq!(wanted.limit("shop/m2/key"), Some(30));
        assert_eq!(wanted.limit("shop/m2/other"), None);
        assert_eq!(wanted.limit("a/b"), None);
    }

    #[test]
    fn only_folders_that_lead_somewhere_are_entered() {
        let wanted = wanted(&[("a/b/key", 1), ("shop/{tenant}/key", 1), ("{x}-dir/key", 1)]);
        for yes in ["", "a", "a/b", "shop", "shop/m1", "my-dir"] {
            assert!(wanted.may_hold(yes), "{yes}");
        }
        for no in ["b", "a/c", "a/b/key", "shop/m1/key", "shop/m1/x", "dir"] {
            assert!(!wanted.may_hold(no), "{no}");
        }
    }

    #[test]
    fn left_overs_never_count() {
        for yes in ["..data", ".x", "key~", "key.bak", "key.tmp", ".key.swp", "key.swp", "4913"] {
            assert!(is_left_over(yes), "{yes}");
        }
        for no in ["key", "tls.crt", "a.b", "49130"] {
            assert!(!is_left_over(no), "{no}");
        }
    }
}
