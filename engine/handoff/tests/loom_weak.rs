//! Each memory ordering is needed: with one of them weakened, a model of `loom.rs` fails.
//!
//! This shows two things at once: that nothing is stronger than it must be, and that the models would find a mistake.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the models use a part of what they include"
)]

#[path = "../src/bell.rs"]
mod bell;
#[path = "../src/free.rs"]
mod free;
mod models;
#[path = "../src/spsc.rs"]
mod spsc;
#[path = "models/sync.rs"]
mod sync;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const RACE: &str = "Causality violation";
const ASLEEP: &str = "deadlock";
const WRONG: &str = "assertion";

macro_rules! each_is_needed {
    ($($test:ident: $order:ident = $weak:ident breaks $of:ident::$model:ident by $how:ident,)*) => {
        $(
            #[test]
            #[cfg_attr(miri, ignore = "loom's threads are switched by hand, which Miri cannot follow")]
            fn $test() {
                sync::weaken(stringify!($order), $weak);
                fails(stringify!($test), models::$of::$model, $how);
            }
        )*

        #[test]
        fn none_is_left_out() {
            let weakened = [$(stringify!($order)),*];
            let missing: Vec<_> = sync::order::NAMES.iter().filter(|name| !weakened.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

each_is_needed! {
    publish_releases: publish = Relaxed breaks spsc::items_keep_their_order_around_the_ring by RACE,
    observe_acquires: observe = Relaxed breaks spsc::items_keep_their_order_around_the_ring by RACE,
    vacate_releases: vacate = Relaxed breaks spsc::items_keep_their_order_around_the_ring by RACE,
    reclaim_acquires: reclaim = Relaxed breaks spsc::items_keep_their_order_around_the_ring by RACE,
    leave_releases: leave = Relaxed breaks spsc::nothing_is_left_behind_by_a_producer_that_goes by WRONG,
    notice_acquires: notice = Relaxed breaks spsc::nothing_is_left_behind_by_a_producer_that_goes by WRONG,
    take_acquires: take = Relaxed breaks slot::a_slot_has_one_owner_at_a_time by RACE,
    give_releases: give = Relaxed breaks slot::a_slot_may_be_given_back_on_another_thread by RACE,
    hold_acquires: hold = Relaxed breaks bell::a_bell_is_heard_again by RACE,
    announce_releases: announce = Acquire breaks bell::a_task_is_woken_and_finds_what_was_pushed by RACE,
    announce_acquires: announce = Release breaks bell::a_task_is_woken_and_finds_what_was_pushed by ASLEEP,
    ring_releases: ring = Acquire breaks bell::a_task_is_woken_and_finds_what_was_pushed by ASLEEP,
    ring_acquires: ring = Release breaks bell::a_thread_is_woken_and_finds_what_was_pushed by RACE,
    let_go_releases: let_go = Relaxed breaks bell::a_bell_is_heard_again by RACE,
    rouse_acquires: rouse = Relaxed breaks bell::a_thread_is_woken_and_finds_what_was_pushed by WRONG,
}

#[test]
#[cfg_attr(
    miri,
    ignore = "loom's threads are switched by hand, which Miri cannot follow"
)]
fn the_second_look_is_needed() {
    fails(
        "the_second_look_is_needed",
        models::bell::without_a_second_look,
        ASLEEP,
    );
}

/// Runs a model that must panic, and for the reason given.
///
/// In a process of its own, which runs `test`, the one that called this: loom's own destructors panic while a failed model
/// unwinds, and that aborts.
fn fails(test: &str, model: fn(), how: &str) {
    if std::env::var_os(IS_CHILD).is_some() {
        return model();
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(IS_CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "the model holds without it");
    let first = said
        .lines()
        .skip_while(|line| !line.contains("panicked at"))
        .take(4);
    let first: Vec<_> = first.collect();
    assert!(
        first.iter().any(|line| line.contains(how)),
        "it failed otherwise: {first:#?}"
    );
}

const IS_CHILD: &str = "HANDOFF_MODEL_OF_A_WEAK_ORDER";
