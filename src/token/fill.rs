//! Short texts with variables, for URLs, parameters and injections: `https://{shop}.example.com/token`, `Bearer {access_token}`.
//! Literal braces are doubled. PURE.

use std::fmt;

/// A text with variables in braces. Which variables exist is the caller's business.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fill {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Literal(Box<str>),
    Variable(Box<str>),
}

/// A part of a text, to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillPart<'f> {
    /// As it stands, braces no longer doubled.
    Literal(&'f str),
    /// The name of a variable.
    Variable(&'f str),
}

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// `{` without `}`, or `}` without `{`.
    #[error("a brace without its other half; write {{{{ or }}}} for a literal one")]
    Brace,
    /// `{}` or a name with odd characters.
    #[error("a variable has letters, digits, \"_\", \".\" and \":\" in braces")]
    Name,
}

impl Fill {
    /// Parses.
    pub fn parse(text: &str) -> Result<Self, FillError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (true, Some((name, after))) = (brace == "{", rest.split_once('}')) else {
                return Err(FillError::Brace);
            };
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
            if name.is_empty() || !name.bytes().all(good) {
                return Err(FillError::Name);
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Variable(name.into()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// A text without variables.
    pub fn literal(text: &str) -> Self {
        Self { parts: Box::new([Part::Literal(text.into())]) }
    }

    /// Every part, in order.
    pub fn parts(&self) -> impl Iterator<Item = FillPart<'_>> {
        self.parts.iter().map(|part| match part {
            Part::Literal(text) => FillPart::Literal(text),
            Part::Variable(name) => FillPart::Variable(name),
        })
    }

    /// Every variable, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// The same with another variable in the place of one.
    #[must_use]
    pub fn renamed(&self, from: &str, to: &str) -> Self {
        let part = |part: &Part| match part {
            Part::Variable(name) if **name == *from => Part::Variable(to.into()),
            other => other.clone(),
        };
        Self { parts: self.parts.iter().map(part).collect() }
    }

    /// The text, or the first variable that has no value.
    pub fn fill<'v>(&'v self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, &'v str> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Variable(name) => out.push_str(value(name).ok_or(&**name)?),
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Variable(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fill({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_and_doubled_braces_are_literal() {
        let fill = Fill::parse("https://{shop}.test/{{x}}?t={tenant}").unwrap();
        assert_eq!(fill.variables().collect::<Vec<_>>(), ["shop", "tenant"]);
        let value = |name: &str| match name {
            "shop" => Some("acme"),
            "tenant" => Some("m1"),
            _ => None,
        };
        assert_eq!(fill.fill(value), Ok("https://acme.test/{x}?t=m1".to_owned()));
        assert_eq!(fill.fill(|_| None), Err("shop"));
        assert_eq!(fill.to_string(), "https://{shop}.test/{{x}}?t={tenant}");
    }

    #[test]
    fn a_brace_alone_is_a_mistake() {
        for text in ["{", "}", "a{b", "a}b", "{a}}"] {
            assert_eq!(Fill::parse(text), Err(FillError::Brace), "{text}");
        }
        assert_eq!(Fill::parse("{a b}"), Err(FillError::Name));
        assert_eq!(Fill::parse("{}"), Err(FillError::Name));
    }
}
