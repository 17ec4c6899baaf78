//! `Content-Digest` (RFC 9530) over the body as it leaves. Caller: `super`.

use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256, Sha512};

use super::structured;
use crate::sign::SignError;
use crate::sign::text::plain;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The hashes that RFC 9530 section 5 calls active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestHash {
    /// `sha-256`
    Sha256,
    /// `sha-512`
    Sha512,
}

impl DigestHash {
    fn of(name: &str) -> Option<Self> {
        match name {
            "sha-256" => Some(Self::Sha256),
            "sha-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn member(self, body: &[u8]) -> String {
        match self {
            Self::Sha256 => format!("sha-256={}", structured::bytes(&Sha256::digest(body))),
            Self::Sha512 => format!("sha-512={}", structured::bytes(&Sha512::digest(body))),
        }
    }
}

/// The field, with the hashes of the worker's own where it has sent one that we know, else with `otherwise`.
pub(super) fn content_digest(
    headers: &HeaderMap,
    body: &[u8],
    otherwise: DigestHash,
) -> Result<HeaderValue, SignError> {
    let lines = headers.get_all(CONTENT_DIGEST).iter().filter_map(|line| line.to_str().ok());
    let members = lines.filter_map(structured::dictionary).flatten();
    let mut hashes: Vec<DigestHash> = Vec::new();
    for hash in members.filter_map(|(name, _)| DigestHash::of(&name)) {
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    if hashes.is_empty() {
        hashes.push(otherwise);
    }
    let all: Vec<String> = hashes.into_iter().map(|hash| hash.member(body)).collect();
    plain(&all.join(", "), CONTENT_DIGEST.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// RFC 9530 appendix B, `{"hello": "world"}` with its line end; RFC 9421 appendix B.2 without one.
    #[test]
    fn digests_are_those_of_the_rfcs() {
        let none = HeaderMap::new();
        let made = content_digest(&none, b"{\"hello\": \"world\"}\n", DigestHash::Sha256).unwrap();
        assert_eq!(made, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
        let made = content_digest(&none, b"{\"hello\": \"world\"}", DigestHash::Sha512).unwrap();
        let wanted =
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
        assert_eq!(made, wanted);
    }

    #[test]
    fn the_hashes_of_the_worker_are_kept_and_its_values_are_not() {
        let with = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_DIGEST, HeaderValue::from_static(line));
            let made = content_digest(&headers, b"x", DigestHash::Sha256).unwrap();
            let members = structured::dictionary(made.to_str().unwrap()).unwrap();
            assert!(!made.to_str().unwrap().contains(":AAAA:"));
            members.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(with("sha-512=:AAAA:"), "sha-512");
        assert_eq!(with("sha-512=:AAAA:, sha-256=:AAAA:, md5=:AAAA:"), "sha-512 sha-256");
        assert_eq!((with("md5=:AAAA:"), with("no digest")), ("sha-256".to_owned(), "sha-256".to_owned()));
    }
}
