//! The texts of an `oauth2` table: URLs and other texts in which variables may stand, and who fills them. Called by
//! `oauth.rs`, `oauth_parts.rs` and, for its URL, `oauth_state.rs`.

use std::ops::Range;

use toml::de::DeValue;

use super::credential_hmac::Hole;
use super::fields::Fields;
use super::hints::type_name;
use super::literal;
use super::model::Spanned;
use super::schema::one_of;
use super::units;
use crate::token::fill::{Fill, FillError, FillPart};
use crate::token::grant::{Endpoint, Insecure};

/// The table and the text around it; collects what its texts take from the route.
pub(super) struct Reader<'f, 't, 'i> {
    pub fields: &'f Fields<'t, 'i>,
    pub text: &'f str,
    pub holes: &'f mut Vec<Spanned<Hole>>,
}

/// What a variable of a text may be.
#[derive(Clone, Copy)]
pub(super) enum Variables<'v> {
    /// `{tenant}` and captures: the route gives them.
    OfRoute,
    /// One of these.
    Of(&'v [String]),
}

impl<'t> Reader<'_, 't, '_> {
    /// `NAME = "text"` entries in the order of the file.
    pub(super) fn strings(&self, key: &str) -> Vec<(Spanned<&'t str>, Spanned<&'t str>)> {
        let mut out = Vec::new();
        for (name, value) in self.fields.entries(key) {
            match value.get_ref() {
                DeValue::String(text) => out.push((name, Spanned { value: &**text, span: value.span() })),
                other => self.fields.mistakes().hinted(
                    value.span(),
                    format!("`{key}.{}` must be a string, not {}", name.value, type_name(other)),
                    "write it in quotes",
                ),
            }
        }
        out
    }

    /// The text of a key, with variables of the route.
    pub(super) fn filled(&mut self, name: &str) -> Option<Fill> {
        let text = self.fields.text(name)?;
        self.fill(&text, Variables::OfRoute)
    }

    /// A text with variables.
    pub(super) fn fill(&mut self, text: &Spanned<&str>, known: Variables<'_>) -> Option<Fill> {
        let mistakes = self.fields.mistakes();
        let fill = match Fill::parse(text.value) {
            Ok(fill) => fill,
            Err(error) => {
                let hint = match error {
                    FillError::Brace => "write {{ or }} for a literal brace",
                    FillError::Name => "write a variable such as {tenant}",
                };
                mistakes.hinted(text.span.clone(), "the braces of this text do not fit together", hint);
                return None;
            }
        };
        for (variable, at) in fill.variables().zip(variables(text.value)) {
            let span = literal::inside(self.text, &text.span, text.value, &at).unwrap_or_else(|| text.span.clone());
            match known {
                Variables::OfRoute if variable.contains([':', '.']) => {
                    let message = format!("there is no variable {{{variable}}} here");
                    mistakes.hinted(span, message, "write {tenant}, or {NAME} for a capture of the route's host");
                }
                Variables::OfRoute if variable == "tenant" => self.holes.push(Spanned { value: Hole::Tenant, span }),
                Variables::OfRoute => self.holes.push(Spanned { value: Hole::Capture(variable.to_owned()), span }),
                Variables::Of(names) if names.iter().any(|name| name == variable) => {}
                Variables::Of(names) => {
                    let words: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let hint = match units::nearest(variable, names.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean {{{near}}}?"),
                        None => format!("write {}", one_of(&words).replace('"', "")),
                    };
                    mistakes.hinted(span, format!("there is no variable {{{variable}}} here"), hint);
                }
            }
        }
        Some(fill)
    }

    /// The URL of a key.
    pub(super) fn endpoint(&mut self, name: &str, insecure: Insecure) -> Option<Endpoint> {
        let text = self.fields.text(name)?;
        let mistakes = self.fields.mistakes();
        if let Err((message, hint)) = check_url(name, text.value, insecure) {
            if text.value.contains('@') {
                mistakes.mask(text.span.clone());
            }
            mistakes.hinted(text.span, message, hint);
            return None;
        }
        let fill = self.fill(&text, Variables::OfRoute)?;
        if let Err((message, hint)) = check_host(name, &fill) {
            mistakes.hinted(text.span, message, hint);
            return None;
        }
        Some(Endpoint { url: fill, insecure })
    }
}

type Wrong = (String, String);

/// `https://HOST[:PORT]/..`, or `http` where that is allowed; variables are taken for a letter.
pub(super) fn check_url(name: &str, text: &str, insecure: Insecure) -> Result<(), Wrong> {
    let wrong = |hint: &str| {
        Err((format!("`{name}` must be a URL such as \"https://auth.example.com/oauth/token\""), hint.to_owned()))
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("write the scheme too, \"https://..\"");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return wrong("remove the user info; client_id and client_secret prove who is asking");
    }
    if rest.contains('#') {
        return wrong("remove the fragment, which is never sent");
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|'))
    {
        return wrong("write it as it is sent: ASCII without spaces, others percent-encoded");
    }
    let mut plain = String::new();
    if let Ok(fill) = Fill::parse(authority) {
        for part in fill.parts() {
            plain.push_str(match part {
                FillPart::Literal(text) => text,
                FillPart::Variable(_) => "x",
            });
        }
    }
    let bracket = plain.rfind(']').map_or(0, |at| at + 1);
    let host = match plain[bracket..].split_once(':') {
        None => Some(plain.as_str()),
        Some((before, port)) => units::port_number(port).map(|_| &plain[..bracket + before.len()]),
    };
    let Some(host) = host.and_then(units::host) else {
        return wrong("write a host, and a port only where it is another than the scheme's");
    };
    match scheme {
        "https" => Ok(()),
        "http" if insecure == Insecure::Allowed || units::is_loopback_host(&host) => Ok(()),
        "http" => Err((
            format!("`{name}` is http://, so that secrets would travel in clear text"),
            "write https://, or insecure_upstream = true in this table if the network is trusted".to_owned(),
        )),
        _ => wrong("only https:// and http:// can be reached"),
    }
}

/// Who fills a variable must not choose where secrets go: the host ends in text of the configuration.
fn check_host(name: &str, url: &Fill) -> Result<(), Wrong> {
    let (mut last, mut tail) = (None, String::new());
    for (index, part) in url.parts().enumerate() {
        match part {
            FillPart::Variable(variable) => {
                last = Some(variable);
                tail.clear();
            }
            FillPart::Literal(text) => {
                let rest = if index == 0 { text.split_once("://").map_or("", |(_, rest)| rest) } else { text };
                let end = rest.find(['/', '?']);
                tail.push_str(&rest[..end.unwrap_or(rest.len())]);
                if end.is_some() {
                    break;
                }
            }
        }
    }
    let Some(variable) = last else { return Ok(()) };
    let host = tail.split(':').next().unwrap_or_default();
    let domain = host.split_once('.').map_or("", |(_, domain)| domain);
    if domain.is_empty() { Err(open_host(name, variable)) } else { Ok(()) }
}

fn open_host(name: &str, variable: &str) -> Wrong {
    (
        format!(
            "the host of `{name}` ends in {{{variable}}}, so that whoever fills it would choose where secrets are sent"
        ),
        format!("end it in text, such as \"https://{{{variable}}}.example.com/token\""),
    )
}

/// Where each `{variable}` of a good text stands, braces included.
fn variables(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find(['{', '}']).map(|open| at + open) {
        let doubled = text[open + 1..].starts_with(&text[open..=open]);
        match text[open..].find('}') {
            _ if doubled => at = open + 2,
            Some(length) => {
                found.push(open..open + length + 1);
                at = open + length + 1;
            }
            None => break,
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_or_of_this_machine() {
        let check = |text: &str| check_url("token_url", text, Insecure::Refused).map_err(|(message, _)| message);
        for good in [
            "https://a.example/token",
            "https://a.example:8443/token?x=1",
            "https://{shop}.example/t/{tenant}",
            "http://127.0.0.1:9/x",
            "http://localhost/x",
            "http://[::1]:8080/x",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "a.example/token",
            "ftp://a/x",
            "https://u:p@a/x",
            "https://a.example/x#y",
            "https://",
            "https://a.example:0/x",
            "https://a.example:{port}/x",
            "https://a b/x",
            "http://a.example/x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check_url("token_url", "http://a.example/x", Insecure::Allowed).is_ok());
    }

    #[test]
    fn a_host_never_ends_in_a_variable() {
        let check = |text: &str| check_host("token_url", &Fill::parse(text).unwrap()).is_ok();
        for good in [
            "https://a.example/{tenant}",
            "https://{shop}.example.com",
            "https://{shop}.example.com/x",
            "https://{a}-{b}.example.com:1/{c}",
            "https://api.{region}.example.com/x",
            "https://a.example?t={tenant}",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "https://{host}/x",
            "https://{host}",
            "https://api.{host}/x",
            "https://api.{host}:1/x",
            "https://{a}.{b}",
            "https://{a}x/y",
            "https://{a}./y",
            "https://{a}?x",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn the_places_of_variables() {
        let text = "{{x}}{a}-{b.c}}}";
        let found: Vec<&str> = variables(text).into_iter().map(|at| &text[at]).collect();
        assert_eq!(found, ["{a}", "{b.c}"]);
    }
}
