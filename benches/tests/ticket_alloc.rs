//! No allocation a ticket: payments of known senders through a lane and its journal, and what was allocated meanwhile by all of it.
//!
//! SQLite has memory of its own, which is not counted; it works once a transaction.

use std::alloc::System;
use std::path::Path;

use benches::tickets::{Bench, Purse, VERIFIERS};
use engine::{Gather, VerifierChoice};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SENDERS: usize = 100;
/// All of them under one commitment each: what a commitment costs is not a ticket's.
const TICKETS: usize = SENDERS * 600;
/// Allocations a batch: a transaction makes five, of any number of tickets. Were there one a ticket, or one a payment, there would be
/// hundreds, or a dozen more.
const BATCH_MAX: f64 = 8.0;

#[test]
fn a_ticket_costs_no_allocation() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for tickets_each in [1, 20] {
        let mut purse = Purse::fill(SENDERS, tickets_each, TICKETS);
        let half = purse.payments.len() / 2;
        let measured = Purse {
            payments: purse.payments.split_off(half),
            tickets_each,
        };
        for (name, choice) in VERIFIERS {
            match choice.outlook() {
                Ok(_) => each(dir, (name, choice), &purse, &measured),
                Err(why) => println!("SKIPPED: {name}: {why}"),
            }
        }
    }
}

fn each(dir: &Path, (name, choice): (&str, VerifierChoice), warm_up: &Purse, measured: &Purse) {
    let mut bench = Bench::start(dir, choice, Gather::default()).expect("it starts");
    // Every buffer grows to what it will be, and every sender is known.
    bench.throughput(warm_up, 0);
    let region = Region::new(COUNTED);
    bench.throughput(measured, 0);
    let made = region.change();
    let all = made.allocations + made.reallocations;
    let tickets_each = measured.tickets_each;
    let tickets = measured.payments.len() as f64 * f64::from(tickets_each);
    let batch = all as f64 / (tickets / Gather::default().batch_tickets as f64);
    println!(
        "{name}, {tickets_each} a payment: {all} allocations for {tickets} tickets, {batch:.1} a batch of {}",
        Gather::default().batch_tickets
    );
    assert!(batch <= BATCH_MAX, "{name}: {batch:.1} allocations a batch");
}
