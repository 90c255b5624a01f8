//! One owned I420 picture.
//!
//! ```text
//!   data:  | Y row 0 ....|pad| Y row 1 ....|pad| ... | U row 0 ..|pad| ... | V row 0 ..|pad| ... |
//!            <- width -->      stride = width rounded up to 64          chroma: half of both, rounded up
//! ```
//!
//! Invariants: `data` holds at least the three planes; a plane's slice is exactly `stride * height` long; width
//! and height are both zero (an empty frame) or both in `1..=DIMENSION_MAX`. The padding belongs to nobody: no
//! filter reads it and its value is unspecified.

use alloc::vec::Vec;
use core::fmt;

use crate::plane::{Layout, Plane, PlaneMut};

/// The largest width and height of a frame: 8192² luma bytes and half as many chroma bytes are 96 MiB.
pub const DIMENSION_MAX: usize = 8192;

/// One I420 picture (8 bits, chroma halved both ways) and what its numbers mean.
///
/// A frame is a buffer first: [`Frame::reset`] gives it a new size and keeps the allocation, so a recycled frame
/// costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    width: usize,
    height: usize,
    /// What the luma and chroma numbers span.
    pub range: Range,
    /// How luma and chroma were made from colour.
    pub matrix: Matrix,
    data: Vec<u8>,
}

/// What the numbers of a picture span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Range {
    /// Video range: luma 16 to 235, chroma 16 to 240. What a stream means when it does not say.
    #[default]
    Limited,
    /// All of 0 to 255.
    Full,
}

impl Range {
    /// The darkest and the brightest luma of the range.
    pub const fn luma(self) -> (u8, u8) {
        match self {
            Self::Limited => (16, 235),
            Self::Full => (0, 255),
        }
    }
}

/// How luma and chroma were made from red, green and blue. No filter looks at it; an encoder passes it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// The stream did not say.
    #[default]
    Unspecified,
    /// ITU-R BT.601, the matrix of standard definition.
    Bt601,
    /// ITU-R BT.709, the matrix of high definition.
    Bt709,
    /// ITU-R BT.2020 with non-constant luminance.
    Bt2020,
}

/// A frame of this size cannot be: a side is zero or larger than [`DIMENSION_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeError {
    /// The width that was asked for.
    pub width: usize,
    /// The height that was asked for.
    pub height: usize,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a frame of {}x{}: each side is 1 to {DIMENSION_MAX}",
            self.width, self.height
        )
    }
}

impl core::error::Error for SizeError {}

// === impl Frame ===

impl Frame {
    /// A frame of this size, zeroed (which is green, not black).
    pub fn new(width: usize, height: usize) -> Result<Self, SizeError> {
        let mut frame = Self::default();
        frame.reset(width, height)?;
        Ok(frame)
    }

    /// Gives the frame a size. The allocation is kept when it is large enough; what the planes then hold is
    /// unspecified. Range and matrix return to their defaults. A refused size leaves the frame as it was.
    pub fn reset(&mut self, width: usize, height: usize) -> Result<(), SizeError> {
        let fits = 1..=DIMENSION_MAX;
        if !fits.contains(&width) || !fits.contains(&height) {
            return Err(SizeError { width, height });
        }
        self.width = width;
        self.height = height;
        self.range = Range::default();
        self.matrix = Matrix::default();
        let needed = self.luma_len() + 2 * self.chroma_len();
        if self.data.len() < needed {
            self.data.resize(needed, 0);
        }
        Ok(())
    }

    /// Makes this frame a copy of three planes: each is its bytes and its stride, and holds at least the rows of
    /// a picture of this size. `None` when the planes are too short or the size is refused; the frame is then
    /// unspecified but valid.
    pub fn copy_from_planes(
        &mut self,
        width: usize,
        height: usize,
        planes: [(&[u8], usize); 3],
    ) -> Option<()> {
        self.reset(width, height).ok()?;
        for (mut to, (data, stride)) in self.planes_mut().into_iter().zip(planes) {
            let last = stride.checked_mul(to.height() - 1)?;
            if stride < to.width() || data.len() < last.checked_add(to.width())? {
                return None;
            }
            let width = to.width();
            for (to, from) in to.rows_mut().zip(data.chunks(stride)) {
                to.copy_from_slice(&from[..width]);
            }
        }
        Some(())
    }

    /// Makes this frame a copy of another, range and matrix included.
    pub fn copy_from(&mut self, other: &Self) {
        self.shape_like(other);
        // Equal sizes have equal layouts, so the three planes are one run of bytes.
        let len = self.luma_len() + 2 * self.chroma_len();
        self.data[..len].copy_from_slice(&other.data[..len]);
    }

    /// Takes the size, range and matrix of another frame. What the planes hold is unspecified.
    pub fn shape_like(&mut self, other: &Self) {
        if other.is_empty() {
            self.width = 0;
            self.height = 0;
        } else if self.reset(other.width, other.height).is_err() {
            unreachable!("a frame has a size that a frame can have");
        }
        self.range = other.range;
        self.matrix = other.matrix;
    }

    /// Width of the luma plane in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the luma plane in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Whether the frame has had no size yet.
    pub fn is_empty(&self) -> bool {
        self.width == 0
    }

    /// Bytes that the frame holds, whether its present size needs them or not.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// The luma plane.
    pub fn y(&self) -> Plane<'_> {
        self.planes()[0]
    }

    /// The first chroma plane (blue difference).
    pub fn u(&self) -> Plane<'_> {
        self.planes()[1]
    }

    /// The second chroma plane (red difference).
    pub fn v(&self) -> Plane<'_> {
        self.planes()[2]
    }

    /// The three planes: luma, blue difference, red difference.
    pub fn planes(&self) -> [Plane<'_>; 3] {
        let [luma, chroma] = self.layouts();
        let (y, rest) = self.data.split_at(self.luma_len());
        let (u, rest) = rest.split_at(self.chroma_len());
        let v = &rest[..self.chroma_len()];
        [luma.of(y), chroma.of(u), chroma.of(v)]
    }

    /// The three planes, to write.
    pub fn planes_mut(&mut self) -> [PlaneMut<'_>; 3] {
        let [luma, chroma] = self.layouts();
        let (luma_len, chroma_len) = (self.luma_len(), self.chroma_len());
        let (y, rest) = self.data.split_at_mut(luma_len);
        let (u, rest) = rest.split_at_mut(chroma_len);
        let v = &mut rest[..chroma_len];
        [luma.of_mut(y), chroma.of_mut(u), chroma.of_mut(v)]
    }

    fn layouts(&self) -> [Layout; 2] {
        [
            Layout::new(self.width, self.height),
            Layout::new(self.width.div_ceil(2), self.height.div_ceil(2)),
        ]
    }

    fn luma_len(&self) -> usize {
        self.layouts()[0].len()
    }

    fn chroma_len(&self) -> usize {
        self.layouts()[1].len()
    }
}

/// Two frames are equal when their sizes, meanings and pixels are; padding does not count.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.width == other.width
            && self.height == other.height
            && self.range == other.range
            && self.matrix == other.matrix
            && self
                .planes()
                .iter()
                .zip(other.planes())
                .all(|(a, b)| a.rows().eq(b.rows()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_round_chroma_up() {
        let frame = Frame::new(129, 3).unwrap();
        let [y, u, v] = frame.planes();
        assert_eq!((y.width(), y.height(), y.stride()), (129, 3, 192));
        assert_eq!((u.width(), u.height(), u.stride()), (65, 2, 128));
        assert_eq!((v.width(), v.height()), (65, 2));
        assert_eq!(y.rows().count(), 3);
    }

    #[test]
    fn hostile_sizes_are_refused_and_change_nothing() {
        let mut frame = Frame::new(4, 4).unwrap();
        for (width, height) in [(0, 4), (4, 0), (8193, 1), (1, usize::MAX)] {
            assert_eq!(frame.reset(width, height), Err(SizeError { width, height }));
        }
        assert_eq!((frame.width(), frame.height()), (4, 4));
        assert!(Frame::new(DIMENSION_MAX, 1).is_ok());
    }

    #[test]
    fn a_recycled_frame_keeps_its_allocation() {
        let mut frame = Frame::new(640, 360).unwrap();
        let capacity = frame.capacity();
        for (width, height) in [(2, 2), (639, 359), (640, 360), (1, 1)] {
            frame.reset(width, height).unwrap();
            assert_eq!(frame.capacity(), capacity);
        }
    }

    #[test]
    fn planes_that_are_too_short_are_refused() {
        let mut frame = Frame::default();
        let good: [(&[u8], usize); 3] = [(&[1; 11], 4), (&[2; 4], 2), (&[3; 4], 2)];
        assert!(frame.copy_from_planes(3, 3, good).is_some());
        assert_eq!(frame.v().row(1), [3, 3]);
        assert_eq!(frame.y().row(2), [1, 1, 1]);
        let mut short = good;
        short[0].0 = &[1; 10];
        assert!(frame.copy_from_planes(3, 3, short).is_none());
        let mut thin = good;
        thin[1].1 = 1;
        assert!(frame.copy_from_planes(3, 3, thin).is_none());
        let mut endless = good;
        endless[2].1 = usize::MAX;
        assert!(frame.copy_from_planes(3, 3, endless).is_none());
    }

    #[test]
    fn an_empty_frame_has_no_rows() {
        let mut frame = Frame::default();
        assert!(frame.is_empty());
        assert_eq!(frame.y().rows().count(), 0);
        assert_eq!(frame.planes_mut()[0].rows_mut().count(), 0);
        frame.shape_like(&Frame::default());
        assert!(frame.is_empty());
    }
}
