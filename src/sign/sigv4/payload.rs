//! What stands for the body in a signature: a digest, a word, or a word with chunks that are signed one by one. Decided
//! by the configuration and by what the worker's SDK has said of its body, before the body is read.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};

use super::chunks::Framing;
use super::{Payload, Placement};
use crate::sign::SignError;

pub(super) const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
pub(super) const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
pub(super) const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");

pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_CHUNKS_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// What a worker says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said<'h> {
    /// Nothing that could be used.
    Nothing,
    Unsigned,
    /// The SHA-256 of the body in hexadecimal.
    Digest(&'h str),
    /// The body comes in chunks of `aws-chunked`.
    Chunks(Framing),
}

/// What is signed of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan<'h> {
    /// The digest of the whole body, which must be held for it.
    Digest,
    /// The digest that the worker has made.
    Given(&'h str),
    /// Nothing.
    Unsigned,
    /// Nothing at first: chunks follow, whose framing is made anew.
    Chunks(Framing, Signatures),
}

/// What the chunks that leave carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signatures {
    /// As they came, without.
    None,
    /// One each.
    Made,
}

impl Plan<'_> {
    /// The word for chunks; nothing where a digest stands.
    pub(super) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Digest | Self::Given(_) => None,
            Self::Unsigned => Some(UNSIGNED),
            Self::Chunks(_, Signatures::None) => Some(UNSIGNED_CHUNKS_TRAILER),
            Self::Chunks(framing, Signatures::Made) if framing.has_trailer() => Some(SIGNED_CHUNKS_TRAILER),
            Self::Chunks(..) => Some(SIGNED_CHUNKS),
        }
    }
}

/// Decides. `objects` is whether the service is S3 or alike.
pub(super) fn plan<'h>(
    payload: Payload,
    placement: Placement,
    objects: bool,
    headers: &'h HeaderMap,
) -> Result<Plan<'h>, SignError> {
    let said = said(headers)?;
    match (said, placement) {
        (Said::Chunks(_), Placement::Query) => {
            return Err(SignError::Unfit("a body in aws-chunked framing cannot be signed with placement = \"query\""));
        }
        (Said::Chunks(framing), Placement::Header) => {
            let signed = framing.is_signed() || payload == Payload::Signed;
            return Ok(Plan::Chunks(framing, if signed { Signatures::Made } else { Signatures::None }));
        }
        // What S3 takes for granted of a signature in the query.
        (_, Placement::Query) if objects => return Ok(Plan::Unsigned),
        _ => {}
    }
    Ok(match (payload, said) {
        (Payload::Unsigned, _) | (Payload::AsSent, Said::Unsigned) => Plan::Unsigned,
        (Payload::AsSent, Said::Digest(digest)) => Plan::Given(digest),
        _ => Plan::Digest,
    })
}

fn said(headers: &HeaderMap) -> Result<Said<'_>, SignError> {
    let mut lines = headers.get_all(CONTENT_SHA256).iter();
    let text = match (lines.next(), lines.next()) {
        (None, _) => "",
        (Some(line), None) => line.to_str().unwrap_or_default().trim(),
        (Some(_), Some(_)) => return Err(SignError::Unfit("the request has more than one X-Amz-Content-Sha256")),
    };
    Ok(match text {
        UNSIGNED => Said::Unsigned,
        SIGNED_CHUNKS => Said::Chunks(Framing::Signed),
        SIGNED_CHUNKS_TRAILER => Said::Chunks(Framing::SignedTrailer),
        UNSIGNED_CHUNKS_TRAILER => Said::Chunks(Framing::UnsignedTrailer),
        _ if text.starts_with("STREAMING-") => {
            return Err(SignError::Unfit("the kind of streaming that X-Amz-Content-Sha256 names is not known"));
        }
        // An SDK that was told not to sign says it in these alone.
        _ if is_chunked(headers) && headers.contains_key(TRAILER) => Said::Chunks(Framing::UnsignedTrailer),
        _ if is_chunked(headers) => {
            return Err(SignError::Unfit(
                "Content-Encoding says aws-chunked, and X-Amz-Content-Sha256 not of which kind",
            ));
        }
        _ if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Said::Digest(text),
        _ => Said::Nothing,
    })
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONTENT_ENCODING).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("aws-chunked"))
}

/// The length of the content within the chunks, as the worker tells it.
pub(super) fn decoded_length(headers: &HeaderMap) -> Result<Option<u64>, SignError> {
    let mut lines = headers.get_all(DECODED_LENGTH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let number = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok()).filter(|_| lines.next().is_none());
    number.map(Some).ok_or(SignError::Unfit("X-Amz-Decoded-Content-Length is not one number"))
}

/// The names of the trailers that the worker announces, in lower case.
pub(super) fn trailers(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(TRAILER).into_iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    const DIGEST: &str = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";

    #[test]
    fn the_configuration_decides_and_chunks_stay_chunks() {
        let sha = |value| headers(&[("x-amz-content-sha256", value)]);
        let planned =
            |payload, value| plan(payload, Placement::Header, true, &sha(value)).unwrap().word().unwrap_or("digest");
        for (sent, signed, unsigned, as_sent) in [
            ("", "digest", UNSIGNED, "digest"),
            ("nonsense", "digest", UNSIGNED, "digest"),
            (DIGEST, "digest", UNSIGNED, "digest"),
            (UNSIGNED, "digest", UNSIGNED, UNSIGNED),
            (SIGNED_CHUNKS, SIGNED_CHUNKS, SIGNED_CHUNKS, SIGNED_CHUNKS),
            (SIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS_TRAILER),
            (UNSIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS_TRAILER, UNSIGNED_CHUNKS_TRAILER, UNSIGNED_CHUNKS_TRAILER),
        ] {
            assert_eq!(planned(Payload::Signed, sent), signed, "{sent}");
            assert_eq!(planned(Payload::Unsigned, sent), unsigned, "{sent}");
            assert_eq!(planned(Payload::AsSent, sent), as_sent, "{sent}");
        }
        let given = sha(DIGEST);
        assert_eq!(plan(Payload::AsSent, Placement::Header, false, &given).unwrap(), Plan::Given(DIGEST));
        assert_eq!(plan(Payload::Signed, Placement::Header, false, &given).unwrap(), Plan::Digest);
        assert_eq!(plan(Payload::Signed, Placement::Query, true, &given).unwrap(), Plan::Unsigned);
        assert_eq!(plan(Payload::Signed, Placement::Query, false, &given).unwrap(), Plan::Digest);
    }

    #[test]
    fn chunks_are_known_by_either_header_and_unknown_kinds_refused() {
        let plan =
            |lines: &[_]| plan(Payload::AsSent, Placement::Header, true, &headers(lines)).map(|plan| plan.word());
        let chunked = [("content-encoding", "gzip, AWS-chunked"), ("x-amz-trailer", "x-amz-checksum-crc32")];
        assert_eq!(plan(&chunked), Ok(Some(UNSIGNED_CHUNKS_TRAILER)));
        assert!(plan(&chunked[..1]).is_err());
        assert!(plan(&[("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")]).is_err());
        assert!(plan(&[("x-amz-content-sha256", DIGEST), ("x-amz-content-sha256", UNSIGNED)]).is_err());
    }

    #[test]
    fn the_length_of_the_content_is_one_number() {
        let length = |lines: &[_]| decoded_length(&headers(lines));
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[("x-amz-decoded-content-length", "66560")]), Ok(Some(66560)));
        for bad in ["", "-1", "1,2", "+1", "0x10", "99999999999999999999"] {
            assert!(length(&[("x-amz-decoded-content-length", bad)]).is_err(), "{bad}");
        }
        assert!(length(&[("x-amz-decoded-content-length", "1"), ("x-amz-decoded-content-length", "1")]).is_err());
    }
}
