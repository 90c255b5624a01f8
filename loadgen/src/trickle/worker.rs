//! One thread of the trickle load: its channels, with all who publish and subscribe.
//!
//! Whatever is ready is read before the next chunk goes out, so a generator that cannot keep up is late, and is seen to be; were
//! publishing to go first, it would be on time and read too little.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::channel::Channel;
use super::clients::{Audience, Clients, Order};
use crate::chunk::Arrived;
use crate::clock;
use crate::conduct::{Stop, Worker};
use crate::failure::Failure;
use crate::measure::Meter;
use crate::outcome::Stream;
use crate::target::Target;

/// One thread's share.
pub(super) struct TrickleWorker {
    target: Target,
    channels: Vec<Channel>,
    is_kept: bool,
    is_preconnecting: bool,
    clients: Option<Clients<Tally>>,
    /// How many channels are there that were not before.
    created: usize,
}

impl TrickleWorker {
    pub(super) fn new(
        target: Target,
        channels: Vec<Channel>,
        is_kept: bool,
        is_preconnecting: bool,
    ) -> Self {
        Self {
            target,
            channels,
            is_kept,
            is_preconnecting,
            clients: None,
            created: 0,
        }
    }
}

impl Worker for TrickleWorker {
    fn prepare(&mut self, stop: &Stop) -> Result<(), Failure> {
        create(&mut self.channels, &mut self.created, &self.target, stop)?;
        let clients = self.clients.insert(Clients::new(
            &self.target,
            self.channels.clone(),
            self.is_kept,
            self.is_preconnecting,
            Tally::default(),
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
        while !stop.is_told() && clock::now_ns() < timetable.drain_end_ns {
            match schedule.next() {
                Some(due) if due.at_ns >= timetable.end_ns => {
                    clients.serve(timetable.end_ns)?;
                    if clock::now_ns() >= timetable.end_ns {
                        clients.finish(due.channel);
                        schedule.retire();
                    }
                }
                Some(due) => {
                    clients.serve(due.at_ns)?;
                    self.publish_due(&mut clients, &mut schedule, timetable.end_ns);
                }
                None if clients.audience.awaited == 0 => break,
                None => clients.serve(timetable.drain_end_ns)?,
            }
        }
        // What is still to be sent, by a generator that is later than the whole drain is long, or that is stopped, is not.
        while let Some(due) = schedule.next()
            && due.at_ns < timetable.end_ns.min(clock::now_ns())
            && let Some(meter) = &mut clients.book.meter
        {
            schedule.advance(&self.channels);
            meter.record_drop(due.at_ns, u64::from(self.channels[due.channel].subscribers));
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

/// Creates channels one after another, and counts them.
pub(crate) fn create(
    channels: &mut [Channel],
    created: &mut usize,
    target: &Target,
    stop: &Stop,
) -> Result<(), Failure> {
    for channel in channels {
        if stop.is_told() {
            break;
        }
        channel.prepare(target)?;
        *created += 1;
    }
    Ok(())
}

/// Deletes channels. A server that does not let strangers delete forgets them by itself, and one that is gone has forgotten them.
pub(crate) fn delete(channels: &[Channel], target: &Target) {
    for channel in channels {
        if channel.delete(target).is_err() {
            return;
        }
    }
}

impl TrickleWorker {
    /// Publishes what is due by now. One that cannot keep up with both sending and reading reads too late, and the receive lag
    /// shows it; see [`crate::net::Net::ready_since_ns`].
    fn publish_due(&self, clients: &mut Clients<Tally>, schedule: &mut Schedule, end_ns: u64) {
        for _ in 0..AT_ONCE_MAX {
            let now_ns = clock::now_ns();
            match schedule.next() {
                Some(due) if due.at_ns <= now_ns && due.at_ns < end_ns => {
                    schedule.advance(&self.channels);
                    publish(clients, due, now_ns);
                }
                _ => return,
            }
        }
    }
}

fn publish(clients: &mut Clients<Tally>, due: Due, now_ns: u64) {
    let is_begun = clients.publish(due.channel, due.number, due.at_ns);
    let channel = &clients.channels[due.channel];
    let results = u64::from(channel.subscribers);
    let bytes = channel.pattern.chunk_bytes() as u64;
    let Some(meter) = &mut clients.book.meter else {
        return;
    };
    if !is_begun {
        return meter.record_drop(due.at_ns, results);
    }
    meter.record_send(due.at_ns, now_ns, results);
    if meter.timetable().is_measured(due.at_ns) {
        meter.counts().bytes_sent += bytes;
        clients.audience.awaited += results;
    }
}

/// A chunk that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at_ns: u64,
    pub(crate) channel: usize,
    pub(crate) number: u64,
}

/// The next chunk of every channel, the earliest first.
#[derive(Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    next: BinaryHeap<Reverse<Due>>,
}

impl Schedule {
    pub(crate) fn new(start_ns: u64, channels: &[Channel]) -> Self {
        let next = channels
            .iter()
            .enumerate()
            .map(|(channel, of)| {
                Reverse(Due {
                    at_ns: start_ns + of.due_ns(0),
                    channel,
                    number: 0,
                })
            })
            .collect();
        Self { start_ns, next }
    }

    /// The earliest, which stays.
    pub(crate) fn next(&self) -> Option<Due> {
        self.next.peek().map(|Reverse(due)| *due)
    }

    /// The earliest is done; the one after it on its channel takes its place.
    pub(crate) fn advance(&mut self, channels: &[Channel]) {
        if let Some(mut first) = self.next.peek_mut() {
            first.0.number += 1;
            first.0.at_ns = self.start_ns + channels[first.0.channel].due_ns(first.0.number);
        }
    }

    /// The earliest is done, and nothing comes after it on its channel.
    pub(crate) fn retire(&mut self) {
        self.next.pop();
    }
}

/// Counts what the subscribers get.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Results of sent chunks of the window that have not come.
    awaited: u64,
}

impl Audience for Tally {
    fn handle_chunk(
        &mut self,
        _: usize,
        chunk: &Arrived,
        order: Order,
        before_ns: u64,
        meter: &mut Meter,
    ) {
        if !meter.timetable().is_measured(chunk.due_ns) {
            return;
        }
        match order {
            Order::InTurn | Order::Late => {
                self.awaited = self.awaited.saturating_sub(1);
                meter.counts().received += 1;
                meter.counts().reordered += u64::from(order == Order::Late);
                meter.record(CHUNK, chunk.due_ns, before_ns, chunk.last_ns);
                meter.record(FIRST_BYTE, chunk.due_ns, before_ns, chunk.first_ns);
            }
            Order::Again => meter.counts().duplicate += 1,
            Order::Repeated => meter.record_more(chunk.due_ns, "repeated", 1),
        }
    }

    fn handle_corrupt(&mut self, chunk: &Arrived, meter: &mut Meter) {
        // Its word on when it was due is as good as the rest of it.
        let timetable = meter.timetable();
        let is_plausible = (timetable.start_ns..=chunk.last_ns).contains(&chunk.due_ns);
        let due_ns = if is_plausible {
            chunk.due_ns
        } else {
            chunk.last_ns
        };
        meter.counts().corrupt += u64::from(timetable.is_measured(due_ns));
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
}

/// Chunks that are sent before what has come is looked at again.
const AT_ONCE_MAX: usize = 64;
/// Places in [`super::METRICS`].
const CHUNK: usize = 0;
const FIRST_BYTE: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::target::Trust;
    use crate::trickle::channel::Layout;

    #[test]
    fn each_channel_keeps_its_own_rate_and_turns_are_in_order_of_time() {
        let target = Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new()).unwrap();
        let options = toml::from_str("channels = 7\nrate = \"3..50\"").unwrap();
        let channels = Layout::resolve(&options).unwrap().draw(&target, 5).unwrap();
        let mut schedule = Schedule::new(SECOND, &channels);
        let mut counts = vec![0; channels.len()];
        let mut before_ns = 0;
        while let Some(due) = schedule.next()
            && due.at_ns < 11 * SECOND
        {
            assert!(due.at_ns >= before_ns && due.number == counts[due.channel]);
            before_ns = due.at_ns;
            counts[due.channel] += 1;
            schedule.advance(&channels);
        }
        for (count, channel) in counts.iter().zip(&channels) {
            assert_eq!(*count, u64::from(channel.rate) * 10);
        }
    }
}
