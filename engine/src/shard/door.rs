//! The way out of the data plane: whatever is not trickle goes to the control plane as a byte stream.
//!
//! In cleartext the client's own socket goes. Under TLS the shard keeps the session and passes plaintext through a socket pair,
//! so that one certificate, one handshake and one port serve both planes.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use handoff::socket;
use link::{StreamKind, Visitor};

use super::net::{Stream, spawn_task};
use super::wire::Wire;
use super::{Shard, net};

const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Hands a connection to the control plane, or answers 503 if it has no room.
pub(crate) fn leave(shard: &Rc<Shard>, wire: Wire, prefix: Vec<u8>) {
    let peer = wire.stream.peer();
    let tls = wire.tls.is_some();
    let (stream, kind) = if tls {
        let Ok((near, far)) = socket::pair() else {
            return;
        };
        spawn_task(relay(shard.clone(), wire, net::Stream::adopt(near)));
        (far, StreamKind::Unix)
    } else {
        let Ok(fd) = wire.stream.release() else {
            return;
        };
        (fd, StreamKind::Tcp)
    };
    shard.counters.add(|c| &mut c.visitors, 1);
    if let Err(visitor) = shard.control.visit(Visitor {
        stream,
        kind,
        prefix,
        peer,
        tls,
    }) {
        shard.counters.add(|c| &mut c.refused, 1);
        refuse(&visitor.stream);
    }
}

/// Answers a connection that nobody has room for. If even that does not fit, it is closed without a word.
pub(crate) fn refuse(fd: &OwnedFd) {
    let _ = socket::send_vectored(fd, &[io::IoSlice::new(UNAVAILABLE)]);
}

/// Passes bytes both ways until either side is done in both directions, or breaks.
async fn relay(shard: Rc<Shard>, outer: Wire, inner: Stream) {
    shard.connections.set(shard.connections.get() + 1);
    let mut outer = outer;
    let mut inner = Wire {
        stream: inner,
        tls: None,
    };
    let (mut inward, mut outward) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let mut scratch = shard.scratch.borrow_mut();
        let scratch = &mut *scratch;
        let a = inward.poll(
            cx,
            &mut outer,
            &mut inner,
            &mut scratch.clear,
            &mut scratch.cipher,
        );
        let b = outward.poll(
            cx,
            &mut inner,
            &mut outer,
            &mut scratch.clear,
            &mut scratch.cipher,
        );
        match (a, b) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(())))
            | (Poll::Ready(Err(_)), _)
            | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    shard.connections.set(shard.connections.get() - 1);
}

/// One direction of a relay. It reads only when what it read before is sent, so it holds at most one read.
#[derive(Default)]
struct Direction {
    waiting: Vec<u8>,
    sent: usize,
    ended: bool,
    done: bool,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Wire,
        to: &mut Wire,
        clear: &mut [u8],
        cipher: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.waiting.len() {
                match to.poll_send(cx, &[&self.waiting[self.sent..]])? {
                    Poll::Ready(n) => self.sent += n,
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.waiting = Vec::new();
            self.sent = 0;
            if to.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            if self.ended {
                if !self.done && to.poll_finish(cx).is_pending() {
                    return Poll::Pending;
                }
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match from.poll_read(cx, clear, cipher)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => self.ended = true,
                Poll::Ready(n) => self.waiting.extend_from_slice(&clear[..n]),
            }
        }
    }
}
