//! Events on their way out, the buffers they travel in, and the bounds on both.
//!
//! Invariants:
//! - `pending_bytes` is the payload of all units being assembled. A byte is admitted before it is stored; a unit that may not
//!   grow is dropped whole.
//! - A full queue drops the newest unit. A program is never dropped: it waits as a debt of one, and goes before any later unit.
//! - A buffer given back is kept only while all spare ones together stay within their bound.

use alloc::{collections::VecDeque, vec::Vec};

use super::demux::{Config, Event, Stats, Unit};
use crate::{clock::Unwrapper, codec::Program};

#[derive(Debug, Clone)]
pub(super) struct Outbox {
    pub(super) config: Config,
    pub(super) stats: Stats,
    pub(super) clock: Unwrapper,
    events: VecDeque<Event>,
    queued_bytes: usize,
    pending_bytes: usize,
    owed: Option<Program>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Outbox {
    pub(super) fn new(config: Config) -> Outbox {
        Outbox {
            config,
            stats: Stats::default(),
            clock: Unwrapper::new(),
            events: VecDeque::new(),
            queued_bytes: 0,
            pending_bytes: 0,
            owed: None,
            spare: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// Stores `bytes` in a unit that is being assembled. False, and nothing stored, when it may not grow.
    pub(super) fn store(&mut self, unit: &mut Vec<u8>, bytes: &[u8]) -> bool {
        let fits = unit.len() + bytes.len() <= self.config.unit_bytes_max
            && self.pending_bytes + bytes.len() <= self.config.pending_bytes_max;
        if fits {
            unit.extend_from_slice(bytes);
            self.pending_bytes += bytes.len();
        }
        fits
    }

    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let fits =
            self.spare_bytes.saturating_add(buffer.capacity()) <= self.config.spare_bytes_max;
        if fits && buffer.capacity() != 0 && self.spare.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_bytes += buffer.capacity();
            self.spare.push(buffer);
        }
    }

    /// Bytes that [`store`](Outbox::store) admitted leave their unit.
    pub(super) fn release(&mut self, bytes: usize) {
        self.pending_bytes -= bytes;
    }

    /// A unit being assembled is no longer wanted.
    pub(super) fn discard(&mut self, buffer: Vec<u8>) {
        self.release(buffer.len());
        self.recycle(buffer);
    }

    /// A unit is complete. False when it was dropped because nobody took the ones before it.
    pub(super) fn deliver(&mut self, unit: Unit) -> bool {
        self.release(unit.data.len());
        if self.queued_bytes >= self.config.queued_bytes_max {
            self.stats.dropped_units += 1;
            self.recycle(unit.data);
            return false;
        }
        if let Some(program) = self.owed.take() {
            self.queue(Event::Program(program));
        }
        self.stats.units += 1;
        self.stats.early_units += u64::from(unit.early);
        self.queue(Event::Unit(unit));
        true
    }

    /// The program changed.
    pub(super) fn announce(&mut self, program: Program) {
        if self.queued_bytes >= self.config.queued_bytes_max {
            self.owed = Some(program);
        } else {
            self.owed = None;
            self.queue(Event::Program(program));
        }
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        let event = self
            .events
            .pop_front()
            .or_else(|| self.owed.take().map(Event::Program))?;
        self.queued_bytes = self.queued_bytes.saturating_sub(cost(&event));
        Some(event)
    }

    /// Bytes of payload and capacity held here and in units being assembled.
    pub(super) fn held_bytes(&self) -> usize {
        self.queued_bytes + self.pending_bytes + self.spare_bytes
    }

    fn queue(&mut self, event: Event) {
        self.queued_bytes += cost(&event);
        self.events.push_back(event);
    }
}

/// What an event holds: its buffers as they are, not as full as they are.
fn cost(event: &Event) -> usize {
    let held = match event {
        Event::Unit(unit) => unit.data.capacity(),
        Event::Program(program) => program
            .tracks
            .iter()
            .map(|track| size_of_val(track) + track.descriptors.capacity())
            .sum(),
    };
    size_of::<Event>() + held
}

/// Spare buffers, however small: a few for each track and the consumer's pipeline.
const SPARE_BUFFERS_MAX: usize = 64;
