//! Arithmetic for [`Known`](super::Known) on any processor: sums in plain Rust, recoveries by the reference.

use alloc::vec::Vec;

use super::known::Arithmetic;
use super::reference::Reference;
use crate::curve::Point;
use crate::curve::sum::{Outcome, Sums, Task};
use crate::curve::table::BaseTable;
use crate::keccak::{Permute, Plain, State};
use crate::layout::Digest;
use crate::signature::Signature;

/// See the module.
#[derive(Debug, Default)]
pub struct Portable {
    sums: Sums,
}

impl Permute for Portable {
    fn permute(&mut self, states: &mut [State]) {
        Plain.permute(states);
    }
}

impl Arithmetic for Portable {
    fn name(&self) -> &'static str {
        "known sender"
    }

    fn sum(&mut self, base: &BaseTable, tasks: &[Task<'_>], outcomes: &mut Vec<Outcome>) {
        self.sums.sum(base, tasks, outcomes);
    }

    fn keys(
        &mut self,
        _base: &BaseTable,
        signatures: &[(Digest, Signature)],
        keys: &mut Vec<Option<Point>>,
    ) {
        keys.extend(
            signatures
                .iter()
                .map(|(digest, signature)| Reference::key(digest, signature)),
        );
    }
}
