//! `digest`: RFC 7616, and RFC 2069 and 2617 for servers of their time.
//!
//! The upstream asks first: what it asks is a [`Challenge`], under which [`Turn`]s count. With a turn this signs; without
//! one nothing is put in, and the answer to that request is the challenge. Who asks, waits and sends again is the
//! request path's (`proxy::challenge`); what is known of an upstream lies in [`Nonces`] beside the secrets.

mod challenge;
mod nonces;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::account::Account;
use super::basic::PublicValue;
use super::material::Material;
use super::text::{mask, sensitive};
use super::{Injection, Requirement, SignContext, SignError, Signable, Transcript};
use crate::secret::name::NamePattern;
use crate::template::encode;
pub use challenge::Challenge;
use challenge::{Hash, Qop};
pub use nonces::{At, Known, Nonces, Turn};

/// `digest = { username, password }`
#[derive(Debug)]
pub struct Digest(Account);

/// What goes into the header beside the challenge's own.
struct Response {
    uri: String,
    count: String,
    cnonce: String,
    /// The digest of method and target, as [`Response::digest`] in hexadecimal.
    asked: Zeroizing<String>,
    digest: Zeroizing<String>,
}

/// How the user is named in the header.
#[derive(Clone, Copy)]
enum User<'a> {
    /// As the challenge wants it.
    Real(&'a str),
    /// By what stands for a secret name where people read.
    Shown(&'a str),
}

impl Digest {
    /// A user and a password. A literal user name has no `:` and no control characters (the caller checked).
    pub fn new(username: PublicValue, password: NamePattern) -> Self {
        Self(Account::new(username, password))
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        self.0.requirements()
    }

    /// `Authorization: Digest ..`; nothing where the upstream has not asked yet.
    pub(super) fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let Some(turn) = context.turn else { return Ok(Injection::default()) };
        let (username, password) = self.0.read(keys)?;
        let response = Response::new(username, password, request, turn, context);
        fill(&response.header(User::Real(username), &turn.known.challenge))
    }

    /// The same for people to read: the name of the secret stands where a user name is secret.
    pub(super) fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let Some(turn) = context.turn else { return Ok(Injection::default()) };
        let (username, password) = self.0.read(keys)?;
        let response = Response::new(username, password, request, turn, context);
        let shown = self.shown_username();
        let user = if self.0.public_username().is_some() { User::Real(username) } else { User::Shown(&shown) };
        fill(&response.header(user, &turn.known.challenge))
    }

    /// What is digested: the user's line and the request's; then the line that both digests stand in. `[H(1)]` stands
    /// for the digest of the first line, which is worth as much as the password, and `<NAME>` for what only a challenge
    /// tells.
    pub(super) fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Transcript, SignError> {
        let (user, uri, method) = (self.shown_username(), target(request), request.method);
        let password = self.requirements().last().map(|last| mask(last.pattern.as_str())).unwrap_or_default();
        let Some(turn) = context.turn else {
            let text = format!("{user}:<realm>:{password}\n{method}:{uri}");
            let string_to_sign = "[H(1)]:<nonce>:<nc>:<cnonce>:<qop>:<H(2)>".to_owned();
            return Ok(Transcript { text, string_to_sign });
        };
        let challenge = &turn.known.challenge;
        let (name, secret) = self.0.read(keys)?;
        let Response { count, cnonce, asked, .. } = Response::new(name, secret, request, turn, context);
        let (realm, nonce) = (readable(&challenge.realm), readable(&challenge.nonce));
        let mut text = format!("{user}:{realm}:{password}\n");
        let mut key = "[H(1)]";
        if challenge.session {
            text.push_str(&format!("{key}:{nonce}:{cnonce}\n"));
            key = "[H(2)]";
        }
        text.push_str(&format!("{method}:{uri}"));
        let string_to_sign = match challenge.qop {
            Qop::Auth => format!("{key}:{nonce}:{count}:{cnonce}:auth:{}", *asked),
            Qop::Unsaid => format!("{key}:{nonce}:{}", *asked),
        };
        Ok(Transcript { text, string_to_sign })
    }

    fn shown_username(&self) -> Cow<'_, str> {
        match (self.0.public_username(), self.requirements().first()) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, first) => Cow::Owned(first.map(|first| mask(first.pattern.as_str())).unwrap_or_default()),
        }
    }
}

fn fill(value: &[u8]) -> Result<Injection, SignError> {
    Ok(Injection::header(AUTHORIZATION, sensitive(value, AUTHORIZATION.as_str())?))
}

fn target(request: &Signable<'_>) -> String {
    match request.query {
        None => request.path.to_owned(),
        Some(query) => format!("{}?{query}", request.path),
    }
}

fn readable(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl Response {
    /// RFC 7616 sections 3.4.1 to 3.4.3; without `qop` RFC 2069 section 2.1.2.
    fn new(username: &str, password: &str, request: &Signable<'_>, turn: &Turn, context: &SignContext<'_>) -> Self {
        let challenge = &turn.known.challenge;
        let (hash, nonce) = (challenge.hash, &*challenge.nonce);
        // A session's key is made with the client nonce of its first request: all of a nonce have the same.
        let cnonce = match (context.fixed_nonce, challenge.session) {
            (Some(fixed), _) => fixed.to_owned(),
            (None, true) => hexadecimal(&turn.known.session),
            (None, false) => hexadecimal(&context.random[..16]),
        };
        let mut key = hash.of(&[username.as_bytes(), &challenge.realm, password.as_bytes()]);
        if challenge.session {
            key = hash.of(&[key.as_bytes(), nonce, cnonce.as_bytes()]);
        }
        let uri = target(request);
        let asked = hash.of(&[request.method.as_bytes(), uri.as_bytes()]);
        let count = format!("{:08x}", turn.count);
        let digest = match challenge.qop {
            Qop::Auth => {
                hash.of(&[key.as_bytes(), nonce, count.as_bytes(), cnonce.as_bytes(), b"auth", asked.as_bytes()])
            }
            Qop::Unsaid => hash.of(&[key.as_bytes(), nonce, asked.as_bytes()]),
        };
        Self { uri, count, cnonce, asked, digest }
    }

    /// The parameters in the order of the examples of RFC 7616 section 3.9, with quotes where section 3.4 wants them.
    fn header(&self, user: User<'_>, challenge: &Challenge) -> Vec<u8> {
        let mut out = b"Digest ".to_vec();
        match user {
            User::Shown(name) => quoted(&mut out, "username", name.as_bytes()),
            User::Real(name) if challenge.userhash => {
                quoted(&mut out, "username", challenge.hash.of(&[name.as_bytes(), &challenge.realm]).as_bytes());
            }
            // Section 3.4: RFC 5987, which only who knows of charsets understands.
            User::Real(name) if challenge.utf8 && !name.is_ascii() => {
                out.extend_from_slice(b"username*=UTF-8''");
                encode::url(name.as_bytes(), &mut out);
            }
            User::Real(name) => quoted(&mut out, "username", name.as_bytes()),
        }
        let counted = challenge.qop == Qop::Auth;
        add_quoted(&mut out, "realm", &challenge.realm);
        add_quoted(&mut out, "uri", self.uri.as_bytes());
        if let Some(algorithm) = &challenge.algorithm {
            add(&mut out, "algorithm", algorithm);
        }
        add_quoted(&mut out, "nonce", &challenge.nonce);
        if counted {
            add(&mut out, "nc", self.count.as_bytes());
        }
        if counted || challenge.session {
            add_quoted(&mut out, "cnonce", self.cnonce.as_bytes());
        }
        if counted {
            add(&mut out, "qop", b"auth");
        }
        add_quoted(&mut out, "response", self.digest.as_bytes());
        if let Some(opaque) = &challenge.opaque {
            add_quoted(&mut out, "opaque", opaque);
        }
        if challenge.userhash {
            add(&mut out, "userhash", b"true");
        }
        out
    }
}

fn add(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [b", ", name.as_bytes(), b"=", value] {
        out.extend_from_slice(part);
    }
}

fn add_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b", ");
    quoted(out, name, value);
}

fn quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    encode::hex(bytes, &mut out);
    out.into_iter().map(char::from).collect()
}

impl Hash {
    /// The digest of the parts with `:` between them, in lower-case hexadecimal.
    fn of(self, parts: &[&[u8]]) -> Zeroizing<String> {
        match self {
            Self::Md5 => digest::<md5::Md5>(parts),
            Self::Sha256 => digest::<sha2::Sha256>(parts),
            Self::Sha512To256 => digest::<sha2::Sha512_256>(parts),
        }
    }
}

fn digest<D: sha2::Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut running = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            running.update(b":");
        }
        running.update(part);
    }
    Zeroizing::new(hexadecimal(&running.finalize()))
}
