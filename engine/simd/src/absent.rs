//! Other processors than x86-64: there is nothing to detect.

use ticket::curve::Point;
use ticket::curve::sum::{Outcome, Task};
use ticket::curve::table::BaseTable;
use ticket::keccak::{Permute, State};
use ticket::layout::Digest;
use ticket::signature::Signature;
use ticket::verify::Arithmetic;

use crate::Missing;

/// The vector unit; here there is none.
#[derive(Debug)]
pub enum Vector {}

impl Vector {
    /// Never finds one.
    ///
    /// # Errors
    /// Always.
    pub fn detect() -> Result<Self, Missing> {
        Err(Missing {
            features: vec!["avx512ifma"],
        })
    }
}

impl Permute for Vector {
    fn permute(&mut self, _states: &mut [State]) {
        match *self {}
    }
}

impl Arithmetic for Vector {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn sum(&mut self, _base: &BaseTable, _tasks: &[Task<'_>], _outcomes: &mut Vec<Outcome>) {
        match *self {}
    }

    fn keys(
        &mut self,
        _base: &BaseTable,
        _signatures: &[(Digest, Signature)],
        _keys: &mut Vec<Option<Point>>,
    ) {
        match *self {}
    }
}
