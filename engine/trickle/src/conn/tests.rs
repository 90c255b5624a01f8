//! Tests of the connection machine: a world of connections on one hub, with virtual time and no socket.
//!
//! [`World`] drives each connection as the shard's driver does, and no more often: a connection is looked at when it was
//! woken, when its deadline came, or when the direction it waits for moved. So a wake-up that the machine forgets to ask for
//! is a test that fails, and not one that passes a little later.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Conn, Step, Timing, Wants};
use crate::hub::SWEEP_MS;
use crate::{Hub, HubConfig, Millis, Waiter};

mod delivery;
mod requests;
mod simulation;
mod waits;

type Bytes = Rc<[u8]>;

const BASE: &str = "/t/";
const TIMING: Timing = Timing {
    keep_alive_ms: 600_000,
    head_ms: 10_000,
    lag_ms: 5_000,
    head_bytes_max: 8 << 10,
};
/// Turns of the driver in which not a byte moves, before it is said to spin.
const IDLE_TURNS_MAX: usize = 5;

/// splitmix64: small, seeded, and the same everywhere.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One client and its connection, with the socket between them.
struct Peer {
    conn: Conn<Bytes>,
    /// Sent by the client, not yet read by the server.
    sent: VecDeque<u8>,
    hung_up: bool,
    /// All that the client received.
    received: Vec<u8>,
    /// Bytes the socket takes before it is full.
    room: usize,
    /// For each request made with [`World::request`], whether it was a HEAD.
    heads: Vec<bool>,
    woken: bool,
    reading: bool,
    writing: bool,
    deadline: Option<Millis>,
    /// The server ended its sending direction in good order.
    finished: bool,
    over: bool,
    elsewhere: bool,
}

struct World {
    hub: Hub<Bytes>,
    now: Millis,
    peers: Vec<Peer>,
    rng: Rng,
    /// The most bytes one read gets, one write takes.
    bite: usize,
    /// Pages left for payload.
    pages: usize,
}

impl World {
    fn new() -> Self {
        Self::with(HubConfig::default())
    }

    fn with(config: HubConfig) -> Self {
        Self {
            hub: Hub::new(config),
            now: Millis(0),
            peers: Vec::new(),
            rng: Rng(1),
            bite: usize::MAX,
            pages: usize::MAX,
        }
    }

    /// A world with the channel `a`, of type `video/mp2t`.
    fn with_channel() -> Self {
        let mut world = Self::new();
        world
            .hub
            .create("a", "video/mp2t", None, Millis(0))
            .unwrap();
        world
    }

    // === what clients do ===

    fn connect(&mut self) -> usize {
        let waiter = Waiter::try_from(self.peers.len()).unwrap();
        self.peers.push(Peer {
            conn: Conn::new(waiter, TIMING, self.now),
            sent: VecDeque::new(),
            hung_up: false,
            received: Vec::new(),
            room: usize::MAX,
            heads: Vec::new(),
            woken: true,
            reading: false,
            writing: false,
            deadline: None,
            finished: false,
            over: false,
            elsewhere: false,
        });
        self.drive();
        self.peers.len() - 1
    }

    fn send(&mut self, peer: usize, bytes: impl AsRef<[u8]>) {
        self.peers[peer].sent.extend(bytes.as_ref());
        self.drive();
    }

    /// Sends a request head; `fields` are whole lines.
    fn request(&mut self, peer: usize, method: &str, path: &str, fields: &str) {
        self.peers[peer].heads.push(method == "HEAD");
        self.send(
            peer,
            format!("{method} {BASE}{path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"),
        );
    }

    fn get(&mut self, path: &str) -> usize {
        let peer = self.connect();
        self.request(peer, "GET", path, "");
        peer
    }

    /// Opens a publish with a chunked body.
    fn post(&mut self, path: &str) -> usize {
        let peer = self.connect();
        self.request(peer, "POST", path, "Transfer-Encoding: chunked\r\n");
        peer
    }

    fn chunk(&mut self, peer: usize, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        let mut wire = format!("{:x}\r\n", payload.len()).into_bytes();
        wire.extend_from_slice(payload);
        wire.extend_from_slice(b"\r\n");
        self.send(peer, wire);
    }

    fn end(&mut self, peer: usize) {
        self.send(peer, "0\r\n\r\n");
    }

    /// Publishes a whole segment.
    fn publish(&mut self, path: &str, payload: impl AsRef<[u8]>) -> usize {
        let peer = self.post(path);
        self.chunk(peer, payload);
        self.end(peer);
        peer
    }

    fn delete(&mut self, path: &str) -> Response {
        let peer = self.connect();
        self.request(peer, "DELETE", path, "");
        self.answer(peer)
    }

    fn hang_up(&mut self, peer: usize) {
        self.peers[peer].hung_up = true;
        self.drive();
    }

    fn set_room(&mut self, peer: usize, room: usize) {
        self.peers[peer].room = room;
        self.drive();
    }

    // === what clients see ===

    fn responses(&self, peer: usize) -> Vec<Response> {
        let peer = &self.peers[peer];
        let (mut at, mut responses, mut heads) = (0, Vec::new(), peer.heads.iter());
        while at < peer.received.len() {
            let Some(response) = Response::read(&peer.received, &mut at, peer.finished, &mut heads)
            else {
                break;
            };
            responses.push(response);
        }
        responses
    }

    /// The one response with a final status.
    fn answer(&self, peer: usize) -> Response {
        let mut responses = self.responses(peer);
        responses.retain(|response| response.status != 100);
        assert_eq!(
            responses.len(),
            1,
            "{}",
            String::from_utf8_lossy(&self.peers[peer].received)
        );
        responses.remove(0)
    }

    fn is_parked(&self, peer: usize) -> bool {
        self.peers[peer].received.is_empty() && !self.peers[peer].over
    }

    fn continues(&self, peer: usize) -> usize {
        self.responses(peer)
            .iter()
            .filter(|response| response.status == 100)
            .count()
    }

    /// What a reader has so far.
    fn body(&self, peer: usize) -> String {
        String::from_utf8(self.answer(peer).body).unwrap()
    }

    fn next_write(&self, name: &str) -> u64 {
        self.hub.channel(name).unwrap().borrow().next_write()
    }

    // === the driver ===

    /// Lets `ms` pass: each deadline is met at its moment, and the hub swept every [`SWEEP_MS`].
    fn pass(&mut self, ms: u64) {
        let until = self.now.plus(ms);
        let mut rounds_now = 0;
        loop {
            let sweep = Millis((self.now.0 / SWEEP_MS + 1) * SWEEP_MS);
            let due = self
                .peers
                .iter()
                .filter(|peer| !peer.over)
                .filter_map(|peer| peer.deadline)
                .min();
            let next = due.map_or(sweep, |due| due.min(sweep)).max(self.now);
            if next > until {
                break;
            }
            rounds_now = if next == self.now { rounds_now + 1 } else { 0 };
            assert!(
                rounds_now < IDLE_TURNS_MAX,
                "a deadline that was met comes again at once"
            );
            self.now = next;
            for peer in &mut self.peers {
                if peer.deadline.is_some_and(|deadline| deadline <= next) {
                    peer.deadline = None;
                    peer.woken = true;
                }
            }
            if next == sweep {
                self.hub.handle_timeout(next);
                self.ring();
            }
            self.drive();
        }
        self.now = until;
    }

    /// Polls every connection that something happened to, until nothing happens.
    fn drive(&mut self) {
        self.ring();
        loop {
            let ready: Vec<usize> = (0..self.peers.len())
                .filter(|&i| self.peers[i].is_ready())
                .collect();
            if ready.is_empty() {
                return;
            }
            let first = self.rng.below(ready.len());
            for i in 0..ready.len() {
                self.poll(ready[(first + i) % ready.len()]);
            }
        }
    }

    fn ring(&mut self) {
        let mut woken = Vec::new();
        self.hub.drain_woken(&mut woken);
        for waiter in woken {
            self.peers[waiter as usize].woken = true;
        }
    }

    fn poll(&mut self, i: usize) {
        let Self {
            hub, peers, now, ..
        } = self;
        let peer = &mut peers[i];
        if core::mem::take(&mut peer.woken) {
            peer.conn.handle_wake(hub, *now);
            peer.conn.handle_timeout(hub, *now);
        }
        (peer.reading, peer.writing) = (false, false);
        let (mut idle_turns, mut moved) = (0, self.peers[i].bytes_left());
        while self.turn(i) {
            let now_moved = self.peers[i].bytes_left();
            idle_turns = if now_moved == moved {
                idle_turns + 1
            } else {
                0
            };
            moved = now_moved;
            assert!(idle_turns < IDLE_TURNS_MAX, "the driver spins");
        }
        let peer = &mut self.peers[i];
        if peer.over {
            peer.conn.close(&mut self.hub, self.now);
        } else if let Some(deadline) = peer.conn.deadline() {
            // As the shard keeps it: a deadline that moves later is left to fire early.
            peer.deadline = Some(peer.deadline.map_or(deadline, |known| known.min(deadline)));
        }
        self.ring();
    }

    /// One turn of the driver; true if there is another.
    fn turn(&mut self, i: usize) -> bool {
        let (now, bite) = (self.now, 1 + self.rng.below(self.bite));
        let Self {
            hub, peers, pages, ..
        } = self;
        let peer = &mut peers[i];
        let Peer {
            conn,
            received,
            room,
            ..
        } = peer;
        match conn.with_output(|slices| write_some(slices, bite.min(*room), received)) {
            Some(0) => peer.writing = true,
            Some(n) => {
                *room -= if *room == usize::MAX { 0 } else { n };
                conn.advance(n, now);
                if conn.has_output() {
                    return true;
                }
                peer.settle(hub, now);
            }
            None => peer.settle(hub, now),
        }
        if peer.conn.has_request_bytes() {
            return self.look(i, &[]);
        }
        let wants = peer.conn.wants();
        match wants {
            Wants::Close => {
                peer.over = true;
                return false;
            }
            Wants::Drain => return false,
            Wants::Span if *pages == 0 => {
                peer.conn.handle_no_page(hub, now);
                return true;
            }
            Wants::Bytes | Wants::Span => {}
        }
        if peer.sent.is_empty() {
            if peer.hung_up {
                peer.conn.handle_eof(hub, now);
                return true;
            }
            peer.reading = true;
            return false;
        }
        let bytes: Vec<u8> = peer.sent.drain(..bite.min(peer.sent.len())).collect();
        if wants == Wants::Bytes {
            return self.look(i, &bytes);
        }
        *pages -= 1;
        peer.conn.handle_span(hub, &bytes.into(), now);
        true
    }

    fn look(&mut self, i: usize, bytes: &[u8]) -> bool {
        let Self {
            hub,
            peers,
            now,
            pages,
            ..
        } = self;
        let peer = &mut peers[i];
        match peer.conn.handle_bytes(BASE, bytes, *now) {
            Step::Continue => {}
            Step::Elsewhere => (peer.over, peer.elsewhere) = (true, true),
            Step::Request(request) => {
                peer.conn.begin(hub, *request, *now);
                let early = peer.conn.take_early_body();
                let mut rest = &early[..];
                while !rest.is_empty() && peer.conn.wants() == Wants::Span {
                    if *pages == 0 {
                        peer.conn.handle_no_page(hub, *now);
                        return true;
                    }
                    *pages -= 1;
                    let (page, after) = rest.split_at(rest.len().min(4 << 10));
                    rest = after;
                    peer.conn.handle_span(hub, &page.into(), *now);
                }
                if !rest.is_empty() {
                    peer.conn.give_back(rest);
                }
            }
        }
        !self.peers[i].over
    }
}

impl Peer {
    fn is_ready(&self) -> bool {
        let readable = !self.sent.is_empty() || self.hung_up;
        !self.over && (self.woken || (self.reading && readable) || (self.writing && self.room > 0))
    }

    /// Differs when a byte has moved either way.
    fn bytes_left(&self) -> (usize, usize) {
        (self.sent.len(), self.received.len())
    }

    fn settle(&mut self, hub: &mut Hub<Bytes>, now: Millis) {
        self.finished |= self.conn.is_finished_writing();
        self.conn.handle_wake(hub, now);
    }
}

/// A gathered write to a socket that takes `room` bytes.
fn write_some(slices: &[&[u8]], mut room: usize, to: &mut Vec<u8>) -> usize {
    assert!(
        slices.iter().all(|slice| !slice.is_empty()),
        "nothing was offered as something"
    );
    let before = to.len();
    for slice in slices {
        let n = room.min(slice.len());
        to.extend_from_slice(&slice[..n]);
        room -= n;
    }
    to.len() - before
}

/// A response as a strict client reads it.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    /// The chunks of a chunked body, the last one not counted.
    chunks: usize,
    is_complete: bool,
}

impl Response {
    /// Reads one response. `None` while its head is not whole.
    fn read<'a>(
        wire: &[u8],
        at: &mut usize,
        finished: bool,
        heads: &mut impl Iterator<Item = &'a bool>,
    ) -> Option<Self> {
        let end = wire[*at..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")?
            + *at;
        let head = core::str::from_utf8(&wire[*at..end]).unwrap();
        *at = end + 4;
        let mut lines = head.split("\r\n");
        let mut status = lines.next().unwrap().splitn(3, ' ');
        assert_eq!(status.next(), Some("HTTP/1.1"));
        let status: u16 = status.next().unwrap().parse().unwrap();
        let fields: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let mut response = Self {
            status,
            fields,
            body: Vec::new(),
            chunks: 0,
            is_complete: true,
        };
        if status == 100 || *heads.next().unwrap_or(&false) {
            return Some(response);
        }
        if response.field("Transfer-Encoding") == Some("chunked") {
            assert_eq!(response.field("Content-Length"), None);
            response.is_complete = response.read_chunks(wire, at);
        } else {
            let rest = wire.len() - *at;
            let len = response
                .field("Content-Length")
                .map(|len| len.parse::<usize>().unwrap());
            let take = len.unwrap_or(rest).min(rest);
            response.is_complete = len.map_or(finished, |len| len == take);
            response.body.extend_from_slice(&wire[*at..*at + take]);
            *at += take;
        }
        Some(response)
    }

    /// Reads chunks; true if the last one was there. Anything but lower-case sizes, CRLF and no extensions is an error.
    fn read_chunks(&mut self, wire: &[u8], at: &mut usize) -> bool {
        loop {
            let Some(line) = wire[*at..].windows(2).position(|window| window == b"\r\n") else {
                *at = wire.len();
                return false;
            };
            let digits = core::str::from_utf8(&wire[*at..*at + line]).unwrap();
            assert!(
                digits
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                    && !digits.is_empty(),
                "{digits:?}"
            );
            assert!(digits == "0" || !digits.starts_with('0'), "{digits:?}");
            let size = usize::from_str_radix(digits, 16).unwrap();
            *at += line + 2;
            let payload = size.min(wire.len() - *at);
            self.body.extend_from_slice(&wire[*at..*at + payload]);
            *at += payload;
            self.chunks += usize::from(size > 0);
            let tail = &wire[*at..wire.len().min(*at + 2)];
            assert!(b"\r\n".starts_with(tail), "{tail:?}");
            *at += tail.len();
            match tail.len() {
                2 if size == 0 => return true,
                2 => {}
                _ => return false,
            }
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice");
        value
    }

    fn seq(&self) -> Option<&str> {
        self.field("Lp-Trickle-Seq")
    }

    fn latest(&self) -> Option<&str> {
        self.field("Lp-Trickle-Latest")
    }

    fn says_closed(&self) -> bool {
        self.field("Lp-Trickle-Closed") == Some("terminated")
    }

    fn says_goodbye(&self) -> bool {
        self.field("Connection") == Some("close")
    }
}
