//! Time, region and service of a signature: the stamp that is signed, and the scope that a signing key serves.

use std::borrow::Cow;

use jiff::tz::Offset;

use crate::clock::Timestamp;
use crate::sign::{SignContext, SignError};

/// A region or a service, which may depend on the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Box<[Word]>);

/// A piece of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// As it stands.
    Text(Box<str>),
    /// The tenant of the request.
    Tenant,
    /// What the route's host pattern captured under this name.
    Capture(Box<str>),
}

impl Words {
    /// The pieces in order.
    pub fn new(words: Vec<Word>) -> Self {
        Self(words.into())
    }

    /// The whole text, where it does not depend on the request.
    pub(super) fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [Word::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for a request.
    pub(super) fn fill<'a>(&'a self, context: &SignContext<'a>) -> Result<Cow<'a, str>, SignError> {
        let one = |word: &'a Word| match word {
            Word::Text(text) => Ok(&**text),
            Word::Tenant => context.tenant.ok_or_else(|| SignError::Missing("tenant".to_owned())),
            Word::Capture(name) => {
                let found = context.captures.iter().find(|(known, _)| *known == &**name).map(|(_, value)| *value);
                found.ok_or_else(|| SignError::Missing(format!("capture {name}")))
            }
        };
        match &*self.0 {
            [only] => one(only).map(Cow::Borrowed),
            many => many.iter().map(one).collect::<Result<String, _>>().map(Cow::Owned),
        }
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self::new(vec![Word::Text(text.into())])
    }
}

/// `YYYYMMDDTHHMMSSZ`
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp([u8; 16]);

impl Stamp {
    /// A moment; one outside of the years 0 to 9999 is the epoch.
    pub(super) fn of(moment: Timestamp) -> Self {
        let civil = |seconds| Some(Offset::UTC.to_datetime(jiff::Timestamp::from_second(seconds).ok()?));
        let fits = civil(moment.seconds).filter(|date| date.year() >= 0);
        let date = fits.unwrap_or(jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
        let mut out = *b"00000000T000000Z";
        let mut number = |at: usize, width: usize, mut value: u16| {
            for digit in out[at..at + width].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        number(0, 4, date.year().unsigned_abs());
        number(4, 2, date.month().unsigned_abs().into());
        number(6, 2, date.day().unsigned_abs().into());
        number(9, 2, date.hour().unsigned_abs().into());
        number(11, 2, date.minute().unsigned_abs().into());
        number(13, 2, date.second().unsigned_abs().into());
        Self(out)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // digits and letters
    }

    /// `YYYYMMDD`
    pub(super) fn date(&self) -> [u8; 8] {
        self.0.first_chunk().copied().unwrap_or_default()
    }
}

/// What a signing key is derived for.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) date: [u8; 8],
    pub(super) region: Cow<'a, str>,
    pub(super) service: Cow<'a, str>,
}

impl Scope<'_> {
    /// `YYYYMMDD/REGION/SERVICE/aws4_request`
    pub(super) fn text(&self) -> String {
        let date = std::str::from_utf8(&self.date).unwrap_or_default();
        format!("{date}/{}/{}/aws4_request", self.region, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        // date -u -d @N +%Y%m%dT%H%M%SZ
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_164_799, "20240228T235959Z"),
            (1_709_164_800, "20240229T000000Z"),
            (i64::MAX, "19700101T000000Z"),
        ] {
            assert_eq!(Stamp::of(Timestamp::from_seconds(seconds)).as_str(), text);
        }
    }
}
