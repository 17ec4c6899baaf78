//! From a request that may not leave to one that may: strip the slots, sign, apply.
//!
//! [`Sealed`] is made by [`Draft::seal`], which applies the injections of every credential of the
//! route, or by [`Draft::unsigned`], for a route that says `credential = "none"`. The request path
//! sends nothing else, so a credential that is not there can never mean a bare request.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::body::{self, BodyChange};
use super::material::Material;
use super::target::{Host, Target};
use super::{Injection, Length, Reframing, SignContext, SignError, Signable, Signer, Slot};
use crate::template::encode::form_decode;

/// A request as it would leave, without credentials.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The method.
    pub method: Method,
    /// Whether the upstream is reached over TLS.
    pub tls: bool,
    /// The Host that is sent.
    pub host: Host,
    /// The path and query.
    pub target: Target,
    /// Headers without hop-by-hop ones and without Host.
    pub headers: HeaderMap,
}

/// A request that may leave.
#[derive(Debug)]
pub struct Sealed {
    draft: Draft,
    /// The body that leaves, where it is not the one that was given.
    body: Option<Bytes>,
    reframing: Option<Box<Reframing>>,
}

/// One credential of the route with the secrets to use.
#[derive(Clone, Copy)]
pub struct Step<'s> {
    /// The scheme.
    pub signer: &'s Arc<Signer>,
    /// In the order of [`Signer::requirements`].
    pub keys: &'s [Material],
    /// Where an injection that is the same for every request is kept, beside the keys that it is made of.
    pub kept: Option<&'s Kept>,
}

/// The injection of a scheme that covers nothing of the request, made at its first use. It belongs to the keys beside
/// it and to one signer: a changed configuration may use the same keys in another place.
#[derive(Default)]
pub struct Kept(ArcSwapOption<(Arc<Signer>, Injection)>);

/// Whether a header may be there under a name that a CGI-like server would read as another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twins {
    /// No name has a `_`.
    None,
    /// One may have.
    Possible,
}

impl<'s> Step<'s> {
    /// Tells credentials after this one what they may use of it: its access token.
    pub fn tell<'c>(&self, context: &mut SignContext<'c>)
    where
        's: 'c,
    {
        if let Signer::Token(token) = &**self.signer {
            context.access_token = token.access_token(self.keys);
        }
    }
}

impl Draft {
    /// Removes whatever the worker put where a credential will stand.
    pub fn strip(&mut self, slots: &[Slot], twins: Twins) {
        for slot in slots {
            match slot {
                Slot::Header(name) => strip_header(&mut self.headers, name, twins),
                Slot::Query(name) => {
                    if let Some(without) = without_query(self.target.as_str(), name) {
                        self.target = Target::from(without);
                    }
                }
                Slot::Cookie(name) => strip_cookie(&mut self.headers, name),
                Slot::Family(family) => family.strip(&mut self.headers, &mut self.target),
                Slot::Form(_) | Slot::Json(_) => {} // by `strip_body`, once the body is there
            }
        }
    }

    /// The same for the body: what the worker put into fields that a credential fills is gone, every other byte is
    /// kept. Nothing where that changes nothing. Fails where a field has no place in this body.
    pub fn strip_body<'s>(
        &mut self,
        slots: impl Iterator<Item = &'s Slot>,
        body: &[u8],
    ) -> Result<Option<Bytes>, SignError> {
        body::strip(slots, &self.method, &mut self.headers, body)
    }

    /// Signs with each credential in turn; a later one sees what an earlier one put in. `body` is the worker's, without
    /// what stood in slots.
    pub fn seal(
        mut self,
        steps: &[Step<'_>],
        body: Option<&[u8]>,
        context: &SignContext<'_>,
    ) -> Result<Sealed, SignError> {
        let mut changed: Option<Bytes> = None;
        let mut reframing: Option<Box<Reframing>> = None;
        let mut context = *context;
        for step in steps {
            step.tell(&mut context);
            let kept = step.kept.filter(|_| step.signer.is_constant()).map(|kept| &kept.0);
            let made = kept.map(|kept| kept.load());
            if let Some(made) = made.as_deref().and_then(Option::as_ref)
                && Arc::ptr_eq(&made.0, step.signer)
            {
                self.put(&made.1, body, &mut changed)?;
                continue;
            }
            let signable = self.signable(changed.as_deref().or(body));
            let mut injection = step.signer.sign(&signable, step.keys, &context)?;
            self.put(&injection, body, &mut changed)?;
            reframing = injection.reframing.take().or(reframing);
            if let Some(kept) = kept {
                kept.store(Some(Arc::new((step.signer.clone(), injection))));
            }
        }
        let remade = reframing.as_ref().is_some_and(|made| made.length != Length::AsSent);
        if remade && steps.iter().any(|step| step.signer.covers().body && !step.signer.reframes()) {
            return Err(SignError::Unfit("another credential signs the body, whose chunks leave in another form"));
        }
        Ok(Sealed { draft: self, body: changed, reframing })
    }

    /// For a route that says `credential = "none"`.
    pub fn unsigned(self) -> Sealed {
        Sealed { draft: self, body: None, reframing: None }
    }

    /// The request as signers see it.
    pub fn signable<'a>(&'a self, body: Option<&'a [u8]>) -> Signable<'a> {
        let target = self.target.as_str();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Signable {
            method: self.method.as_str(),
            scheme: if self.tls { "https" } else { "http" },
            host: self.host.as_str(),
            path,
            query,
            headers: &self.headers,
            body,
        }
    }

    /// Puts an injection in; `changed` is the body where an earlier one changed it.
    fn put(
        &mut self,
        injection: &Injection,
        body: Option<&[u8]>,
        changed: &mut Option<Bytes>,
    ) -> Result<(), SignError> {
        self.apply(injection);
        if let Some(change) = &injection.body {
            *changed = Some(self.fill(change, changed.as_deref().or(body).unwrap_or_default())?);
        }
        Ok(())
    }

    /// The body with a signer's fields in it. Length and type are mended.
    pub fn fill(&mut self, change: &BodyChange, body: &[u8]) -> Result<Bytes, SignError> {
        body::fill(change, &mut self.headers, body)
    }

    /// Puts what an injection has for the head in.
    pub fn apply(&mut self, injection: &Injection) {
        for (name, value) in &injection.headers {
            self.headers.insert(name, value.clone());
        }
        for pair in &injection.query {
            let target = self.target.edit();
            target.push(if target.contains('?') { '&' } else { '?' });
            if target.ends_with("?&") {
                target.pop();
            }
            target.push_str(pair);
        }
        if !injection.cookies.is_empty() {
            add_cookies(&mut self.headers, &injection.cookies);
        }
        match injection.reframing.as_ref().map(|reframing| reframing.length) {
            None | Some(Length::AsSent) => {}
            Some(Length::Exact(length)) => drop(self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
            Some(Length::Unknown) => drop(self.headers.remove(CONTENT_LENGTH)),
        }
    }
}

impl Sealed {
    /// What will leave, for `explain`.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The body that leaves in the place of the one that was given to [`Draft::seal`]; nothing where that one leaves.
    pub fn take_body(&mut self) -> Option<Bytes> {
        self.body.take()
    }

    /// How the body must be changed while it leaves; whoever sends it does that.
    pub fn take_reframing(&mut self) -> Option<Box<Reframing>> {
        self.reframing.take()
    }

    /// The request with its body. Fails only when the target is no valid request target.
    pub fn into_request<B>(self, body: B) -> Result<Request<B>, http::Error> {
        let Draft { method, host, target, mut headers, .. } = self.draft;
        headers.insert(HOST, host.into_value());
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target.into_uri()?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Removes a header in any case, and names that a CGI-like server would read as it: `_` for `-`, `HTTP_` before it.
fn strip_header(headers: &mut HeaderMap, name: &HeaderName, twins: Twins) {
    headers.remove(name);
    if twins == Twins::None && !name.as_str().contains('_') {
        return;
    }
    let alike = |other: &HeaderName| looks_like(other.as_str(), name.as_str());
    while let Some(twin) = headers.keys().find(|other| alike(other)).cloned() {
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

/// The target without every parameter that has this decoded name, the other bytes as they are; nothing where there is none.
fn without_query(target: &str, name: &str) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    if !query.split('&').any(|pair| decoded_name_is(pair, name)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !decoded_name_is(pair, name)).collect();
    let kept = kept.join("&");
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") })
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
        let host = Host::new("api.test").unwrap();
        Draft { method: Method::GET, tls: true, host, target: target.into(), headers: map }
    }

    #[test]
    fn a_header_slot_is_emptied_in_every_spelling() {
        let mut draft =
            draft("/", &[("x-api-key", "a"), ("X_Api_Key", "b"), ("HTTP_X_API_KEY", "c"), ("x-api-keys", "d")]);
        draft.strip(&[Slot::Header(HeaderName::from_static("x-api-key"))], Twins::Possible);
        assert_eq!(draft.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-api-keys"]);
    }

    #[test]
    fn a_query_slot_takes_every_spelling_of_its_name_and_leaves_the_rest() {
        let strip = |target: &str| {
            let mut draft = draft(target, &[]);
            draft.strip(&[Slot::Query("key".into())], Twins::Possible);
            draft.target.as_str().to_owned()
        };
        assert_eq!(strip("/a?key=1&b=%2F+x&KEY=2&%6bey=3&key"), "/a?b=%2F+x&KEY=2");
        assert_eq!(strip("/a?key=1"), "/a");
        assert_eq!(strip("/a?"), "/a?");
        assert_eq!(strip("/a?&&b"), "/a?&&b");
    }

    #[test]
    fn a_cookie_slot_keeps_the_other_cookies() {
        let mut draft = draft("/", &[("cookie", "sid=old; a=1"), ("cookie", "b=2;sid=x")]);
        draft.strip(&[Slot::Cookie("sid".into())], Twins::Possible);
        draft.apply(&Injection::cookie("sid=new".into()));
        assert_eq!(draft.headers.get(COOKIE).unwrap(), "a=1; b=2; sid=new");
        assert_eq!(draft.headers.get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn query_parameters_are_appended() {
        let append = |target: &str| {
            let mut draft = draft(target, &[]);
            draft.apply(&Injection::query("k=v".into()));
            draft.target.as_str().to_owned()
        };
        assert_eq!(append("/a"), "/a?k=v");
        assert_eq!(append("/a?x"), "/a?x&k=v");
        assert_eq!(append("/a?"), "/a?k=v");
    }

    #[test]
    fn what_is_kept_belongs_to_one_signer() {
        let signer = |header: &'static str| {
            let slot = Slot::Header(HeaderName::from_static(header));
            let secret = crate::secret::name::NamePattern::parse("key").unwrap();
            Arc::new(Signer::ApiKey(Box::new(crate::sign::api_key::ApiKey::new(secret, slot, String::new()))))
        };
        let (old, new) = (signer("x-old"), signer("x-new"));
        let bytes = crate::secret::value::SecretBytes::new(b"k1".to_vec());
        let keys = [crate::sign::material::Kind::HeaderText.load(&bytes).unwrap()];
        let kept = Kept::default();
        let context = SignContext {
            now: crate::clock::Timestamp::from_seconds(0),
            random: [0; 32],
            fixed_nonce: None,
            tenant: None,
            captures: &[],
            sequence: crate::clock::Sequence::default(),
            access_token: None,
            turn: None,
        };
        for signer in [&old, &old, &new, &new, &old] {
            let step = Step { signer, keys: &keys, kept: Some(&kept) };
            let sealed = draft("/", &[]).seal(&[step], None, &context).unwrap();
            let name = if Arc::ptr_eq(signer, &old) { "x-old" } else { "x-new" };
            let headers = &sealed.draft().headers;
            assert!(headers.len() == 1 && headers[name] == "k1" && headers[name].is_sensitive(), "{headers:?}");
        }
    }
}
