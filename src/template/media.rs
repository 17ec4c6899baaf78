//! Which kind of body a request says that it has: only its Content-Type counts, never what the bytes look like.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// A kind of body that templates tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`, `text/json`, `*/*+json`
    Json,
    /// `multipart/*`
    Multipart,
}

/// The kind of body of a request with these headers.
pub(super) fn of(headers: &HeaderMap) -> Option<Media> {
    let kind = headers.get(CONTENT_TYPE)?.as_bytes();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    let ends =
        |end: &str| kind.len() > end.len() && kind[kind.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
    let begins = |begin: &str| kind.get(..begin.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(begin.as_bytes()));
    if is("application/x-www-form-urlencoded") {
        Some(Media::Form)
    } else if is("application/json") || is("text/json") || ends("+json") {
        Some(Media::Json)
    } else if begins("multipart/") {
        Some(Media::Multipart)
    } else {
        None
    }
}
