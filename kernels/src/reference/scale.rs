//! Renditions: a picture at another size.
//!
//! Two ways, both in whole numbers. [`bilinear`] looks at four samples an output and is right for any enlargement and
//! down to half the size; below that it passes over samples, and fine detail flickers. [`area`] takes the mean of all
//! that an output covers and is right for any reduction.
//!
//! # Bilinear
//!
//! The position and weights of `resample.rs`, from which `s` is 65 536 times the sample. From `W` pixels to `w`, and the
//! same down a column, with `C` the samples of the plane (`W`, or half of it rounded up):
//!
//! ```text
//!   base 0   step W   denominator 2 w   first 0   last C - 1        luma and chroma alike: a chroma sample stays
//!   out = (s + 32 768) >> 16                                        on the luma it belongs to, at odd sizes too
//! ```
//!
//! # Area
//!
//! Each plane by its own size. Along an axis of `N` samples made `n`, cut both into `N·n` parts: a sample of the source
//! is `n` of them, one of the output `N`, and output `x` covers parts `x·N` to `(x + 1)·N`. A source sample weighs the
//! parts it shares with the output, so the weights of an output add up to `N`. Over both axes
//!
//! ```text
//!   out = floor(sum(wy · wx · p) / (Nx · Ny) + 1/2)                 the sum: at most 255 · 2^26, so 64 bits
//!
//!   3 to 2:   source |  0   |  1   |  2   |       wx of output 0:  2 1 0
//!             output |    0    |    1     |       wx of output 1:  0 1 2
//! ```
//!
//! `N` and `n` may first be divided by what divides both: the weights shrink together and `out` is the same.

use alloc::vec::Vec;
use core::fmt;

use super::resample::{Axis, Line, Walk};
use super::{Scratch, first};
use crate::frame::{Frame, SizeError};
use crate::plane::{Plane, PlaneMut};

/// Why a picture cannot be made this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleError {
    /// No frame has such a size.
    Size(SizeError),
    /// The picture is empty.
    Empty,
    /// [`area`] was asked to enlarge a side.
    Enlarges {
        /// Width and height of the picture.
        from: (usize, usize),
        /// What was asked for.
        to: (usize, usize),
    },
}

impl fmt::Display for ScaleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => error.fmt(f),
            Self::Empty => write!(f, "an empty picture cannot be scaled"),
            Self::Enlarges { from, to } => write!(
                f,
                "the mean of an area cannot enlarge {}x{} to {}x{}",
                from.0, from.1, to.0, to.1
            ),
        }
    }
}

impl core::error::Error for ScaleError {}

/// Makes `dst` the picture at `width` by `height` pixels, with its range and matrix. On error `dst` is as it was.
pub fn bilinear(
    src: &Frame,
    width: usize,
    height: usize,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), ScaleError> {
    shape(src, width, height, dst)?;
    let Buffers {
        luma,
        chroma,
        line,
        samples,
        ..
    } = &mut scratch.scale;
    for (index, (from, mut to)) in src.planes().into_iter().zip(dst.planes_mut()).enumerate() {
        let across = walk(src.width(), width, from.width());
        let down = walk(src.height(), height, from.height());
        let axis = if index == 0 { &mut *luma } else { &mut *chroma };
        axis.set(across, to.width());
        let samples = first(samples, to.width());
        for (y, out) in to.rows_mut().enumerate() {
            let (row, weight) = down.tap(y);
            let below = (row + 1).min(down.last as usize);
            line.blend(from.row(row), from.row(below), weight);
            axis.row(line, samples);
            for (out, s) in out.iter_mut().zip(&*samples) {
                *out = ((s + 32_768) >> 16) as u8;
            }
        }
    }
    Ok(())
}

/// Makes `dst` the picture at `width` by `height` pixels, neither larger than the picture's, with its range and
/// matrix. On error `dst` is as it was.
pub fn area(
    src: &Frame,
    width: usize,
    height: usize,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), ScaleError> {
    if !src.is_empty() && (width > src.width() || height > src.height()) {
        return Err(ScaleError::Enlarges {
            from: (src.width(), src.height()),
            to: (width, height),
        });
    }
    shape(src, width, height, dst)?;
    for (from, to) in src.planes().into_iter().zip(dst.planes_mut()) {
        let Buffers {
            narrow,
            wide,
            covers,
            ..
        } = &mut scratch.scale;
        let down = Ratio::new(from.height(), to.height());
        if down.from <= NARROW_MAX {
            area_plane(from, to, down, narrow, covers);
        } else {
            area_plane(from, to, down, wide, covers);
        }
    }
    Ok(())
}

/// Rows that scaling works in, kept from frame to frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    luma: Axis,
    chroma: Axis,
    line: Line,
    samples: Vec<i32>,
    narrow: Vec<u16>,
    wide: Vec<u32>,
    covers: Vec<Cover>,
}

/// Gives `dst` its size and the meaning of `src`.
fn shape(src: &Frame, width: usize, height: usize, dst: &mut Frame) -> Result<(), ScaleError> {
    if src.is_empty() {
        return Err(ScaleError::Empty);
    }
    dst.reset(width, height).map_err(ScaleError::Size)?;
    (dst.range, dst.matrix) = (src.range, src.matrix);
    Ok(())
}

fn walk(from: usize, to: usize, samples: usize) -> Walk {
    Walk {
        base: 0,
        step: from as u32,
        denominator: 2 * to as u32,
        first: 0,
        last: samples as u32 - 1,
    }
}

// === area ===

/// `from` samples become `to` along an axis, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// What one output sample covers: source samples `first..end`, each of weight `to` but for what is cut off the first
/// and the last (which may be one).
#[derive(Clone, Copy, Debug)]
struct Cover {
    first: u32,
    end: u32,
    cut_first: u32,
    cut_last: u32,
}

impl Ratio {
    pub(crate) fn new(from: usize, to: usize) -> Self {
        let (mut a, mut b) = (from as u32, to as u32);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self {
            from: from as u32 / a,
            to: to as u32 / a,
        }
    }

    fn cover(self, x: usize) -> Cover {
        let begin = x as u32 * self.from;
        let finish = begin + self.from;
        let (first, end) = (begin / self.to, finish.div_ceil(self.to));
        Cover {
            first,
            end,
            cut_first: begin - first * self.to,
            cut_last: end * self.to - finish,
        }
    }
}

/// The sum of a column, its weights adding up to at most `NARROW_MAX` in 16 bits, to 8192 in 32.
trait Sum: Copy + Default + Into<u64> {
    fn product(weight: u16, p: u8) -> Self;
    fn plus(self, other: Self) -> Self;
}

impl Sum for u16 {
    #[inline(always)]
    fn product(weight: u16, p: u8) -> Self {
        weight * Self::from(p)
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Sum for u32 {
    #[inline(always)]
    fn product(weight: u16, p: u8) -> Self {
        Self::from(weight) * Self::from(p)
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// 257 samples of 255 are 65 535.
const NARROW_MAX: u32 = 257;

fn area_plane<T: Sum>(
    src: Plane<'_>,
    mut dst: PlaneMut<'_>,
    down: Ratio,
    columns: &mut Vec<T>,
    covers: &mut Vec<Cover>,
) {
    let across = Ratio::new(src.width(), dst.width());
    let divider = Divider::new(across.from * down.from);
    let columns = first(columns, src.width());
    covers.clear();
    covers.extend((0..dst.width()).map(|x| across.cover(x)));
    for (y, out) in dst.rows_mut().enumerate() {
        sum_rows(src, down, y, columns);
        match (across.from, across.to) {
            (1, 1) => periodic::<T, 1, 1>(columns, divider, out),
            (2, 1) => periodic::<T, 2, 1>(columns, divider, out),
            (3, 1) => periodic::<T, 3, 1>(columns, divider, out),
            (3, 2) => periodic::<T, 3, 2>(columns, divider, out),
            (4, 3) => periodic::<T, 4, 3>(columns, divider, out),
            (9, 4) => periodic::<T, 9, 4>(columns, divider, out),
            _ => any(columns, covers, across.to, divider, out),
        }
    }
}

/// `columns[x]` is the sum of `wy · p` of column `x`.
fn sum_rows<T: Sum>(src: Plane<'_>, down: Ratio, y: usize, columns: &mut [T]) {
    let cover = down.cover(y);
    for row in cover.first..cover.end {
        let mut weight = down.to;
        if row == cover.first {
            weight -= cover.cut_first;
        }
        if row + 1 == cover.end {
            weight -= cover.cut_last;
        }
        let weight = weight as u16;
        let samples = columns.iter_mut().zip(src.row(row as usize));
        if row == cover.first {
            samples.for_each(|(sum, p)| *sum = T::product(weight, *p));
        } else {
            samples.for_each(|(sum, p)| *sum = sum.plus(T::product(weight, *p)));
        }
    }
}

/// Any ratio: whole samples first, then what is cut off either end.
fn any<T: Sum>(columns: &[T], covers: &[Cover], to: u32, divider: Divider, out: &mut [u8]) {
    for (out, cover) in out.iter_mut().zip(covers) {
        let covered = &columns[cover.first as usize..cover.end as usize];
        let [head, .., tail] = covered else {
            // One sample makes one, whole: the sizes are equal.
            *out = divider.round(covered[0].into() * u64::from(to));
            continue;
        };
        let whole: u64 = covered.iter().map(|&c| c.into()).sum();
        let (head, tail): (u64, u64) = ((*head).into(), (*tail).into());
        let cut = head * u64::from(cover.cut_first) + tail * u64::from(cover.cut_last);
        *out = divider.round(whole * u64::from(to) - cut);
    }
}

/// The ratios of common ladders: `TO` outputs of `FROM` samples, again and again, with weights that the compiler knows.
#[inline(always)]
fn periodic<T: Sum, const FROM: usize, const TO: usize>(
    columns: &[T],
    divider: Divider,
    out: &mut [u8],
) {
    for (from, out) in columns.chunks_exact(FROM).zip(out.chunks_exact_mut(TO)) {
        for (x, out) in out.iter_mut().enumerate() {
            let (begin, finish) = (x * FROM, (x + 1) * FROM);
            let mut sum = 0;
            for (i, c) in from.iter().enumerate() {
                let (left, right) = (begin.max(i * TO), finish.min((i + 1) * TO));
                let c: u64 = (*c).into();
                sum += c * right.saturating_sub(left) as u64;
            }
            *out = divider.round(sum);
        }
    }
}

/// Division by a number `d` that stays the same, as a multiplication.
///
/// With `m = floor(2^62 / d) + 1`, `m·d = 2^62 + e` and `0 < e <= d`, so `n·m / 2^62 = n/d + n·e / (d · 2^62)`. The excess
/// is below `1/d`, hence too small to reach the next whole number, when `n·e < 2^62`: here `n < 256 d`, `d <= 2^26`,
/// and `n·e < 2^8 · 2^26 · 2^26 = 2^60`.
#[derive(Clone, Copy)]
struct Divider {
    half: u64,
    multiplier: u64,
}

impl Divider {
    fn new(d: u32) -> Self {
        let d = u64::from(d);
        Self {
            half: d / 2,
            multiplier: (1 << 62) / d + 1,
        }
    }

    /// `floor(sum / d + 1/2)`, the sum being at most `255 d`. An odd `d` has no ties, so its half may be rounded down.
    #[inline(always)]
    fn round(self, sum: u64) -> u8 {
        ((u128::from(sum + self.half) * u128::from(self.multiplier)) >> 62) as u8
    }
}
