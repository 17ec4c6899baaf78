#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn paths_are_names_and_verbs() {
    let find = |method: &Method, path: &str| Path::find(path, method);
    let (get, post) = (Method::GET, Method::POST);
    let name = |text: &str| text.to_owned();
    assert_eq!(find(&get, "/api/connections"), Some(Path::List));
    assert_eq!(find(&get, "/api/connections/shop"), Some(Path::One(name("shop"), None)));
    assert_eq!(find(&get, "/api/connections/shop/m1"), Some(Path::One(name("shop"), Some(name("m1")))));
    assert_eq!(find(&post, "/api/connections/shop/m1/refresh"), Some(Path::Refresh(name("shop"), name("m1"))));
    assert_eq!(find(&post, "/api/connections/shop/revoke"), Some(Path::Revoke(name("shop"), String::new())));
    // A tenant may have any name that tenants have.
    assert_eq!(find(&get, "/api/connections/shop/refresh"), Some(Path::One(name("shop"), Some(name("refresh")))));
    assert_eq!(find(&post, "/api/connections/shop/revoke/revoke"), Some(Path::Revoke(name("shop"), name("revoke"))));
    assert_eq!(find(&post, "/api/connect"), Some(Path::Begin));
    assert_eq!(find(&post, "/api/connect/finish"), Some(Path::Finish));
    assert_eq!(find(&get, "/connect/callback"), Some(Path::Callback));
    for nothing in
        ["/api/connections/", "/api/connections/a//refresh", "/api/connections/a%2fb", "/api/connections/a/b/c"]
    {
        assert_eq!(find(&get, nothing), None, "{nothing}");
    }
}

#[test]
fn what_changes_something_needs_the_token() {
    for (path, changing) in [
        ("/api/connect", true),
        ("/api/connect/finish", true),
        ("/api/connections/a/b/refresh", true),
        ("/api/connections/a/b/revoke", true),
        ("/api/connections", false),
        ("/connect/callback", false),
    ] {
        assert_eq!(Path::find(path, &Method::POST).unwrap().is_changing(), changing, "{path}");
    }
}

#[test]
fn a_list_takes_what_it_knows() {
    let query = list_query("credential=shop&tenant=m1&state=degraded&limit=5&after=shop%2Fm0").unwrap();
    let wanted = ListQuery {
        credential: Some("shop".into()),
        tenant: Some("m1".into()),
        state: Some("degraded".into()),
        limit: 5,
        after: Some("shop/m0".into()),
    };
    assert_eq!(query, wanted);
    assert_eq!(list_query("").unwrap(), ListQuery::default());
    for wrong in ["limit=0", "limit=1001", "limit=x", "state=fine", "stat=active"] {
        assert_eq!(list_query(wrong).unwrap_err().trouble, Trouble::Ask, "{wrong}");
    }
}
