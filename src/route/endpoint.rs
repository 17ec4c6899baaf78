//! Endpoints as the configuration writes them: `GET /v2/orders/{id}`. `{x}` is one segment that is not empty, a last
//! `{x...}` the rest. Callers: `config`, which parses, and `proxy`, which asks.

use http::Method;

/// A method and a pattern of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    method: Method,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// As it stands, decoded.
    Text(Box<str>),
    /// One segment.
    One,
    /// All that follow, at least one.
    Rest,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No method and path.
    #[error("expected a method and a path, such as \"GET /v2/orders/{{id}}\"")]
    Shape,
    /// A query, a fragment, or a byte that a path cannot have.
    #[error("a path has visible ASCII characters, and neither a query nor a fragment")]
    Path,
    /// Braces that are not a whole segment, or a `{x...}` that is not the last.
    #[error("a variable is a whole segment, {{id}}; {{rest...}} is the last one")]
    Variable,
}

impl Endpoint {
    /// Reads one.
    ///
    /// # Errors
    /// It is none, and why.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (method, path) = text.split_once(' ').ok_or(EndpointError::Shape)?;
        let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let method = method.parse::<Method>().ok().filter(|_| is_method).ok_or(EndpointError::Shape)?;
        let rest = path.strip_prefix('/').ok_or(EndpointError::Shape)?;
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
            return Err(EndpointError::Path);
        }
        let mut segments = Vec::new();
        for part in rest.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err(EndpointError::Variable);
            }
            let inner = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            segments.push(match inner {
                Some(name) if is_name(name.strip_suffix("...").unwrap_or(name)) => {
                    if name.ends_with("...") {
                        Segment::Rest
                    } else {
                        Segment::One
                    }
                }
                None if !part.contains(['{', '}']) => Segment::Text(decoded(part).ok_or(EndpointError::Path)?.into()),
                _ => return Err(EndpointError::Variable),
            });
        }
        Ok(Self { method, segments: segments.into() })
    }

    /// Whether a request is one of this endpoint. `path` is without its query and may have percent escapes; one with an
    /// escaped `/` never is. HEAD counts as GET.
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        if *method != self.method {
            return false;
        }
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut given = rest.split('/');
        for segment in &self.segments {
            let Some(part) = given.next() else { return false };
            let fits = match segment {
                Segment::Rest => {
                    return !part.is_empty() && std::iter::once(part).chain(given).all(|p| decoded(p).is_some());
                }
                Segment::One => !part.is_empty() && decoded(part).is_some(),
                Segment::Text(text) if !part.contains('%') => **text == *part,
                Segment::Text(text) => decoded(part).is_some_and(|part| *part == **text),
            };
            if !fits {
                return false;
            }
        }
        given.next().is_none()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A segment without its escapes; `None` where one of them is a `/`, or what comes out is no text.
fn decoded(segment: &str) -> Option<String> {
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('/'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_of_an_endpoint_or_not() {
        let matches = |endpoint: &str, method: &str, path: &str| {
            Endpoint::parse(endpoint).unwrap().matches(&method.parse().unwrap(), path)
        };
        for (endpoint, method, path) in [
            ("GET /orders/v0/orders", "GET", "/orders/v0/orders"),
            ("GET /orders/v0/orders", "HEAD", "/orders/v0/orders"),
            ("GET /orders/v0/orders", "GET", "/orders/v0/%6Frders"),
            ("GET /orders/{id}/address", "GET", "/orders/902-1/address"),
            ("POST /a/{rest...}", "POST", "/a/b/c"),
            ("GET /", "GET", "/"),
            ("GET /a%20b/{x}", "GET", "/a%20b/%C3%A4"),
        ] {
            assert!(matches(endpoint, method, path), "{endpoint}: {method} {path}");
        }
        for (endpoint, method, path) in [
            ("GET /orders/v0/orders", "POST", "/orders/v0/orders"),
            ("GET /orders/v0/orders", "GET", "/orders/v0/orders/"),
            ("GET /orders/v0/orders", "GET", "/orders/v0/Orders"),
            ("GET /orders/{id}", "GET", "/orders/"),
            ("GET /orders/{id}", "GET", "/orders/a/b"),
            ("GET /orders/{id}", "GET", "/orders/a%2Fb"),
            ("POST /a/{rest...}", "POST", "/a/"),
            ("POST /a/{rest...}", "POST", "/a"),
            ("POST /a/{rest...}", "POST", "/a/b/c%2fd"),
            ("GET /a", "GET", "*"),
        ] {
            assert!(!matches(endpoint, method, path), "{endpoint}: {method} {path}");
        }
    }

    #[test]
    fn what_is_no_endpoint() {
        for (text, error) in [
            ("/orders", EndpointError::Shape),
            ("get /orders", EndpointError::Shape),
            ("GET orders", EndpointError::Shape),
            ("GET /a?b", EndpointError::Path),
            ("GET /a b", EndpointError::Path),
            ("GET /a%2Fb", EndpointError::Path),
            ("GET /a{b}", EndpointError::Variable),
            ("GET /{}", EndpointError::Variable),
            ("GET /{a...}/b", EndpointError::Variable),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }
}
