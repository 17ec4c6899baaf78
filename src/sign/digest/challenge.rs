//! Challenges: `WWW-Authenticate` as upstreams really write it (RFC 9110 section 11.6.1, RFC 7616 section 3.3), and of
//! several the one to answer. Reads bytes that anybody may have written: bounded, and never an error; what cannot be
//! read is no challenge. Caller: the request path, `explain`.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Bytes of one answer's challenges that are read; what follows is not.
const READ: usize = 16 * 1024;
/// Most challenges and, in one of them, parameters.
const MOST: usize = 32;
/// The longest realm, nonce or opaque in bytes: they come back in a header of every request.
const LONGEST: usize = 4096;

/// A Digest challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub(super) realm: Box<[u8]>,
    pub(super) nonce: Box<[u8]>,
    pub(super) opaque: Option<Box<[u8]>>,
    pub(super) hash: Hash,
    /// `-sess`: the key is bound to the nonce.
    pub(super) session: bool,
    /// `algorithm` as it was written; nothing where it was not.
    pub(super) algorithm: Option<Box<[u8]>>,
    pub(super) qop: Qop,
    /// The name of the user is to be sent as a digest.
    pub(super) userhash: bool,
    /// `charset=UTF-8`
    pub(super) utf8: bool,
    /// The nonce was too old; the answer itself was right.
    pub(super) stale: bool,
}

/// The digest of a challenge; a later one is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Md5,
    Sha256,
    Sha512To256,
}

/// What is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qop {
    /// Nothing was said: RFC 2069, without a counter.
    Unsaid,
    /// `auth`
    Auth,
}

impl Challenge {
    /// The challenge to answer: of those that can be answered the one with the strongest digest, of equal ones the
    /// first (they stand in the order of the server's preference).
    pub fn strongest(headers: &HeaderMap) -> Option<Self> {
        let mut left = READ;
        let mut best: Option<Self> = None;
        for line in headers.get_all(WWW_AUTHENTICATE) {
            let line = line.as_bytes();
            let Some(rest) = left.checked_sub(line.len()) else { break };
            left = rest;
            for said in said(line) {
                let Some(one) = Self::of(&said) else { continue };
                if best.as_ref().is_none_or(|best| best.hash < one.hash) {
                    best = Some(one);
                }
            }
        }
        best
    }

    /// Whether the answer was right and its nonce alone too old (RFC 7616 section 3.3).
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The same with another nonce (`nextnonce`, RFC 7616 section 3.5); nothing where it cannot be sent.
    pub(super) fn with_nonce(&self, nonce: &[u8]) -> Option<Self> {
        let nonce = sendable(nonce)?;
        Some(Self { nonce, stale: false, ..self.clone() })
    }

    fn of(said: &Said<'_>) -> Option<Self> {
        if !said.scheme.eq_ignore_ascii_case(b"digest") {
            return None;
        }
        let get = |name: &str| said.get(name);
        let yes = |name: &str| get(name).is_some_and(|value| value.eq_ignore_ascii_case(b"true"));
        let algorithm = get("algorithm");
        let (hash, session) = algorithm.map_or(Some((Hash::Md5, false)), algorithm_of)?;
        let opaque = match get("opaque") {
            Some(opaque) => Some(sendable(opaque)?),
            None => None,
        };
        Some(Self {
            realm: sendable(get("realm")?)?,
            nonce: sendable(get("nonce")?)?,
            opaque,
            hash,
            session,
            algorithm: algorithm.map(Into::into),
            qop: qop_of(get("qop"))?,
            userhash: yes("userhash"),
            utf8: get("charset").is_some_and(|value| value.eq_ignore_ascii_case(b"utf-8")),
            stale: yes("stale"),
        })
    }
}

/// `nextnonce` of an `Authentication-Info` (RFC 7616 section 3.5), where there is one.
pub(super) fn next_nonce(headers: &HeaderMap) -> Option<Vec<u8>> {
    let line = headers.get("authentication-info")?.as_bytes();
    let mut reader = Reader { rest: line.get(..line.len().min(READ))? };
    for _ in 0..MOST {
        reader.skip_commas();
        let name = reader.token()?;
        let value = reader.value()?;
        if name.eq_ignore_ascii_case(b"nextnonce") {
            return Some(value);
        }
    }
    None
}

fn algorithm_of(name: &[u8]) -> Option<(Hash, bool)> {
    const KNOWN: [(&str, Hash); 3] =
        [("MD5", Hash::Md5), ("SHA-256", Hash::Sha256), ("SHA-512-256", Hash::Sha512To256)];
    let cut = name.len().saturating_sub("-sess".len());
    let (base, session) = match name.split_at(cut) {
        (base, end) if end.eq_ignore_ascii_case(b"-sess") => (base, true),
        _ => (name, false),
    };
    KNOWN.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(base)).map(|(_, hash)| (*hash, session))
}

/// Only `auth` is answered; a challenge that wants the body covered, too, is not.
fn qop_of(value: Option<&[u8]>) -> Option<Qop> {
    let Some(value) = value.filter(|value| !value.trim_ascii().is_empty()) else { return Some(Qop::Unsaid) };
    let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.any(|word| word.eq_ignore_ascii_case(b"auth")).then_some(Qop::Auth)
}

/// What may stand in a quoted string that is sent back.
fn sendable(value: &[u8]) -> Option<Box<[u8]>> {
    let good = value.len() <= LONGEST && !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    good.then(|| value.into())
}

/// One challenge as it was written.
struct Said<'l> {
    scheme: &'l [u8],
    parameters: Vec<(&'l [u8], Vec<u8>)>,
}

impl Said<'_> {
    /// The first parameter of this name.
    fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// Every challenge of a line, as far as it can be read.
fn said(line: &[u8]) -> Vec<Said<'_>> {
    let mut reader = Reader { rest: line };
    let mut all: Vec<Said<'_>> = Vec::new();
    while all.len() < MOST {
        reader.skip_commas();
        let Some(word) = reader.token() else { break };
        let after_word = reader.rest;
        reader.skip_space();
        // A word and `=` is a parameter of the challenge before it; any other begins a challenge.
        if reader.rest.first() == Some(&b'=') && !all.is_empty() {
            let Some(value) = reader.value() else { break };
            if let Some(last) = all.last_mut().filter(|last| last.parameters.len() < MOST) {
                last.parameters.push((word, value));
            }
            continue;
        }
        reader.rest = after_word;
        all.push(Said { scheme: word, parameters: Vec::new() });
        reader.skip_token68();
    }
    all
}

/// Reads from the left.
struct Reader<'l> {
    rest: &'l [u8],
}

impl<'l> Reader<'l> {
    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'l [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    /// Lists may have empty members (RFC 9110 section 5.6.1).
    fn skip_commas(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b','));
    }

    fn token(&mut self) -> Option<&'l [u8]> {
        let token = self.skip_while(is_token);
        (!token.is_empty()).then_some(token)
    }

    /// `= VALUE`, a token or a quoted string whose escapes are taken off. Some servers leave the quotes off where a value
    /// is no token, as a nonce in base64: such a value ends at a comma or a space.
    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(b"=")?;
        self.skip_space();
        let Some(quoted) = self.rest.strip_prefix(b"\"") else {
            return Some(self.skip_while(|byte| !matches!(byte, b' ' | b'\t' | b',' | b'"')).to_vec());
        };
        let mut value = Vec::new();
        let mut bytes = quoted.iter().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                b'\\' => value.push(*bytes.next()?.1),
                other => value.push(*other),
            }
        }
        // The quote never ends: nothing after it can be told apart.
        self.rest = &[];
        None
    }

    /// After the name of a scheme: `Negotiate oYG2==` has no parameters but one text.
    fn skip_token68(&mut self) {
        let before = self.rest;
        self.skip_space();
        let start = self.rest;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'));
        self.skip_while(|byte| byte == b'=');
        self.skip_space();
        let is_one = self.rest.len() < start.len() && matches!(self.rest.first(), None | Some(b','));
        // `Basic, Digest ..` and `Digest realm=..`: what follows is not a text of this scheme.
        if !is_one || before.len() == start.len() {
            self.rest = before;
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        map
    }

    fn strongest(lines: &[&str]) -> Option<Challenge> {
        Challenge::strongest(&headers(lines))
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    /// RFC 7616 section 3.9.1.
    const RFC: [&str; 2] = [
        r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
        r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
    ];

    #[test]
    fn the_strongest_of_several_is_taken_from_many_lines_or_one() {
        let joined = RFC.join(", ");
        let reversed = [RFC[1], RFC[0]];
        for lines in [&RFC[..], &reversed, &[&*joined], &["Basic realm=\"x\"", &joined, "Negotiate"]] {
            let one = strongest(lines).unwrap();
            assert_eq!((one.hash, one.session, one.qop), (Hash::Sha256, false, Qop::Auth));
            assert_eq!(text(&one.realm), "http-auth@example.org");
            assert_eq!(text(&one.nonce), "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
            assert_eq!(text(one.opaque.as_deref().unwrap()), "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS");
            assert_eq!(text(one.algorithm.as_deref().unwrap()), "SHA-256");
        }
    }

    #[test]
    fn of_equal_ones_the_first_is_taken_and_unknown_ones_are_left() {
        let one = strongest(&[
            r#"Digest realm="a", nonce="1", algorithm=SHA-512, Digest realm="b", nonce="2", algorithm=MD5-sess"#,
            r#"Digest realm="c", nonce="3""#,
        ]);
        assert_eq!(text(&one.unwrap().realm), "b");
        assert_eq!(
            strongest(&[r#"Digest realm="a", nonce="1", qop="auth-int""#]),
            None,
            "the body is not covered here"
        );
        assert_eq!(strongest(&[r#"Digest realm="a""#, "Digest", "Basic realm=\"x\", nonce=\"1\"", ""]), None);
    }

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let one = strongest(&[
            r#"NEGOTIATE oYG2MIGz==, , dIgEsT  rEaLm = "a \"b\", nonce=\"no\" \\c" ,NONCE=abc==,stale=TRUE, charset=utf-8,userhash=true , opaque="",qop=auth,x=y, Basic realm="z""#,
        ]);
        let one = one.unwrap();
        assert_eq!(text(&one.realm), r#"a "b", nonce="no" \c"#);
        assert_eq!((text(&one.nonce), one.opaque.as_deref()), ("abc==", Some(&b""[..])));
        assert!(one.is_stale() && one.userhash && one.utf8 && one.qop == Qop::Auth && one.algorithm.is_none());
        let plain = strongest(&[r#"Digest realm="r", nonce="n", stale=false, qop="""#]).unwrap();
        assert!(!plain.is_stale() && !plain.userhash && !plain.utf8 && plain.qop == Qop::Unsaid);
        assert_eq!((plain.hash, plain.session), (Hash::Md5, false), "no algorithm means MD5");
    }

    #[test]
    fn a_realm_may_have_any_text() {
        let realm = "caf\u{e9} M\u{fc}nchen";
        let one = strongest(&[&format!(r#"Digest realm="{realm}", nonce="n""#)]).unwrap();
        assert_eq!(text(&one.realm), realm);
        let mut latin = HeaderMap::new();
        latin.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(b"Digest realm=\"caf\xe9\", nonce=\"n\"").unwrap());
        assert_eq!(&*Challenge::strongest(&latin).unwrap().realm, b"caf\xe9");
    }

    #[test]
    fn what_is_broken_or_endless_is_no_challenge() {
        for bad in [
            r#"Digest realm="a, nonce="n"#,
            r#"Digest realm="a", nonce="n\"#,
            r#"Digest realm="a" nonce"#,
            "=, \"=\", Digest",
            "\"",
        ] {
            assert_eq!(strongest(&[bad]), None, "{bad}");
        }
        let long = format!(r#"Digest realm="a", nonce="{}""#, "n".repeat(LONGEST + 1));
        assert_eq!(strongest(&[&long]), None);
        let many = "x=y, ".repeat(READ);
        assert_eq!(strongest(&[&many, RFC[0]]), None, "no more is read than that");
        // What came whole before the broken part counts.
        assert!(strongest(&[r#"Digest realm="a", nonce="n", opaque="never ends"#]).is_some());
    }

    #[test]
    fn the_next_nonce_is_found() {
        let next = |line: &'static str| {
            let mut map = HeaderMap::new();
            map.insert("authentication-info", HeaderValue::from_static(line));
            next_nonce(&map)
        };
        let rfc = "qop=auth, rspauth=\"b3\", cnonce=\"x\", nc=00000001, nextnonce=\"a\\\"b\"";
        assert_eq!(next(rfc).as_deref(), Some(&b"a\"b"[..]));
        assert_eq!(next("rspauth=\"nextnonce=1\""), None);
        assert_eq!(next("nextnonce"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(0x20_u8..0xff, 0..400)) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                map.append(WWW_AUTHENTICATE, value.clone());
                map.append("authentication-info", value);
            }
            let _ = (Challenge::strongest(&map), next_nonce(&map));
        }
    }
}
