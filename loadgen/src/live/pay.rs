//! Sessions that pay, as a stock gateway pays for live video.
//!
//! ```text
//!   start     GetOrchestrator ──▶ offer ──▶ tickets for 60 s ──▶ POST /live-video-to-video, with the payment ──▶ manifest id
//!   then      an input segment begins, and pay_every is over ──▶ tickets for what has passed ──▶ POST /payment ──▶ new ticket params
//! ```
//!
//! - What is paid for is time: 1280×720×30 pixels a second, whatever the picture, from the answer to the start on. Whole pixels are
//!   reckoned, and what is left of one is in the next payment.
//! - A payment has as many tickets as make what was credited as much as what was reckoned; so a refused one is made up for by the next.
//! - A session has one payment under way. It is made beside the sessions' own threads, which frames are due on.
//! - Params come with every answer, under the token that the session has; when they are used up or have expired, they are asked for, with
//!   a token of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::conduct::Stop;
use crate::failure::Failure;
use crate::gateway::Identity;
use crate::grpc;
use crate::target::Target;

mod account;
mod purse;

pub use account::{Account, SCHEMA, Totals};
pub(super) use purse::Opening;
use purse::{Hands, Purse};

/// What everybody shares who pays in a run, and what came of it. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Till(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    target: Target,
    identity: Identity,
    model: String,
    every_ns: u64,
    ledger: Option<PathBuf>,
    purses: Mutex<BTreeMap<usize, Arc<Mutex<Purse>>>>,
    accounts: Mutex<BTreeMap<usize, Account>>,
}

/// A payment is to be made.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Of the run.
    number: usize,
    /// Place of the session at its worker.
    at: usize,
    due_ns: u64,
    told: Sender<Paid>,
}

/// A payment was made, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paid {
    /// Place of the session at its worker.
    pub(super) at: usize,
    pub(super) due_ns: u64,
    pub(super) at_ns: u64,
    /// Whether there was anything to be paid, or why it was not: the class of the error.
    pub(super) outcome: Result<bool, String>,
}

impl Till {
    pub(super) fn new(
        target: Target,
        identity: Identity,
        model: String,
        every_ns: u64,
        ledger: Option<PathBuf>,
    ) -> Self {
        Self(Arc::new(Shared {
            target,
            identity,
            model,
            every_ns,
            ledger,
            purses: Mutex::default(),
            accounts: Mutex::default(),
        }))
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    pub(super) fn every_ns(&self) -> u64 {
        self.0.every_ns
    }

    pub(super) fn ledger(&self) -> Option<&Path> {
        self.0.ledger.as_deref()
    }

    /// Begins a run: threads that pay, for as long as somebody holds what is given.
    ///
    /// # Errors
    /// There are no threads, or no descriptors.
    pub(super) fn open(&self, sessions: usize) -> Result<SyncSender<Job>, Failure> {
        locked(&self.0.purses).clear();
        locked(&self.0.accounts).clear();
        // One a session and no more can wait, since a session has one payment under way.
        let (jobs, waiting) = sync_channel(sessions);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..sessions.min(CASHIERS_MAX) {
            let (till, waiting) = (self.clone(), Arc::clone(&waiting));
            let hands = Hands::new(&self.0.target)?;
            thread::Builder::new()
                .name(format!("pay-{number}"))
                .spawn(move || till.attend(&waiting, hands))?;
        }
        Ok(jobs)
    }

    fn attend(&self, waiting: &Mutex<Receiver<Job>>, mut hands: Hands) {
        loop {
            let Ok(job) = locked(waiting).recv() else {
                return;
            };
            let purse = locked(&self.0.purses).get(&job.number).map(Arc::clone);
            let Some(purse) = purse else { continue };
            let outcome = locked(&purse).pay(&self.0, job.number, job.due_ns, &mut hands);
            // A worker that is gone has no more questions.
            let _ = job.told.send(Paid {
                at: job.at,
                due_ns: job.due_ns,
                at_ns: crate::clock::now_ns(),
                outcome,
            });
        }
    }

    /// Asks for terms and signs what a session's start is to pay.
    ///
    /// # Errors
    /// There is no orchestrator that offers any.
    pub(super) fn prepare(&self, asker: &mut grpc::Asker, stop: &Stop) -> Result<Opening, Failure> {
        Opening::prepare(&self.0, asker, stop)
    }

    /// A session was started with this payment, and is paid for from now on.
    pub(super) fn enter(&self, number: usize, opening: Opening, manifest_id: &str, now_ns: u64) {
        let (purse, account) = opening.accepted(manifest_id, now_ns, &self.0);
        locked(&self.0.accounts).insert(number, account);
        let purse = Arc::new(Mutex::new(purse));
        locked(&self.0.purses).insert(number, purse);
    }

    /// The orchestrator ended a session. Gives whether it was behind with its payments, as far as is known here.
    pub(super) fn end(&self, number: usize) -> bool {
        let mut accounts = locked(&self.0.accounts);
        let account = accounts.get_mut(&number);
        account.is_some_and(|account| {
            account.has_ended_unpaid = account.is_behind();
            account.has_ended_unpaid
        })
    }

    /// What was paid, session by session.
    pub(super) fn accounts(&self) -> Vec<Account> {
        locked(&self.0.accounts).values().cloned().collect()
    }

    /// Writes the ledger, if there is to be one, as it stands.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self) -> Result<(), Failure> {
        match &self.0.ledger {
            Some(path) => account::write(&self.accounts(), path),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn change(&self, number: usize, change: impl FnOnce(&mut Account)) {
        if let Some(account) = locked(&self.accounts).get_mut(&number) {
            change(account);
        }
    }
}

/// When a session pays: its side of the till.
#[derive(Debug)]
pub(super) struct Payer {
    job: Job,
    jobs: SyncSender<Job>,
    every_ns: u64,
    paid_ns: u64,
    is_paying: bool,
}

impl Payer {
    /// For session `number` of the run, which is its worker's session `at` and was started at `started_ns`.
    pub(super) fn new(
        (number, at): (usize, usize),
        till: &Till,
        jobs: SyncSender<Job>,
        told: Sender<Paid>,
        started_ns: u64,
    ) -> Self {
        Self {
            job: Job {
                number,
                at,
                due_ns: 0,
                told,
            },
            jobs,
            every_ns: till.every_ns(),
            paid_ns: started_ns,
            is_paying: false,
        }
    }

    /// An input segment has begun: pays, if it is time and no payment is under way.
    pub(super) fn segment_begins(&mut self, now_ns: u64) {
        if self.is_paying || now_ns.saturating_sub(self.paid_ns) < self.every_ns {
            return;
        }
        let job = Job {
            due_ns: now_ns,
            ..self.job.clone()
        };
        if self.jobs.try_send(job).is_ok() {
            (self.is_paying, self.paid_ns) = (true, now_ns);
        }
    }

    /// A payment came to its end.
    pub(super) fn handle_paid(&mut self) {
        self.is_paying = false;
    }

    pub(super) fn is_paying(&self) -> bool {
        self.is_paying
    }
}

/// A panic elsewhere leaves what is still right, or is one session's own.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Payments at a time: each waits for its answer.
const CASHIERS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::clock::SECOND;
    use crate::target::Trust;

    #[test]
    fn a_session_pays_when_it_is_time_and_one_payment_at_a_time() {
        let target = Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new()).unwrap();
        let till = Till::new(
            target,
            Identity::seeded(1, 0),
            "a".to_owned(),
            5 * SECOND,
            None,
        );
        let (jobs, waiting) = sync_channel(1);
        let (told, _hear) = mpsc::channel();
        let mut payer = Payer::new((7, 2), &till, jobs, told, 100 * SECOND);
        payer.segment_begins(104 * SECOND);
        assert!(!payer.is_paying());
        payer.segment_begins(106 * SECOND);
        assert!(payer.is_paying());
        let job = waiting.try_recv().unwrap();
        assert_eq!((job.number, job.at, job.due_ns), (7, 2, 106 * SECOND));
        payer.segment_begins(112 * SECOND);
        assert!(waiting.try_recv().is_err(), "the first is under way");
        payer.handle_paid();
        payer.segment_begins(110 * SECOND);
        assert!(waiting.try_recv().is_err(), "it is not time");
        payer.segment_begins(113 * SECOND);
        assert_eq!(waiting.try_recv().unwrap().due_ns, 113 * SECOND);
    }
}
