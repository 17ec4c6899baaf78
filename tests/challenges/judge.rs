//! A server that asks for Digest and judges by itself what comes: nonces, counts, targets, answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::support::Upstream;
use crate::support::http1::Head;
use crate::support::upstream::{Conversation, Seen};

/// How a server asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Counts may come in any order, each once.
    Any,
    /// A count must be higher than every one before it.
    Rising,
}

/// What a judge knows; tests change it while it judges.
pub(super) struct Rules {
    pub(super) password: String,
    pub(super) order: Order,
    /// After so many requests under one nonce it is stale.
    pub(super) uses: usize,
    /// Whether each good answer brings the next nonce.
    pub(super) next: bool,
    /// Whether the server says that a nonce was too old.
    pub(super) says_stale: bool,
    /// Whether it asks for nothing.
    pub(super) open: bool,
    nonces: HashMap<String, Vec<u32>>,
    made: usize,
}

/// A running judge.
pub(super) struct Judge {
    pub(super) upstream: Upstream,
    pub(super) rules: Arc<Mutex<Rules>>,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Wrong,
    Stale,
    Good,
}

impl Judge {
    /// Knows `Mufasa` by this password.
    pub(super) async fn of(password: &str) -> Self {
        let rules = Arc::new(Mutex::new(Rules {
            password: password.to_owned(),
            order: Order::Any,
            uses: usize::MAX,
            next: false,
            says_stale: true,
            open: false,
            nonces: HashMap::new(),
            made: 0,
        }));
        let shared = rules.clone();
        let upstream = Upstream::scripted(move |conversation| judge(conversation, shared.clone())).await;
        Self { upstream, rules }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().unwrap());
    }

    /// The server forgets every nonce, as after a restart.
    pub(super) fn forget(&self) {
        self.change(|rules| rules.nonces.clear());
    }

    /// For each request whether it came with proof, and its count.
    pub(super) fn counts(&self, from: usize) -> Vec<Option<String>> {
        self.upstream.seen()[from..].iter().map(|seen| parameters(&seen.head)?.remove("nc")).collect()
    }
}

async fn judge(mut conversation: Conversation, rules: Arc<Mutex<Rules>>) {
    while let Some(seen) = conversation.request().await {
        let answer = rules.lock().unwrap().answer(&seen);
        conversation.send(answer).await;
    }
}

impl Rules {
    fn answer(&mut self, seen: &Seen) -> String {
        let found = self.judge(seen);
        if found == Found::Good {
            let next = if self.next { self.nonce() } else { String::new() };
            let next = if next.is_empty() { next } else { format!("Authentication-Info: nextnonce=\"{next}\"\r\n") };
            let body = format!("{} bytes", seen.body.len());
            return format!("HTTP/1.1 200 OK\r\n{next}Content-Length: {}\r\n\r\n{body}", body.len());
        }
        let stale = if found == Found::Stale && self.says_stale { ", stale=true" } else { "" };
        let (nonce, body) = (self.nonce(), format!("{found:?}"));
        format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
             WWW-Authenticate: Digest realm=\"the \\\"pride\\\", rock\", nonce=\"{nonce}\", qop=\"auth,auth-int\", \
             algorithm=SHA-256, opaque=\"o=\"{stale}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn nonce(&mut self) -> String {
        self.made += 1;
        let nonce = format!("nonce+{}/==", self.made);
        self.nonces.insert(nonce.clone(), Vec::new());
        nonce
    }

    fn judge(&mut self, seen: &Seen) -> Found {
        if self.open {
            return Found::Good;
        }
        let Some(sent) = parameters(&seen.head) else { return Found::Nothing };
        let get = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
        let key = sha(&format!("Mufasa:the \"pride\", rock:{}", self.password));
        let asked = sha(&format!("{}:{}", seen.head.method(), seen.head.target()));
        let wanted = sha(&format!("{key}:{}:{}:{}:auth:{asked}", get("nonce"), get("nc"), get("cnonce")));
        let fits = get("username") == "Mufasa"
            && get("realm") == "the \"pride\", rock"
            && get("uri") == seen.head.target()
            && get("opaque") == "o="
            && get("qop") == "auth"
            && get("algorithm") == "SHA-256"
            && get("nc").len() == 8
            && get("cnonce").len() >= 32;
        if !fits || get("response") != wanted {
            return Found::Wrong;
        }
        let count = u32::from_str_radix(get("nc"), 16).unwrap();
        let Some(used) = self.nonces.get_mut(get("nonce")) else { return Found::Stale };
        let repeated = used.contains(&count) || self.order == Order::Rising && used.iter().any(|other| *other > count);
        if repeated || used.len() >= self.uses {
            return Found::Stale;
        }
        used.push(count);
        Found::Good
    }
}

fn sha(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parameters of `Authorization: Digest`, by a reader that shares nothing with the product's.
fn parameters(head: &Head) -> Option<HashMap<String, String>> {
    let line = head.header("authorization")?.strip_prefix("Digest ")?;
    let (mut out, mut rest) = (HashMap::new(), line);
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).to_owned();
        let (value, after) = match value.strip_prefix('"') {
            None => value.split_once(',').unwrap_or((value, "")),
            Some(quoted) => {
                let mut end = 0;
                while !quoted[end..].starts_with('"') {
                    end += if quoted[end..].starts_with('\\') { 2 } else { 1 };
                }
                (&quoted[..end], &quoted[end + 1..])
            }
        };
        out.insert(name, value.replace("\\\"", "\""));
        rest = after;
    }
    Some(out)
}
