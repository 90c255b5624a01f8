//! Rings, slots and bells in every interleaving and on every memory that the memory model allows, within bounds.
//!
//! The sources are included once more, beside a `sync` that is made of loom's parts; `models/` says what is gone through.
//! `loom_weak.rs` is the other half: the same models fail when an ordering is weakened.

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

macro_rules! all_hold {
    ($($of:ident::$model:ident,)*) => {$(
        #[test]
        #[cfg_attr(miri, ignore = "loom's threads are switched by hand, which Miri cannot follow")]
        fn $model() {
            models::$of::$model();
        }
    )*};
}

all_hold! {
    spsc::items_keep_their_order_around_the_ring,
    spsc::batches_are_shown_and_taken_whole,
    spsc::nothing_is_left_behind_by_a_producer_that_goes,
    spsc::unread_items_are_dropped_once,
    slot::a_slot_has_one_owner_at_a_time,
    slot::a_slot_may_be_given_back_on_another_thread,
    slot::owners_share_what_there_is,
    bell::a_thread_is_woken_and_finds_what_was_pushed,
    bell::a_task_is_woken_and_finds_what_was_pushed,
    bell::two_ringers_are_both_heard,
    bell::a_bell_is_heard_again,
    bell::a_thread_listens_after_a_task,
    bell::one_bell_serves_many_rings,
}
