//! The till: payments that come to a shard over HTTP/1.1 are taken here, without leaving the data plane.
//!
//! ```text
//!   POST /payment                     head ──▶ header to bytes ──▶ Received ──▶ window ──▶ ticket lane
//!   Livepeer-Payment: base64                                                                   │
//!   Livepeer-Segment: base64          answer ◀── control writes the body ◀── Receipt ◀─────────┘
//! ```
//!
//! A connection that asks for something else leaves through the door, as it would have without a till; so do payments with a body, and
//! over HTTP/2, and those that pay nothing: they ask for an offer. The answers are go-livepeer's: 200 when everything was credited; 402 for what is no payment; 403 for what is no purpose;
//! 400 with the reason when any ticket was refused; and 503 where the same may be sent again.
//!
//! Invariants:
//! - A connection has one payment under way. It is answered, or the connection ends.
//! - Every wait has a deadline.

mod head;

use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use link::Receipt;
use ticket::{Blank, Received, Refusal};
use trickle::http::respond::{Head, text_error};
use trickle::{Millis, Waiter};

use super::wire::Wire;
use super::{Shard, door};
use crate::lane::ticket::ShardWindow;
use head::{Order, Request};

/// The longest head: 600 tickets are 62 KB in base64, and their purpose a few more.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// How long the ticket lane may take. It takes milliseconds, or the disk is in trouble.
const ANSWER_MS: u64 = 30_000;
/// Blanks kept for the next payments.
const SPARE_MAX: usize = 256;

pub(super) use head::is_payment;
pub(crate) use head::read as read_head;

/// A shard's till.
pub(crate) struct Till {
    window: RefCell<ShardWindow>,
    /// By key: payments that are under way.
    waiting: RefCell<Vec<Waiting>>,
    free: RefCell<Vec<usize>>,
    spare: RefCell<Vec<Blank>>,
    /// Counts the uses of places, so that a late answer does not reach the next one.
    uses: Cell<u32>,
}

struct Waiting {
    key: u64,
    waiter: Waiter,
    receipt: Option<Receipt>,
}

/// What is answered.
struct Answer {
    status: u16,
    text: String,
    body: Vec<u8>,
}

impl Till {
    pub(crate) fn new(window: ShardWindow) -> Self {
        Self {
            window: RefCell::new(window),
            waiting: RefCell::default(),
            free: RefCell::default(),
            spare: RefCell::default(),
            uses: Cell::new(0),
        }
    }

    /// Passes answers on to the connections that wait for them, until the shard stops.
    pub(crate) async fn run(shard: Rc<Shard>) {
        let Some(till) = &shard.till else { return };
        let bell = till.window.borrow().bell.clone();
        while !shard.stopping.get() {
            let answered =
                poll_fn(|cx| bell.poll_wait(cx, || till.window.borrow().answers.is_due()));
            futures_lite::future::or(answered, async {
                shard.stopped::<()>().await.unwrap_or_default()
            })
            .await;
            while let Some(answer) = { till.window.borrow_mut().answers.pop() } {
                till.keep(answer.blank);
                let mut waiting = till.waiting.borrow_mut();
                let place = usize::try_from(answer.key & u64::from(u32::MAX)).unwrap_or(usize::MAX);
                if let Some(waiting) = waiting
                    .get_mut(place)
                    .filter(|waiting| waiting.key == answer.key)
                {
                    waiting.receipt = Some(answer.receipt);
                    shard.sleepers.wake(waiting.waiter);
                }
            }
            if till.window.borrow().answers.is_abandoned() {
                return;
            }
        }
    }

    fn keep(&self, blank: Blank) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(blank);
        }
    }

    /// Hands a payment in.
    fn pay(&self, payment: Received, source: u64, waiter: Waiter) -> Result<Ticket<'_>, Refusal> {
        let place = self.free.borrow_mut().pop();
        let mut waiting = self.waiting.borrow_mut();
        let place = place.unwrap_or(waiting.len());
        self.uses.set(self.uses.get().wrapping_add(1));
        let key = u64::from(self.uses.get()) << 32 | place as u64;
        let entry = Waiting {
            key,
            waiter,
            receipt: None,
        };
        match waiting.get_mut(place) {
            Some(old) => *old = entry,
            None => waiting.push(entry),
        }
        drop(waiting);
        // Given back when this is dropped, whatever happens.
        let ticket = Ticket { till: self, place };
        match self.window.borrow_mut().pay(payment, source, key) {
            Ok(()) => Ok(ticket),
            Err(blank) => {
                self.keep(blank);
                Err(Refusal::Busy)
            }
        }
    }
}

/// The right to an answer.
struct Ticket<'a> {
    till: &'a Till,
    place: usize,
}

impl Ticket<'_> {
    fn receipt(&self) -> Option<Receipt> {
        self.till.waiting.borrow_mut()[self.place].receipt.take()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // A key that no answer has.
        self.till.waiting.borrow_mut()[self.place].key = u64::MAX;
        self.till.free.borrow_mut().push(self.place);
    }
}

/// Serves a connection whose next request is a payment, for as long as it pays.
pub(super) async fn serve(shard: &Rc<Shard>, wire: Wire, inbox: Vec<u8>) {
    let waiter = shard.sleepers.register();
    let mut counter = Counter {
        source: source(&wire),
        shard,
        wire,
        inbox,
        waiter,
        body: Vec::new(),
        token: Vec::new(),
    };
    let elsewhere = loop {
        match counter.serve_one().await {
            Ok(Next::Again) => {}
            Ok(Next::Elsewhere) => break true,
            Ok(Next::Close) | Err(_) => break false,
        }
    };
    shard.sleepers.unregister(waiter);
    let Counter { wire, inbox, .. } = counter;
    if elsewhere {
        door::leave(shard, wire, inbox);
    }
}

/// Who pays, as far as turns are concerned: a host.
fn source(wire: &Wire) -> u64 {
    let mut hasher = DefaultHasher::new();
    wire.stream.peer().map(|peer| peer.ip()).hash(&mut hasher);
    hasher.finish()
}

enum Next {
    Again,
    Elsewhere,
    Close,
}

/// One connection at the till.
struct Counter<'a> {
    shard: &'a Rc<Shard>,
    wire: Wire,
    inbox: Vec<u8>,
    waiter: Waiter,
    source: u64,
    body: Vec<u8>,
    /// The auth token that came with the payment under way.
    token: Vec<u8>,
}

impl Counter<'_> {
    async fn serve_one(&mut self) -> io::Result<Next> {
        let request = match self.read_head().await? {
            Some(request) => request,
            None => return Ok(Next::Close),
        };
        let (order, keep_alive) = match request {
            Request::Elsewhere => return Ok(Next::Elsewhere),
            Request::Refused(status, text) => {
                self.send(&Answer::text(status, text.to_owned()), false)
                    .await?;
                return Ok(Next::Close);
            }
            Request::Payment {
                order,
                keep_alive,
                head_bytes,
            } => {
                self.inbox.drain(..head_bytes);
                (order, keep_alive)
            }
        };
        let answer = match order {
            Order::Pay(payment) => self.pay(payment).await,
            Order::Bad(status, text) => Answer::text(status, text),
        };
        self.send(&answer, keep_alive).await?;
        self.body = answer.body;
        Ok(if keep_alive { Next::Again } else { Next::Close })
    }

    fn till(&self) -> &Till {
        self.shard
            .till
            .as_ref()
            .unwrap_or_else(|| unreachable!("only shards with a till serve at it"))
    }

    /// Reads until a head is whole. `None`: the connection is over.
    async fn read_head(&mut self) -> io::Result<Option<Request>> {
        let limits = &self.shard.config.limits;
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let began = self.shard.now();
        let (idle, head) = (ms(limits.keep_alive), ms(limits.head));
        loop {
            let till = &self.shard.till;
            let spare = || {
                till.as_ref()
                    .and_then(|till| till.spare.borrow_mut().pop())
                    .unwrap_or_default()
            };
            let mut token = std::mem::take(&mut self.token);
            let parsed = head::parse(&self.inbox, spare, &mut token);
            self.token = token;
            match parsed {
                Some(request) => return Ok(Some(request)),
                None if self.inbox.len() > HEAD_BYTES_MAX => {
                    return Ok(Some(Request::Refused(431, "Request header too large")));
                }
                None => {}
            }
            let deadline = began.plus(if self.inbox.is_empty() { idle } else { head });
            if self.read(deadline).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads what is there. 0: the peer has finished, or the time is over, or the shard stops.
    async fn read(&mut self, deadline: Millis) -> io::Result<usize> {
        let Self {
            shard,
            wire,
            inbox,
            waiter,
            ..
        } = self;
        poll_fn(|cx| {
            let mut scratch = shard.scratch.borrow_mut();
            let scratch = &mut *scratch;
            match wire.poll_read(cx, &mut scratch.clear, &mut scratch.cipher) {
                Poll::Ready(read) => {
                    shard.note_event();
                    Poll::Ready(read.inspect(|&n| inbox.extend_from_slice(&scratch.clear[..n])))
                }
                Poll::Pending => sleep(shard, *waiter, cx, deadline).map(|()| Ok(0)),
            }
        })
        .await
    }

    async fn pay(&mut self, payment: Received) -> Answer {
        let deadline = self.shard.now().plus(ANSWER_MS);
        let ticket = match self.till().pay(payment, self.source, self.waiter) {
            Ok(ticket) => ticket,
            Err(why) => return Answer::refused(why),
        };
        let receipt = poll_fn(|cx| match ticket.receipt() {
            Some(receipt) => Poll::Ready(Some(receipt)),
            None => sleep(self.shard, self.waiter, cx, deadline).map(|()| None),
        })
        .await;
        drop(ticket);
        let Some(receipt) = receipt else {
            return Answer::refused(Refusal::NotRecorded);
        };
        if let Some(why) = receipt.refused {
            return Answer::refused(why);
        }
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        self.shard.control.receipt(&receipt, &self.token, &mut body);
        Answer::ok(body)
    }

    async fn send(&mut self, answer: &Answer, keep_alive: bool) -> io::Result<()> {
        let (head, body) = match answer.status {
            200 => {
                let head = Head::new(200).field("Content-Type", "application/octet-stream");
                (head, &answer.body[..])
            }
            status => (text_error(status, "").0, answer.text.as_bytes()),
        };
        let close = (!keep_alive).then_some("close");
        let head = head
            .field_if("Connection", close)
            .field("Content-Length", body.len())
            .end();
        let deadline = self.shard.now().plus(ANSWER_MS);
        let mut sent = 0;
        let Self {
            shard,
            wire,
            waiter,
            ..
        } = self;
        poll_fn(|cx| {
            while sent < head.len() + body.len() {
                let (front, back) = (
                    &head[sent.min(head.len())..],
                    &body[sent.saturating_sub(head.len())..],
                );
                match wire.poll_send(cx, &[front, back])? {
                    Poll::Ready(n) => sent += n,
                    Poll::Pending => return late(shard, *waiter, cx, deadline),
                }
            }
            match wire.poll_flush(cx)? {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => late(shard, *waiter, cx, deadline),
            }
        })
        .await
    }
}

/// Ready when the time is over or the shard stops; else the task is woken then.
fn sleep(shard: &Shard, waiter: Waiter, cx: &Context<'_>, deadline: Millis) -> Poll<()> {
    if shard.now() >= deadline || shard.stopping.get() {
        return Poll::Ready(());
    }
    shard.sleepers.sleep(waiter, cx.waker(), Some(deadline));
    Poll::Pending
}

fn late(shard: &Shard, waiter: Waiter, cx: &Context<'_>, deadline: Millis) -> Poll<io::Result<()>> {
    sleep(shard, waiter, cx, deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
}

impl Answer {
    fn ok(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            text: String::new(),
            body,
        }
    }

    fn text(status: u16, mut text: String) -> Self {
        text.push('\n');
        Self {
            status,
            text,
            body: Vec::new(),
        }
    }

    fn refused(why: Refusal) -> Self {
        Self::text(why.status(), why.to_string())
    }
}
