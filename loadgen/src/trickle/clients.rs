//! Publishers and subscribers of one worker, and the loop that serves their sockets.
//!
//! ```text
//!   serve: retries that are due ──▶ wait ──▶ what has come, socket by socket ──▶ publisher   (publish.rs)
//!                                                                            └─▶ subscriber  (subscribe.rs) ──▶ Audience
//! ```
//!
//! Invariants:
//! - An error of the server's ends nothing: it is counted by its class, and the client goes on as a real one would.
//! - A retry waits [`RETRY_NS`], so that a server that refuses everything is not hammered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::publish::Publisher;
use super::subscribe::Subscriber;
use super::wire::{Ask, Awaits, Conn, Post, Wire};
use crate::chunk::Arrived;
use crate::clock::{self, SECOND, Timer};
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::http::Part;
use crate::measure::Meter;
use crate::net::{self, Event, Token};
use crate::target::Target;

/// Who is told what the subscribers get. Only while it is measured: there is a meter.
pub(crate) trait Audience {
    /// A new connection of a subscriber's is open.
    fn handle_open(&mut self, _subscriber: usize, _now_ns: u64, _meter: &mut Meter) {}
    /// The first payload of a segment has come.
    fn handle_first_byte(&mut self, _subscriber: usize, _now_ns: u64, _meter: &mut Meter) {}
    /// A chunk has come, whole and as it was sent; the one before it came to this subscriber at `before_ns`, or 0.
    fn handle_chunk(
        &mut self,
        subscriber: usize,
        chunk: &Arrived,
        order: Order,
        before_ns: u64,
        meter: &mut Meter,
    );
    /// A chunk has come that nobody sent like that.
    fn handle_corrupt(&mut self, _chunk: &Arrived, _meter: &mut Meter) {}
    /// A segment ended within a chunk.
    fn handle_truncated(&mut self, _now_ns: u64, _meter: &mut Meter) {}
    /// Payload has come.
    fn handle_payload(&mut self, _bytes: u64, _now_ns: u64, _meter: &mut Meter) {}
    /// There will be no more for a subscriber: the stream is over.
    fn handle_over(&mut self, _subscriber: usize, _now_ns: u64) {}
    /// A subscriber who was to leave at a segment's end has left.
    fn handle_left(&mut self, _subscriber: usize) {}
}

/// How a chunk comes, by those that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// In its turn.
    InTurn,
    /// For the first time, after a later one of its segment, or in another segment than its own.
    Late,
    /// Once more.
    Again,
    /// Once more, since its segment had to be asked for once more: it broke off.
    Repeated,
}

/// The clients of one worker.
pub(crate) struct Clients<A> {
    pub(crate) wire: Wire,
    pub(crate) channels: Vec<Channel>,
    pub(crate) audience: A,
    pub(crate) book: Book,
    pub(super) publishers: Vec<Publisher>,
    pub(super) subscribers: Vec<Option<Subscriber>>,
    pub(super) vacant: Vec<usize>,
    pub(super) is_preconnecting: bool,
    pub(super) retries: BinaryHeap<Reverse<Retry>>,
    pub(super) arrived: Vec<Arrived>,
    timer: Timer,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

/// When a subscriber asks again, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Retry {
    pub(super) at_ns: u64,
    pub(super) subscriber: usize,
    pub(super) born_ns: u64,
    pub(super) ask: Ask,
}

/// Where errors are written down: in the meter, once there is one.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) meter: Option<Meter>,
    /// The first error before there was a meter.
    early: Option<String>,
}

impl Book {
    pub(super) fn error(&mut self, class: &str) {
        match &mut self.meter {
            Some(meter) => meter.record_error(class),
            None => {
                self.early.get_or_insert_with(|| class.to_owned());
            }
        }
    }

    pub(super) fn more(&mut self, name: &str) {
        if let Some(meter) = &mut self.meter {
            meter.record_more(clock::now_ns(), name, 1);
        }
    }
}

impl<A: Audience> Clients<A> {
    /// Nobody is connected yet. Connections are kept from one segment to the next, or not; segments are asked for ahead, or not.
    pub(crate) fn new(
        target: &Target,
        channels: Vec<Channel>,
        is_kept: bool,
        is_preconnecting: bool,
        audience: A,
    ) -> Result<Self, Failure> {
        let (wire, timer) = (Wire::new(target, is_kept)?, Timer::new()?);
        wire.net.watch(timer.fd(), TIMER)?;
        Ok(Self {
            wire,
            audience,
            book: Book::default(),
            publishers: channels.iter().map(|_| Publisher::default()).collect(),
            channels,
            subscribers: Vec::new(),
            vacant: Vec::new(),
            is_preconnecting,
            retries: BinaryHeap::new(),
            arrived: Vec::new(),
            timer,
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Connects every publisher and every subscriber, and lets them ask for the first segment. A few at a time, since a
    /// thousand at once are a test of the server's backlog.
    pub(crate) fn connect(&mut self, target: &Target, stop: &Stop) -> Result<(), Failure> {
        net::raise_descriptor_limit();
        let mut open = Vec::new();
        for (channel, of) in self.channels.iter().enumerate() {
            open.push((channel, None));
            open.extend((0..of.subscribers).map(|_| (channel, Some(of.seq_first))));
        }
        let mut open = open.into_iter().peekable();
        let mut patience = Patience::new();
        while (open.peek().is_some() || self.wire.unopened() > 0) && !stop.is_told() {
            if self.wire.unopened() < CONNECTING_MAX
                && let Some((channel, seq)) = open.next()
            {
                match seq {
                    None => self.open_first(channel),
                    Some(seq) => {
                        self.subscribe(channel, seq, clock::now_ns());
                    }
                }
                patience.renew();
                if self.wire.unopened() < CONNECTING_MAX && open.peek().is_some() {
                    continue;
                }
            }
            let before = self.wire.unopened();
            self.serve(clock::now_ns() + SECOND / 10)?;
            if self.wire.unopened() != before {
                patience.renew();
            }
            if let Some(class) = &self.book.early {
                return Err(Failure::new(format!(
                    "{target}: a first request failed: {}",
                    explain(class)
                )));
            }
            if patience.is_over() {
                return Err(Failure::new(format!(
                    "{target}: {} connections are not made after {} s",
                    self.wire.unopened(),
                    PATIENCE.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Serves what has come, waiting at most until `until_ns`, or for a twentieth of a second.
    ///
    /// # Errors
    /// The epoll is of no more use.
    pub(crate) fn serve(&mut self, until_ns: u64) -> Result<(), Failure> {
        let now_ns = clock::now_ns();
        if let Some(meter) = &mut self.book.meter {
            meter.tick(now_ns);
        }
        self.ask_again(now_ns);
        let next_retry_ns = self.retries.peek().map_or(u64::MAX, |Reverse(r)| r.at_ns);
        let until_ns = until_ns.min(next_retry_ns);
        let wait_ms = if until_ns <= now_ns {
            0
        } else {
            self.timer.arm(until_ns)?;
            GLANCE_MS
        };
        let wait_ms = self
            .book
            .meter
            .as_ref()
            .map_or(wait_ms, |meter| meter.wait_ms(wait_ms));
        let mut events = std::mem::take(&mut self.events);
        self.wire.net.wait(&mut events, Some(wait_ms))?;
        if events.iter().all(|event| event.token == TIMER)
            && let Some(meter) = &mut self.book.meter
        {
            meter.record_idle(clock::now_ns() - now_ns);
        }
        for event in &events {
            if event.token != TIMER {
                self.handle_event(*event);
            }
        }
        self.events = events;
        Ok(())
    }

    fn handle_event(&mut self, event: Event) {
        let token = event.token;
        if event.writable
            && let Err(error) = self.wire.net.flush(token)
        {
            return self.lose(token, self.wire.net.class_of(token, &error));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = if event.readable {
            self.wire.net.read(token, &mut buffer)
        } else {
            Ok(None)
        };
        let now_ns = clock::now_ns();
        if self.wire.is_newly_open(token) {
            self.handle_open(token, now_ns);
        }
        match read {
            Ok(None) => {}
            Ok(Some(0)) => self.handle_end(token, now_ns),
            Ok(Some(count)) => {
                if let Some(meter) = &mut self.book.meter {
                    let ready_ns = self.wire.net.ready_since_ns();
                    meter.record_receive_lag(now_ns, now_ns.saturating_sub(ready_ns));
                }
                self.handle_bytes(token, &buffer[..count], now_ns);
            }
            Err(error) => self.lose(token, self.wire.net.class_of(token, &error)),
        }
        self.buffer = buffer;
    }

    fn handle_open(&mut self, token: Token, now_ns: u64) {
        if let Some(conn) = self.wire.conn(token)
            && let Awaits::Segment(segment) = &conn.awaits
            && let Some(meter) = &mut self.book.meter
        {
            self.audience.handle_open(segment.subscriber, now_ns, meter);
        }
    }

    fn handle_bytes(&mut self, token: Token, mut input: &[u8], now_ns: u64) {
        let mut conn = self.wire.take(token);
        conn.has_begun = true;
        loop {
            match conn.responses.handle_bytes(&mut input) {
                Ok(None) => return self.wire.put_back(token, conn),
                Ok(Some(Part::Head(head))) => {
                    conn.is_last = !head.is_keep_alive;
                    let is_wanted = match &mut conn.awaits {
                        Awaits::Post(post) => self.handle_post_head(token, *post, &head),
                        Awaits::Segment(segment) => self.handle_segment_head(segment, &head),
                        Awaits::Deletion => true,
                        // An answer to no question, such as a 408 before it closes.
                        Awaits::Nothing | Awaits::PostOf(_) | Awaits::GetOf(_) => false,
                    };
                    if !is_wanted {
                        return self.drop_taken(token, conn);
                    }
                }
                Ok(Some(Part::Body(payload))) => {
                    if let Awaits::Segment(segment) = &mut conn.awaits {
                        self.handle_payload(segment, payload, now_ns);
                    }
                }
                Ok(Some(Part::End)) => return self.handle_answered(token, conn, now_ns),
                Err(_) => {
                    self.wire.put_back(token, conn);
                    return self.lose(token, "malformed");
                }
            }
        }
    }

    /// An answer is complete. What may have come behind it answers nothing and is left aside.
    fn handle_answered(&mut self, token: Token, conn: Conn, now_ns: u64) {
        let is_reusable = self.wire.is_reusable(&conn);
        match conn.awaits {
            Awaits::Post(Post { channel, .. }) if is_reusable => {
                self.wire
                    .put_back(token, Conn::idle(Awaits::PostOf(channel)));
                self.publishers[channel].idle.push(token);
            }
            Awaits::Segment(segment) => {
                if is_reusable {
                    self.wire
                        .put_back(token, Conn::idle(Awaits::GetOf(segment.subscriber)));
                } else {
                    self.wire.net.close(token);
                }
                self.handle_segment_end(token, &segment, is_reusable, now_ns);
            }
            _ => self.wire.close_taken(token, &conn),
        }
    }

    /// The peer has said its last.
    fn handle_end(&mut self, token: Token, now_ns: u64) {
        let mut conn = self.wire.take(token);
        let ended = conn.responses.handle_end();
        if let Ok(Some(_)) = ended {
            conn.is_last = true;
            return self.handle_answered(token, conn, now_ns);
        }
        self.wire.put_back(token, conn);
        self.lose(token, if ended.is_ok() { "no-answer" } else { "cut" });
    }

    /// A connection came to nothing.
    pub(super) fn lose(&mut self, token: Token, class: &str) {
        let conn = self.wire.close(token);
        // A server may close a kept connection just as the next request is on its way. That is nobody's fault, and every
        // client asks again.
        let is_crossing = conn.is_reused && !conn.has_begun;
        match conn.awaits {
            Awaits::Nothing | Awaits::Deletion => {}
            Awaits::PostOf(channel) => {
                self.publishers[channel].idle.retain(|&idle| idle != token);
            }
            Awaits::GetOf(subscriber) => {
                if let Some(subscriber) = &mut self.subscribers[subscriber] {
                    subscriber.idle.retain(|&idle| idle != token);
                }
            }
            Awaits::Post(post) => self.lose_post(token, post, class, is_crossing),
            Awaits::Segment(segment) => self.lose_segment(token, &segment, class, is_crossing),
        }
    }

    /// A connection whose answer is not wanted further.
    fn drop_taken(&mut self, token: Token, conn: Conn) {
        self.wire.close_taken(token, &conn);
        match conn.awaits {
            Awaits::Segment(segment) => self.forget(segment.subscriber, token),
            Awaits::PostOf(channel) => {
                self.publishers[channel].idle.retain(|&idle| idle != token);
            }
            Awaits::GetOf(subscriber) => {
                if let Some(subscriber) = &mut self.subscribers[subscriber] {
                    subscriber.idle.retain(|&idle| idle != token);
                }
            }
            Awaits::Nothing | Awaits::Post(_) | Awaits::Deletion => {}
        }
    }
}

/// Says more of a class of error than its name.
fn explain(class: &str) -> String {
    let more = match class {
        "descriptors" => "; this process may not open more of them: raise `ulimit -n`",
        "ports" => "; this machine has no port left for another connection",
        "tls" => "; its certificate is not believed, or it does not speak TLS",
        "status-404" => "; it does not know the channel",
        _ => "",
    };
    format!("{class}{more}")
}

/// Waits for progress, not for the end.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn renew(&mut self) {
        self.0 = Instant::now();
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > PATIENCE
    }
}

const TIMER: Token = usize::MAX;
/// Sixteen chunks of 16 KiB; a subscriber that fell behind catches up in few reads.
const READ_BYTES: usize = 256 << 10;
/// How often a worker looks whether it is to stop.
const GLANCE_MS: u32 = 50;
/// Connections that are being made at a time.
const CONNECTING_MAX: usize = 64;
/// How long it may take to make some of them.
const PATIENCE: Duration = Duration::from_secs(10);
/// As go-livepeer's subscribers wait, within 50 ms.
pub(super) const RETRY_NS: u64 = SECOND / 4;
