//! A session's bill: its tab, and the charges that go to the ticket lane.
//!
//! Invariants:
//! - One charge is under way at a time, and it is heard to its end: a session's task that looks away loses nothing by it.
//! - What is charged is pixels; what they cost is the account's own price, in the book.

use std::time::Duration;

use link::{Charge, NotCharged, SessionStats};
use ticket::book::Account;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::commands::Commands;
use super::limits;
use super::purchase::Payer;
use super::view::BillView;
use crate::payment::tab::{Rules, Tab, Verdict};

/// See the module.
pub(super) struct Bill {
    payer: Payer,
    tab: Tab,
    rules: Rules,
    began: Instant,
    commands: Commands,
    under_way: Option<Outcome>,
    account: Option<Account>,
}

type Outcome = oneshot::Receiver<Result<Account, NotCharged>>;

/// What the payer is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// The account is below zero, and the session ends if it stays there.
    Overdue(String),
    /// It is not below zero any more.
    Settled(String),
    /// The session is over for it.
    Over(String),
}

impl Bill {
    /// Of a session that begins now.
    pub(super) fn new(payer: Payer, rules: Rules, commands: Commands) -> Self {
        Self {
            payer,
            tab: Tab::new(rules),
            rules,
            began: Instant::now(),
            commands,
            under_way: None,
            account: None,
        }
    }

    /// Who pays.
    pub(super) const fn payer(&self) -> &Payer {
        &self.payer
    }

    /// Input so far.
    pub(super) fn saw(&mut self, stats: &SessionStats) {
        self.tab
            .saw(self.began.elapsed(), stats.segments_in, stats.bytes_in);
    }

    /// Begins a charge if one is due.
    pub(super) fn look(&mut self) {
        if let Some(pixels) = self.tab.due(self.began.elapsed()) {
            self.begin(pixels);
        }
    }

    fn begin(&mut self, pixels: u64) {
        let Payer {
            sender, account, ..
        } = self.payer;
        self.under_way = Some(self.commands.begin_charge(Charge {
            sender,
            account,
            pixels,
        }));
    }

    /// Waits for the charge that is under way, for ever when there is none. May be given up and called again.
    pub(super) async fn news(&mut self) -> News {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        // A reply that is lost answers by itself; without an engine nothing does.
        let outcome = under_way.await.unwrap_or(Err(NotCharged::NotRecorded));
        self.under_way = None;
        self.heard(outcome)
    }

    fn heard(&mut self, outcome: Result<Account, NotCharged>) -> News {
        let account = match outcome {
            Ok(account) => account,
            // It was there when the session began, and is forgotten after a day without a sign of life.
            Err(NotCharged::NoAccount) => {
                return News::Over("unpaid: there is no such account any more".to_owned());
            }
            Err(why) => {
                tracing::warn!(account = %self.payer.account, %why, "a session could not be charged, and will be");
                self.tab.not_charged();
                return News::None;
            }
        };
        let balance = account.balance();
        let verdict = self
            .tab
            .charged(self.began.elapsed(), balance.is_negative());
        self.account = Some(account);
        match verdict {
            Verdict::Paid | Verdict::StillUnpaid => News::None,
            Verdict::PaidAgain => {
                News::Settled(format!("payment received: {balance} wei are left"))
            }
            Verdict::Unpaid { .. } => News::Overdue(format!(
                "payment overdue: the balance is {balance} wei, and the session ends in {} s unless it is paid",
                self.rules.grace.as_secs()
            )),
            Verdict::Over => News::Over(format!("unpaid: the balance is {balance} wei")),
        }
    }

    /// Charges what is left, once the session has ended. What cannot be recorded in time is given up.
    pub(super) async fn close(&mut self, stats: &SessionStats) {
        if stats.bytes_in > 0 {
            self.saw(stats);
        }
        if let Ok(_news) = timeout(FAREWELL, self.news_if_any()).await
            && let Some(pixels) = self.tab.last(self.began.elapsed())
        {
            self.begin(pixels);
            drop(timeout(FAREWELL, self.news()).await);
        }
        tracing::info!(
            sender = %self.payer.sender,
            account = %self.payer.account,
            price = %self.payer.price,
            pixels = self.tab.charged_pixels(),
            balance_wei = self.account.as_ref().map(|account| account.balance().to_string()),
            "a session's bill is closed"
        );
    }

    async fn news_if_any(&mut self) -> News {
        match self.under_way {
            Some(_) => self.news().await,
            None => News::None,
        }
    }

    /// For whoever asks how the session is doing.
    pub(super) fn view(&self) -> BillView {
        let account = self.account.as_ref();
        BillView {
            sender: self.payer.sender.to_string(),
            price: self.payer.price.to_string(),
            charged_pixels: self.tab.charged_pixels(),
            balance_wei: account.map(|account| account.balance().to_string()),
        }
    }
}

/// How long the end of a session waits for its last charge.
const FAREWELL: Duration = limits::COMMAND;
