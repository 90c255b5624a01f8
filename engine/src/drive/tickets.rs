//! The ticket lane without shards, and the till's reading without a socket: for benches and fuzz targets that hand payments in and wait
//! for receipts.

use std::thread::JoinHandle;
use std::time::Duration;

use link::{Charge, ChargeReply, Receipt};
use ticket::{Blank, Received};

use crate::StartError;
use crate::lane::ticket::{ShardWindow, TicketLane, TicketReport, Tickets};

/// A running ticket lane, and its one window. Dropping it ends it.
pub struct TicketDrive {
    lane: TicketLane,
    window: ShardWindow,
    thread: Option<JoinHandle<()>>,
}

impl TicketDrive {
    /// Starts it.
    ///
    /// # Errors
    /// When the verifier that was asked for is not to be had.
    pub fn start(tickets: Tickets) -> Result<Self, StartError> {
        let (lane, mut windows, thread) = TicketLane::start(tickets, 1).map_err(StartError)?;
        let window = windows
            .pop()
            .ok_or_else(|| StartError("the lane has no window".to_owned()))?;
        Ok(Self {
            lane,
            window,
            thread: Some(thread),
        })
    }

    /// Hands a payment in. `source` tells senders of payments apart, `key` comes back with the receipt.
    ///
    /// # Errors
    /// Gives the payment's memory back when the window is full.
    pub fn pay(&mut self, payment: Received, source: u64, key: u64) -> Result<(), Blank> {
        self.window.pay(payment, source, key)
    }

    /// Hands a charge in, at the window beside the shards'.
    pub fn charge(&self, charge: Charge, reply: ChargeReply) {
        self.lane.charge(charge, reply);
    }

    /// The next receipt, with its key and the payment's memory; `None` when there is none yet.
    #[expect(
        clippy::should_implement_trait,
        reason = "there may be more after none"
    )]
    pub fn next(&mut self) -> Option<(u64, Receipt, Blank)> {
        let answer = self.window.answers.pop()?;
        Some((answer.key, answer.receipt, answer.blank))
    }

    /// Sleeps until there is a receipt, somebody rings, or the time has passed. Whether there is a receipt.
    pub fn wait(&self, timeout: Duration) -> bool {
        let answers = &self.window.answers;
        self.window.bell.wait(timeout, || answers.is_due())
    }

    /// What it has done so far.
    pub fn report(&self) -> TicketReport {
        self.lane.report()
    }
}

impl Drop for TicketDrive {
    fn drop(&mut self) {
        self.lane.stop();
        if let Some(thread) = self.thread.take() {
            // It panicked, then; its guard ends the process.
            drop(thread.join());
        }
    }
}

/// Reads the head of a request as the till does: its length, and the payment, if it has one that is to be checked. `None` while it is not
/// whole, or when it is not for the till.
pub fn read_head(bytes: &[u8]) -> Option<(usize, Option<Received>)> {
    crate::shard::read_head(bytes)
}
