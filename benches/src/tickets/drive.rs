//! A ticket lane and its journal, with a real database, and payments put through as fast as they go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::link::payment::journal;
use control::payment::Ledger;
use control::store::Store;
use control::ticket::received::Parsed;
use control::ticket::verify::Limits;
use control::ticket::{Blank, Received, book};
use control::world::System;
use engine::drive::tickets::TicketDrive;
use engine::{Gather, Tickets, VerifierChoice};
use rustix::time::{ClockId, clock_gettime};

use super::purse::{Purse, RECIPIENT, Still, secret, session};

/// Tickets that are under way at once: enough for the disk to be busy with one batch while others are checked.
const UNDER_WAY: usize = 2048;
/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A lane, a journal and a database of its own, which goes when it is dropped.
pub struct Bench {
    pub(super) drive: Option<TicketDrive>,
    writer: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
    pub(super) blanks: Vec<Blank>,
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    /// Tickets that were validated in the window.
    pub tickets: u64,
    /// How long that took.
    pub wall: Duration,
    /// What it took of the processor, all threads together.
    pub cpu: Duration,
    /// Batches that were made meanwhile.
    pub batches: u64,
}

impl Throughput {
    /// Tickets a second of the clock.
    pub fn rate(&self) -> f64 {
        self.tickets as f64 / self.wall.as_secs_f64()
    }

    /// Processor time of a ticket, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.tickets as f64
    }
}

impl Bench {
    /// Starts one, with its database in a new directory under `dir`.
    ///
    /// # Errors
    /// The verifier is not to be had on this processor, or the disk takes nothing; a sentence.
    pub fn start(dir: &Path, verifier: VerifierChoice, gather: Gather) -> Result<Self, String> {
        let dir = dir.join(format!("tickets-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        let store = Store::open(&dir).map_err(|error| error.to_string())?;
        let limits = book::Limits::default();
        let (ledger, writer) = Ledger::open(store, RECIPIENT, limits, Arc::new(System))
            .map_err(|error| error.to_string())?;
        let (lane_end, journal_end) = journal();
        let tickets = Tickets {
            recipient: RECIPIENT,
            secret: secret(),
            book: ledger.book().clone(),
            journal: lane_end,
            chain: Arc::new(Still),
            verifier,
            keys: Limits::default(),
            gather,
        };
        let writer = writer
            .start(journal_end)
            .map_err(|error| error.to_string())?;
        let mut bench = Self {
            drive: None,
            writer: Some(writer),
            dir,
            blanks: Vec::new(),
        };
        bench.drive = Some(TicketDrive::start(tickets).map_err(|error| error.to_string())?);
        Ok(bench)
    }

    /// Puts a purse's payments through, as many at once as keep everybody busy. The first `warm_up` of them are not measured.
    ///
    /// # Panics
    /// When a ticket is not credited.
    pub fn throughput(&mut self, purse: &Purse, warm_up: usize) -> Throughput {
        let each = purse.tickets_each as usize;
        let under_way_max = (UNDER_WAY / each).clamp(8, 4_000);
        let (mut sent, mut answered) = (0, 0);
        let mut began = None;
        let total = purse.payments.len();
        while answered < total {
            while sent < total && sent - answered < under_way_max {
                self.pay(&purse.payments[sent], sent as u64);
                sent += 1;
            }
            answered += self.take_answers(purse.tickets_each);
            let drive = self.drive.as_ref().expect("it runs");
            if began.is_none() && answered >= warm_up {
                began = Some((answered, Instant::now(), cpu_time(), drive.report().batches));
            }
        }
        let (from, wall, cpu, batches) = began.expect("more payments than are for warming up");
        Throughput {
            tickets: ((total - from) * each) as u64,
            wall: wall.elapsed(),
            cpu: cpu_time() - cpu,
            batches: self.drive.as_ref().expect("it runs").report().batches - batches,
        }
    }

    /// Puts payments through, as many at once as keep everybody busy.
    pub(super) fn put_through(&mut self, payments: &[Vec<u8>], tickets_each: u32) {
        let under_way_max = (UNDER_WAY / tickets_each as usize).clamp(8, 4_000);
        let (mut sent, mut answered) = (0, 0);
        while answered < payments.len() {
            while sent < payments.len() && sent - answered < under_way_max {
                self.pay(&payments[sent], sent as u64);
                sent += 1;
            }
            answered += self.take_answers(tickets_each);
        }
    }

    /// Waits for answers, and takes those that are there. How many.
    fn take_answers(&mut self, tickets_each: u32) -> usize {
        let drive = self.drive.as_mut().expect("it runs");
        // A ring may be for answers that were seen before it came.
        let until = Instant::now() + PATIENCE;
        while !drive.wait(PATIENCE) {
            assert!(Instant::now() < until, "no answer came");
        }
        let mut taken = 0;
        while let Some((key, receipt, blank)) = drive.next() {
            assert_eq!(
                (receipt.credited, receipt.refused),
                (tickets_each, None),
                "payment {key}"
            );
            self.blanks.push(blank);
            taken += 1;
        }
        taken
    }

    /// Reads a payment from its bytes and hands it in, as a shard does.
    pub(super) fn pay(&mut self, bytes: &[u8], key: u64) {
        self.pay_from(key % 64, bytes, key);
    }

    /// The same, from a source.
    pub(super) fn pay_from(&mut self, source: u64, bytes: &[u8], key: u64) {
        let mut blank = self.blanks.pop().unwrap_or_default();
        blank.bytes().clear();
        blank.bytes().extend_from_slice(bytes);
        let Parsed::Payment(payment) = Received::parse(blank, session(), session()) else {
            panic!("payment {key} is none");
        };
        let drive = self.drive.as_mut().expect("it runs");
        drive
            .pay(payment, source, key)
            .expect("no more are under way than there is room for");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The lane first: the journal ends with it.
        drop(self.drive.take());
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// What all threads of this process have had of the processor.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
