#![allow(clippy::unwrap_used)]

use super::*;
use crate::token::grant::Grant;
use crate::token::record::State;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn mistake(text: &str) -> LineError {
    read(text.as_bytes(), NOW).unwrap_err()
}

fn plain(token: &Option<SecretBytes>) -> Option<&str> {
    token.as_ref().map(|token| std::str::from_utf8(token.expose()).unwrap())
}

#[test]
fn every_member_is_read() {
    let text = r#"
{"credential":"shop","tenant":"m1","access_token":"a\u0031","refresh_token":"r1","expires_in":60,"scope":"read write"}
{"credential":"shop","tenant":"m2","refresh_token":"r2","expires_at":"2027-01-15T08:00:00Z","refresh_expires_at":1900000000,"scope":["a","b"],"values":{"manager":"v"},"host":"eu.example.com"}

{"credential":"cc","tenant":null,"access_token":"a3","expires_in":"60"}"#;
    let lines = read(text.as_bytes(), NOW).unwrap();
    assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3, 5]);
    let [one, two, three] = &lines[..] else { panic!() };
    assert_eq!(
        (one.key.to_string(), plain(&one.tokens.access), plain(&one.tokens.refresh)),
        ("shop/m1".into(), Some("a1"), Some("r1"))
    );
    assert_eq!(one.tokens.expires_at, Some(NOW.plus_seconds(60)));
    assert_eq!(one.tokens.scopes, ["read", "write"]);
    assert_eq!(
        two.tokens.expires_at,
        Some(Timestamp::from_seconds(1_800_000_000)),
        "2027-01-15T08:00:00Z by `date -u -d @1800000000`"
    );
    assert_eq!(two.tokens.refresh_expires_at, Some(Timestamp::from_seconds(1_900_000_000)));
    assert_eq!(
        (two.tokens.values["manager"].expose(), two.tokens.host.as_deref()),
        (b"v".as_slice(), Some("eu.example.com"))
    );
    assert_eq!((three.key.to_string(), three.tokens.expires_at), ("cc".into(), Some(NOW.plus_seconds(60))));
}

#[test]
fn a_mistake_says_its_line_and_no_value() {
    let good = r#"{"credential":"c","tenant":"t","access_token":"x"}"#;
    for (line, found) in [
        (r#"{"credential":"c","access_token":"canary"#, Mistake::Json(40)),
        (r#"["canary"]"#, Mistake::Shape),
        (r#"{"access_token":"canary"}"#, Mistake::Missing("credential")),
        (r#"{"credential":"c","access_token":"canary","canary":1}"#, Mistake::Member),
        (r#"{"credential":"c","access_token":"canary","access_token":"canary"}"#, Mistake::Twice),
        (r#"{"credential":"c","access_token":7}"#, Mistake::Kind("access_token", TOKEN)),
        (r#"{"credential":"c","access_token":""}"#, Mistake::Kind("access_token", TOKEN)),
        (r#"{"credential":"c","access_token":"canary\n"}"#, Mistake::Kind("access_token", TOKEN)),
        (r#"{"credential":"c"}"#, Mistake::NoToken),
        (r#"{"credential":"c","access_token":"canary","expires_at":"canary"}"#, Mistake::Kind("expires_at", TIME)),
        (r#"{"credential":"c","access_token":"canary","expires_at":1,"expires_in":1}"#, Mistake::Both),
        (
            r#"{"credential":"c","access_token":"canary","expires_in":-1}"#,
            Mistake::Kind("expires_in", "a number of seconds"),
        ),
        (good, Mistake::Same(1)),
    ] {
        let error = mistake(&format!("{good}\n{line}\n"));
        assert_eq!(error, LineError { number: 2, mistake: found }, "{line}");
        assert!(error.to_string().starts_with("line 2: ") && !error.to_string().contains("canary"), "{error}");
    }
    assert_eq!(mistake(&"x".repeat(LINE_LIMIT + 1)).mistake, Mistake::Long);
    assert_eq!(read(b"\xff\n", NOW).unwrap_err().mistake, Mistake::Utf8);
}

#[test]
fn what_is_written_is_read_again() {
    let text = |text: &str| Some(SecretBytes::copy_of(text.as_bytes()));
    let tokens = TokenSet {
        access: text("a\"\\ü"),
        refresh: text("r"),
        values: BTreeMap::from([("manager".to_owned(), SecretBytes::copy_of(b"m"))]),
        host: Some("eu.example.com".into()),
        scopes: vec!["read".into(), "a b".into()],
        issued_at: Some(NOW),
        expires_at: Some(NOW.plus_seconds(3600)),
        refresh_expires_at: Some(NOW.plus_seconds(7200)),
    };
    let record = Record {
        key: ConnectionKey::new("shop", "m1"),
        grant: Grant::RefreshToken,
        state: State::Active,
        reason: None,
        detail: None,
        tokens,
        version: 4,
        failures: 0,
        next_refresh_at: None,
        last_refresh: None,
        seed: None,
        captures: BTreeMap::new(),
        created_at: NOW,
        updated_at: NOW,
        last_used_at: None,
        lease: None,
        intent: None,
    };
    let line = written(&record).unwrap();
    let lines = read(&line, NOW).unwrap();
    let (read, was) = (&lines[0].tokens, &record.tokens);
    assert_eq!(lines[0].key, record.key);
    assert_eq!((plain(&read.access), plain(&read.refresh)), (plain(&was.access), plain(&was.refresh)));
    assert_eq!(read.values["manager"].expose(), b"m");
    assert_eq!((&read.host, &read.scopes), (&was.host, &was.scopes));
    assert_eq!(
        (read.issued_at, read.expires_at, read.refresh_expires_at),
        (was.issued_at, was.expires_at, was.refresh_expires_at)
    );
    let empty = Record { tokens: TokenSet::default(), ..record };
    assert!(written(&empty).is_none());
}
