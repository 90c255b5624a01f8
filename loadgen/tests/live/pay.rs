//! Sessions that pay: what is reckoned, credited, refused and owed is told to the last part of a wei.

use std::process::Command;
use std::time::Duration;

use loadgen::live::{Account, Live, Mark, Options};
use loadgen::outcome::Outcome;
use loadgen::tickets::Parts;
use loadgen::units::Time;

use crate::orchestrator::{Action, Orchestrator, Pay};
use crate::support::errors;
use crate::{carry_out, figure, live, more};

/// A minute of 1280x720 at 30 frames a second, at 1200/7 wei a pixel: 284379428571 wei and some.
const MINUTE_PX: u64 = 60 * 1_280 * 720 * 30;
/// A ticket that is worth no whole number of wei; a minute is 36 of them.
const TICKET_EV: u64 = 8_000_000_011;

fn paying(server: &Orchestrator, sessions: u32) -> Live {
    let options = Options {
        sessions: Some(sessions),
        mark: Some(Mark::Pts),
        pay: Some(true),
        pay_every: Some(Time(Duration::from_millis(500))),
        ..Options::default()
    };
    live(server, options).unwrap()
}

fn run(server: &Orchestrator, sessions: u32) -> (Outcome, Vec<Account>) {
    let live = paying(server, sessions);
    let outcome = carry_out(&live).unwrap();
    (outcome, live.accounts())
}

/// What we say was credited is what was credited, and all that was.
fn assert_same(accounts: &[Account], server: &Orchestrator) {
    let mut ours: Vec<_> = accounts
        .iter()
        .map(|it| (it.sender, it.manifest_id.clone(), it.credit))
        .collect();
    let mut theirs = server.accounts();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn every_second_of_video_is_paid_for_exactly() {
    let server = Orchestrator::start_paid(|_, _| Action::Pass, TICKET_EV, |_| Pay::Take);
    let (outcome, accounts) = run(&server, 2);
    assert_eq!(outcome.counts.errors, [].into(), "{:?}", outcome.notes);
    assert_eq!(outcome.counts.received, 120);
    assert_same(&accounts, &server);
    assert_eq!(accounts.len(), 2);
    for account in &accounts {
        // Two segments begin two seconds apart, the first some time after the start.
        let seconds = (account.pixels - MINUTE_PX) as f64 / 27_648_000.0;
        assert!((2.0..6.0).contains(&seconds), "{account:?}");
        let wei = Parts::from(account.pixels) * Parts::from(1_200) / Parts::from(7);
        assert_eq!(account.fee_floor_wei(), wei);
        let left = account.credit_floor_wei() - wei;
        assert!(left <= Parts::from(2 * TICKET_EV), "{account:?}");
        assert!(
            (37..=42).contains(&account.tickets) && account.payments >= 3,
            "{account:?}"
        );
        assert_eq!(account.tickets_sent, account.tickets);
        assert_eq!(
            (
                account.open,
                account.refused.len(),
                account.has_ended_unpaid
            ),
            (0, 0, false)
        );
    }
    let (payments, asked) = server.paid();
    assert_eq!(
        payments as u64 + 2,
        accounts.iter().map(|it| it.payments).sum::<u64>()
    );
    assert_eq!(asked, 2, "params come with every answer");
    assert!(more(&outcome, "payments") >= 2, "{:?}", outcome.counts);
    let payment = outcome
        .latencies
        .iter()
        .find(|it| it.name == "payment")
        .unwrap();
    assert_eq!(payment.corrected.count, more(&outcome, "payments"));
    assert_eq!(
        figure(&outcome, "paid_tickets"),
        accounts.iter().map(|it| it.tickets).sum::<u64>() as f64
    );
    assert!(figure(&outcome, "paid_wei") >= figure(&outcome, "fee_wei"));
    assert_eq!(
        (
            figure(&outcome, "payments_refused"),
            figure(&outcome, "ended_unpaid")
        ),
        (0.0, 0.0)
    );
    let exact = accounts
        .iter()
        .map(Account::credit_floor_wei)
        .fold(Parts::ZERO, |sum, it| sum + it);
    let note = format!(" tickets, {exact} wei credited, ");
    assert!(
        outcome.notes.iter().any(|it| it.contains(&note)),
        "{:?}",
        outcome.notes
    );
}

#[test]
fn what_was_refused_is_owed_and_in_the_next_payment() {
    let server = Orchestrator::start_paid(
        |_, _| Action::Pass,
        TICKET_EV,
        |number| match number {
            0 => Pay::Refuse("no, not today"),
            _ => Pay::Take,
        },
    );
    let (outcome, accounts) = run(&server, 1);
    assert_eq!(
        errors(&outcome, "payment: no, not today"),
        1,
        "{:?}",
        outcome.counts
    );
    assert_eq!(outcome.counts.error_count(), 1);
    assert_same(&accounts, &server);
    let account = &accounts[0];
    assert_eq!(account.refused["no, not today"], 1);
    assert!(account.tickets_sent > account.tickets);
    assert!(
        account.credit_floor_wei() >= account.fee_floor_wei(),
        "{account:?}"
    );
    assert_eq!(figure(&outcome, "payments_refused"), 1.0);
}

#[test]
fn a_session_that_is_ended_while_it_is_behind_was_ended_unpaid() {
    let script = |session, frame| match (session, frame) {
        (0 | 1, 55) => Action::End,
        _ => Action::Pass,
    };
    // Half a second costs more than is left over of a minute.
    let server = Orchestrator::start_paid(script, 1_000_000_007, |_| Pay::Refuse("no"));
    let (outcome, accounts) = run(&server, 2);
    assert_eq!(errors(&outcome, "session-ended"), 2);
    assert_eq!(
        figure(&outcome, "ended_unpaid"),
        2.0,
        "{accounts:?} {:?}",
        outcome.counts
    );
    assert!(
        accounts
            .iter()
            .all(|it| it.has_ended_unpaid && it.tickets == 285),
        "{accounts:?}"
    );
    assert_same(&accounts, &server);
    // One that has paid was ended for another reason.
    let server = Orchestrator::start_paid(script, TICKET_EV, |_| Pay::Take);
    let (outcome, _) = run(&server, 1);
    assert_eq!(
        (
            errors(&outcome, "session-ended"),
            figure(&outcome, "ended_unpaid")
        ),
        (1, 0.0)
    );
}

#[test]
fn params_that_have_expired_are_asked_for_and_it_is_paid_again() {
    let server = Orchestrator::start_paid(
        |_, _| Action::Pass,
        TICKET_EV,
        |number| match number {
            0 => Pay::Refuse("TicketParams expired"),
            1 => Pay::TakeBarely,
            _ => Pay::Take,
        },
    );
    let (outcome, accounts) = run(&server, 1);
    assert_eq!(outcome.counts.errors, [].into(), "{:?}", outcome.notes);
    assert_eq!(accounts[0].refused["TicketParams expired"], 1);
    assert_same(&accounts, &server);
    // At the start, when they had expired, and when none had come.
    assert_eq!(server.paid().1, 3);
}

#[test]
fn a_payment_without_an_answer_is_open_or_comes_again_and_counts_once() {
    let server = Orchestrator::start_paid(
        |_, _| Action::Pass,
        TICKET_EV,
        |number| match number {
            1 => Pay::TakeInSilence,
            _ => Pay::Take,
        },
    );
    let (outcome, accounts) = run(&server, 1);
    assert_eq!(outcome.counts.errors, [].into(), "{:?}", outcome.notes);
    assert_eq!(accounts[0].open, 0);
    assert_same(&accounts, &server);
    // On a new connection it is not sent again: nobody here knows, and the session pays once more.
    let server = Orchestrator::start_paid(
        |_, _| Action::Pass,
        TICKET_EV,
        |number| match number {
            0 => Pay::TakeInSilence,
            _ => Pay::Take,
        },
    );
    let (outcome, accounts) = run(&server, 1);
    assert_eq!(
        errors(&outcome, "payment-unanswered"),
        1,
        "{:?}",
        outcome.counts
    );
    assert_eq!(outcome.counts.error_count(), 1);
    assert_eq!(accounts[0].open, 1);
    let [(_, _, credit)] = &server.accounts()[..] else {
        panic!("one account");
    };
    assert!(*credit > accounts[0].credit && accounts[0].tickets < accounts[0].tickets_sent);
}

#[test]
fn nonces_that_are_used_up_are_renewed_and_a_minute_has_to_fit() {
    // A minute is 595 tickets, of 600 that there are; a second is ten.
    let server = Orchestrator::start_paid(|_, _| Action::Pass, 478_000_000, |_| Pay::Take);
    let (outcome, accounts) = run(&server, 1);
    assert_eq!(outcome.counts.errors, [].into(), "{:?}", outcome.notes);
    assert_same(&accounts, &server);
    assert_eq!(server.paid().1, 2);
    let server = Orchestrator::start_paid(|_, _| Action::Pass, 400_000_000, |_| Pay::Take);
    let why = carry_out(&paying(&server, 1)).unwrap_err().to_string();
    assert!(
        why.contains("a minute costs 711 tickets") && why.contains("--ticket-ev"),
        "{why}"
    );
}

#[test]
fn whoever_takes_no_payments_says_so_and_a_refused_start_is_told() {
    let server = Orchestrator::start_paid(|_, _| Action::Pass, 9_000_000_000_000, |_| Pay::Take);
    let why = carry_out(&paying(&server, 1)).unwrap_err().to_string();
    assert!(why.contains("insufficient sender reserve"), "{why}");
    let nobody = Options {
        pay: Some(true),
        ..Options::default()
    };
    for (options, want) in [
        (
            Options {
                pay_every: Some(Time(Duration::ZERO)),
                ..nobody.clone()
            },
            "--pay-every 0",
        ),
        (
            Options {
                ledger: Some("/nowhere/ledger".into()),
                ..nobody.clone()
            },
            "cannot be written",
        ),
        (
            Options {
                pay: None,
                pay_every: Some(Time(Duration::from_secs(1))),
                ..nobody
            },
            "write --pay",
        ),
    ] {
        let why = live(&server, options).unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
}

#[test]
fn the_command_line_keeps_a_ledger_and_no_key() {
    let server = Orchestrator::start_paid(|_, _| Action::Pass, TICKET_EV, |_| Pay::Take);
    let dir = std::env::temp_dir().join(format!("loadgen-live-pay-{}", std::process::id()));
    let ledger = dir.join("ledger.json");
    std::fs::create_dir_all(&dir).unwrap();
    let key = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "live",
            "--target",
            server.url(),
            "--mark",
            "pts",
            "--pay",
            "--key",
            key,
        ])
        .args([
            "--pay-every",
            "500ms",
            "--lateness-max",
            "10s",
            "--slo",
            "errors<=0",
        ])
        .args(["--warmup", "1s", "--window", "1500ms", "--cooldown", "0"])
        .args([
            "--out",
            dir.to_str().unwrap(),
            "--ledger",
            ledger.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result = std::fs::read_to_string(dir.join("result.json")).unwrap();
    let page: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&ledger).unwrap()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(!result.contains(&key[..16]), "{result}");
    let payer = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23";
    assert!(result.contains(payer));
    assert_eq!(page["schema"], "loadgen.live.ledger/1");
    assert_eq!(page["accounts"][0]["sender"], payer);
    let [(_, _, credit)] = &server.accounts()[..] else {
        panic!("one account");
    };
    assert_eq!(page["accounts"][0]["credit_parts"], credit.to_string());
}
