//! One sender floods the lane with signatures that are not its own, and another pays: what the other loses.
//!
//! ```text
//!   payer: sound payments, one after the other or at a rate ──┐
//!                                                             ├──▶ ticket lane (a core of its own)
//!   flood: forged ones, as many under way as there is room ───┘
//! ```
//!
//! Forged tickets cost the lane as much as there is: their parameters are ours and hold, and whoever signed has to be found out. They use
//! up no nonce, so the same ones serve for ever.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use engine::VerifierChoice;
use hdrhistogram::Histogram;

use super::drive::Bench;
use super::latency::{LONGEST_US, micros};
use super::purse::Purse;
use super::rounds::{Campaign, VERIFIERS, median, on};
use crate::run::machine;

/// Tickets of the payer that are under way at once, when he pays as fast as he can.
const PAYER_UNDER_WAY: usize = 1024;
/// Where the payer comes from, and the flood.
const PAYER: u64 = 1;
const FLOOD: u64 = 2;
/// Keys from here on are the flood's.
const FLOOD_KEYS: u64 = 1 << 40;

/// What became of the payer, and of the flood beside it.
#[derive(Debug)]
struct Share {
    /// The payer's tickets a second.
    paid: f64,
    /// Forged tickets a second that were looked at beside it.
    forged: f64,
    /// How long the payer's payments took, from due (or handed in) to answered, in microseconds.
    us: Histogram<u64>,
}

/// How the payer pays.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// As fast as he is answered.
    Closed,
    /// So many tickets a second, come what may.
    Open(f64),
}

/// Puts the payer's payments through beside a flood of `forged` payments, of which `flood` tickets are always under way; zero for none.
/// The first `warm_up` payments are not measured.
///
/// # Panics
/// When a sound ticket is not credited, or a forged one is.
fn share(
    bench: &mut Bench,
    (payer, warm_up): (&Purse, usize),
    pace: Pace,
    (forged, flood): (&Purse, usize),
) -> Share {
    let mut us = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that fit");
    let under_way_max = (PAYER_UNDER_WAY / payer.tickets_each as usize).max(1);
    let flood_max = flood / forged.tickets_each as usize;
    let total = payer.payments.len();
    let start = Instant::now() + Duration::from_millis(5);
    let due = |n: usize| match pace {
        Pace::Closed => start,
        Pace::Open(rate) => {
            start + Duration::from_secs_f64(f64::from(payer.tickets_each) / rate).mul_f64(n as f64)
        }
    };
    let mut handed_in = vec![start; total];
    let (mut sent, mut answered) = (0, 0);
    let (mut flood_sent, mut flood_answered) = (0_u64, 0_u64);
    let mut began = None;
    while answered < total {
        let now = Instant::now();
        let has_room = |sent: usize| match pace {
            Pace::Closed => sent - answered < under_way_max,
            Pace::Open(_) => sent - answered < 1_500,
        };
        while sent < total && now >= due(sent) && has_room(sent) {
            handed_in[sent] = match pace {
                Pace::Closed => Instant::now(),
                Pace::Open(_) => due(sent),
            };
            bench.pay_from(PAYER, &payer.payments[sent], sent as u64);
            sent += 1;
        }
        // A few at a time: the payer is not to wait for the flood's maker.
        for _ in 0..32 {
            if flood_sent - flood_answered >= flood_max as u64 {
                break;
            }
            let which = usize::try_from(flood_sent).expect("a count") % forged.payments.len();
            bench.pay_from(FLOOD, &forged.payments[which], FLOOD_KEYS + flood_sent);
            flood_sent += 1;
        }
        let drive = bench.drive.as_mut().expect("it runs");
        while let Some((key, receipt, blank)) = drive.next() {
            bench.blanks.push(blank);
            if key >= FLOOD_KEYS {
                assert_eq!(receipt.credited, 0, "a forged ticket");
                flood_answered += 1;
                continue;
            }
            assert_eq!(
                (receipt.credited, receipt.refused),
                (payer.tickets_each, None),
                "payment {key}"
            );
            let key = usize::try_from(key).expect("a count");
            if key >= warm_up {
                let took = Instant::now().saturating_duration_since(handed_in[key]);
                us.saturating_record(micros(took));
            }
            answered += 1;
        }
        if began.is_none() && answered >= warm_up {
            began = Some((answered, flood_answered, Instant::now()));
        }
        std::hint::spin_loop();
    }
    let (from, flood_from, since) = began.expect("more payments than are for warming up");
    let seconds = since.elapsed().as_secs_f64();
    let rate = |payments: u64, each: u32| payments as f64 * f64::from(each) / seconds;
    Share {
        paid: rate((total - from) as u64, payer.tickets_each),
        forged: rate(flood_answered - flood_from, forged.tickets_each),
        us,
    }
}

/// A flood of one kind.
#[derive(Debug, Clone, Copy)]
struct Kind {
    what: &'static str,
    /// Whose name the tickets are in; the payer is 0.
    sender: usize,
    tickets_each: u32,
    /// Forged tickets under way; zero for no flood.
    under_way: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        what: "no flood",
        sender: 1,
        tickets_each: 1,
        under_way: 0,
    },
    Kind {
        what: "in its own name, 1 ticket a payment",
        sender: 1,
        tickets_each: 1,
        under_way: 2_000,
    },
    Kind {
        what: "in its own name, 600 tickets a payment",
        sender: 1,
        tickets_each: 600,
        under_way: 600 * 500,
    },
    Kind {
        what: "in the payer's name, from elsewhere, 600 tickets a payment",
        sender: 0,
        tickets_each: 600,
        under_way: 600 * 500,
    },
];
/// The part of what he can pay alone that the payer pays when his latency is measured.
const CALM: f64 = 0.25;

/// Measures every kind of flood with every verifier of a campaign, and gives the report, as Markdown.
///
/// # Errors
/// A core cannot be had, or the disk takes nothing; a sentence.
pub fn report(
    campaign: &Campaign,
    date: Option<&str>,
    mut tell: impl FnMut(&str),
) -> Result<String, String> {
    let each = campaign
        .shapes
        .first()
        .map_or(1, |shape| shape.tickets_each);
    let payer = Purse::fill(1, each, campaign.tickets);
    let forged: Vec<_> = KINDS
        .iter()
        .map(|kind| Purse::forge(kind.sender, kind.tickets_each, 64))
        .collect();
    let mut out = format!(
        "# A flood of forged tickets, and who pays beside it\n\n{}\n\n\
         The lane is on CPU {}, payer and flood are made on CPU {}. The payer's payments have {each} ticket(s). *As fast as it goes*: {PAYER_UNDER_WAY}\n\
         of his tickets are under way. *At a quarter*: he pays {:.0} % of what he can pay alone, whatever the lane does. Medians of {} rounds, each with a measurement\n\
         without a flood just before it.\n\n\
         | verifier | flood | tickets/s, as fast as it goes | of alone | forged/s | at a quarter: p50 ms | p99 ms |\n|---|---|---:|---:|---:|---:|---:|\n",
        machine::describe(date),
        campaign.cpus.0,
        campaign.cpus.1,
        CALM * 100.0,
        campaign.rounds,
    );
    let wanted = VERIFIERS
        .iter()
        .filter(|(name, _)| campaign.verifiers.contains(name));
    for (verifier, choice) in wanted {
        if let Err(why) = choice.outlook() {
            let _ = writeln!(out, "| {verifier} | absent: {why} | | | | | |");
            continue;
        }
        let no_flood = (&forged[0], 0);
        for (kind, forged) in KINDS.iter().zip(&forged) {
            let flood = (forged, kind.under_way);
            let mut rounds = Vec::new();
            for _ in 0..campaign.rounds {
                // Side by side, on a machine that is faster at one time than at another.
                let alone = one(campaign, *choice, &payer, Pace::Closed, no_flood)?;
                let beside = one(campaign, *choice, &payer, Pace::Closed, flood)?;
                rounds.push((alone.paid, beside));
            }
            let alone = median(rounds.iter().map(|(alone, _)| *alone));
            let paid = median(rounds.iter().map(|(_, beside)| beside.paid));
            let of_alone = median(rounds.iter().map(|(alone, beside)| beside.paid / alone));
            let calm = one(campaign, *choice, &payer, Pace::Open(alone * CALM), flood)?;
            let ms = |quantile| calm.us.value_at_quantile(quantile) as f64 / 1e3;
            tell(&format!(
                "{verifier}, {}: {of_alone:.2} of alone",
                kind.what
            ));
            let _ = writeln!(
                out,
                "| {verifier} | {} | {paid:.0} | {:.2} | {:.0} | {:.2} | {:.2} |",
                kind.what,
                of_alone,
                median(rounds.iter().map(|(_, beside)| beside.forged)),
                ms(0.5),
                ms(0.99),
            );
        }
    }
    Ok(out)
}

fn one(
    campaign: &Campaign,
    choice: VerifierChoice,
    payer: &Purse,
    pace: Pace,
    flood: (&Purse, usize),
) -> Result<Share, String> {
    let mut bench = on(campaign.cpus.0, || {
        Bench::start(&campaign.dir, choice, campaign.gather)
    })??;
    let warm_up = payer.payments.len() / 5;
    on(campaign.cpus.1, || {
        share(&mut bench, (payer, warm_up), pace, flood)
    })
}
