//! One thread of churn: its channels, which are published to all the while, and those who join them.

use std::iter::Peekable;

use super::arrivals::{Join, Manner};
use super::joiners::{Joiners, Leave};
use crate::clock;
use crate::conduct::{Stop, Worker};
use crate::failure::Failure;
use crate::measure::{Meter, Timetable};
use crate::outcome::Stream;
use crate::target::Target;
use crate::trickle::channel::Channel;
use crate::trickle::clients::Clients;
use crate::trickle::worker::{Due, Schedule, create, delete};

/// One thread's share.
pub(super) struct ChurnWorker {
    target: Target,
    channels: Vec<Channel>,
    joins: Peekable<Box<dyn Iterator<Item = Join> + Send>>,
    /// As it is asked for.
    seq: i64,
    /// Of those at once, this thread's share.
    at_once_max: usize,
    clients: Option<Clients<Joiners>>,
    /// How many channels are there that were not before.
    created: usize,
}

impl ChurnWorker {
    /// The worker that was dealt `channels` as hand `hand` of `hands`.
    pub(super) fn new(
        target: Target,
        channels: Vec<Channel>,
        manner: &Manner,
        hand: usize,
        hands: usize,
    ) -> Self {
        let ours = manner.joins().filter_map(move |mut join| {
            let is_ours = join.channel % hands == hand;
            join.channel /= hands;
            is_ours.then_some(join)
        });
        let ours: Box<dyn Iterator<Item = Join> + Send> = Box::new(ours);
        Self {
            target,
            channels,
            joins: ours.peekable(),
            seq: manner.join_at.seq(),
            at_once_max: (manner.at_once_max as usize).div_ceil(hands),
            clients: None,
            created: 0,
        }
    }
}

impl Worker for ChurnWorker {
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure> {
        create(&mut self.channels, &mut self.created, &self.target, stop)?;
        let channels = self.channels.clone();
        let clients = self.clients.insert(Clients::new(
            &self.target,
            channels,
            true,
            true,
            Joiners::default(),
        )?);
        clients.connect(&self.target, stop)
    }

    fn run(&mut self, meter: Meter, stop: &Stop) -> Result<Vec<Stream>, Failure> {
        let Some(mut clients) = self.clients.take() else {
            return Err(Failure::new("a worker was run before it was prepared"));
        };
        let timetable = meter.timetable();
        clients.book.meter = Some(meter);
        let mut schedule = Schedule::new(timetable.start_ns, &self.channels);
        while !stop.is_told() {
            let chunk = schedule.next();
            let chunk_ns = chunk.map_or(u64::MAX, |due| due.at_ns);
            let join_ns = self.next_join_ns(timetable);
            let leave_ns = clients.audience.next_leave_ns().unwrap_or(u64::MAX);
            let until_ns = chunk_ns.min(join_ns).min(leave_ns);
            clients.serve(until_ns.min(timetable.drain_end_ns))?;

            let now_ns = clock::now_ns();
            let is_settled = now_ns >= timetable.end_ns && clients.audience.awaited() == 0;
            if is_settled || now_ns >= timetable.drain_end_ns {
                break;
            }
            // The earliest first, and one at a time, so that what has come is read in between.
            if now_ns < until_ns {
                continue;
            }
            if leave_ns == until_ns {
                leave(&mut clients, now_ns);
            } else if join_ns == until_ns {
                self.join(&mut clients, join_ns, now_ns);
            } else if let Some(due) = chunk {
                schedule.advance(&self.channels);
                publish(&mut clients, due);
            }
        }
        for channel in 0..self.channels.len() {
            clients.finish(channel);
        }
        if let Some(meter) = clients.book.meter.take() {
            meter.finish();
        }
        Ok(Vec::new())
    }

    fn clean_up(&mut self) {
        self.clients = None;
        delete(&self.channels[..self.created], &self.target);
    }
}

impl ChurnWorker {
    fn next_join_ns(&mut self, timetable: Timetable) -> u64 {
        self.joins
            .peek()
            .map(|join| timetable.start_ns.saturating_add(join.at_ns))
            .filter(|at_ns| *at_ns < timetable.end_ns)
            .unwrap_or(u64::MAX)
    }

    fn join(&mut self, clients: &mut Clients<Joiners>, due_ns: u64, now_ns: u64) {
        let Some(join) = self.joins.next() else {
            return;
        };
        let is_full = clients.audience.count() >= self.at_once_max;
        let Some(meter) = &mut clients.book.meter else {
            return;
        };
        if is_full {
            return meter.record_drop(due_ns, 1);
        }
        meter.record_send(due_ns, now_ns, 1);
        let is_measured = meter.timetable().is_measured(due_ns);
        let subscriber = clients.subscribe(join.channel, self.seq, now_ns);
        clients
            .audience
            .add(subscriber, &join, due_ns, now_ns, is_measured);
    }
}

fn publish(clients: &mut Clients<Joiners>, due: Due) {
    let is_begun = clients.publish(due.channel, due.number, due.at_ns);
    let bytes = clients.channels[due.channel].pattern.chunk_bytes() as u64;
    let Some(meter) = &mut clients.book.meter else {
        return;
    };
    if !is_begun {
        meter.record_more(due.at_ns, "chunks_dropped", 1);
    } else if meter.timetable().is_measured(due.at_ns) {
        meter.counts().bytes_sent += bytes;
    }
}

fn leave(clients: &mut Clients<Joiners>, now_ns: u64) {
    while let Some(meter) = &mut clients.book.meter {
        match clients.audience.leave(now_ns, meter) {
            Some(Leave::Now(subscriber)) => clients.unsubscribe(subscriber),
            Some(Leave::AtSegmentEnd(subscriber)) => clients.unsubscribe_at_segment_end(subscriber),
            None => return,
        }
    }
}
