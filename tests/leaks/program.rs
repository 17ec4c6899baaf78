//! The built program at its most talkative.

use std::fmt::Write as _;

use countersign::playground::certs::Pair;
use md5::Digest as _;
use rustix::process::Signal;

use super::canary::{self, Public, canary};
use crate::support::child::Program;
use crate::support::pki::{self, Clients};
use crate::support::upstream::OK;
use crate::support::wait::until;
use crate::support::worker::{Answer, Worker};
use crate::support::{Scratch, Upstream, countersign, files};

/// The credential tables, each with a secret of its own.
const CREDENTIALS: &str = r#"
[credential.header]
api_key = { secret = "header", header = "X-Key", prefix = "Token " }
[credential.query]
api_key = { secret = "query", query = "api_key" }
[credential.cookie]
api_key = { secret = "cookie", cookie = "sid" }
[credential.bearer]
bearer = { secret = "bearer" }
[credential.basic]
basic = { username = { secret = "user" }, password = { secret = "password" } }
[credential.digest]
digest = { username = "shop", password = { secret = "digest" } }
[credential.hmac.hmac]
secret = "hmac"
sign = "{method}\n{target}\n{timestamp}\n{nonce}\n{body|sha256|hex}\n{secret:salt}"
set = { "X-Signature" = "{signature}", "X-Salt" = "{secret:salt}" }
[credential.hex.hmac]
secret = "hex"
key_encoding = "hex"
sign = "{target}"
set = { "X-Signature" = "{signature}" }
[credential.message.http_signature]
key = "message"
key_id = { secret = "message-id" }
algorithm = "hmac-sha256"
components = ["@method", "@target-uri", "content-digest"]
[credential.aws.aws_sigv4]
access_key_id = { secret = "aws-id" }
secret_access_key = { secret = "aws-key" }
session_token = { secret = "aws-token" }
region = "eu-west-1"
service = "s3"
[credential.presigned.aws_sigv4]
access_key_id = { secret = "aws-id" }
secret_access_key = { secret = "aws-key" }
session_token = { secret = "aws-token" }
region = "eu-west-1"
service = "sqs"
placement = "query"
[credential.tenant]
api_key = { secret = "shop/{tenant}/key", header = "X-Key" }
[credential.form]
api_key = { secret = "form", form = "api_key" }
[credential.json]
api_key = { secret = "json", json = "api_key" }
[credential.oauth1.oauth1]
consumer_key = { secret = "consumer-key" }
consumer_secret = { secret = "consumer-secret" }
token = { secret = "token" }
token_secret = { secret = "token-secret" }
[credential.plaintext.oauth1]
consumer_key = "public"
consumer_secret = { secret = "consumer-secret" }
token = { secret = "token" }
token_secret = { secret = "token-secret" }
method = "PLAINTEXT"
placement = "form"
"#;

const SCHEMES: [&str; 14] = [
    "header",
    "query",
    "cookie",
    "bearer",
    "basic",
    "hmac",
    "hex",
    "message",
    "aws",
    "presigned",
    "form",
    "json",
    "oauth1",
    "plaintext",
];
const SECRETS: [&str; 19] = [
    "header",
    "query",
    "cookie",
    "bearer",
    "user",
    "password",
    "digest",
    "hmac",
    "salt",
    "message",
    "message-id",
    "aws-key",
    "aws-token",
    "form",
    "json",
    "consumer-key",
    "consumer-secret",
    "token",
    "token-secret",
];
const CHALLENGE: &str = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// Upstreams that fail, each under a host of its own.
const FAULTS: [&str; 5] = ["refused", "plain", "silent", "garbled", "torn"];

struct Stage {
    scratch: Scratch,
    secrets: Vec<Vec<u8>>,
    public: Public,
    good: Upstream,
    tls: Upstream,
    /// Refuses what is signed, which is then in the log.
    denied: Upstream,
    asking: Upstream,
    faults: Vec<(&'static str, String)>,
    /// Kept, so that their ports stay theirs.
    _upstreams: Vec<Upstream>,
}

/// An upstream that sends back what it got where an answer should be: worse than any real one.
async fn garbled() -> Upstream {
    Upstream::scripted(async |mut conversation| {
        while let Some(seen) = conversation.request().await {
            let key = seen.head.header("x-key").unwrap_or_default().to_owned();
            conversation.send(format!("HTTP/1.1 2x0 {key}\r\n{key}\r\n\r\n")).await;
        }
    })
    .await
}

/// An upstream that asks for Digest, and in the end refuses what it got.
async fn asking() -> Upstream {
    Upstream::scripted(async |mut conversation| {
        while let Some(seen) = conversation.request().await {
            let refuse = seen.head.header("authorization").is_none() || seen.head.target().starts_with("/a?");
            let refusal = format!("HTTP/1.1 401 No\r\nWWW-Authenticate: {CHALLENGE}\r\nContent-Length: 0\r\n\r\n");
            conversation.send(if refuse { refusal.as_str() } else { OK }).await;
        }
    })
    .await
}

impl Stage {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.path("secrets");
        let mut secrets = Vec::new();
        let mut put = |name: &str, bytes: &[u8]| {
            files::write_new(&dir, name, bytes);
            secrets.push(bytes.to_owned());
        };
        for name in SECRETS {
            // `:` ends a user name; everything else may stand in these.
            put(name, canary(name).as_bytes());
        }
        put("aws-id", canary("aws-id").replace('/', "|").as_bytes());
        put("shop/m1/key", canary("tenant").as_bytes());
        put("admin", canary("admin").as_bytes());
        let key = canary("hex-key");
        let hex: String = key.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        put("hex", hex.as_bytes());
        // What Digest makes of a password is worth as much.
        let worth = format!("shop:r:{}", canary("digest"));
        secrets.push(md5::Md5::digest(worth).to_vec());
        secrets.push(key.into_bytes());

        let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
        let client = clients.client("worker").unwrap();
        for (name, text) in [("ca.crt", ca.certificate()), ("client.crt", &client.certificate)] {
            files::write_new(&dir, name, text.as_bytes());
        }
        files::write_new(&dir, "client.key", client.key.as_bytes());
        secrets.push(middle_of(&client));

        let good = Upstream::ok().await;
        let asking = asking().await;
        let tls = Upstream::tls(pki::server(&ca, Clients::Of(clients.certificate()))).await;
        let denied = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        let plain = Upstream::ok().await;
        let silent = Upstream::scripted(async |mut one| while one.request().await.is_some() {}).await;
        let garbled = garbled().await;
        let torn = Upstream::scripted(async |mut one| {
            one.request().await;
            one.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
            one.close().await;
        })
        .await;
        let faults = FAULTS.into_iter().zip([
            "http://127.0.0.1:1".to_owned(),
            plain.url().replace("http:", "https:"),
            silent.url(),
            garbled.url(),
            torn.url(),
        ]);
        let faults = faults.collect();
        let _upstreams = vec![plain, silent, garbled, torn];
        Self { scratch, secrets, public: Public::default(), good, tls, denied, asking, faults, _upstreams }
    }

    fn config(&self) -> String {
        let good = self.good.url();
        let mut text = format!(
            "[listen]\nproxy = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[log]\nlevel = \"trace\"\naccess = \"on\"\n\
             [secrets]\ndir = \"secrets\"\n[admin]\ntoken = \"admin\"\n{CREDENTIALS}\n"
        );
        let mut route = |name: &str, host: &str, url: &str, credential: &str, keys: &str| {
            write!(
                text,
                "[[route]]\nname = \"{name}\"\nhost = \"{host}\"\nupstream = \"{url}\"\ncredential = {credential}\n{keys}\n"
            )
            .unwrap();
        };
        for name in SCHEMES {
            route(name, &format!("{name}.test"), &good, &format!("\"{name}\""), "limits = { signed_body = \"100B\" }");
        }
        route("digest", "digest.test", &self.asking.url(), "\"digest\"", "limits = { signed_body = \"100B\" }");
        let all = "[\"header\", \"query\", \"cookie\", \"basic\", \"hmac\"]";
        route("all", "all.test", &good, all, "");
        let some = "[\"header\", \"query\", \"cookie\", \"hmac\", \"message\"]";
        route("denied", "denied.test", &self.denied.url(), some, "");
        route("tenant", "{tenant}.shops.test", &good, "\"tenant\"", "tenant = \"{tenant}\"");
        for (name, url) in &self.faults {
            let host = format!("{name}.test");
            route(name, &host, url, "\"header\"", "timeouts = { connect = \"200ms\", response = \"200ms\" }");
        }
        let tls = "tls = { client_cert = \"client.crt\", client_key = \"client.key\", ca = \"ca.crt\" }";
        route("tls", "api.test", &self.tls.url(), "\"bearer\"", tls);
        text
    }

    fn add(&mut self, place: &str, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        self.public.add(place, format!("{}{body}", answer.head.raw));
    }

    async fn requests(&mut self, address: std::net::SocketAddr) {
        let worker = canary("workers-own");
        self.secrets.push(worker.clone().into_bytes());
        let own = format!("Authorization: Bearer {worker}\r\nX-Key: {worker}\r\nCookie: sid={worker}\r\n");
        let query = "api_key=mine&x=1";
        let mut hosts: Vec<String> = SCHEMES.iter().chain(&FAULTS).map(|name| format!("{name}.test")).collect();
        hosts.extend(
            ["all.test", "denied.test", "digest.test", "m1.shops.test", "m2.shops.test", "api.test", "nowhere.test"]
                .map(String::from),
        );
        for host in &hosts {
            for request in [
                format!("GET /a?{query} HTTP/1.1\r\nHost: {host}\r\n{own}\r\n"),
                format!("POST /a?{query} HTTP/1.1\r\nHost: {host}\r\n{own}Content-Length: 2\r\n\r\n{{}}"),
                format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{own}{FORM}Content-Length: 3\r\n\r\na=1"),
                format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{own}{JSON}Content-Length: 7\r\n\r\n{{\"a\":1}}"),
                format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{own}{JSON}Content-Length: 2\r\n\r\n{{{{"),
                format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{own}Content-Length: 200\r\n\r\n{}", "x".repeat(200)),
                format!("GET /a HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{own}\r\n"),
                format!("GET /a\\ HTTP/1.1\r\nHost: {host}\r\n{own}\r\n"),
                format!("BAD REQUEST\r\n{own}\r\n"),
                format!("GET /a HTTP/1.1\r\nHost: {host}\r\n{own}X: {}\r\n\r\n", "x".repeat(70_000)),
                format!("TRACE / HTTP/1.1\r\nHost: {host}\r\n{own}\r\n"),
            ] {
                let answer = Worker::tcp(address).await.exchange(&request).await;
                self.add(&format!("the answer of {host}"), &answer);
            }
        }
    }

    async fn admin(&mut self, address: std::net::SocketAddr) {
        for path in
            ["/", "/livez", "/readyz", "/readyz?verbose", "/metrics", "/api/status", "/api/routes", "/api/credentials"]
        {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let answer = Worker::tcp(address).await.exchange(request).await;
            self.add(path, &answer);
        }
        for token in [canary("admin"), canary("wrong-token")] {
            let request = format!(
                "POST /api/reload HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = Worker::tcp(address).await.exchange(request).await;
            self.add("/api/reload", &answer);
        }
        self.secrets.push(canary("wrong-token").into_bytes());
    }

    /// Bad and good values, one after the other.
    async fn rotations(&mut self, program: &Program) {
        let dir = self.scratch.path("secrets");
        let file = dir.join("header");
        for (nth, bad) in ["\u{feff}VALUE", "VALUE\nVALUE", "VALUE\0", "\u{e4}VALUE"].into_iter().enumerate() {
            files::rename_over(&file, bad.replace("VALUE", &canary("bad")));
            until("a refusal", async || program.lines_with("secret cannot be used").len() > 2 * nth).await;
            files::rename_over(&dir.join("hex"), bad.replace("VALUE", &canary("bad")));
            until("a refusal", async || program.lines_with("secret cannot be used").len() > 2 * nth + 1).await;
        }
        files::rename_over(&file, canary("second"));
        program.said("secret rotated").await;
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", canary("pem"));
        files::rename_over(&dir.join("client.key"), pem);
        program.said("identity cannot be used").await;
        self.secrets.extend(["bad", "second", "pem"].map(|purpose| canary(purpose).into_bytes()));
    }

    /// A literal where only a name may stand, in a changed file.
    async fn literals(&mut self, program: &Program, config: &str) {
        let literal = canary("literal").replace('"', "");
        let broken = config.replace(
            "bearer = { secret = \"bearer\" }",
            &format!("bearer = {{ secret = {{ value = \"{literal}\" }} }}"),
        );
        assert_ne!(broken, config);
        files::rename_over(&self.scratch.path("proxy.toml"), &broken);
        program.said("proxy.toml has mistakes").await;
        let checked = countersign(&self.scratch.path(""), &["check"]);
        assert_eq!(checked.status, 1);
        self.public.add("check of a literal", checked.out + &checked.err);
        self.secrets.push(literal.into_bytes());
        files::rename_over(&self.scratch.path("proxy.toml"), config);
    }

    fn commands(&mut self) {
        let folder = self.scratch.path("");
        for words in [
            &["check"][..],
            &["check", "--format", "json"],
            &["explain", "GET", "http://all.test/a?x=1"],
            &["explain", "POST", "http://hmac.test/a", "--body", "{}", "--format", "json"],
            &["explain", "GET", "http://query.test/a"],
            &["explain", "POST", "http://message.test/a", "--body", "{}", "--format", "json"],
            &["explain", "GET", "http://basic.test/a", "--format", "json"],
            &["explain", "GET", "http://digest.test/a"],
            &["explain", "GET", "http://digest.test/a", "--challenge", CHALLENGE, "--format", "json"],
            &["explain", "PUT", "http://aws.test/k?x", "--body", "{}", "--format", "json"],
            &["explain", "GET", "http://presigned.test/q", "--format", "json"],
            &["explain", "GET", "http://m1.shops.test/"],
            &["explain", "GET", "http://oauth1.test/a?x=1", "--format", "json"],
            &["explain", "POST", "http://plaintext.test/a", "-H", FORM.trim_end(), "--body", "a=1"],
            &["explain", "POST", "http://form.test/a", "-H", FORM.trim_end(), "--body", "a=1"],
            &["explain", "POST", "http://json.test/a", "-H", JSON.trim_end(), "--body", "{}", "--format", "json"],
            &["explain", "GET", "https://api.test/"],
        ] {
            let ran = countersign(&folder, words);
            self.public.add(words.join(" "), ran.out + &ran.err);
        }
    }
}

/// 24 bytes from the middle of a key, as they stand in PEM: the edges are the same in every key.
fn middle_of(pair: &Pair) -> Vec<u8> {
    let line = pair.key.lines().nth(2).unwrap();
    line.as_bytes()[8..32].to_vec()
}

#[tokio::test]
async fn a_secret_is_seen_by_the_upstream_and_by_nobody_else() {
    let mut stage = Stage::new().await;
    let config = stage.config();
    std::fs::write(stage.scratch.path("proxy.toml"), &config).unwrap();
    stage.commands();
    let mut program = Program::run(&stage.scratch, &["--log-level", "trace"]);
    let (proxy, admin) = (program.address("proxy").await, program.address("admin").await);
    stage.requests(proxy).await;
    stage.admin(admin).await;
    stage.literals(&program, &config).await;
    stage.rotations(&program).await;
    stage.requests(proxy).await;
    stage.admin(admin).await;
    stage.commands();
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    let lines = program.lines();
    assert!(lines.iter().any(|line| line.contains("\"level\":\"debug\"")), "the log is at its most talkative");
    assert!(lines.iter().any(|line| line.contains("\"outcome\":\"upstream_protocol\"")));
    let refused = |credential: &str| {
        let credential = format!("\"credential\":\"{credential}\"");
        lines.iter().any(|line| line.contains("refused a signed request") && line.contains(&credential))
    };
    assert!(refused("hmac") && refused("message"), "what was signed is in the log");
    stage.public.add("the log", lines.join("\n"));

    // The upstream has seen what it must see, so the search is for what really went by.
    let seen = stage.good.seen();
    let upstream: String = seen.iter().map(|seen| seen.head.raw.clone()).collect();
    for name in ["header", "cookie", "bearer", "salt", "message-id", "tenant", "second"] {
        assert!(upstream.contains(&canary(name)), "{name} went upstream");
    }
    assert!(stage.asking.seen().iter().any(|seen| seen.head.raw.contains("response=\"")), "proof went upstream");
    let bodies: String = seen.iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    for name in ["json", "form", "consumer-secret", "token", "token-secret"] {
        let (plain, encoded) = (canary(name), canary::percent(&canary(name)));
        let doubly = canary::percent(&encoded);
        assert!([plain, encoded, doubly].iter().any(|form| bodies.contains(form)), "{name} went upstream");
    }
    assert!(stage.tls.seen().iter().any(|seen| seen.head.raw.contains(&canary("bearer"))));
    assert!(stage.public.len() > 200);
    stage.public.holds_none_of(&stage.secrets);
    assert!(OK.ends_with("ok"), "what the good upstream answers has no secret in it");
}
