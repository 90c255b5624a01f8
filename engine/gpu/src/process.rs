//! From one picture to another.

use kernels::Filter;

/// What runs filters for one session. It keeps the scratch memory that they need.
pub trait Process<S> {
    /// Filters `input` into `output`, which takes the size of `input`. Filters never fail: a parameter out of range
    /// is brought into it (see [`Filter::clamped`]).
    fn process(&mut self, filter: Filter, input: &S, output: &mut S);
}
