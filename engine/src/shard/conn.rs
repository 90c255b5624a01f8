//! The driver: socket → [`trickle::Conn`] → socket.
//!
//! One task a connection, polled by hand. Each poll gathers what came, does it, sends what it can, and rings once. Between
//! requests and while parked it owns no buffer: bytes are read into the shard's scratch or straight into a page, at the moment
//! they are there.
//!
//! A subscriber that is woken for more of its segment is sent it within the ring ([`Prompt`]), and its task sleeps on. Whatever
//! else is to be done, or does not go at once, is left to the task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use handoff::page::{PageMut, Size};
use trickle::conn::Step;
use trickle::{Conn, Millis, Waiter, Wants};

use super::payload::Payload;
use super::tls::Tls;
use super::wake::Prompt;
use super::wire::{Arrival, Entrance, Wire};
use super::{Shard, door, route, till};

/// Steps of one poll before others get a turn.
const TURNS_MAX: usize = 8;
/// A page with less room than this is not read into any more.
const SPARE_BYTES_MIN: usize = 1 << 10;

/// How a connection leaves.
enum Exit {
    /// It is over.
    Done,
    /// Its request is not trickle.
    Elsewhere,
    /// Its channel lives on that shard.
    Move(usize),
}

enum Turn {
    /// Something happened; look again.
    Again,
    /// Nothing to do until woken.
    Wait,
    Exit(Exit),
}

/// Serves a connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, arrival: Arrival) {
    let driver = Rc::new(RefCell::new(Driver::new(shard.clone(), arrival)));
    let waiter = driver.borrow().waiter;
    let prompt: Weak<RefCell<Driver>> = Rc::downgrade(&driver);
    shard.sleepers.attach(waiter, prompt);
    let exit = poll_fn(|cx| {
        // A panic in here must end this connection and no other.
        catch_unwind(AssertUnwindSafe(|| driver.borrow_mut().poll(cx))).unwrap_or_else(|_| {
            shard.counters.add(|c| &mut c.panics, 1);
            Poll::Ready(Exit::Done)
        })
    })
    .await;
    shard.sleepers.unregister(waiter);
    // Others hold it for as long as a call takes, and none of theirs is under way here.
    let Some(driver) = Rc::into_inner(driver) else {
        return;
    };
    let Driver {
        mut conn,
        wire,
        entrance,
        ..
    } = driver.into_inner();
    if conn.was_refused() {
        shard.counters.add(|c| &mut c.bad_requests, 1);
    }
    match exit {
        Exit::Done => conn.close(&mut shard.hub.borrow_mut(), shard.now()),
        Exit::Elsewhere => {
            let unused = conn.take_unused();
            match shard.till.is_some() && till::is_payment(&unused) {
                true => till::serve(&shard, wire, unused).await,
                false => door::leave(&shard, wire, unused),
            }
        }
        Exit::Move(to) => route::send(&shard, to, wire, conn.take_unused(), entrance),
    }
    shard.ring();
}

impl Prompt for RefCell<Driver> {
    fn act(&self) -> bool {
        // Busy when it is the one that rings.
        let Ok(mut driver) = self.try_borrow_mut() else {
            return false;
        };
        match catch_unwind(AssertUnwindSafe(|| driver.deliver())) {
            Ok(is_done) => is_done,
            Err(_) => {
                driver.shard.counters.add(|c| &mut c.panics, 1);
                driver.has_panicked = true;
                false
            }
        }
    }
}

struct Driver {
    shard: Rc<Shard>,
    wire: Wire,
    entrance: Entrance,
    conn: Conn<Payload>,
    waiter: Waiter,
    page: Option<PageMut>,
    /// Whether the sending direction was ended.
    finished: bool,
    /// Whether bytes that came with the connection are still to be looked at.
    inherited: bool,
    /// The socket was full, and the task waits for room.
    is_blocked: bool,
    /// It panicked within a ring; its task ends it.
    has_panicked: bool,
}

impl Driver {
    fn new(shard: Rc<Shard>, arrival: Arrival) -> Self {
        let Arrival {
            stream,
            tls,
            unread,
            entrance,
        } = arrival;
        let waiter = shard.sleepers.register();
        let mut conn = Conn::new(waiter, shard.timing, shard.now());
        conn.inherit(unread);
        Self {
            wire: Wire { stream, tls },
            entrance,
            conn,
            waiter,
            page: None,
            finished: false,
            inherited: true,
            is_blocked: false,
            has_panicked: false,
            shard,
        }
    }

    /// Sends a subscriber what its segment has for it. True when all of it went and there is nothing else to do.
    fn deliver(&mut self) -> bool {
        let shard = self.shard.clone();
        if self.inherited || self.is_blocked {
            return false;
        }
        let now = shard.now();
        // When the socket is full its task is woken, and waits for room with a waker of its own.
        let mut cx = Context::from_waker(Waker::noop());
        self.conn.handle_wake(&mut shard.hub.borrow_mut(), now);
        for _ in 0..TURNS_MAX {
            if !self.conn.is_subscribed() {
                return false;
            }
            let Self { conn, wire, .. } = self;
            match conn.with_output(|slices| wire.poll_send(&mut cx, slices)) {
                Some(Poll::Ready(Ok(sent))) => {
                    let payload = conn.advance(sent, now);
                    if payload > 0 {
                        shard.counters.add(|c| &mut c.bytes_out, payload as u64);
                        shard.counters.add(|c| &mut c.chunks_out, 1);
                    }
                    if self.conn.has_output() {
                        continue;
                    }
                    if !matches!(self.wire.poll_flush(&mut cx), Poll::Ready(Ok(()))) {
                        return false;
                    }
                    self.conn.handle_wake(&mut shard.hub.borrow_mut(), now);
                }
                Some(Poll::Pending) => {
                    self.is_blocked = true;
                    return false;
                }
                // The task will find out what is wrong.
                Some(Poll::Ready(Err(_))) => return false,
                None => {
                    shard.note_event();
                    shard
                        .sleepers
                        .keep_deadline(self.waiter, self.conn.deadline());
                    return true;
                }
            }
        }
        false
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        if self.has_panicked {
            return Poll::Ready(Exit::Done);
        }
        let shard = self.shard.clone();
        let now = shard.now();
        shard.note_event();
        if shard.sleepers.take_woken(self.waiter) {
            let mut hub = shard.hub.borrow_mut();
            self.conn.handle_wake(&mut hub, now);
            self.conn.handle_timeout(&mut hub, now);
        }
        let mut turns = 0;
        let outcome = loop {
            match self.turn(cx, now) {
                Ok(Turn::Again) if turns < TURNS_MAX => turns += 1,
                Ok(Turn::Again) => {
                    cx.waker().wake_by_ref();
                    break Poll::Pending;
                }
                Ok(Turn::Wait) => break Poll::Pending,
                Ok(Turn::Exit(exit)) => break Poll::Ready(exit),
                Err(_) => {
                    if self.wire.tls.as_ref().is_some_and(Tls::is_handshaking) {
                        shard.counters.add(|c| &mut c.tls_failures, 1);
                    }
                    self.conn
                        .handle_eof(&mut shard.hub.borrow_mut(), shard.now());
                    break Poll::Ready(Exit::Done);
                }
            }
        };
        shard.ring();
        if outcome.is_pending() && shard.stopping.get() && !self.conn.has_output() {
            return Poll::Ready(Exit::Done);
        }
        if outcome.is_pending() {
            shard
                .sleepers
                .sleep(self.waiter, cx.waker(), self.conn.deadline());
        }
        outcome
    }

    fn turn(&mut self, cx: &mut Context<'_>, now: Millis) -> io::Result<Turn> {
        if self.inherited {
            self.inherited = false;
            return Ok(self.look(&[]));
        }
        let shard = self.shard.clone();
        let Self { conn, wire, .. } = self;
        match conn.with_output(|slices| wire.poll_send(cx, slices)) {
            Some(Poll::Ready(sent)) => {
                self.is_blocked = false;
                let payload = conn.advance(sent?, now);
                if payload > 0 {
                    shard.counters.add(|c| &mut c.bytes_out, payload as u64);
                    shard.counters.add(|c| &mut c.chunks_out, 1);
                }
                if conn.has_output() {
                    return Ok(Turn::Again);
                }
                self.settle(cx, now)?;
            }
            Some(Poll::Pending) => self.is_blocked = true,
            None => self.settle(cx, now)?,
        }
        if self.conn.has_request_bytes() {
            return Ok(self.look(&[]));
        }
        match self.conn.wants() {
            Wants::Close => Ok(Turn::Exit(Exit::Done)),
            Wants::Drain => Ok(Turn::Wait),
            Wants::Bytes => self.read_bytes(cx),
            Wants::Span => self.read_span(cx),
        }
    }

    /// All is sent: nothing may stay behind in TLS, and the hub must know whom to wake.
    fn settle(&mut self, cx: &mut Context<'_>, now: Millis) -> io::Result<()> {
        if let Poll::Ready(flushed) = self.wire.poll_flush(cx) {
            flushed?;
            if self.conn.is_finished_writing() && !self.finished {
                self.finished = self.wire.poll_finish(cx).is_ready();
            }
        }
        self.conn.handle_wake(&mut self.shard.hub.borrow_mut(), now);
        Ok(())
    }

    fn read_bytes(&mut self, cx: &mut Context<'_>) -> io::Result<Turn> {
        let shard = self.shard.clone();
        let mut scratch = shard.scratch.borrow_mut();
        let scratch = &mut *scratch;
        match self
            .wire
            .poll_read(cx, &mut scratch.clear, &mut scratch.cipher)
        {
            Poll::Pending => Ok(Turn::Wait),
            Poll::Ready(n) => match n? {
                0 => Ok(self.end()),
                n => Ok(self.look(&scratch.clear[..n])),
            },
        }
    }

    fn read_span(&mut self, cx: &mut Context<'_>) -> io::Result<Turn> {
        let shard = self.shard.clone();
        let Some(mut page) = self.page_to_fill() else {
            self.conn
                .handle_no_page(&mut shard.hub.borrow_mut(), shard.now());
            return Ok(Turn::Again);
        };
        let outcome =
            self.wire
                .poll_read(cx, page.spare_mut(), &mut shard.scratch.borrow_mut().cipher);
        let n = match outcome {
            Poll::Pending => {
                self.keep(page);
                return Ok(Turn::Wait);
            }
            Poll::Ready(n) => n?,
        };
        if n == 0 {
            return Ok(self.end());
        }
        let payload = Payload {
            span: page.commit(n),
            read_at_us: shard.now_us(),
        };
        self.keep(page);
        shard.counters.add(|c| &mut c.bytes_in, n as u64);
        shard.counters.add(|c| &mut c.chunks_in, 1);
        self.conn
            .handle_span(&mut shard.hub.borrow_mut(), &payload, shard.now());
        Ok(Turn::Again)
    }

    /// The page at hand, or a new one: a small one for a segment's first bytes, large ones after that.
    fn page_to_fill(&mut self) -> Option<PageMut> {
        if let Some(page) = self.page.take() {
            return Some(page);
        }
        let size = if self.conn.is_publishing_more() {
            Size::Large
        } else {
            Size::Small
        };
        self.shard.take_page(size)
    }

    fn keep(&mut self, page: PageMut) {
        self.page = (!page.is_untouched() && page.spare_len() >= SPARE_BYTES_MIN).then_some(page);
    }

    fn end(&mut self) -> Turn {
        self.conn
            .handle_eof(&mut self.shard.hub.borrow_mut(), self.shard.now());
        Turn::Again
    }

    /// Hands bytes to the machine and does what the completed head asks for.
    fn look(&mut self, bytes: &[u8]) -> Turn {
        let shard = self.shard.clone();
        match self
            .conn
            .handle_bytes(&shard.config.trickle.base, bytes, shard.now())
        {
            Step::Continue => Turn::Again,
            Step::Elsewhere if self.entrance == Entrance::Trickle => {
                self.conn.refuse(404, "404 page not found", shard.now());
                Turn::Again
            }
            Step::Elsewhere => Turn::Exit(Exit::Elsewhere),
            Step::Request(request) => {
                let home = trickle::Home::of(&request.name).shard(shard.peers.len());
                if home != shard.index {
                    return Turn::Exit(Exit::Move(home));
                }
                self.page = None;
                self.conn
                    .begin(&mut shard.hub.borrow_mut(), *request, shard.now());
                self.feed_early_body();
                Turn::Again
            }
        }
    }

    /// Puts the body bytes that came with the head into pages.
    fn feed_early_body(&mut self) {
        let shard = self.shard.clone();
        let early = self.conn.take_early_body();
        let mut rest = &early[..];
        while !rest.is_empty() && self.conn.wants() == Wants::Span {
            let size = if rest.len() > Size::Small.bytes() {
                Size::Large
            } else {
                Size::Small
            };
            let Some(mut page) = self.page.take().or_else(|| shard.take_page(size)) else {
                return self
                    .conn
                    .handle_no_page(&mut shard.hub.borrow_mut(), shard.now());
            };
            let payload = Payload {
                span: page.fill(rest),
                read_at_us: shard.now_us(),
            };
            self.keep(page);
            rest = &rest[payload.span.len()..];
            shard
                .counters
                .add(|c| &mut c.bytes_in, payload.span.len() as u64);
            shard.counters.add(|c| &mut c.chunks_in, 1);
            self.conn
                .handle_span(&mut shard.hub.borrow_mut(), &payload, shard.now());
        }
        if !rest.is_empty() {
            self.conn.give_back(rest);
        }
    }
}
