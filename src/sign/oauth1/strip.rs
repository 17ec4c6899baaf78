//! What a worker's own OAuth 1.0a signing put into a request, and how it goes. Callers: `seal` and `body`, by
//! [`super::super::Family`]; `spoken`, which reads whom it named.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::sign::target::Target;
use crate::template::encode::form_decode;

/// How the name of every parameter of the protocol begins (RFC 5849 section 3.1).
const PREFIX: &[u8] = b"oauth_";
/// Those that say who calls.
const NAMES: [&str; 2] = ["oauth_consumer_key", "oauth_token"];

/// Whether a parameter of this decoded name is of the protocol.
pub(in crate::sign) fn is_own(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Drops what stands in the head.
pub(in crate::sign) fn head(headers: &mut HeaderMap, target: &mut Target) {
    headers.remove(AUTHORIZATION);
    if let Some(without) = without(target.as_str()) {
        *target = Target::from(without);
    }
}

/// A parameter as it stands, and its decoded name.
type Named<'q> = (&'q str, Cow<'q, [u8]>);

/// The target without parameters of the protocol; nothing where there is none.
///
/// WooCommerce's SDKs sign a URL that has its parameters already, and their HTTP libraries append the same parameters
/// once more. PHP reads the last of two, so that the second copy stays: sent once, signed once.
fn without(target: &str) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let all: Vec<Named<'_>> = query.split('&').map(|pair| (pair, name_of(pair))).collect();
    let first = all.iter().position(|(_, name)| is_own(name))?;
    let others: Vec<&Named<'_>> = all.iter().filter(|(_, name)| !is_own(name)).collect();
    let kept: Vec<&str> = match second_copy(&others) {
        Some(copy) => copy.iter().map(|(pair, _)| *pair).collect(),
        None => {
            let last = all.iter().rposition(|(_, name)| is_own(name))?;
            let behind = all[last..].iter().map(|(_, name)| &**name).filter(|name| !name.is_empty());
            let behind: HashSet<&[u8]> = behind.collect();
            let stays =
                |(at, (_, name)): &(usize, &Named<'_>)| !is_own(name) && (*at > first || !behind.contains(&**name));
            all.iter().enumerate().filter(stays).map(|(_, (pair, _))| *pair).collect()
        }
    };
    let kept = kept.join("&");
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") })
}

/// The second half, where the first has the same parameters in any order and encoding (the SDK for Node). The SDK for
/// Python leaves empty ones out of the first copy; that one stands before the protocol's parameters, the second behind.
fn second_copy<'a, 'q>(others: &'a [&'a Named<'q>]) -> Option<&'a [&'a Named<'q>]> {
    let (first, second) = others.split_at(others.len() / 2);
    let sorted = |half: &[&Named<'q>]| {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> =
            half.iter().map(|(pair, name)| (name.to_vec(), value_of(pair))).collect();
        pairs.sort();
        pairs
    };
    (!first.is_empty() && first.len() == second.len() && sorted(first) == sorted(second)).then_some(second)
}

fn value_of(pair: &str) -> Vec<u8> {
    form_decode(pair.split_once('=').map_or("", |(_, value)| value).as_bytes()).into_owned()
}

fn name_of(pair: &str) -> Cow<'_, [u8]> {
    form_decode(pair.split('=').next().unwrap_or(pair).as_bytes())
}

/// Consumer keys and tokens of every `Authorization: OAuth`.
pub(in crate::sign) fn named(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(AUTHORIZATION).into_iter().filter_map(|line| line.to_str().ok());
    let lists = lines.filter_map(|line| {
        let (scheme, rest) = line.split_once(' ')?;
        scheme.eq_ignore_ascii_case("OAuth").then_some(rest)
    });
    let pairs = lists.flat_map(|list| list.split(',')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, _)| NAMES.contains(&name.trim()));
    ours.map(|(_, value)| String::from_utf8_lossy(&form_decode(value.trim().trim_matches('"').as_bytes())).into_owned())
        .collect()
}

/// The names under which a query says who calls.
pub(in crate::sign) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_family_goes_and_every_other_byte_stays() {
        assert_eq!(without("/x?a=%2F&oauth_nonce=1&b=+&%6fauth_token=t&OAUTH_x=1").unwrap(), "/x?a=%2F&b=+&OAUTH_x=1");
        assert_eq!(without("/x?oauth_nonce"), Some("/x".to_owned()));
        assert_eq!(without("/x?a=1&a=1&"), None);
        assert_eq!(without("/x"), None);
    }

    #[test]
    fn the_second_copy_of_a_signed_url_is_the_one_that_stays() {
        let sent = "/p?page=2&q=a+b&oauth_consumer_key=k&oauth_signature=s&page=2&q=a%20b";
        assert_eq!(without(sent).unwrap(), "/p?page=2&q=a%20b");
        let sent = "/p?a=1&b[]=2&p=3&a=1&b%5B%5D=2&oauth_nonce=n&p=3&oauth_signature=s";
        assert_eq!(without(sent).unwrap(), "/p?a=1&b%5B%5D=2&p=3");
        assert_eq!(without("/p?a=1&oauth_nonce=n&a=1&empty=").unwrap(), "/p?a=1&empty=");
        // What is there once stays, wherever it stands; so does what comes twice on one side.
        assert_eq!(without("/p?id=1&id=2&oauth_nonce=n&z=1&z=1").unwrap(), "/p?id=1&id=2&z=1&z=1");
        assert_eq!(without("/p?a=1&oauth_nonce=n&b=2&oauth_x=y&a=3&b=4").unwrap(), "/p?b=2&a=3&b=4");
    }

    #[test]
    fn a_header_says_who_calls() {
        let mut headers = HeaderMap::new();
        let line = "OAuth realm=\"x\", oauth_consumer_key=\"m%31\",oauth_token=\"t\", oauth_nonce=\"n\"";
        headers.append(AUTHORIZATION, line.parse().unwrap());
        headers.append(AUTHORIZATION, "Basic b2F1dGhfdG9rZW49eA==".parse().unwrap());
        assert_eq!(named(&headers), ["m1", "t"]);
    }
}
