//! What becomes of those who joined: when each was connected, got its first byte, and is to leave.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arrivals::Join;
use crate::chunk::Arrived;
use crate::clock::SECOND;
use crate::measure::Meter;
use crate::trickle::clients::{Audience, Order};

/// The viewers of one worker, by number of the subscriber.
#[derive(Debug, Default)]
pub(super) struct Joiners {
    viewers: Vec<Option<Viewer>>,
    count: usize,
    /// Joins of the window that have not brought a byte, and may yet.
    awaited: u64,
    departures: BinaryHeap<Reverse<Departure>>,
}

#[derive(Debug)]
struct Viewer {
    due_ns: u64,
    begun_ns: u64,
    stay_ns: u64,
    is_abrupt: bool,
    is_connected: bool,
    has_first_byte: bool,
}

/// When a viewer is to go, whether for good or because nothing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Departure {
    at_ns: u64,
    subscriber: usize,
    /// Tells it from an earlier one of the same number.
    begun_ns: u64,
    has_first_byte: bool,
}

/// How a viewer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// At once.
    Now(usize),
    /// When its segment ends.
    AtSegmentEnd(usize),
}

impl Joiners {
    /// A viewer has set out, as `subscriber`, at `begun_ns`.
    pub(super) fn add(
        &mut self,
        subscriber: usize,
        join: &Join,
        due_ns: u64,
        begun_ns: u64,
        is_measured: bool,
    ) {
        if subscriber >= self.viewers.len() {
            self.viewers.resize_with(subscriber + 1, || None);
        }
        self.viewers[subscriber] = Some(Viewer {
            due_ns,
            begun_ns,
            stay_ns: join.stay_ns,
            is_abrupt: join.is_abrupt,
            is_connected: false,
            has_first_byte: false,
        });
        self.count += 1;
        self.awaited += u64::from(is_measured);
        self.departures.push(Reverse(Departure {
            at_ns: begun_ns + PATIENCE_NS,
            subscriber,
            begun_ns,
            has_first_byte: false,
        }));
    }

    /// Viewers that are there, or on their way.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Joins of the window that may yet bring a first byte.
    pub(super) fn awaited(&self) -> u64 {
        self.awaited
    }

    /// When somebody may have to go next.
    pub(super) fn next_leave_ns(&self) -> Option<u64> {
        self.departures
            .peek()
            .map(|Reverse(departure)| departure.at_ns)
    }

    /// Who has to go by now, if anybody; to be asked until it is nobody.
    pub(super) fn leave(&mut self, now_ns: u64, meter: &mut Meter) -> Option<Leave> {
        while let Some(Reverse(departure)) = self.departures.peek().copied()
            && departure.at_ns <= now_ns
        {
            self.departures.pop();
            let index = departure.subscriber;
            let Some(viewer) = self.viewers[index].as_ref().filter(|viewer| {
                viewer.begun_ns == departure.begun_ns
                    && viewer.has_first_byte == departure.has_first_byte
            }) else {
                continue;
            };
            if departure.has_first_byte && !viewer.is_abrupt {
                return Some(Leave::AtSegmentEnd(index));
            }
            if !departure.has_first_byte && departure.at_ns == viewer.begun_ns + PATIENCE_NS {
                meter.record_error("timeout");
            }
            self.remove(index, meter.timetable().is_measured(viewer.due_ns));
            return Some(Leave::Now(index));
        }
        None
    }

    fn remove(&mut self, index: usize, is_measured: bool) {
        if let Some(viewer) = self.viewers[index].take() {
            self.count -= 1;
            self.awaited -= u64::from(is_measured && !viewer.has_first_byte);
        }
    }
}

impl Audience for Joiners {
    fn handle_open(&mut self, subscriber: usize, now_ns: u64, meter: &mut Meter) {
        if let Some(viewer) = &mut self.viewers[subscriber]
            && !std::mem::replace(&mut viewer.is_connected, true)
        {
            meter.record(CONNECT, viewer.due_ns, viewer.begun_ns, now_ns);
        }
    }

    fn handle_first_byte(&mut self, subscriber: usize, now_ns: u64, meter: &mut Meter) {
        let Some(viewer) = &mut self.viewers[subscriber] else {
            return;
        };
        if std::mem::replace(&mut viewer.has_first_byte, true) {
            return;
        }
        if meter.timetable().is_measured(viewer.due_ns) {
            self.awaited -= 1;
            meter.counts().received += 1;
        }
        meter.record(JOIN, viewer.due_ns, viewer.begun_ns, now_ns);
        self.departures.push(Reverse(Departure {
            at_ns: now_ns + viewer.stay_ns,
            subscriber,
            begun_ns: viewer.begun_ns,
            has_first_byte: true,
        }));
    }

    fn handle_chunk(
        &mut self,
        subscriber: usize,
        chunk: &Arrived,
        order: Order,
        before_ns: u64,
        meter: &mut Meter,
    ) {
        let Some(viewer) = &self.viewers[subscriber] else {
            return;
        };
        if !meter.timetable().is_measured(chunk.due_ns) {
            return;
        }
        match order {
            // What was published before it came is the segment's beginning, and comes at once.
            Order::InTurn | Order::Late if chunk.due_ns >= viewer.begun_ns => {
                meter.record(CHUNK, chunk.due_ns, before_ns, chunk.last_ns);
            }
            Order::InTurn | Order::Late => {}
            Order::Again => meter.counts().duplicate += 1,
            Order::Repeated => meter.record_more(chunk.due_ns, "repeated", 1),
        }
        meter.counts().reordered += u64::from(order == Order::Late);
    }

    fn handle_corrupt(&mut self, chunk: &Arrived, meter: &mut Meter) {
        let is_measured = meter.timetable().is_measured(chunk.last_ns);
        meter.counts().corrupt += u64::from(is_measured);
    }

    fn handle_truncated(&mut self, now_ns: u64, meter: &mut Meter) {
        let is_measured = meter.timetable().is_measured(now_ns);
        meter.counts().truncated += u64::from(is_measured);
    }

    fn handle_payload(&mut self, bytes: u64, now_ns: u64, meter: &mut Meter) {
        if meter.timetable().is_measured(now_ns) {
            meter.counts().bytes_received += bytes;
        }
    }

    fn handle_over(&mut self, subscriber: usize, now_ns: u64) {
        // It goes at the next occasion; not now, when it is being told.
        if let Some(viewer) = &mut self.viewers[subscriber] {
            viewer.is_abrupt = true;
            self.departures.push(Reverse(Departure {
                at_ns: now_ns,
                subscriber,
                begun_ns: viewer.begun_ns,
                has_first_byte: viewer.has_first_byte,
            }));
        }
    }

    fn handle_left(&mut self, subscriber: usize) {
        self.remove(subscriber, false); // it had its first byte, or it would not have stayed
    }
}

/// Places in [`super::METRICS`].
const JOIN: usize = 0;
const CONNECT: usize = 1;
const CHUNK: usize = 2;
/// How long a viewer waits for a first byte. Real ones give up sooner, or not at all.
pub(super) const PATIENCE_NS: u64 = 10 * SECOND;
