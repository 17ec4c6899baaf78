//! Why an upstream could not be used.

use std::fmt;

/// What went wrong, by the words of the proxy's error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Name not found, connection refused or reset.
    Unreachable,
    /// Name, chain, version, pin, or a client certificate that the upstream refused.
    Tls,
    /// What came back is not HTTP.
    Protocol,
    /// A timeout of the route.
    Timeout,
    /// An address that is never connected to; trying again changes nothing.
    Forbidden,
    /// As many requests as the pool carries to one upstream are under way.
    Full,
    /// The address is one of this process's own listeners.
    Loop,
    /// The worker's own body failed or stalled; no fault of the upstream.
    WorkerBody(WorkerBody),
}

/// How the worker's body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerBody {
    /// Malformed framing, or the connection ended within the body.
    Broken,
    /// Over `limits.request_body`.
    TooLarge,
    /// Silent for longer than `timeouts.body`.
    Stalled,
    /// Its `aws-chunked` framing is malformed.
    Chunks,
}

/// A failed attempt. The text is for logs and problem answers: names and reasons, never content.
#[derive(Debug, Clone)]
pub struct UpstreamError {
    /// The kind.
    pub fault: Fault,
    /// What happened, in words.
    pub detail: String,
}

impl UpstreamError {
    /// A fault with its words.
    pub fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for UpstreamError {}

/// Looks through the causes of an error for one of type `T`, also inside `io::Error`s.
pub(super) fn find_cause<'e, T: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref())
            && let Some(found) = find_cause::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Sorts an error of an established connection into the table.
pub(super) fn classify(error: &(dyn std::error::Error + 'static), during: &str) -> UpstreamError {
    if let Some(tls) = find_cause::<rustls::Error>(error) {
        return UpstreamError::new(Fault::Tls, crate::tls::TlsFailure::of(tls).to_string());
    }
    if let Some(hyper) = find_cause::<hyper::Error>(error) {
        if hyper.is_parse() || hyper.is_parse_too_large() {
            return UpstreamError::new(
                Fault::Protocol,
                format!("the upstream's answer is not valid HTTP/1.1 ({hyper})"),
            );
        }
        if hyper.is_incomplete_message() {
            return UpstreamError::new(Fault::Unreachable, "the upstream closed the connection before it answered");
        }
    }
    if let Some(io) = find_cause::<std::io::Error>(error) {
        return UpstreamError::new(Fault::Unreachable, format!("{during}: {}", io_words(io)));
    }
    UpstreamError::new(Fault::Protocol, format!("{during}: {error}"))
}

/// An I/O error in words without the number.
pub(super) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::ConnectionRefused => "connection refused".into(),
        K::ConnectionReset => "connection reset by the upstream".into(),
        K::BrokenPipe => "the upstream closed the connection".into(),
        K::UnexpectedEof => "the upstream closed the connection early".into(),
        K::TimedOut => "connection timed out".into(),
        K::HostUnreachable => "host unreachable".into(),
        K::NetworkUnreachable => "network unreachable".into(),
        _ => error.to_string(),
    }
}
