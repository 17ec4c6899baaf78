//! Errors of HTTP/2 by the words of the proxy's error table, and which of them say that nothing was processed.

use h2::{Error, Reason};

use super::super::error::{Fault, UpstreamError, find_cause, io_words};
use super::shared::Control;

/// Sorts an error of a stream or of its whole connection into the table.
pub(super) fn classify(error: &Error, control: &Control, during: &str) -> UpstreamError {
    if let Some(why) = control.lost.get() {
        return UpstreamError::new(Fault::Unreachable, why.clone());
    }
    if let Some(io) = error.get_io() {
        if let Some(tls) = find_cause::<rustls::Error>(io) {
            return UpstreamError::new(Fault::Tls, crate::tls::TlsFailure::of(tls).to_string());
        }
        return UpstreamError::new(Fault::Unreachable, format!("{during}: {}", io_words(io)));
    }
    let reason = error.reason().map_or_else(|| "no reason".to_owned(), name);
    let (fault, why) = match (error.is_remote(), error.is_go_away()) {
        (true, true) => (Fault::Unreachable, format!("the upstream ended the HTTP/2 connection ({reason})")),
        (true, false) => (Fault::Unreachable, format!("the upstream reset the HTTP/2 stream ({reason})")),
        (false, _) => (Fault::Protocol, format!("the upstream's answer is not valid HTTP/2 ({reason})")),
    };
    UpstreamError::new(fault, format!("{during}: {why}"))
}

/// The upstream has not processed any of the request (RFC 9113 section 8.7): it refused the stream, or said GOAWAY
/// with a last stream before it.
pub(super) fn is_unprocessed(error: &Error) -> bool {
    error.is_remote() && (error.is_go_away() || is_refused(error))
}

/// The stream alone was refused.
pub(super) fn is_refused(error: &Error) -> bool {
    error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)
}

/// As RFC 9113 section 7 has it.
fn name(reason: Reason) -> String {
    format!("{reason:?}")
}
