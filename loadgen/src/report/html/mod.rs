//! One page that needs nothing else: no network, no script, no font. What is drawn is SVG, and shows its values under the pointer.
//!
//! ```text
//!   verdict, key figures
//!   percentiles, latency over time, rates, utilisation, the generator's lateness     charts ──▶ plot ──▶ scale
//!   tables: latencies, counts, server, figures, streams, settings
//!   how to have it again
//! ```
//!
//! Invariants:
//! - Whatever comes from a result is escaped: it may have been written by anybody.
//! - A chart without data says so; it is not left out, nor empty.

mod charts;
mod plot;
mod scale;
mod tables;

use std::fmt::Write as _;

use plot::Size;

use super::text::{grouped, number, percent, plain};
use crate::outcome::Outcome;

/// The page.
pub fn render(outcome: &Outcome) -> String {
    let mut page = String::new();
    head(&mut page, outcome);
    verdict(&mut page, outcome);
    tiles(&mut page, outcome);
    latency(&mut page, outcome);
    over_time(&mut page, outcome);
    tables::all(&mut page, outcome);
    page.push_str("</body>\n</html>\n");
    page
}

// Writing to a String cannot fail.
fn head(page: &mut String, outcome: &Outcome) {
    let repro = &outcome.repro;
    let url = repro.server.get("url").map_or("", String::as_str);
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>loadgen {scenario}: {url}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>loadgen {scenario}</h1>\n<p class=\"under\">{url} · {at} · measured for {window} s · seed {seed}</p>",
        scenario = escaped(&outcome.scenario),
        url = escaped(url),
        at = escaped(&repro.started_at),
        window = plain(outcome.window_s),
        seed = repro.seed,
    );
}

fn verdict(page: &mut String, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    if verdict.is_valid {
        page.push_str(
            "<div class=\"verdict\"><b>Valid.</b> The generator kept up, and the run came to its end.</div>\n",
        );
        return;
    }
    page.push_str(
        "<div class=\"verdict bad\"><b>Not valid: these figures do not count.</b>\n<ul>\n",
    );
    for reason in &verdict.reasons {
        let _ = writeln!(page, "<li>{}</li>", escaped(reason));
    }
    page.push_str("</ul></div>\n");
}

fn tiles(page: &mut String, outcome: &Outcome) {
    let mut tiles: Vec<(String, String, &str)> = Vec::new();
    if let Some(main) = outcome
        .latencies
        .first()
        .filter(|main| main.corrected.count > 0)
    {
        let of = &main.corrected;
        for (name, value) in [
            ("p50", of.p50_ms),
            ("p99", of.p99_ms),
            ("p99.9", of.p999_ms),
            ("max", of.max_ms),
        ] {
            tiles.push((format!("{} {name}", main.name), number(value), "ms"));
        }
    }
    let rate = outcome.rate;
    tiles.push(("offered".to_owned(), number(rate.offered_per_s), "/s"));
    tiles.push(("achieved".to_owned(), number(rate.achieved_per_s), "/s"));
    tiles.push((
        "received".to_owned(),
        number(rate.received_mib_per_s),
        "MiB/s",
    ));
    tiles.push(("lost".to_owned(), grouped(outcome.lost), ""));
    tiles.push((
        "errors".to_owned(),
        grouped(outcome.counts.error_count()),
        "",
    ));
    if let Some(server) = &outcome.server {
        tiles.push((
            "server CPU".to_owned(),
            percent(server.cpu_share),
            "of a CPU",
        ));
        tiles.push(("server memory".to_owned(), number(server.rss_mib), "MiB"));
    }
    tiles.push((
        "own CPU, busiest".to_owned(),
        percent(outcome.own.cpu_share_max),
        "",
    ));
    page.push_str("<div class=\"tiles\">\n");
    for (name, value, unit) in tiles {
        let _ = writeln!(
            page,
            "<div><span>{}</span><b>{value}</b> <i>{unit}</i></div>",
            escaped(&name)
        );
    }
    page.push_str("</div>\n");
}

fn latency(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "<h2>Latency by percentile</h2>\n<p class=\"why\">From when it was due, whether or not the generator could have sent it. \
         Uncorrected is what a tool would have told that waits for each answer before it sends again.</p>\n",
    );
    let Some((main, others)) = outcome.latencies.split_first() else {
        page.push_str("<p class=\"none\">nothing was timed</p>\n");
        return;
    };
    let chart = |page: &mut String, latency, size| {
        let chart = charts::percentiles(latency, size);
        let _ = writeln!(
            page,
            "<h3>{}</h3>\n{}",
            escaped(&latency.title),
            chart.svg()
        );
    };
    chart(page, main, Size::Whole);
    if !others.is_empty() {
        page.push_str("<div class=\"pair\">\n");
        for other in others {
            page.push_str("<div>\n");
            chart(page, other, Size::Half);
            page.push_str("</div>\n");
        }
        page.push_str("</div>\n");
    }
    tables::latencies(page, outcome);
}

fn over_time(page: &mut String, outcome: &Outcome) {
    let main = outcome
        .latencies
        .first()
        .map_or(String::new(), |main| main.title.clone());
    for (title, why, chart) in [
        (
            "Latency over time",
            format!("{main}, by the second in which it came."),
            charts::latency_over_time(outcome),
        ),
        (
            "Rates",
            "Operations due and begun, and results. A triangle on the floor is a second with errors.".to_owned(),
            charts::rates(outcome),
        ),
        (
            "Utilisation",
            "The server's process over all its threads, the busiest thread of the generator, and the busiest GPU's engines."
                .to_owned(),
            charts::utilisation(outcome),
        ),
        (
            "The generator's own lateness",
            "From due to begun. What is here is part of every latency above.".to_owned(),
            charts::lateness(outcome),
        ),
    ] {
        let _ = writeln!(
            page,
            "<h2>{title}</h2>\n<p class=\"why\">{}</p>\n{}",
            escaped(&why),
            chart.svg()
        );
    }
}

/// Text within HTML, in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Nothing that a terminal, or a page, would take for more than text.
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Quantiles, Second};
    use crate::report::synthetic;

    /// Tags that are open at the end, or closed though not open.
    fn unbalanced(page: &str) -> Vec<String> {
        let mut open: Vec<String> = Vec::new();
        let mut faults = Vec::new();
        for tag in page.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap_or("");
            if tag.starts_with('!') || tag.ends_with('/') {
                continue;
            }
            let name: String = tag
                .trim_start_matches('/')
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if matches!(name.as_str(), "meta" | "br") {
                continue;
            }
            if tag.starts_with('/') {
                if open.last() == Some(&name) {
                    open.pop();
                } else {
                    faults.push(format!("</{name}> within {:?}", open.last()));
                }
            } else {
                open.push(name);
            }
        }
        faults.extend(open);
        faults
    }

    #[test]
    fn the_page_needs_nothing_and_believes_nobody() {
        let page = render(&synthetic::outcome());
        assert_eq!(unbalanced(&page), [""; 0]);
        for reference in [
            "src=", "href=", "url(", "@import", "<script", "<link", "<img", "<b>)",
        ] {
            assert!(!page.contains(reference), "{reference}");
        }
        // Addresses stand in text alone, never in an attribute.
        for scheme in ["\"http://", "\"https://", "'http://", "'https://"] {
            assert!(!page.contains(scheme), "{scheme}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("Valid.") && page.contains("5cc0be2a91d0-dirty"));
        assert!(
            page.contains("99.99 %") && page.matches("<svg").count() == 7,
            "charts"
        );
        assert!(page.contains("stream-5") && page.contains("shard-0"));
    }

    #[test]
    fn odd_results_make_pages_too() {
        let whole = synthetic::outcome();
        let mut empty = whole.clone();
        empty.series.clear();
        empty.latencies.clear();
        empty.server = None;
        empty.streams.clear();
        empty.figures.clear();
        empty.window_s = 0.0;
        let mut single = whole.clone();
        single.series.truncate(1);
        let mut odd = whole.clone();
        odd.latencies = vec![Latency {
            name: "\u{1b}[31m".to_owned(),
            title: "</svg>".to_owned(),
            corrected: Quantiles::default(),
            uncorrected: Quantiles::default(),
        }];
        odd.rate.offered_per_s = f64::NAN;
        odd.series = vec![Second {
            lateness_p99_ms: f64::NAN,
            own_cpu_share: f64::INFINITY,
            ..Second::default()
        }];
        odd.verdict.is_valid = false;
        odd.verdict.reasons = vec!["<late>".to_owned()];
        for outcome in [&empty, &single, &odd] {
            let page = render(outcome);
            assert_eq!(unbalanced(&page), [""; 0]);
            assert!(!page.contains("NaN") && !page.contains(">inf"), "{page}");
        }
        let page = render(&odd);
        assert!(page.contains("Not valid") && page.contains("&lt;late&gt;"));
        assert!(!page.contains('\u{1b}') && page.contains("&lt;/svg&gt;"));
        assert!(render(&empty).contains("nothing was timed"));
    }
}
