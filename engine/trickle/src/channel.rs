//! One channel: a write head, five slots, and the rules of who may write where.
//!
//! The rules follow go-livepeer's server where peers can see it, and mend what hurt them:
//!
//! - The head ([`Channel::next_write`]) moves to `n + 1` when segment `n` gets its first byte, or ends without one. It never
//!   goes back: a late or repeated POST of an old segment leaves it alone.
//! - A publisher that starts over is a **new epoch**: the head goes back on purpose and all held segments close. It is taken
//!   as one when the POST carries `Lp-Trickle-Reset` and its number has fallen out of the window; or when it is number 0
//!   and no publisher is attached; or when its number has fallen out of the window and no publisher has been heard of for
//!   longer than the grace time.
//! - Any other POST of a number that has fallen out of the window is stale: it is answered, and evicts nothing.
//! - Whatever leaves its slot is closed first, so its readers drain it and its parked publishers are told.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::segment::{Segment, SegmentRef};
use crate::{Millis, Span, Waiter};

/// Segments a channel holds, the one being written and any preconnected ones included.
pub const SLOTS: usize = 5;

/// A channel shared by its hub, publishers and readers, all on one shard.
pub type ChannelRef<S> = Rc<RefCell<Channel<S>>>;

/// One channel.
#[derive(Debug)]
pub struct Channel<S> {
    name: Box<str>,
    mime: Box<str>,
    owner_token: Option<Box<str>>,
    next_write: u64,
    closed: bool,
    slots: [Option<SegmentRef<S>>; SLOTS],
    /// When a payload byte last came in or went out.
    pub(crate) active_at: Millis,
    /// Not swept for idleness.
    pub(crate) kept: bool,
    /// When a publisher was last heard of.
    published_at: Millis,
    publishers: u32,
    /// A segment that left its slot and that nobody holds, kept for its memory.
    spare: Option<SegmentRef<S>>,
}

/// Where a POST goes.
#[derive(Debug)]
pub(crate) enum Admission<S> {
    /// Into this segment, from its current end.
    Segment(SegmentRef<S>),
    /// Nowhere: its number is older than all that is held.
    Stale,
}

/// What a GET finds.
#[derive(Debug)]
pub(crate) enum Lookup<S> {
    /// This segment, be it full, growing or still to come.
    Segment(SegmentRef<S>),
    /// Nothing: too old, or too far ahead.
    Missing,
}

fn slot_of(seq: u64) -> usize {
    usize::try_from(seq % SLOTS as u64).unwrap_or(0)
}

impl<S: Span> Channel<S> {
    pub(crate) fn new(name: &str, mime: &str, owner_token: Option<&str>, now: Millis) -> Self {
        Self {
            name: name.into(),
            mime: mime.into(),
            owner_token: owner_token.map(Into::into),
            next_write: 0,
            closed: false,
            slots: [const { None }; SLOTS],
            active_at: now,
            kept: false,
            published_at: now,
            publishers: 0,
            spare: None,
        }
    }

    /// Its name, without token.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The content type that every subscriber is told.
    pub fn mime(&self) -> &str {
        &self.mime
    }

    /// The token without which it cannot be deleted, if it has one.
    pub fn owner_token(&self) -> Option<&str> {
        self.owner_token.as_deref()
    }

    /// The number of the segment that will be written next: one past the newest that has a byte.
    pub const fn next_write(&self) -> u64 {
        self.next_write
    }

    /// Whether it was closed; a closed channel is in no hub.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// The number a POST of −1 means.
    pub(crate) const fn head(&self) -> u64 {
        self.next_write
    }

    /// The number a GET of −2 means: the segment being written now.
    pub(crate) const fn current(&self) -> u64 {
        self.next_write.saturating_sub(1)
    }

    pub(crate) fn segment(&self, seq: u64) -> Option<&SegmentRef<S>> {
        self.slots[slot_of(seq)]
            .as_ref()
            .filter(|segment| segment.borrow().seq() == seq)
    }

    /// Segments in their slots.
    pub(crate) fn held(&self) -> impl Iterator<Item = &SegmentRef<S>> {
        self.slots.iter().flatten()
    }

    /// Payload bytes of the segments in their slots.
    pub(crate) fn bytes(&self) -> u64 {
        self.held().map(|segment| segment.borrow().bytes()).sum()
    }

    /// Decides where a POST of `seq` goes, and makes room for it.
    pub(crate) fn admit(
        &mut self,
        seq: u64,
        reset: bool,
        grace_ms: u64,
        now: Millis,
        out: &mut Changes<S>,
    ) -> Admission<S> {
        let out_of_window = seq.saturating_add(SLOTS as u64) <= self.next_write;
        let lost = self.publishers == 0;
        let restarts = lost && seq == 0 && self.next_write > 1;
        let long_lost = lost && now.since(self.published_at) > grace_ms;
        if restarts || (out_of_window && (reset || long_lost)) {
            self.begin_epoch(seq, out);
        } else if out_of_window && self.segment(seq).is_none() {
            return Admission::Stale;
        }
        if reset {
            self.close_lower(seq, out);
        }
        self.published_at = now;
        let segment = match self.segment(seq) {
            Some(segment) => segment.clone(),
            None => self.place(seq, out),
        };
        Admission::Segment(segment)
    }

    /// Finds what a GET of `seq` may wait for: what is held, or exactly one ahead, or 1 on a channel without a byte.
    pub(crate) fn lookup(&mut self, seq: u64, out: &mut Changes<S>) -> Lookup<S> {
        if let Some(segment) = self.segment(seq) {
            return Lookup::Segment(segment.clone());
        }
        let one_ahead = seq == self.next_write || (self.next_write == 0 && seq == 1);
        if one_ahead && !self.closed {
            Lookup::Segment(self.place(seq, out))
        } else {
            Lookup::Missing
        }
    }

    /// Puts a fresh segment into its slot; what was there is closed first.
    fn place(&mut self, seq: u64, out: &mut Changes<S>) -> SegmentRef<S> {
        if let Some(old) = self.slots[slot_of(seq)].take() {
            out.close(&old);
            self.retire(old, out);
        }
        let segment = match self.spare.take() {
            Some(spare) => {
                spare.borrow_mut().reset(seq);
                spare
            }
            None => Rc::new(RefCell::new(Segment::new(seq))),
        };
        self.slots[slot_of(seq)] = Some(segment.clone());
        segment
    }

    /// Takes leave of a segment that is in no slot any more.
    fn retire(&mut self, segment: SegmentRef<S>, out: &mut Changes<S>) {
        if Rc::strong_count(&segment) > 1 {
            out.evicted.push(Rc::downgrade(&segment));
        } else {
            segment.borrow_mut().reset(0);
            self.spare = Some(segment);
        }
    }

    fn begin_epoch(&mut self, seq: u64, out: &mut Changes<S>) {
        self.clear(out);
        self.next_write = seq;
    }

    fn clear(&mut self, out: &mut Changes<S>) {
        for slot in 0..SLOTS {
            if let Some(old) = self.slots[slot].take() {
                out.close(&old);
                self.retire(old, out);
            }
        }
    }

    fn close_lower(&mut self, seq: u64, out: &mut Changes<S>) {
        for segment in self
            .slots
            .iter()
            .flatten()
            .filter(|segment| segment.borrow().seq() < seq)
        {
            out.close(segment);
        }
    }

    /// A segment has begun, or ended without a byte. One that has left its slot says nothing about the head.
    pub(crate) fn advance_head(&mut self, segment: &SegmentRef<S>, now: Millis) {
        let seq = segment.borrow().seq();
        if self
            .segment(seq)
            .is_some_and(|held| Rc::ptr_eq(held, segment))
        {
            self.next_write = self.next_write.max(seq + 1);
        }
        self.published_at = now;
        self.active_at = now;
    }

    /// Segment `seq` has begun, so publishers that vanished from lower ones will not come back to them.
    pub(crate) fn close_abandoned(&self, seq: u64, out: &mut Changes<S>) {
        for segment in self.held() {
            let abandoned = segment.borrow().seq() < seq && segment.borrow().aborted_at.is_some();
            if abandoned {
                out.close(segment);
            }
        }
    }

    /// Whether it may be swept: no payload came in or went out for too long, and nobody else watches over it.
    pub(crate) const fn is_idle(&self, now: Millis, idle_ms: u64) -> bool {
        !self.kept && now.since(self.active_at) > idle_ms
    }

    /// Drops the oldest complete segment but `keep`; false when there is none.
    pub(crate) fn drop_oldest(&mut self, keep: u64, out: &mut Changes<S>) -> bool {
        let oldest = self
            .slots
            .iter_mut()
            .filter(|slot| {
                slot.as_ref().is_some_and(|s| {
                    s.borrow().seq() != keep && s.borrow().is_closed() && s.borrow().bytes() > 0
                })
            })
            .min_by_key(|slot| slot.as_ref().map(|s| s.borrow().seq()));
        let Some(old) = oldest.and_then(Option::take) else {
            return false;
        };
        self.retire(old, out);
        true
    }

    pub(crate) fn attach(&mut self, segment: &SegmentRef<S>) {
        self.publishers += 1;
        let mut segment = segment.borrow_mut();
        segment.publishers += 1;
        segment.aborted_at = None;
    }

    pub(crate) fn detach(&mut self, segment: &SegmentRef<S>, started: bool, now: Millis) {
        self.publishers -= 1;
        self.published_at = now;
        let mut segment = segment.borrow_mut();
        segment.publishers -= 1;
        segment.publishers_started -= u32::from(started);
    }

    /// Closes the channel with all it holds, and lets go of it: a reader of one segment keeps no other.
    pub(crate) fn close(&mut self, out: &mut Changes<S>) {
        self.closed = true;
        self.clear(out);
        self.spare = None;
    }
}

/// What a step changed, gathered so that the shell acts once a batch.
#[derive(Debug)]
pub(crate) struct Changes<S> {
    /// Those who wait for a segment that changed.
    pub(crate) woken: Vec<Waiter>,
    /// Segments that left their slot while someone still held them.
    pub(crate) evicted: Vec<alloc::rc::Weak<RefCell<Segment<S>>>>,
}

impl<S> Default for Changes<S> {
    fn default() -> Self {
        Self {
            woken: Vec::new(),
            evicted: Vec::new(),
        }
    }
}

impl<S: Span> Changes<S> {
    pub(crate) fn close(&mut self, segment: &SegmentRef<S>) {
        let mut segment = segment.borrow_mut();
        if segment.close() {
            segment.wake_into(&mut self.woken);
        }
    }
}
