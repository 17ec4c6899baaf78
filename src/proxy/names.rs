//! Which headers a message has, of those that the request path asks about: one look at each name instead of a lookup
//! for each question. Callers: `inbound`, `request`, `hop`, `links`.

use http::{HeaderMap, HeaderName};

/// A set of names of headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u32);

impl Names {
    /// `Host`
    pub const HOST: Self = Self(1);
    /// `Content-Length`
    pub const CONTENT_LENGTH: Self = Self(1 << 1);
    /// `Transfer-Encoding`
    pub const TRANSFER_ENCODING: Self = Self(1 << 2);
    /// `Connection`
    pub const CONNECTION: Self = Self(1 << 3);
    /// `Upgrade`
    pub const UPGRADE: Self = Self(1 << 4);
    /// `Expect`
    pub const EXPECT: Self = Self(1 << 5);
    /// `Via`
    pub const VIA: Self = Self(1 << 6);
    /// `Origin` or `Sec-Fetch-Site`
    pub const BROWSER: Self = Self(1 << 7);
    /// `Countersign-Job` or `traceparent`
    pub const TRACE: Self = Self(1 << 8);
    /// `Location`, `Content-Location` or `Link`
    pub const LINKS: Self = Self(1 << 9);
    /// Another one of RFC 9110 section 7.6.1: `TE`, `Trailer`, `Keep-Alive`, `Proxy-*`, `HTTP2-Settings`
    pub const HOP: Self = Self(1 << 10);
    /// `Countersign-*`
    pub const OWN: Self = Self(1 << 11);
    /// A name with `_`, which a server may take for another one.
    pub const UNDERSCORE: Self = Self(1 << 12);

    /// Whatever is removed from every message.
    pub const UNFIT: Self =
        Self(Self::CONNECTION.0 | Self::TRANSFER_ENCODING.0 | Self::UPGRADE.0 | Self::HOP.0 | Self::OWN.0);

    /// The names of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |all, name| all | Self::one(name).0))
    }

    /// The name itself, as a set.
    pub fn one(name: &HeaderName) -> Self {
        match name.as_str() {
            "host" => Self::HOST,
            "content-length" => Self::CONTENT_LENGTH,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "connection" => Self::CONNECTION,
            "upgrade" => Self::UPGRADE,
            "expect" => Self::EXPECT,
            "via" => Self::VIA,
            "origin" | "sec-fetch-site" => Self::BROWSER,
            "traceparent" => Self::TRACE,
            "countersign-job" => Self(Self::TRACE.0 | Self::OWN.0),
            "location" | "content-location" | "link" => Self::LINKS,
            "te"
            | "trailer"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings" => Self::HOP,
            other if other.starts_with("countersign-") => Self::OWN,
            other if other.bytes().any(|byte| byte == b'_') => Self::UNDERSCORE,
            _ => Self(0),
        }
    }

    /// Whether one of `others` is among them.
    pub fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl std::ops::BitOr for Names {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn every_name_is_seen_and_others_are_not() {
        let mut headers = HeaderMap::new();
        for name in ["accept", "x-via", "hosts", "te-x", "link-x"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        assert_eq!(Names::of(&headers), Names::default());
        headers.append("countersign-job", HeaderValue::from_static("j"));
        headers.append("x_y", HeaderValue::from_static("1"));
        let names = Names::of(&headers);
        assert!(names.any(Names::OWN) && names.any(Names::TRACE) && names.any(Names::UNDERSCORE));
        assert!(!names.any(Names::HOST | Names::VIA | Names::LINKS | Names::HOP | Names::CONNECTION));
        headers.append("proxy-authorization", HeaderValue::from_static("1"));
        assert!(Names::of(&headers).any(Names::UNFIT) && Names::of(&headers).any(Names::HOP));
    }
}
