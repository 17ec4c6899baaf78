//! A body goes up whole or not at all: what a worker breaks off never looks complete, and no method loses its body.

use super::open;
use crate::support::Upstream;
use crate::support::http2_worker::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, block, frame};
use crate::support::wait::within;

fn head(method: &'static str) -> Vec<u8> {
    let fields: [(&str, &[u8]); 4] =
        [(":method", method.as_bytes()), (":scheme", b"http"), (":authority", b"api.test"), (":path", b"/")];
    frame(HEADERS, END_HEADERS, 1, &block(&fields))
}

#[tokio::test]
async fn a_body_that_is_reset_is_never_complete_whatever_the_reason() {
    // NO_ERROR, INTERNAL_ERROR, CANCEL.
    for reason in [0_u32, 2, 8] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::scripted(move |mut conversation| {
            let tell = tell.clone();
            async move {
                conversation.head().await.unwrap();
                while !conversation.unread().ends_with(b"half\r\n") && conversation.more().await {}
                tell.send(conversation.take_unread()).unwrap();
                // The rest comes until the proxy hangs up, or the body is whole.
                while !conversation.unread().ends_with(b"0\r\n\r\n") && conversation.more().await {}
                tell.send(conversation.take_unread()).unwrap();
            }
        })
        .await;
        let proxy = open(&upstream, "").await;
        let mut raw = Raw::tcp(proxy.address).await;
        raw.send(head("POST")).await;
        raw.send(frame(DATA, 0, 1, b"half")).await;
        assert_eq!(within("half a body", told.recv()).await.unwrap(), b"4\r\nhalf\r\n");
        raw.send(frame(RST_STREAM, 0, 1, &reason.to_be_bytes())).await;
        let rest = within("the end", told.recv()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "reset with {reason}");
    }
}

#[tokio::test]
async fn a_get_whose_body_has_no_length_keeps_it() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let chunked = "GET / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfind\r\n0\r\n\r\n";
    assert_eq!(proxy.raw(chunked).await.status, 200);
    assert!(String::from_utf8_lossy(&upstream.last().body).contains("find"), "{:?}", upstream.last());
    let mut raw = Raw::tcp(proxy.address).await;
    raw.send(head("GET")).await;
    raw.send(frame(DATA, END_STREAM, 1, b"find")).await;
    raw.next(HEADERS).await.unwrap();
    assert!(String::from_utf8_lossy(&upstream.last().body).contains("find"), "{:?}", upstream.last());
}
