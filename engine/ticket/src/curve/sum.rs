//! The sum behind a signature, for many signatures at once, in plain Rust.

use alloc::vec::Vec;

use super::field::{Element, invert_all};
use super::scalar::Digits;
use super::table::{BaseTable, KeyTable, Point, add_with};

/// A signature of a known key, ready to be summed.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// z/s, for the generator.
    pub u1: Digits,
    /// r/s, for the key.
    pub u2: Digits,
    /// The key's multiples.
    pub key: &'a KeyTable,
    /// The x coordinate that the signature names, below p.
    pub x: [u64; 4],
    /// Whether it names the odd y.
    pub is_odd: bool,
}

/// What a sum says of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the point that the signature names: the key signed.
    Genuine,
    /// It is another point: the key did not.
    Forged,
    /// A point met its like or its opposite, and the formula has no answer.
    Exceptional,
}

/// Points summed for one signature.
pub const POINTS: usize = BaseTable::WINDOWS + KeyTable::WINDOWS;
/// Signatures that share their inversions: more save little, and their points no longer fit a second-level cache.
const TOGETHER: usize = 48;

/// Memory in which sums are made.
#[derive(Default, Debug)]
pub struct Sums {
    points: Vec<(Element, Element)>,
    inverses: Vec<Element>,
    spare: Vec<Element>,
    is_exceptional: Vec<bool>,
}

impl Sums {
    /// The outcome of each task, in their order; appended.
    pub fn sum(&mut self, base: &BaseTable, tasks: &[Task<'_>], outcomes: &mut Vec<Outcome>) {
        for tasks in tasks.chunks(TOGETHER) {
            self.gather(base, tasks);
            let mut left = POINTS;
            while left > 1 {
                self.halve(left);
                left = left.div_ceil(2);
            }
            outcomes.extend(tasks.iter().enumerate().map(|(n, task)| {
                let (x, y) = &self.points[n * POINTS];
                match (
                    self.is_exceptional[n],
                    x.normal() == task.x && y.is_odd() == task.is_odd,
                ) {
                    (true, _) => Outcome::Exceptional,
                    (false, true) => Outcome::Genuine,
                    (false, false) => Outcome::Forged,
                }
            }));
        }
    }

    fn gather(&mut self, base: &BaseTable, tasks: &[Task<'_>]) {
        self.points.clear();
        self.is_exceptional.clear();
        self.is_exceptional.resize(tasks.len(), false);
        for task in tasks {
            for window in 0..BaseTable::WINDOWS {
                let (index, is_negative) = task.u1.digit::<8>(window as u32);
                self.points
                    .push(signed(base.multiple(window, index), is_negative));
            }
            for window in 0..KeyTable::WINDOWS {
                let (index, is_negative) = task.u2.digit::<4>(window as u32);
                self.points
                    .push(signed(task.key.multiple(window, index), is_negative));
            }
        }
    }

    /// Adds points pair by pair, of each signature; one that has no partner moves up.
    fn halve(&mut self, left: usize) {
        let pairs = left / 2;
        self.inverses.clear();
        for (n, points) in self.points.chunks_exact(POINTS).enumerate() {
            for pair in points[..2 * pairs].chunks_exact(2) {
                let across = pair[1].0.sub(&pair[0].0);
                // A zero would spoil everybody's inverse. What comes of this one is not looked at.
                let is_zero = across.is_zero();
                self.is_exceptional[n] |= is_zero;
                self.inverses
                    .push(if is_zero { Element::ONE } else { across });
            }
        }
        invert_all(&mut self.inverses, &mut self.spare);
        let mut inverses = self.inverses.iter();
        for points in self.points.chunks_exact_mut(POINTS) {
            for (pair, inverse) in (0..pairs).zip(&mut inverses) {
                points[pair] = add_with(&points[2 * pair], &points[2 * pair + 1], inverse);
            }
            if left % 2 == 1 {
                points[pairs] = points[left - 1];
            }
        }
    }
}

#[inline]
fn signed(point: &Point, is_negative: bool) -> (Element, Element) {
    let (x, y) = point.xy();
    (x, if is_negative { y.negate() } else { y })
}
