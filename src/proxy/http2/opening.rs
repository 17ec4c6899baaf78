//! Which HTTP a worker speaks on a plain connection: HTTP/2 begins with a preface that no HTTP/1.1 request is
//! (RFC 9113 section 3.4), and a client may know beforehand that it is understood (section 3.3). Caller: `listener`.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::proxy::intercept::Rewound;
use crate::proxy::registry::Ending;
use crate::proxy::worker_io::HEAD_TIMEOUT;

/// What a client of HTTP/2 sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Looks at the first bytes and puts them back. Nothing where the connection ends before its first byte, is told to end
/// while it waits for that, or takes longer than [`HEAD_TIMEOUT`] over a preface that it has begun.
pub async fn look<S: AsyncRead + Unpin>(stream: S, ending: &Ending) -> Option<(Protocol, Rewound<S>)> {
    look_within(HEAD_TIMEOUT, stream, ending).await
}

async fn look_within<S: AsyncRead + Unpin>(
    patience: Duration,
    mut stream: S,
    ending: &Ending,
) -> Option<(Protocol, Rewound<S>)> {
    let mut seen = [0; PREFACE.len()];
    let mut count = 0;
    let mut slow = None;
    let found = poll_fn(|cx| {
        ending.wake_with(cx.waker());
        loop {
            if count == 0 && ending.is_told() {
                return Poll::Ready(None);
            }
            let mut buf = ReadBuf::new(&mut seen[count..]);
            match Pin::new(&mut stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => match buf.filled().len() {
                    0 => return Poll::Ready((count > 0).then_some(Protocol::Http1)),
                    more => count += more,
                },
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if count > 0 => return is_too_slow(&mut slow, patience, cx).map(|()| None),
                Poll::Pending => return Poll::Pending,
            }
            if !PREFACE.starts_with(&seen[..count]) {
                return Poll::Ready(Some(Protocol::Http1));
            }
            if count == PREFACE.len() {
                return Poll::Ready(Some(Protocol::Http2));
            }
        }
    })
    .await;
    found.map(|protocol| (protocol, Rewound::new(Bytes::copy_from_slice(&seen[..count]), stream)))
}

fn is_too_slow(timer: &mut Option<Pin<Box<Sleep>>>, patience: Duration, cx: &mut Context<'_>) -> Poll<()> {
    timer.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::proxy::registry::Registry;
    use crate::proxy::worker_io::Activity;

    /// What is found in these pieces, and every byte as it is read afterwards.
    async fn find(pieces: &[&[u8]]) -> Option<(Protocol, Vec<u8>)> {
        let (mut worker, proxy) = duplex(64);
        let ending = Registry::default().add(Activity::new());
        let send = async {
            for piece in pieces {
                worker.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(worker);
        };
        let (found, ()) = tokio::join!(look(proxy, &ending), send);
        let (protocol, mut stream) = found?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        Some((protocol, all))
    }

    #[tokio::test]
    async fn a_preface_is_found_and_every_byte_is_put_back() {
        let (head, tail) = PREFACE.split_at(9);
        for pieces in [&[&PREFACE[..], b"frames"][..], &[head, tail, b"frames"], &[b"P", &PREFACE[1..], b"frames"]] {
            let (protocol, all) = find(pieces).await.unwrap();
            assert_eq!((protocol, &all[..]), (Protocol::Http2, &[&PREFACE[..], b"frames"].concat()[..]));
        }
        for text in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"P", b"POST / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n", b"\n"]
        {
            let (protocol, all) = find(&[text]).await.unwrap();
            assert_eq!((protocol, &all[..]), (Protocol::Http1, text));
        }
        assert!(find(&[]).await.is_none());
    }

    #[tokio::test]
    async fn half_a_preface_waits_no_longer_than_a_head_and_an_idle_connection_until_it_is_told() {
        const PATIENCE: Duration = Duration::from_millis(20);
        let (mut worker, proxy) = duplex(64);
        let registry = Registry::default();
        let ending = registry.add(Activity::new());
        worker.write_all(b"PRI *").await.unwrap();
        let began = tokio::time::Instant::now();
        assert!(look_within(PATIENCE, proxy, &ending).await.is_none());
        assert!(began.elapsed() >= PATIENCE);

        let (_worker, proxy) = duplex(64);
        let mut idle = pin!(look_within(PATIENCE, proxy, &ending));
        assert!(tokio::time::timeout(PATIENCE * 2, idle.as_mut()).await.is_err(), "it may wait");
        registry.drain();
        assert!(idle.await.is_none());
    }
}
