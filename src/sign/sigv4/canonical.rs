//! The canonical request of Signature Version 4: what is signed of a request whose wire form stays as it is.

use http::{HeaderMap, HeaderName};

use crate::template::encode;

/// How a service reads paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paths {
    /// S3 and its relatives: a key may hold anything, so that nothing is removed, and escapes are those of the wire.
    Objects,
    /// All others: `.`, `..` and empty segments are removed, and what is on the wire is encoded once more.
    Resources,
    /// Segments are removed as for others and escapes are those of the wire, which no service does: AWS's own suite
    /// has its paths that way.
    #[cfg(test)]
    Suite,
    /// The same, and no segment is removed.
    #[cfg(test)]
    SuiteAsSent,
}

impl Paths {
    /// The rules of a service, by the name that it is signed with.
    pub(super) fn of(service: &str) -> Self {
        match service {
            "s3" | "s3-object-lambda" | "s3-outposts" | "s3express" => Self::Objects,
            _ => Self::Resources,
        }
    }
}

/// What a canonical request is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) paths: Paths,
    /// The query as sent, and what will be appended to it.
    pub(super) query: [&'a str; 2],
    pub(super) headers: &'a Headers<'a>,
    /// The last line: a digest in hexadecimal, or a word in its place.
    pub(super) payload: &'a str,
}

impl Canonical<'_> {
    /// The whole text.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b'\n');
        path(self.path, self.paths, out);
        out.push(b'\n');
        query(&self.query, out);
        out.push(b'\n');
        self.headers.write(out);
        out.push(b'\n');
        self.headers.names(out);
        out.push(b'\n');
        out.extend_from_slice(self.payload.as_bytes());
    }
}

/// The headers that are signed, sorted by name.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    sent: &'a HeaderMap,
    signed: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Headers<'a> {
    /// `host`, `content-type`, every `x-amz-*` and those of `more` that the request has; `made` are set by the signer
    /// and win over what was sent.
    pub(super) fn new(
        sent: &'a HeaderMap,
        host: &'a str,
        made: &[(&'static str, &'a str)],
        more: &[HeaderName],
    ) -> Self {
        let mut signed: Vec<(&str, Option<&str>)> = Vec::with_capacity(made.len() + 8);
        signed.push(("host", Some(host)));
        signed.extend(made.iter().map(|&(name, value)| (name, Some(value))));
        for name in sent.keys() {
            let text = name.as_str();
            let wanted = text == "content-type" || text.starts_with("x-amz-") || more.contains(name);
            if wanted && text != "host" && !made.iter().any(|(made, _)| *made == text) {
                signed.push((text, None));
            }
        }
        signed.sort_unstable_by_key(|(name, _)| *name);
        Self { sent, signed }
    }

    /// `name;name`, as they stand in the text and beside the signature.
    pub(super) fn names(&self, out: &mut Vec<u8>) {
        for (index, (name, _)) in self.signed.iter().enumerate() {
            if index > 0 {
                out.push(b';');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, made) in &self.signed {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            match made {
                Some(value) => words(value.as_bytes(), out),
                None => {
                    for (index, value) in self.sent.get_all(*name).iter().enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        words(value.as_bytes(), out);
                    }
                }
            }
            out.push(b'\n');
        }
    }
}

/// A header's value without white space around it, and one space for each run of it within.
fn words(value: &[u8], out: &mut Vec<u8>) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut first = true;
    for word in value.split(blank).filter(|word| !word.is_empty()) {
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

fn path(path: &str, rules: Paths, out: &mut Vec<u8>) {
    match rules {
        Paths::Objects => segment(path, Escapes::AsSent, out),
        #[cfg(test)]
        Paths::SuiteAsSent => segment(path, Escapes::AsSent, out),
        Paths::Resources => resources(path, Escapes::Twice, out),
        #[cfg(test)]
        Paths::Suite => resources(path, Escapes::AsSent, out),
    }
}

/// RFC 3986 section 5.2.4, and empty segments go too. A `..` at the end leaves no slash, as in AWS's own libraries.
fn resources(path: &str, escapes: Escapes, out: &mut Vec<u8>) {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    for part in &kept {
        out.push(b'/');
        segment(part, escapes, out);
    }
    if kept.is_empty() || path.ends_with('/') {
        out.push(b'/');
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Decoded, and encoded once in the canonical spelling.
    AsSent,
    /// Taken for literal text and encoded again.
    Twice,
}

/// Percent-encodes a part of a path; `/` stays.
fn segment(text: &str, escapes: Escapes, out: &mut Vec<u8>) {
    let byte = |byte: u8, out: &mut Vec<u8>| if byte == b'/' { out.push(byte) } else { encode::url(&[byte], out) };
    match escapes {
        Escapes::Twice => text.bytes().for_each(|one| byte(one, out)),
        Escapes::AsSent => decoded(text.as_bytes(), |one| byte(one, out)),
    }
}

/// Each byte of a percent-encoded text; a `%` that begins no pair of digits stands for itself, and so does `+`.
fn decoded(text: &[u8], mut each: impl FnMut(u8)) {
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        let pair = match (byte, more) {
            (b'%', [high, low, ..]) => encode::nibble(*high).zip(encode::nibble(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                each(high << 4 | low);
                rest = &more[2..];
            }
            None => {
                each(byte);
                rest = more;
            }
        }
    }
}

/// Every parameter in canonical spelling, sorted by name and then value, both encoded; empty ones between two `&` are none.
fn query(parts: &[&str], out: &mut Vec<u8>) {
    let pairs = || parts.iter().flat_map(|part| part.split('&')).filter(|pair| !pair.is_empty());
    let mut text = Vec::new();
    let mut places: Vec<[usize; 3]> = Vec::new();
    for pair in pairs() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let start = text.len();
        decoded(name.as_bytes(), |byte| encode::url(&[byte], &mut text));
        let middle = text.len();
        decoded(value.as_bytes(), |byte| encode::url(&[byte], &mut text));
        places.push([start, middle, text.len()]);
    }
    places.sort_by_key(|&[start, middle, end]| (&text[start..middle], &text[middle..end]));
    for (index, &[start, middle, end]) in places.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(&text[start..middle]);
        out.push(b'=');
        out.extend_from_slice(&text[middle..end]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    // Expected values: botocore 1.44.8, `SigV4Auth` and `S3SigV4Auth` with these as paths and queries of the URL.
    #[test]
    fn paths_of_resources_and_of_objects() {
        for (wire, resources, objects) in [
            ("/", "/", "/"),
            ("/a/./b/../c", "/a/c", "/a/./b/../c"),
            ("/a//b/", "/a/b/", "/a//b/"),
            ("/..", "/", "/.."),
            ("/a/..", "/", "/a/.."),
            ("/a/b/.", "/a/b", "/a/b/."),
            ("/a%20b", "/a%2520b", "/a%20b"),
            ("/%C3%A9", "/%25C3%25A9", "/%C3%A9"),
            ("/a;b", "/a%3Bb", "/a%3Bb"),
            ("/a~b", "/a~b", "/a~b"),
        ] {
            assert_eq!(made(|out| path(wire, Paths::Resources, out)), resources, "{wire}");
            assert_eq!(made(|out| path(wire, Paths::Objects, out)), objects, "{wire}");
        }
        // The wire spells these in another way than the service, which reads the key and encodes it once.
        for (wire, objects) in
            [("/%c3%a9", "/%C3%A9"), ("/%7e", "/~"), ("/100%", "/100%25"), ("/a%2Fb", "/a/b"), ("/a+b", "/a%2Bb")]
        {
            assert_eq!(made(|out| path(wire, Paths::Objects, out)), objects, "{wire}");
        }
    }

    #[test]
    fn queries_are_spelled_alike_and_sorted() {
        for (wire, canonical) in [
            ("", ""),
            ("acl", "acl="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a.b=1&a-b=2&a=3", "a=3&a-b=2&a.b=1"),
            ("x=a+b", "x=a%2Bb"),
            ("x=%zz%4", "x=%25zz%254"),
            ("x=%7e%2a", "x=~%2A"),
            ("x=a=b", "x=a%3Db"),
            ("&&a&", "a="),
            ("%C3%A9=1&a=2", "%C3%A9=1&a=2"),
        ] {
            assert_eq!(made(|out| query(&[wire, ""], out)), canonical, "{wire}");
        }
        assert_eq!(made(|out| query(&["b=1", "X-Amz-Date=2&a"], out)), "X-Amz-Date=2&a=&b=1");
    }

    proptest! {
        #[test]
        fn canonical_forms_are_idempotent(wire in "/[ -~]{0,40}", text in "[ -~]{0,40}") {
            let once = made(|out| path(&wire, Paths::Objects, out));
            prop_assert_eq!(made(|out| path(&once, Paths::Objects, out)), once);
            let once = made(|out| query(&[&text, ""], out));
            prop_assert_eq!(made(|out| query(&[&once, ""], out)), once);
        }
    }
}
