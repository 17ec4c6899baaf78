//! The signature base string (RFC 5849 section 3.4.1).

use zeroize::Zeroizing;

use crate::sign::body::{is_form, pairs, readable};
use crate::sign::{SignError, Signable};
use crate::template::encode;

/// What a signature covers.
pub(super) struct Base {
    /// `METHOD&enc(base URI)&`
    before: String,
    normalised: Zeroizing<String>,
}

impl Base {
    /// The parameters of the query, of a form body and of the protocol, and what stands before them.
    pub(super) fn new(
        request: &Signable<'_>,
        protocol: &[(&'static str, Zeroizing<String>)],
    ) -> Result<Self, SignError> {
        let mut all: Vec<(Vec<u8>, Zeroizing<Vec<u8>>)> = Vec::new();
        let mut add = |text: &[u8]| {
            for pair in pairs(text) {
                let at = pair.iter().position(|byte| *byte == b'=');
                let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
                all.push((encoded(&encode::form_decode(name)), encoded(&encode::form_decode(value)).into()));
            }
        };
        add(request.query.unwrap_or_default().as_bytes());
        if let Some(body) = request.body.filter(|body| !body.is_empty() && is_form(request.headers)) {
            readable(request.headers)?;
            add(body);
        }
        for (name, value) in protocol {
            all.push((encoded(name.as_bytes()), encoded(value.as_bytes()).into()));
        }
        // By encoded name, then by encoded value (section 3.4.1.3.2).
        all.sort_by(|(one, first), (other, second)| (one, &**first).cmp(&(other, &**second)));
        let room = all.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut normalised = Zeroizing::new(String::with_capacity(room));
        for (turn, (name, value)) in all.iter().enumerate() {
            if turn > 0 {
                normalised.push('&');
            }
            normalised.extend(name.iter().copied().map(char::from));
            normalised.push('=');
            normalised.extend(value.iter().copied().map(char::from));
        }
        Ok(Self { before: before(request), normalised })
    }

    /// Section 3.4.1.3.2: `a=1&b=2`.
    pub(super) fn normalised(&self) -> &str {
        &self.normalised
    }

    /// Section 3.4.1.1: the text that is signed.
    pub(super) fn string(&self) -> Zeroizing<String> {
        let mut out = Vec::with_capacity(self.before.len() + 3 * self.normalised.len());
        out.extend_from_slice(self.before.as_bytes());
        encode::url(self.normalised.as_bytes(), &mut out);
        let out = Zeroizing::new(out);
        let mut text = Zeroizing::new(String::with_capacity(out.len()));
        text.extend(out.iter().copied().map(char::from));
        text
    }
}

/// Method and base URI: scheme and host in lower case, no default port, the path as it is sent (section 3.4.1.2).
fn before(request: &Signable<'_>) -> String {
    let host = request.host.to_ascii_lowercase();
    let default = if request.scheme == "https" { ":443" } else { ":80" };
    let uri = format!("{}://{}{}", request.scheme, host.strip_suffix(default).unwrap_or(&host), request.path);
    let mut out = Vec::with_capacity(request.method.len() + 3 * uri.len() + 2);
    out.extend_from_slice(request.method.to_ascii_uppercase().as_bytes());
    out.push(b'&');
    encode::url(uri.as_bytes(), &mut out);
    out.push(b'&');
    out.into_iter().map(char::from).collect()
}

fn encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * text.len());
    encode::url(text, &mut out);
    out
}
