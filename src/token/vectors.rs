//! Runs every case below `tests/vectors/oauth`: what a platform documents as its token request and answer. A new case is
//! a new folder. Also [`oauth`], which makes a credential for the tests of this module.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer::{self, Answer, Class};
use super::call::{self, Ask, CallInput};
use super::fill::Fill;
use super::grant::{
    AnswerShape, BodyForm, ClientAuth, Condition, Endpoint, ExpiresUnit, Grant, Insecure, OAuth, Per, RefreshPolicy,
    RequestShape,
};
use super::record::TokenSet;
use crate::clock::Timestamp;
use crate::secret::name::NamePattern;
use crate::secret::value::SecretBytes;
use crate::sign::basic::PublicValue;

/// `[oauth2] refresh` with the documented defaults.
pub(crate) fn policy() -> RefreshPolicy {
    RefreshPolicy {
        at: 0.8,
        before: Duration::from_secs(300),
        not_before: Duration::ZERO,
        timeout: Duration::from_secs(20),
        wait: Duration::from_secs(10),
        default_life: Duration::from_secs(3600),
        first: Duration::from_secs(1),
        max: Duration::from_secs(300),
        idle: Duration::from_secs(7 * 86_400),
        parallel: 16,
    }
}

/// A credential out of the keys of its table, as `docs/CONFIGURATION.md` spells them.
pub(crate) fn oauth(keys: &Value) -> OAuth {
    let endpoint = |key: &str| {
        text(&keys[key]).map(|url| Endpoint { url: Fill::parse(url).unwrap(), insecure: Insecure::Refused })
    };
    let fills =
        |key: &str| pairs(&keys[key]).into_iter().map(|(name, value)| (name, Fill::parse(&value).unwrap())).collect();
    let list =
        |key: &str| keys[key].as_array().into_iter().flatten().map(|one| text(one).unwrap().to_owned()).collect();
    let name = |text: &str| NamePattern::parse(text).unwrap();
    let grant = text(&keys["grant"]).unwrap();
    let auth = text(&keys["client_auth"]).unwrap_or("none");
    let headers = pairs(&keys["headers"]).into_iter();
    OAuth {
        grant: [Grant::ClientCredentials, Grant::RefreshToken, Grant::AuthorizationCode, Grant::Password]
            .into_iter()
            .find(|one| one.as_str() == grant)
            .unwrap(),
        token_url: endpoint("token_url").unwrap(),
        refresh_url: endpoint("refresh_url"),
        authorize_url: endpoint("authorize_url"),
        revoke_url: endpoint("revoke_url"),
        redirect_url: "http://127.0.0.1:0/callback".to_owned(),
        client_id: text(&keys["client_id"]).map(|id| PublicValue::Literal(id.to_owned())),
        client_secret: Some(name("client-secret")),
        client_auth: match auth {
            "basic" => ClientAuth::Basic,
            "basic_raw" => ClientAuth::BasicRaw,
            "post" => ClientAuth::Post,
            "json" => ClientAuth::Json,
            "query" => ClientAuth::Query,
            _ => ClientAuth::None,
        },
        scope: list("scope"),
        scope_separator: text(&keys["scope_separator"]).unwrap_or(" ").to_owned(),
        audience: text(&keys["audience"]).map(|value| Fill::parse(value).unwrap()),
        resource: text(&keys["resource"]).map(|value| Fill::parse(value).unwrap()),
        username: text(&keys["username"]).map(|name| PublicValue::Literal(name.to_owned())),
        password: Some(name("password")),
        seed: None,
        extra: fills("extra"),
        headers: headers.map(|(name, value)| (name.parse().unwrap(), Fill::parse(&value).unwrap())).collect(),
        request: RequestShape {
            method: text(&keys["request"]["method"]).map_or(Method::POST, |method| method.parse().unwrap()),
            body: match text(&keys["request"]["body"]).unwrap_or("form") {
                "json" => BodyForm::Json,
                "query" => BodyForm::Query,
                _ => BodyForm::Form,
            },
            rename: pairs(&keys["request"]["rename"]),
        },
        answer: shape(&keys["answer"]),
        derive: None,
        dead: list("dead"),
        per: Per::Tenant,
        refresh: policy(),
    }
}

fn shape(keys: &Value) -> AnswerShape {
    let pointer = |key: &str| text(&keys[key]).map(str::to_owned);
    AnswerShape {
        access_token: pointer("access_token"),
        refresh_token: pointer("refresh_token"),
        expires_in: pointer("expires_in"),
        expires_at: pointer("expires_at"),
        expires_unit: text(&keys["expires_unit"]).map(|unit| match unit {
            "s" => ExpiresUnit::Seconds,
            "ms" => ExpiresUnit::Millis,
            "epoch" => ExpiresUnit::Epoch,
            "epoch_ms" => ExpiresUnit::EpochMillis,
            "date" => ExpiresUnit::Date,
            other => panic!("{other}"),
        }),
        refresh_expires_in: pointer("refresh_expires_in"),
        scope: pointer("scope"),
        host: pointer("host"),
        values: pairs(&keys["values"]),
        ok: text(&keys["ok"]).map(|ok| {
            let (pointer, value) = ok.split_once(" == ").unwrap();
            Condition { pointer: pointer.to_owned(), value: value.to_owned() }
        }),
        error: pointer("error"),
        error_detail: pointer("error_detail"),
    }
}

#[test]
fn every_platform_is_spoken_to_and_understood_as_it_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oauth");
    let (mut failures, mut requests, mut answers) = (Vec::new(), 0, 0);
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let case: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        for told in ["origin", "license"] {
            assert!(text(&case[told]).is_some(), "{} does not tell its {told}", folder.display());
        }
        requests += usize::from(!case["request"].is_null());
        answers += usize::from(!case["answer"].is_null() && !case["expect"].is_null());
        for failure in [request(&case), answered(&case)].into_iter().filter_map(Result::err) {
            failures.push(format!("{}: {failure}", folder.file_name().unwrap().display()));
        }
    }
    assert!(requests >= 15 && answers >= 22, "only {requests} requests and {answers} answers were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn request(case: &Value) -> Result<(), String> {
    if case["request"].is_null() {
        return Ok(());
    }
    let oauth = oauth(&case["oauth"]);
    let variables: BTreeMap<String, String> = pairs(&case["variables"]).into_iter().collect();
    let fill = |name: &str| variables.get(name).map(String::as_str);
    let input = CallInput {
        oauth: &oauth,
        client_id: text(&case["oauth"]["client_id"]),
        client_secret: text(&case["secrets"]["client_secret"]),
        username: text(&case["oauth"]["username"]),
        password: text(&case["secrets"]["password"]),
        fill: &fill,
    };
    let made = ask(&input, &case["ask"])?;
    let wanted = &case["request"];
    same("method", text(&wanted["method"]).unwrap(), made.method().as_str())?;
    same("url", text(&wanted["url"]).unwrap(), &made.uri().to_string())?;
    same("body", text(&wanted["body"]).unwrap(), std::str::from_utf8(made.body()).unwrap())?;
    for header in wanted["headers"].as_array().unwrap() {
        let (name, value) = (text(&header[0]).unwrap(), text(&header[1]).unwrap());
        same(name, value, made.headers().get(name).map_or("", |value| value.to_str().unwrap()))?;
    }
    Ok(())
}

fn ask(input: &CallInput<'_>, ask: &Value) -> Result<Request<bytes::Bytes>, String> {
    let of = |ask| call::token_request(input, &ask).map_err(|error| error.to_string());
    match (text(ask), text(&ask["refresh"]), text(&ask["code"]), text(&ask["revoke"])) {
        (Some("client"), ..) => of(Ask::Client),
        (Some("password"), ..) => of(Ask::Password),
        (_, Some(token), ..) => of(Ask::Refresh { token }),
        (_, _, Some(code), _) => {
            let (verifier, redirect_url) = (text(&ask["verifier"]).unwrap(), text(&ask["redirect_url"]).unwrap());
            of(Ask::Code { code, verifier, redirect_url })
        }
        (.., Some(token)) => {
            call::revoke_request(input, token, "refresh_token").map(Option::unwrap).map_err(|error| error.to_string())
        }
        _ => Err("the case asks for nothing".to_owned()),
    }
}

fn answered(case: &Value) -> Result<(), String> {
    if case["answer"].is_null() || case["expect"].is_null() {
        return Ok(());
    }
    let (told, expect) = (&case["answer"], &case["expect"]);
    let mut headers = HeaderMap::new();
    for header in told["headers"].as_array().unwrap() {
        let name: HeaderName = text(&header[0]).unwrap().parse().unwrap();
        headers.append(name, HeaderValue::from_str(text(&header[1]).unwrap()).unwrap());
    }
    let sent: Vec<Zeroizing<String>> = case["sent"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| Zeroizing::new(text(one).unwrap().to_owned()))
        .collect();
    let answer = Answer {
        status: StatusCode::from_u16(told["status"].as_u64().unwrap() as u16).unwrap(),
        headers: &headers,
        body: text(&told["body"]).unwrap().as_bytes(),
        sent: &sent,
    };
    let before = TokenSet {
        refresh: text(&case["before"]["refresh"]).map(secret),
        refresh_expires_at: case["before"]["refresh_expires_at"].as_i64().map(Timestamp::from_seconds),
        ..TokenSet::default()
    };
    let now = Timestamp::from_seconds(case["now"].as_i64().unwrap());
    match answer::read(&oauth(&case["oauth"]), &answer, &before, now) {
        Ok(tokens) => tokens_are(&tokens, expect),
        Err(refusal) => {
            same("reason", text(&expect["reason"]).unwrap_or("(tokens)"), refusal.reason.as_str())?;
            let class = match refusal.class {
                Class::Passing { .. } => "passing",
                Class::Unread => "unread",
                Class::Dead => "dead",
                Class::Client => "client",
                Class::Configuration => "configuration",
            };
            same("class", text(&expect["class"]).unwrap(), class)?;
            same("detail", text(&expect["detail"]).unwrap(), refusal.detail.as_deref().unwrap_or_default())
        }
    }
}

fn tokens_are(tokens: &TokenSet, expect: &Value) -> Result<(), String> {
    let shown =
        |secret: &Option<SecretBytes>| secret.as_ref().map(|one| String::from_utf8(one.expose().into()).unwrap());
    let optional = |value: Option<String>| value.unwrap_or_else(|| "(none)".to_owned());
    let wanted = |key: &str| optional(text(&expect[key]).map(str::to_owned));
    let moment = |at: Option<Timestamp>| optional(at.map(|at| at.seconds.to_string()));
    let wanted_moment = |key: &str| optional(expect[key].as_i64().map(|at| at.to_string()));
    same("access", &wanted("access"), &optional(shown(&tokens.access)))?;
    same("refresh", &wanted("refresh"), &optional(shown(&tokens.refresh)))?;
    same("host", &wanted("host"), &optional(tokens.host.clone()))?;
    same("expires_at", &wanted_moment("expires_at"), &moment(tokens.expires_at))?;
    same("refresh_expires_at", &wanted_moment("refresh_expires_at"), &moment(tokens.refresh_expires_at))?;
    let scopes: Vec<&str> = expect["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    same("scopes", &scopes.join(" "), &tokens.scopes.join(" "))?;
    for (name, value) in pairs(&expect["values"]) {
        same(&name, &value, &optional(shown(&tokens.values.get(&name).cloned())))?;
    }
    Ok(())
}

pub(super) fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_of(text.as_bytes())
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text(value).unwrap().to_owned())).collect()
}

fn same(what: &str, wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{what}\n  wanted {wanted:?}\n  got    {got:?}")) }
}
