#![allow(clippy::unwrap_used)]

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_millis(300);

/// Answers one connection with these bytes; `None` says nothing.
async fn answering(answer: Option<Vec<u8>>) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        match answer {
            Some(answer) => drop(stream.write_all(&answer).await),
            None => std::future::pending().await,
        }
    });
    uri
}

async fn call(uri: &Uri) -> Result<Response<Bytes>, CallError> {
    let mut request = Request::new(Bytes::from_static(b"a=b"));
    (*request.method_mut(), *request.uri_mut()) = (http::Method::POST, uri.clone());
    Outward::new(Vec::new()).call(request, &Way::default(), LIMIT).await
}

#[tokio::test]
async fn an_answer_is_an_answer_whatever_it_says() {
    for (head, status) in [("200 OK", 200), ("302 Found\r\nlocation: http://127.0.0.1:1/", 302), ("500 x", 500)] {
        let uri = answering(Some(format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok").into_bytes())).await;
        let answer = call(&uri).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (status, &b"ok"[..]));
    }
}

#[tokio::test]
async fn what_was_sent_is_told_from_what_was_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    assert!(matches!(call(&uri).await, Err(CallError::Unsent { why: Unsent::Refused, .. })));
    let lost = |why: Lost| move |answered: Result<_, CallError>| matches!(answered, Err(CallError::Lost { why: w, .. }) if w == why);
    assert!(lost(Lost::Broken)(call(&answering(Some(Vec::new())).await).await));
    assert!(lost(Lost::Timeout)(call(&answering(None).await).await));
    assert!(lost(Lost::NotHttp)(call(&answering(Some(b"SSH-2.0-x\r\n\r\n".to_vec())).await).await));
    let mut large = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", 100 << 20).into_bytes();
    large.resize(ANSWER_LIMIT + 4096, b'x');
    assert!(lost(Lost::TooLarge)(call(&answering(Some(large)).await).await));
}

#[tokio::test]
async fn addresses_are_refused_as_on_the_request_path() {
    for uri in ["http://192.0.2.1/", "http://example.com/", "https://169.254.169.254/", "ftp://127.0.0.1/"] {
        let answered = call(&uri.parse().unwrap()).await;
        assert!(matches!(answered, Err(CallError::Unsent { why: Unsent::Refused, .. })), "{uri}");
    }
    // A listener of our own is never called.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = format!("http://{own}/").parse().unwrap();
    let answered = Outward::new(vec![own]).call(request, &Way::default(), LIMIT).await;
    assert!(matches!(answered, Err(CallError::Unsent { .. })));
}

#[test]
fn hosts_and_ports_of_urls() {
    let of = |text: &str| authority(&text.parse().unwrap()).map(|one| (one.host, one.port));
    assert_eq!(of("https://Api.Example/x"), Some(("api.example".to_owned(), 443)));
    assert_eq!(of("http://[::1]:8080/"), Some(("::1".to_owned(), 8080)));
    assert_eq!(of("/path"), None);
}
