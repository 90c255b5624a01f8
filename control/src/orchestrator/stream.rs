//! A visitor's socket as tokio sees it: first the bytes that were read before it came, then the socket itself.
//!
//! Every stream has a [`Pulse`], from which the door learns whether a connection is idle or stuck.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use link::{StreamKind, Visitor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// A connection that the data plane handed over.
pub(super) struct Stream {
    prefix: Bytes,
    socket: Socket,
    pulse: Arc<Pulse>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Takes a visitor's socket over to this runtime.
    pub(super) fn new(visitor: Visitor) -> io::Result<Self> {
        let socket = match visitor.kind {
            StreamKind::Tcp => {
                let socket = std::net::TcpStream::from(visitor.stream);
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                Socket::Tcp(TcpStream::from_std(socket)?)
            }
            StreamKind::Unix => {
                let socket = std::os::unix::net::UnixStream::from(visitor.stream);
                socket.set_nonblocking(true)?;
                Socket::Unix(UnixStream::from_std(socket)?)
            }
        };
        Ok(Self {
            prefix: visitor.prefix.into(),
            socket,
            pulse: Arc::new(Pulse::new()),
        })
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    fn read_half(&mut self) -> Pin<&mut (dyn AsyncRead + Unpin + Send)> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket),
            Socket::Unix(socket) => Pin::new(socket),
        }
    }

    fn write_half(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin + Send)> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket),
            Socket::Unix(socket) => Pin::new(socket),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let len = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(len));
            return Poll::Ready(Ok(()));
        }
        self.read_half().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.write_half().poll_write(cx, buf);
        self.pulse.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.write_half().poll_write_vectored(cx, bufs);
        self.pulse.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_half().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_half().poll_shutdown(cx)
    }
}

/// Signs of life of one connection, written by its stream and its requests, read by its task.
pub(super) struct Pulse {
    born: Instant,
    requests: AtomicUsize,
    /// When the last request ended, in milliseconds since birth.
    idle_since_ms: AtomicU64,
    /// When a write first found no room, in milliseconds since birth; [`NEVER`] while writes go through.
    blocked_since_ms: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Pulse {
    fn new() -> Self {
        Self {
            born: Instant::now(),
            requests: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(NEVER),
        }
    }

    /// A request begins; it ends when the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// For how long no request has been served.
    pub(super) fn idle(&self) -> Duration {
        match self.requests.load(Ordering::Relaxed) {
            0 => self.since(self.idle_since_ms.load(Ordering::Relaxed)),
            _ => Duration::ZERO,
        }
    }

    /// For how long the peer has left our bytes unread.
    pub(super) fn blocked(&self) -> Duration {
        match self.blocked_since_ms.load(Ordering::Relaxed) {
            NEVER => Duration::ZERO,
            since => self.since(since),
        }
    }

    fn wrote(&self, pending: bool) {
        match pending {
            true => {
                // Only the first of a row of refusals counts.
                let first = self.blocked_since_ms.load(Ordering::Relaxed) == NEVER;
                if first {
                    self.blocked_since_ms
                        .store(self.now_ms(), Ordering::Relaxed);
                }
            }
            false => self.blocked_since_ms.store(NEVER, Ordering::Relaxed),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn since(&self, at_ms: u64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(at_ms))
    }
}

/// A request that is being served.
pub(super) struct InFlight(Arc<Pulse>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0
            .idle_since_ms
            .store(self.0.now_ms(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that keeps something alive until it is over or given up.
pub(super) struct Keeping<B, K> {
    body: B,
    kept: Option<K>,
}

impl<B, K> Keeping<B, K> {
    pub(super) fn new(body: B, kept: K) -> Self {
        Self {
            body,
            kept: Some(kept),
        }
    }
}

impl<B: Body + Unpin, K: Unpin> Body for Keeping<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.kept = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn visitor(prefix: &[u8]) -> (Stream, UnixStream) {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let visitor = Visitor {
            stream: near.into(),
            kind: StreamKind::Unix,
            prefix: prefix.to_vec(),
            peer: None,
            tls: true,
        };
        (
            Stream::new(visitor).unwrap(),
            UnixStream::from_std(far).unwrap(),
        )
    }

    #[tokio::test]
    async fn what_was_read_before_is_read_first() {
        let (mut stream, mut far) = visitor(b"GET /he");
        far.write_all(b"althz").await.unwrap();
        far.shutdown().await.unwrap();
        let mut all = Vec::new();
        let mut small = [0; 3];
        loop {
            match stream.read(&mut small).await.unwrap() {
                0 => break,
                len => all.extend_from_slice(&small[..len]),
            }
        }
        assert_eq!(all, b"GET /healthz");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_knows_idleness_from_work_and_from_a_stall() {
        let (mut stream, mut far) = visitor(b"");
        let pulse = stream.pulse();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(pulse.idle(), Duration::from_secs(7));
        let request = pulse.request();
        assert_eq!(pulse.idle(), Duration::ZERO);
        drop(request);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pulse.idle(), Duration::from_secs(1));

        let chunk = vec![0; 1 << 20];
        let mut write = Box::pin(stream.write_all(&chunk));
        let waker = std::task::Waker::noop();
        assert!(
            write
                .as_mut()
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(pulse.blocked(), Duration::from_secs(9));
        let mut sink = vec![0; 1 << 20];
        let (written, read) = tokio::join!(write, far.read_exact(&mut sink));
        written.unwrap();
        read.unwrap();
        assert_eq!(pulse.blocked(), Duration::ZERO);
    }
}
