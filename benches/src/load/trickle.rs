//! Clients of a trickle server, over HTTP/1.1, with the habits of those in the wild.
//!
//! - A publisher POSTs a segment with a chunked body, one HTTP chunk a chunk of ours. When segment `n` starts, the request
//!   of `n + 1` is sent ahead, on a connection of its own, and waits for its first byte.
//! - A subscriber GETs segment `n`; when its head arrives, which is when it has a first byte, it GETs `n + 1` ahead.
//! - A connection whose response is complete goes back to its client's pool and carries a later segment.
//!
//! So a publisher has three connections and a subscriber two, and none is opened in steady state.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Failure, Peers, Plan, Tally};
use crate::chunk::Reader;
use crate::clock;
use crate::http::{Head, Part, Responses};
use crate::net::{Net, Token};

/// Everybody who talks to a trickle server.
#[derive(Debug)]
pub(super) struct Trickle {
    addr: SocketAddr,
    /// Path of each group's channel.
    channels: Vec<String>,
    segment_chunks: u64,
    size_line: String,
    /// By token.
    conns: Vec<Conn>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

#[derive(Debug, Default)]
struct Conn {
    awaits: Awaits,
    responses: Responses,
    is_last: bool,
}

/// What a connection is for, named for what it awaits.
#[derive(Debug, Default)]
enum Awaits {
    #[default]
    Nothing,
    /// The next request of a publisher.
    PostOf(usize),
    /// The next request of a subscriber.
    GetOf(usize),
    /// The end of what a publisher has to say.
    PostEnd { publisher: usize, seq: u64 },
    /// The answer to all of it.
    PostAnswer { publisher: usize, seq: u64 },
    /// A segment.
    Segment {
        subscriber: usize,
        seq: u64,
        reader: Reader,
    },
}

#[derive(Debug, Default)]
struct Publisher {
    current: Option<Token>,
    ahead: Option<Token>,
    idle: Vec<Token>,
}

#[derive(Debug, Default)]
struct Subscriber {
    idle: Vec<Token>,
}

impl Trickle {
    /// Creates a channel a publisher.
    pub(super) fn new(plan: &Plan) -> Result<Self, Failure> {
        let run = format!("{:x}-{:x}", std::process::id(), clock::now_ns());
        let channels: Vec<String> = (0..plan.publishers)
            .map(|group| format!("{}fanout-{run}-{group}", plan.base))
            .collect();
        for channel in &channels {
            let request = format!(
                "POST {channel} HTTP/1.1\r\nHost: {}\r\nExpect-Content: video/mp2t\r\nContent-Length: 0\r\n\r\n",
                plan.addr
            );
            let head = ask(plan.addr, &request)?;
            if head.status != 200 {
                let hint = if head.status == 404 {
                    "; was the server started with --trickle-autocreate?"
                } else {
                    ""
                };
                return Err(Failure::new(format!(
                    "POST {channel}, to create it, was answered {}{hint}",
                    head.status
                )));
            }
        }
        Ok(Self {
            addr: plan.addr,
            channels,
            segment_chunks: plan.segment_chunks(),
            size_line: format!("{:x}\r\n", plan.chunk_bytes),
            conns: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
        })
    }

    fn group_of(&self, subscriber: usize) -> usize {
        subscriber / (self.subscribers.len() / self.channels.len())
    }

    fn post_ahead(&mut self, net: &mut Net, publisher: usize, seq: u64) -> Result<(), Failure> {
        let idle = self.publishers[publisher].idle.pop();
        let request = format!(
            "POST {}/{seq} HTTP/1.1\r\nHost: {}\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n",
            self.channels[publisher], self.addr
        );
        let token = self.request(net, idle, &request, Awaits::PostEnd { publisher, seq })?;
        self.publishers[publisher].ahead = Some(token);
        Ok(())
    }

    fn get(&mut self, net: &mut Net, subscriber: usize, seq: u64) -> Result<(), Failure> {
        let idle = self.subscribers[subscriber].idle.pop();
        let channel = &self.channels[self.group_of(subscriber)];
        let request = format!(
            "GET {channel}/{seq} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.addr
        );
        self.request(
            net,
            idle,
            &request,
            Awaits::Segment {
                subscriber,
                seq,
                reader: Reader::default(),
            },
        )?;
        Ok(())
    }

    fn request(
        &mut self,
        net: &mut Net,
        idle: Option<Token>,
        request: &str,
        awaits: Awaits,
    ) -> Result<Token, Failure> {
        let token = match idle {
            Some(token) => token,
            None => {
                let stream = TcpStream::connect(self.addr).map_err(|error| {
                    Failure::new(format!("cannot connect to {}: {error}", self.addr))
                })?;
                let token = net.add(stream)?;
                if token >= self.conns.len() {
                    self.conns.resize_with(token + 1, Conn::default);
                }
                token
            }
        };
        self.conns[token] = Conn {
            awaits,
            responses: Responses::default(),
            is_last: false,
        };
        net.send(token, &[request.as_bytes()])?;
        Ok(token)
    }

    /// Ends the segment that a publisher is writing.
    fn end_segment(&mut self, net: &mut Net, publisher: usize) -> Result<(), Failure> {
        let Some(token) = self.publishers[publisher].current.take() else {
            return Ok(());
        };
        let Awaits::PostEnd { seq, .. } = self.conns[token].awaits else {
            unreachable!("it is the current one")
        };
        self.conns[token].awaits = Awaits::PostAnswer { publisher, seq };
        Ok(net.send(token, &[b"0\r\n\r\n"])?)
    }

    fn handle_head(&mut self, net: &mut Net, conn: &Conn, head: &Head) -> Result<(), Failure> {
        match conn.awaits {
            Awaits::Segment {
                subscriber, seq, ..
            } => {
                let channel = &self.channels[self.group_of(subscriber)];
                let is_right =
                    head.status == 200 && head.seq == i64::try_from(seq).ok() && !head.is_closed;
                if !is_right {
                    return Err(Failure::new(format!(
                        "GET {channel}/{seq} was answered {}",
                        describe(head)
                    )));
                }
                self.get(net, subscriber, seq + 1)
            }
            Awaits::PostAnswer { .. } if head.status == 200 && !head.is_closed => Ok(()),
            Awaits::PostAnswer { publisher, seq } => Err(Failure::new(format!(
                "POST {}/{seq} was answered {}",
                self.channels[publisher],
                describe(head)
            ))),
            Awaits::PostEnd { publisher, seq } => Err(Failure::new(format!(
                "POST {}/{seq} was answered before its end, with {}",
                self.channels[publisher],
                describe(head)
            ))),
            Awaits::Nothing | Awaits::PostOf(_) | Awaits::GetOf(_) => Err(Failure::new(format!(
                "a response without a request: {}",
                describe(head)
            ))),
        }
    }

    /// Puts a connection whose response is complete back into its pool.
    fn pool(&mut self, token: Token, awaits: &Awaits) -> Awaits {
        match *awaits {
            Awaits::PostAnswer { publisher, .. } | Awaits::PostEnd { publisher, .. } => {
                self.publishers[publisher].idle.push(token);
                Awaits::PostOf(publisher)
            }
            Awaits::Segment { subscriber, .. } => {
                self.subscribers[subscriber].idle.push(token);
                Awaits::GetOf(subscriber)
            }
            Awaits::Nothing | Awaits::PostOf(_) | Awaits::GetOf(_) => Awaits::Nothing,
        }
    }

    fn handle_closed(&mut self, net: &mut Net, token: Token) -> Result<(), Failure> {
        net.close(token);
        match std::mem::take(&mut self.conns[token]).awaits {
            Awaits::Nothing => Ok(()),
            Awaits::PostOf(publisher) => {
                self.publishers[publisher]
                    .idle
                    .retain(|&idle| idle != token);
                Ok(())
            }
            Awaits::GetOf(subscriber) => {
                self.subscribers[subscriber]
                    .idle
                    .retain(|&idle| idle != token);
                Ok(())
            }
            Awaits::PostEnd { publisher, seq } | Awaits::PostAnswer { publisher, seq } => {
                Err(Failure::new(format!(
                    "the server closed POST {}/{seq} without an answer",
                    self.channels[publisher]
                )))
            }
            Awaits::Segment {
                subscriber, seq, ..
            } => Err(Failure::new(format!(
                "the server closed GET {}/{seq} of subscriber {subscriber} before the segment's end",
                self.channels[self.group_of(subscriber)]
            ))),
        }
    }
}

impl Peers for Trickle {
    fn start(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Failure> {
        self.subscribers.resize_with(
            (plan.publishers * plan.subscribers_each) as usize,
            Subscriber::default,
        );
        self.publishers
            .resize_with(plan.publishers as usize, Publisher::default);
        for publisher in 0..self.publishers.len() {
            self.post_ahead(net, publisher, 0)?;
        }
        (0..self.subscribers.len()).try_for_each(|subscriber| self.get(net, subscriber, 0))
    }

    fn send(
        &mut self,
        net: &mut Net,
        group: u32,
        number: u64,
        chunk: [&[u8]; 2],
    ) -> Result<(), Failure> {
        let publisher = group as usize;
        if number.is_multiple_of(self.segment_chunks) {
            self.end_segment(net, publisher)?;
            self.publishers[publisher].current = self.publishers[publisher].ahead.take();
            self.post_ahead(net, publisher, number / self.segment_chunks + 1)?;
        }
        let Some(token) = self.publishers[publisher].current else {
            return Err(Failure::new(format!(
                "publisher {publisher} has no segment to write to"
            )));
        };
        net.send(
            token,
            &[self.size_line.as_bytes(), chunk[0], chunk[1], b"\r\n"],
        )
        .map_err(|error| Failure::new(format!("POST {}: {error}", self.channels[publisher])))
    }

    fn handle_bytes(
        &mut self,
        net: &mut Net,
        token: Token,
        bytes: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return self.handle_closed(net, token);
        }
        let mut input = bytes;
        let mut conn = std::mem::take(&mut self.conns[token]);
        while let Some(part) = conn
            .responses
            .handle_bytes(&mut input)
            .map_err(|error| Failure::new(error.to_string()))?
        {
            match part {
                Part::Head(head) => {
                    conn.is_last = !head.is_keep_alive;
                    self.handle_head(net, &conn, &head)?;
                }
                Part::Body(payload) => {
                    if let Awaits::Segment {
                        subscriber, reader, ..
                    } = &mut conn.awaits
                    {
                        tally.handle_payload(*subscriber, reader, payload, now_ns);
                    }
                }
                Part::End => {
                    if let Awaits::Segment { reader, .. } = &conn.awaits
                        && !reader.is_at_boundary()
                    {
                        tally.truncated += 1;
                    }
                    if conn.is_last {
                        net.close(token);
                        return Ok(());
                    }
                    conn.awaits = self.pool(token, &conn.awaits);
                }
            }
        }
        self.conns[token] = conn;
        Ok(())
    }

    fn end(&mut self, net: &mut Net) -> Result<(), Failure> {
        (0..self.publishers.len()).try_for_each(|publisher| self.end_segment(net, publisher))
    }

    fn clean_up(&mut self) -> Result<(), Failure> {
        for channel in &self.channels {
            // A server that does not let strangers delete will forget the channel by itself.
            ask(
                self.addr,
                &format!("DELETE {channel} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr),
            )?;
        }
        Ok(())
    }
}

/// One request on a connection of its own, waited for.
fn ask(addr: SocketAddr, request: &str) -> Result<Head, Failure> {
    let line = request.lines().next().unwrap_or_default();
    let failed = |error: std::io::Error| Failure::new(format!("{line}, at {addr}: {error}"));
    let mut stream = TcpStream::connect(addr).map_err(failed)?;
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .map_err(failed)?;
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut responses = Responses::default();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Err(Failure::new(format!(
                "{line}, at {addr}: closed without an answer"
            )));
        }
        let mut input = &buffer[..count];
        while let Some(part) = responses
            .handle_bytes(&mut input)
            .map_err(|error| Failure::new(format!("{line}: {error}")))?
        {
            if let Part::Head(head) = part {
                return Ok(head);
            }
        }
    }
}

fn describe(head: &Head) -> String {
    let seq = head
        .seq
        .map_or(String::new(), |seq| format!(", Lp-Trickle-Seq: {seq}"));
    let closed = if head.is_closed {
        ", Lp-Trickle-Closed"
    } else {
        ""
    };
    format!("{}{seq}{closed}", head.status)
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
