//! Non-blocking sockets behind one epoll: the part that floor and generator share.
//!
//! Invariants:
//! - Level-triggered, one read an event: a socket with much to say cannot starve the others.
//! - A write goes to the socket at once; what it does not take waits in the socket's own buffer, in order, up to
//!   [`UNSENT_BYTES_MAX`].

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

/// What may wait for a peer that does not read; beyond it the peer is given up. 64 MiB is 20 s at 3 MiB/s.
pub const UNSENT_BYTES_MAX: usize = 64 << 20;

/// Names a socket until it is closed.
pub type Token = usize;

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// To which socket, or which key of [`Net::watch`].
    pub token: Token,
    /// Reading will not block: there are bytes, or the end.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
}

/// Sockets by token, and the epoll that watches them.
pub struct Net {
    epoll: OwnedFd,
    sockets: Vec<Option<Socket>>,
    vacant: Vec<Token>,
    ready: Vec<epoll::Event>,
}

impl Net {
    /// No sockets yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            sockets: Vec::new(),
            vacant: Vec::new(),
            ready: Vec::with_capacity(256),
        })
    }

    /// Watches something that is not one of our sockets, under a key of the caller's that no socket has.
    pub fn watch(&self, fd: impl AsFd, key: Token) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            data(key),
            epoll::EventFlags::IN,
        )?)
    }

    /// Takes over a connected socket.
    pub fn add(&mut self, stream: TcpStream) -> io::Result<Token> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let token = self.vacant.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        });
        epoll::add(&self.epoll, &stream, data(token), epoll::EventFlags::IN)?;
        self.sockets[token] = Some(Socket {
            stream,
            unsent: Vec::new(),
            sent: 0,
        });
        Ok(token)
    }

    /// Closes a socket; what it had not sent is lost.
    pub fn close(&mut self, token: Token) {
        if self.sockets[token].take().is_some() {
            self.vacant.push(token); // closing the only descriptor also takes it out of the epoll
        }
    }

    /// Waits for events, at most `milliseconds` or for ever.
    pub fn wait(&mut self, events: &mut Vec<Event>, milliseconds: Option<u32>) -> io::Result<()> {
        let timeout = milliseconds.map(|ms| rustix::time::Timespec {
            tv_sec: i64::from(ms / 1_000),
            tv_nsec: i64::from(ms % 1_000) * 1_000_000,
        });
        self.ready.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.ready),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        events.clear();
        events.extend(self.ready.iter().map(|event| {
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            Event {
                token: usize::try_from(event.data.u64()).unwrap_or(usize::MAX),
                readable: ended || flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }

    /// Reads once. `None`: nothing there, or the socket is closed already. `Some(0)`: the peer said its last.
    pub fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Ok(None);
        };
        match socket.stream.read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_later(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends parts in order, behind what still waits.
    pub fn send(&mut self, token: Token, parts: &[&[u8]]) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let had_unsent = socket.has_unsent();
        socket.send(parts)?;
        if socket.has_unsent() != had_unsent {
            self.want_writable(token, true)?;
        }
        Ok(())
    }

    /// Sends more of what waits, now that the socket is writable.
    pub fn flush(&mut self, token: Token) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket.flush()?;
        if !socket.has_unsent() {
            self.want_writable(token, false)?;
        }
        Ok(())
    }

    fn want_writable(&self, token: Token, want: bool) -> io::Result<()> {
        let Some(socket) = &self.sockets[token] else {
            return Ok(());
        };
        let out = if want {
            epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::empty()
        };
        Ok(epoll::modify(
            &self.epoll,
            &socket.stream,
            data(token),
            epoll::EventFlags::IN | out,
        )?)
    }
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
}

impl Socket {
    fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut written = if self.has_unsent() {
            0
        } else {
            self.write_once(parts)?
        };
        for part in parts {
            let skip = written.min(part.len());
            written -= skip;
            self.unsent.extend_from_slice(&part[skip..]);
        }
        if self.unsent.len() - self.sent > UNSENT_BYTES_MAX {
            return Err(io::Error::other(
                "the peer does not read: 64 MiB wait for it",
            ));
        }
        Ok(())
    }

    fn write_once(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        // At most four parts are ever sent together: size line, header, body, line end.
        let mut slices = [IoSlice::new(&[]); 4];
        assert!(parts.len() <= slices.len());
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        match self.stream.write_vectored(&slices[..parts.len()]) {
            Ok(count) => Ok(count),
            Err(error) if is_later(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_socket_does_not_take_arrives_later_and_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let sent: Vec<u8> = (0..8_000_000_u32)
            .map(|i| i.to_le_bytes()[(i % 3) as usize])
            .collect();

        let mut net = Net::new().unwrap();
        let token = net.add(ours).unwrap();
        for part in sent.chunks(1_000_003) {
            let (head, tail) = part.split_at(part.len() / 3);
            net.send(token, &[head, tail]).unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).map(|_| got)
        });
        let mut events = Vec::new();
        while net.sockets[token].as_ref().unwrap().has_unsent() {
            net.wait(&mut events, Some(1_000)).unwrap();
            assert!(
                events
                    .iter()
                    .all(|event| event.token == token && event.writable)
            );
            net.flush(token).unwrap();
        }
        net.close(token);
        assert!(reader.join().unwrap().unwrap() == sent);
    }
}
