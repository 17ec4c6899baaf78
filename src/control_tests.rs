#![allow(clippy::unwrap_used)]

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const TIME: Duration = Duration::from_millis(200);

async fn answering(answer: &'static [u8]) -> (Uri, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(answer).await;
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
    });
    (uri, task)
}

async fn ask(answer: &'static [u8], limit: usize) -> Result<(StatusCode, Bytes), ControlError> {
    let (uri, task) = answering(answer).await;
    let answered = Control::new(TIME, limit).unwrap().ask(uri, None).await;
    task.abort();
    answered
}

#[tokio::test]
async fn an_answer_comes_whole_up_to_its_bound() {
    let answer = b"HTTP/1.1 503 x\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(ask(answer, 3).await.unwrap(), (StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"abc")));
    assert!(matches!(ask(answer, 2).await, Err(ControlError::TooLarge { limit: 2, .. })));
}

#[tokio::test]
async fn silence_and_rubbish_are_told_apart() {
    assert!(matches!(ask(b"", 9).await, Err(ControlError::Timeout { .. })));
    assert!(matches!(ask(b"SSH-2.0-x\r\n\r\n", 9).await, Err(ControlError::Protocol { .. })));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let answered = Control::new(TIME, 9).unwrap().ask(uri, None).await;
    assert!(matches!(answered, Err(ControlError::Unreachable { .. })));
}

#[tokio::test]
async fn plain_http_stays_on_this_machine() {
    for uri in ["http://192.0.2.1/", "http://example.com/", "http://127.0.0.1.example.com/"] {
        let answered = Control::new(TIME, 9).unwrap().ask(uri.parse().unwrap(), None).await;
        assert!(matches!(answered, Err(ControlError::Insecure(_))), "{uri}");
    }
}
