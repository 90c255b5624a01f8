//! The vector unit, once it has been found.

use std::arch::is_x86_feature_detected as has;

use ticket::curve::Point;
use ticket::curve::sum::{Outcome, Task};
use ticket::curve::table::BaseTable;
use ticket::keccak::{Permute, State};
use ticket::layout::Digest;
use ticket::signature::Signature;
use ticket::verify::Arithmetic;

use crate::recover::Recoveries;
use crate::sum::Sums;
use crate::{Missing, keccak};

/// A processor with AVX-512 and its 52-bit multiply-add (IFMA): Intel from Ice Lake on, AMD from Zen 4 on.
#[derive(Debug)]
pub struct Vector {
    sums: Sums,
    recoveries: Recoveries,
}

impl Vector {
    /// Looks whether this processor is one.
    ///
    /// # Errors
    /// What it lacks.
    pub fn detect() -> Result<Self, Missing> {
        let found = [
            ("avx512f", has!("avx512f")),
            ("avx512dq", has!("avx512dq")),
            ("avx512vl", has!("avx512vl")),
            ("avx512ifma", has!("avx512ifma")),
        ];
        let features: Vec<_> = found
            .iter()
            .filter(|(_, is_there)| !is_there)
            .map(|(name, _)| *name)
            .collect();
        match features.is_empty() {
            true => Ok(Self {
                sums: Sums::default(),
                recoveries: Recoveries::default(),
            }),
            false => Err(Missing { features }),
        }
    }
}

impl Permute for Vector {
    fn permute(&mut self, states: &mut [State]) {
        // SAFETY: needed to call code that uses instructions which not every processor has. This one has them: `detect` looked
        // before it made `self`.
        unsafe { keccak::permute(states) }
    }
}

impl Arithmetic for Vector {
    fn name(&self) -> &'static str {
        "vector"
    }

    fn sum(&mut self, base: &BaseTable, tasks: &[Task<'_>], outcomes: &mut Vec<Outcome>) {
        // SAFETY: as in `permute`.
        unsafe { self.sums.sum(base, tasks, outcomes) }
    }

    fn keys(
        &mut self,
        base: &BaseTable,
        signatures: &[(Digest, Signature)],
        keys: &mut Vec<Option<Point>>,
    ) {
        // SAFETY: as in `permute`.
        unsafe { self.recoveries.keys(base, signatures, keys) }
    }
}
