//! Commands to the data plane, with a deadline on each.
//!
//! Invariants:
//! - No call outlives its deadline. A full mailbox is tried again until then.
//! - A call that comes too late hands back the way to its outcome, so that what was done late can be undone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use link::{Answer, Charge, ChargeReply, Command, NotCharged, Refusal, Reply};
use ticket::book::Account;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::limits;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was carried out.
    Answered(Answer),
    /// It was not, and will not be.
    Refused(Refusal),
    /// The deadline passed first; the outcome may still arrive.
    Late(Pending),
}

/// An outcome that is still to come.
pub(super) type Pending = oneshot::Receiver<Result<Answer, Refusal>>;

/// The data plane, as a task can await it.
#[derive(Clone)]
pub(super) struct Commands(Arc<dyn link::Engine>);

impl Commands {
    pub(super) fn new(engine: Arc<dyn link::Engine>) -> Self {
        Self(engine)
    }

    /// Hands over `command` and waits for its outcome until `deadline`.
    pub(super) async fn call(&self, command: Command, deadline: Instant) -> Outcome {
        loop {
            let mut pending = self.submit(command.clone());
            match timeout_at(deadline, &mut pending).await {
                Ok(Ok(Ok(answer))) => return Outcome::Answered(answer),
                Ok(Ok(Err(Refusal::Busy))) if Instant::now() + limits::BUSY_PAUSE < deadline => {
                    sleep_until(Instant::now() + limits::BUSY_PAUSE).await;
                }
                Ok(Ok(Err(refusal))) => return Outcome::Refused(refusal),
                // A reply answers even when it is dropped, so a silent one means that the engine is gone.
                Ok(Err(_)) => return Outcome::Refused(Refusal::Stopped),
                Err(_) => return Outcome::Late(pending),
            }
        }
    }

    /// Hands over a payment.
    pub(super) fn pay(&self, payment: ticket::Received, source: u64, reply: link::PaymentReply) {
        self.0.pay(payment, source, reply);
    }

    /// Takes pixels from an account, and says how it stands then.
    pub(super) fn begin_charge(
        &self,
        charge: Charge,
    ) -> oneshot::Receiver<Result<Account, NotCharged>> {
        let (tell, told) = oneshot::channel();
        // Nobody may be left to hear it; it is taken all the same.
        self.0.charge(
            charge,
            ChargeReply::new(move |outcome| drop(tell.send(outcome))),
        );
        told
    }

    /// The same, waited for.
    pub(super) async fn charge(&self, charge: Charge) -> Result<Account, NotCharged> {
        match tokio::time::timeout(limits::PAYMENT, self.begin_charge(charge)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(NotCharged::NotRecorded),
        }
    }

    /// A private stream on which the data plane speaks trickle.
    pub(super) fn connect(&self) -> io::Result<OwnedFd> {
        self.0.connect()
    }

    fn submit(&self, command: Command) -> Pending {
        let (tx, rx) = oneshot::channel();
        // Nobody may be left to hear it; then nobody needs it.
        self.0
            .submit(command, Reply::new(move |outcome| drop(tx.send(outcome))));
        rx
    }
}
