//! A picture as a tensor and back: what a model is fed, and what it answers.
//!
//! A tensor is planar RGB, `[3][height][width]`, of `f32` or of halves (see [`half`]). A value `v` is 0 to 1 and is
//! stored as `(v - mean[c]) * scale[c]`. RGB is non-linear, as it is in the picture: no transfer function is undone.
//!
//! # To a tensor
//!
//! Crop, scale, conversion and normalisation are one pass. Each plane is sampled bilinearly, pixel centre to pixel
//! centre, in the fixed point of `resample.rs`: `s` is 65 536 times the sample, in 24 bits. A chroma sample is taken to
//! lie in the middle of its four luma pixels. With `(X, Y, W, H)` the crop and `(w, h)` the tensor's size, along a row
//!
//! ```text
//!   luma     base 2 X w   step W   denominator 2 w   first X       last X + W - 1
//!   chroma   base 2 X w   step W   denominator 4 w   first X / 2   last (X + W - 1) / 2
//! ```
//!
//! and the same down a column: nothing outside the crop is read, but for a chroma sample that the crop's edge shares.
//! Then, in `f32`, each operation rounded once and in this order,
//!
//! ```text
//!   y = s_y - 65536 · 16 (full range: s_y)      u = s_u - 65536 · 128      v = s_v - 65536 · 128       exact
//!   l = y · ky
//!   r = l + v · kr        g = (l - u · kgu) - v · kgv        b = l + u · kb
//!   out[c] = (clamp(c) - mean[c]) · scale[c]                 clamp: 0 to 1
//!
//!   ky = 1 / (65536 · 219)     kr = 2 (1 - Kr) / (65536 · 224)      kgu = kb · Kb / Kg      full range:
//!                              kb = 2 (1 - Kb) / (65536 · 224)      kgv = kr · Kr / Kg      255 and 255
//! ```
//!
//! the constants being computed in `f64` and rounded to `f32` once.
//!
//! | matrix | Kr | Kb | Kg = 1 - Kr - Kb | source |
//! |---|---|---|---|---|
//! | BT.601 | 0.299 | 0.114 | 0.587 | ITU-R BT.601-7, 2.5.1 |
//! | BT.709 | 0.2126 | 0.0722 | 0.7152 | ITU-R BT.709-6, 3.2 |
//! | BT.2020 | 0.2627 | 0.0593 | 0.6780 | ITU-R BT.2020-2, table 4 |
//!
//! A matrix that is not said is BT.601 in a picture of fewer than 720 lines and BT.709 in others.
//!
//! # From a tensor
//!
//! The picture has the tensor's size, and the range and matrix that it had. In `f32`, in this order,
//!
//! ```text
//!   c = t · scale[c] + mean[c]         then clamped to 0 to 1; not a number is 0          c: r, g, b
//!   l = (Kr · r + Kg · g) + Kb · b
//!   Y = trunc(l · S + (o + 0.5))                                     S = 219, o = 16 (full range: 255, 0)
//!
//!   of the four pixels of a chroma sample, one beyond the edge being the nearest inside, q = l, b and r each:
//!   Q = (q[0,0] + q[0,1]) + (q[1,0] + q[1,1])
//!   U = min(255, trunc((B - L) · ku + 128.5))                        ku = C / (8 (1 - Kb))     C = 224 (255)
//!   V = min(255, trunc((R - L) · kv + 128.5))                        kv = C / (8 (1 - Kr))
//! ```
//!
//! where the 8 is the 2 of the definition times the four pixels.

use alloc::vec::Vec;
use core::fmt;

use super::resample::{Axis, Line, Walk};
use super::{Scratch, first, half};
use crate::frame::{DIMENSION_MAX, Frame, Matrix, Range, SizeError};

/// A rectangle of a picture, in its pixels. Any position will do, odd ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crop {
    /// Pixels to its left.
    pub x: usize,
    /// Pixels above it.
    pub y: usize,
    /// Its width.
    pub width: usize,
    /// Its height.
    pub height: usize,
}

/// How a picture becomes a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToTensor {
    /// What of the picture is taken.
    pub crop: Crop,
    /// The tensor's width.
    pub width: usize,
    /// The tensor's height.
    pub height: usize,
    /// What is taken from red, green and blue, which are 0 to 1.
    pub mean: [f32; 3],
    /// What the difference is then multiplied by: the reciprocal of a standard deviation.
    pub scale: [f32; 3],
}

/// How a tensor becomes a picture. `mean` and `scale` go the other way: a tensor of [`ToTensor`] comes back with the
/// same mean and the reciprocal scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FromTensor {
    /// The width of the tensor and of the picture.
    pub width: usize,
    /// The height of the tensor and of the picture.
    pub height: usize,
    /// What is added to red, green and blue once they are multiplied.
    pub mean: [f32; 3],
    /// What the tensor's numbers are multiplied by.
    pub scale: [f32; 3],
}

/// Why a tensor cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TensorError {
    /// The tensor cannot have this size.
    Size(SizeError),
    /// The crop is empty or reaches outside the picture.
    Crop {
        /// What was asked for.
        crop: Crop,
        /// Width of the picture.
        width: usize,
        /// Height of the picture.
        height: usize,
    },
    /// The slice is not of `3 * width * height` numbers.
    Length {
        /// What the size asks for.
        expected: usize,
        /// What was given.
        given: usize,
    },
    /// A mean or scale is infinite or not a number.
    Normalisation,
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => write!(f, "tensor: {error}"),
            Self::Crop {
                crop,
                width,
                height,
            } => write!(
                f,
                "a crop of {}x{} at {},{} of a picture of {width}x{height}",
                crop.width, crop.height, crop.x, crop.y
            ),
            Self::Length { expected, given } => {
                write!(f, "a tensor of {given} numbers instead of {expected}")
            }
            Self::Normalisation => write!(f, "a mean or scale that is not a finite number"),
        }
    }
}

impl core::error::Error for TensorError {}

/// Fills `out` from `src`.
pub fn to_tensor_f32(
    src: &Frame,
    spec: &ToTensor,
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    to_tensor(src, spec, out, &mut scratch.tensor)
}

/// Fills `out`, whose numbers are the bits of halves, from `src`.
pub fn to_tensor_f16(
    src: &Frame,
    spec: &ToTensor,
    out: &mut [u16],
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    to_tensor(src, spec, out, &mut scratch.tensor)
}

/// Makes `dst` the picture that `tensor` holds; `dst` keeps its range and matrix. On error it is as it was.
pub fn from_tensor_f32(
    tensor: &[f32],
    spec: &FromTensor,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    from_tensor(tensor, spec, dst, &mut scratch.tensor)
}

/// Makes `dst` the picture that `tensor`, the bits of halves, holds. See [`from_tensor_f32`].
pub fn from_tensor_f16(
    tensor: &[u16],
    spec: &FromTensor,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    from_tensor(tensor, spec, dst, &mut scratch.tensor)
}

// === specifications ===

impl ToTensor {
    /// Whether a picture of this size can be made a tensor so.
    pub fn check(&self, width: usize, height: usize) -> Result<(), TensorError> {
        let crop = self.crop;
        let inside = |start: usize, len: usize, end: usize| {
            len >= 1 && start.checked_add(len).is_some_and(|last| last <= end)
        };
        if !inside(crop.x, crop.width, width) || !inside(crop.y, crop.height, height) {
            return Err(TensorError::Crop {
                crop,
                width,
                height,
            });
        }
        check(self.width, self.height, &[self.mean, self.scale])
    }
}

impl FromTensor {
    /// Whether such a tensor can be made a picture.
    pub fn check(&self) -> Result<(), TensorError> {
        check(self.width, self.height, &[self.mean, self.scale])
    }
}

fn check(width: usize, height: usize, numbers: &[[f32; 3]]) -> Result<(), TensorError> {
    let fits = 1..=DIMENSION_MAX;
    if !fits.contains(&width) || !fits.contains(&height) {
        return Err(TensorError::Size(SizeError { width, height }));
    }
    if !numbers.as_flattened().iter().all(|x| x.is_finite()) {
        return Err(TensorError::Normalisation);
    }
    Ok(())
}

fn check_len(width: usize, height: usize, given: usize) -> Result<(), TensorError> {
    let expected = 3 * width * height;
    if given != expected {
        return Err(TensorError::Length { expected, given });
    }
    Ok(())
}

// === constants of a matrix and range ===

impl Matrix {
    /// Kr, Kg, Kb: how much of luma is red, green and blue, in a picture of this height.
    pub(crate) fn luma_weights(self, height: usize) -> [f64; 3] {
        let (red, blue) = match self {
            Self::Unspecified if height >= HIGH_DEFINITION_LINES => (0.2126, 0.0722),
            Self::Unspecified | Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        };
        [red, 1.0 - red - blue, blue]
    }
}

/// What the numbers of a range span: luma, chroma.
fn spans(range: Range) -> [f64; 2] {
    match range {
        Range::Limited => [219.0, 224.0],
        Range::Full => [255.0, 255.0],
    }
}

/// The luma of black.
fn black(range: Range) -> u8 {
    range.luma().0
}

/// `ky`, `kr`, `kgu`, `kgv`, `kb`.
pub(crate) fn to_rgb(matrix: Matrix, range: Range, height: usize) -> [f32; 5] {
    let [red, green, blue] = matrix.luma_weights(height);
    let [luma, chroma] = spans(range).map(|span| 65_536.0 * span);
    let (kr, kb) = (2.0 * (1.0 - red) / chroma, 2.0 * (1.0 - blue) / chroma);
    let (kgu, kgv) = (kb * blue / green, kr * red / green);
    [1.0 / luma, kr, kgu, kgv, kb].map(|k| k as f32)
}

/// `Kr`, `Kg`, `Kb`, `S`, `ku`, `kv`.
pub(crate) fn from_rgb(matrix: Matrix, range: Range, height: usize) -> [f32; 6] {
    let [red, green, blue] = matrix.luma_weights(height);
    let [luma, chroma] = spans(range);
    let (ku, kv) = (chroma / (8.0 * (1.0 - blue)), chroma / (8.0 * (1.0 - red)));
    [red, green, blue, luma, ku, kv].map(|k| k as f32)
}

/// Pictures of at least this many lines are taken to be BT.709.
const HIGH_DEFINITION_LINES: usize = 720;

// === the two passes ===

/// Rows that the passes work in, kept from frame to frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    luma: Axis,
    chroma: Axis,
    line: Line,
    samples: [Vec<i32>; 3],
    /// Luma, blue and red of two rows of pixels.
    rows: [[Vec<f32>; 3]; 2],
}

/// A number as a tensor stores it.
trait Element: Copy {
    fn of(x: f32) -> Self;
    fn number(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn number(self) -> f32 {
        self
    }
}

impl Element for u16 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        half::from_f32(x)
    }
    #[inline(always)]
    fn number(self) -> f32 {
        half::to_f32(self)
    }
}

fn to_tensor<T: Element>(
    src: &Frame,
    spec: &ToTensor,
    out: &mut [T],
    buffers: &mut Buffers,
) -> Result<(), TensorError> {
    spec.check(src.width(), src.height())?;
    let (width, height) = (spec.width, spec.height);
    check_len(width, height, out.len())?;

    let crop = spec.crop;
    let [across, across_chroma] = walks(crop.x, crop.width, width);
    let [down, down_chroma] = walks(crop.y, crop.height, height);
    buffers.luma.set(across, width);
    buffers.chroma.set(across_chroma, width);
    let planes = [
        (src.y(), &buffers.luma, across, down),
        (src.u(), &buffers.chroma, across_chroma, down_chroma),
        (src.v(), &buffers.chroma, across_chroma, down_chroma),
    ];
    let colours = Colours {
        black: 65_536 * i32::from(black(src.range)),
        k: to_rgb(src.matrix, src.range, src.height()),
        mean: spec.mean,
        scale: spec.scale,
    };
    let (red, rest) = out.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    let rows = red
        .chunks_exact_mut(width)
        .zip(green.chunks_exact_mut(width))
        .zip(blue.chunks_exact_mut(width));
    for (y, ((red, green), blue)) in rows.enumerate() {
        for ((plane, axis, across, down), samples) in planes.iter().zip(&mut buffers.samples) {
            let (index, weight) = down.tap(y);
            let below = (index + 1).min(down.last as usize);
            let columns = across.first as usize..=across.last as usize;
            buffers.line.blend(
                &plane.row(index)[columns.clone()],
                &plane.row(below)[columns],
                weight,
            );
            axis.row(&buffers.line, first(samples, width));
        }
        let [y, u, v] = &buffers.samples;
        colours.row([&y[..width], &u[..width], &v[..width]], red, green, blue);
    }
    Ok(())
}

/// Along one axis: luma, chroma.
pub(super) fn walks(start: usize, len: usize, out: usize) -> [Walk; 2] {
    let (start, len, out) = (start as u32, len as u32, out as u32);
    [1, 2].map(|shrink| Walk {
        base: 2 * start * out,
        step: len,
        denominator: 2 * shrink * out,
        first: start / shrink,
        last: (start + len - 1) / shrink,
    })
}

struct Colours {
    black: i32,
    k: [f32; 5],
    mean: [f32; 3],
    scale: [f32; 3],
}

impl Colours {
    fn row<T: Element>(&self, from: [&[i32]; 3], red: &mut [T], green: &mut [T], blue: &mut [T]) {
        let [ky, kr, kgu, kgv, kb] = self.k;
        let store = |c: usize, v: f32| T::of((clamped(v) - self.mean[c]) * self.scale[c]);
        let samples = from[0].iter().zip(from[1]).zip(from[2]);
        let pixels = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), ((y, u), v)) in pixels.zip(samples) {
            let l = (y - self.black) as f32 * ky;
            let u = (u - CHROMA_ZERO) as f32;
            let v = (v - CHROMA_ZERO) as f32;
            *red = store(0, l + v * kr);
            *green = store(1, (l - u * kgu) - v * kgv);
            *blue = store(2, l + u * kb);
        }
    }
}

const CHROMA_ZERO: i32 = 65_536 * 128;

/// 0 to 1; not a number is 0.
#[inline(always)]
fn clamped(v: f32) -> f32 {
    let v = if v > 0.0 { v } else { 0.0 };
    if v < 1.0 { v } else { 1.0 }
}

fn from_tensor<T: Element>(
    tensor: &[T],
    spec: &FromTensor,
    dst: &mut Frame,
    buffers: &mut Buffers,
) -> Result<(), TensorError> {
    spec.check()?;
    let (width, height) = (spec.width, spec.height);
    check_len(width, height, tensor.len())?;
    let (range, matrix) = (dst.range, dst.matrix);
    dst.reset(width, height).map_err(TensorError::Size)?;
    (dst.range, dst.matrix) = (range, matrix);

    let k = from_rgb(matrix, range, height);
    let offset = f32::from(black(range)) + 0.5;
    let [upper, lower] = &mut buffers.rows;
    let [mut luma, mut u, mut v] = dst.planes_mut();
    let chroma = u.rows_mut().zip(v.rows_mut());
    for (row, (u, v)) in (0..height).step_by(2).zip(chroma) {
        read(tensor, spec, k, row, upper);
        write_luma(&upper[0], k[3], offset, luma.row_mut(row));
        let below = if row + 1 < height {
            read(tensor, spec, k, row + 1, lower);
            write_luma(&lower[0], k[3], offset, luma.row_mut(row + 1));
            &*lower
        } else {
            &*upper
        };
        let sums = |q: usize| [&upper[q][..width], &below[q][..width]];
        write_chroma(sums(1), sums(0), k[4], u);
        write_chroma(sums(2), sums(0), k[5], v);
    }
    Ok(())
}

/// Luma, blue and red of one row of the tensor.
fn read<T: Element>(
    tensor: &[T],
    spec: &FromTensor,
    k: [f32; 6],
    row: usize,
    rows: &mut [Vec<f32>; 3],
) {
    let width = spec.width;
    let plane = |c: usize| &tensor[(c * spec.height + row) * width..][..width];
    let value = |c: usize, t: &T| clamped(t.number() * spec.scale[c] + spec.mean[c]);
    let [l, b, r] = rows.each_mut().map(|row| first(row, width));
    let from = plane(0).iter().zip(plane(1)).zip(plane(2));
    for (((l, b), r), ((red, green), blue)) in l.iter_mut().zip(b).zip(r).zip(from) {
        let (red, green, blue) = (value(0, red), value(1, green), value(2, blue));
        *l = (k[0] * red + k[1] * green) + k[2] * blue;
        (*b, *r) = (blue, red);
    }
}

fn write_luma(l: &[f32], span: f32, offset: f32, out: &mut [u8]) {
    for (out, l) in out.iter_mut().zip(l) {
        *out = truncated(l * span + offset);
    }
}

/// `q` is blue or red, `l` luma; both of two rows.
fn write_chroma(q: [&[f32]; 2], l: [&[f32]; 2], k: f32, out: &mut [u8]) {
    let one = |q: f32, l: f32| truncated((q - l) * k + 128.5);
    let sum = |above: &[f32], below: &[f32]| (above[0] + above[1]) + (below[0] + below[1]);
    let above = q[0].chunks_exact(2).zip(l[0].chunks_exact(2));
    let below = q[1].chunks_exact(2).zip(l[1].chunks_exact(2));
    for (out, ((qa, la), (qb, lb))) in out.iter_mut().zip(above.zip(below)) {
        *out = one(sum(qa, qb), sum(la, lb));
    }
    let width = q[0].len();
    if width % 2 == 1 {
        let last = |rows: [&[f32]; 2]| {
            let [a, b] = rows.map(|row| row[width - 1]);
            (a + a) + (b + b)
        };
        out[width / 2] = one(last(q), last(l));
    }
}

/// The whole part of a number of 0 to 256, at most 255. Through `i32`, whose conversion is one instruction for four.
#[inline(always)]
fn truncated(x: f32) -> u8 {
    (x as i32).min(255) as u8
}
