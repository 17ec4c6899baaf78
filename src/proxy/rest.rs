//! Connections of workers that rest: HTTP is taken down around them, so that one costs its socket and little more,
//! and put up again with its next byte. Called by `listener` and `worker_io`.
//!
//! A connection rests when it has been idle for about a second, and at once while over [`AWAKE`] others do not.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::registry::Ending;

/// With more connections than that awake, one rests as soon as it is idle: memory stays bounded whatever their number.
const AWAKE: usize = 128;
/// Bytes read of a connection that wakes up; the library reads on by itself.
const FIRST_READ: usize = 64;

/// Connections that HTTP is put up around.
#[derive(Clone, Debug, Default)]
pub struct Awake(Arc<AtomicUsize>);

/// Where a connection is left when it goes to rest.
#[derive(Debug)]
pub struct Bed<S>(Arc<Place<S>>);

#[derive(Debug)]
struct Place<S> {
    left: Mutex<Option<S>>,
    awake: Awake,
}

impl Awake {
    /// A place for one more connection, which counts as awake for as long as that is there.
    pub fn bed<S>(&self) -> Bed<S> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Bed(Arc::new(Place { left: Mutex::new(None), awake: self.clone() }))
    }
}

impl<S> Bed<S> {
    /// The other half, for the connection itself.
    pub fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether an idle connection is to rest without delay.
    pub fn is_wanted(&self) -> bool {
        self.0.awake.0.load(Ordering::Relaxed) > AWAKE
    }

    /// Leaves the connection.
    pub fn lie_down(&self, stream: S) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// The connection that was left.
    pub fn take(self) -> Option<S> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.awake.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the next bytes of a connection. Nothing where it ends or is told to; it is shut down then, as far as that
/// takes no waiting: TLS says that nothing is cut off.
pub async fn until_read<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, ending: &Ending) -> Option<(S, Bytes)> {
    let mut first = [0; FIRST_READ];
    let count = poll_fn(|cx| {
        ending.wake_with(cx.waker());
        if ending.is_told() {
            return Poll::Ready(None);
        }
        let mut buf = ReadBuf::new(&mut first);
        Pin::new(&mut stream).poll_read(cx, &mut buf).map(|read| read.ok().map(|()| buf.filled().len()))
    })
    .await;
    match count {
        Some(count @ 1..) => Some((stream, Bytes::copy_from_slice(&first[..count]))),
        _ => {
            let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_shutdown(cx).is_ready())).await;
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::proxy::registry::Registry;
    use crate::proxy::worker_io::Activity;

    #[test]
    fn a_bed_counts_as_long_as_one_half_of_it_is_there() {
        let awake = Awake::default();
        let beds: Vec<Bed<u8>> = (0..AWAKE).map(|_| awake.bed()).collect();
        assert!(!beds[0].is_wanted());
        let one_more: Bed<u8> = awake.bed();
        let half = one_more.share();
        half.lie_down(7);
        assert!(beds[0].is_wanted());
        drop(half);
        assert_eq!(one_more.take(), Some(7));
        assert!(!beds[0].is_wanted());
    }

    #[tokio::test]
    async fn a_connection_that_is_told_to_end_at_rest_is_shut_down() {
        let registry = Registry::default();
        let ending = registry.add(Activity::new());
        let (mut worker, mut proxy) = duplex(64);
        registry.drain();
        // Lent, so that it is not the drop that ends it.
        assert!(until_read(&mut proxy, &ending).await.is_none());
        assert_eq!(worker.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_byte_wakes_and_the_end_or_a_drain_ends() {
        let registry = Registry::default();
        let ending = registry.add(Activity::new());
        let (mut worker, proxy) = duplex(64);
        worker.write_all(b"GET").await.unwrap();
        let (proxy, first) = until_read(proxy, &ending).await.unwrap();
        assert_eq!(&first[..], b"GET");
        drop(worker);
        assert!(until_read(proxy, &ending).await.is_none());
        let (_worker, proxy) = duplex(64);
        registry.drain();
        assert!(until_read(proxy, &ending).await.is_none());
    }
}
