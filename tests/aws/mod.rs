//! `aws_sigv4` through the proxy: what leaves is signed, and bodies in chunks are made anew while they stream.

use std::fmt::Write as _;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::support::http1::Head;
use crate::support::http2::{Exchange, Http2};
use crate::support::upstream::{OK, Seen};
use crate::support::{Running, Setup, Upstream, pki};

const CREDENTIAL: &str = r#"
[credential.aws.aws_sigv4]
access_key_id = "AKIDEXAMPLE"
secret_access_key = { secret = "aws/secret" }
session_token = { secret = "aws/token" }
region = "{region}"
service = "s3"
"#;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

async fn start(upstream: &Upstream, keys: &str) -> Running {
    let url = upstream.url();
    let route = format!(
        "[[route]]\nname = \"s3\"\nhost = \"{{region}}.s3.test\"\nupstream = \"{url}\"\ncredential = \"aws\"\n"
    );
    let setup = Setup::new(format!("{CREDENTIAL}{keys}\n{route}"));
    setup.secret("aws/secret", SECRET).secret("aws/token", "tok/en+==\n").start().await
}

/// What OpenSSL's and Python's HMAC would say: made with another library than the proxy's.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// Signs what arrived by the rules of AWS, from the wire alone; the path and query of these tests need no rewriting.
fn verify(head: &Head, payload: &str) {
    let authorization = head.header("authorization").expect("it is signed");
    let (scope, rest) =
        authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/").unwrap().split_once(", ").unwrap();
    let (names, signature) = rest.strip_prefix("SignedHeaders=").unwrap().split_once(", Signature=").unwrap();
    let target = head.start_line().split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut canonical = format!("{}\n{path}\n{query}\n", head.method());
    for name in names.split(';') {
        writeln!(canonical, "{name}:{}", head.header(name).unwrap()).unwrap();
    }
    write!(canonical, "\n{names}\n{payload}").unwrap();
    let stamp = head.header("x-amz-date").unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    assert_eq!(hex(&hmac(&signing_key(scope), &text)), signature, "{text}");
}

/// Date, region, service and the last word, joined by `/`.
fn signing_key(scope: &str) -> Vec<u8> {
    scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| hmac(&key, part))
}

#[tokio::test]
async fn a_request_that_was_signed_with_dummy_keys_leaves_signed_anew() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "").await;
    let head = "PUT /bucket/a%20b?X-Amz-Signature=no&x=1 HTTP/1.1\r\nHost: eu-west-1.s3.test\r\nContent-Type: text/plain\r\n\
                Authorization: AWS4-HMAC-SHA256 Credential=dummy/1/2/s3/aws4_request, SignedHeaders=host, Signature=00\r\n\
                X-Amz-Date: 20000101T000000Z\r\nX-Amz-Security-Token: dummy\r\nX-Amz-Meta-A: b\r\nAccept-Encoding: gzip\r\n\
                X-Amz-Content-Sha256: 0000000000000000000000000000000000000000000000000000000000000000\r\n";
    let answer = proxy.raw(format!("{head}Content-Length: 5\r\n\r\nhello")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.only();
    assert_eq!(seen.head.start_line(), "PUT /bucket/a%20b?x=1 HTTP/1.1");
    let digest = hex(&Sha256::digest("hello"));
    assert_eq!(seen.head.header("x-amz-content-sha256"), Some(&*digest));
    assert_eq!(seen.head.header("x-amz-security-token"), Some("tok/en+=="));
    let authorization = seen.head.header("authorization").unwrap();
    assert!(authorization.contains("/eu-west-1/s3/aws4_request"), "{authorization}");
    let signed = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-security-token,";
    assert!(authorization.contains(signed), "{authorization}");
    verify(&seen.head, &digest);
}

#[tokio::test]
async fn a_body_whose_digest_the_worker_gives_streams_past() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "payload = \"as_sent\"").await;
    let digest = hex(&Sha256::digest("hello"));
    let route = "POST / HTTP/1.1\r\nHost: eu-west-1.s3.test\r\n";
    let answer = proxy
        .raw(format!(
            "{route}X-Amz-Content-Sha256: {digest}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.only();
    assert_eq!(seen.head.header("transfer-encoding"), Some("chunked"), "it was not held");
    verify(&seen.head, &digest);
    // Without one it is held.
    proxy.raw(format!("{route}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
    let seen = upstream.last();
    assert_eq!((seen.head.header("content-length"), &*seen.body), (Some("5"), &b"hello"[..]));
    verify(&seen.head, &digest);
}

#[tokio::test]
async fn an_unsigned_payload_says_so_and_streams() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "payload = \"unsigned\"").await;
    proxy.post("eu-west-1.s3.test", "/k", "hello").await;
    let seen = upstream.only();
    assert_eq!(seen.head.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    verify(&seen.head, "UNSIGNED-PAYLOAD");
}

const TRAILER: &str = "x-amz-checksum-crc32:DUoRhQ==\r\n";

fn chunked(kind: &str, decoded: usize, framing: &str) -> String {
    format!(
        "PUT /k HTTP/1.1\r\nHost: eu-west-1.s3.test\r\nX-Amz-Content-Sha256: {kind}\r\nContent-Encoding: aws-chunked\r\n\
         X-Amz-Decoded-Content-Length: {decoded}\r\n{framing}\r\n\r\n"
    )
}

/// Checks every signature of the request that arrived, and gives the content of its chunks.
fn verify_chunks(seen: &Seen, payload: &str) -> Vec<u8> {
    verify(&seen.head, payload);
    let header = |name| seen.head.header(name).unwrap();
    content(&seen.body, header("authorization"), header("x-amz-date"), payload)
}

/// Checks the signatures of chunks, and gives their content.
fn content(mut rest: &[u8], authorization: &str, stamp: &str, payload: &str) -> Vec<u8> {
    let scope = authorization.split("AKIDEXAMPLE/").nth(1).unwrap().split(',').next().unwrap();
    let (key, mut previous) = (signing_key(scope), authorization.rsplit_once("Signature=").unwrap().1.to_owned());
    let mut content = Vec::new();
    let line = |rest: &mut &[u8]| {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let line = String::from_utf8(rest[..end].to_vec()).unwrap();
        *rest = &rest[end + 2..];
        line
    };
    loop {
        let head = line(&mut rest);
        let (size, signature) = head.split_once(";chunk-signature=").unwrap();
        let data = &rest[..usize::from_str_radix(size, 16).unwrap()];
        let (nothing, digest) = (hex(&Sha256::digest("")), hex(&Sha256::digest(data)));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{previous}\n{nothing}\n{digest}");
        assert_eq!(hex(&hmac(&key, &text)), signature);
        previous = signature.to_owned();
        if data.is_empty() {
            break;
        }
        content.extend_from_slice(data);
        rest = &rest[data.len() + 2..];
    }
    if payload.ends_with("-TRAILER") {
        let trailer = line(&mut rest);
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{previous}\n{}",
            hex(&Sha256::digest(format!("{trailer}\n")))
        );
        assert_eq!(line(&mut rest), format!("x-amz-trailer-signature:{}", hex(&hmac(&key, &text))));
    }
    assert_eq!(line(&mut rest), "");
    assert!(rest.is_empty());
    content
}

#[tokio::test]
async fn chunks_that_came_signed_are_signed_anew() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "payload = \"as_sent\"").await;
    let kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let (content, dummy) = ("ä".repeat(50_000), "0".repeat(64));
    let body = format!("{:x};chunk-signature={dummy}\r\n{content}\r\n0;chunk-signature={dummy}\r\n\r\n", content.len());
    let head = chunked(kind, content.len(), &format!("Content-Length: {}", body.len()));
    let answer = proxy.raw(format!("{head}{body}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.only();
    assert_eq!(seen.head.header("content-length"), Some(&*seen.body.len().to_string()));
    assert_eq!(verify_chunks(&seen, kind), content.as_bytes());
}

#[tokio::test]
async fn unsigned_chunks_leave_as_they_came_or_signed_as_the_configuration_says() {
    let body = format!("5\r\nhello\r\n6\r\n world\r\n0\r\n{TRAILER}\r\n");
    let kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for payload in ["as_sent", "unsigned", "signed"] {
        let upstream = Upstream::ok().await;
        let proxy = start(&upstream, &format!("payload = \"{payload}\"")).await;
        let outer = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for (framing, sent) in
            [(format!("Content-Length: {}", body.len()), &body), ("Transfer-Encoding: chunked".to_owned(), &outer)]
        {
            let head = chunked(kind, 11, &format!("X-Amz-Trailer: x-amz-checksum-crc32\r\n{framing}"));
            let answer = proxy.raw(format!("{head}{sent}")).await;
            assert_eq!(answer.status, 200, "{payload}: {answer:?}");
            let seen = upstream.last();
            if payload == "signed" {
                let kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
                assert_eq!(seen.head.header("x-amz-content-sha256"), Some(kind));
                assert_eq!(seen.head.header("content-length"), Some(&*seen.body.len().to_string()));
                assert_eq!(verify_chunks(&seen, kind), b"hello world");
                continue;
            }
            verify(&seen.head, kind);
            match seen.head.header("content-length") {
                Some(length) => assert_eq!((length, &*seen.body), (&*body.len().to_string(), body.as_bytes())),
                None => assert!(String::from_utf8_lossy(&seen.body).contains("5\r\nhello\r\n"), "{seen:?}"),
            }
        }
    }
}

#[tokio::test]
async fn malformed_chunks_never_arrive_whole() {
    let kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for payload in ["as_sent", "signed"] {
        for body in [
            format!("5\nhello\r\n0\r\n{TRAILER}\r\n"),
            format!("6\r\nhello\r\n0\r\n{TRAILER}\r\n"),
            format!("5\r\nhello\r\n0\r\n{TRAILER}"),
            format!("5\r\nhello\r\n0\r\n{TRAILER}\r\n\r\n"),
            "5\r\nhello\r\n0\r\nx-other:1\r\n\r\n".to_owned(),
            "5\r\nhello\r\n0\r\n\r\n".to_owned(),
            format!("4\r\nhell\r\n0\r\n{TRAILER}\r\n"),
        ] {
            let upstream = Upstream::scripted(|mut conversation| async move {
                while conversation.request().await.is_some() {
                    conversation.send(OK).await;
                }
            })
            .await;
            let proxy = start(&upstream, &format!("payload = \"{payload}\"")).await;
            let head =
                chunked(kind, 5, &format!("X-Amz-Trailer: x-amz-checksum-crc32\r\nContent-Length: {}", body.len()));
            let answer = proxy.raw(format!("{head}{body}")).await;
            assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{payload} {body:?}: {answer:?}");
            assert!(upstream.seen().is_empty(), "{payload} {body:?}: {:?}", upstream.seen());
        }
    }
}

#[tokio::test]
async fn an_attempt_that_was_refused_begun_is_signed_anew_with_all_its_chunks() {
    let (config, ca) = h2_identity();
    let asked = Arc::new(AtomicUsize::new(0));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (count, kept) = (asked.clone(), bodies.clone());
    let upstream = Http2::serving(&config, &h2::server::Builder::new(), move |mut exchange: Exchange| {
        let (count, kept) = (count.clone(), kept.clone());
        async move {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                exchange.request.body_mut().data().await.unwrap().unwrap();
                return exchange.respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            let (body, _) = exchange.body().await;
            kept.lock().unwrap().push(body);
            exchange.ok("ok");
        }
    })
    .await;
    let route = upstream.route("credential = \"aws\"");
    let credential = CREDENTIAL.replace("{region}", "eu-west-1");
    let setup = Setup::new(format!("{credential}{route}limits = {{ replay_body = \"1MiB\" }}\n"));
    let setup = setup.secret("aws/secret", SECRET).secret("aws/token", "tok/en+==").secret("ca.crt", &ca);
    let proxy = setup.start().await;
    let whole = "x".repeat(100_000);
    let body = format!("{:x}\r\n{whole}\r\n0\r\n{TRAILER}\r\n", whole.len());
    let head = chunked(
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        whole.len(),
        "X-Amz-Trailer: x-amz-checksum-crc32\r\nTransfer-Encoding: chunked",
    );
    let head = head.replace("eu-west-1.s3.test", "api.test");
    let (first, rest) = body.split_at(80_000);
    let mut worker = proxy.worker().await;
    worker.send(format!("{head}{:x}\r\n{first}\r\n", first.len())).await;
    // The second attempt needs no more of the body to begin.
    upstream.arrived(2).await;
    worker.send(format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len())).await;
    let answer = worker.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (seen, bodies) = (upstream.seen(), bodies.lock().unwrap().clone());
    assert_eq!((seen.len(), bodies.len()), (2, 1));
    let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    for one in &seen {
        assert_eq!(one.header("x-amz-content-sha256"), payload);
        assert_eq!(one.header("content-length"), bodies[0].len().to_string());
    }
    assert_eq!(
        content(&bodies[0], seen[1].header("authorization"), seen[1].header("x-amz-date"), payload),
        whole.as_bytes()
    );
}

/// A server's certificate, and the authority that issued it.
fn h2_identity() -> (rustls::ServerConfig, String) {
    let ca = pki::authority("ca");
    ((*pki::server(&ca, pki::Clients::Anyone)).clone(), ca.certificate().to_owned())
}

#[tokio::test]
async fn a_streaming_that_is_not_known_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = start(&upstream, "payload = \"as_sent\"").await;
    for kind in ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-SOMETHING"] {
        let answer = proxy.raw(format!("{}hello", chunked(kind, 5, "Content-Length: 5"))).await;
        assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{answer:?}");
    }
    assert!(upstream.seen().is_empty());
}
