//! The models: each is a few threads, small enough that every interleaving (with at most [`PREEMPTIONS_MAX`] preemptions) and
//! every value that a weak memory may show is gone through.

pub(crate) mod bell;
pub(crate) mod slot;
pub(crate) mod spsc;

/// Goes through every execution of `model`; panics at the first that fails.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(PREEMPTIONS_MAX, model);
}

/// The same with fewer preemptions, for models of three threads.
fn explore_within(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.check(model);
}

/// Preemptions an execution. Nearly all faults show with two; three leave room.
const PREEMPTIONS_MAX: usize = 3;
