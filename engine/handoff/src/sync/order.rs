//! Every memory ordering that something rests on, by what it is for.
//!
//! A table of functions, which the models of `tests/loom_weak.rs` weaken one at a time: each is needed, for without it a model
//! fails. Whoever includes this file defines `orders!`, which says what a line becomes. What stands as `Relaxed` elsewhere
//! rests on nothing; a comment there says why.

pub(crate) use std::sync::atomic::Ordering;

orders! {
    /// Ring, the producer's tail: the items that were written come before it.
    publish = Release;
    /// Ring, the consumer's look at the tail: the items are there to be read.
    observe = Acquire;
    /// Ring, the consumer's head: the items were moved out before it.
    vacate = Release;
    /// Ring, the producer's look at the head: the cells may be written again.
    reclaim = Acquire;
    /// Ring, an end says that it is gone: whatever it did came before.
    leave = Release;
    /// Ring, the other end learns of it: whatever was pushed can be popped.
    notice = Acquire;

    /// Slots, one is taken: what its last owner did to it is over.
    take = Acquire;
    /// Slots, one is given back: what was done to it comes before.
    give = Release;

    /// Bell, the listener takes the cell: the ringer that emptied it is done.
    hold = Acquire;
    /// Bell, the listener has put its waker into the cell (release), and sees what was pushed before any ring that came
    /// first (acquire).
    announce = AcqRel;
    /// Bell, a ring: pushes come before it (release), and the waker is there to be taken (acquire).
    ring = AcqRel;
    /// Bell, the ringer is done with the cell.
    let_go = Release;
    /// Bell, a thread learns that it was rung: what was pushed before is there.
    rouse = Acquire;
}
