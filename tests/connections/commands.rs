//! `connections` and `state` on a store that no proxy has open.

use super::authority::Authority;
use super::{KEY, import, json, run, scratch};

const LINES: &str = r#"{"credential":"shop","tenant":"m1","access_token":"canary-a1","refresh_token":"canary-r1","expires_in":3600,"scope":"read write"}
{"credential":"shop","tenant":"m2","access_token":"canary-a2","expires_at":"2001-01-01T00:00:00Z"}
{"credential":"own","access_token":"canary-a3","refresh_token":"canary-r3","values":{"manager":"canary-v3"},"expires_in":60}
"#;

#[test]
fn what_was_imported_is_listed_shown_and_exported() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    let ran = import(&scratch, LINES, &[]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "3 imported\n"), "{ran:?}");

    let list = json(&scratch, &["connections", "list"]);
    let rows = list["connections"].as_array().unwrap();
    let names: Vec<(&str, Option<&str>)> =
        rows.iter().map(|row| (row["credential"].as_str().unwrap(), row["tenant"].as_str())).collect();
    assert_eq!(names, [("own", None), ("shop", Some("m1")), ("shop", Some("m2"))]);
    assert_eq!(list["next"], serde_json::Value::Null);
    let m1 = &rows[1];
    for (member, wanted) in [
        ("state", "active".into()),
        ("usable", true.into()),
        ("reason", serde_json::Value::Null),
        ("platform", serde_json::Value::Null),
        ("grant", "authorization_code".into()),
        ("scopes", serde_json::json!(["read", "write"])),
        ("failures", 0.into()),
        ("routes", serde_json::json!(["orders"])),
    ] {
        assert_eq!(m1[member], wanted, "{member}: {m1}");
    }
    for token in ["access_token", "refresh_token"] {
        let print = m1[token].as_str().unwrap();
        assert!(print.len() == 8 && print.bytes().all(|byte| byte.is_ascii_hexdigit()), "{m1}");
    }
    assert_eq!((&rows[2]["usable"], &rows[2]["refresh_token"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(json(&scratch, &["connections", "show", "shop", "--tenant", "m1"]), *m1);

    let text = run(&scratch, &["connections", "list"]);
    assert_eq!(text.status, 0);
    assert!(text.out.starts_with("CREDENTIAL  TENANT  STATE "), "{text:?}");
    assert!(text.out.contains("shop        m1      active  ends in "), "{text:?}");
    let one = run(&scratch, &["connections", "show", "own"]);
    assert!(
        one.out.starts_with("credential    own\ngrant         authorization_code\nstate         active\n"),
        "{one:?}"
    );

    let exported = run(&scratch, &["connections", "export", "--yes-print-tokens"]);
    assert_eq!(exported.status, 0, "{exported:?}");
    assert_eq!(exported.out.lines().count(), 3, "{exported:?}");
    assert!(exported.out.contains("canary-r1") && exported.out.contains("canary-v3"), "{exported:?}");
    let again = import(&scratch, &exported.out, &["--replace"]);
    assert_eq!(again.status, 0, "{again:?}");
    let same = run(&scratch, &["connections", "export", "--yes-print-tokens"]);
    assert_eq!(same.out, exported.out, "nothing is lost on the way");
    assert_eq!(run(&scratch, &["connections", "export"]).status, 2);
    for printed in [&text, &one] {
        assert!(!printed.out.contains("canary") && !printed.err.contains("canary"), "{printed:?}");
    }
}

#[test]
fn an_import_is_all_or_nothing_and_says_no_value() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    for (line, said) in [
        (r#"{"credential":"shop","tenant":"m9","access_token":"canary"#, "line 2: not JSON"),
        (
            r#"{"credential":"shop","access_token":"canary"}"#,
            "line 2: credential shop has a connection for each tenant",
        ),
        (
            r#"{"credential":"own","tenant":"m1","access_token":"canary"}"#,
            "line 2: credential own has one connection for all",
        ),
        (
            r#"{"credential":"gone","tenant":"m1","access_token":"canary"}"#,
            "line 2: there is no oauth2 credential \"gone\"",
        ),
        (r#"{"credential":"shop","tenant":"m1","access_token":"canary"}"#, "line 2: the same connection as line 1"),
    ] {
        let first = LINES.lines().next().unwrap();
        let ran = import(&scratch, &format!("{first}\n{line}\n"), &[]);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(said) && ran.err.contains("nothing was imported"), "{ran:?}");
        assert!(!ran.err.contains("canary"), "{ran:?}");
    }
    assert_eq!(json(&scratch, &["connections", "list"])["connections"], serde_json::json!([]));

    assert_eq!(import(&scratch, LINES, &[]).status, 0);
    let more = format!("{{\"credential\":\"shop\",\"tenant\":\"m0\",\"access_token\":\"x\"}}\n{LINES}");
    let ran = import(&scratch, &more, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("exists already") && ran.err.contains("--replace"), "{ran:?}");
    assert_eq!(run(&scratch, &["connections", "show", "shop", "--tenant", "m0"]).status, 1);
    assert_eq!(import(&scratch, &more, &["--replace"]).status, 0);
    assert_eq!(json(&scratch, &["connections", "show", "shop", "--tenant", "m1"])["version"], 2);
}

#[test]
fn a_list_comes_in_pages_and_filtered() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    let line =
        |number: u32| format!("{{\"credential\":\"shop\",\"tenant\":\"m{number}\",\"access_token\":\"x{number}\"}}\n");
    assert_eq!(import(&scratch, &(0..7).map(line).collect::<String>(), &[]).status, 0);
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut words = vec!["connections", "list", "--limit", "3"];
        words.extend(after.iter().flat_map(|after| ["--after", after]));
        let page = json(&scratch, &words);
        let rows = page["connections"].as_array().unwrap();
        assert!(rows.len() <= 3);
        seen.extend(rows.iter().map(|row| row["tenant"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|number| format!("m{number}")).collect::<Vec<_>>());
    let count = |words: &[&str]| {
        let words: Vec<&str> = ["connections", "list"].iter().chain(words).copied().collect();
        json(&scratch, &words)["connections"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--tenant", "m3"]), 1);
    assert_eq!(count(&["--credential", "own"]), 0);
    assert_eq!((count(&["--state", "active"]), count(&["--state", "revoked"])), (7, 0));
    assert_eq!(count(&["--state", "refreshing"]), 0);
    assert_eq!(run(&scratch, &["connections", "list", "--limit", "0"]).status, 2);
}

#[test]
fn refresh_and_revoke_reach_the_platform() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    assert_eq!(import(&scratch, LINES, &[]).status, 0);
    // The platform never gave this refresh token: somebody must approve again.
    let ran = run(&scratch, &["connections", "refresh", "shop", "--tenant", "m1"]);
    assert_eq!((ran.status, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(
        ran.err.contains("invalid_grant") && ran.err.contains("hint: countersign connect shop --tenant m1"),
        "{ran:?}"
    );
    let shown = json(&scratch, &["connections", "show", "shop", "--tenant", "m1"]);
    assert_eq!((&shown["state"], &shown["reason"]), (&"reauthorize".into(), &"invalid_grant".into()), "{shown}");

    let revoked = json(&scratch, &["connections", "revoke", "shop", "--tenant", "m1"]);
    let wanted = serde_json::json!({"credential": "shop", "tenant": "m1", "state": "revoked", "platform": "revoked", "routes": ["orders"]});
    assert_eq!(revoked, wanted);
    assert_eq!(authority.known.lock().unwrap().revoked, ["canary-r1"]);
    let shown = json(&scratch, &["connections", "show", "shop", "--tenant", "m1"]);
    assert_eq!((&shown["state"], &shown["access_token"]), (&"revoked".into(), &serde_json::Value::Null), "{shown}");

    let all = json(&scratch, &["connections", "revoke", "shop", "--all"]);
    let tenants: Vec<&str> =
        all["revoked"].as_array().unwrap().iter().map(|one| one["tenant"].as_str().unwrap()).collect();
    assert_eq!(tenants, ["m2"], "m1 is revoked already");
    let gone = run(&scratch, &["connections", "revoke", "shop", "--tenant", "m9"]);
    assert_eq!((gone.status, gone.err.as_str()), (1, "error: shop/m9 is not connected\n"), "{gone:?}");
}

#[test]
fn a_new_key_seals_what_the_old_one_sealed() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    assert_eq!(import(&scratch, LINES, &[]).status, 0);
    scratch.secret("state/new", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="); // printf fedcba9876543210fedcba9876543210 | base64
    let set = |keys: &str| {
        let path = scratch.path("proxy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let line = text.lines().find(|line| line.starts_with("key = ")).unwrap().to_owned();
        std::fs::write(&path, text.replace(&line, &format!("key = {keys}"))).unwrap();
    };
    set(r#"["state/new", "state/key"]"#);
    let rekeyed = json(&scratch, &["state", "rekey"]);
    assert!(rekeyed["rewritten"].as_u64().unwrap() >= 3, "{rekeyed}");
    set(r#""state/new""#);
    let exported = run(&scratch, &["connections", "export", "--yes-print-tokens"]);
    assert!(exported.status == 0 && exported.out.contains("canary-r1"), "{exported:?}");
    // One that the old key sealed, beside those of the new.
    set(r#"["state/key", "state/new"]"#);
    let old = r#"{"credential":"shop","tenant":"m1","access_token":"canary-o1","expires_in":3600}"#;
    assert_eq!(import(&scratch, old, &["--replace"]).status, 0);
    set(r#""state/new""#);
    let list = run(&scratch, &["connections", "list", "--format", "json"]);
    assert_eq!(list.status, 1, "{list:?}");
    assert!(list.err.contains("the tokens of 1 of these cannot be opened"), "{list:?}");
    let list = list.json();
    let rows: Vec<_> = list["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["credential"].as_str().unwrap(),
                row["tenant"].as_str(),
                row["reason"].as_str(),
                row["access_token"].is_null(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [("own", None, None, false), ("shop", Some("m1"), Some("sealed"), true), ("shop", Some("m2"), None, false)]
    );
    let text = run(&scratch, &["connections", "list"]);
    assert!(text.status == 1 && text.out.contains("sealed") && text.out.contains("m2"), "{text:?}");
    let exported = run(&scratch, &["connections", "export", "--yes-print-tokens"]);
    assert!(
        exported.status == 1 && exported.out.contains("canary-a2") && !exported.out.contains("\"m1\""),
        "{exported:?}"
    );
    assert!(exported.err.contains("shop/m1") && exported.err.contains("1 connections are not in it"), "{exported:?}");
    set(r#""state/key""#);
    let refused = run(&scratch, &["connections", "export", "--yes-print-tokens"]);
    assert_eq!(refused.status, 1, "the old key opens nothing any more: {refused:?}");
    assert!(refused.err.contains("[state] key") && !refused.err.contains(KEY), "{refused:?}");
}

#[test]
fn what_has_no_store_to_work_on_is_said() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    let path = scratch.path("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("sqlite:state/state.db", "memory:")).unwrap();
    let ran = run(&scratch, &["connections", "list"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("memory:") && ran.err.contains("admin listener"), "{ran:?}");
    std::fs::write(&path, "[listen]\nproxy = []\n[secrets]\ndir = \"secrets\"\n").unwrap();
    let ran = run(&scratch, &["connections", "list"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("no credential of the configuration has connections"), "{ran:?}");
}

#[test]
fn a_grant_that_may_rotate_is_not_kept_in_sqlite_inside_kubernetes() {
    let authority = Authority::start();
    let scratch = scratch(&authority, "");
    let list = |config: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["-c", config, "connections", "list"]).current_dir(scratch.path(".")).env_clear();
        command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1").output().unwrap()
    };
    let refused = list("proxy.toml");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("SQLite inside Kubernetes") && said.contains("[state] single = true"), "{said}");
    let text = std::fs::read_to_string(scratch.path("proxy.toml")).unwrap();
    let single = text.replacen("[state]\n", "[state]\nsingle = true\n", 1);
    assert_ne!(single, text);
    std::fs::write(scratch.path("single.toml"), single).unwrap();
    assert_eq!(list("single.toml").status.code(), Some(0));
}
