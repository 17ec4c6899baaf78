//! JSON as templates read it: the members of the outermost object, and values by pointer. Values stay as they are
//! written; nothing is read as a number and written again.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::sign::SignError;

/// One member of an object: its decoded name and the bytes of its value.
#[derive(Debug)]
pub(super) struct Member<'b> {
    pub(super) name: String,
    pub(super) raw: &'b [u8],
}

impl Member<'_> {
    /// Whether the value is an array or an object.
    pub(super) fn is_compound(&self) -> bool {
        matches!(self.raw.first(), Some(b'[' | b'{'))
    }
}

fn unreadable() -> SignError {
    SignError::Unreadable("the body is said to be JSON and is not".to_owned())
}

/// The members of the outermost object in the order of the text, duplicates and all; none where it is no object.
pub(super) fn members(body: &[u8]) -> Result<Vec<Member<'_>>, SignError> {
    let body = body.trim_ascii();
    let length = value(body).ok_or_else(unreadable)?;
    if length != body.len() {
        return Err(unreadable());
    }
    match body.first() {
        Some(b'{') => object(body).ok_or_else(unreadable),
        _ => Ok(Vec::new()),
    }
}

/// The value at a pointer (RFC 6901), or of the member with this name where it does not begin with `/`. Of members
/// with one name the last counts, as most readers have it. `None` where there is none.
pub(super) fn find<'b>(body: &'b [u8], place: &str) -> Result<Option<Cow<'b, [u8]>>, SignError> {
    let outer = members(body)?;
    let Some(pointer) = place.strip_prefix('/') else {
        let found = outer.iter().rev().find(|member| member.name == place);
        return found.map(|member| text(member.raw)).transpose();
    };
    let mut at = body.trim_ascii();
    for token in pointer.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        let inner = match at.first() {
            Some(b'{') => object(at).ok_or_else(unreadable)?.into_iter().rev().find(|m| m.name == token).map(|m| m.raw),
            Some(b'[') => elements(at).ok_or_else(unreadable)?.get(token.parse().unwrap_or(usize::MAX)).copied(),
            _ => None,
        };
        match inner {
            Some(inner) => at = inner,
            None => return Ok(None),
        }
    }
    text(at).map(Some)
}

/// A string without quotes and escapes; everything else as it is written.
pub(super) fn text(raw: &[u8]) -> Result<Cow<'_, [u8]>, SignError> {
    if raw.first() != Some(&b'"') {
        return Ok(Cow::Borrowed(raw));
    }
    let text: String = serde_json::from_slice(raw).map_err(|_| unreadable())?;
    Ok(Cow::Owned(text.into_bytes()))
}

/// The length of the value that the text begins with. It is not kept, however deep it is.
fn value(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// Cuts a value off the front, with the white space before it.
fn cut<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let text = rest.trim_ascii_start();
    let (value, after) = text.split_at_checked(value(text)?)?;
    *rest = after.trim_ascii_start();
    Some(value)
}

fn take(rest: &mut &[u8], wanted: u8) -> Option<()> {
    let (first, after) = rest.split_first()?;
    if *first != wanted {
        return None;
    }
    *rest = after.trim_ascii_start();
    Some(())
}

fn object(text: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut members = Vec::new();
    let mut rest = text;
    take(&mut rest, b'{')?;
    if take(&mut rest, b'}').is_some() {
        return Some(members);
    }
    loop {
        let name = cut(&mut rest)?;
        take(&mut rest, b':')?;
        let raw = cut(&mut rest)?;
        members.push(Member { name: serde_json::from_slice(name).ok()?, raw });
        if take(&mut rest, b',').is_none() {
            take(&mut rest, b'}')?;
            return Some(members);
        }
    }
}

fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut elements = Vec::new();
    let mut rest = text;
    take(&mut rest, b'[')?;
    if take(&mut rest, b']').is_some() {
        return Some(elements);
    }
    loop {
        elements.push(cut(&mut rest)?);
        if take(&mut rest, b',').is_none() {
            take(&mut rest, b']')?;
            return Some(elements);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(body: &str, place: &str) -> Option<String> {
        find(body.as_bytes(), place).unwrap().map(|text| String::from_utf8(text.into_owned()).unwrap())
    }

    #[test]
    fn values_are_found_by_name_and_pointer_and_stay_as_written() {
        let body = r#" {"a":1.10, "b":"x\u00e9\n", "c":[1,{"d":null}], "a/b":{"~":true}, "a":2e3, "é":""} "#;
        for (place, wanted) in [
            ("a", Some("2e3")),
            ("b", Some("xé\n")),
            ("c", Some(r#"[1,{"d":null}]"#)),
            ("/c/1/d", Some("null")),
            ("/a~1b/~0", Some("true")),
            ("/c/7", None),
            ("/c/x", None),
            ("é", Some("")),
            ("none", None),
            ("/a/b", None),
        ] {
            assert_eq!(found(body, place).as_deref(), wanted, "{place}");
        }
        let names: Vec<String> = members(body.as_bytes()).unwrap().into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["a", "b", "c", "a/b", "a", "é"]);
        assert!(members(b"[1]").unwrap().is_empty() && members(b"{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(100_000);
        for body in ["", "{", "{\"a\":}", "{\"a\":1,}", "{\"a\":1} x", "{'a':1}", "{\"a\":\"\\ud800\"}", &deep] {
            let result = members(body.as_bytes()).and_then(|_| find(body.as_bytes(), "a"));
            assert!(result.is_err(), "{}", &body[..body.len().min(20)]);
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(members(deep.as_bytes()).unwrap().is_empty(), "depth costs no stack");
    }
}
