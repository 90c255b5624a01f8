//! A connection's socket, in cleartext or under TLS; the same few verbs for both.

use std::io;
use std::task::{Context, Poll, ready};

use super::net::Stream;
use super::tls::Tls;

/// A socket with or without TLS.
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) tls: Option<Tls>,
}

impl Wire {
    /// Reads cleartext into `into`; `scratch` is where ciphertext may pass through. 0: the peer has finished.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return self.stream.poll_read(cx, into);
        };
        loop {
            if let Some(n) = tls.read(into)? {
                return Poll::Ready(Ok(n));
            }
            match ready!(self.stream.poll_read(cx, scratch))? {
                0 => tls.receive_eof()?,
                n => {
                    let received = tls.receive(&scratch[..n]);
                    // Handshake answers and alerts must leave, even before an error is reported.
                    if let Poll::Ready(outcome) = tls.poll_flush(&mut self.stream, cx) {
                        received.and(outcome)?;
                    }
                }
            }
        }
    }

    /// Sends from `slices`; returns how much was taken. Taken bytes may wait under TLS: see [`Wire::poll_flush`].
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[&[u8]],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return self.stream.poll_send(cx, slices);
        };
        let n = tls.write(slices)?;
        match tls.poll_flush(&mut self.stream, cx)? {
            Poll::Pending if n == 0 => Poll::Pending,
            _ => Poll::Ready(Ok(n)),
        }
    }

    /// Sends what waits under TLS.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            Some(tls) => tls.poll_flush(&mut self.stream, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ends the sending direction.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(tls) = &mut self.tls {
            tls.finish();
            if tls.poll_flush(&mut self.stream, cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.stream.finish_writing();
        Poll::Ready(())
    }
}

/// A connection as it comes to a shard: fresh from the listener, or from another shard with what was read of it.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) tls: Option<Tls>,
    pub(crate) unread: Vec<u8>,
    pub(crate) entrance: Entrance,
}

/// By which address a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The one for all: what is not trickle leaves through the door.
    Public,
    /// The one for trickle: what is not trickle is not there.
    Trickle,
}
