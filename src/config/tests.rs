//! `tests/config/good` parses without a word; each file of `tests/config/bad` prints exactly the
//! text beside it. Set `UPDATE_DOCS=1` to rewrite the reference page, `UPDATE_EXPECTED=1` to write
//! the expected texts that are not there yet.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods)] // UPDATE_DOCS and UPDATE_EXPECTED are read from the environment

use std::path::{Path, PathBuf};

use super::*;
use crate::secret::name::NamePattern;
use crate::sign::basic::PublicValue;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("tests/config").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

/// As `load` does it, with a name that is the same on every machine.
fn parse_file(path: &Path) -> Loaded {
    let text = std::fs::read_to_string(path).unwrap();
    parse(path.file_name().unwrap().to_str().unwrap(), &text, Path::new("/etc/countersign"))
}

fn printed(loaded: &Loaded) -> String {
    let texts: Vec<String> = loaded.diagnostics.iter().map(|d| d.render(&loaded.source)).collect();
    texts.join("\n")
}

#[test]
fn good_files_have_nothing_to_say() {
    let files = files("good");
    assert!(files.len() >= 5);
    for path in files {
        let loaded = parse_file(&path);
        assert_eq!(printed(&loaded), "", "{}", path.display());
        assert!(loaded.config.is_some(), "{}", path.display());
    }
}

#[test]
fn bad_files_print_what_stands_beside_them() {
    let files = files("bad");
    assert!(files.len() >= 40);
    let mut wrong = String::new();
    for path in files {
        let loaded = parse_file(&path);
        let beside = path.with_extension("expected");
        let found = printed(&loaded);
        if !beside.exists() && std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&beside, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            wrong += &format!("=== {}\n--- expected\n{expected}--- found\n{found}", path.display());
        }
        let warnings_only = loaded.diagnostics.iter().all(|d| d.severity == Severity::Warning);
        assert_eq!(loaded.config.is_some(), warnings_only, "{}", path.display());
        assert!(!loaded.diagnostics.is_empty(), "{}", path.display());
        assert!(!found.contains("hunter2"), "{} prints a secret", path.display());
        assert!(!format!("{loaded:?}").contains("hunter2"), "{} keeps a secret", path.display());
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_reference_page_is_the_table_of_keys() {
    let path = root().join("docs/CONFIGURATION.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, reference(), "run UPDATE_DOCS=1 cargo test --lib config");
}

#[test]
fn an_empty_file_is_all_defaults() {
    let loaded = parse("proxy.toml", "", Path::new("/etc/countersign"));
    assert_eq!(printed(&loaded), "");
    let config = loaded.config.unwrap();
    assert_eq!(config.listen.proxy, [model::ListenAddr::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(config.listen.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(config.listen.socket_mode, 0o660);
    assert_eq!(config.secrets.dir, Path::new("/run/secrets/countersign"));
    assert_eq!(config.secrets.poll, Some(std::time::Duration::from_secs(10)));
    assert_eq!((config.limits.head, config.limits.headers), (65_536, 100));
    assert_eq!((config.limits.in_flight, config.limits.buffered), (1024, 64 << 20));
    assert_eq!(config.drain.deadline, std::time::Duration::from_secs(25));
    assert_eq!((config.threads, config.log.access), (None, true));
}

#[test]
fn values_arrive_where_they_belong() {
    use std::time::Duration;
    let loaded = parse_file(&root().join("tests/config/good/product.toml"));
    let config = loaded.config.unwrap();
    let route = &config.routes[0];
    assert_eq!(
        (route.name.as_str(), route.path.as_deref(), route.prefix.as_deref()),
        ("partner", Some("/v2/"), Some("/partner"))
    );
    assert_eq!(route.methods.as_deref(), Some(&[http::Method::GET, http::Method::POST][..]));
    assert_eq!(route.upstream, model::Upstream { tls: true, host: Some("api.partner.example".into()), port: 8443 });
    assert_eq!(route.tls.client_key.as_ref().unwrap().value.as_str(), "partner/tls.key");
    assert_eq!(route.tls.min, model::TlsVersion::V1_3);
    assert_eq!(route.timeouts.response, Some(Duration::from_secs(60)));
    assert_eq!((route.limits.signed_body, route.limits.request_body), (16 << 20, None));
    assert_eq!(*route.credentials, [0]);
    assert_eq!(config.credentials[0].name, "partner-key");
    let span = &config.credentials[0].secret_spans[0];
    assert_eq!(&loaded.source.text[span.clone()], "\"partner/key\"");
    let shop = &config.routes[2];
    assert_eq!(shop.tenant, Some(model::TenantSource::Capture("shop".into())));
    assert_eq!(shop.upstream, model::Upstream { tls: true, host: None, port: 443 });
    assert!(config.routes[3].credentials.is_empty());
}

#[test]
fn sub_tables_are_inline_tables() {
    let config = parse_file(&root().join("tests/config/good/sub_tables.toml")).config.unwrap();
    let names: Vec<(&str, &str)> = config.credentials.iter().map(|c| (c.name.as_str(), c.signer.scheme())).collect();
    assert_eq!(names, [("a", "api_key"), ("b", "basic"), ("c", "bearer")]);
    let route = &config.routes[0];
    assert_eq!(route.tls.client_cert.as_ref().unwrap().value.as_str(), "one/identity.pem");
    assert_eq!(route.timeouts.connect, std::time::Duration::from_secs(1));
    assert_eq!(route.timeouts.body, Some(std::time::Duration::from_secs(300)));
    assert_eq!(*route.credentials, [0, 1]);
    assert!(matches!(&route.tenant, Some(model::TenantSource::Header(name)) if name == "countersign-tenant"));
}

#[test]
fn every_key_can_be_written() {
    let config = parse_file(&root().join("tests/config/good/every_key.toml")).config.unwrap();
    assert_eq!(config.listen.proxy[2], model::ListenAddr::Unix("/etc/countersign/proxy.sock".into()));
    assert_eq!((config.listen.admin, config.listen.socket_mode), (None, 0o600));
    assert_eq!(config.listen.names, ["countersign", "sidecar.internal"]);
    assert_eq!((config.threads, config.log.level, config.log.access), (Some(2), tracing::Level::DEBUG, false));
    assert_eq!((config.secrets.dir.as_path(), config.secrets.poll), (Path::new("/etc/countersign/secrets"), None));
    assert_eq!((config.limits.headers, config.limits.connections), (1000, 16));
    assert_eq!(config.drain.delay, std::time::Duration::from_millis(250));
    assert_eq!(config.connect_to[0].0, model::Authority { host: "oauth.example.com".into(), port: 443 });
    assert_eq!(config.playground, Some("[::1]:8443".parse().unwrap()));
    let model::Trust::Secrets(roots) = &config.trust else { panic!("{:?}", config.trust) };
    assert_eq!(
        roots.iter().map(|name| name.value.as_str()).collect::<Vec<_>>(),
        ["corporate/ca.crt", "partner/ca.crt"]
    );
    let servers = vec!["1.1.1.1:53".parse().unwrap(), "[2606:4700:4700::1111]:5353".parse().unwrap()];
    assert_eq!(config.dns, model::Dns { hosts_file: false, servers });
    let egress = config.egress.as_ref().unwrap();
    assert_eq!((egress.proxy.host.as_str(), egress.proxy.port), ("proxy.corp", 3128));
    assert_eq!(egress.no_proxy[1], model::NoProxy::Suffix(".internal".into()));
    assert_eq!(config.credentials[egress.credential.unwrap()].name, "egress:proxy");
    // SHA-256 of nothing in base64, by openssl.
    assert_eq!(config.routes[0].tls.pins[1].to_string(), "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!((config.routes[0].timeouts.response, config.routes[0].limits.request_body), (None, Some(1 << 30)));
    assert_eq!(
        config.routes[2].upstream,
        model::Upstream { tls: false, host: Some("plain.example".into()), port: 8080 }
    );
}

#[test]
fn unreadable_files_are_diagnostics() {
    let missing = load(Path::new("/nonexistent/proxy.toml"));
    let text = printed(&missing);
    assert!(text.starts_with("error: cannot read the configuration: "), "{text}");
    assert!(text.contains("  --> /nonexistent/proxy.toml\n  hint: name the file with --config FILE\n"), "{text}");
    let folder = load(root());
    assert!(folder.config.is_none() && folder.diagnostics.len() == 1);
}

#[test]
fn bytes_that_are_not_utf8_and_files_too_large_are_diagnostics() {
    let path = std::env::temp_dir().join(format!("countersign-config-{}.toml", std::process::id()));
    std::fs::write(&path, b"[log]\nlevel = \"\xff\"\n").unwrap();
    assert!(printed(&load(&path)).starts_with("error: the configuration is not UTF-8: line 2 has other bytes\n"));
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(FILE_LIMIT + 1).unwrap();
    assert!(printed(&load(&path)).starts_with("error: the configuration is over 16 MiB\n"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn many_mistakes_are_counted_not_all_printed() {
    let text: String = (0..500).map(|n| format!("key{n} = 1\n")).collect();
    let loaded = parse("proxy.toml", &text, Path::new("/"));
    assert_eq!(loaded.diagnostics.len(), DIAGNOSTICS_LIMIT + 1);
    assert_eq!(loaded.diagnostics[DIAGNOSTICS_LIMIT].message, "400 more mistakes are not shown");
}

#[test]
fn ten_thousand_routes_are_read_quickly() {
    let text: String = (0..10_000)
        .map(|n| {
            format!(
                "[[route]]\nname = \"r{n}\"\nhost = \"h{n}.example\"\npath = \"/v2\"\nmethods = [\"GET\", \"POST\"]\nprefix = \"/p{n}\"\ncredential = \"none\"\n"
            )
        })
        .collect();
    let begin = std::time::Instant::now();
    let loaded = parse("proxy.toml", &text, Path::new("/"));
    assert_eq!(loaded.config.unwrap().routes.len(), 10_000);
    // Under 100 ms in release; the bound leaves room for a debug build on a busy machine and still
    // catches anything that grows with the square.
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    let loaded = parse("proxy.toml", "\u{feff}[log]\r\nlevel = 1\r\n", Path::new("/"));
    let expected = "error: `level` must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", not an integer\n  \
                    --> proxy.toml:2:9\n    level = 1\n            ^\n";
    assert_eq!(printed(&loaded), expected);
}

/// Any text is read without a panic, and what is printed has a place within the file.
fn survives(text: &str) {
    let loaded = parse("proxy.toml", text, Path::new("/"));
    for diagnostic in &loaded.diagnostics {
        let json = diagnostic.json(&loaded.source);
        assert!(json.line.is_none_or(|line| line <= text.lines().count() + 1), "{text:?}");
        assert!(!diagnostic.render(&loaded.source).is_empty());
    }
    let failed = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(loaded.config.is_none(), failed, "no configuration without a reason: {text:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_files_are_survived(file in 0usize..64, cut in 0usize..4000, len in 0usize..12, junk in "[a-z0-9\"'{}\\[\\]=.\\\\é\n ]{0,6}") {
        let all: Vec<PathBuf> = files("good").into_iter().chain(files("bad")).collect();
        let text = std::fs::read_to_string(&all[file % all.len()]).unwrap();
        let chars: Vec<char> = text.chars().collect();
        let at = cut % chars.len();
        let kept = chars[..at].iter().chain(chars[at..].iter().skip(len));
        let (first, rest): (Vec<&char>, Vec<&char>) = (kept.clone().take(at).collect(), kept.skip(at).collect());
        let damaged: String = first.into_iter().copied().chain(junk.chars()).chain(rest.into_iter().copied()).collect();
        survives(&damaged);
    }
}

#[test]
fn what_an_oauth2_table_says_arrives() {
    use crate::token::EventKind;
    use crate::token::grant::{BodyForm, ClientAuth, Condition, ExpiresUnit, Grant, Insecure, Per};
    use std::time::Duration;
    let loaded = parse_file(&root().join("tests/config/good/oauth.toml"));
    let config = loaded.config.unwrap();
    assert_eq!(config.state.url, model::StateUrl::Sqlite("/etc/countersign/state/connections.db".into()));
    assert_eq!(
        config.state.keys.iter().map(|key| key.value.as_str()).collect::<Vec<_>>(),
        ["state/key", "state/old-key"]
    );
    assert!(config.state.single);
    let events = config.events.as_ref().unwrap();
    assert_eq!((events.url.host(), events.timeout), (Some("backend.example.com"), Duration::from_secs(3)));
    assert_eq!(events.types, [EventKind::Recovered, EventKind::Reauthorize, EventKind::Revoked, EventKind::Unhealthy]);
    let shop = &config.credentials[1];
    let oauth = shop.oauth.as_ref().unwrap();
    assert_eq!((oauth.grant, oauth.client_auth, oauth.per), (Grant::RefreshToken, ClientAuth::Json, Per::Tenant));
    assert_eq!(oauth.token_url.url.to_string(), "https://{shop}.example.com:8443/oauth/token?v={tenant}");
    assert_eq!(oauth.scope, ["read", "write"]);
    assert_eq!((oauth.request.body, &*oauth.request.rename[1].1), (BodyForm::Json, "authorized_code"));
    assert_eq!(oauth.answer.refresh_token.as_deref(), Some("/refresh"));
    assert_eq!(oauth.answer.expires_unit, Some(ExpiresUnit::Local(9 * 3600)));
    assert_eq!(oauth.answer.ok, Some(Condition { pointer: "/code".into(), value: "0".into() }));
    let derive = oauth.derive.as_ref().unwrap();
    assert_eq!(
        (derive.body.as_ref().unwrap().to_string(), derive.ttl),
        ("{{\"shop\":\"{shop}\"}}".to_owned(), Some(Duration::from_secs(3000)))
    );
    assert_eq!((derive.endpoints.len(), derive.answer.access_token.as_deref()), (2, Some("/restrictedDataToken")));
    assert!(shop.signer.slots().contains(&crate::sign::Slot::Cookie("c".to_owned())));
    let prefixes: Vec<&str> = placements(shop).iter().map(|placement| placement.prefix.as_str()).collect();
    assert_eq!(prefixes, ["", "", ""]);
    assert_eq!((oauth.refresh.at, oauth.refresh.parallel), (0.9, 4));
    assert_eq!((oauth.refresh.before, oauth.refresh.first), (Duration::from_secs(60), Duration::from_millis(500)));
    let needs: Vec<&str> = shop.signer.requirements().iter().map(|need| need.pattern.as_str()).collect();
    assert_eq!(needs, ["shop/client-id", "shop/client-secret"]);
    assert_eq!(&loaded.source.text[shop.secret_spans[1].clone()], "\"shop/client-secret\"");
    let seed = shop.seed.as_ref().unwrap();
    assert_eq!(&loaded.source.text[seed.secret_spans[0].clone()], "\"shop/{tenant}/refresh-token\"");
    assert_eq!(shop.token_tls.as_ref().unwrap().server_name.as_deref(), Some("auth.example.com"));
    let [plain, _, person, legacy, lab, second, key] = &config.credentials[..] else { panic!("seven credentials") };
    let place = |credential: &model::Credential| credential.signer.slots().to_vec();
    assert_eq!(place(second), [crate::sign::Slot::Header(http::header::AUTHORIZATION)], "in the place of the first");
    assert_eq!(placements(plain)[0].prefix, "Bearer ");
    let plain = plain.oauth.as_ref().unwrap();
    assert_eq!(plain.client_auth, ClientAuth::Basic);
    assert_eq!(plain.redirect_url, "http://127.0.0.1:0/callback");
    assert_eq!(placements(person)[0].prefix, "Zoho-oauthtoken ");
    assert_eq!(person.oauth.as_ref().unwrap().per, Per::Credential);
    assert_eq!(legacy.oauth.as_ref().unwrap().request.body, BodyForm::Query);
    let lab = lab.oauth.as_ref().unwrap();
    assert_eq!((lab.token_url.insecure, lab.refresh.at, lab.client_auth), (Insecure::Allowed, 0.1, ClientAuth::None));
    assert!(key.oauth.is_none() && key.token_tls.is_none());
}

fn placements(credential: &crate::config::model::Credential) -> &[crate::sign::token::Placement] {
    let crate::sign::Signer::Token(token) = &*credential.signer else { panic!("{} has tokens", credential.name) };
    token.placements()
}

#[test]
fn a_state_is_kept_in_a_file_only_where_it_would_be_missed() {
    let url = |grant: &str, state: &str| {
        let text = format!(
            "{state}\n[credential.c.oauth2]\ngrant = \"{grant}\"\ntoken_url = \"https://a.example/t\"\nclient_id = \"a\"\n\
             client_secret = {{ secret = \"c\" }}\n[[route]]\nname = \"r\"\nhost = \"r.example\"\ncredential = \"c\"\n"
        );
        let loaded = parse("proxy.toml", &text, Path::new("/etc/countersign"));
        assert_eq!(printed(&loaded), "");
        loaded.config.unwrap().state.url
    };
    let file = model::StateUrl::Sqlite("/var/lib/countersign/state.db".into());
    assert_eq!(url("client_credentials", ""), model::StateUrl::Memory);
    assert_eq!(url("client_credentials", "[state]\nkey = \"k\""), file);
    assert_eq!(url("refresh_token", "[state]\nkey = \"k\""), file);
    assert_eq!(url("refresh_token", "[state]\nurl = \"memory:\""), model::StateUrl::Memory);
    let secret = NamePattern::parse("state/url").unwrap();
    let named = "[state]\nkey = \"k\"\nurl = { secret = \"state/url\" }";
    assert_eq!(url("refresh_token", named), model::StateUrl::Postgres(PublicValue::Secret(secret)));
    let bare = "[state]\nkey = \"k\"\nurl = \"postgres://u@db.example/c\"";
    assert_eq!(
        url("refresh_token", bare),
        model::StateUrl::Postgres(PublicValue::Literal("postgres://u@db.example/c".into()))
    );
}
