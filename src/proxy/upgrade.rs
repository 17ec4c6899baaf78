//! WebSocket handshakes (RFC 6455 section 4): which requests are one, and what of them goes up and comes down.
//!
//! Every other upgrade is dropped with the other hop-by-hop headers: behind an h2c upgrade the worker would
//! speak to the upstream unchecked and unsigned. The tunnel itself is in [`super::tunnel`]. Caller: `request`.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;

use super::answer::WorkerAnswer;
use super::failure::Failure;
use super::hop;
use super::names::Names;
use super::tally::Tally;
use super::tunnel::Tunnel;
use crate::config::model::Route;
use crate::observe::Outcome;
use crate::upstream::lease::Answer;

/// The only version that there is (RFC 6455 section 4.1).
const VERSION: &[u8] = b"13";
/// 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// A handshake on its way.
#[derive(Debug)]
pub struct Handshake {
    worker: OnUpgrade,
    silence: Option<Duration>,
}

impl Handshake {
    /// The handshake that a request is, where its route lets it pass.
    pub fn of(parts: &mut Parts, route: &Route) -> Option<Self> {
        if !route.websocket || !is_handshake(parts) {
            return None;
        }
        let worker = parts.extensions.remove::<OnUpgrade>()?;
        Some(Self { worker, silence: route.timeouts.tunnel })
    }

    /// Puts back what goes up, into a head that is clean of hop-by-hop headers.
    pub fn ask(&self, headers: &mut HeaderMap) {
        name_protocol(headers);
    }

    /// After the upstream's 101: the worker gets one too, and the tunnel begins when that is written.
    pub fn switch(self, answer: Answer, mut tally: Box<Tally>) -> Response<WorkerAnswer> {
        let (mut head, body) = answer.into_parts();
        let Some(upstream) = body.into_tunnel() else {
            let failure =
                Failure::new(Outcome::UpstreamProtocol, "the upstream switched protocols without being asked");
            tally.head(failure.status().as_u16());
            tally.error = Some(failure.name);
            return failure.answer(None).map(|body| WorkerAnswer::own(body, tally));
        };
        let names = Names::of(&head.headers);
        hop::clean_answer(&mut head.headers, names);
        head.headers.remove(CONTENT_LENGTH);
        name_protocol(&mut head.headers);
        tally.head(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let tunnel = Tunnel::new(self.worker, upstream, self.silence, tally);
        Response::from_parts(head, WorkerAnswer::switching(tunnel))
    }
}

fn name_protocol(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// RFC 6455 section 4.2.1; a body is no part of a handshake.
fn is_handshake(parts: &Parts) -> bool {
    let headers = &parts.headers;
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && only(headers, &UPGRADE).is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
        && connection_names(headers).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
        && only(headers, &SEC_WEBSOCKET_VERSION) == Some(VERSION)
        && only(headers, &SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == KEY_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
        && only(headers, &CONTENT_LENGTH).is_none_or(|length| length == b"0")
}

/// The value of a header that stands exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next().map(|line| line.as_bytes().trim_ascii());
    first.filter(|_| lines.next().is_none())
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The handshake of RFC 6455 section 1.2, with lines replaced or left out.
    fn parts(method: &str, changes: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/chat");
        let sound = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in sound.iter().filter(|(name, _)| !changes.iter().any(|(other, _)| other == name)) {
            request = request.header(*name, *value);
        }
        for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_whole_handshake_is_one() {
        assert!(is_handshake(&parts("GET", &[])));
        assert!(is_handshake(&parts("GET", &[("upgrade", "WebSocket"), ("connection", "upgrade")])));
        assert!(is_handshake(&parts("GET", &[("content-length", "0")])));
        for (method, changes) in [
            ("POST", &[][..]),
            ("GET", &[("upgrade", "")]),
            ("GET", &[("upgrade", "h2c")]),
            ("GET", &[("upgrade", "websocket, h2c")]),
            ("GET", &[("upgrade", "websocket"), ("upgrade", "websocket")]),
            ("GET", &[("connection", "keep-alive")]),
            ("GET", &[("connection", "")]),
            ("GET", &[("sec-websocket-version", "12")]),
            ("GET", &[("sec-websocket-version", "")]),
            ("GET", &[("sec-websocket-key", "short")]),
            ("GET", &[("sec-websocket-key", "")]),
            ("GET", &[("content-length", "5")]),
            ("GET", &[("transfer-encoding", "chunked")]),
        ] {
            assert!(!is_handshake(&parts(method, changes)), "{method} {changes:?}");
        }
        let mut old = parts("GET", &[]);
        old.version = Version::HTTP_10;
        assert!(!is_handshake(&old));
    }
}
