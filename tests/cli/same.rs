//! What `explain` shows is what leaves.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::run;
use crate::support::Scratch;

const CONFIG: &str = r#"
[listen]
proxy = []
admin = "off"
[log]
access = "off"
[secrets]
dir = "secrets"
[credential.sid]
api_key = { secret = "sid", cookie = "sid" }
[credential.signed.hmac]
secret = "key"
algorithm = "sha256"
encoding = "base64"
sign = "{method}\n{host}\n{target}\n{header.Content-Type}\n{body|sha256|hex}"
set = { "X-Signature" = "{signature}" }
set_query = { "sig" = "{signature}" }
[[route]]
name = "peer"
host = "peer.example"
upstream = "http://ADDRESS"
credential = ["sid", "signed"]
"#;

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(scratch: &Scratch) -> (Running, UnixStream) {
    let socket = scratch.path("proxy.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("--unix-socket").arg(&socket).current_dir(scratch.path("")).env_clear().stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => return (running, stream),
            Err(error) if Instant::now() > end => panic!("the proxy did not start: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Answers one request and returns its head.
fn peer(listener: TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"{\"a\":1}") {
            let mut some = [0; 4096];
            let length = stream.read(&mut some).unwrap();
            assert!(length > 0, "the request ended early");
            seen.extend_from_slice(&some[..length]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8(seen).unwrap().split("\r\n\r\n").next().unwrap().to_owned()
    })
}

#[test]
fn what_explain_shows_is_what_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = CONFIG.replace("ADDRESS", &listener.local_addr().unwrap().to_string());
    let scratch = Scratch::with(&config, &[("sid", "cookie-value"), ("key", "hmac-key")]);
    let (_running, mut worker) = start(&scratch);
    let peer = peer(listener);
    let request = "POST /v1/%7eorders?b=2&sig=worker&a=%2F+1 HTTP/1.1\r\nHost: PEER.example\r\nContent-Type: application/json\r\n\
        Cookie: sid=worker; other=1\r\nX_Signature: x\r\nTE: trailers\r\nX-Hop: 1\r\nConnection: X-Hop\r\n\
        Content-Length: 7\r\n\r\n{\"a\":1}";
    worker.write_all(request.as_bytes()).unwrap();
    let head = peer.join().unwrap();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap().to_owned();
    let mut left: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();

    let words: Vec<&str> =
        "explain POST /v1/%7eorders?b=2&sig=worker&a=%2F+1 --body {\"a\":1} --format json".split(' ').collect();
    let headers = [
        "Host: PEER.example",
        "Content-Type: application/json",
        "Cookie: sid=worker; other=1",
        "X_Signature: x",
        "TE: trailers",
        "X-Hop: 1",
        "Connection: X-Hop",
    ];
    let headers: Vec<&str> = headers.into_iter().flat_map(|header| ["-H", header]).collect();
    let shown = run(&scratch, &[words, headers].concat());
    assert_eq!((shown.status, shown.err.as_str()), (0, ""), "{shown:?}");
    let shown = shown.json();
    assert_eq!(first, format!("POST {} HTTP/1.1", shown["target"].as_str().unwrap()));
    let mut told: Vec<(String, String)> = serde_json::from_value(shown["headers"].clone()).unwrap();
    // Towards loopback alone the proxy marks what has passed through it.
    left.retain(|(name, _)| name != "via");
    left.sort();
    told.sort();
    let told: Vec<_> = told.into_iter().map(|(n, v)| (n, v.replace("[sid]", "cookie-value"))).collect();
    assert_eq!(left, told);
}
