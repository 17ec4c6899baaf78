//! `countersign connect`, driven by a plain HTTP client in place of a browser.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::authority::{Authority, browse, form};
use super::{json, scratch};
use crate::support::{Ran, Scratch};

/// A running `connect`; killed when dropped.
struct Connecting {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The first line.
    url: String,
}

impl Connecting {
    fn start(scratch: &Scratch, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .arg("connect")
            .args(words)
            .current_dir(scratch.path(""))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        out.read_line(&mut url).unwrap();
        Self { child, out, url: url.trim_end().to_owned() }
    }

    /// Where the browser comes back to, and with what.
    fn approved(&self) -> String {
        assert!(self.url.starts_with("http://127.0.0.1:"), "the first line is the URL alone: {:?}", self.url);
        browse(&self.url).unwrap().location().to_owned()
    }

    fn ended(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { status: self.child.wait().unwrap().code().unwrap(), out, err }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_approval_is_stored_and_cannot_be_used_again() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    let connecting = Connecting::start(&scratch, &["shop", "--tenant", "m1", "--no-browser", "--format", "json"]);
    let asked = form(connecting.url.split_once('?').unwrap().1);
    assert_eq!((asked["client_id"].as_str(), asked["scope"].as_str()), ("app", "read write"));
    assert!(asked["state"].len() >= 43 && asked["code_challenge"].len() == 43, "{asked:?}");
    let back = connecting.approved();

    // Whoever finds the port ends nothing: another state, none, another path.
    let (address, query) = back.split_once('?').unwrap();
    for wrong in [format!("{address}?code=x&state=x"), format!("{address}?code=x"), address.to_owned()] {
        let page = browse(&wrong).unwrap();
        assert_eq!(page.status, 400, "{page:?}");
        assert!(page.body.contains("Not connected"), "{page:?}");
    }
    assert_eq!(browse(&format!("{}/other?{query}", address.rsplit_once('/').unwrap().0)).unwrap().status, 404);

    let page = browse(&back).unwrap();
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("shop is connected for m1"), "{page:?}");
    assert!(
        !page.body.contains("<script") && !page.body.contains("access-") && !page.body.contains("code-"),
        "{page:?}"
    );
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{page:?}");
    let ran = connecting.ended();
    assert_eq!(ran.status, 0, "{ran:?}");
    let printed = ran.json();
    assert_eq!(printed["state"], "active", "{printed}");
    assert!(!ran.out.contains("access-") && !ran.out.contains("refresh-"), "{ran:?}");
    assert!(browse(&back).is_none(), "nobody listens any more");

    let shown = json(&scratch, &["connections", "show", "shop", "--tenant", "m1"]);
    assert_eq!(shown["access_token"], printed["access_token"], "the same key makes the same fingerprint");
    assert_eq!((&shown["grant"], &shown["usable"]), (&"authorization_code".into(), &true.into()), "{shown}");
    assert_eq!(shown["scopes"], serde_json::json!(["read", "write"]), "{shown}");
    let known = authority.known.lock().unwrap();
    assert_eq!(known.calls.len(), 1);
    assert_eq!(known.calls[0]["redirect_uri"], address, "the same as in the authorization request");
}

#[test]
fn a_person_who_says_no_ends_it_with_status_3() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    authority.known.lock().unwrap().deny = Some("access_denied");
    let connecting = Connecting::start(&scratch, &["own", "--no-browser"]);
    let page = browse(&connecting.approved()).unwrap();
    assert!(page.status == 400 && page.body.contains("access_denied (no thanks)"), "{page:?}");
    let ran = connecting.ended();
    assert_eq!((ran.status, ran.err.as_str()), (3, "error: not approved: access_denied (no thanks)\n"), "{ran:?}");
    assert!(authority.known.lock().unwrap().calls.is_empty());
}

#[test]
fn nobody_who_comes_back_ends_it_with_status_5() {
    let authority = Authority::start();
    let ran = Connecting::start(&scratch(&authority, ""), &["own", "--timeout", "50ms"]).ended();
    assert_eq!(ran.status, 5, "{ran:?}");
}

#[test]
fn another_scope_than_asked_for_is_said() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    authority.known.lock().unwrap().scope = Some("read");
    let connecting = Connecting::start(&scratch, &["own", "--no-browser"]);
    browse(&connecting.approved()).unwrap();
    let ran = connecting.ended();
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (0, "warning: what was granted is not what was asked for: read\n"),
        "{ran:?}"
    );
}

#[test]
fn an_answer_from_another_platform_is_refused() {
    let (authority, other) = (Authority::start(), "http://localhost:1");
    let more = format!(
        "[credential.other]\noauth2 = {{ grant = \"authorization_code\", token_url = \"{other}/t\", authorize_url = \"{other}/a\", client_id = \"x\", client_auth = \"none\" }}\n"
    );
    let scratch = scratch(&authority, &more);
    // RFC 9207: the same host is fine, that of another credential is not.
    for (issuer, status) in [(authority.url("/realm"), 0), (format!("{other}/"), 3)] {
        authority.known.lock().unwrap().issuer = Some(issuer);
        let connecting = Connecting::start(&scratch, &["own", "--no-browser"]);
        browse(&connecting.approved()).unwrap();
        let ran = connecting.ended();
        assert_eq!(ran.status, status, "{ran:?}");
    }
}

#[test]
fn what_cannot_be_connected_is_said_before_anything_is_asked() {
    let authority = Authority::start();
    let more = format!(
        "[credential.far]\noauth2 = {{ {}, redirect_url = \"https://app.example/back\" }}\n[credential.key]\nbearer = {{ secret = \"app\" }}\n",
        authority.keys()
    );
    let scratch = scratch(&authority, &more);
    for (words, said) in [
        (vec!["shop"], "credential shop has a connection for each tenant: name one"),
        (vec!["own", "--tenant", "m1"], "credential own has one connection for all tenants: name none"),
        (vec!["shop", "--tenant", "a/b"], "a tenant's name is of the form"),
        (vec!["key"], "there is no oauth2 credential \"key\""),
        (vec!["none"], "there is no oauth2 credential \"none\""),
        (vec!["far"], "which this command cannot receive"),
    ] {
        let ran = Connecting::start(&scratch, &words).ended();
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{words:?}: {ran:?}");
        assert!(ran.err.contains(said), "{words:?}: {ran:?}");
    }
}
