#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

const FOLDER: &str = "/etc/countersign";

/// The configuration read as a whole, and what parts of one table each made of it.
fn both(text: &str) -> (Option<String>, Option<String>) {
    let folder = Path::new(FOLDER);
    let (config, diagnostics, masked) = super::super::whole(text, folder);
    let clean = diagnostics.is_empty() && masked.is_empty();
    // Of settings that routes share, the first place is kept.
    let shown = |mut config: Config| {
        for route in &mut config.routes {
            let tls = &mut std::sync::Arc::make_mut(&mut route.settings).tls;
            let names = [&mut tls.client_cert, &mut tls.client_key, &mut tls.ca].into_iter().flatten();
            names.for_each(|name| name.span = 0..0);
        }
        format!("{config:#?}")
    };
    (config.filter(|_| clean).map(shown), read_by(text, folder, 1).map(shown))
}

fn files(kind: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = all.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    all.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap_or_default())).collect()
}

#[test]
fn parts_make_the_same_configuration_as_the_whole() {
    let mut equal = 0;
    for (name, text) in files("good") {
        let (whole, parts) = both(&text);
        if let Some(parts) = parts {
            assert_eq!(Some(parts), whole, "{name}");
            equal += 1;
        }
    }
    // Some files have warnings, or write their credentials in another form.
    assert!(equal >= 7, "{equal}");
}

#[test]
fn a_file_with_a_mistake_is_not_read_in_parts() {
    for (name, text) in files("bad") {
        assert_eq!(both(&text), (None, None), "{name}");
    }
}

const HEAD: &str = "[listen]\nadmin = \"off\"\n";
const CREDENTIALS: &str = "[credential.a.bearer]\nsecret = \"a\"\n[credential.b]\nbearer = { secret = \"b\" }\n";

fn route(name: &str, credential: &str, more: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nhost = \"{name}.test\"\ncredential = \"{credential}\"\n{more}")
}

#[test]
fn tables_may_stand_in_any_order() {
    let tls = "[route.tls]\nclient_cert = \"c.pem\"\n[route.timeouts]\nconnect = \"1s\"\n";
    let own = "tls = { ca = \"ca.pem\" }\n";
    for text in [
        format!("{HEAD}{CREDENTIALS}{}{}", route("x", "a", tls), route("y", "b", own)),
        format!("{}{}{CREDENTIALS}{HEAD}", route("x", "a", tls), route("y", "b", tls)),
        format!("{}{CREDENTIALS}{}{HEAD}# end", route("x", "a", own), route("y", "b", "")),
        format!("# \u{e9}\n{}\r\n{HEAD}\n{CREDENTIALS}\n\n{}\n[drain]\n", route("x", "a", ""), route("y", "b", tls)),
    ] {
        let (whole, parts) = both(&text);
        assert!(whole.is_some(), "{text}");
        assert_eq!(parts, whole, "{text}");
    }
}

#[test]
fn what_parts_cannot_tell_is_read_as_a_whole() {
    let (x, y) = (route("x", "a", ""), route("y", "b", ""));
    let credentials = format!("{CREDENTIALS}[credential]\n");
    let string = "[credential.a]\nbearer = { secret = \"\"\"\\\n[[route]]\"\"\" }\n";
    let whole_alone = [
        // Good files, in forms that parts are not made of.
        format!("{HEAD}{credentials}{x}{y}"),
        format!("credential.a = {{ bearer = {{ secret = \"a\" }} }}\n{HEAD}{x}"),
        format!("{HEAD}{string}{x}"),
        format!("{HEAD}{CREDENTIALS}{x}[limits]\n[route.timeouts]\nconnect = \"1s\"\n{y}"),
        format!("{HEAD}{CREDENTIALS}{x}  [[route]]\n{}{y}", route("z", "b", "").trim_start_matches("[[route]]\n")),
    ];
    for text in whole_alone {
        let (whole, parts) = both(&text);
        assert!(whole.is_some(), "{text}");
        assert!(parts.is_none() || parts == whole, "{text}");
    }
    for text in [
        format!("{HEAD}{CREDENTIALS}{x}[credential.a]\nbearer = {{ secret = \"c\" }}\n{y}"),
        format!("{HEAD}{CREDENTIALS}{x}{x}{y}"),
        format!("{HEAD}{CREDENTIALS}{x}{HEAD}{y}"),
        format!("{HEAD}{CREDENTIALS}{x}{}", route("y", "c", "")),
        format!("x = [\n{x}]\n{HEAD}{CREDENTIALS}{y}"),
        format!("{HEAD}{CREDENTIALS}{x}[route]\n{y}"),
    ] {
        assert_eq!(both(&text), (None, None), "{text}");
    }
}

#[test]
fn large_files_are_read_in_parts_and_their_mistakes_stay_where_they_are() {
    let mut text = format!("{HEAD}{CREDENTIALS}");
    (0..2000).for_each(|index| text.push_str(&route(&format!("r{index}"), if index % 2 == 0 { "a" } else { "b" }, "")));
    assert!(text.len() > FROM);
    let (parts, rest) = Parts::cut(&text, PART).unwrap();
    assert!(parts.routes.len() > 5 && parts.credentials.len() == 1);
    assert_eq!(rest, HEAD);
    assert_eq!(read(&text, Path::new(FOLDER)).unwrap().routes.len(), 2000);

    text.push_str(&route("first", "a", "tls = { ca = \"ca.pem\" }\n"));
    let named = text.rfind("\"ca.pem\"").unwrap();
    text.push_str(&route("second", "a", "[route.tls]\nca = \"ca.pem\"\n"));
    let routes = read(&text, Path::new(FOLDER)).unwrap().routes;
    let [.., first, second] = &routes[..] else { panic!() };
    assert!(std::sync::Arc::ptr_eq(&first.settings, &second.settings));
    assert_eq!(first.tls.ca.as_ref().unwrap().span, named..named + 8);

    let at = text.len() + "[[route]]\nname = \"bad\"\n".len();
    text.push_str("[[route]]\nname = \"bad\"\nhots = \"x.test\"\ncredential = \"none\"\n");
    let loaded = super::super::parse("proxy.toml", &text, Path::new(FOLDER));
    assert!(loaded.config.is_none());
    assert!(loaded.diagnostics.iter().any(|one| one.span == Some(at..at + 4)), "{:?}", loaded.diagnostics);
}
