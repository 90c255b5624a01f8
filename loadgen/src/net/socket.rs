//! One socket: what has not been sent, and the TLS within, if there is any.
//!
//! ```text
//!   send ──▶ unsent ──▶ TLS (at most TLS_BUFFER_BYTES) ──▶ socket        read ◀── TLS ◀── left ◀── socket
//! ```
//!
//! Invariants:
//! - Nothing overtakes: as long as `unsent` holds anything, what is sent goes behind it.
//! - What has been received and not deciphered, `left`, is at most one read.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

use super::UNSENT_BYTES_MAX;

/// What TLS may hold that the socket has not taken.
pub(super) const TLS_BUFFER_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    is_connecting: bool,
    tls: Option<Box<Tls>>,
    unsent: Vec<u8>,
    sent: usize,
    /// What the epoll was last told.
    pub(super) is_watched_writable: bool,
}

#[derive(Debug)]
struct Tls {
    connection: ClientConnection,
    /// Received, and not yet taken by the connection for want of room for its plaintext.
    left: Vec<u8>,
    /// The connection may have plaintext, or an end, to tell without another byte from the socket.
    has_pending: bool,
    is_ended: bool,
}

impl Socket {
    pub(super) fn connected(stream: TcpStream) -> Self {
        Self {
            stream,
            is_connecting: false,
            tls: None,
            unsent: Vec::new(),
            sent: 0,
            is_watched_writable: false,
        }
    }

    pub(super) fn connecting(stream: TcpStream, tls: Option<ClientConnection>) -> Self {
        Self {
            is_connecting: true,
            tls: tls.map(|mut connection| {
                connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                Box::new(Tls {
                    connection,
                    left: Vec::new(),
                    has_pending: false,
                    is_ended: false,
                })
            }),
            ..Self::connected(stream)
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_connecting
            && self
                .tls
                .as_ref()
                .is_none_or(|tls| !tls.connection.is_handshaking())
    }

    /// What was negotiated, if anything; not to be asked before it is open.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.connection.alpn_protocol()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_pending)
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent
    }

    pub(super) fn wants_writable(&self) -> bool {
        let is_blocked_by_handshake = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.connection.is_handshaking());
        self.is_connecting
            || self.unsent() > 0 && !is_blocked_by_handshake
            || self
                .tls
                .as_ref()
                .is_some_and(|tls| tls.connection.wants_write())
    }

    pub(super) fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        // Whether a connection is made is looked at when its event calls for it, so that there always is one.
        let mut written = if self.unsent() > 0 || self.is_connecting {
            0
        } else {
            self.write_once(parts)?
        };
        for part in parts {
            let skip = written.min(part.len());
            written -= skip;
            self.unsent.extend_from_slice(&part[skip..]);
        }
        if self.unsent() > UNSENT_BYTES_MAX {
            return Err(io::Error::other(
                "the peer does not read: 64 MiB wait for it",
            ));
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_connected()? {
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            tls.write_to(&mut self.stream)?;
        }
        while self.sent < self.unsent.len() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write_once(&[&unsent[self.sent..]]);
            self.unsent = unsent;
            match written? {
                0 => {
                    self.forget_sent();
                    return Ok(());
                }
                count => self.sent += count,
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// As [`super::Net::read`]. `ciphertext` is room to read into.
    pub(super) fn read(
        &mut self,
        into: &mut [u8],
        ciphertext: &mut [u8],
    ) -> io::Result<Option<usize>> {
        if !self.is_connected()? {
            return Ok(None);
        }
        let Some(tls) = &mut self.tls else {
            return later(self.stream.read(into));
        };
        let read = tls.read(&mut self.stream, into, ciphertext);
        // Whatever came of it, the peer may have to be told: the next step of the handshake, or why it failed.
        let written = tls.write_to(&mut self.stream);
        let count = read?;
        if count != Some(0) {
            written?;
        }
        if self.is_open() {
            // What waited for the end of the handshake.
            self.flush()?;
        }
        Ok(count)
    }

    /// Looks whether the connection that was begun is made.
    fn is_connected(&mut self) -> io::Result<bool> {
        if self.is_connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => self.is_connecting = false,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
            if let Some(tls) = &mut self.tls {
                tls.write_to(&mut self.stream)?;
            }
        }
        Ok(true)
    }

    /// Writes what is taken at once, and says how much that is.
    fn write_once(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        // At most four parts are ever sent together: size line, header, body, line end.
        let mut slices = [IoSlice::new(&[]); 4];
        assert!(parts.len() <= slices.len(), "at most four parts");
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let slices = &slices[..parts.len()];
        let Some(tls) = &mut self.tls else {
            return Ok(later(self.stream.write_vectored(slices))?.unwrap_or(0));
        };
        let count = tls.connection.writer().write_vectored(slices)?;
        tls.write_to(&mut self.stream)?;
        Ok(count)
    }

    /// Drops what was sent once it is the greater part, so that a slow peer's buffer does not grow for ever.
    fn forget_sent(&mut self) {
        if self.sent > self.unsent.len() / 2 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Tls {
    fn write_to(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            if later(self.connection.write_tls(stream))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        stream: &mut TcpStream,
        into: &mut [u8],
        ciphertext: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut filled = self.take_plaintext(into)?;
        if !self.is_ended && self.left.is_empty() && filled < into.len() {
            match later(stream.read(ciphertext))? {
                Some(0) => self.is_ended = true,
                Some(count) => self.left.extend_from_slice(&ciphertext[..count]),
                None => {}
            }
        }
        let mut taken = 0;
        while taken < self.left.len() && filled < into.len() {
            taken += self.connection.read_tls(&mut &self.left[taken..])?;
            self.connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            filled += self.take_plaintext(&mut into[filled..])?;
        }
        self.left.drain(..taken);
        let is_full = filled == into.len();
        self.has_pending = is_full || (filled > 0 && self.is_ended);
        Ok(match filled {
            0 if self.is_ended => Some(0),
            0 => None,
            count => Some(count),
        })
    }

    /// As much as there is, or as there is room for. Notes the peer's goodbye.
    fn take_plaintext(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.connection.reader().read(&mut into[filled..]) {
                Ok(0) => {
                    self.is_ended = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// `None` for what would have blocked.
fn later(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
