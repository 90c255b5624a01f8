//! What the ticket lane tells about itself: plain atomics that the lane alone writes, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ticket::Refusal;

use super::batch::Batch;

/// The upper bounds of the batch sizes that are told apart, in tickets.
pub const BATCH_TICKETS: [u64; 6] = [1, 8, 32, 128, 256, u64::MAX];
/// The reasons for refusals that are told apart, by name.
pub const REFUSALS: [&str; 10] = [
    "not ours",
    "malformed",
    "expired",
    "signature",
    "nonce seen",
    "nonces full",
    "reserve",
    "sender",
    "busy",
    "not recorded",
];

/// The ticket lane, now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TicketReport {
    /// Who checks signatures.
    pub verifier: &'static str,
    /// Whether the disk takes what is sent to it.
    pub is_recording: bool,
    /// Payments that were handed in.
    pub payments: u64,
    /// Tickets that were credited.
    pub credited: u64,
    /// Of those, winners.
    pub winners: u64,
    /// Tickets that were refused, by reason; see [`REFUSALS`].
    pub refused: [u64; REFUSALS.len()],
    /// Signatures that were checked.
    pub signatures: u64,
    /// Charges that took something, and are on disk.
    pub charges: u64,
    /// Pixels that they took.
    pub pixels: u64,
    /// Batches.
    pub batches: u64,
    /// Batches by their size; see [`BATCH_TICKETS`].
    pub batch_sizes: [u64; BATCH_TICKETS.len()],
    /// Time spent on batches.
    pub busy_ns: u64,
    /// From being handed in to being answered, all payments together.
    pub answered_ns: u64,
    /// The longest of these.
    pub answered_max_ns: u64,
    /// How often the disk failed.
    pub journal_failures: u64,
}

/// Where the lane writes it.
#[derive(Debug)]
#[repr(align(128))] // alone on its cache lines, which the lane writes to all the time
pub(super) struct Board {
    verifier: &'static str,
    is_recording: AtomicBool,
    payments: AtomicU64,
    credited: AtomicU64,
    winners: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    signatures: AtomicU64,
    charges: AtomicU64,
    pixels: AtomicU64,
    batches: AtomicU64,
    batch_sizes: [AtomicU64; BATCH_TICKETS.len()],
    busy_ns: AtomicU64,
    answered_ns: AtomicU64,
    answered_max_ns: AtomicU64,
    journal_failures: AtomicU64,
}

impl Board {
    pub(super) fn new(verifier: &'static str) -> Self {
        Self {
            verifier,
            is_recording: AtomicBool::new(true),
            payments: AtomicU64::new(0),
            credited: AtomicU64::new(0),
            winners: AtomicU64::new(0),
            refused: Default::default(),
            signatures: AtomicU64::new(0),
            charges: AtomicU64::new(0),
            pixels: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batch_sizes: Default::default(),
            busy_ns: AtomicU64::new(0),
            answered_ns: AtomicU64::new(0),
            answered_max_ns: AtomicU64::new(0),
            journal_failures: AtomicU64::new(0),
        }
    }

    pub(super) fn arrived(&self, payments: usize) {
        bump(&self.payments, payments as u64);
    }

    pub(super) fn batch(&self, batch: &Batch, busy: Duration) {
        bump(&self.batches, 1);
        let size = batch.tickets as u64;
        let class = BATCH_TICKETS.iter().position(|&most| size <= most);
        bump(
            &self.batch_sizes[class.unwrap_or(BATCH_TICKETS.len() - 1)],
            1,
        );
        bump(&self.signatures, batch.signatures as u64);
        bump(&self.winners, batch.winners as u64);
        bump(&self.credited, batch.credited as u64);
        bump(&self.busy_ns, nanos(busy));
        for why in &batch.refusals {
            self.refused(*why, 1);
        }
    }

    pub(super) fn refused(&self, why: Refusal, tickets: u64) {
        bump(&self.refused[class(why)], tickets);
    }

    pub(super) fn charged(&self, pixels: u64) {
        bump(&self.charges, u64::from(pixels > 0));
        bump(&self.pixels, pixels);
    }

    pub(super) fn answered(&self, took: Duration) {
        let took = nanos(took);
        bump(&self.answered_ns, took);
        if took > self.answered_max_ns.load(Ordering::Relaxed) {
            self.answered_max_ns.store(took, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self) {
        self.is_recording.store(false, Ordering::Relaxed);
        bump(&self.journal_failures, 1);
    }

    pub(super) fn resumed(&self) {
        self.is_recording.store(true, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> TicketReport {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        TicketReport {
            verifier: self.verifier,
            is_recording: self.is_recording.load(Ordering::Relaxed),
            payments: read(&self.payments),
            credited: read(&self.credited),
            winners: read(&self.winners),
            refused: std::array::from_fn(|n| read(&self.refused[n])),
            signatures: read(&self.signatures),
            charges: read(&self.charges),
            pixels: read(&self.pixels),
            batches: read(&self.batches),
            batch_sizes: std::array::from_fn(|n| read(&self.batch_sizes[n])),
            busy_ns: read(&self.busy_ns),
            answered_ns: read(&self.answered_ns),
            answered_max_ns: read(&self.answered_max_ns),
            journal_failures: read(&self.journal_failures),
        }
    }
}

/// The place of a reason in [`REFUSALS`].
const fn class(why: Refusal) -> usize {
    match why {
        Refusal::Recipient | Refusal::Rand => 0,
        Refusal::Price(_) | Refusal::NoExpiration | Refusal::Round | Refusal::NoParams => 1,
        Refusal::Expired => 2,
        Refusal::Signature => 3,
        Refusal::NonceSeen { .. } => 4,
        Refusal::NonceFull { .. } => 5,
        Refusal::Reserve => 6,
        Refusal::Sender | Refusal::Unlocking | Refusal::SenderUnknown => 7,
        Refusal::Busy | Refusal::Full => 8,
        Refusal::NotRecorded => 9,
    }
}

/// The lane alone writes, so reading and writing need not be one step.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
