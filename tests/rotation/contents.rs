//! What is in a file decides whether it is used (R24 to R36, R39, R52, R54, W8 to W11 and siblings).

use std::fs;

use countersign::playground::certs::{Authority, Pair, Validity};
use countersign::playground::rotate::Volume;

use super::stage::{EVENTS, POLL, Stage};
use super::{GET, bearer, bearer_text};
use crate::support::wait::until;
use crate::support::{Running, Setup, Upstream, files, pki};

const PAIR: &str = "route:api/client_cert";

/// Refused one after the other, by a swap each; the good value is back in between.
async fn refused(mode: &str, cases: &[(&str, &[u8], &str, &str)]) {
    let stage = Stage::prepared(mode, |dir| {
        Volume::new(dir).unwrap().write(&[("partner/key", b"one")]).unwrap();
    })
    .await;
    let volume = Volume::new(stage.dir()).unwrap();
    for (_, bytes, label, words) in cases {
        volume.write(&[("partner/key", bytes)]).unwrap();
        stage.keeps("one", label, words).await;
        volume.write(&[("partner/key", b"one")]).unwrap();
        until("health", async || stage.proxy.health("k").await == "ok").await;
    }
    assert_eq!(stage.reloads().await, 0.0, "the same value again is no new one");
}

#[tokio::test]
async fn r26_r27_an_empty_or_blank_file_is_refused() {
    for mode in [EVENTS, POLL] {
        refused(mode, &[("empty", b"", "empty", "empty"), ("blank", b"\n\r\n\n", "empty", "empty")]).await;
    }
}

#[tokio::test]
async fn r26_a_file_emptied_in_place_is_refused() {
    for mode in [EVENTS, POLL] {
        let stage = Stage::plain(mode).await;
        fs::write(stage.key(), "").unwrap();
        stage.keeps("one", "empty", "empty").await;
    }
}

#[tokio::test]
async fn r30_r31_a_byte_order_mark_or_utf_16_is_refused() {
    let cases: [(&str, &[u8], &str, &str); 3] = [
        ("UTF-8", b"\xef\xbb\xbfnew", "byte_order_mark", "byte order mark"),
        ("UTF-16, little endian", b"\xff\xfen\0e\0w\0", "byte_order_mark", "byte order mark"),
        ("UTF-16, big endian", b"\xfe\xff\0n\0e\0w", "byte_order_mark", "byte order mark"),
    ];
    refused(EVENTS, &cases).await;
}

#[tokio::test]
async fn r32_r33_a_line_end_inside_the_value_is_refused() {
    let cases: [(&str, &[u8], &str, &str); 3] = [
        ("CR LF and a header", b"newv\r\nX-Injected: 1\r\nalue", "line_break", "line break inside the value"),
        ("LF", b"new\nvalue", "line_break", "line break"),
        ("CR", b"new\rvalue", "line_break", "line break"),
    ];
    refused(EVENTS, &cases).await;
}

#[tokio::test]
async fn r34_control_bytes_and_non_ascii_are_refused() {
    let cases: [(&str, &[u8], &str, &str); 5] = [
        ("NUL", b"new\0", "control_byte", "control byte"),
        ("ESC", b"new\x1b[31m", "control_byte", "control byte"),
        ("DEL", b"new\x7f", "control_byte", "control byte"),
        ("Latin-1", b"new\xe9", "encoding", "not valid UTF-8"),
        ("UTF-8", "new\u{20ac}".as_bytes(), "non_ascii", "non-ASCII"),
    ];
    refused(EVENTS, &cases).await;
}

#[tokio::test]
async fn r35_eight_mebibytes_are_refused_without_being_read() {
    let large = vec![b'n'; 8 << 20];
    for mode in [EVENTS, POLL] {
        refused(mode, &[("8 MiB", &large, "too_large", "too large (8388608 bytes, at most 65536)")]).await;
    }
}

#[tokio::test]
async fn r36_every_byte_value_is_for_keys_of_bytes_alone() {
    let all: Vec<u8> = (0..=255).collect();
    refused(EVENTS, &[("256 bytes", &all, "line_break", "line break")]).await;

    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        "[credential.k.hmac]\nsecret = \"key\"\nkey_encoding = \"bytes\"\nsign = \"{{method}}\"\nset = {{ X-S = \"{{signature}}\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n"
    ))
    .secret("key", "one")
    .start()
    .await;
    files::rename_over(&proxy.secret("key"), &all);
    // printf 'GET' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102..ff
    let expected = "a0ad5b56dcf2536eedcf0118e8da248e56d5f25962264af00c602c0938809d71";
    until("the key of bytes", async || {
        assert_eq!(proxy.raw(GET).await.status, 200);
        upstream.last().head.header("x-s") == Some(expected)
    })
    .await;
}

#[tokio::test]
async fn r52_w11_a_bad_value_holds_up_no_other() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let text = bearer_text(&url)
        + "[credential.two]\nbearer = { secret = \"partner/two\" }\n"
        + &format!("[[route]]\nname = \"two\"\nhost = \"two.test\"\nupstream = \"{url}\"\ncredential = \"two\"\n");
    let setup = Setup::new(text).secrets(EVENTS);
    let volume = Volume::new(setup.secrets_dir()).unwrap();
    volume.write(&[("partner/key", b"one"), ("partner/two", b"two")]).unwrap();
    let stage = Stage { proxy: setup.start().await, upstream };
    volume.write(&[("partner/key", b"new"), ("partner/two", b"b\0d")]).unwrap();
    stage.serves("new", &["one"]).await;
    assert_eq!(stage.proxy.health("two").await, "stale");
    assert_eq!(stage.proxy.get("two.test", "/").await.status, 200);
    assert_eq!(stage.upstream.last().head.header("authorization"), Some("Bearer two"));
}

#[tokio::test]
async fn r54_w10_a_secret_that_is_missing_at_start() {
    let upstream = Upstream::ok().await;
    // refuse, the default
    let error = bearer(&upstream).try_start().await.err().unwrap().to_string();
    assert!(error.contains("partner/key") && error.contains("missing"), "{error}");
    // serve: ready, and that route alone answers 503
    let proxy = bearer(&upstream).secrets("at_start = \"serve\"").start().await;
    assert_eq!(proxy.admin("/readyz").await.status, 200);
    assert_eq!(proxy.raw(GET).await.error(), Some("credential_unavailable"));
}

#[tokio::test]
async fn r06_r54_with_wait_it_is_ready_once_the_secret_has_come() {
    for mode in [EVENTS, POLL] {
        let upstream = Upstream::ok().await;
        let proxy = bearer(&upstream).secrets(&format!("at_start = \"wait\"\n{mode}")).start().await;
        assert_eq!((proxy.admin("/livez").await.status, proxy.admin("/readyz").await.status), (200, 503));
        Volume::new(proxy.scratch.path("secrets")).unwrap().write(&[("partner/key", b"late")]).unwrap();
        until("readiness", async || proxy.admin("/readyz").await.status == 200).await;
        assert_eq!(proxy.raw(GET).await.status, 200);
        assert_eq!(upstream.last().head.header("authorization"), Some("Bearer late"));
    }
}

/// A proxy that proves itself by `client.crt` and `client.key`, and whom the upstream takes.
struct Pairs {
    upstream: Upstream,
    clients: Authority,
    proxy: Running,
    first: Pair,
}

impl Pairs {
    async fn new(mode: &str) -> Self {
        let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
        let upstream = Upstream::tls(pki::server(&ca, pki::Clients::Of(clients.certificate()))).await;
        let first = clients.client("one").unwrap();
        let proxy = super::identities::setup(&upstream, "")
            .secrets(mode)
            .secret("ca.crt", ca.certificate())
            .secret("client.crt", &first.certificate)
            .secret("client.key", &first.key)
            .start()
            .await;
        let pairs = Self { upstream, clients, proxy, first };
        assert_eq!(pairs.serial().await, pairs.first.serial);
        pairs
    }

    async fn serial(&self) -> String {
        let answer = self.proxy.raw(GET).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.upstream.last().peer.serial.unwrap()
    }

    /// Both files by one rename each, the certificate first.
    fn write(&self, certificate: &str, key: &str) {
        files::rename_over(&self.proxy.secret("client.crt"), certificate);
        files::rename_over(&self.proxy.secret("client.key"), key);
    }

    async fn keeps(&self, label: &str, words: &str) {
        until(words, async || {
            let row = self.proxy.credential(PAIR).await;
            row["health"] == "stale" && row["reason"].as_str().unwrap().contains(words)
        })
        .await;
        let series =
            format!("countersign_secret_reloads_total{{credential=\"{PAIR}\",result=\"error\",reason=\"{label}\"}}");
        assert!(self.proxy.metric(&series).await >= 1.0, "{label}");
        assert_eq!(self.serial().await, self.first.serial, "the last good pair goes on");
        assert_eq!(self.proxy.admin("/readyz").await.status, 200);
    }

    async fn adopts(&self, pair: &Pair) {
        until("the new pair", async || {
            let serial = self.serial().await;
            assert!(serial == self.first.serial || serial == pair.serial);
            serial == pair.serial
        })
        .await;
        assert_eq!(self.proxy.health(PAIR).await, "ok");
    }
}

#[tokio::test]
async fn r20_r21_r22_a_pair_that_comes_in_two_halves_is_used_when_it_is_whole() {
    type Write = fn(&std::path::Path, &str);
    let ways: [Write; 2] = [|path, text| files::in_place(path, text), |path, text| files::rename_over(path, text)];
    for (mode, write) in [(EVENTS, ways[0]), (EVENTS, ways[1]), (POLL, ways[1])] {
        for order in [["client.crt", "client.key"], ["client.key", "client.crt"]] {
            let pairs = Pairs::new(mode).await;
            let next = pairs.clients.client("two").unwrap();
            let content = |name: &str| if name == "client.crt" { &next.certificate } else { &next.key };
            write(&pairs.proxy.secret(order[0]), content(order[0]));
            pairs.keeps("pair_mismatch", "key does not match certificate").await;
            write(&pairs.proxy.secret(order[1]), content(order[1]));
            pairs.adopts(&next).await;
        }
    }
}

#[tokio::test]
async fn r23_a_pair_that_stays_torn_keeps_the_old_one() {
    let pairs = Pairs::new(EVENTS).await;
    let next = pairs.clients.client("two").unwrap();
    files::rename_over(&pairs.proxy.secret("client.crt"), &next.certificate);
    for _ in 0..3 {
        pairs.keeps("pair_mismatch", "key does not match certificate").await;
        pairs.proxy.server.reload().await;
    }
    let series =
        format!("countersign_secret_reloads_total{{credential=\"{PAIR}\",result=\"error\",reason=\"pair_mismatch\"}}");
    assert_eq!(pairs.proxy.metric(&series).await, 1.0, "one count for one change of state");
}

#[tokio::test]
async fn r24_a_pair_that_cannot_be_used_says_why() {
    let pairs = Pairs::new(EVENTS).await;
    let (first, now) = (&pairs.first, now());
    let dates = |from: i64, to: i64| Validity { not_before: now.plus_seconds(from), not_after: now.plus_seconds(to) };
    let expired = pairs.clients.client_within("expired", dates(-7200, -3600)).unwrap();
    let early = pairs.clients.client_within("early", dates(3600, 7200)).unwrap();
    let other = pairs.clients.client("other").unwrap();
    let chain = |head: &str, tail: &str| format!("{head}{tail}");
    let data = |name: &str| fs::read_to_string(format!("src/tls/testdata/{name}")).unwrap();
    let cases: [(&str, String, String, &str, &str); 11] = [
        ("R24a", expired.certificate, expired.key, "expired", "expired at"),
        ("R24b", early.certificate, early.key, "not_yet_valid", "not valid before"),
        ("R24c", first.certificate.clone(), data("ec-encrypted.pem"), "pem", "encrypted with a passphrase"),
        ("SEC1, encrypted", first.certificate.clone(), data("ec-sec1-encrypted.pem"), "pem", "encrypted"),
        ("R24d", first.key.clone(), first.key.clone(), "pem", "no certificate"),
        ("R24e", first.certificate.clone(), chain(&first.key, &other.key), "pem", "more than one private key"),
        ("R24f", "0\u{1}\u{2}\u{3}".into(), first.key.clone(), "pem", "not a PEM file"),
        ("R24g", "garbage".into(), "garbage".into(), "pem", "not a PEM file"),
        ("R24h", data("p224.crt"), data("p224.pem"), "pem", "the key cannot be used"),
        ("another's key", first.certificate.clone(), other.key, "pair_mismatch", "does not match"),
        (
            "a chain in the wrong order",
            chain(pairs.clients.certificate(), &first.certificate),
            first.key.clone(),
            "pair_mismatch",
            "does not match",
        ),
    ];
    for (_, certificate, key, label, words) in cases {
        pairs.write(&certificate, &key);
        pairs.keeps(label, words).await;
        pairs.write(&first.certificate, &first.key);
        until("health", async || pairs.proxy.health(PAIR).await == "ok").await;
    }
    assert_eq!(pairs.upstream.connections(), 1, "the same pair again is no new identity");
}

fn now() -> countersign::clock::Timestamp {
    use countersign::clock::{Clock as _, SystemClock};
    SystemClock.now()
}

#[tokio::test]
async fn r24b_a_certificate_that_comes_before_its_time_is_used_when_that_has_come() {
    let pairs = Pairs::new(EVENTS).await;
    let validity = Validity { not_before: now().plus_seconds(3), not_after: now().plus_seconds(3600) };
    let early = pairs.clients.client_within("early", validity).unwrap();
    pairs.write(&early.certificate, &early.key);
    pairs.keeps("not_yet_valid", "not valid before").await;
    // No file changes any more.
    pairs.adopts(&early).await;
    assert!(now().seconds >= validity.not_before.seconds);
}

#[tokio::test]
async fn r25_a_bundle_with_one_bad_member_is_refused_whole_and_r25b_both_authorities_count_in_the_overlap() {
    let (old, new, clients) = (pki::authority("old"), pki::authority("new"), pki::authority("clients"));
    let server = |ca: &Authority| pki::server(ca, pki::Clients::Of(clients.certificate()));
    let upstream = Upstream::tls(server(&old)).await;
    let client = clients.client("worker").unwrap();
    let proxy = super::identities::setup(&upstream, "timeouts = { pool = \"0s\" }")
        .secret("ca.crt", old.certificate())
        .secret("client.crt", &client.certificate)
        .secret("client.key", &client.key)
        .start()
        .await;
    let both = format!("{}{}", old.certificate(), new.certificate());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    files::rename_over(&proxy.secret("ca.crt"), format!("{both}{broken}"));
    until("the refusal", async || proxy.health("route:api/ca").await == "stale").await;
    assert_eq!(proxy.raw(GET).await.status, 200);

    files::rename_over(&proxy.secret("ca.crt"), &both);
    until("the bundle of both", async || proxy.health("route:api/ca").await == "ok").await;
    for ca in [&old, &new, &old] {
        upstream.set_tls(server(ca));
        assert_eq!(proxy.raw(GET).await.status, 200);
    }
    files::rename_over(&proxy.secret("ca.crt"), new.certificate());
    until("the end of the old one", async || proxy.raw(GET).await.error() == Some("upstream_tls")).await;
    upstream.set_tls(server(&new));
    assert_eq!(proxy.raw(GET).await.status, 200);
}

#[tokio::test]
async fn w09_a_certificate_past_its_end_answers_503_on_its_route_alone() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(pki::server(&ca, pki::Clients::Of(clients.certificate()))).await;
    let validity = Validity { not_before: now().plus_seconds(-60), not_after: now().plus_seconds(3) };
    let short = clients.client_within("short", validity).unwrap();
    let plain = Upstream::ok().await;
    let other =
        format!("[[route]]\nname = \"b\"\nhost = \"b.test\"\nupstream = \"{}\"\ncredential = \"none\"\n", plain.url());
    let proxy = super::identities::setup(&upstream, "")
        .add(&other)
        .secret("ca.crt", ca.certificate())
        .secret("client.crt", &short.certificate)
        .secret("client.key", &short.key)
        .start()
        .await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    until("the end", async || proxy.raw(GET).await.error() == Some("credential_unavailable")).await;
    assert_eq!(proxy.health(PAIR).await, "expired");
    assert_eq!(proxy.get("b.test", "/").await.status, 200);
    assert_eq!(proxy.admin("/readyz").await.status, 200);
    let next = clients.client("next").unwrap();
    files::rename_over(&proxy.secret("client.key"), &next.key);
    files::rename_over(&proxy.secret("client.crt"), &next.certificate);
    until("the next one", async || proxy.raw(GET).await.status == 200).await;
}

#[tokio::test]
async fn r49_requests_in_flight_finish_with_the_value_that_they_began_with() {
    let release = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = release.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let gate = gate.clone();
        async move {
            while let Some(seen) = conversation.request().await {
                if seen.head.target() == "/slow" {
                    gate.acquire().await.unwrap().forget();
                }
                conversation.send(crate::support::upstream::OK).await;
            }
        }
    })
    .await;
    let setup = bearer(&upstream).secrets(EVENTS);
    files::write_new(&setup.secrets_dir(), "partner/key", b"one");
    let stage = Stage { proxy: setup.start().await, upstream };
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut worker = stage.proxy.worker().await;
        worker.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        slow.push(worker);
    }
    stage.upstream.arrived(50).await;
    files::rename_over(&stage.key(), "new");
    stage.serves("new", &["one"]).await;
    release.add_permits(50);
    for worker in &mut slow {
        assert_eq!(worker.answer().await.status, 200);
    }
    let slow = stage.upstream.seen().into_iter().filter(|seen| seen.head.target() == "/slow");
    assert!(slow.clone().count() == 50 && slow.clone().all(|s| s.head.header("authorization") == Some("Bearer one")));
}
