//! Settling: every open payment of a ledger is sent again, and the answer says what became of it.
//!
//! | answer | means |
//! |---|---|
//! | 200 | it is credited now, all of it |
//! | 400 `already seen` | a ticket of it was credited before; those that were not are now. Either way each is credited once |
//! | 503 | to be sent again, a little later; and so it is, for a while |
//! | another | it stays open, and the answer is told |

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use ticket::Address;

use super::PAYMENT_PATH;
use super::judge::settles;
use super::ledger::{Account, Ledger, OpenPayment};
use crate::ask::Asker;
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::target::Target;

/// What came of settling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Payments that are credited now.
    pub credited_now: u64,
    /// Payments of which something had been credited before.
    pub credited_before: u64,
    /// Payments that stay open.
    pub open: Vec<StillOpen>,
}

/// A payment that stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillOpen {
    /// Who paid.
    pub sender: Address,
    /// What for.
    pub manifest_id: String,
    /// What was answered.
    pub why: String,
}

impl fmt::Display for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open.len();
        write!(
            f,
            "{} open payments sent again: {} credited now, {} before, {open} still open",
            self.credited_now + self.credited_before + open as u64,
            self.credited_now,
            self.credited_before,
        )?;
        for StillOpen {
            sender,
            manifest_id,
            why,
        } in self.open.iter().take(SHOWN_MAX)
        {
            write!(f, "\n  {sender} {manifest_id}: {why}")?;
        }
        if open > SHOWN_MAX {
            write!(f, "\n  and {} more", open - SHOWN_MAX)?;
        }
        Ok(())
    }
}

impl Ledger {
    /// Sends every open payment again, one after another, and enters what the answers say.
    ///
    /// # Errors
    /// The server cannot be reached. What was settled until then is entered, and the rest is open as before.
    pub fn settle(&mut self, target: &Target, stop: &Stop) -> Result<Settlement, Failure> {
        let mut settler = Settler {
            asker: Asker::new(target)?,
            stop,
            patient_until: Instant::now() + PATIENCE,
        };
        let mut settlement = Settlement::default();
        for account in self.accounts_mut() {
            settler
                .settle(account, &mut settlement)
                .map_err(|why| why.during("open payments could not be settled"))?;
        }
        Ok(settlement)
    }
}

struct Settler<'a> {
    asker: Asker,
    stop: &'a Stop,
    /// How long a server may say that it is to be asked again; renewed whenever it says something else.
    patient_until: Instant,
}

impl Settler<'_> {
    fn settle(
        &mut self,
        account: &mut Account,
        settlement: &mut Settlement,
    ) -> Result<(), Failure> {
        let mut waiting = std::mem::take(&mut account.open).into_iter();
        while let Some(payment) = waiting.next() {
            let answer = match self.send(&payment) {
                Ok(answer) => answer,
                Err(why) => {
                    account.open.push(payment);
                    account.open.extend(waiting);
                    return Err(why);
                }
            };
            let worth = payment.worth();
            match (answer, worth) {
                (Ok(was_before), Ok((tickets, value))) => {
                    account.credit(tickets, value);
                    settlement.credited_before += u64::from(was_before);
                    settlement.credited_now += u64::from(!was_before);
                }
                (Err(why), _) | (_, Err(why)) => {
                    account.open.push(payment);
                    settlement.open.push(StillOpen {
                        sender: account.sender,
                        manifest_id: account.manifest_id.clone(),
                        why,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether it was credited before, or why nobody knows.
    fn send(&mut self, payment: &OpenPayment) -> Result<Result<bool, String>, Failure> {
        let headers = [
            ("Livepeer-Payment", payment.payment.as_str()),
            ("Livepeer-Segment", payment.purpose.as_str()),
        ];
        let mut broken = 0;
        loop {
            if self.stop.is_told() {
                return Ok(Err("it was interrupted".to_owned()));
            }
            let answer = self
                .asker
                .ask("POST", PAYMENT_PATH, &headers, b"", ANSWER_TIMEOUT);
            match answer {
                Ok(answer) if answer.status == 503 && Instant::now() < self.patient_until => {}
                Ok(answer) => {
                    if answer.status != 503 {
                        self.patient_until = Instant::now() + PATIENCE;
                    }
                    let text = answer.text();
                    return Ok(settles(answer.status, &text)
                        .ok_or_else(|| format!("{}: {text}", answer.status)));
                }
                Err(_) if broken < BROKEN_MAX => broken += 1,
                Err(why) => return Err(why),
            }
            thread::sleep(AGAIN);
        }
    }
}

/// Longer than the server itself takes to give an answer up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// A server that has just begun may not know its senders yet.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);
/// A connection may break again; a server where it always does is not there.
const BROKEN_MAX: u32 = 3;
/// Payments that are told one by one.
const SHOWN_MAX: usize = 10;
