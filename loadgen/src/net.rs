//! Non-blocking sockets behind one epoll, plain or TLS: the part that every client here stands on.
//!
//! ```text
//!   connect ──▶ connecting ──▶ (TLS: shaking hands) ──▶ open ──▶ closed
//!                   └── what is sent meanwhile waits, in order ──┘
//! ```
//!
//! Invariants:
//! - Level-triggered, one read an event: a socket with much to say cannot starve the others.
//! - A write goes to the socket at once; what it does not take waits in the socket's own buffer, in order, up to
//!   [`UNSENT_BYTES_MAX`].
//! - Plaintext that TLS has ready and the caller had no room for is reported as readable by the next wait, which does not wait.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::clock;

mod dial;
mod socket;

pub use dial::Dialer;
use socket::Socket;

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
    /// Sockets that hold plaintext for which there was no room.
    pending: Vec<Token>,
    /// What a TLS socket received, before it is deciphered. One for all, since it is empty between reads.
    ciphertext: Vec<u8>,
    /// When all that was ready had been told of.
    all_told_ns: u64,
    ready_since_ns: u64,
}

impl Net {
    /// No sockets yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            sockets: Vec::new(),
            vacant: Vec::new(),
            pending: Vec::new(),
            ciphertext: Vec::new(),
            all_told_ns: clock::now_ns(),
            ready_since_ns: clock::now_ns(),
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
        self.insert(Socket::connected(stream))
    }

    /// Begins to connect. What is sent meanwhile waits; a connection that fails says so at the next `flush` or `read`,
    /// which its event calls for.
    ///
    /// # Errors
    /// Not even a beginning: no descriptor or port is left, or the address is of no use.
    pub fn connect(&mut self, dialer: &Dialer) -> io::Result<Token> {
        let socket = dialer.dial()?;
        self.insert(socket)
    }

    /// Whether bytes can pass: it is connected, and TLS has shaken hands.
    pub fn is_open(&self, token: Token) -> bool {
        self.socket(token).is_some_and(Socket::is_open)
    }

    /// Whether HTTP/2 may be spoken on an open socket: over TLS both sides must have said so.
    pub fn has_agreed_on_h2(&self, token: Token) -> bool {
        self.socket(token)
            .is_some_and(|socket| !socket.is_tls() || socket.alpn() == Some(dial::H2))
    }

    /// Plaintext that waits for the peer to read. TLS may hold 256 KiB more.
    pub fn unsent(&self, token: Token) -> usize {
        self.socket(token).map_or(0, Socket::unsent)
    }

    /// What an error of this socket's is counted as: `connect`, `tls`, `timeout`, `reset`. To be asked before it is closed.
    pub fn class_of(&self, token: Token, error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::InvalidData => "tls",
            _ if !self.is_open(token) => "connect",
            io::ErrorKind::TimedOut => "timeout",
            _ => "reset",
        }
    }

    /// Closes a socket; what it had not sent is lost.
    pub fn close(&mut self, token: Token) {
        if self.sockets.get_mut(token).is_some_and(|socket| {
            // closing the only descriptor also takes it out of the epoll
            socket.take().is_some()
        }) {
            self.vacant.push(token);
        }
    }

    /// Waits for events, at most `milliseconds` or for ever.
    pub fn wait(&mut self, events: &mut Vec<Event>, milliseconds: Option<u32>) -> io::Result<()> {
        let milliseconds = if self.pending.is_empty() {
            milliseconds
        } else {
            Some(0)
        };
        let timeout = milliseconds.map(|ms| rustix::time::Timespec {
            tv_sec: i64::from(ms / 1_000),
            tv_nsec: i64::from(ms % 1_000) * 1_000_000,
        });
        let asked_ns = clock::now_ns();
        let mut room = [MaybeUninit::uninit(); EVENTS_AT_ONCE];
        let ready = match epoll::wait(&self.epoll, &mut room, timeout.as_ref()) {
            Ok((ready, _)) => &*ready,
            Err(rustix::io::Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        let now_ns = clock::now_ns();
        let has_waited = now_ns - asked_ns > WAITED_NS;
        self.ready_since_ns = if has_waited { now_ns } else { self.all_told_ns };
        if ready.len() < EVENTS_AT_ONCE {
            self.all_told_ns = now_ns;
        }
        events.clear();
        events.extend(ready.iter().map(|event| {
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            Event {
                token: usize::try_from(event.data.u64()).unwrap_or(usize::MAX),
                readable: ended || flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }));
        for token in self.pending.drain(..) {
            match events.iter_mut().find(|event| event.token == token) {
                Some(event) => event.readable = true,
                None => events.push(Event {
                    token,
                    readable: true,
                    writable: false,
                }),
            }
        }
        Ok(())
    }

    /// Since when, at the earliest, what the last wait told of can have been ready: since it woke, when it had to wait; else since
    /// the time when all that was ready had been told of. A caller that reads too slowly sees this fall ever further behind.
    pub fn ready_since_ns(&self) -> u64 {
        self.ready_since_ns
    }

    /// Reads once. `None`: nothing there, or the socket is closed already. `Some(0)`: the peer said its last, with or without
    /// TLS's own goodbye.
    ///
    /// # Errors
    /// The connection could not be made, or broke; it is to be closed.
    pub fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Ok(None);
        };
        if socket.is_tls() {
            self.ciphertext.resize(CIPHERTEXT_BYTES, 0);
        }
        let count = socket.read(into, &mut self.ciphertext)?;
        if socket.has_pending() && !self.pending.contains(&token) {
            self.pending.push(token);
        }
        self.watch_writable(token)?;
        Ok(count)
    }

    /// Sends parts, four at most, in order, behind what still waits.
    ///
    /// # Errors
    /// The connection could not be made, or broke, or too much waits for it; it is to be closed.
    pub fn send(&mut self, token: Token, parts: &[&[u8]]) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        socket.send(parts)?;
        self.watch_writable(token)
    }

    /// Sends more of what waits, now that the socket is writable.
    ///
    /// # Errors
    /// The connection could not be made, or broke; it is to be closed.
    pub fn flush(&mut self, token: Token) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket.flush()?;
        self.watch_writable(token)
    }

    fn socket(&self, token: Token) -> Option<&Socket> {
        self.sockets.get(token).and_then(Option::as_ref)
    }

    fn insert(&mut self, mut socket: Socket) -> io::Result<Token> {
        let token = self.vacant.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        });
        let flags = interest(socket.wants_writable());
        if let Err(error) = epoll::add(&self.epoll, socket.stream(), data(token), flags) {
            self.vacant.push(token);
            return Err(error.into());
        }
        socket.is_watched_writable = socket.wants_writable();
        self.sockets[token] = Some(socket);
        Ok(token)
    }

    /// Tells the epoll when what a socket waits for has changed.
    fn watch_writable(&mut self, token: Token) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(token).and_then(Option::as_mut) else {
            return Ok(());
        };
        let wants = socket.wants_writable();
        if socket.is_watched_writable != wants {
            epoll::modify(&self.epoll, socket.stream(), data(token), interest(wants))?;
            socket.is_watched_writable = wants;
        }
        Ok(())
    }
}

/// Lets this process open as many descriptors as it may: shells allow it 1,024 unless they are asked.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not be raised, the error of the connection that is one too many says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn interest(in_writable: bool) -> epoll::EventFlags {
    if in_writable {
        epoll::EventFlags::IN | epoll::EventFlags::OUT
    } else {
        epoll::EventFlags::IN
    }
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token as u64)
}

/// A wait that took longer than asking does found nothing ready when it began.
const WAITED_NS: u64 = 20_000;
/// What one wait tells of; the others are told of by the next.
const EVENTS_AT_ONCE: usize = 64;
/// Four of the largest TLS records: what one read takes from a socket.
const CIPHERTEXT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
