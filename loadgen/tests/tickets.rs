//! The scenario `tickets` against an orchestrator that checks as a real one does and errs by script: every figure is exact, and the
//! ledger is the orchestrator's book, to the last part of a wei.

#[path = "tickets/orchestrator.rs"]
mod orchestrator;
mod support;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use loadgen::Failure;
use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
use loadgen::outcome::{Outcome, Repro};
use loadgen::sample::Sampler;
use loadgen::search::slo::{Slo, Verdict};
use loadgen::tickets::{Ledger, Options, Tickets};

use orchestrator::{Action, Orchestrator};
use support::{errors, target};

/// 200 payments in a window, all of which count.
const LOAD: &str = "senders = 5\nrate = 500\nconnections = 4\n";
const WINDOW: Duration = Duration::from_millis(400);

fn tickets(url: &str, options: &str) -> Tickets {
    let options: Options = toml::from_str(options).expect("options");
    Tickets::resolve(&options, target(url), 1, |_| {}).expect("a load")
}

fn carry_out(tickets: &Tickets, window: Duration, stop: Stop) -> Result<Outcome, Failure> {
    let plan = Plan {
        lengths: Lengths {
            warmup: Duration::ZERO,
            window,
            cooldown: Duration::ZERO,
            drain: Duration::from_secs(5),
        },
        threads: 2,
        cpus: Vec::new(),
        is_busy_polling: false,
        // Tests share their machine with others: the generator may be late.
        own_limits: OwnLimits {
            lateness_p99_ms: 1e6,
            cpu_share: 1e6,
        },
        sampler: Sampler::default(),
        repro: Repro::default(),
        sinks: Vec::new(),
        stop,
    };
    conduct(tickets, plan)
}

fn run(script: fn(usize) -> Action, options: &str) -> (Outcome, Ledger, Orchestrator) {
    let server = Orchestrator::start(script);
    let tickets = tickets(&server.url, &format!("{LOAD}{options}"));
    let outcome = carry_out(&tickets, WINDOW, Stop::default()).expect("an outcome");
    (outcome, tickets.ledger(), server)
}

fn more(outcome: &Outcome, name: &str) -> u64 {
    outcome.counts.more.get(name).copied().unwrap_or(0)
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    let figure = outcome.figures.iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no figure {name}")).value
}

/// Nothing went wrong, and every payment had the answer that it should have.
fn assert_clean(outcome: &Outcome, payments: u64) {
    let counts = &outcome.counts;
    assert_eq!(
        (counts.due, counts.sent),
        (payments, payments),
        "{counts:?}"
    );
    assert_eq!(
        (counts.expected, counts.received),
        (payments, payments),
        "{counts:?}"
    );
    assert_eq!((counts.dropped, counts.corrupt, outcome.lost), (0, 0, 0));
    assert_eq!(counts.errors, [].into(), "{:?}", outcome.notes);
}

fn assert_same(ledger: &Ledger, server: &Orchestrator, tickets: u64) {
    assert_eq!(server.differences(ledger), [""; 0]);
    assert_eq!((ledger.tickets(), server.credited()), (tickets, tickets));
}

#[test]
fn a_server_without_fault_is_told_to_have_none() {
    let (outcome, ledger, server) = run(|_| Action::Serve, "");
    assert_clean(&outcome, 200);
    assert_same(&ledger, &server, 200);
    assert_eq!((ledger.open(), ledger.accounts().count()), (0, 5));
    assert_eq!(outcome.latencies.len(), 1);
    assert_eq!(outcome.latencies[0].corrected.count, 200);
    assert_eq!(outcome.latencies[0].uncorrected.count, 200);
    // Answers that come after the window's end are not of the window.
    let (tickets, payments) = (more(&outcome, "tickets"), more(&outcome, "payments"));
    assert!(
        (100..=200).contains(&tickets) && payments == tickets,
        "{outcome:?}"
    );
    assert_eq!(figure(&outcome, "tickets_per_s"), tickets as f64 / 0.4);
    assert_eq!(figure(&outcome, "refused_percent"), 0.0);
    let win_rate = figure(&outcome, "win_rate_percent");
    assert!(
        (win_rate - 0.1).abs() < 1e-6,
        "8000000011 of 8e12 wei: {win_rate}"
    );
    // Each sender's in their order, for one connection at a time has the next.
    for sender in ledger.accounts().map(|account| account.sender) {
        let came = server.came().into_iter().filter(|(it, _)| *it == sender);
        let mut nonces: Vec<u32> = came.map(|(_, nonce)| nonce).collect();
        nonces.sort_unstable();
        assert!(nonces.into_iter().eq(1..=40));
    }
}

#[test]
fn tls_and_a_hundred_tickets_a_payment() {
    let server = Orchestrator::start_tls(|_| Action::Serve);
    let options = "senders = 2\nrate = 75\nconnections = 2\ntickets_per_payment = 100";
    let tickets = tickets(&server.url, options);
    let outcome = carry_out(&tickets, WINDOW, Stop::default()).unwrap();
    assert_clean(&outcome, 30);
    // 15 payments of a sender are three sets of parameters, and one account.
    assert_same(&tickets.ledger(), &server, 3_000);
    assert_eq!(tickets.ledger().accounts().count(), 2);
    assert!(
        outcome.counts.bytes_sent > 30 * 9_000,
        "{:?}",
        outcome.counts
    );
}

#[test]
fn the_most_tickets_that_a_payment_may_have() {
    let server = Orchestrator::start(|_| Action::Serve);
    let tickets = tickets(
        &server.url,
        "senders = 2\nrate = 10\nconnections = 2\ntickets_per_payment = \"599..600\"",
    );
    let outcome = carry_out(&tickets, WINDOW, Stop::default()).unwrap();
    assert_clean(&outcome, 4);
    assert_same(&tickets.ledger(), &server, server.credited());
    assert!((4 * 599..=4 * 600).contains(&server.credited()));
}

#[test]
fn forged_payments_are_to_be_refused_and_are_counted_one_by_one() {
    let (outcome, ledger, server) =
        run(|_| Action::Serve, "bad = \"20%\"\ntickets_per_payment = 3");
    assert_clean(&outcome, 200);
    let bad = server.answered(400);
    assert!((20..=60).contains(&bad), "{bad}");
    assert_eq!(
        (more(&outcome, "bad"), more(&outcome, "bad_refused")),
        (bad, bad)
    );
    assert_eq!(figure(&outcome, "bad_refused_percent"), 100.0);
    assert_same(&ledger, &server, (200 - bad) * 3);
    let [payment, refusal] = &outcome.latencies[..] else {
        panic!("{:?}", outcome.latencies);
    };
    assert_eq!(
        (payment.corrected.count, refusal.corrected.count),
        (200 - bad, bad)
    );
}

#[test]
fn repeated_payments_are_to_be_refused_and_credit_nothing() {
    let (outcome, ledger, server) = run(
        |_| Action::Serve,
        "replay = \"30%\"\nreorder = 10\ntickets_per_payment = 2",
    );
    assert_clean(&outcome, 200);
    let replays = server.answered(400);
    assert!((15..=70).contains(&replays), "{replays}");
    let counted = (more(&outcome, "replays"), more(&outcome, "replays_refused"));
    assert_eq!(counted, (replays, replays));
    assert_same(&ledger, &server, (200 - replays) * 2);
}

#[test]
fn payments_out_of_order_are_taken_all_the_same() {
    let server = Orchestrator::start(|_| Action::Serve);
    let options = "senders = 1\nrate = 500\nconnections = 1\nreorder = 50";
    let tickets = tickets(&server.url, options);
    let outcome = carry_out(&tickets, WINDOW, Stop::default()).unwrap();
    assert_clean(&outcome, 200);
    assert_same(&tickets.ledger(), &server, 200);
    let nonces: Vec<u32> = server.came().into_iter().map(|(_, nonce)| nonce).collect();
    assert!(!nonces.is_sorted());
    for (window, nonces) in (0..).zip(nonces.chunks(50)) {
        let mut sorted = nonces.to_vec();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(window * 50 + 1..=window * 50 + 50));
    }
}

#[test]
fn what_should_be_refused_and_is_accepted_is_corrupt() {
    for (options, want) in [
        ("bad = \"20%\"", "had not signed"),
        ("replay = \"20%\"", "accepted twice"),
    ] {
        let (outcome, ledger, server) = run(|_| Action::Believe, options);
        let wrong = more(&outcome, "bad") + more(&outcome, "replays");
        assert!(wrong > 10, "{:?}", outcome.counts);
        assert_eq!(outcome.counts.corrupt, wrong);
        assert_eq!(outcome.lost, wrong);
        assert!(outcome.notes.iter().any(|note| note.contains(want)));
        let judgement = Slo::parse("corrupt<=0").unwrap().judge(&outcome).unwrap();
        assert_eq!(judgement.verdict, Verdict::Missed);
        // The ledger has what is owed, and no more.
        assert_same(&ledger, &server, 200 - wrong);
    }
}

#[test]
fn an_answer_that_never_came_leaves_a_payment_open_until_it_is_sent_again() {
    fn third_of_ten(number: usize, action: Action) -> Action {
        match number % 10 {
            3 => action,
            _ => Action::Serve,
        }
    }
    let scripts: [fn(usize) -> Action; 2] = [
        |number| third_of_ten(number, Action::DropAfter),
        |number| third_of_ten(number, Action::DropBefore),
    ];
    for (script, is_credited) in scripts.into_iter().zip([true, false]) {
        let (outcome, mut ledger, server) = run(script, "tickets_per_payment = 2");
        let counts = &outcome.counts;
        assert_eq!((counts.due, counts.sent, counts.received), (200, 200, 180));
        assert_eq!(
            (errors(&outcome, "unknown"), counts.error_count()),
            (20, 20)
        );
        assert_eq!((ledger.open(), ledger.tickets()), (20, 360));
        assert_eq!(figure(&outcome, "open"), 20.0);
        assert_eq!(server.credited(), if is_credited { 400 } else { 360 });
        // The server is there again.
        let server = server.restart(|_| Action::Serve);
        let settled = ledger
            .settle(&target(&server.url), &Stop::default())
            .unwrap();
        let (now, before) = if is_credited { (0, 20) } else { (20, 0) };
        assert_eq!(
            (settled.credited_now, settled.credited_before),
            (now, before)
        );
        assert_eq!((settled.open.len(), ledger.open()), (0, 0));
        assert_same(&ledger, &server, 400);
    }
}

#[test]
fn a_refusal_that_does_not_say_of_which_tickets_leaves_them_open() {
    let script = |number| match number % 10 {
        3 => Action::Half,
        7 => Action::Busy,
        _ => Action::Serve,
    };
    let (outcome, mut ledger, server) = run(script, "tickets_per_payment = 4");
    assert_eq!(errors(&outcome, "reserve"), 20, "{:?}", outcome.counts);
    assert_eq!(errors(&outcome, "status-503"), 20, "{:?}", outcome.counts);
    assert_eq!((outcome.counts.error_count(), outcome.lost), (40, 40));
    assert_eq!(more(&outcome, "refused"), 40);
    assert_eq!(figure(&outcome, "refused_percent"), 20.0);
    assert_eq!((ledger.open(), ledger.tickets()), (40, 640));
    assert_eq!(server.credited(), 680);
    let note = "refused as reserve: 400: insufficient sender reserve";
    assert!(
        outcome.notes.iter().any(|said| said == note),
        "{:?}",
        outcome.notes
    );
    let server = server.restart(|_| Action::Serve);
    let settled = ledger
        .settle(&target(&server.url), &Stop::default())
        .unwrap();
    assert_eq!((settled.credited_now, settled.credited_before), (20, 20));
    assert_same(&ledger, &server, 800);
}

#[test]
fn what_cannot_be_settled_stays_open_and_says_why() {
    let server = Orchestrator::start(|_| Action::DropAfter);
    let tickets = tickets(&server.url, "rate = 10\nconnections = 2");
    carry_out(&tickets, WINDOW, Stop::default()).unwrap();
    let mut ledger = tickets.ledger();
    assert_eq!((ledger.open(), ledger.tickets()), (4, 0));
    server.see_block(21_000_040);
    let server = server.restart(|_| Action::Serve);
    let settled = ledger
        .settle(&target(&server.url), &Stop::default())
        .unwrap();
    assert_eq!((settled.open.len(), ledger.open()), (4, 4));
    let said = settled.to_string();
    assert!(said.starts_with("4 open payments sent again: 0 credited now, 0 before, 4 still open"));
    assert!(said.contains("400: TicketParams expired"), "{said}");
    server.kill();
    let why = ledger
        .settle(&target(&server.url), &Stop::default())
        .unwrap_err();
    assert!(why.to_string().contains("could not be settled"), "{why}");
    assert_eq!(ledger.open(), 4);
}

#[test]
fn a_server_that_is_killed_ends_the_run_and_the_ledger_goes_on_with_the_next() {
    let server = Orchestrator::start(|_| Action::Serve);
    let path = scratch("killed.json");
    let options = format!("{LOAD}tickets_per_payment = 2\nledger = {path:?}");
    let first = tickets(&server.url, &options);
    let why = thread::scope(|scope| {
        scope.spawn(|| {
            while server.came().len() < 100 {
                thread::sleep(Duration::from_millis(5));
            }
            server.kill();
        });
        let outcome = carry_out(&first, Duration::from_secs(5), Stop::default());
        outcome.unwrap_err().to_string()
    });
    assert!(
        why.contains("is gone") && why.contains("--settle --ledger"),
        "{why}"
    );
    let ledger = Ledger::read(&path).unwrap();
    assert_eq!(ledger, first.ledger());
    assert!(
        ledger.tickets() >= 2 * 90 && ledger.open() <= 4,
        "{ledger:?}"
    );
    // What is open is settled first. The same senders are given other sessions, and so have other accounts.
    let server = server.restart(|_| Action::Serve);
    let second = tickets(&server.url, &options);
    let outcome = carry_out(&second, WINDOW, Stop::default()).unwrap();
    assert_clean(&outcome, 200);
    let ledger = Ledger::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((ledger.open(), ledger.accounts().count()), (0, 10));
    assert!(ledger.tickets() >= 2 * 290);
    assert_same(&ledger, &server, ledger.tickets());
}

#[test]
fn a_run_that_is_stopped_waits_for_what_is_under_way() {
    let server = Orchestrator::start(|_| Action::Serve);
    let tickets = tickets(&server.url, LOAD);
    let stop = Stop::default();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while server.came().len() < 50 {
                thread::sleep(Duration::from_millis(5));
            }
            stop.now();
        });
        carry_out(&tickets, Duration::from_secs(5), stop.clone()).unwrap()
    });
    assert!(!outcome.verdict.is_valid);
    assert_eq!(outcome.counts.errors, [].into());
    let ledger = tickets.ledger();
    assert_eq!(ledger.open(), 0);
    assert_same(&ledger, &server, ledger.tickets());
    assert_eq!(outcome.counts.sent, ledger.tickets());
}

#[test]
fn in_polite_mode_the_first_refusal_is_the_end() {
    let server = Orchestrator::start(|number| match number {
        20 => Action::Busy,
        _ => Action::Serve,
    });
    let mut tickets = tickets(&server.url, "senders = 1\nrate = 100\nconnections = 1");
    tickets.stop_at_refusal = true;
    let why = carry_out(&tickets, Duration::from_secs(5), Stop::default()).unwrap_err();
    assert!(why.to_string().contains("503: too many payments"), "{why}");
    let ledger = tickets.ledger();
    let [account] = &ledger.accounts().collect::<Vec<_>>()[..] else {
        panic!("one sender");
    };
    assert!(tickets.senders().eq([account.sender]));
    assert_eq!((account.tickets, account.open.len()), (20, 1));
    assert_eq!(server.came().len(), 21);
}

#[test]
fn a_win_rate_that_is_not_offered_keeps_a_run_from_beginning() {
    let server = Orchestrator::start(|_| Action::Serve);
    let with = |rate: &str| {
        let tickets = tickets(&server.url, &format!("{LOAD}win_rate = \"{rate}\""));
        carry_out(&tickets, Duration::from_millis(100), Stop::default())
    };
    assert_clean(&with("0.1%").unwrap(), 50);
    let why = with("0.2%").unwrap_err().to_string();
    for want in [
        "--win-rate 0.2 %",
        "0.1 % win",
        "--ticket-ev",
        "--max-face-value",
    ] {
        assert!(why.contains(want), "{why}");
    }
    server.set_policy(16_000_000_000, 8_000_000_000_000);
    assert_clean(&with("0.2%").unwrap(), 50);
    // What a sender would not sign for, and what is not offered at all.
    server.set_policy(8_000_000_000_000, 8_000_000_000_000);
    let why = with("100%").unwrap_err().to_string();
    assert!(why.contains("nobody would sign"), "{why}");
    server.set_policy(9_000_000_000_000, 8_000_000_000_000);
    let why = with("100%").unwrap_err().to_string();
    assert!(
        why.contains("refused: insufficient sender reserve"),
        "{why}"
    );
}

#[test]
fn the_command_line_explains_itself_and_keeps_its_exit_statuses() {
    let help = loadgen(&["tickets", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for flag in [
        "--senders",
        "--tickets-per-payment",
        "--rate",
        "--connections",
        "--bad",
        "--replay",
        "--reorder",
        "--win-rate",
        "--ledger",
        "--settle",
    ] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
    let server = Orchestrator::start(|number| match number {
        7 => Action::DropAfter,
        _ => Action::Serve,
    });
    let path = scratch("command.json");
    let ledger = path.to_str().unwrap();
    let run = |more: &[&str]| {
        let common = ["tickets", "--target", &server.url, "--no-files"];
        let times = ["--warmup", "0", "--window", "300ms", "--cooldown", "0"];
        let load = ["--rate", "50", "--ledger", ledger, "--lateness-max", "10s"];
        loadgen(&[&common[..], &times, &load, more].concat())
    };
    let output = run(&["--slo", "errors<=0"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("tickets_per_s") && text.contains("tickets_per_core_s"),
        "{text}"
    );
    let settled = run(&["--settle"]);
    assert_eq!(settled.status.code(), Some(0), "{settled:?}");
    let text = String::from_utf8_lossy(&settled.stdout).into_owned();
    assert!(
        text.contains("1 open payments sent again: 0 credited now, 1 before"),
        "{text}"
    );
    assert_eq!(
        run(&["--slo", "errors<=0,corrupt<=0"]).status.code(),
        Some(0)
    );
    assert_same(&Ledger::read(&path).unwrap(), &server, 30);
    std::fs::remove_file(&path).unwrap();
    for (args, status, want) in [
        (&["--settle"][..], 1, "--ledger FILE"),
        (&["--rate", "0"], 1, "payments a second"),
        (&["--rate", "1"], 1, "is an orchestrator there?"),
        (&["--bad", "5"], 2, "5%"),
        (
            &["--polite", "always", "--connections", "2", "--bad", "5%"],
            1,
            "servers of your own",
        ),
    ] {
        let target = ["tickets", "--target", "http://127.0.0.1:9", "--no-files"];
        let output = loadgen(&[&target[..], args].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

fn loadgen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .output()
        .expect("it starts")
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("loadgen-tickets-{}-{name}", std::process::id()))
}
