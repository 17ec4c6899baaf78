#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// The same tree as the parser's, which finds nothing wrong.
fn same(text: &str) {
    let (parsed, problems) = DeTable::parse_recoverable(text);
    assert!(problems.is_empty(), "{text}: {problems:?}");
    assert_eq!(format!("{:?}", tree(text).unwrap()), format!("{:?}", parsed.get_ref()), "{text}");
}

const ROUTES: &str = "[[route]]\nname = \"a\"\nhost = \"a.test\"\n\n# more\n[route.tls]\nca = \"ca\"\t \nmin = \"1.3\"\n\
[route.timeouts]\n[[route]]\nwebsocket = false\nmethods = [ \"GET\", \"POST\" ]\ntls = {ca = \"x\", a={ b=true}  }\nx=[]\n";
const CREDENTIALS: &str = "[credential.a]\nbearer = { secret = \"r/\u{e9}\" }\n[credential.b.hmac]\nset = {}\r\n\
[credential.b.more]\n[credential.c]\n[credential.c.d]\nq = \"\"\n";

#[test]
fn what_is_written_plainly_is_the_tree_that_the_parser_makes() {
    same(ROUTES);
    same(CREDENTIALS);
    same("[credential.1-_]\nk = [[\"\"], [true]]");
}

#[test]
fn everything_else_is_left_to_the_parser() {
    for text in [
        "",
        "a = true\n",
        "[route]\n",
        "[[credential.x]]\n",
        "[[route]]\n[route.a.b]\n",
        "[route.tls]\n",
        "[ route.x ]\n",
        "[[route]]\nname = 'a'\n",
        "[[route]]\nname = \"a\" # b\n",
        "[[route]]\nname = \"\\n\"\n",
        "[[route]]\n a = true\n",
        "[[route]]\nname = \"\"\"a\"\"\"\n",
        "[[route]]\na.b = true\n",
        "[[route]]\n\"a\" = true\n",
        "[[route]]\na = 1\n",
        "[[route]]\na = trueish\n",
        "[[route]]\na = [ \"x\", ]\n",
        "[[route]]\na = [\n\"x\"]\n",
        "[[route]] x\n",
        "[[route]]\na = true\na = true\n",
        "[[route]]\n[route.a]\n[route.a]\n",
        "[credential.a]\n[credential.a]\n",
        "[credential.a.b]\n[credential.a]\n",
        "[credential.a.b.c]\n",
        "[credential.a]\nb = true\n[credential.a.b]\n",
        "[[route]]\na = \"x\u{7f}\"\n",
        "[[route]]\na = \"x\ty\u{1}\"\n",
        "[[route]]\n# \u{1}\n",
        "[[route]]\na = \"x\n",
        "[[route]]\na = \"x\"\"\n",
        "[[route]]\na = { b = { c = { d = { e = { f = true } } } } }\n",
        "[[route]]\na = true\r\r\n",
        "[[route]]\na\n",
        "[[route]]\na =\n",
        "[[route]]\na = { b }\n",
        "[[route]]\na = { b = true\n",
        "[[route]]\n\u{e9} = true\n",
        "[[route]]\n\r",
        "[[route]]\na = true \r b = true\n",
    ] {
        assert!(tree(text).is_none(), "{text:?}");
    }
}

proptest! {
    /// Whatever is made of pieces of TOML is read as the parser reads it, or not at all.
    #[test]
    fn nothing_is_read_in_another_way_than_by_the_parser(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "[[route]]\n", "[route.x]\n", "[credential.a]\n", "[credential.b.c]\n", "a = ", "b = ", "c=", "\"x\"", "\"\"", "true",
            "false", "\n", "\r\n", "\r", "{ ", " }", "[", "]", ", ", "\\", "\"", "#", " ", "\t", "\u{1}", "\u{e9}", "=", "a", ".", "1",
            "a = \"x\"\n", "b = { c = \"d\" }\n", "[[route]]\na = true\n",
        ]), 1..14)
    ) {
        let text = pieces.concat();
        if let Some(found) = tree(&text) {
            let (parsed, problems) = DeTable::parse_recoverable(&text);
            prop_assert!(problems.is_empty(), "{text:?}: {problems:?}");
            prop_assert_eq!(format!("{found:?}"), format!("{:?}", parsed.get_ref()), "{:?}", text);
        }
    }
}
