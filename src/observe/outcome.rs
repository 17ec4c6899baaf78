//! How a request ended: one closed set for the access line and for the metrics' `outcome` label.

/// Declares the enum, its texts and its size in one list, so that none of them can be forgotten.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident => $text:literal,)+) => {
        /// How a request ended. Answers of the upstream are named by their class, answers of the proxy by
        /// the name of the error (the header `Countersign-Error`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Outcome {
            $($(#[$doc])* $variant,)+
        }

        impl Outcome {
            /// Every outcome, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The word that stands in the access line and in the label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

outcomes! {
    /// The upstream answered 200 to 299, or switched to a WebSocket that ran to its end (101).
    Success => "2xx",
    /// The upstream answered 300 to 399.
    Redirection => "3xx",
    /// The upstream answered 400 to 499.
    ClientError => "4xx",
    /// The upstream answered 500 to 599, or with a status that no RFC knows.
    ServerError => "5xx",
    /// The worker went away before its answer was complete.
    Canceled => "canceled",
    /// Malformed, ambiguous, or an attempt at smuggling: 400.
    BadRequest => "bad_request",
    /// No route claims the request: 421.
    NoRoute => "no_route",
    /// The route needs a tenant and none was named: 400.
    TenantUnknown => "tenant_unknown",
    /// Two different tenants were named: 400.
    TenantAmbiguous => "tenant_ambiguous",
    /// Refused caller, browsers among them: 403.
    ClientDenied => "client_denied",
    /// A person must approve the connection again: 403.
    Reauthorize => "reauthorize",
    /// Over `limits.request_body`: 413.
    BodyTooLarge => "body_too_large",
    /// Over `limits.signed_body`: 413.
    BodyTooLargeToSign => "body_too_large_to_sign",
    /// Over `[limits] head` or `headers`: 431.
    HeadersTooLarge => "headers_too_large",
    /// The credential never had a good value: 503.
    CredentialUnavailable => "credential_unavailable",
    /// Refreshing fails and the old token has ended: 503.
    TokenUnavailable => "token_unavailable",
    /// Refused, reset, no such name: 502.
    UpstreamUnreachable => "upstream_unreachable",
    /// Name, chain or client certificate refused: 502.
    UpstreamTls => "upstream_tls",
    /// What the upstream sent is no HTTP, or broke off: 502.
    UpstreamProtocol => "upstream_protocol",
    /// The upstream did not answer in time: 504.
    UpstreamTimeout => "upstream_timeout",
    /// The request would come back to this process: 508.
    Loop => "loop",
    /// A limit of this process was reached: 503.
    Overloaded => "overloaded",
}

impl Outcome {
    /// The class of an upstream's final status.
    pub const fn from_upstream(status: u16) -> Self {
        match status {
            101 | 200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The outcome with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.as_str() == name)
    }

    /// The place in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_one_word_and_one_place() {
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index(), place);
            assert_eq!(Outcome::from_name(outcome.as_str()), Some(*outcome));
        }
        assert_eq!(Outcome::from_name("upstream_timeout"), Some(Outcome::UpstreamTimeout));
        assert_eq!(Outcome::from_name("reauthorise"), None);
    }

    #[test]
    fn an_upstreams_status_gives_its_class() {
        let classes = [200, 204, 301, 404, 500, 599, 999].map(|status| Outcome::from_upstream(status).as_str());
        assert_eq!(classes, ["2xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx"]);
    }
}
