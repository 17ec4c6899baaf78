//! Names of secrets: paths below the secrets directory, plain or with `{variables}`.

use std::fmt;
use std::sync::Arc;

/// The name of one secret: its path below `[secrets] dir`, with `/` between components.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(Arc<str>);

/// Why a text is no name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("the name of a secret is empty")]
    Empty,
    /// It begins with `/`: names are relative to the secrets directory.
    #[error("a secret is named by its path below the secrets directory, so the name cannot begin with \"/\"")]
    Absolute,
    /// A component that never counts: empty, or beginning with `.`.
    #[error("the component {0:?} of a secret's name is empty or begins with \".\"")]
    Component(String),
    /// A character that no file name should have.
    #[error("the name of a secret has a control character or a backslash")]
    Character,
    /// `{` without `}` or the other way round.
    #[error("unbalanced brace in the name of a secret")]
    Brace,
    /// `{}` or a variable that is no identifier.
    #[error("{{{0}}} is no variable: use {{tenant}} or a capture of the route's host")]
    Variable(String),
}

impl SecretName {
    /// Checks and keeps a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.starts_with('/') {
            return Err(NameError::Absolute);
        }
        let bad = |c: char| c.is_control() || c == '\\';
        // Most names are ASCII, of which each byte is a character.
        if if text.is_ascii() { text.bytes().any(|b| bad(b.into())) } else { text.chars().any(bad) } {
            return Err(NameError::Character);
        }
        match text.split('/').find(|part| part.is_empty() || part.starts_with('.')) {
            Some(part) => Err(NameError::Component(part.to_owned())),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A name with holes, `shop/{tenant}/key`; without holes it is a plain name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NamePattern {
    text: Arc<str>,
    /// `None` for a plain name, of which there may be ten thousand.
    parts: Option<Arc<[Part]>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Part {
    Literal(Box<str>),
    Variable(Box<str>),
}

impl NamePattern {
    /// Parses a name in which `{x}` stands for a variable.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !text.contains(['{', '}']) {
            return SecretName::parse(text).map(|name| Self { text: name.0, parts: None });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes()[open] == b'}' {
                return Err(NameError::Brace);
            }
            if open > 0 {
                parts.push(Part::Literal(rest[..open].into()));
            }
            let inner = &rest[open + 1..];
            let close = inner.find('}').ok_or(NameError::Brace)?;
            let name = &inner[..close];
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
                return Err(NameError::Variable(name.to_owned()));
            }
            parts.push(Part::Variable(name.into()));
            rest = &inner[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        let probe: String = parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text,
                Part::Variable(_) => "x",
            })
            .collect();
        SecretName::parse(&probe)?;
        Ok(Self { text: text.into(), parts: Some(parts.into()) })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The plain name, when there are no holes.
    pub fn as_static(&self) -> Option<SecretName> {
        self.parts.is_none().then(|| SecretName(self.text.clone()))
    }

    /// The variables in the order of their appearance, repeated ones repeated.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|parts| parts.iter()).filter_map(|part| match part {
            Part::Variable(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// Fills the holes. `None` when a variable has no value or the result is no valid name
    /// (a value with `/` or a leading `.` never reaches the file system).
    pub fn resolve<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Option<SecretName> {
        let Some(parts) = &self.parts else { return self.as_static() };
        let mut out = String::with_capacity(self.text.len() + 16);
        for part in &**parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Variable(name) => {
                    let text = value(name)?;
                    if text.is_empty() || text.contains('/') || text.starts_with('.') {
                        return None;
                    }
                    out.push_str(text);
                }
            }
        }
        SecretName::parse(&out).ok()
    }

    /// The values of the variables if `name` has this form. A hole takes no `/` and as little
    /// as possible; a variable that occurs twice must have one value.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Vec<(&str, &'n str)>> {
        let mut found: Vec<(&str, &'n str)> = Vec::new();
        let Some(parts) = &self.parts else { return (*self.text == *name).then_some(found) };
        if self.walk(parts, name, &mut found) { Some(found) } else { None }
    }

    fn walk<'p, 'n>(&'p self, parts: &'p [Part], rest: &'n str, found: &mut Vec<(&'p str, &'n str)>) -> bool {
        let Some((first, more)) = parts.split_first() else {
            return rest.is_empty();
        };
        match first {
            Part::Literal(text) => rest.strip_prefix(&**text).is_some_and(|rest| self.walk(more, rest, found)),
            Part::Variable(name) => {
                let limit = rest.find('/').unwrap_or(rest.len());
                let known = found.iter().find(|(n, _)| *n == &**name).map(|(_, v)| *v);
                for (end, _) in rest.char_indices().skip(1).chain(std::iter::once((rest.len(), ' '))) {
                    if end > limit || end == 0 {
                        break;
                    }
                    let value = &rest[..end];
                    if known.is_some_and(|v| v != value) {
                        continue;
                    }
                    let depth = found.len();
                    if known.is_none() {
                        found.push((name, value));
                    }
                    if self.walk(more, &rest[end..], found) {
                        return true;
                    }
                    found.truncate(depth);
                }
                false
            }
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_resolves_and_captures() {
        let pattern = NamePattern::parse("shop/{tenant}/key").unwrap();
        assert_eq!(pattern.resolve(|_| Some("m1")).unwrap().as_str(), "shop/m1/key");
        assert_eq!(pattern.captures("shop/m1/key"), Some(vec![("tenant", "m1")]));
        assert_eq!(pattern.captures("shop/m1/x/key"), None);
        assert_eq!(pattern.captures("shop//key"), None);
        assert!(pattern.resolve(|_| Some("../x")).is_none());
        assert!(pattern.as_static().is_none());
    }

    #[test]
    fn names_that_never_count_are_refused() {
        for bad in ["", "/a", "a//b", ".hidden", "a/..data/b", "a\nb", "a/{", "a/}", "a/{}", "{a b}"] {
            assert!(NamePattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
