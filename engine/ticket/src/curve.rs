//! secp256k1, as far as checking a signature of a known key needs it: y² = x³ + 7 over the field of p = 2^256 − 2^32 − 977.
//!
//! A signature (r, s) of digest z by key Q is good when `u1·G + u2·Q`, with `u1 = z/s` and `u2 = r/s`, is the point R whose x
//! coordinate is r, and whose y coordinate has the parity that `v` says. For a key that is known, tables of its multiples make that
//! a plain sum, without a single doubling:
//!
//! ```text
//!   u1 = 32 digits of 8 bits ─▶ 32 points of G's table ─┐
//!   u2 = 64 digits of 4 bits ─▶ 64 points of Q's table ─┴─▶ 96 points ─▶ 48 ─▶ 24 ─▶ 12 ─▶ 6 ─▶ 3 ─▶ 2 ─▶ R
//! ```
//!
//! Points are affine, so an addition divides once; one inversion serves every addition of a level, of all signatures in the batch
//! (Montgomery's trick: an inversion becomes three multiplications). An addition then takes five multiplications and a square,
//! where projective coordinates take eleven.
//!
//! **Nothing here is constant time.** It checks signatures; it never sees a secret.
//!
//! Where a sum meets a point and its like (or opposite), the formula divides by zero. Digits are odd and tables hold no point at
//! infinity, so honest sums do not get there; a forger who knows his own key can. Such a sum says that it cannot tell
//! ([`sum::Outcome::Exceptional`]), and the reference is asked.

pub mod field;
pub mod scalar;
pub mod sum;
pub mod table;

pub use field::Element;
pub use scalar::Scalar;
pub use table::{Point, Table};
