//! The vector unit: eight signatures, or eight Keccak states, a step.
//!
//! ```text
//!   Vector::detect ──▶ Vector ─┬─ Permute      8 states in 25 registers                                  keccak
//!                              └─ Arithmetic ─┬─ sum    96 table points a signature, added in a tree     sum
//!                                             └─ keys   R from r, then u1·G + u2·R by windows            recover
//!                                                  both: field (radix 2^52), points, gather
//! ```
//!
//! It is the third of the project's crates that may say `unsafe`, for two things only: the processor's vector instructions are
//! called without asking again whether it has them, and vectors are read from and written to arrays. [`Vector`] is the proof
//! for the first, `lanes.rs` has all of the second.
//!
//! There is no AVX2 form. It multiplies 32 bits by 32, so a product of field elements takes a hundred multiplications for four lanes:
//! 10.3 ns a lane were measured on a Zen 4, where plain code takes some 11 ns and this some 2.5 (`benches/results/tickets-*.md`).
//!
//! Invariants:
//! - A [`Vector`] exists only where [`Vector::detect`] has found every instruction that is used here.
//! - Answers are those of `ticket::verify::Reference`, for every input. Where a formula has no answer (a point meets its like or its
//!   opposite), the reference gives it.
//! - Nothing is constant time, and nothing here ever sees a secret.

#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
mod field;
#[cfg(target_arch = "x86_64")]
mod gather;
#[cfg(target_arch = "x86_64")]
mod keccak;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod points;
#[cfg(target_arch = "x86_64")]
mod recover;
#[cfg(target_arch = "x86_64")]
mod sum;
#[cfg(target_arch = "x86_64")]
mod vector;

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(not(target_arch = "x86_64"))]
use absent as vector;

pub use vector::Vector;

/// Why there is no vector unit to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What the processor lacks, as Linux names it in `/proc/cpuinfo`.
    pub features: Vec<&'static str>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this processor has no {}", self.features.join(", "))
    }
}

impl std::error::Error for Missing {}
