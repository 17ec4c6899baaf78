//! The way out through a corporate proxy: CONNECT (RFC 9110 section 9.3.6), then the bytes of the tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::{Fault, UpstreamError, io_words};

/// Bytes of the proxy's answer at most.
const HEAD_LIMIT: usize = 16 * 1024;

/// An egress proxy with the credentials for it.
#[derive(Debug)]
pub struct Egress {
    id: u64,
    /// The proxy's name or address.
    pub host: Arc<str>,
    /// The proxy's port.
    pub port: u16,
    /// How we prove ourselves to it.
    pub authorization: Authorization,
}

/// How to prove ourselves to an egress proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// It wants none.
    None,
    /// The whole value of `Proxy-Authorization`.
    Basic(HeaderValue),
    /// Configured, but there is no good value; the text says why.
    Unavailable(String),
}

impl Egress {
    /// A proxy that differs from every other one.
    pub fn new(host: &str, port: u16, authorization: Authorization) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), host: host.into(), port, authorization }
    }

    /// Unique in the process, never 0: connections through another proxy or with other credentials are others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// In words, for messages.
    pub(super) fn failed(&self, why: impl std::fmt::Display) -> UpstreamError {
        UpstreamError::new(Fault::Unreachable, format!("egress proxy {}:{}: {why}", self.host, self.port))
    }

    /// Turns a connection to the proxy into one to `host:port`. Reads not one byte of what comes after.
    pub(super) async fn tunnel(&self, tcp: &mut TcpStream, host: &str, port: u16) -> Result<(), UpstreamError> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        match &self.authorization {
            Authorization::None => {}
            Authorization::Basic(value) => {
                request.extend_from_slice(b"Proxy-Authorization: ");
                request.extend_from_slice(value.as_bytes());
                request.extend_from_slice(b"\r\n");
            }
            Authorization::Unavailable(why) => return Err(self.failed(why)),
        }
        request.extend_from_slice(b"\r\n");
        tcp.write_all(&request).await.map_err(|error| self.failed(io_words(&error)))?;
        let head = self.head(tcp).await?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(407) if self.authorization == Authorization::None => {
                Err(self.failed(format!("it wants credentials (407) for {target}; set [egress] username and password")))
            }
            Some(407) => Err(self.failed(format!("it refused our credentials (407) for {target}"))),
            Some(status) => Err(self.failed(format!("it answered {status} to CONNECT {target}"))),
            None => Err(self.failed("it does not speak HTTP")),
        }
    }

    /// The head of its answer. The upstream says nothing before our TLS does, so whatever follows the
    /// head of a success is no TLS of the upstream.
    async fn head(&self, tcp: &mut TcpStream) -> Result<Vec<u8>, UpstreamError> {
        let mut head = Vec::with_capacity(512);
        loop {
            let count = tcp.read_buf(&mut head).await.map_err(|error| self.failed(io_words(&error)))?;
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                if end + 4 < head.len() && matches!(status(&head), Some(200..=299)) {
                    return Err(self.failed("it sent more than its answer to CONNECT"));
                }
                return Ok(head);
            }
            if count == 0 {
                return Err(self.failed("it closed the connection before it answered CONNECT"));
            }
            if head.len() > HEAD_LIMIT {
                return Err(self.failed(format!("its answer to CONNECT is over {HEAD_LIMIT} bytes")));
            }
        }
    }
}

/// The status of `HTTP/1.x NNN ...`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let ends = matches!(rest.get(3), Some(b' ' | b'\r'));
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_heads() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for bad in [&b"HTTP/2 200\r\n"[..], b"SSH-2.0-x\r\n", b"HTTP/1.1 20\r\n", b"HTTP/1.1 2000\r\n", b"HTTP/1."] {
            assert_eq!(status(bad), None);
        }
    }
}
