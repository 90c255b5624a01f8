//! The rounds of a run: every verifier on every shape of load, and recovery alone between them.

use std::path::PathBuf;
use std::time::Instant;

use control::ticket::layout::Digest;
use control::ticket::sender::LocalKey;
use control::ticket::verify::Reference;
use engine::{Gather, VerifierChoice};

use super::drive::{Bench, Throughput};
use super::latency::{Latency, latency};
use super::purse::Purse;
use crate::pin;

/// The verifiers, by the names of `--ticket-verifier`.
pub const VERIFIERS: [(&str, VerifierChoice); 3] = [
    ("reference", VerifierChoice::Reference),
    ("known", VerifierChoice::Known),
    ("vector", VerifierChoice::Vector),
];
/// Recoveries of one measurement.
const RAW: u32 = 8_000;
/// The part of the throughput at which latency is measured.
pub(super) const LOAD: f64 = 0.7;

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Who pay, by turns.
    pub senders: usize,
    /// Tickets of a payment.
    pub tickets_each: u32,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The shapes.
    pub shapes: Vec<Shape>,
    /// Which verifiers, by name.
    pub verifiers: Vec<&'static str>,
    /// How often each is measured.
    pub rounds: usize,
    /// Tickets of one measurement, a fifth of them for warming up.
    pub tickets: usize,
    /// How the lane gathers.
    pub gather: Gather,
    /// Where databases are made.
    pub dir: PathBuf,
    /// The core that is measured, and the one that the latency's generator has.
    pub cpus: (usize, usize),
    /// Whether latency is measured as well.
    pub has_latency: bool,
}

/// One verifier on one shape.
#[derive(Debug)]
pub struct Cell {
    /// The verifier.
    pub verifier: &'static str,
    /// The load.
    pub shape: Shape,
    /// Every round's.
    pub throughput: Vec<Throughput>,
    /// Recoveries a second just before and just after each: machines that are shared are faster at one time than at another.
    pub raw: Vec<f64>,
    /// At a part of the median throughput.
    pub latency: Option<Latency>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Figures {
    /// Recoveries a second of libsecp256k1 alone, address and all, every time that it was measured.
    pub raw: Vec<f64>,
    /// The table.
    pub cells: Vec<Cell>,
    /// Verifiers that this processor does not have, and why.
    pub absent: Vec<String>,
}

/// Measures. `tell` hears what is being done.
///
/// # Errors
/// A core cannot be had, or the disk takes nothing; a sentence.
pub fn run(campaign: &Campaign, mut tell: impl FnMut(&str)) -> Result<Figures, String> {
    let mut figures = Figures {
        raw: Vec::new(),
        cells: Vec::new(),
        absent: Vec::new(),
    };
    let mut verifiers = Vec::new();
    for (name, choice) in VERIFIERS
        .iter()
        .filter(|(name, _)| campaign.verifiers.contains(name))
    {
        match choice.outlook() {
            Ok(_) => verifiers.push((*name, *choice)),
            Err(why) => figures.absent.push(why),
        }
    }
    for shape in &campaign.shapes {
        tell(&format!(
            "signing: {} senders, {} tickets a payment",
            shape.senders, shape.tickets_each
        ));
        let purse = Purse::fill(shape.senders, shape.tickets_each, campaign.tickets);
        let warm_up = purse.payments.len() / 5;
        let mut cells: Vec<_> = verifiers
            .iter()
            .map(|(verifier, _)| Cell {
                verifier,
                shape: *shape,
                throughput: Vec::new(),
                raw: Vec::new(),
                latency: None,
            })
            .collect();
        let mut before = on(campaign.cpus.0, recover)?;
        figures.raw.push(before);
        for round in 0..campaign.rounds {
            for ((verifier, choice), cell) in verifiers.iter().zip(&mut cells) {
                let throughput = on(campaign.cpus.0, || {
                    let mut bench = Bench::start(&campaign.dir, *choice, campaign.gather)?;
                    Ok::<_, String>(bench.throughput(&purse, warm_up))
                })??;
                tell(&format!(
                    "round {}: {verifier}: {:.0} tickets/s",
                    round + 1,
                    throughput.rate()
                ));
                cell.throughput.push(throughput);
                let after = on(campaign.cpus.0, recover)?;
                figures.raw.push(after);
                cell.raw.push(f64::midpoint(before, after));
                before = after;
            }
        }
        if campaign.has_latency {
            for ((verifier, choice), cell) in verifiers.iter().zip(&mut cells) {
                let rate = cell.rate() * LOAD;
                // The lane's threads are started on the measured core, and stay there when the generator leaves.
                let mut bench = on(campaign.cpus.0, || {
                    Bench::start(&campaign.dir, *choice, campaign.gather)
                })??;
                let measured = on(campaign.cpus.1, || {
                    latency(&mut bench, &purse, rate, warm_up)
                })?;
                tell(&format!(
                    "at {rate:.0} tickets/s: {verifier}: p99 {} us",
                    measured.us.value_at_quantile(0.99)
                ));
                cell.latency = Some(measured);
            }
        }
        figures.cells.append(&mut cells);
    }
    Ok(figures)
}

impl Cell {
    /// The median throughput, tickets a second.
    pub fn rate(&self) -> f64 {
        median(self.throughput.iter().map(Throughput::rate))
    }

    /// The median of how many times the recoveries alone it was, each round by those beside it.
    pub fn of_raw(&self) -> f64 {
        let rates = self.throughput.iter().map(Throughput::rate);
        median(rates.zip(&self.raw).map(|(rate, raw)| rate / raw))
    }

    /// The median processor time of a ticket, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        median(self.throughput.iter().map(Throughput::cpu_us))
    }
}

/// The middle one.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Carries out something on a core: threads that it starts are bound to it as well.
pub(super) fn on<T: Send>(cpu: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            pin::to(cpu).map_err(|error| format!("core {cpu} is not to be had: {error}"))?;
            Ok(work())
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// libsecp256k1 alone, one signature after the other: keys and addresses a second.
fn recover() -> f64 {
    let key = LocalKey::new([7; 32]).expect("a key");
    let signatures: Vec<_> = (0..64u8)
        .map(|n| (Digest([n; 32]), key.sign(&Digest([n; 32]))))
        .collect();
    let began = Instant::now();
    for n in 0..RAW as usize {
        let (digest, signature) = &signatures[n % signatures.len()];
        let signer = Reference::signer(
            std::hint::black_box(digest),
            std::hint::black_box(signature),
        );
        assert_eq!(signer, Some(key.address()));
    }
    f64::from(RAW) / began.elapsed().as_secs_f64()
}
