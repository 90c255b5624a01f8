//! The result, as Markdown.

use std::fmt::Write as _;

use super::latency::Latency;
use super::rounds::{Campaign, Figures, LOAD, median};
use crate::run::machine;

/// The whole report.
pub fn report(campaign: &Campaign, figures: &Figures, date: Option<&str>) -> String {
    let raw = median(figures.raw.iter().copied());
    let mut out = String::from("# Tickets validated by one core\n\n");
    let _ = writeln!(out, "{}\n", machine::describe(date));
    let _ = writeln!(
        out,
        "From a payment's bytes to an answer that is on disk, everything on CPU {}: reading, MAC, hashes, signatures, draw, nonces, credit,\n\
         SQLite in WAL mode with every commit synced. One ticket in a hundred wins. Medians of {} rounds of {} tickets; batches of up to\n\
         {} tickets, or of what came in {} us. libsecp256k1 alone recovers **{raw:.0}** signers a second in this run ({} to {}), one after the\n\
         other, on the same core; the multiples are medians too, each round's of the recoveries just before and after it.\n",
        campaign.cpus.0,
        campaign.rounds,
        campaign.tickets,
        campaign.gather.batch_tickets,
        campaign.gather.wait.as_micros(),
        figures
            .raw
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
            .round(),
        figures.raw.iter().copied().fold(0.0, f64::max).round(),
    );
    for absent in &figures.absent {
        let _ = writeln!(out, "Absent: {absent}.\n");
    }
    out.push_str("| verifier | senders | tickets a payment | tickets/s | rounds | of raw recovery | CPU us a ticket | tickets a batch |\n");
    out.push_str("|---|---:|---:|---:|---|---:|---:|---:|\n");
    for cell in &figures.cells {
        let rounds: Vec<_> = cell
            .throughput
            .iter()
            .map(|round| format!("{:.0}", round.rate()))
            .collect();
        let batches = median(
            cell.throughput
                .iter()
                .map(|round| round.tickets as f64 / round.batches.max(1) as f64),
        );
        let _ = writeln!(
            out,
            "| {} | {} | {} | **{:.0}** | {} | {:.2} x | {:.2} | {batches:.0} |",
            cell.verifier,
            cell.shape.senders,
            cell.shape.tickets_each,
            cell.rate(),
            rounds.join(", "),
            cell.of_raw(),
            cell.cpu_us(),
        );
    }
    if figures.cells.iter().any(|cell| cell.latency.is_some()) {
        let _ = writeln!(
            out,
            "\nLatency of a payment at {:.0} % of that rate, from when it was due to when it was answered. The generator is on CPU {}, and\n\
             reads payments from their bytes there; *late* is how far behind its schedule it was.\n",
            LOAD * 100.0,
            campaign.cpus.1
        );
        out.push_str("| verifier | senders | tickets a payment | tickets/s | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | late p99 us | tickets a batch |\n");
        out.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for cell in &figures.cells {
            if let Some(latency) = &cell.latency {
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {}",
                    cell.verifier,
                    cell.shape.senders,
                    cell.shape.tickets_each,
                    row(latency)
                );
            }
        }
    }
    out
}

fn row(latency: &Latency) -> String {
    let ms = |quantile: f64| latency.us.value_at_quantile(quantile) as f64 / 1e3;
    format!(
        "{:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {:.0} |",
        latency.rate,
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        ms(1.0),
        latency.late_us.value_at_quantile(0.99),
        latency.batch_tickets,
    )
}
