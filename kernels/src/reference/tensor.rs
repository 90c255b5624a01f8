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
//!   Y = rint(l · S + o)                                              S = 219, o = 16 (full range: 255, 0)
//!
//!   of the four pixels of a chroma sample, one beyond the edge being the nearest inside, q = l, b and r each:
//!   Q = (q[0,0] + q[1,0]) + (q[0,1] + q[1,1])                        [row, column]: first down, then along
//!   U = rint(min((B - L) · ku + 128, 255))                           ku = C / (8 (1 - Kb))     C = 224 (255)
//!   V = rint(min((R - L) · kv + 128, 255))                           kv = C / (8 (1 - Kr))
//!
//!   rint(x): the nearest whole number, of two the even one, which is what is left in the low bits of x + 2^23
//! ```
//!
//! where the 8 is the 2 of the definition times the four pixels.

mod from;
mod to;

use alloc::vec::Vec;
use core::fmt;

use super::resample::{Axis, Line};
use super::{Scratch, half};
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
    to::to_tensor(src, spec, out, &mut scratch.tensor)
}

/// Fills `out`, whose numbers are the bits of halves, from `src`.
pub fn to_tensor_f16(
    src: &Frame,
    spec: &ToTensor,
    out: &mut [u16],
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    to::to_tensor(src, spec, out, &mut scratch.tensor)
}

/// Makes `dst` the picture that `tensor` holds; `dst` keeps its range and matrix. On error it is as it was.
pub fn from_tensor_f32(
    tensor: &[f32],
    spec: &FromTensor,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    from::from_tensor(tensor, spec, dst, &mut scratch.tensor)
}

/// Makes `dst` the picture that `tensor`, the bits of halves, holds. See [`from_tensor_f32`].
pub fn from_tensor_f16(
    tensor: &[u16],
    spec: &FromTensor,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    from::from_tensor(tensor, spec, dst, &mut scratch.tensor)
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

// === what both passes use ===

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

/// 0 to 1; not a number is 0.
#[inline(always)]
fn clamped(v: f32) -> f32 {
    let v = if v > 0.0 { v } else { 0.0 };
    if v < 1.0 { v } else { 1.0 }
}
