#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// What the guard said of bytes that came in these pieces.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Between,
    InHead,
    InBody,
    Refused(Part),
}

fn verdict<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Verdict {
    let mut guard = Guard::default();
    for piece in pieces {
        if let Err(violation) = guard.watch(piece) {
            assert!(violation.good < piece.len());
            return Verdict::Refused(violation.part);
        }
    }
    match (guard.is_in_head(), guard.is_in_body()) {
        (false, false) => Verdict::Between,
        (true, false) => Verdict::InHead,
        (false, true) => Verdict::InBody,
        (true, true) => unreachable!(),
    }
}

/// Where messages end, byte by byte.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut guard = Guard::default();
    let mut ends = Vec::new();
    let mut inside = false;
    for (at, byte) in bytes.chunks(1).enumerate() {
        guard.watch(byte).unwrap();
        let was_inside = std::mem::replace(&mut inside, guard.is_in_head() || guard.is_in_body());
        if was_inside && !inside {
            ends.push(at + 1);
        }
    }
    ends
}

/// The same whole, split once anywhere, and in single bytes.
fn check(bytes: &[u8], expected: Verdict) {
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(verdict([bytes]), expected, "{shown:?}");
    for at in 1..bytes.len() {
        let (one, two) = bytes.split_at(at);
        assert_eq!(verdict([one, two]), expected, "{shown:?} split at {at}");
    }
    assert_eq!(verdict(bytes.chunks(1)), expected, "{shown:?} byte by byte");
}

const HEAD: Verdict = Verdict::Refused(Part::Head);
const BODY: Verdict = Verdict::Refused(Part::Body);

#[test]
fn heads() {
    let table: &[(&str, Verdict)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Verdict::Between),
        ("GET / HTTP/1.1\r\n\r\n", Verdict::Between),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Verdict::Between),
        ("GET / HTTP/1.1\r\nA: b\tc\r\nB:\r\nC: \u{fc}\r\n\r\n", Verdict::Between),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Verdict::InHead),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", Verdict::InHead),
        ("GET /", Verdict::InHead),
        ("\r", Verdict::InHead),
        ("\r\n", Verdict::InHead),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Verdict::Between),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Verdict::Between),
        ("POST / HTTP/1.1\r\ncontent-LENGTH:\t 3 \t\r\n\r\nab", Verdict::InBody),
        ("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\0\n#", Verdict::Between),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n\r\nG", Verdict::InHead),
        ("GET / HTTP/1.1\r\nContent-Lengths: x\r\nX-Transfer-Encoding: gzip\r\nTransfer: #\r\n\r\n", Verdict::Between),
        // Line ends.
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", HEAD),
        ("GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", HEAD),
        ("\nGET / HTTP/1.1\r\n\r\n", HEAD),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", HEAD),
        // Bytes.
        ("GET /#a HTTP/1.1\r\n\r\n", HEAD),
        ("\r\nGET /#a HTTP/1.1\r\n\r\n", HEAD),
        ("GET /\0 HTTP/1.1\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nA: \0\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nA: \x1b\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", HEAD),
        ("GET / HTTP/1.1\r\n A: b\r\n\r\n", HEAD),
        // Framing.
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nconTent-length: 0\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 3 3\r\n\r\nabc", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\nabc", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", HEAD),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\n", HEAD),
    ];
    for (bytes, expected) in table {
        let expected = match expected {
            Verdict::Refused(part) => Verdict::Refused(*part),
            Verdict::Between => Verdict::Between,
            Verdict::InHead => Verdict::InHead,
            Verdict::InBody => Verdict::InBody,
        };
        check(bytes.as_bytes(), expected);
    }
}

#[test]
fn framing_lines_longer_than_what_is_kept_are_refused() {
    let padded = |name: &str, value: &str, count: usize| {
        format!("POST / HTTP/1.1\r\n{name}:{}{value}\r\n\r\n", " ".repeat(count)).into_bytes()
    };
    check(&padded("Content-Length", "0", 48), Verdict::Between);
    check(&padded("Content-Length", "0", 49), HEAD);
    check(&padded("Transfer-Encoding", "chunked", 39), Verdict::InBody);
    check(&padded("Transfer-Encoding", "chunked", 40), HEAD);
    check(&padded("X", "y", 300), Verdict::Between);
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn chunked_bodies() {
    let table: &[(&str, Verdict)] = &[
        ("0\r\n\r\n", Verdict::Between),
        ("3\r\nabc\r\n0\r\n\r\n", Verdict::Between),
        ("A\r\n0123456789\r\na\r\n\r\n0\r\n\r\n\r\n\0\r\n000\r\n\r\n", Verdict::Between),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", Verdict::Between),
        ("3;a=b;c=\"d\te\"\r\nabc\r\n0;x\r\n\r\n", Verdict::Between),
        ("0\r\nA: b\r\nC:\r\n\r\n", Verdict::Between),
        ("0\r\n\r\nGET / HTTP/1.1\r\n\r\n", Verdict::Between),
        ("3\r\nabc\r\n0\r\n\r", Verdict::InBody),
        ("3\r\nabc\r\n", Verdict::InBody),
        ("ffffffffffffffff\r\nabc", Verdict::InBody),
        // Sizes.
        ("\r\n", BODY),
        ("g\r\n", BODY),
        ("-1\r\n", BODY),
        ("+1\r\n", BODY),
        ("0x1\r\n", BODY),
        (" 1\r\n", BODY),
        ("1 \r\na", BODY),
        ("1\t;a\r\n", BODY),
        ("00000000000000003\r\n", BODY),
        ("3\nabc", BODY),
        ("3\rabc", BODY),
        ("3;a\nabc", BODY),
        ("3;a\rabc", BODY),
        ("3;\0\r\n", BODY),
        ("3;a\x7f\r\n", BODY),
        // Data.
        ("3\r\nabcd\r\n", BODY),
        ("3\r\nabc\n0\r\n\r\n", BODY),
        ("3\r\nabc\r0\r\n\r\n", BODY),
        ("3\r\nabc0\r\n\r\n", BODY),
        // The end.
        ("0\r\n\n", BODY),
        ("0\r\n\rG", BODY),
        ("0\r\n A: b\r\n\r\n", BODY),
        ("0\r\n: b\r\n\r\n", BODY),
        ("0\r\nA\r\n\r\n", BODY),
        ("0\r\nA : b\r\n\r\n", BODY),
        ("0\r\nA: \0\r\n\r\n", BODY),
        ("0\r\nA: b\n\r\n", BODY),
        ("0\r\nA: b\rC: d\r\n\r\n", BODY),
        ("0\r\nA: b\r\n c\r\n\r\n", BODY),
        ("0\r\n\r\nGET / HTTP/1.1\n", HEAD),
    ];
    for (body, expected) in table {
        let expected = match expected {
            Verdict::Refused(part) => Verdict::Refused(*part),
            Verdict::Between => Verdict::Between,
            _ => Verdict::InBody,
        };
        check(format!("{CHUNKED}{body}").as_bytes(), expected);
    }
}

#[test]
fn extensions_and_trailers_are_bounded_for_a_whole_body() {
    let extended =
        |each: usize| format!("{CHUNKED}1;{0}\r\na\r\n1;{0}\r\nb\r\n0\r\n\r\n", "x".repeat(each)).into_bytes();
    let half = EXTENSION_LIMIT as usize / 2;
    assert_eq!(verdict([&*extended(half - 1)]), Verdict::Between);
    assert_eq!(verdict([&*extended(half)]), BODY);
    let trailed = |length: usize| format!("{CHUNKED}0\r\nA:{}\r\n\r\n", "x".repeat(length)).into_bytes();
    assert_eq!(verdict([&*trailed(TRAILER_LIMIT as usize - 4)]), Verdict::Between);
    assert_eq!(verdict([&*trailed(TRAILER_LIMIT as usize - 3)]), BODY);
}

#[test]
fn a_violation_says_what_is_good() {
    let good = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
    let bytes = format!("{good}GET / HTTP/1.1\r\nA: b\n");
    let violation = Guard::default().watch(bytes.as_bytes()).unwrap_err();
    assert_eq!(violation, Violation { good: good.len(), part: Part::Head, refusal: Refusal::LineEnd });
    let bytes = format!("{CHUNKED}1\r\na\r\n1;\0");
    let violation = Guard::default().watch(bytes.as_bytes()).unwrap_err();
    assert_eq!(violation, Violation { good: bytes.len() - 1, part: Part::Body, refusal: Refusal::ChunkExtension });
}

/// A valid request as text, built from its parts.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = "(GET|POST|PURGE) /[a-z/?=%.]{0,20} HTTP/1\\.1\r\n";
    let field = "[A-BD-SU-Za-bd-su-z0-9!#$%&'*+.^_`|~-]{1,30}: ?[ -~\t]{0,80}\r\n";
    let fields = || proptest::collection::vec(field, 0..4);
    let data = || proptest::collection::vec(any::<u8>(), 1..40);
    let chunk = (data(), "(;[ -~]{0,10})?", any::<bool>()).prop_map(|(data, extension, upper)| {
        let size = if upper { format!("{:X}", data.len()) } else { format!("{:04x}", data.len()) };
        [format!("{size}{extension}\r\n").as_bytes(), &data, b"\r\n"].concat()
    });
    let trailers = proptest::collection::vec("[A-Za-z-]{1,10}:[ -~\t]{0,20}\r\n", 0..3);
    let chunked = (proptest::collection::vec(chunk, 0..4), "0{1,4}", trailers).prop_map(|(chunks, zero, trailers)| {
        let end = format!("{zero}\r\n{}\r\n", trailers.concat());
        ("transfer-Encoding:\tChunked\r\n".to_owned(), [chunks.concat(), end.into_bytes()].concat())
    });
    let sized = data().prop_map(|data| (format!("Content-length: {}\r\n", data.len()), data));
    let body = prop_oneof![Just((String::new(), Vec::new())), sized, chunked];
    ("(\r\n)?", line, fields(), fields(), body).prop_map(|(empty, line, before, after, (framing, body))| {
        let head = format!("{empty}{line}{}{framing}{}\r\n", before.concat(), after.concat());
        [head.into_bytes(), body].concat()
    })
}

proptest! {
    #[test]
    fn valid_requests_pass_and_end_where_they_end(requests in proptest::collection::vec(request(), 1..4), cut in 1usize..64) {
        let bytes = requests.concat();
        let expected: Vec<usize> = requests.iter().scan(0, |end, one| { *end += one.len(); Some(*end) }).collect();
        prop_assert_eq!(verdict([&*bytes]), Verdict::Between);
        prop_assert_eq!(verdict(bytes.chunks(cut)), Verdict::Between);
        prop_assert_eq!(ends(&bytes), expected);
    }

    #[test]
    fn any_bytes_get_the_same_verdict_however_they_are_split(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..50) {
        prop_assert_eq!(verdict(bytes.chunks(cut)), verdict([&*bytes].into_iter().filter(|b| !b.is_empty())));
    }
}

#[test]
fn nothing_is_looked_at_after_the_head_of_a_connect() {
    let head = "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n";
    check(head.as_bytes(), Verdict::InBody);
    let tls = [head.as_bytes(), b"\x16\x03\x01\x00\n\x00\r\xff GET / HTTP/1.1\n\n"].concat();
    check(&tls, Verdict::InBody);
    check(b"CONNECT api.test:443 HTTP/1.1\nHost: x\n\n", HEAD);
    check(b"GET /?CONNECT HTTP/1.1\r\nX: CONNECT \r\n\r\n", Verdict::Between);
}
