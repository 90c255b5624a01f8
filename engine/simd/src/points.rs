//! Eight points, and additions that share their divisions.
//!
//! Points are kept `[step][group]`: all groups of eight signatures do the same step side by side, so that the products behind an
//! inversion are as many independent chains as there are groups. One inversion serves every addition of a step:
//!
//! ```text
//!   divisors of each group, multiplied up ─▶ groups multiplied together ─▶ 8 numbers, one a lane ─▶ inverted as plain numbers
//!   divisors' inverses  ◀─ multiplied down ◀─ groups taken apart         ◀──────────────────────────┘
//! ```

use ticket::curve::Element;
use ticket::curve::field::invert_all;

use crate::field::{F8, Loose};
use crate::lanes::Mask;

/// Groups of eight that are worked on together: 64 signatures. Twice as many are no faster: inversions cost next to nothing by then, and
/// the points (half a MiB) no longer fit a second-level cache.
pub(crate) const GROUPS_MAX: usize = 8;

/// Eight points in affine coordinates, none of them at infinity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points {
    pub(crate) x: F8,
    pub(crate) y: F8,
}

/// As [`Points`], but y may be an opposite: fresh from a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreshPoints {
    pub(crate) x: F8,
    pub(crate) y: Loose,
}

impl Points {
    /// As fresh ones.
    #[inline]
    pub(crate) const fn fresh(&self) -> FreshPoints {
        FreshPoints {
            x: self.x,
            y: self.y.loose(),
        }
    }
}

/// The sum of two points with different x; `inverse` is `1/(b.x − a.x)`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn add_with(a: &FreshPoints, b: &FreshPoints, inverse: &F8) -> Points {
    let slope = b.y.minus(&a.y).mul(inverse);
    let x = slope.square().sub_both(&a.x, &b.x);
    let y = a.x.sub(&x).mul(&slope).loose().minus(&a.y);
    Points { x, y }
}

/// Numbers to be inverted together.
#[derive(Debug, Default)]
pub(crate) struct Inversions {
    /// `[step][group]`; the inverses afterwards.
    divisors: Vec<F8>,
    before: Vec<F8>,
    plain: Vec<Element>,
}

impl Inversions {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.divisors.clear();
    }

    /// Takes a number. In the lanes in which it is 0 it is taken as 1; those lanes are returned.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn push(&mut self, divisor: &F8) -> Mask {
        let zeros = divisor.zeros();
        self.divisors.push(if zeros == 0 {
            *divisor
        } else {
            divisor.blend(zeros, &F8::one())
        });
        zeros
    }

    /// Inverts all that was taken, in as many interleaved chains as there are groups.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn invert(&mut self, groups: usize) -> &[F8] {
        let mut products = [F8::one(); GROUPS_MAX];
        let products = &mut products[..groups];
        self.before.clear();
        for step in self.divisors.chunks_exact(groups) {
            for (product, divisor) in products.iter_mut().zip(step) {
                self.before.push(*product);
                *product = product.mul(divisor);
            }
        }
        let mut inverses = [F8::one(); GROUPS_MAX];
        let inverses = &mut inverses[..groups];
        self.invert_products(products, inverses);
        for (step, before) in self
            .divisors
            .chunks_exact_mut(groups)
            .zip(self.before.chunks_exact(groups))
            .rev()
        {
            for ((divisor, before), inverse) in step.iter_mut().zip(before).zip(&mut *inverses) {
                let of_this = inverse.mul(before);
                *inverse = inverse.mul(divisor);
                *divisor = of_this;
            }
        }
        &self.divisors
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn invert_products(&mut self, products: &[F8], inverses: &mut [F8]) {
        let mut all = F8::one();
        for (before, product) in inverses.iter_mut().zip(products) {
            *before = all;
            all = all.mul(product);
        }
        let mut lanes = all.to_elements();
        invert_all(&mut lanes, &mut self.plain);
        let mut inverse = F8::of_elements(&lanes);
        for (before, product) in inverses.iter_mut().zip(products).rev() {
            let of_this = inverse.mul(before);
            inverse = inverse.mul(product);
            *before = of_this;
        }
    }
}

/// Keeps what was exceptional, a bit a lane, a byte a group.
pub(crate) type Exceptional = [Mask; GROUPS_MAX];

/// Adds neighbours pair by pair until one point a signature is left; one without a partner moves up. `points` is `[step][group]`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) points: Vec<Points>,
    inversions: Inversions,
}

impl Tree {
    /// Adds up the first `steps` steps of each group; the sums are in the first step afterwards.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn add_up(
        &mut self,
        groups: usize,
        mut steps: usize,
        exceptional: &mut Exceptional,
    ) {
        while steps > 1 {
            let pairs = steps / 2;
            self.inversions.clear();
            for pair in 0..pairs {
                for (group, exceptional) in exceptional[..groups].iter_mut().enumerate() {
                    let at = 2 * pair * groups + group;
                    let across = self.points[at + groups].x.sub(&self.points[at].x);
                    *exceptional |= self.inversions.push(&across);
                }
            }
            let inverses = self.inversions.invert(groups);
            for pair in 0..pairs {
                for group in 0..groups {
                    let at = 2 * pair * groups + group;
                    let (a, b) = (self.points[at].fresh(), self.points[at + groups].fresh());
                    self.points[pair * groups + group] =
                        add_with(&a, &b, &inverses[pair * groups + group]);
                }
            }
            if steps % 2 == 1 {
                self.points
                    .copy_within((steps - 1) * groups..steps * groups, pairs * groups);
            }
            steps = steps.div_ceil(2);
        }
    }
}

/// Eight points in Jacobian coordinates: x = X/Z², y = Y/Z³. Z is 0 where a sum had no answer, and stays 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jacobian {
    pub(crate) x: F8,
    pub(crate) y: F8,
    pub(crate) z: F8,
}

impl Jacobian {
    /// Twice it: "dbl-2009-l" of the Explicit-Formulas Database.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn double(&self) -> Self {
        let a = self.x.square();
        let b = self.y.square();
        let c = b.square();
        // 2·((x + b)² − a − c) is 4·x·b.
        let d = self.x.mul(&b).double().double();
        let e = a.triple();
        let x = e.square().sub_both(&d, &d);
        let c8 = c.double().double().double();
        let y = e.mul(&d.sub(&x)).sub(&c8);
        let z = self.y.mul(&self.z).double();
        Self { x, y, z }
    }

    /// Its sum with an affine point: "madd-2004-hmv" there. Where the two have the same x, Z becomes 0.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(crate) fn add(&self, other: &FreshPoints) -> Self {
        let zz = self.z.square();
        let u = other.x.mul(&zz);
        let zzz = zz.mul(&self.z);
        let s = other.y.tight().mul(&zzz);
        let h = u.sub(&self.x);
        let r = s.sub(&self.y);
        let hh = h.square();
        let hhh = hh.mul(&h);
        let v = self.x.mul(&hh);
        let x = r.square().sub(&hhh).sub_both(&v, &v);
        let y = r.mul(&v.sub(&x)).sub(&self.y.mul(&hhh));
        let z = self.z.mul(&h);
        Self { x, y, z }
    }
}
