//! The scenario `tickets`: payments with probabilistic tickets, to an orchestrator that checks and credits them.
//!
//! ```text
//!   before   ledger ── what is open is settled ── GetOrchestrator ── tickets are signed, all of them ── connections are made
//!   then     due ──▶ a connection is idle ──▶ POST /payment ──▶ 200, 400, … ──▶ as it should be? ──▶ ledger
//!             ├──────────────── payment, or refusal ───────────┤
//! ```
//!
//! Invariants:
//! - Nothing is signed once the clock runs: a signature takes longer than its check may.
//! - A payment goes out when it is due, or when a connection is idle after that; each has one under way. Latency counts from due.
//! - A payment counts as credited when an answer says so, as refused when an answer says so, and else as open; nothing is guessed, so
//!   that the ledger and an orchestrator's own record can be held against each other to the last part of a wei.
//! - Forged payments and those that come a second time are to be refused. One that is accepted is *corrupt*, whenever it was.
//!
//! Here alone the generator shares code with a server: tickets are laid out, signed and written by the crate `ticket`, whose vectors are
//! the deployed contract's and go-livepeer's; and messages are those of the crate `proto`.
//!
//! Errors by class: `unknown` (the connection broke, or the run was over, before the answer: the payment is open), `connect` (no
//! connection), `malformed` (no HTTP), `status-N`, and for a refusal its reason: `signature`, `already-seen`, `nonces-full`, `expired`,
//! `reserve`, `unlocking`, `params`, `recipient`, `sender`, `price`, `round`.
//!
//! A program that wants the ledger whatever becomes of the run keeps the scenario:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
//! # use loadgen::{machine, sample::Sampler, target::{Target, Trust}, tickets::{Options, Tickets}};
//! # fn main() -> Result<(), loadgen::Failure> {
//! let target = Target::resolve("http://127.0.0.1:8935", Trust::Anyone, String::new())?;
//! let tickets = Tickets::resolve(&Options::default(), target.clone(), 1, |_| {})?;
//! let outcome = conduct(
//!     &tickets,
//!     Plan {
//!         lengths: Lengths {
//!             warmup: Duration::ZERO,
//!             window: Duration::from_secs(10),
//!             cooldown: Duration::ZERO,
//!             drain: Duration::from_secs(5),
//!         },
//!         threads: 1,
//!         cpus: Vec::new(),
//!         is_busy_polling: false,
//!         own_limits: OwnLimits { lateness_p99_ms: 1.0, cpu_share: 0.95 },
//!         sampler: Sampler::default(),
//!         repro: machine::repro(1, &target, None),
//!         sinks: Vec::new(),
//!         stop: Stop::default(),
//!     },
//! ); // an error, when the server is killed meanwhile
//! let mut ledger = tickets.ledger();
//! let settlement = ledger.settle(&target, &Stop::default())?; // once it is there again
//! # drop((outcome, settlement));
//! # Ok(())
//! # }
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use ticket::Address;

use crate::clock::{self, SECOND};
use crate::conduct::{Lengths, Scenario, Stop, Worker};
use crate::failure::Failure;
use crate::gateway::{Identity, Offer};
use crate::measure::{Interval, Metric};
use crate::outcome::{Better, Figure, ServerUse, Stream};
use crate::polite::Demand;
use crate::target::Target;

mod judge;
mod ledger;
mod lines;
mod options;
mod plan;
mod purse;
mod settle;
mod worker;

pub(crate) use ledger::as_text;
pub use ledger::{Account, Ledger, OpenPayment, Parts, SCHEMA};
pub use options::Options;
pub use settle::{Settlement, StillOpen};

use plan::Manner;
use worker::TicketsWorker;

/// The scenario, resolved. Clones are one: they share the ledger.
#[derive(Clone)]
pub struct Tickets {
    /// Whether the first refusal that asks for patience or money ends the run.
    pub stop_at_refusal: bool,
    manner: Manner,
    target: Target,
    seed: u64,
    progress: Arc<Progress>,
    books: Arc<Mutex<Books>>,
}

/// What all workers of a run write in.
#[derive(Default)]
struct Books {
    ledger: Ledger,
    /// What was open has been settled.
    has_begun: bool,
    /// Of the tickets that were offered last, how many win.
    win_rate: Option<f64>,
}

impl Tickets {
    /// Fills in the defaults and reads the ledger, if there is one; `progress` is told what is done before the start.
    ///
    /// # Errors
    /// The options ask for what cannot be, or the ledger cannot be read.
    pub fn resolve(
        options: &Options,
        target: Target,
        seed: u64,
        progress: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let manner = Manner::resolve(options)?;
        let ledger = manner.ledger.as_deref().map(Ledger::read).transpose()?;
        Ok(Self {
            stop_at_refusal: false,
            manner,
            target,
            seed,
            progress: Arc::new(Progress::new(progress)),
            books: Arc::default(),
        }
        .with_ledger(ledger.unwrap_or_default()))
    }

    /// Goes on from another ledger. What it holds open is settled before the next run.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        self.books().ledger = ledger;
        self
    }

    /// The ledger as it stands. What runs now is in it when its worker has ended, well or not.
    pub fn ledger(&self) -> Ledger {
        self.books().ledger.clone()
    }

    /// The senders. What each pays for, its session, the orchestrator says when it is asked.
    pub fn senders(&self) -> impl Iterator<Item = Address> + '_ {
        (0..self.manner.senders).map(|number| Identity::seeded(self.seed, number).address())
    }

    /// Whether payments are forged or repeated, which is for servers of one's own.
    pub fn is_hostile(&self) -> bool {
        self.manner.bad.0 > 0.0 || self.manner.replay.0 > 0.0
    }

    /// Settles what is open, once a run, whichever worker comes first; the others wait.
    fn begin(&self, stop: &Stop) -> Result<(), Failure> {
        let mut books = self.books();
        if books.has_begun {
            return Ok(());
        }
        // Also so that a file that cannot be written is known before anything is paid.
        self.save(&books.ledger)?;
        let open = books.ledger.open();
        if open > 0 {
            (self.progress.say)(&format!("settling {open} open payments"));
            let settlement = books.ledger.settle(&self.target, stop);
            self.save(&books.ledger)?;
            (self.progress.say)(&settlement?.to_string());
        }
        books.has_begun = true;
        Ok(())
    }

    fn take_offer(&self, offer: &Offer) -> Result<(), Failure> {
        if let Some(wanted) = self.manner.win_rate {
            offer.check_win_rate(wanted)?;
        }
        self.books().win_rate = Some(offer.win_rate());
        Ok(())
    }

    /// Enters something in the ledger, and writes it to its file.
    fn enter(&self, enter: impl FnOnce(&mut Ledger)) -> Result<(), Failure> {
        let mut books = self.books();
        enter(&mut books.ledger);
        self.save(&books.ledger)
    }

    fn save(&self, ledger: &Ledger) -> Result<(), Failure> {
        let path = self.manner.ledger.as_deref();
        path.map_or(Ok(()), |path| ledger.write(path))
    }

    /// Why a run ends whose server is gone.
    fn lost(&self) -> Failure {
        let ledger = match &self.manner.ledger {
            Some(path) => format!(
                "what it did not answer is open in the ledger: when it is there again, loadgen tickets --settle --ledger {}",
                path.display()
            ),
            None => {
                "what it did not answer is open; with --ledger it could be settled later".to_owned()
            }
        };
        Failure::new(format!(
            "{} is gone: it has refused every connection for a second, and the run is over. {ledger}",
            self.target
        ))
    }

    /// A worker that panicked with the books open left an account half written at the worst.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scenario for Tickets {
    fn name(&self) -> &'static str {
        "tickets"
    }

    fn operation(&self) -> &'static str {
        "payment"
    }

    fn metrics(&self) -> &'static [Metric] {
        match self.is_hostile() {
            true => METRICS,
            false => &METRICS[..=PAYMENT],
        }
    }

    fn settings(&self) -> Value {
        serde_json::to_value(&self.manner)
            .unwrap_or_else(|error| json!({"error": error.to_string()}))
    }

    fn demand(&self, traffic_s: f64) -> Demand {
        #[allow(clippy::cast_precision_loss)] // a rate
        let bits = self.manner.payment_bytes() as f64 * 8.0;
        Demand {
            sessions: self.manner.connections,
            mbit_per_s: bits * f64::from(self.manner.rate) / 1e6,
            seconds: traffic_s,
        }
    }

    fn workers(&self, threads: usize, lengths: Lengths) -> Result<Vec<Box<dyn Worker>>, Failure> {
        let traffic = lengths.warmup + lengths.window + lengths.cooldown;
        let traffic_ns = u64::try_from(traffic.as_nanos()).unwrap_or(u64::MAX);
        let slots = self.manner.slots(traffic_ns)?;
        self.books().has_begun = false;
        self.progress.reset();
        let connections = self.manner.connections as usize;
        let senders = self.manner.senders as usize;
        let hands = threads.clamp(1, connections.min(senders));
        Ok((0..hands)
            .map(|hand| {
                let numbers = (0..self.manner.senders).skip(hand).step_by(hands).collect();
                let connections = (connections - hand).div_ceil(hands);
                let worker = TicketsWorker::new(self.clone(), numbers, connections, slots);
                Box::new(worker) as Box<dyn Worker>
            })
            .collect())
    }

    fn figures(&self, total: &Interval, _: &[Stream], window_s: f64) -> Vec<Figure> {
        let counts = &total.counts;
        let [bad, bad_refused] = ["bad", "bad_refused"].map(|name| more(total, name));
        let [replays, replays_refused] =
            ["replays", "replays_refused"].map(|name| more(total, name));
        let refused = more(total, "refused");
        let answered = count(counts.received) - bad_refused - replays_refused + refused;
        let percent = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole * 100.0);
        let (higher, lower) = (Better::Higher, Better::Lower);
        let books = self.books();
        [
            (
                "tickets_per_s",
                "tickets credited, by answers within the window",
                Some(more(total, "tickets") / window_s),
                "tickets/s",
                higher,
            ),
            (
                "payments_per_s",
                "payments credited, by answers within the window",
                Some(more(total, "payments") / window_s),
                "payments/s",
                higher,
            ),
            (
                "win_rate_percent",
                "tickets that win, as offered",
                books.win_rate.map(|rate| rate * 100.0),
                "%",
                lower,
            ),
            (
                "refused_percent",
                "good payments that were refused",
                percent(refused, answered),
                "%",
                lower,
            ),
            (
                "bad_refused_percent",
                "forged payments that were refused as such",
                percent(bad_refused, bad),
                "%",
                higher,
            ),
            (
                "replays_refused_percent",
                "repeated payments that were refused as such",
                percent(replays_refused, replays),
                "%",
                higher,
            ),
            (
                "open",
                "payments whose fate is open at the end",
                Some(count(books.ledger.open() as u64)),
                "",
                lower,
            ),
        ]
        .into_iter()
        .filter_map(|(name, title, value, unit, better)| {
            Some(figure(name, title, value?, unit, better))
        })
        .collect()
    }

    fn costs(&self, server: &ServerUse, total: &Interval, window_s: f64) -> Vec<Figure> {
        let cpu_s = server.cpu_share * window_s;
        let (name, title) = (
            "tickets_per_core_s",
            "tickets credited for a second of the server's CPU",
        );
        let value = (cpu_s > 0.0).then(|| more(total, "tickets") / cpu_s);
        let figure = value.map(|value| figure(name, title, value, "tickets/s", Better::Higher));
        figure.into_iter().collect()
    }
}

fn figure(name: &str, title: &str, value: f64, unit: &str, better: Better) -> Figure {
    Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        value,
        unit: unit.to_owned(),
        better,
    }
}

fn more(total: &Interval, name: &str) -> f64 {
    count(total.counts.more.get(name).copied().unwrap_or(0))
}

#[allow(clippy::cast_precision_loss)] // for rates and shares
fn count(number: u64) -> f64 {
    number as f64
}

/// How far the signing is, over all workers.
struct Progress {
    say: Box<dyn Fn(&str) + Send + Sync>,
    expected: AtomicU64,
    done: AtomicU64,
    said_ns: AtomicU64,
}

impl Progress {
    fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            say: Box::new(say),
            expected: AtomicU64::new(0),
            done: AtomicU64::new(0),
            said_ns: AtomicU64::new(0),
        }
    }

    fn reset(&self) {
        self.expected.store(0, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    /// So many tickets more will be signed.
    fn expect(&self, tickets: u64) {
        self.expected.fetch_add(tickets, Ordering::Relaxed);
        self.said_ns.store(clock::now_ns(), Ordering::Relaxed);
    }

    /// So many more are. Says so when it was quiet for a while.
    fn advance(&self, tickets: u64) {
        let done = self.done.fetch_add(tickets, Ordering::Relaxed) + tickets;
        let (now_ns, said_ns) = (clock::now_ns(), self.said_ns.load(Ordering::Relaxed));
        let is_time = now_ns.saturating_sub(said_ns) >= SAY_EVERY_NS;
        // Of several workers that find it is time, one says so.
        let exchange = |at_ns| {
            self.said_ns
                .compare_exchange(said_ns, at_ns, Ordering::Relaxed, Ordering::Relaxed)
        };
        if is_time && exchange(now_ns).is_ok() {
            let expected = self.expected.load(Ordering::Relaxed);
            (self.say)(&format!("signed {done} of {expected} tickets"));
        }
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "payment",
        title: "due to the answer that it is credited",
    },
    Metric {
        name: "refusal",
        title: "due to the answer that it is refused, of those that are to be",
    },
];
/// Places in [`METRICS`].
const PAYMENT: usize = 0;
const REFUSAL: usize = 1;
const PAYMENT_PATH: &str = "/payment";
const SAY_EVERY_NS: u64 = 2 * SECOND;
