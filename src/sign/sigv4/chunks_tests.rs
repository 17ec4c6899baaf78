//! Chunks that come in well and badly framed.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::chunks::{CHUNK, ChunkError, ChunkSigner, Framing, Reframer, signed_length};
use crate::sign::hmac::Key;
use crate::sign::material::HashAlgorithm;

const CRC: &str = "x-amz-checksum-crc32";
const UNSIGNED: Framing = Framing::UnsignedTrailer;

fn signer() -> ChunkSigner {
    let key = Key::new(HashAlgorithm::Sha256, b"key");
    ChunkSigner::new(
        key,
        "20130524T000000Z".to_owned(),
        "20130524/us-east-1/s3/aws4_request".to_owned(),
        "0".repeat(64),
    )
}

/// What an SDK sends for these pieces of content.
fn framed(framing: Framing, pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Vec<u8> {
    let signature = "f".repeat(64);
    let extension = if framing == UNSIGNED { String::new() } else { format!(";chunk-signature={signature}") };
    let mut out = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        out.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0{extension}\r\n").as_bytes());
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    if framing == Framing::SignedTrailer {
        out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn through(mut reframer: Reframer, sent: &[u8], step: usize) -> Result<Vec<u8>, ChunkError> {
    let mut out = Vec::new();
    for part in sent.chunks(step.max(1)) {
        reframer.push(part, &mut out)?;
    }
    reframer.finish(&mut out)?;
    Ok(out)
}

fn unsigned(sent: &[u8]) -> Result<Vec<u8>, ChunkError> {
    through(Reframer::new(UNSIGNED, None, None, vec![CRC.to_owned()]), sent, sent.len())
}

/// Content of well-formed chunks.
fn content(mut framed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = framed.windows(2).position(|two| two == b"\r\n").unwrap();
        let digits = framed[..end].split(|byte| *byte == b';').next().unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&framed[end + 2..end + 2 + size]);
        framed = &framed[end + 4 + size..];
    }
}

#[test]
fn unsigned_chunks_leave_as_they_came() {
    let sent = framed(UNSIGNED, &[b"hello", b" world"], &[(CRC, "DUoRhQ==")]);
    assert_eq!(unsigned(&sent), Ok(sent));
    let odd = b"00A\r\n0123456789\r\n000\r\nX-Amz-Checksum-CRC32: DUoRhQ== \r\n\r\n";
    assert_eq!(unsigned(odd), Ok(odd.to_vec()));
}

#[test]
fn malformed_framing_is_refused() {
    use ChunkError::{After, End, Short, Size, Trailer};
    let trailer = format!("{CRC}:DUoRhQ==\r\n\r\n");
    for (sent, error) in [
        (String::new(), Short),
        ("5\r\nhel".to_owned(), Short),
        ("5\r\nhello\r\n".to_owned(), Short),
        (format!("0\r\n{CRC}:DUoRhQ==\r\n"), Short),
        (format!("5\nhello\r\n0\r\n{trailer}"), Size),
        (format!("5;a=b\r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("5;chunk-signature={}\r\nhello\r\n0\r\n{trailer}", "0".repeat(64)), Size),
        (format!("5 \r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("0x5\r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("-5\r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("\r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("1000000000000000\r\nhello\r\n0\r\n{trailer}"), Size),
        (format!("5\r\nhello!\r\n0\r\n{trailer}"), End),
        (format!("5\r\nhello\n\r0\r\n{trailer}"), End),
        (format!("6\r\nhello\r\n0\r\n{trailer}"), End),
        ("0\r\n\r\n".to_owned(), Trailer),
        ("0\r\nx-other:1\r\n\r\n".to_owned(), Trailer),
        (format!("0\r\n{CRC}:1\r\n{CRC}:1\r\n\r\n"), Trailer),
        (format!("0\r\n{CRC}:1\r\nx-other:1\r\n\r\n"), Trailer),
        (format!("0\r\n{CRC}\r\n\r\n"), Trailer),
        (format!("0\r\n {CRC}:1\r\n\r\n"), Trailer),
        (format!("0\r\n{CRC}:\u{1}\r\n\r\n"), Trailer),
        (format!("0\r\n{CRC}:1\n\r\n"), Trailer),
        (format!("0\r\n{CRC}:{}\r\n\r\n", "1".repeat(5000)), Trailer),
        (format!("0\r\n{CRC}:1\r\nx-amz-trailer-signature:1\r\n\r\n"), Trailer),
        (format!("0\r\n{trailer}0"), After),
    ] {
        assert_eq!(unsigned(sent.as_bytes()), Err(error), "{sent:?}");
    }
    let bare = framed(UNSIGNED, &[b"hello"], &[]);
    let reframer = Reframer::new(Framing::Signed, Some(signer()), None, Vec::new());
    assert_eq!(through(reframer, &bare, 9), Err(Size));
    // A signed trailer without its signature.
    let cut = framed(Framing::Signed, &[b"hello"], &[(CRC, "DUoRhQ==")]);
    let reframer = Reframer::new(Framing::SignedTrailer, Some(signer()), None, vec![CRC.to_owned()]);
    assert_eq!(through(reframer, &cut, 9), Err(Trailer));
    // A value that is longer than the length that was told.
    let long = framed(UNSIGNED, &[b"hello"], &[(CRC, "DUoRhQ==DUoRhQ==")]);
    let reframer = Reframer::new(UNSIGNED, Some(signer()), None, vec![CRC.to_owned()]);
    assert_eq!(through(reframer, &long, 9), Err(Trailer));
}

#[test]
fn nothing_looks_whole_before_the_worker_has_ended() {
    for signed in [None, Some(signer())] {
        let mut reframer = Reframer::new(UNSIGNED, signed, Some(5), vec![CRC.to_owned()]);
        let mut out = Vec::new();
        reframer.push(&framed(UNSIGNED, &[b"hello"], &[(CRC, "DUoRhQ==")]), &mut out).unwrap();
        assert!(!out.ends_with(b"\r\n\r\n") && !out.windows(2).any(|two| two == b"0;" || two == b"0\r"));
        reframer.finish(&mut out).unwrap();
        assert!(out.ends_with(b"\r\n\r\n"));
    }
}

#[test]
fn content_is_as_long_as_was_told() {
    for told in [4, 6] {
        let reframer = Reframer::new(UNSIGNED, None, Some(told), vec![CRC.to_owned()]);
        let sent = framed(UNSIGNED, &[b"hello"], &[(CRC, "DUoRhQ==")]);
        assert_eq!(through(reframer, &sent, 100), Err(ChunkError::Length));
    }
}

#[test]
fn a_large_chunk_is_not_kept() {
    let mut reframer = Reframer::new(UNSIGNED, Some(signer()), None, Vec::new());
    let mut out = Vec::new();
    reframer.push(b"40000000\r\n", &mut out).unwrap();
    let part = vec![b'x'; 10_000];
    let mut sent = 0;
    while sent < 1 << 22 {
        out.clear();
        reframer.push(&part, &mut out).unwrap();
        sent += part.len();
        assert!(out.capacity() < 4 * CHUNK && reframer.held() <= 2 * CHUNK);
    }
}

/// Sends `input` through a re-framer. Its first byte chooses framing, signatures and what was announced, its second the
/// size of the parts that it comes in.
/// Parts must make no difference, and what came out stays as it is when it comes in again.
fn reframe(input: &[u8]) {
    let [choice, step, body @ ..] = input else { return };
    let framing = match choice & 3 {
        0 => Framing::Signed,
        1 => Framing::SignedTrailer,
        _ => Framing::UnsignedTrailer,
    };
    let signed = framing != Framing::UnsignedTrailer || choice & 4 != 0;
    let leaves = if signed { Leaves::Signed } else { Leaves::AsItCame };
    let announced = if choice & 8 != 0 { vec!["x-amz-checksum-crc32".to_owned()] } else { Vec::new() };
    let once = run(framing, leaves, &announced, body, body.len().max(1));
    let parts = run(framing, leaves, &announced, body, usize::from(*step).max(1));
    assert_eq!(once, parts, "parts make a difference");
    let Ok(first) = once else { return };
    let again = match (leaves, framing) {
        (Leaves::AsItCame, _) => framing,
        (Leaves::Signed, Framing::Signed) => Framing::Signed,
        (Leaves::Signed, _) => Framing::SignedTrailer,
    };
    let second = run(again, leaves, &announced, &first, 1000);
    assert_eq!(second.as_ref(), Ok(&first), "what was made is made into something else");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Signed,
    AsItCame,
}

fn run(
    framing: Framing,
    leaves: Leaves,
    announced: &[String],
    body: &[u8],
    step: usize,
) -> Result<Vec<u8>, ChunkError> {
    let key = || Key::new(HashAlgorithm::Sha256, b"key");
    let signer = (leaves == Leaves::Signed)
        .then(|| ChunkSigner::new(key(), "20130524T000000Z".into(), "scope".into(), "seed".into()));
    let mut reframer = Reframer::new(framing, signer, None, announced.to_vec());
    let mut out = Vec::new();
    for part in body.chunks(step) {
        reframer.push(part, &mut out)?;
    }
    reframer.finish(&mut out)?;
    Ok(out)
}

#[test]
fn inputs_that_were_of_interest_once() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/chunks");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        reframe(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn content_arrives_whatever_the_pieces(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
        large in 0_usize..140_000,
        step in 1_usize..70_000,
        form in 0..4,
    ) {
        let large = vec![7_u8; large];
        let mut pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        pieces.push(&large);
        let whole = pieces.concat();
        let (framing, signed) = match form {
            0 => (Framing::Signed, true),
            1 => (Framing::SignedTrailer, true),
            2 => (UNSIGNED, true),
            _ => (UNSIGNED, false),
        };
        let trailers: &[(&str, &str)] = if framing == Framing::Signed { &[] } else { &[(CRC, "DUoRhQ==")] };
        let announced: Vec<String> = trailers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sent = framed(framing, &pieces, trailers);
        let length = whole.len() as u64;
        let reframer = Reframer::new(framing, signed.then(signer), Some(length), announced.clone());
        let left = through(reframer, &sent, step).unwrap();
        prop_assert_eq!(content(&left), whole);
        let told = if signed { signed_length(framing, length, &announced) } else { Some(sent.len() as u64) };
        prop_assert_eq!(told, Some(left.len() as u64));
    }

    #[test]
    fn a_byte_that_was_changed_changes_every_signature_after(at in 0_usize..200_000) {
        let whole = vec![1_u8; 200_000];
        let mut other = whole.clone();
        other[at] ^= 1;
        let signatures = |content: &[u8]| {
            let sent = framed(Framing::Signed, &[content], &[]);
            let reframer = Reframer::new(Framing::Signed, Some(signer()), None, Vec::new());
            let left = through(reframer, &sent, 50_000).unwrap();
            let text = String::from_utf8_lossy(&left).into_owned();
            text.split("chunk-signature=").skip(1).map(|rest| rest[..64].to_owned()).collect::<Vec<_>>()
        };
        let (one, two) = (signatures(&whole), signatures(&other));
        prop_assert_eq!(one.len(), 5);
        for (index, (one, two)) in one.iter().zip(&two).enumerate() {
            prop_assert_eq!(one == two, index < at / CHUNK);
        }
    }

    #[test]
    fn anything_may_come_in(choice in 0_u8..16, step in any::<u8>(), body in "[0-9a-f;:\r\nx-]{0,60}") {
        reframe(&[&[choice, step], body.as_bytes()].concat());
    }
}
