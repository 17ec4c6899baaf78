//! Where the members of the outermost JSON object stand, so that some can go or come while every other byte stays.
//! Caller: `body`.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::body::BodyProblem;

/// A JSON object (RFC 8259) and the places of its members.
#[derive(Debug)]
pub(super) struct Object<'t> {
    text: &'t [u8],
    /// Behind the opening brace.
    begin: usize,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// With escapes resolved.
    name: String,
    /// From the quote of the name to the end of the value.
    at: Range<usize>,
}

impl<'t> Object<'t> {
    /// Checks the whole text and finds the members.
    pub(super) fn read(text: &'t [u8]) -> Result<Self, BodyProblem> {
        serde_json::from_slice::<IgnoredAny>(text).map_err(|_| BodyProblem::Malformed)?;
        let mut scan = Scan { text, at: 0 };
        scan.blank();
        if scan.peek() != Some(b'{') {
            return Err(BodyProblem::NoObject);
        }
        scan.at += 1;
        let begin = scan.at;
        let mut members = Vec::new();
        loop {
            scan.blank();
            match scan.peek() {
                Some(b',') => scan.at += 1,
                Some(b'"') => {
                    let start = scan.at;
                    scan.string();
                    let name = serde_json::from_slice(&text[start..scan.at]).map_err(|_| BodyProblem::Malformed)?;
                    scan.blank();
                    scan.at += 1; // the colon
                    scan.blank();
                    scan.value();
                    members.push(Member { name, at: start..scan.at });
                }
                _ => return Ok(Self { text, begin, members }),
            }
        }
    }

    /// The text without the members of these names, all of them where one comes twice; nothing where there is none.
    pub(super) fn without(&self, names: &[&str]) -> Option<Vec<u8>> {
        let stays = |member: &Member| !names.contains(&member.name.as_str());
        let (Some(first), Some(last)) = (self.members.first(), self.members.last()) else { return None };
        if self.members.iter().all(stays) {
            return None;
        }
        let mut out = Vec::with_capacity(self.text.len());
        out.extend_from_slice(&self.text[..first.at.start]);
        // What stands behind a member that stays, up to the next one, comes with that next one.
        let mut between: Option<Range<usize>> = None;
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| stays(member)) {
            if let Some(between) = between {
                out.extend_from_slice(&self.text[between]);
            }
            out.extend_from_slice(&self.text[member.at.clone()]);
            between = self.members.get(index + 1).map(|next| member.at.end..next.at.start);
        }
        out.extend_from_slice(&self.text[last.at.end..]);
        Some(out)
    }

    /// Where another member goes, and whether it is the first.
    pub(super) fn end(&self) -> (usize, bool) {
        self.members.last().map_or((self.begin, true), |last| (last.at.end, false))
    }
}

/// Goes through a text that is known to be well-formed.
struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// From one quote to behind the other.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        self.at = self.at.min(self.text.len());
    }

    fn value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return,
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn without(text: &str, names: &[&str]) -> Option<String> {
        Object::read(text.as_bytes()).unwrap().without(names).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_member_goes_and_every_other_byte_stays() {
        let text =
            "\r\n{ \"a\" : 1.50 ,\t\"sign\":{\"sign\":[1,\"}\"]} , \"b\\n\": [ \"x,\\\"y\" , {} ],\n \"c\":null }\n";
        let gone = "\r\n{ \"a\" : 1.50 ,\t\"b\\n\": [ \"x,\\\"y\" , {} ],\n \"c\":null }\n";
        assert_eq!(without(text, &["sign"]).unwrap(), gone);
        assert_eq!(without(text, &["sign", "c"]).unwrap(), gone.replace(",\n \"c\":null", ""));
        assert_eq!(without(text, &["x"]), None);
        assert_eq!(without(text, &["a", "sign", "b\n", "c"]).unwrap(), "\r\n{  }\n");
    }

    #[test]
    fn every_spelling_and_every_copy_of_a_name_goes() {
        assert_eq!(without(r#"{"si\u0067n":1,"a":2,"sign":3}"#, &["sign"]).unwrap(), r#"{"a":2}"#);
        assert_eq!(without(r#"{"a":2,"sign":1,"sign":3}"#, &["sign"]).unwrap(), r#"{"a":2}"#);
        assert_eq!(without(r#"{"sign":1}"#, &["sign"]).unwrap(), "{}");
        assert_eq!(without("{}", &["sign"]), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "{", "{\"a\":1,}", "{\"a\" 1}", "{\"a\":1} x", "\u{feff}{}", "{'a':1}", "{\"a\":\"\n\"}"] {
            assert_eq!(Object::read(text.as_bytes()).unwrap_err(), BodyProblem::Malformed, "{text}");
        }
        assert_eq!(Object::read(b"{\"\xff\":1}").unwrap_err(), BodyProblem::Malformed);
        for text in ["[]", "1", "\"{}\"", " null"] {
            assert_eq!(Object::read(text.as_bytes()).unwrap_err(), BodyProblem::NoObject, "{text}");
        }
    }
}
