//! The head of an HTTP/1.1 message as text, exactly as it came.

/// Start line and headers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// With all line ends, the empty line included.
    pub(crate) raw: String,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.raw)
    }
}

impl Head {
    pub(crate) fn start_line(&self) -> &str {
        self.raw.split("\r\n").next().unwrap()
    }

    /// All headers, names as they came.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let lines = self.raw.split("\r\n").skip(1).filter(|line| !line.is_empty());
        lines.map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())).unwrap()).collect()
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers()
            .into_iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a header that stands once at most.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands more than once: {self:?}");
        all.first().copied()
    }

    /// Names in lower case, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.headers().iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
    }

    /// Of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.start_line().split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Of a request.
    pub(crate) fn method(&self) -> &str {
        self.start_line().split(' ').next().unwrap()
    }

    /// Of a request.
    pub(crate) fn target(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap()
    }
}

/// Takes a whole head off the front of what was read.
pub(crate) fn find_head(buffer: &mut Vec<u8>) -> Option<Head> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let raw = buffer.drain(..end).collect();
    Some(Head { raw: String::from_utf8(raw).unwrap() })
}
