//! One segment: an append-only run of spans that closes once.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::{Millis, Span, Waiter};

/// A segment shared by its channel, its publishers and its readers, all on one shard.
pub type SegmentRef<S> = Rc<RefCell<Segment<S>>>;

/// One segment of a channel.
#[derive(Debug)]
pub struct Segment<S> {
    seq: u64,
    spans: Vec<S>,
    bytes: u64,
    state: State,
    /// Publishers that are inside this segment, and those among them that have sent a byte.
    pub(crate) publishers: u32,
    pub(crate) publishers_started: u32,
    /// When its last publisher vanished in mid-body, while nobody has come back.
    pub(crate) aborted_at: Option<Millis>,
    waiting: Vec<Waiter>,
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In its slot, growing.
    Open,
    /// Complete; readers drain it and see a clean end.
    Closed,
    /// Its bytes were taken away to make room; its readers must be cut, for they cannot be given a clean end.
    Cut,
}

impl<S: Span> Segment<S> {
    pub(crate) fn new(seq: u64) -> Self {
        Self {
            seq,
            spans: Vec::new(),
            bytes: 0,
            state: State::Open,
            publishers: 0,
            publishers_started: 0,
            aborted_at: None,
            waiting: Vec::new(),
            generation: 0,
        }
    }

    /// Its number in the channel.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Its payload so far, in order.
    pub fn spans(&self) -> &[S] {
        &self.spans
    }

    /// How many payload bytes it holds.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing will be added.
    pub fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Whether its bytes were taken away while it still had readers.
    pub fn is_cut(&self) -> bool {
        self.state == State::Cut
    }

    /// Whether its first byte has arrived.
    pub const fn is_started(&self) -> bool {
        self.bytes > 0
    }

    pub(crate) fn append(&mut self, span: S) {
        debug_assert!(!self.is_closed(), "a closed segment does not grow");
        self.bytes += span.bytes().len() as u64;
        self.spans.push(span);
    }

    /// Closes it; true if it was open.
    pub(crate) fn close(&mut self) -> bool {
        let was_open = self.state == State::Open;
        if was_open {
            self.state = State::Closed;
            self.aborted_at = None;
        }
        was_open
    }

    /// Gives its memory back at its readers' expense. One that never held a byte is merely closed.
    pub(crate) fn cut(&mut self) {
        if self.spans.is_empty() {
            self.close();
        } else {
            self.state = State::Cut;
            self.spans = Vec::new();
        }
    }

    /// Puts `waiter` on the list of those to wake at the next change. `ticket` remembers it, so that a waiter that was
    /// woken by something else is not listed twice.
    pub fn wait(&mut self, waiter: Waiter, ticket: &mut Option<u32>) {
        if *ticket != Some(self.generation) {
            *ticket = Some(self.generation);
            self.waiting.push(waiter);
        }
    }

    /// Takes `waiter` off the list: it will not come back.
    pub(crate) fn unwait(&mut self, waiter: Waiter) {
        if let Some(at) = self.waiting.iter().position(|&listed| listed == waiter) {
            self.waiting.swap_remove(at);
        }
    }

    pub(crate) fn wake_into(&mut self, woken: &mut Vec<Waiter>) {
        if !self.waiting.is_empty() {
            woken.append(&mut self.waiting);
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Empties it for another sequence number, keeping the memory of its lists.
    pub(crate) fn reset(&mut self, seq: u64) {
        let (mut spans, mut waiting) = (
            core::mem::take(&mut self.spans),
            core::mem::take(&mut self.waiting),
        );
        spans.clear();
        waiting.clear();
        *self = Self {
            spans,
            waiting,
            generation: self.generation.wrapping_add(1),
            ..Self::new(seq)
        };
    }
}
