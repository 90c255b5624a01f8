//! TLS, pumped by the same loop as everything else: rustls does no I/O of its own.
//!
//! Ciphertext comes from the shard's scratch buffer; plaintext goes to wherever the connection wants its bytes, a page
//! included. Ciphertext that cannot be taken yet, because the plaintext before it has no place to go, waits here; it is never
//! more than one read.

use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll};

use rustls::ServerConnection;

use super::net::Stream;

/// Plaintext that may wait for the socket.
const SEND_BYTES_MAX: usize = 128 << 10;

/// One connection's TLS.
pub(crate) struct Tls {
    session: Box<ServerConnection>,
    ciphertext: Vec<u8>,
    taken: usize,
}

impl Tls {
    pub(crate) fn new(mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(SEND_BYTES_MAX));
        Self {
            session: Box::new(session),
            ciphertext: Vec::new(),
            taken: 0,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Puts decrypted bytes into `into`. `Ok(None)`: more ciphertext is needed. `Ok(Some(0))`: the peer has finished.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.session.reader().read(into) {
                Ok(n) => return Ok(Some(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The peer left without saying so; a body's framing tells whether that matters.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) => return Err(error),
            }
            if self.taken == self.ciphertext.len() {
                self.ciphertext = Vec::new();
                self.taken = 0;
                return Ok(None);
            }
            let mut waiting = &self.ciphertext[self.taken..];
            let before = waiting.len();
            let n = self.session.read_tls(&mut waiting)?;
            self.taken += before - waiting.len();
            self.process()?;
            if n == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes what was received. Call [`Tls::read`] until it asks for more before the next.
    pub(crate) fn receive(&mut self, ciphertext: &[u8]) -> io::Result<()> {
        let mut rest = ciphertext;
        while !rest.is_empty() && self.ciphertext.is_empty() && self.session.wants_read() {
            if self.session.read_tls(&mut rest)? == 0 {
                break;
            }
            self.process()?;
        }
        self.ciphertext.extend_from_slice(rest);
        Ok(())
    }

    /// The peer will send nothing more.
    pub(crate) fn receive_eof(&mut self) -> io::Result<()> {
        self.session.read_tls(&mut io::empty())?;
        self.process()
    }

    fn process(&mut self) -> io::Result<()> {
        self.session
            .process_new_packets()
            .map(|_| ())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Encrypts as much of `slices` as there is room for.
    pub(crate) fn write(&mut self, slices: &[&[u8]]) -> io::Result<usize> {
        let mut total = 0;
        for slice in slices {
            let n = self.session.writer().write(slice)?;
            total += n;
            if n < slice.len() {
                break;
            }
        }
        Ok(total)
    }

    /// Sends what is encrypted. Ready when nothing is left.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Sink { stream, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye to the peer.
    pub(crate) fn finish(&mut self) {
        self.session.send_close_notify();
    }
}

/// A socket as rustls likes it: blocked means an error, and the task will be woken.
struct Sink<'a, 'b> {
    stream: &'a mut Stream,
    cx: &'a mut Context<'b>,
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.stream.poll_send_vectored(self.cx, slices) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
