//! The connections of one worker: who each is for, and what it awaits.
//!
//! ```text
//!   request ──▶ Post ── its end is sent, its answer is complete ──▶ PostOf(publisher)     idle, in the publisher's pool
//!           ──▶ Segment ── the segment is complete ───────────────▶ GetOf(subscriber)     idle, in the subscriber's pool
//! ```
//!
//! A client prefers a connection of its own pool to a new one, and shares none with another client, as in the field.

use std::io;

use crate::chunk::Reader;
use crate::failure::Failure;
use crate::http::Responses;
use crate::net::{Dialer, Net, Token};
use crate::target::Target;

/// Sockets, and what each is for.
pub(crate) struct Wire {
    pub(crate) net: Net,
    dialer: Dialer,
    /// The lines that every request has.
    fields: String,
    is_kept: bool,
    conns: Vec<Conn>,
    unopened: usize,
}

/// A connection.
#[derive(Debug, Default)]
pub(crate) struct Conn {
    pub(crate) awaits: Awaits,
    pub(crate) responses: Responses,
    /// Its answer is the last that it carries.
    pub(crate) is_last: bool,
    /// It carried another request before.
    pub(crate) is_reused: bool,
    /// Of the answer something has come.
    pub(crate) has_begun: bool,
    /// It was seen to be open.
    is_opened: bool,
}

/// What a connection is for, named for what it awaits.
#[derive(Debug, Default)]
pub(crate) enum Awaits {
    #[default]
    Nothing,
    /// The next request of a publisher.
    PostOf(usize),
    /// The next request of a subscriber.
    GetOf(usize),
    /// Chunks, then the answer.
    Post(Post),
    /// A segment.
    Segment(Box<Segment>),
    /// That a segment is closed, whatever the answer.
    Deletion,
}

/// A segment that is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post {
    pub(crate) channel: usize,
    pub(crate) seq: i64,
    /// Its end is sent.
    pub(crate) is_ended: bool,
}

/// What a subscriber asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ask {
    /// A segment, or -1 for the next and -2 for the current one.
    pub(crate) seq: i64,
    /// The segment after it is taken care of.
    pub(crate) has_successor: bool,
    /// Part of it has come before.
    pub(crate) is_repeat: bool,
}

impl From<i64> for Ask {
    fn from(seq: i64) -> Self {
        Self {
            seq,
            has_successor: false,
            is_repeat: false,
        }
    }
}

/// A segment that a subscriber asked for.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) subscriber: usize,
    /// With the number that the server gave it, once it has.
    pub(crate) ask: Ask,
    pub(crate) reader: Reader,
    /// The highest chunk in it so far.
    pub(crate) highest: Option<u64>,
    pub(crate) has_head: bool,
    pub(crate) has_body: bool,
}

impl Segment {
    pub(crate) fn new(subscriber: usize, ask: Ask) -> Self {
        Self {
            subscriber,
            ask,
            reader: Reader::default(),
            highest: None,
            has_head: false,
            has_body: false,
        }
    }
}

impl Wire {
    /// No connections yet. They are kept from one request to the next, or not.
    pub(crate) fn new(target: &Target, is_kept: bool) -> Result<Self, Failure> {
        let close = if is_kept { "" } else { "Connection: close\r\n" };
        Ok(Self {
            net: Net::new()?,
            dialer: Dialer::new(target)?,
            fields: format!("Host: {}\r\n{}{close}", target.authority(), target.tag),
            is_kept,
            conns: Vec::new(),
            unopened: 0,
        })
    }

    /// Sends a request's head on a connection of `idle`, or on a new one. `line` is `GET /a/1`, `more` are header lines.
    ///
    /// # Errors
    /// There cannot be a connection; with the class of the error.
    pub(crate) fn request(
        &mut self,
        idle: &mut Vec<Token>,
        line: &str,
        more: &str,
        awaits: Awaits,
    ) -> Result<Token, &'static str> {
        let head = format!("{line} HTTP/1.1\r\n{}{more}\r\n", self.fields);
        let mut conn = Conn {
            awaits,
            ..Conn::default()
        };
        while let Some(token) = idle.pop() {
            if self.net.send(token, &[head.as_bytes()]).is_ok() {
                (conn.is_reused, conn.is_opened) = (true, true);
                self.conns[token] = conn;
                return Ok(token);
            }
            self.close(token);
        }
        let token = self
            .net
            .connect(&self.dialer)
            .map_err(|error| class(&error))?;
        if token >= self.conns.len() {
            self.conns.resize_with(token + 1, Conn::default);
        }
        self.conns[token] = conn;
        self.unopened += 1;
        if let Err(error) = self.net.send(token, &[head.as_bytes()]) {
            let class = self.net.class_of(token, &error);
            self.close(token);
            return Err(class);
        }
        Ok(token)
    }

    /// Closes a connection, and gives what it was for.
    pub(crate) fn close(&mut self, token: Token) -> Conn {
        self.net.close(token);
        let conn = self.take(token);
        self.unopened -= usize::from(conn.is_unopened());
        conn
    }

    /// The same, of one that was taken out.
    pub(crate) fn close_taken(&mut self, token: Token, conn: &Conn) {
        self.net.close(token);
        self.unopened -= usize::from(conn.is_unopened());
    }

    pub(crate) fn conn(&mut self, token: Token) -> Option<&mut Conn> {
        self.conns.get_mut(token)
    }

    /// Takes a connection's state out, for as long as something is done with it.
    pub(crate) fn take(&mut self, token: Token) -> Conn {
        self.conns
            .get_mut(token)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(crate) fn put_back(&mut self, token: Token, conn: Conn) {
        self.conns[token] = conn;
    }

    /// Whether a connection is open that was not, when it was last asked.
    pub(crate) fn is_newly_open(&mut self, token: Token) -> bool {
        let Some(conn) = self.conns.get_mut(token) else {
            return false;
        };
        let is_new = conn.is_unopened() && self.net.is_open(token);
        if is_new {
            conn.is_opened = true;
            self.unopened -= 1;
        }
        is_new
    }

    /// Connections that are being made.
    pub(crate) fn unopened(&self) -> usize {
        self.unopened
    }

    /// Whether a connection whose answer is complete may carry another request.
    pub(crate) fn is_reusable(&self, conn: &Conn) -> bool {
        self.is_kept && !conn.is_last
    }
}

impl Conn {
    fn is_unopened(&self) -> bool {
        !self.is_opened && !matches!(self.awaits, Awaits::Nothing)
    }

    /// A connection that waits for another request of the same client.
    pub(crate) fn idle(awaits: Awaits) -> Self {
        Self {
            awaits,
            is_opened: true,
            ..Self::default()
        }
    }
}

/// Of an error before there is a socket.
fn class(error: &io::Error) -> &'static str {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => "descriptors",
        Some(rustix::io::Errno::ADDRNOTAVAIL) => "ports",
        _ => "connect",
    }
}
