//! The built-in filters, each in a file with its arithmetic written above it.
//!
//! These are both the oracle of device kernels and the filters that a machine without a device runs, so they are
//! exact first and fast second. Fast means: whole rows as slices of one length, so that the inner loops carry no
//! bounds check and vectorise on any x86-64, and 8- or 16-bit arithmetic where the numbers allow it.
//!
//! Invariants: `dst` takes the size, range and matrix of `src`; a parameter out of range is brought into it by
//! [`Filter::clamped`] and not refused; nothing is allocated once [`Scratch`] has seen the largest frame.
//!
//! Beside the filters, with parameters that are checked and refused: [`tensor`], [`scale`] and [`overlay`].

mod blend;
mod blur;
mod edges;
pub mod half;
pub mod overlay;
mod pixelate;
mod resample;
pub mod scale;
pub mod tensor;

use alloc::vec::Vec;

use crate::frame::Frame;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Nothing: the output is a copy.
    #[default]
    Passthrough,
    /// Draws chroma towards grey. Luma stays.
    Grayscale {
        /// 0 leaves the picture as it is, 100 leaves no colour. Larger is 100.
        amount_percent: u8,
    },
    /// Bright edges on black: the Sobel gradient of luma, no colour.
    Edges {
        /// What the gradient is multiplied by, 100 being once. Larger than [`GAIN_PERCENT_MAX`] is that.
        gain_percent: u16,
    },
    /// The mean of a square around each pixel.
    Blur {
        /// The square is `2 * radius + 1` wide; 0 is a copy. Larger than [`RADIUS_PX_MAX`] is that.
        radius_px: u8,
    },
    /// Squares of one colour each, the mean of what they cover.
    Pixelate {
        /// The side of a square, rounded up to even so that luma and chroma squares coincide; 0 and 1 are a copy.
        /// Larger than [`BLOCK_PX_MAX`] is that.
        block_px: u8,
    },
    /// The negative.
    Invert {
        /// 0 leaves the picture as it is, 100 is the full negative. Larger is 100.
        amount_percent: u8,
    },
}

/// The largest gain of [`Filter::Edges`].
pub const GAIN_PERCENT_MAX: u16 = 400;
/// The largest radius of [`Filter::Blur`]: 129 samples of 255 are 32 895, which 16 bits hold.
pub const RADIUS_PX_MAX: u8 = 64;
/// The largest square of [`Filter::Pixelate`]: a column of 128 samples of 255 is 32 640, which 16 bits hold.
pub const BLOCK_PX_MAX: u8 = 128;

impl Filter {
    /// The filter with its parameter brought into range: what [`apply`] does.
    pub fn clamped(self) -> Self {
        match self {
            Self::Passthrough => self,
            Self::Grayscale { amount_percent } => Self::Grayscale {
                amount_percent: amount_percent.min(100),
            },
            Self::Edges { gain_percent } => Self::Edges {
                gain_percent: gain_percent.min(GAIN_PERCENT_MAX),
            },
            Self::Blur { radius_px } => Self::Blur {
                radius_px: radius_px.min(RADIUS_PX_MAX),
            },
            Self::Pixelate { block_px: 0 | 1 } => Self::Pixelate { block_px: 1 },
            Self::Pixelate { block_px } => Self::Pixelate {
                block_px: block_px.min(BLOCK_PX_MAX).next_multiple_of(2),
            },
            Self::Invert { amount_percent } => Self::Invert {
                amount_percent: amount_percent.min(100),
            },
        }
    }
}

/// Rows and planes that filters work in, kept from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    plane: Vec<u8>,
    row: Vec<u8>,
    sums: Vec<u16>,
    columns: Vec<i16>,
    slopes: Vec<i16>,
    overlay: overlay::Buffers,
    scale: scale::Buffers,
    tensor: tensor::Buffers,
}

impl Scratch {
    /// Scratch that has seen no frame yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Filters `src` into `dst`, which takes its size, range and matrix. An empty `src` gives an empty `dst`.
pub fn apply(filter: Filter, src: &Frame, dst: &mut Frame, scratch: &mut Scratch) {
    dst.shape_like(src);
    if src.is_empty() {
        return;
    }
    match filter.clamped() {
        Filter::Passthrough
        | Filter::Blur { radius_px: 0 }
        | Filter::Pixelate { block_px: 0 | 1 } => dst.copy_from(src),
        Filter::Grayscale { amount_percent } => blend::grayscale(amount_percent, src, dst),
        Filter::Invert { amount_percent } => blend::invert(amount_percent, src, dst),
        Filter::Edges { gain_percent } => edges::edges(gain_percent, src, dst, scratch),
        Filter::Blur { radius_px } => blur::blur(radius_px, src, dst, scratch),
        Filter::Pixelate { block_px } => pixelate::pixelate(block_px, src, dst, scratch),
    }
}

/// The first `len` elements of a scratch buffer, which grows when it must. What they hold is unspecified.
fn first<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}
