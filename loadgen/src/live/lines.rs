//! The connections of one worker: requests go out, parts of answers come in, connections that are done are used again.
//!
//! A request belongs to a session and is of a kind; a connection whose answer is complete waits for the next request of the same
//! kind and session. So a publisher has three connections, a watcher two, and none is opened in steady state.

use std::io;

use crate::http::{Part, Responses};
use crate::measure::Meter;
use crate::net::{Dialer, Event, Net, Token};
use crate::target::Target;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment of the input.
    Post,
    /// A segment of the output.
    Get,
}

/// What became of a connection after some bytes.
#[derive(Debug)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// Its request is over without a whole answer.
    Broken(Broken),
}

/// How a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    /// The error's class, such as `reset`.
    pub(super) class: &'static str,
    /// The connection had waited for a request, and was closed before it could carry one: as any server may do. Nobody's fault,
    /// and the request can be made again.
    pub(super) is_stale: bool,
}

/// Connections by token, and where they go.
pub(super) struct Lines {
    net: Net,
    dialer: Dialer,
    /// Ends of a request's head: `Host` and the tag.
    fields: String,
    conns: Vec<Conn>,
    buffer: Vec<u8>,
}

/// What a worker has at hand when something happens.
pub(super) struct Hands<'a> {
    /// Its connections.
    pub(super) lines: &'a mut Lines,
    /// Its book.
    pub(super) meter: &'a mut Meter,
    /// When it happened.
    pub(super) now_ns: u64,
}

/// One connection.
#[derive(Debug, Default)]
struct Conn {
    /// Whose request it carries, or carried last.
    owner: Option<(usize, Kind)>,
    /// Its last answer is complete.
    is_idle: bool,
    /// It cannot carry another request.
    is_last: bool,
    /// It had carried another, and of this one's answer nothing has come.
    is_untried: bool,
    responses: Responses,
}

impl Lines {
    /// No connections yet.
    ///
    /// # Errors
    /// The target's roots cannot be read, or there are no descriptors.
    pub(super) fn new(target: &Target) -> Result<Self, crate::Failure> {
        Ok(Self {
            net: Net::new()?,
            dialer: Dialer::new(target)?,
            fields: format!("Host: {}\r\n{}", target.authority(), target.tag),
            conns: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// The sockets themselves.
    pub(super) fn net(&mut self) -> &mut Net {
        &mut self.net
    }

    /// Sends a request's head, on a connection that waits for one or on a new one. `more` are further lines.
    ///
    /// # Errors
    /// The class of the error.
    pub(super) fn request(
        &mut self,
        owner: (usize, Kind),
        line: &str,
        more: &str,
    ) -> Result<Token, &'static str> {
        let idle = self
            .conns
            .iter()
            .position(|conn| conn.is_idle && conn.owner == Some(owner));
        let token = match idle {
            Some(token) => token,
            None => self.net.connect(&self.dialer).map_err(|_| "connect")?,
        };
        if token >= self.conns.len() {
            self.conns.resize_with(token + 1, Conn::default);
        }
        self.conns[token] = Conn {
            owner: Some(owner),
            is_untried: idle.is_some(),
            ..Conn::default()
        };
        let head = format!("{line} HTTP/1.1\r\n{}{more}\r\n", self.fields);
        self.send(token, &[head.as_bytes()])?;
        Ok(token)
    }

    /// Sends more of a request. A connection that breaks is closed.
    ///
    /// # Errors
    /// The class of the error.
    pub(super) fn send(&mut self, token: Token, parts: &[&[u8]]) -> Result<(), &'static str> {
        self.net
            .send(token, parts)
            .map_err(|error| self.close_broken(token, &error))
    }

    /// Closes a connection in the middle of whatever it does.
    pub(super) fn close(&mut self, token: Token) {
        self.net.close(token);
        if let Some(conn) = self.conns.get_mut(token) {
            *conn = Conn::default();
        }
    }

    /// Takes what an event brings. Calls `part` for each part of an answer; when it says `false`, the connection is closed.
    pub(super) fn handle(
        &mut self,
        event: Event,
        mut part: impl FnMut(&mut Self, (usize, Kind), Part<'_>) -> bool,
    ) -> Option<((usize, Kind), Fate)> {
        let token = event.token;
        let owner = self.conns.get(token)?.owner?;
        if event.writable
            && let Err(error) = self.net.flush(token)
        {
            return self.broken(owner, token, &error);
        }
        if !event.readable {
            return Some((owner, Fate::Open));
        }
        // Both are out of their places while parts are handled, which may send new requests.
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut conn = std::mem::take(&mut self.conns[token]);
        let read = self.net.read(token, &mut buffer);
        let outcome = match read {
            Ok(None) => Ok(()),
            Ok(Some(0)) => self.handle_end(&mut conn, owner, &mut part),
            Ok(Some(count)) => self.handle_bytes(&mut conn, &buffer[..count], owner, &mut part),
            Err(error) => Err(error),
        };
        self.buffer = buffer;
        match outcome {
            Ok(()) if conn.is_last && conn.is_idle => {
                self.net.close(token);
                Some((owner, Fate::Open))
            }
            Ok(()) => {
                self.conns[token] = conn;
                Some((owner, Fate::Open))
            }
            // An idle connection may be closed by its server at any time.
            Err(_) if conn.is_idle => {
                self.net.close(token);
                Some((owner, Fate::Open))
            }
            Err(error) => {
                self.conns[token] = conn;
                self.broken(owner, token, &error)
            }
        }
    }

    fn handle_bytes(
        &mut self,
        conn: &mut Conn,
        mut input: &[u8],
        owner: (usize, Kind),
        part: &mut impl FnMut(&mut Self, (usize, Kind), Part<'_>) -> bool,
    ) -> io::Result<()> {
        while let Some(found) = conn
            .responses
            .handle_bytes(&mut input)
            .map_err(io::Error::other)?
        {
            if conn.is_idle {
                return Err(io::Error::other("an answer without a request"));
            }
            conn.note(&found);
            if !part(self, owner, found) {
                (conn.is_idle, conn.is_last) = (true, true);
                break;
            }
        }
        Ok(())
    }

    /// The peer said its last: that ends an answer without a length, and breaks any other.
    fn handle_end(
        &mut self,
        conn: &mut Conn,
        owner: (usize, Kind),
        part: &mut impl FnMut(&mut Self, (usize, Kind), Part<'_>) -> bool,
    ) -> io::Result<()> {
        conn.is_last = true;
        while let Some(found) = conn.responses.handle_end().map_err(io::Error::other)? {
            conn.note(&found);
            part(self, owner, found);
        }
        if conn.is_idle {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn broken(
        &mut self,
        owner: (usize, Kind),
        token: Token,
        error: &io::Error,
    ) -> Option<((usize, Kind), Fate)> {
        let is_stale = self.conns[token].is_untried;
        let class = self.close_broken(token, error);
        Some((owner, Fate::Broken(Broken { class, is_stale })))
    }

    fn close_broken(&mut self, token: Token, error: &io::Error) -> &'static str {
        let class = self.net.class_of(token, error);
        self.close(token);
        class
    }
}

impl Conn {
    fn note(&mut self, part: &Part<'_>) {
        self.is_untried = false;
        match part {
            Part::Head(head) => self.is_last |= !head.is_keep_alive,
            Part::Body(_) => {}
            Part::End => self.is_idle = true,
        }
    }
}

/// One read: several frames.
const READ_BYTES: usize = 64 << 10;
