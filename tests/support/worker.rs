//! A worker that speaks HTTP/1.1 by hand over TCP or a Unix socket: what it sends and gets are exact bytes.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::http1::{Head, find_head};
use super::wait::within;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One connection to the proxy.
pub(crate) struct Worker {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
}

/// A final answer with what came before it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    /// Decoded where it was chunked.
    pub(crate) body: Vec<u8>,
    /// Whether the body reached its end as announced.
    pub(crate) whole: bool,
    /// Statuses of interim answers.
    pub(crate) interim: Vec<u16>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The name of the proxy's own error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.header("countersign-error")
    }
}

impl Worker {
    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { wire: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) async fn unix(path: &Path) -> Self {
        let stream = within("connecting", UnixStream::connect(path)).await.unwrap();
        Self { wire: Box::new(stream), buffer: Vec::new() }
    }

    /// Over a connection that is there already, such as one of TLS.
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { wire: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends; a connection that the proxy has closed meanwhile is no failure yet.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.wire.write_all(bytes.as_ref())).await;
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        let bytes = bytes.as_ref();
        self.send(bytes).await;
        let bodiless = bytes.starts_with(b"HEAD ");
        self.answer_to(if bodiless { "HEAD" } else { "GET" }).await
    }

    /// The next final answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await.expect("the connection ended without an answer");
            let status = head.status();
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let (body, whole) = self.body(&head, method).await;
            return Answer { status, head, body, whole, interim };
        }
    }

    /// The next head, or nothing when the connection ends.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = find_head(&mut self.buffer) {
                return Some(head);
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "half a head: {:?}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        }
    }

    /// Whether the proxy closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    /// Reads until this many bytes of a body have come.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "the connection ended early");
        }
        self.buffer.drain(..count).collect()
    }

    async fn more(&mut self) -> bool {
        // A reset is an end too.
        within("reading from the proxy", self.wire.read_buf(&mut self.buffer)).await.is_ok_and(|count| count > 0)
    }

    async fn body(&mut self, head: &Head, method: &str) -> (Vec<u8>, bool) {
        if method == "HEAD" || matches!(head.status(), 101 | 204 | 304) {
            return (Vec::new(), true);
        }
        if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        let length = head.header("content-length").map(|length| length.parse::<usize>().unwrap());
        while length.is_none_or(|length| self.buffer.len() < length) {
            if !self.more().await {
                return (std::mem::take(&mut self.buffer), length.is_none());
            }
        }
        (self.buffer.drain(..length.unwrap_or(0)).collect(), true)
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await else { return (body, false) };
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while self.line().await.is_some_and(|trailer| !trailer.is_empty()) {}
                return (body, true);
            }
            while self.buffer.len() < size + 2 {
                if !self.more().await {
                    body.append(&mut self.buffer);
                    return (body, false);
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }
}
