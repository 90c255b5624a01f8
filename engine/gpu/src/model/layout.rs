//! What goes into a model and what comes out of it: sizes, numbers, and what they mean.

use std::fmt;

use super::error::Fault;
use super::{ELEMENTS_MAX, SIDE_MAX_PX};

/// The largest factor of an upscaler.
pub const FACTOR_MAX: usize = 8;

/// What goes in and what comes out. Tensors are planar RGB: `[n][3][h][w]` in, `[n][3][h * factor][w * factor]` out.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The input tensor's name.
    pub input: String,
    /// The output tensor's name.
    pub output: String,
    /// Of both tensors.
    pub element: Element,
    /// How many pictures at once.
    pub batch: Batch,
    /// Columns going in.
    pub width: Side,
    /// Rows going in.
    pub height: Side,
    /// From 0..1 to what goes in.
    pub scaling: Scaling,
    /// From 0..1 to what comes out; a caller turns it round.
    pub output_scaling: Scaling,
    /// How many times wider and higher the output is; 1 for most.
    pub factor: usize,
    /// Under which the model may be used.
    pub licence: Option<String>,
    /// Who made it, from what.
    pub origin: Option<String>,
    /// What it does.
    pub description: Option<String>,
}

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16, handed over as `u16` bits.
    F16,
}

/// Which batches a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One to so many.
    Max(usize),
    /// Just so many.
    Fixed(usize),
}

/// Which widths or heights a model takes, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Any, up to [`SIDE_MAX_PX`].
    Any,
    /// One size.
    Fixed(usize),
    /// Whole multiples of this.
    Multiple(usize),
}

/// How 0..1 becomes the model's numbers, a channel: `(v - mean) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// R, G, B.
    pub mean: [f32; 3],
    /// R, G, B; none is 0.
    pub scale: [f32; 3],
}

// === impl Layout ===

impl Layout {
    /// The output's shape for an input of `shape`, or why the model does not take it.
    pub fn check(&self, shape: [usize; 4]) -> Result<[usize; 4], Fault> {
        let [n, channels, height, width] = shape;
        let fault = |why: String| Err(Fault::Shape { shape, why });
        if channels != 3 {
            return fault("pictures have 3 planes".into());
        }
        match self.batch {
            Batch::Max(max) if n < 1 || n > max => return fault(format!("1 to {max} pictures")),
            Batch::Fixed(count) if n != count => return fault(format!("{count} pictures")),
            _ => {}
        }
        for (side, px, name) in [
            (self.width, width, "width"),
            (self.height, height, "height"),
        ] {
            if !side.takes(px) {
                return fault(format!("{name} is {side}"));
            }
            if px > SIDE_MAX_PX / self.factor {
                return fault(format!("{name} times {} is too large", self.factor));
            }
        }
        let out = [n, 3, height * self.factor, width * self.factor];
        for shape in [shape, out] {
            if elements(shape) > ELEMENTS_MAX {
                return Err(Fault::TooLarge { shape });
            }
        }
        Ok(out)
    }
}

/// The product, or `usize::MAX`.
pub(super) fn elements(shape: [usize; 4]) -> usize {
    shape.into_iter().fold(1, usize::saturating_mul)
}

// === impl Scaling ===

impl Scaling {
    /// The model's numbers are 0..1.
    pub const NONE: Self = Self {
        mean: [0.0; 3],
        scale: [1.0; 3],
    };
}

// === impl Side ===

impl Side {
    /// Whether so many pixels will do.
    pub fn takes(self, px: usize) -> bool {
        let suits = match self {
            Self::Any => true,
            Self::Fixed(fixed) => px == fixed,
            Self::Multiple(of) => px.is_multiple_of(of),
        };
        suits && (1..=SIDE_MAX_PX).contains(&px)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "1 to {SIDE_MAX_PX}"),
            Self::Fixed(px) => write!(f, "{px}"),
            Self::Multiple(of) => write!(f, "a multiple of {of}"),
        }
    }
}

// === impl Element ===

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}
