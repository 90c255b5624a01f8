//! One client connection, as a machine without a socket.
//!
//! The driver asks [`Conn::wants`] where the next bytes shall go and hands them over: request heads as plain bytes, payload
//! as spans of a page that all readers will share. What must be sent is offered as slices ([`Conn::with_output`]), so that one
//! gathered write takes heads, chunk lines and payload from where they lie. Nothing is sent or woken inside a call.
//!
//! ```text
//!            head complete                      body complete, or turned away
//!   ┌─ Idle ───────────────▶ Publish ─────────────────────────────────┐
//!   │    ├─────────────────▶ Subscribe: parked ─▶ streaming ──────────┤
//!   │    └─────────────────▶ (answered at once) ─▶ Discard the body ──┤
//!   │                                                                 ▼
//!   └◀───────── keep-alive ───────────────────────────────────── answered ──▶ Linger ──▶ Closed
//! ```
//!
//! Invariants:
//! - A publisher's place in its segment is given up exactly once: finished, left or aborted.
//! - No response head leaves for a parked subscriber before its segment has a byte or an end.
//! - At most one provisional response waits to be sent; a client that does not read cannot make the outbox grow.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::channel::ChannelRef;
use crate::http::respond::{CONTINUE, Head, SEGMENT_MISSING, text_error};
use crate::http::{Body, Piece};
use crate::hub::{Appended, Hub, Published, Publisher, Seq, Subscribed};
use crate::request::{Action, Parsed, Request, parse};
use crate::segment::SegmentRef;
use crate::{Millis, Span, Waiter};

mod answer;
mod deliver;

use deliver::Delivery;

/// How often a parked publisher is told to go on waiting. Older Go clients count these: never faster than this.
pub const CONTINUE_MS: u64 = 10_000;
/// How long a connection that was answered early stays half open, so that the answer is not lost in a reset.
pub const LINGER_MS: u64 = 2_000;
/// How long a client may take to read a short answer.
pub const ANSWER_MS: u64 = 60_000;
/// The longest unwanted request body that is read for the sake of keeping the connection.
const DISCARD_BYTES_MAX: u32 = 64 << 10;
/// How many bytes of following requests are kept while one is being served; more ends the connection.
const PIPELINE_BYTES_MAX: usize = 4 << 10;
/// Slices offered in one gathered write.
pub const SLICES_MAX: usize = 24;

/// A connection's time bounds, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two requests.
    pub keep_alive_ms: u64,
    /// From the first byte of a head to its last.
    pub head_ms: u64,
    /// Without progress, for a reader whose segment has left its slot.
    pub lag_ms: u64,
    /// The longest head, in bytes.
    pub head_bytes_max: usize,
}

/// Where the next bytes from the client shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// To [`Conn::handle_bytes`].
    Bytes,
    /// Into a page, and the span of it to [`Conn::handle_span`].
    Span,
    /// Nowhere yet: the client must first read what it was sent.
    Drain,
    /// The connection is over; close the socket.
    Close,
}

/// What the head that was just completed asks for.
#[derive(Debug)]
pub enum Step {
    /// Nothing new to decide.
    Continue,
    /// A trickle request. If its channel lives here, call [`Conn::begin`]; else move the connection to its owner.
    Request(Box<Request>),
    /// Not trickle: the connection leaves through the door.
    Elsewhere,
}

/// One client connection.
#[derive(Debug)]
pub struct Conn<S> {
    waiter: Waiter,
    ticket: Option<u32>,
    timing: Timing,
    phase: Phase<S>,
    /// Bytes of a head that is not complete, or of the request after this one.
    inbox: Vec<u8>,
    head_bytes: usize,
    /// Bytes of the inbox that were looked at and found to be no whole head.
    looked_at: usize,
    outbox: Vec<u8>,
    sent: usize,
    /// When the present wait began.
    since: Millis,
    requests: u32,
    was_refused: bool,
}

#[derive(Debug)]
enum Phase<S> {
    /// Waiting for a request, or for the rest of its head.
    Idle,
    /// A head is complete and was handed out; waiting for the driver's decision.
    Decide,
    Publish(Box<Publish<S>>),
    Subscribe(Box<Subscribe<S>>),
    /// Answered; the unwanted rest of the request body is read away.
    Discard {
        body: Body,
        left: u32,
    },
    /// Answered with `Connection: close`; waiting for the client to close, or for the time to pass.
    Linger,
    Closed,
}

#[derive(Debug)]
struct Publish<S> {
    publisher: Publisher<S>,
    body: Body,
    seq: u64,
    keep_alive: bool,
    http11: bool,
    /// When a provisional response is due, while no byte has come.
    continue_at: Millis,
}

#[derive(Debug)]
struct Subscribe<S> {
    channel: ChannelRef<S>,
    segment: SegmentRef<S>,
    latest: u64,
    keep_alive: bool,
    head_only: bool,
    delivery: Delivery,
}

impl<S: Span> Conn<S> {
    /// A fresh connection. `waiter` is how hubs name it.
    pub fn new(waiter: Waiter, timing: Timing, now: Millis) -> Self {
        Self {
            waiter,
            ticket: None,
            timing,
            phase: Phase::Idle,
            inbox: Vec::new(),
            head_bytes: 0,
            looked_at: 0,
            outbox: Vec::new(),
            sent: 0,
            since: now,
            requests: 0,
            was_refused: false,
        }
    }

    /// Where the next bytes shall go.
    pub fn wants(&self) -> Wants {
        match &self.phase {
            Phase::Closed => Wants::Close,
            Phase::Idle | Phase::Decide | Phase::Discard { .. } | Phase::Linger
                if !self.outbox.is_empty() =>
            {
                Wants::Drain
            }
            Phase::Publish(_) => Wants::Span,
            _ => Wants::Bytes,
        }
    }

    /// Whether a segment is being sent, or waited for.
    pub const fn is_subscribed(&self) -> bool {
        matches!(self.phase, Phase::Subscribe(_))
    }

    /// Whether something waits to be sent.
    pub fn has_output(&self) -> bool {
        let pending =
            |subscribe: &Subscribe<S>| subscribe.delivery.is_pending(&subscribe.segment.borrow());
        !self.outbox.is_empty()
            || matches!(&self.phase, Phase::Subscribe(subscribe) if pending(subscribe))
    }

    /// Whether the write side may be shut down: all is sent and nothing will follow.
    pub fn is_finished_writing(&self) -> bool {
        matches!(self.phase, Phase::Linger) && self.outbox.is_empty()
    }

    /// Whether bytes of a next request are at hand and may be looked at: call [`Conn::handle_bytes`] with nothing new.
    pub fn has_request_bytes(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.outbox.is_empty()
            && self.inbox.len() > self.looked_at
    }

    /// Whether a request on this connection was not understood.
    pub const fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Requests served or begun on this connection.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether nothing but the start of a request has happened, so that the connection may be given away whole.
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Decide)
    }

    /// Takes every byte received and not yet used: for whoever serves this connection instead.
    pub fn take_unused(&mut self) -> Vec<u8> {
        self.phase = Phase::Closed;
        core::mem::take(&mut self.inbox)
    }

    /// Takes over bytes that were received elsewhere, before anything else is handled.
    pub fn inherit(&mut self, unread: Vec<u8>) {
        self.inbox = unread;
    }

    /// Takes back early body bytes that turned out to belong to what follows.
    pub fn give_back(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Idle) {
            self.inbox.extend_from_slice(bytes);
        }
    }

    /// Whether it publishes and has sent payload before: the next bytes are likely to be many.
    pub fn is_publishing_more(&self) -> bool {
        matches!(&self.phase, Phase::Publish(publish) if publish.publisher.started)
    }

    // === what came ===

    /// Takes bytes from the client, or with an empty slice looks again at those it has.
    pub fn handle_bytes(&mut self, base: &str, bytes: &[u8], now: Millis) -> Step {
        match &mut self.phase {
            // Who floods a parked request must not be left unread either: its going would go unnoticed.
            Phase::Subscribe(_) if self.inbox.len() + bytes.len() > PIPELINE_BYTES_MAX => {
                self.stop_waiting();
                self.phase = Phase::Closed;
                Step::Continue
            }
            Phase::Idle | Phase::Subscribe(_) => {
                if self.inbox.is_empty() && !bytes.is_empty() && matches!(self.phase, Phase::Idle) {
                    self.since = now;
                }
                self.inbox.extend_from_slice(bytes);
                if matches!(self.phase, Phase::Idle) && self.outbox.is_empty() {
                    self.look(base, now)
                } else {
                    Step::Continue
                }
            }
            Phase::Discard { body, left } => {
                let mut at = 0;
                *left = left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                let spent = *left == 0;
                let done = loop {
                    match body.next(bytes, &mut at) {
                        Ok(Piece::Payload(_)) => {}
                        Ok(Piece::More) => break None,
                        Ok(Piece::Done(at)) => break Some(at),
                        Err(_) => break Some(usize::MAX),
                    }
                };
                match done {
                    Some(at) if at <= bytes.len() => {
                        self.inbox.extend_from_slice(&bytes[at..]);
                        self.idle(now);
                        return self.look(base, now);
                    }
                    Some(_) => self.linger(now),
                    None if spent => self.linger(now),
                    None => {}
                }
                Step::Continue
            }
            _ => Step::Continue,
        }
    }

    fn look(&mut self, base: &str, now: Millis) -> Step {
        // RFC 9112 section 2.2: empty lines before a request are skipped.
        let blank = self
            .inbox
            .iter()
            .take_while(|b| matches!(b, b'\r' | b'\n'))
            .count();
        self.inbox.drain(..blank);
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
            return Step::Continue;
        }
        match parse(base, &self.inbox) {
            Parsed::Partial if self.inbox.len() > self.timing.head_bytes_max => {
                self.refuse(431, "Request header too large", now)
            }
            Parsed::Partial => self.looked_at = self.inbox.len(),
            Parsed::Bad(status, why) => self.refuse(status, why, now),
            Parsed::Elsewhere => {
                self.phase = Phase::Decide;
                return Step::Elsewhere;
            }
            Parsed::Trickle { head_bytes, .. } if head_bytes > self.timing.head_bytes_max => {
                self.refuse(431, "Request header too large", now);
            }
            Parsed::Trickle {
                request,
                head_bytes,
            } => {
                self.head_bytes = head_bytes;
                self.phase = Phase::Decide;
                return Step::Request(Box::new(request));
            }
        }
        Step::Continue
    }

    /// Serves the request that was handed out.
    pub fn begin(&mut self, hub: &mut Hub<S>, request: Request, now: Millis) {
        self.requests += 1;
        self.inbox.drain(..self.head_bytes);
        self.looked_at = 0;
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        self.since = now;
        match request.action {
            Action::Create => {
                let outcome = hub.create_remotely(
                    &request.name,
                    &request.mime,
                    request.token.as_deref(),
                    now,
                );
                self.answer_outcome(&request, outcome, now);
            }
            Action::DeleteChannel => {
                let outcome = hub.delete_remotely(&request.name, request.token.as_deref());
                self.answer_outcome(&request, outcome, now);
            }
            Action::DeleteSegment(seq) => {
                let outcome = hub.close_segment(&request.name, seq);
                self.answer_outcome(&request, outcome, now);
            }
            Action::Next => self.answer_next(hub, &request, now),
            Action::Publish(seq) => self.begin_publish(hub, &request, seq, now),
            Action::Subscribe(seq) => self.begin_subscribe(hub, &request, seq, now),
            Action::BadSeq => self.answer_error(&request, 400, "Invalid idx", now),
            Action::UnknownPath => self.answer_error(&request, 404, "404 page not found", now),
            Action::NotAllowed(allow) => {
                let (head, body) = text_error(405, "Method Not Allowed");
                self.answer(&request, head.field("Allow", allow), &body, now);
            }
        }
    }

    fn begin_publish(&mut self, hub: &mut Hub<S>, request: &Request, seq: Seq, now: Millis) {
        match hub.publish(
            &request.name,
            seq,
            request.reset,
            &request.mime,
            request.token.as_deref(),
            now,
        ) {
            Err(refusal) => {
                // The close wakes clients that opened this request long before they have anything to send.
                let (status, text) = refusal.answer();
                self.refuse(status, text, now);
            }
            Ok(Published::Stale { seq }) => self.turn_away(200, seq, false, now),
            Ok(Published::Open(publisher)) => {
                if request.expects_continue {
                    self.outbox.extend_from_slice(CONTINUE);
                }
                let seq = publisher.segment.borrow().seq();
                self.phase = Phase::Publish(Box::new(Publish {
                    publisher,
                    body: request.body,
                    seq,
                    keep_alive: request.keep_alive,
                    http11: request.http11,
                    continue_at: now.plus(CONTINUE_MS),
                }));
                self.handle_wake(hub, now);
                if request.body == Body::Done && matches!(self.phase, Phase::Publish(_)) {
                    self.end_publish(hub, now);
                }
            }
        }
    }

    fn begin_subscribe(&mut self, hub: &mut Hub<S>, request: &Request, seq: Seq, now: Millis) {
        match hub.subscribe(&request.name, seq) {
            Err(refusal) => {
                let (status, text) = refusal.answer();
                self.answer_error(request, status, text, now);
            }
            Ok(Subscribed::Missing {
                latest,
                seq: resolved,
            }) => {
                let raw = match seq {
                    Seq::At(n) => i64::try_from(n).unwrap_or(i64::MAX),
                    Seq::Next => -1,
                    Seq::Current => -2,
                };
                let head = Head::new(SEGMENT_MISSING)
                    .field("Lp-Trickle-Latest", latest)
                    .field("Lp-Trickle-Seq", raw)
                    .field("Lp-Trickle-Resolved", resolved);
                self.answer(request, head, "Entry not found", now);
            }
            Ok(Subscribed::Found {
                channel,
                segment,
                latest,
            }) => {
                // A body on a GET means nothing and is not waited for: such a connection ends with its answer.
                let keep_alive = request.keep_alive && request.body == Body::Done;
                let delivery = Delivery::new(request.http11, now);
                let head_only = request.head_only;
                self.phase = Phase::Subscribe(Box::new(Subscribe {
                    channel,
                    segment,
                    latest,
                    keep_alive,
                    head_only,
                    delivery,
                }));
                self.handle_wake(hub, now);
            }
        }
    }

    /// Takes payload that lies in a page. Call only when [`Wants::Span`] was said.
    pub fn handle_span(&mut self, hub: &mut Hub<S>, span: &S, now: Millis) {
        let Phase::Publish(publish) = &mut self.phase else {
            return;
        };
        let bytes = span.bytes();
        let mut at = 0;
        self.since = now;
        loop {
            match publish.body.next(bytes, &mut at) {
                Ok(Piece::Payload(range)) => {
                    if hub.append(&mut publish.publisher, span.slice(range), now)
                        == Appended::Capped
                    {
                        return self.end_capped(hub, 413, now);
                    }
                }
                Ok(Piece::More) => return,
                Ok(Piece::Done(at)) => {
                    self.inbox.extend_from_slice(&bytes[at..]);
                    return self.end_publish(hub, now);
                }
                Err(_) => {
                    if let Phase::Publish(publish) =
                        core::mem::replace(&mut self.phase, Phase::Closed)
                    {
                        hub.abort(publish.publisher, now);
                    }
                    return self.refuse(400, "Malformed chunked body", now);
                }
            }
        }
    }

    /// Takes the bytes that came along with a publish head; they must be put into a page by the driver.
    pub fn take_early_body(&mut self) -> Vec<u8> {
        match self.phase {
            Phase::Publish(_) => core::mem::take(&mut self.inbox),
            _ => Vec::new(),
        }
    }

    /// No page can be had for this publisher's bytes: ends its segment cleanly and says so.
    pub fn handle_no_page(&mut self, hub: &mut Hub<S>, now: Millis) {
        if let Phase::Publish(publish) = &self.phase {
            hub.cap(&publish.publisher);
            self.end_capped(hub, 507, now);
        }
    }

    /// The client will send nothing more, or the connection broke.
    pub fn handle_eof(&mut self, hub: &mut Hub<S>, now: Millis) {
        self.stop_waiting();
        match core::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Publish(publish) => hub.abort(publish.publisher, now),
            // It may still read its answer.
            Phase::Idle | Phase::Discard { .. } if !self.outbox.is_empty() => {
                self.phase = Phase::Linger
            }
            _ => {}
        }
    }

    /// The segment this connection waits for has changed, or may have.
    pub fn handle_wake(&mut self, hub: &mut Hub<S>, now: Millis) {
        match &mut self.phase {
            Phase::Publish(publish) if !publish.publisher.started => {
                let closed = publish.publisher.segment.borrow().is_closed();
                if closed {
                    self.end_turned_away(hub, now);
                } else {
                    publish
                        .publisher
                        .segment
                        .borrow_mut()
                        .wait(self.waiter, &mut self.ticket);
                }
            }
            Phase::Subscribe(_) => self.wake_subscriber(now),
            _ => {}
        }
    }

    /// A deadline has passed.
    pub fn handle_timeout(&mut self, hub: &mut Hub<S>, now: Millis) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match &mut self.phase {
            Phase::Publish(publish) if !publish.publisher.started => {
                publish.continue_at = now.plus(CONTINUE_MS);
                if self.outbox.is_empty() && publish.http11 {
                    self.outbox.extend_from_slice(CONTINUE);
                }
            }
            Phase::Subscribe(subscribe)
                if !Hub::is_evicted(&subscribe.channel, &subscribe.segment) =>
            {
                subscribe.delivery.look_again(now);
            }
            Phase::Idle if !self.inbox.is_empty() && self.outbox.is_empty() => {
                self.refuse(408, "Request timeout", now)
            }
            // Under TLS a silent end looks like an attack: it is said.
            Phase::Idle if self.outbox.is_empty() => self.linger(now),
            _ => self.close(hub, now),
        }
    }

    /// When [`Conn::handle_timeout`] shall be called, if nothing else happens before.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Linger if self.outbox.is_empty() => Some(self.since.plus(LINGER_MS)),
            // In mid-body silence may be long, but not for ever: it is an idle connection like any other.
            Phase::Publish(publish) if publish.publisher.started => {
                Some(self.since.plus(self.timing.keep_alive_ms))
            }
            Phase::Publish(publish) => Some(publish.continue_at),
            Phase::Subscribe(subscribe) => {
                // Nobody tells a stuck reader when its segment leaves the window, so one that is still held looks again.
                let pending = !self.outbox.is_empty()
                    || subscribe.delivery.is_pending(&subscribe.segment.borrow());
                pending.then(|| subscribe.delivery.progress_at().plus(self.timing.lag_ms))
            }
            _ if !self.outbox.is_empty() => Some(self.since.plus(ANSWER_MS)),
            Phase::Idle if !self.inbox.is_empty() => Some(self.since.plus(self.timing.head_ms)),
            _ => Some(self.since.plus(self.timing.keep_alive_ms)),
        }
    }

    fn stop_waiting(&mut self) {
        let segment = match &self.phase {
            Phase::Publish(publish) => &publish.publisher.segment,
            Phase::Subscribe(subscribe) => &subscribe.segment,
            _ => return,
        };
        if self.ticket.take().is_some() {
            segment.borrow_mut().unwait(self.waiter);
        }
    }

    /// Ends the connection now. Must be called before a connection is dropped.
    pub fn close(&mut self, hub: &mut Hub<S>, now: Millis) {
        self.stop_waiting();
        if let Phase::Publish(publish) = core::mem::replace(&mut self.phase, Phase::Closed) {
            hub.abort(publish.publisher, now);
        }
    }
}

#[cfg(test)]
mod tests;
