//! The admin listener of a running proxy: what it shows of connections, and an approval by the product's own back end.

use serde_json::{Value, json};

use super::authority::{Authority, Got, browse, request};
use crate::support::{Running, Setup};

const TOKEN: &str = "canary-admin";

async fn started(authority: &Authority) -> Running {
    let keys = authority.keys();
    let text = format!(
        "[admin]\ntoken = \"admin\"\n\n[state]\nurl = \"memory:\"\n\n[credential.shop]\noauth2 = {{ {keys} }}\n\n\
         [credential.own]\noauth2 = {{ {keys}, per = \"credential\" }}\n\n\
         [[route]]\nname = \"orders\"\nhost = \"api.shop.test\"\ncredential = \"shop\"\ntenant = {{ header = \"Countersign-Tenant\" }}\n\n\
         [[route]]\nname = \"own\"\nhost = \"own.shop.test\"\ncredential = \"own\"\n"
    );
    Setup::new(text).secret("app", "app-secret").secret("admin", TOKEN).start().await
}

/// A blocking client away from the runtime that answers it.
async fn ask(proxy: &Running, method: &'static str, path: &str, token: Option<&str>, body: &Value) -> Got {
    let address = proxy.server.admin.unwrap().to_string();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::task::spawn_blocking(move || request(&address, &bytes).unwrap()).await.unwrap()
}

async fn post(proxy: &Running, path: &str, body: Value) -> Got {
    ask(proxy, "POST", path, Some(TOKEN), &body).await
}

async fn get(proxy: &Running, path: &str) -> Got {
    ask(proxy, "GET", path, None, &Value::Null).await
}

async fn visit(url: String) -> Got {
    tokio::task::spawn_blocking(move || browse(&url).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_begins_and_finishes() {
    let authority = Authority::start();
    let proxy = started(&authority).await;
    assert_eq!(get(&proxy, "/api/connections").await.json(), json!({"connections": [], "next": null}));
    assert_eq!(get(&proxy, "/api/connections/shop/m1").await.status, 404);

    let ask_for = json!({"credential": "shop", "tenant": "m1", "redirect_url": "https://app.example/back"});
    let begun = post(&proxy, "/api/connect", ask_for).await.json();
    let back = visit(begun["approval_url"].as_str().unwrap().to_owned()).await.location().to_owned();
    let query = back.strip_prefix("https://app.example/back?").unwrap();
    assert!(query.contains(begun["state"].as_str().unwrap()));
    let done = post(&proxy, "/api/connect/finish", json!({"query": query})).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!((&done.json()["state"], &done.json()["tenant"]), (&"active".into(), &"m1".into()));
    let again = post(&proxy, "/api/connect/finish", json!({"query": format!("?{query}")})).await;
    assert_eq!(again.status, 409, "{again:?}");
    let never = post(&proxy, "/api/connect/finish", json!({"query": "code=x&state=never"})).await;
    assert_eq!(never.status, 409, "{never:?}");
    assert_eq!(authority.known.lock().unwrap().calls.len(), 1);

    let one = get(&proxy, "/api/connections/shop/m1").await.json();
    assert_eq!(one, get(&proxy, "/api/connections").await.json()["connections"][0]);
    assert_eq!(get(&proxy, "/api/connections/shop").await.json()["connections"][0], one);
    let page = get(&proxy, "/").await.body;
    assert!(
        page.contains("<th scope=\"row\">shop/m1</th>") && page.contains(one["access_token"].as_str().unwrap()),
        "{page}"
    );

    let refreshed = post(&proxy, "/api/connections/shop/m1/refresh", Value::Null).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!((&refreshed.json()["version"], &refreshed.json()["last_refresh"]["outcome"]), (&2.into(), &"ok".into()));
    let revoked = post(&proxy, "/api/connections/shop/m1/revoke", Value::Null).await.json();
    assert_eq!((&revoked["state"], &revoked["platform"]), (&"revoked".into(), &"revoked".into()), "{revoked}");
    let refused = post(&proxy, "/api/connections/shop/m1/refresh", Value::Null).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    for answer in [&done, &refreshed, &refused] {
        assert!(!answer.body.contains("access-") && !answer.body.contains("refresh-"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_may_come_back_to_the_admin_listener() {
    let authority = Authority::start();
    let proxy = started(&authority).await;
    let callback = format!("http://{}/connect/callback", proxy.server.admin.unwrap());
    let begun = post(&proxy, "/api/connect", json!({"credential": "own", "redirect_url": callback})).await.json();
    let back = visit(begun["approval_url"].as_str().unwrap().to_owned()).await.location().to_owned();
    let wrong = visit(format!("{callback}?code=x&state=x")).await;
    assert!(wrong.status == 400 && wrong.body.contains("Not connected"), "{wrong:?}");
    let page = visit(back.clone()).await;
    assert!(page.status == 200 && page.body.contains("own is connected"), "{page:?}");
    assert_eq!(visit(back).await.status, 400, "good once");
    // It has one connection for all: it is an object, no list.
    assert_eq!(get(&proxy, "/api/connections/own").await.json()["tenant"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_calls_need_the_token_and_good_words() {
    let authority = Authority::start();
    let proxy = started(&authority).await;
    for path in
        ["/api/connect", "/api/connect/finish", "/api/connections/shop/m1/refresh", "/api/connections/shop/m1/revoke"]
    {
        assert_eq!(ask(&proxy, "POST", path, None, &Value::Null).await.status, 401, "{path}");
        assert_eq!(ask(&proxy, "POST", path, Some("wrong"), &Value::Null).await.status, 401, "{path}");
        // What is below a connection is found for POST; for GET it would be one more segment than names have.
        assert_eq!(get(&proxy, path).await.status, 405, "{path}");
    }
    for (path, body, status) in [
        ("/api/connect", json!({}), 400),
        ("/api/connect", json!({"credential": "gone"}), 404),
        ("/api/connect", json!({"credential": "shop"}), 400),
        ("/api/connect", json!({"credential": "own", "tenant": "m1"}), 400),
        ("/api/connect", json!({"credential": "own", "token": "x"}), 400),
        ("/api/connect/finish", json!({"query": "code=x"}), 400),
        ("/api/connect/finish", json!({"query": "state=a&state=b&code=x"}), 400),
        ("/api/connections/shop/m1/revoke", Value::Null, 404),
        ("/api/connections/gone/m1/refresh", Value::Null, 404),
        ("/api/connections/shop/m1/refresh", Value::Null, 403),
    ] {
        let answer = post(&proxy, path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    }
    assert!(authority.known.lock().unwrap().calls.is_empty());
}
