//! Points, and tables of the odd multiples of one.
//!
//! ```text
//!   window 0        ±1·Q        ±3·Q       …  ±(2^w − 1)·Q
//!   window 1        ±1·2^w·Q    ±3·2^w·Q   …                       a digit picks one of each row; the sum of the rows is k·Q
//!   …
//!   window 256/w−1
//! ```
//!
//! Only the positive ones are stored: the opposite has the opposite y. A key's table (w = 4) is 64 × 8 points of 64 bytes: 32 KiB.
//! The generator's (w = 8) is 32 × 128: 256 KiB.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::field::{Element, invert_all};

/// A point of the curve that is not the one at infinity, in affine coordinates. Both are in normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Point {
    /// x, four words, the least first.
    pub x: [u64; 4],
    /// y.
    pub y: [u64; 4],
}

/// The generator (SEC 2, section 2.4.1).
pub const GENERATOR: Point = Point {
    x: [
        0x59f2_815b_16f8_1798,
        0x029b_fcdb_2dce_28d9,
        0x55a0_6295_ce87_0b07,
        0x79be_667e_f9dc_bbac,
    ],
    y: [
        0x9c47_d08f_fb10_d4b8,
        0xfd17_b448_a685_5419,
        0x5da4_fbfc_0e11_08a8,
        0x483a_da77_26a3_c465,
    ],
};

impl Point {
    /// Of its coordinates; `None` when no point has them.
    #[must_use]
    pub fn from_be_bytes(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let (x, y) = (Element::from_be_bytes(x)?, Element::from_be_bytes(y)?);
        let is_on_curve = y.square().equals(&curve_at(&x));
        is_on_curve.then(|| Self::of(&x, &y))
    }

    /// x and y, the greatest bytes first.
    #[must_use]
    pub fn to_be_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (x, y) = bytes.split_at_mut(32);
        x.copy_from_slice(&super::field::bytes_of(&self.x));
        y.copy_from_slice(&super::field::bytes_of(&self.y));
        bytes
    }

    pub(super) const fn of(x: &Element, y: &Element) -> Self {
        Self {
            x: x.normal(),
            y: y.normal(),
        }
    }

    pub(super) const fn xy(&self) -> (Element, Element) {
        (Element::from_words(self.x), Element::from_words(self.y))
    }
}

/// x³ + 7.
#[must_use]
pub const fn curve_at(x: &Element) -> Element {
    x.square().mul(x).add(&Element::from_words([7, 0, 0, 0]))
}

/// The odd multiples of a point, in windows of `WIDTH` bits, `ROW` = 2^(WIDTH−1) in each.
#[derive(Clone, Debug)]
pub struct Table<const WIDTH: u32, const ROW: usize> {
    points: Box<[[Point; ROW]]>,
}

/// Of a sender's key.
pub type KeyTable = Table<4, 8>;
/// Of the generator.
pub type BaseTable = Table<8, 128>;

impl<const WIDTH: u32, const ROW: usize> Table<WIDTH, ROW> {
    /// How many windows there are.
    pub const WINDOWS: usize = {
        assert!(ROW == 1 << (WIDTH - 1) && 256 % WIDTH == 0);
        (256 / WIDTH) as usize
    };

    /// An empty one, to be filled.
    #[must_use]
    pub fn new() -> Self {
        Self {
            points: vec![[GENERATOR; ROW]; Self::WINDOWS].into_boxed_slice(),
        }
    }

    /// Makes it the table of `point`. Takes some 8,000 multiplications for a key, and no memory but the scratch.
    ///
    /// All windows are filled side by side, so that one inversion serves them all. No addition here meets a point and its like: that
    /// would take a multiple of n, and no row reaches beyond 2^8.
    pub fn fill(&mut self, point: &Point, scratch: &mut Fill) {
        let windows = Self::WINDOWS;
        scratch.bases(point, WIDTH, windows);
        for (row, base) in self.points.iter_mut().zip(&scratch.bases) {
            row[0] = Point::of(&base.0, &base.1);
        }
        scratch.double(windows);
        for index in 1..ROW {
            let Fill {
                divisors,
                spare,
                doubles,
                ..
            } = scratch;
            divisors.clear();
            for (row, double) in self.points.iter().zip(&*doubles) {
                divisors.push(double.0.sub(&row[index - 1].xy().0));
            }
            invert_all(divisors, spare);
            for ((row, double), inverse) in self.points.iter_mut().zip(&*doubles).zip(&*divisors) {
                let (x, y) = add_with(&row[index - 1].xy(), double, inverse);
                row[index] = Point::of(&x, &y);
            }
        }
    }

    /// `(2·index + 1)·2^(WIDTH·window)` times the point.
    ///
    /// # Panics
    /// When there is no such window, or no such multiple.
    #[must_use]
    #[inline]
    pub fn multiple(&self, window: usize, index: usize) -> &Point {
        &self.points[window][index]
    }

    /// Every row, the first window's first.
    #[must_use]
    pub fn rows(&self) -> &[[Point; ROW]] {
        &self.points
    }
}

impl<const WIDTH: u32, const ROW: usize> Default for Table<WIDTH, ROW> {
    fn default() -> Self {
        Self::new()
    }
}

impl BaseTable {
    /// The generator's.
    #[must_use]
    pub fn of_generator() -> Self {
        let mut table = Self::new();
        table.fill(&GENERATOR, &mut Fill::default());
        table
    }
}

/// Memory in which tables are made.
#[derive(Default, Debug)]
pub struct Fill {
    bases: Vec<(Element, Element)>,
    doubles: Vec<(Element, Element)>,
    divisors: Vec<Element>,
    spare: Vec<Element>,
    projective: Vec<[Element; 3]>,
}

impl Fill {
    /// `2^(width·n)` times the point, for each window n.
    fn bases(&mut self, point: &Point, width: u32, windows: usize) {
        let (x, y) = point.xy();
        let mut at = [x, y, Element::ONE];
        self.projective.clear();
        self.divisors.clear();
        for _ in 0..windows {
            self.projective.push(at);
            self.divisors.push(at[2]);
            for _ in 0..width {
                at = double_projective(&at);
            }
        }
        invert_all(&mut self.divisors, &mut self.spare);
        self.bases.clear();
        for ([x, y, _], inverse) in self.projective.iter().zip(&self.divisors) {
            let square = inverse.square();
            self.bases
                .push((x.mul(&square), y.mul(&square).mul(inverse)));
        }
    }

    /// Twice each base.
    fn double(&mut self, windows: usize) {
        self.divisors.clear();
        self.divisors
            .extend(self.bases[..windows].iter().map(|(_, y)| y.add(y)));
        invert_all(&mut self.divisors, &mut self.spare);
        self.doubles.clear();
        for ((x, y), inverse) in self.bases.iter().zip(&self.divisors) {
            let square = x.square();
            let slope = square.add(&square).add(&square).mul(inverse);
            self.doubles.push(along(&slope, &(*x, *y), x));
        }
    }
}

/// The sum of two points that are neither alike nor opposite; `inverse` is `1 / (b.x − a.x)`.
#[inline]
pub(super) fn add_with(
    a: &(Element, Element),
    b: &(Element, Element),
    inverse: &Element,
) -> (Element, Element) {
    let slope = b.1.sub(&a.1).mul(inverse);
    along(&slope, a, &b.0)
}

/// The opposite of where a line of that slope through `a` meets the curve again, when it also meets it at `other_x`.
#[inline]
fn along(slope: &Element, a: &(Element, Element), other_x: &Element) -> (Element, Element) {
    let x = slope.square().sub(&a.0).sub(other_x);
    let y = a.0.sub(&x).mul(slope).sub(&a.1);
    (x, y)
}

/// Twice a point (X/Z², Y/Z³): "dbl-2009-l" of the Explicit-Formulas Database.
fn double_projective([x, y, z]: &[Element; 3]) -> [Element; 3] {
    let a = x.square();
    let b = y.square();
    let c = b.square();
    let d = x.add(&b).square().sub(&a).sub(&c);
    let d = d.add(&d);
    let e = a.add(&a).add(&a);
    let x3 = e.square().sub(&d).sub(&d);
    let c8 = {
        let c2 = c.add(&c);
        let c4 = c2.add(&c2);
        c4.add(&c4)
    };
    let y3 = e.mul(&d.sub(&x3)).sub(&c8);
    let z3 = y.mul(z);
    [x3, y3, z3.add(&z3)]
}
