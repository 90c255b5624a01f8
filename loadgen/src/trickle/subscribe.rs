//! A subscriber: one GET a segment, the next one asked for as soon as this one has begun.
//!
//! | answer | what a subscriber does, as real ones do |
//! |---|---|
//! | 200 | reads along; asks for the next |
//! | 200, `Lp-Trickle-Closed` | the stream is over |
//! | 404 | the stream is over |
//! | 470 | jumps to `Lp-Trickle-Latest`, after a pause |
//! | others, or the connection breaks | asks for the same segment again, after a pause |
//!
//! Order is judged within a segment alone: segments come on connections of their own, and which of two is read first says nothing.

use std::cmp::Reverse;

use super::clients::{Audience, Clients, Order, RETRY_NS, Retry};
use super::seen::Seen;
use super::wire::{Ask, Awaits, Segment};
use crate::clock;
use crate::http::Head;
use crate::net::Token;

/// A subscriber of a channel.
#[derive(Debug)]
pub(super) struct Subscriber {
    channel: usize,
    /// Tells it from an earlier one of the same index.
    born_ns: u64,
    pub(super) idle: Vec<Token>,
    /// Its requests that are under way.
    asking: Vec<Token>,
    /// The highest segment that has begun, or -1.
    begun: i64,
    seen: Seen,
    last_ns: u64,
    /// The segment before was empty.
    was_empty: bool,
    is_over: bool,
    /// It goes when a segment ends.
    is_leaving: bool,
}

impl<A: Audience> Clients<A> {
    /// A new subscriber, who asks for `seq` at once.
    pub(crate) fn subscribe(&mut self, channel: usize, seq: i64, now_ns: u64) -> usize {
        let subscriber = Subscriber {
            channel,
            born_ns: now_ns,
            idle: Vec::new(),
            asking: Vec::new(),
            begun: -1,
            seen: Seen::default(),
            last_ns: 0,
            was_empty: false,
            is_over: false,
            is_leaving: false,
        };
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.subscribers.push(None);
            self.subscribers.len() - 1
        });
        self.subscribers[index] = Some(subscriber);
        self.get(index, seq.into());
        index
    }

    /// A subscriber goes, in the middle of whatever it is doing.
    pub(crate) fn unsubscribe(&mut self, index: usize) {
        if let Some(subscriber) = self.subscribers[index].take() {
            for token in subscriber.asking.into_iter().chain(subscriber.idle) {
                self.wire.close(token);
            }
            self.vacant.push(index);
        }
    }

    /// A subscriber goes at the end of the segment that it reads.
    pub(crate) fn unsubscribe_at_segment_end(&mut self, index: usize) {
        if let Some(subscriber) = &mut self.subscribers[index] {
            subscriber.is_leaving = true;
        }
    }

    /// Those who wanted to ask again by now do.
    pub(super) fn ask_again(&mut self, now_ns: u64) {
        while let Some(Reverse(retry)) = self.retries.peek().copied()
            && retry.at_ns <= now_ns
        {
            self.retries.pop();
            let is_there = self
                .subscribers
                .get(retry.subscriber)
                .and_then(Option::as_ref)
                .is_some_and(|s| s.born_ns == retry.born_ns && !s.is_over);
            if is_there {
                self.get(retry.subscriber, retry.ask);
            }
        }
    }

    fn get(&mut self, index: usize, ask: Ask) {
        let Some(subscriber) = &mut self.subscribers[index] else {
            return;
        };
        let line = format!("GET {}/{}", self.channels[subscriber.channel].path, ask.seq);
        let awaits = Awaits::Segment(Box::new(Segment::new(index, ask)));
        match self.wire.request(&mut subscriber.idle, &line, "", awaits) {
            Ok(token) => subscriber.asking.push(token),
            Err(class) => {
                self.book.error(class);
                self.get_later(index, ask);
            }
        }
    }

    fn get_later(&mut self, index: usize, ask: Ask) {
        if let Some(subscriber) = &self.subscribers[index]
            && !subscriber.is_over
        {
            self.retries.push(Reverse(Retry {
                at_ns: clock::now_ns() + RETRY_NS,
                subscriber: index,
                born_ns: subscriber.born_ns,
                ask,
            }));
        }
    }

    /// Asks for what comes after `seq`; after a pause when segments are empty, of which a broken server has any number.
    fn get_next(&mut self, index: usize, seq: i64) {
        let next = seq.saturating_add(1).into();
        match &self.subscribers[index] {
            Some(subscriber) if subscriber.is_over => {}
            Some(subscriber) if subscriber.was_empty => self.get_later(index, next),
            _ => self.get(index, next),
        }
    }

    /// Whether the segment is wanted.
    pub(super) fn handle_segment_head(&mut self, segment: &mut Segment, head: &Head) -> bool {
        let index = segment.subscriber;
        let Some(subscriber) = &mut self.subscribers[index] else {
            return false;
        };
        segment.has_head = true;
        let asked = segment.ask.seq;
        let seq = head.seq.or((asked >= 0).then_some(asked));
        match (head.status, seq) {
            (200, _) if head.is_closed => self.handle_over(index, "closed"),
            (200, Some(seq)) => {
                if asked >= 0 && asked != seq {
                    self.book.error("wrong-seq");
                }
                segment.ask.seq = seq;
                segment.ask.is_repeat |= seq <= subscriber.begun;
                subscriber.begun = subscriber.begun.max(seq);
                if self.is_preconnecting
                    && !segment.ask.has_successor
                    && subscriber.asking.len() < ASKING_MAX
                {
                    segment.ask.has_successor = true;
                    self.get_next(index, seq);
                }
                return true;
            }
            (404, _) => self.handle_over(index, "status-404"),
            (470, _) => {
                self.book.error("status-470");
                if !segment.ask.has_successor {
                    let begun = subscriber.begun;
                    let latest = head.latest.map_or(-1, |latest| latest.max(begun + 1));
                    self.get_later(index, latest.into());
                }
            }
            (200, None) => {
                self.book.error("malformed");
                self.get_later(index, segment.ask);
            }
            (status, _) => {
                self.book.error(&format!("status-{status}"));
                self.get_later(index, segment.ask);
            }
        }
        false
    }

    fn handle_over(&mut self, index: usize, class: &str) {
        if let Some(subscriber) = &mut self.subscribers[index]
            && !std::mem::replace(&mut subscriber.is_over, true)
        {
            self.book.error(class);
            self.audience.handle_over(index, clock::now_ns());
        }
    }

    pub(super) fn handle_payload(&mut self, segment: &mut Segment, payload: &[u8], now_ns: u64) {
        let index = segment.subscriber;
        let (Some(subscriber), Some(meter)) = (&mut self.subscribers[index], &mut self.book.meter)
        else {
            return;
        };
        let channel = &self.channels[subscriber.channel];
        if !std::mem::replace(&mut segment.has_body, true) {
            self.audience.handle_first_byte(index, now_ns, meter);
        }
        self.audience
            .handle_payload(payload.len() as u64, now_ns, meter);
        let arrived = &mut self.arrived;
        segment
            .reader
            .handle_bytes(payload, now_ns, &channel.pattern, |chunk| {
                arrived.push(chunk);
            });
        for chunk in arrived.drain(..) {
            if !chunk.intact || chunk.group != channel.group {
                self.audience.handle_corrupt(&chunk, meter);
                continue;
            }
            let is_in_turn = segment.highest.is_none_or(|highest| chunk.number > highest)
                && channel.seq_of(chunk.number) == segment.ask.seq;
            let order = match (subscriber.seen.insert(chunk.number), is_in_turn) {
                (true, true) => Order::InTurn,
                (true, false) => Order::Late,
                (false, _) if segment.ask.is_repeat => Order::Repeated,
                (false, _) => Order::Again,
            };
            segment.highest = segment.highest.max(Some(chunk.number));
            let before_ns = std::mem::replace(&mut subscriber.last_ns, chunk.last_ns);
            self.audience
                .handle_chunk(index, &chunk, order, before_ns, meter);
        }
    }

    /// A segment is complete; its connection has gone back to the pool, or not.
    pub(super) fn handle_segment_end(
        &mut self,
        token: Token,
        segment: &Segment,
        is_pooled: bool,
        now_ns: u64,
    ) {
        let index = segment.subscriber;
        self.forget(index, token);
        let Some(subscriber) = &mut self.subscribers[index] else {
            return;
        };
        if is_pooled {
            subscriber.idle.push(token);
        }
        subscriber.was_empty = !segment.has_body;
        if let Some(meter) = &mut self.book.meter {
            if !segment.has_body {
                meter.record_more(now_ns, "empty_segments", 1);
            }
            if !segment.reader.is_at_boundary() {
                self.audience.handle_truncated(now_ns, meter);
            }
        }
        if self.subscribers[index]
            .as_ref()
            .is_some_and(|s| s.is_leaving)
        {
            self.unsubscribe(index);
            self.audience.handle_left(index);
        } else if !segment.ask.has_successor {
            self.get_next(index, segment.ask.seq);
        }
    }

    pub(super) fn lose_segment(
        &mut self,
        token: Token,
        segment: &Segment,
        class: &str,
        is_crossing: bool,
    ) {
        self.forget(segment.subscriber, token);
        if is_crossing {
            self.book.more("reconnects");
            return self.get(segment.subscriber, segment.ask);
        }
        self.book.error(class);
        let ask = Ask {
            is_repeat: segment.has_head,
            ..segment.ask
        };
        self.get_later(segment.subscriber, ask);
    }

    /// A request of a subscriber's is no longer under way.
    pub(super) fn forget(&mut self, index: usize, token: Token) {
        if let Some(subscriber) = &mut self.subscribers[index] {
            subscriber.asking.retain(|&asking| asking != token);
        }
    }
}

/// A segment that is read, the next that has begun, and the one after it that is waited for.
const ASKING_MAX: usize = 3;
