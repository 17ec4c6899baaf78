//! An authorization server made by hand (RFC 6749, 7009, 7636): a page that approves at once, a token endpoint that
//! rotates, a revocation endpoint. It checks what it gets and remembers it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What it knows.
#[derive(Default)]
pub(super) struct Known {
    /// Codes that were given and not used: what the authorization request said.
    codes: HashMap<String, HashMap<String, String>>,
    /// Refresh tokens that may be used.
    refresh: Vec<String>,
    /// Tokens that were revoked.
    pub(super) revoked: Vec<String>,
    /// Token requests.
    pub(super) calls: Vec<HashMap<String, String>>,
    /// Answers to the next authorization request instead of a code.
    pub(super) deny: Option<&'static str>,
    /// `iss` in the redirect.
    pub(super) issuer: Option<String>,
    /// What is granted; what was asked for where none.
    pub(super) scope: Option<&'static str>,
    count: u32,
}

pub(super) struct Authority {
    pub(super) address: SocketAddr,
    pub(super) known: Arc<Mutex<Known>>,
}

impl Authority {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::<Mutex<Known>>::default();
        let shared = known.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let known = shared.clone();
                std::thread::spawn(move || serve(stream, &known));
            }
        });
        Self { address, known }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `oauth2 = { .. }` without its braces.
    pub(super) fn keys(&self) -> String {
        format!(
            "grant = \"authorization_code\", token_url = \"{}\", authorize_url = \"{}\", revoke_url = \"{}\", client_id = \"app\", client_secret = {{ secret = \"app\" }}, scope = \"read write\"",
            self.url("/token"),
            self.url("/authorize"),
            self.url("/revoke")
        )
    }
}

fn serve(stream: TcpStream, known: &Mutex<Known>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => value.clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (status, extra, body) = match (method.as_str(), path) {
        ("GET", "/authorize") => authorize(query, &mut known.lock().unwrap()),
        ("POST", "/token") => token(&body, &authorization, &mut known.lock().unwrap()),
        ("POST", "/revoke") => revoke(&body, &mut known.lock().unwrap()),
        _ => (404, String::new(), String::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{extra}\r\n{body}"
    );
    let _ = reader.get_mut().write_all(head.as_bytes());
}

fn authorize(query: &str, known: &mut Known) -> (u16, String, String) {
    let asked = form(query);
    let (back, state) = (&asked["redirect_uri"], &asked["state"]);
    let mut location = format!("{back}?state={state}");
    match known.deny.take() {
        Some(error) => location.push_str(&format!("&error={error}&error_description=no+thanks")),
        None => {
            known.count += 1;
            let code = format!("code-{}", known.count);
            location.push_str(&format!("&code={code}"));
            known.codes.insert(code, asked.clone());
        }
    }
    if let Some(issuer) = &known.issuer {
        location.push_str(&format!("&iss={issuer}"));
    }
    (302, format!("location: {location}\r\n"), String::new())
}

/// RFC 6749 sections 4.1.3 and 6; RFC 7636 section 4.6.
fn token(body: &[u8], authorization: &str, known: &mut Known) -> (u16, String, String) {
    let call = form(std::str::from_utf8(body).unwrap());
    known.calls.push(call.clone());
    let refuse =
        |error: &str| (400, String::new(), format!("{{\"error\":\"{error}\",\"error_description\":\"go away\"}}"));
    if authorization != "Basic YXBwOmFwcC1zZWNyZXQ=" {
        return refuse("invalid_client"); // printf app:app-secret | base64
    }
    let scope = match call["grant_type"].as_str() {
        "authorization_code" => {
            let Some(asked) = known.codes.remove(&call["code"]) else { return refuse("invalid_grant") };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(call["code_verifier"].as_bytes()));
            let good = asked["code_challenge"] == challenge
                && asked["code_challenge_method"] == "S256"
                && asked["redirect_uri"] == call["redirect_uri"]
                && asked["client_id"] == "app"
                && asked["response_type"] == "code";
            if !good {
                return refuse("invalid_grant");
            }
            asked["scope"].clone()
        }
        "refresh_token" => {
            let Some(place) = known.refresh.iter().position(|token| *token == call["refresh_token"]) else {
                return refuse("invalid_grant");
            };
            known.refresh.remove(place);
            "read write".to_owned()
        }
        _ => return refuse("unsupported_grant_type"),
    };
    known.count += 1;
    let count = known.count;
    known.refresh.push(format!("refresh-{count}"));
    let scope = known.scope.map_or(scope, str::to_owned);
    let answer = format!(
        "{{\"access_token\":\"access-{count}\",\"refresh_token\":\"refresh-{count}\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"scope\":\"{scope}\"}}"
    );
    (200, String::new(), answer)
}

fn revoke(body: &[u8], known: &mut Known) -> (u16, String, String) {
    let call = form(std::str::from_utf8(body).unwrap());
    known.refresh.retain(|token| *token != call["token"]);
    known.revoked.push(call["token"].clone());
    (200, String::new(), String::new())
}

/// Decodes a form or a query.
pub(super) fn form(text: &str) -> HashMap<String, String> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}

/// What a plain HTTP client gets.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(super) fn location(&self) -> &str {
        assert_eq!(self.status, 302, "{self:?}");
        self.header("location").unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `GET` of an `http` URL, as a browser without script does it. No answer where nobody listens.
pub(super) fn browse(url: &str) -> Option<Got> {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    request(
        authority,
        &format!(
            "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n"
        ),
    )
}

/// Sends bytes and reads to the end.
pub(super) fn request(authority: &str, bytes: &str) -> Option<Got> {
    let mut stream = TcpStream::connect(authority).ok()?;
    stream.write_all(bytes.as_bytes()).ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    let (head, body) = all.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Got { status, head: head.to_owned(), body: body.to_owned() })
}
