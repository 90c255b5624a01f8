//! How long a payment takes when they come at a rate: from when it was due to when it is answered.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::drive::Bench;
use super::purse::Purse;

/// The longest latency that is told apart.
pub(super) const LONGEST_US: u64 = 60_000_000;

/// What a run at a rate came to.
#[derive(Debug)]
pub struct Latency {
    /// Tickets a second that were offered.
    pub rate: f64,
    /// From due to answered, in microseconds.
    pub us: Histogram<u64>,
    /// How late the generator handed payments in, in microseconds.
    pub late_us: Histogram<u64>,
    /// Batches, and tickets a batch.
    pub batches: u64,
    /// The mean size of a batch, in tickets.
    pub batch_tickets: f64,
}

/// Puts a purse's payments through at `rate` tickets a second. The first `warm_up` of them are not measured, and go as fast as they are
/// answered: a thousand senders that are met at once are a moment of recoveries, whose backlog is not what is asked for.
///
/// # Panics
/// When a ticket is not credited.
pub fn latency(bench: &mut Bench, purse: &Purse, rate: f64, warm_up: usize) -> Latency {
    let interval = Duration::from_secs_f64(f64::from(purse.tickets_each) / rate);
    let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that fit");
    let (mut us, mut late_us) = (histogram(), histogram());
    bench.put_through(&purse.payments[..warm_up], purse.tickets_each);
    let start = Instant::now() + Duration::from_millis(5);
    let due = |n: usize| start + interval.mul_f64((n - warm_up) as f64);
    let (mut sent, mut answered) = (warm_up, warm_up);
    let total = purse.payments.len();
    let batches_before = bench
        .drive
        .as_ref()
        .map_or(0, |drive| drive.report().batches);
    while answered < total {
        let now = Instant::now();
        // The windows have their bounds; who is so far behind is measured as late.
        while sent < total && now >= due(sent) && sent - answered < 4_000 {
            late_us.saturating_record(micros(now - due(sent)));
            bench.pay(&purse.payments[sent], sent as u64);
            sent += 1;
        }
        let drive = bench.drive.as_mut().expect("it runs");
        let mut has_answer = false;
        while let Some((key, receipt, blank)) = drive.next() {
            assert_eq!(
                (receipt.credited, receipt.refused),
                (purse.tickets_each, None),
                "payment {key}"
            );
            bench.blanks.push(blank);
            let key = usize::try_from(key).expect("a count");
            us.saturating_record(micros(Instant::now().saturating_duration_since(due(key))));
            answered += 1;
            has_answer = true;
        }
        if !has_answer {
            // The generator has a core of its own: it asks without end, so that it is never late by a sleep.
            std::hint::spin_loop();
        }
    }
    let batches = bench
        .drive
        .as_ref()
        .map_or(0, |drive| drive.report().batches)
        - batches_before;
    Latency {
        rate,
        us,
        late_us,
        batches,
        batch_tickets: ((total - warm_up) * purse.tickets_each as usize) as f64
            / batches.max(1) as f64,
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}
