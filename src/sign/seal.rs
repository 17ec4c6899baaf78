//! From a request that may not leave to one that may: strip the slots, sign, apply.
//!
//! [`Sealed`] is made by [`Draft::seal`], which applies the injections of every credential of the
//! route, or by [`Draft::unsigned`], for a route that says `credential = "none"`. The request path
//! sends nothing else, so a credential that is not there can never mean a bare request.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::material::Material;
use super::{Injection, SignContext, SignError, Signable, Signer, Slot};
use crate::template::encode::form_decode;

/// A request as it would leave, without credentials.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The method.
    pub method: Method,
    /// Whether the upstream is reached over TLS.
    pub tls: bool,
    /// The Host that is sent.
    pub host: String,
    /// The path and, after `?`, the query; byte for byte what leaves.
    pub target: String,
    /// Headers without hop-by-hop ones and without Host.
    pub headers: HeaderMap,
}

/// A request that may leave.
#[derive(Debug)]
pub struct Sealed {
    draft: Draft,
}

/// One credential of the route with the secrets to use.
#[derive(Clone, Copy)]
pub struct Step<'s> {
    /// The scheme.
    pub signer: &'s Signer,
    /// In the order of [`Signer::requirements`].
    pub keys: &'s [Material],
}

impl Draft {
    /// Removes whatever the worker put where a credential will stand.
    pub fn strip(&mut self, slots: &[Slot]) {
        for slot in slots {
            match slot {
                Slot::Header(name) => strip_header(&mut self.headers, name),
                Slot::Query(name) => strip_query(&mut self.target, name),
                Slot::Cookie(name) => strip_cookie(&mut self.headers, name),
            }
        }
    }

    /// Signs with each credential in turn; a later one sees what an earlier one put in.
    pub fn seal(
        mut self,
        steps: &[Step<'_>],
        body: Option<&[u8]>,
        context: &SignContext<'_>,
    ) -> Result<Sealed, SignError> {
        for step in steps {
            let injection = step.signer.sign(&self.signable(body), step.keys, context)?;
            self.apply(injection);
        }
        Ok(Sealed { draft: self })
    }

    /// For a route that says `credential = "none"`.
    pub fn unsigned(self) -> Sealed {
        Sealed { draft: self }
    }

    /// The request as signers see it.
    pub fn signable<'a>(&'a self, body: Option<&'a [u8]>) -> Signable<'a> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        Signable {
            method: self.method.as_str(),
            scheme: if self.tls { "https" } else { "http" },
            host: &self.host,
            path,
            query,
            headers: &self.headers,
            body,
        }
    }

    /// Puts an injection in.
    pub fn apply(&mut self, injection: Injection) {
        for (name, value) in injection.headers {
            self.headers.insert(name, value);
        }
        for pair in injection.query {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            if self.target.ends_with("?&") {
                self.target.pop();
            }
            self.target.push_str(&pair);
        }
        if !injection.cookies.is_empty() {
            add_cookies(&mut self.headers, &injection.cookies);
        }
    }
}

impl Sealed {
    /// What will leave, for `explain`.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The request with its body. Fails only when the target is no valid request target.
    pub fn into_request<B>(self, body: B) -> Result<Request<B>, http::Error> {
        let Draft { method, host, target, mut headers, .. } = self.draft;
        let uri = Uri::try_from(target)?;
        headers.insert(HOST, HeaderValue::try_from(host)?);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Removes a header in any case, and names that a CGI-like server would read as it: `_` for `-`, `HTTP_` before it.
fn strip_header(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    let alike = |other: &HeaderName| looks_like(other.as_str(), name.as_str());
    let twins: Vec<HeaderName> = headers.keys().filter(|other| alike(other)).cloned().collect();
    for twin in twins {
        headers.remove(twin);
    }
}

/// Whether `other` would be taken for `name` by a server that reads `_` as `-`.
pub fn looks_like(other: &str, name: &str) -> bool {
    if !other.contains('_') && !name.contains('_') {
        return false;
    }
    let same = |a: &str| {
        a.len() == name.len()
            && a.bytes().zip(name.bytes()).all(|(x, y)| x.eq_ignore_ascii_case(&y) || (is_dash(x) && is_dash(y)))
    };
    same(other) || other.get(..5).is_some_and(|p| p.eq_ignore_ascii_case("http_")) && same(&other[5..])
}

fn is_dash(byte: u8) -> bool {
    byte == b'-' || byte == b'_'
}

/// Removes every parameter with this decoded name and leaves the other bytes as they are.
fn strip_query(target: &mut String, name: &str) {
    let Some(start) = target.find('?') else { return };
    let query = &target[start + 1..];
    if !query.split('&').any(|pair| decoded_name_is(pair, name)) {
        return;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !decoded_name_is(pair, name)).collect();
    let kept = kept.join("&");
    target.truncate(start);
    if !kept.is_empty() {
        target.push('?');
        target.push_str(&kept);
    }
}

/// Whether a `name=value` pair has this name once `+` and percent escapes are decoded.
fn decoded_name_is(pair: &str, name: &str) -> bool {
    let raw = pair.split('=').next().unwrap_or(pair);
    *form_decode(raw.as_bytes()) == *name.as_bytes()
}

/// Removes the cookie of this name and keeps the worker's others, on one line (RFC 6265 section 5.4).
fn strip_cookie(headers: &mut HeaderMap, name: &str) {
    let others = cookies(headers).filter(|pair| pair.split('=').next().map(str::trim) != Some(name));
    let joined: Vec<String> = others.map(str::to_owned).collect();
    set_cookies(headers, &joined.join("; "));
}

fn add_cookies(headers: &mut HeaderMap, added: &[String]) {
    let all: Vec<String> = cookies(headers).map(str::to_owned).chain(added.iter().cloned()).collect();
    set_cookies(headers, &all.join("; "));
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';').map(str::trim)).filter(|pair| !pair.is_empty())
}

fn set_cookies(headers: &mut HeaderMap, line: &str) {
    headers.remove(COOKIE);
    if let (false, Ok(mut value)) = (line.is_empty(), HeaderValue::try_from(line)) {
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn draft(target: &str, headers: &[(&str, &str)]) -> Draft {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Draft { method: Method::GET, tls: true, host: "api.test".into(), target: target.into(), headers: map }
    }

    #[test]
    fn a_header_slot_is_emptied_in_every_spelling() {
        let mut draft =
            draft("/", &[("x-api-key", "a"), ("X_Api_Key", "b"), ("HTTP_X_API_KEY", "c"), ("x-api-keys", "d")]);
        draft.strip(&[Slot::Header(HeaderName::from_static("x-api-key"))]);
        assert_eq!(draft.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-api-keys"]);
    }

    #[test]
    fn a_query_slot_takes_every_spelling_of_its_name_and_leaves_the_rest() {
        let strip = |target: &str| {
            let mut draft = draft(target, &[]);
            draft.strip(&[Slot::Query("key".into())]);
            draft.target
        };
        assert_eq!(strip("/a?key=1&b=%2F+x&KEY=2&%6bey=3&key"), "/a?b=%2F+x&KEY=2");
        assert_eq!(strip("/a?key=1"), "/a");
        assert_eq!(strip("/a?"), "/a?");
        assert_eq!(strip("/a?&&b"), "/a?&&b");
    }

    #[test]
    fn a_cookie_slot_keeps_the_other_cookies() {
        let mut draft = draft("/", &[("cookie", "sid=old; a=1"), ("cookie", "b=2;sid=x")]);
        draft.strip(&[Slot::Cookie("sid".into())]);
        draft.apply(Injection { cookies: vec!["sid=new".into()], ..Injection::default() });
        assert_eq!(draft.headers.get(COOKIE).unwrap(), "a=1; b=2; sid=new");
        assert_eq!(draft.headers.get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn query_parameters_are_appended() {
        let append = |target: &str| {
            let mut draft = draft(target, &[]);
            draft.apply(Injection { query: vec!["k=v".into()], ..Injection::default() });
            draft.target
        };
        assert_eq!(append("/a"), "/a?k=v");
        assert_eq!(append("/a?x"), "/a?x&k=v");
        assert_eq!(append("/a?"), "/a?k=v");
    }
}
