//! A token endpoint on loopback that answers as a test says, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How a call is answered.
#[derive(Clone)]
pub(super) enum Reply {
    /// A whole answer with this status, further head lines and body.
    Answer(u16, &'static str, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// The connection ends at once.
    Reset,
    /// Nothing, ever.
    Silence,
    /// The answer of the box, when it is opened.
    After(Arc<Notify>, Box<Reply>),
}

/// Good tokens: the refresh token moves on with each call.
pub(super) fn tokens(number: usize) -> Reply {
    let body = format!(
        r#"{{"access_token":"access-{number}","refresh_token":"refresh-{number}","expires_in":3600,"token_type":"Bearer"}}"#
    );
    Reply::Answer(200, "content-type: application/json\r\n", body)
}

pub(super) fn error(status: u16, code: &str) -> Reply {
    Reply::Answer(status, "content-type: application/json\r\n", format!(r#"{{"error":"{code}"}}"#))
}

type Script = Box<dyn Fn(usize, &str) -> Reply + Send + Sync>;

/// The endpoint. Ends with its runtime.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) port: u16,
    calls: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<String>>>,
    seen: watch::Receiver<usize>,
}

impl Endpoint {
    /// `script` is given the number of the call, from 1, and what was sent: head and body.
    pub(super) async fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (told, seen) = watch::channel(0);
        let endpoint =
            Self { port: listener.local_addr().unwrap().port(), calls: Arc::default(), bodies: Arc::default(), seen };
        let (of_task, script) = (endpoint.clone(), Arc::new(Box::new(script) as Script));
        tokio::spawn(async move {
            let told = Arc::new(told);
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(of_task.clone().serve(stream, script.clone(), told.clone()));
            }
        });
        endpoint
    }

    async fn serve(self, mut stream: TcpStream, script: Arc<Script>, told: Arc<watch::Sender<usize>>) {
        let mut bytes = Vec::new();
        while !is_whole(&bytes) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let reply = script(number, &text);
        self.bodies.lock().unwrap().push(text);
        told.send_modify(|count| *count = number);
        answer(&mut stream, reply).await;
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What was sent, whole.
    pub(super) fn sent(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    /// Waits for so many calls.
    pub(super) async fn called(&self, count: usize) {
        self.seen.clone().wait_for(|seen| *seen >= count).await.unwrap();
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}

async fn answer(stream: &mut TcpStream, reply: Reply) {
    match reply {
        Reply::Answer(status, head, body) => {
            let length = body.len();
            let text = format!("HTTP/1.1 {status} x\r\n{head}content-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Reply::Raw(bytes) => drop(stream.write_all(&bytes).await),
        Reply::Reset => {}
        Reply::Silence => std::future::pending().await,
        Reply::After(gate, reply) => {
            gate.notified().await;
            Box::pin(answer(stream, *reply)).await;
        }
    }
}
