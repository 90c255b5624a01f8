//! Eight keys from eight signatures: `Q = u1·G + u2·R`, with `u1 = −z/r`, `u2 = s/r`, and R the point whose x coordinate is r.
//!
//! ```text
//!   r ──▶ x³ + 7 ──▶ root ──▶ R ──▶ R, 3R … 15R ─┐
//!   u2 ──▶ 64 digits of 4 bits ──────────────────┴─▶ four doublings and an addition a digit ─┐
//!   u1 ──▶ 32 digits of 8 bits ──▶ 32 points of G's table, added in a tree ──────────────────┴─▶ Q ──▶ affine
//! ```

use ticket::curve::scalar::{self, Mont};
use ticket::curve::table::BaseTable;
use ticket::curve::{Element, Point, Scalar};
use ticket::layout::Digest;
use ticket::signature::Signature;
use ticket::verify::Reference;

use crate::field::F8;
use crate::gather::{Digits8, gather};
use crate::lanes::Mask;
use crate::points::{
    Exceptional, FreshPoints, GROUPS_MAX, Inversions, Jacobian, Points, Tree, add_with,
};

const TOGETHER: usize = 8 * GROUPS_MAX;
/// A step costs the same for one signature as for eight: about as much as the reference takes for two.
const WORTH_A_STEP: usize = 3;
/// Odd multiples of R: 1 to 15.
const ROW: usize = 8;
const WIDTH: u32 = 4;

/// A signature that a key may have made.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Which of those that were asked about.
    number: usize,
    r: Scalar,
    s: Scalar,
}

/// Memory in which keys are recovered.
#[derive(Debug, Default)]
pub(crate) struct Recoveries {
    candidates: Vec<Candidate>,
    inverses: Vec<Mont>,
    spare: Vec<Mont>,
    /// `[index][group]`.
    multiples: Vec<Points>,
    doubles: Vec<Points>,
    inversions: Inversions,
    tree: Tree,
    sums: Vec<Jacobian>,
}

impl Recoveries {
    /// The key of each signature, in their order, by the rule of [`Reference::key`]; appended.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn keys(
        &mut self,
        base: &BaseTable,
        signatures: &[(Digest, Signature)],
        keys: &mut Vec<Option<Point>>,
    ) {
        for signatures in signatures.chunks(TOGETHER) {
            if signatures.len() < WORTH_A_STEP {
                keys.extend(
                    signatures
                        .iter()
                        .map(|(digest, signature)| Reference::key(digest, signature)),
                );
                continue;
            }
            let start = keys.len();
            keys.resize(start + signatures.len(), None);
            self.round(base, signatures, &mut keys[start..]);
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn round(
        &mut self,
        base: &BaseTable,
        signatures: &[(Digest, Signature)],
        keys: &mut [Option<Point>],
    ) {
        self.sift(signatures);
        if self.candidates.is_empty() {
            return;
        }
        let groups = self.candidates.len().div_ceil(8);
        let mut exceptional: Exceptional = [0; GROUPS_MAX];
        let pointless = self.lift(signatures, groups);
        self.multiply_out(groups, &mut exceptional);
        self.add_base(base, signatures, groups, &mut exceptional);
        self.walk(groups);
        self.finish(signatures, groups, &exceptional, &pointless, keys);
    }

    /// Finds those that a key can have made, as far as numbers go, and inverts r of each.
    fn sift(&mut self, signatures: &[(Digest, Signature)]) {
        self.candidates.clear();
        self.inverses.clear();
        for (number, (_, signature)) in signatures.iter().enumerate() {
            if let (Some(r), Some(s)) = (
                Scalar::from_be_bytes(signature.r()),
                Scalar::from_be_bytes(signature.s()),
            ) && !r.is_zero()
                && !s.is_zero()
            {
                self.candidates.push(Candidate { number, r, s });
                self.inverses.push(r.to_mont());
            }
        }
        scalar::invert_all(&mut self.inverses, &mut self.spare);
    }

    /// The candidates of a group; lanes without one repeat the last.
    fn lane(&self, group: usize, lane: usize) -> usize {
        (8 * group + lane).min(self.candidates.len() - 1)
    }

    /// R of each candidate, into the first row of its multiples. Returned are the lanes in which no point has that x.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn lift(&mut self, signatures: &[(Digest, Signature)], groups: usize) -> Exceptional {
        let mut pointless: Exceptional = [0; GROUPS_MAX];
        self.multiples.clear();
        for (group, pointless) in pointless[..groups].iter_mut().enumerate() {
            let lanes: [Candidate; 8] =
                std::array::from_fn(|lane| self.candidates[self.lane(group, lane)]);
            // r is below n, so below p.
            let x =
                F8::of_elements(&lanes.map(|candidate| Element::from_words(candidate.r.words())));
            let seven = F8::of_elements(&[Element::from_words([7, 0, 0, 0]); 8]);
            let square = x.square().mul(&x).add(&seven);
            let y = square.root();
            *pointless = !y.square().sub(&square).zeros();
            let is_odd = y.to_elements().map(|y| y.is_odd());
            let wrong: Mask = (0..8)
                .filter(|lane| is_odd[*lane] != signatures[lanes[*lane].number].1.is_odd())
                .fold(0, |mask, lane| mask | 1 << lane);
            let y = y.blend(wrong, &F8::zero().sub(&y));
            self.multiples.push(Points { x, y });
        }
        pointless
    }

    /// R, 3R, 5R … 15R. None of these meets its like: that would take a multiple of n. Where there was no point, what comes is not
    /// looked at.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiply_out(&mut self, groups: usize, exceptional: &mut Exceptional) {
        self.inversions.clear();
        for (group, point) in self.multiples.iter().enumerate() {
            exceptional[group] |= self.inversions.push(&point.y.double());
        }
        let inverses = self.inversions.invert(groups);
        self.doubles.clear();
        for (point, inverse) in self.multiples.iter().zip(inverses) {
            let slope = point.x.square().triple().mul(inverse);
            let x = slope.square().sub_both(&point.x, &point.x);
            let y = point.x.sub(&x).mul(&slope).sub(&point.y);
            self.doubles.push(Points { x, y });
        }
        for index in 1..ROW {
            self.inversions.clear();
            let before = (index - 1) * groups;
            for (group, exceptional) in exceptional[..groups].iter_mut().enumerate() {
                let across = self.doubles[group].x.sub(&self.multiples[before + group].x);
                *exceptional |= self.inversions.push(&across);
            }
            let inverses = self.inversions.invert(groups);
            for (group, inverse) in inverses.iter().enumerate() {
                let (a, b) = (
                    self.multiples[before + group].fresh(),
                    self.doubles[group].fresh(),
                );
                self.multiples.push(add_with(&a, &b, inverse));
            }
        }
    }

    /// `u1·G` of each, into the first step of the tree.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_base(
        &mut self,
        base: &BaseTable,
        signatures: &[(Digest, Signature)],
        groups: usize,
        exceptional: &mut Exceptional,
    ) {
        self.tree.points.clear();
        let mut all = [None; GROUPS_MAX];
        for (group, digits) in all[..groups].iter_mut().enumerate() {
            *digits = Some(Digits8::of(&std::array::from_fn(|lane| {
                let at = self.lane(group, lane);
                let (digest, _) = &signatures[self.candidates[at].number];
                Scalar::reduced(&digest.0)
                    .times(&self.inverses[at])
                    .negate()
                    .digits()
            })));
        }
        for (window, row) in base.rows().iter().enumerate() {
            for digits in all.iter().flatten() {
                let digit = digits.digit::<8>(window as u32);
                let points = gather(
                    digit.indices().map(|index| &row[(index & 127) as usize]),
                    digit.negative,
                );
                self.tree.points.push(Points {
                    x: points.x,
                    y: points.y.tight(),
                });
            }
        }
        self.tree.add_up(groups, BaseTable::WINDOWS, exceptional);
    }

    /// `u2·R` of each, and `u1·G` on top.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn walk(&mut self, groups: usize) {
        self.sums.clear();
        for group in 0..groups {
            let digits = Digits8::of(&std::array::from_fn(|lane| {
                let at = self.lane(group, lane);
                self.candidates[at].s.times(&self.inverses[at]).digits()
            }));
            let row: [Points; ROW] =
                std::array::from_fn(|index| self.multiples[index * groups + group]);
            let windows = 256 / WIDTH;
            let first = select(&row, &digits, windows - 1);
            let mut sum = Jacobian {
                x: first.x,
                y: first.y.tight(),
                z: F8::one(),
            };
            for window in (0..windows - 1).rev() {
                for _ in 0..WIDTH {
                    sum = sum.double();
                }
                sum = sum.add(&select(&row, &digits, window));
            }
            self.sums.push(sum.add(&self.tree.points[group].fresh()));
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn finish(
        &mut self,
        signatures: &[(Digest, Signature)],
        groups: usize,
        exceptional: &Exceptional,
        pointless: &Exceptional,
        keys: &mut [Option<Point>],
    ) {
        self.inversions.clear();
        let mut unanswered = *exceptional;
        for (group, sum) in self.sums.iter().enumerate() {
            // Z is 0 where any addition had no answer, and where Q is at infinity.
            unanswered[group] |= self.inversions.push(&sum.z);
        }
        let inverses = self.inversions.invert(groups);
        for (group, (sum, inverse)) in self.sums.iter().zip(inverses).enumerate() {
            let square = inverse.square();
            let x = sum.x.mul(&square).to_elements();
            let y = sum.y.mul(&square.mul(inverse)).to_elements();
            for (lane, candidate) in self.candidates[8 * group..].iter().take(8).enumerate() {
                let is = |mask: &Exceptional| mask[group] >> lane & 1 == 1;
                let (digest, signature) = &signatures[candidate.number];
                keys[candidate.number] = match (is(pointless), is(&unanswered)) {
                    (true, _) => None,
                    (false, true) => Reference::key(digest, signature),
                    (false, false) => Some(Point {
                        x: x[lane].normal(),
                        y: y[lane].normal(),
                    }),
                };
            }
        }
    }
}

/// The multiple that each lane's digit names.
#[target_feature(enable = "avx512f")]
#[inline]
fn select(row: &[Points; ROW], digits: &Digits8, window: u32) -> FreshPoints {
    let digit = digits.digit::<WIDTH>(window);
    let mut point = row[0];
    for (index, multiple) in (0u64..).zip(row).skip(1) {
        let lanes = digit.lanes_with(index);
        point.x = point.x.blend(lanes, &multiple.x);
        point.y = point.y.blend(lanes, &multiple.y);
    }
    FreshPoints {
        x: point.x,
        y: point.y.loose().negate_in(digit.negative),
    }
}
