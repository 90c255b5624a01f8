//! The memory of a launch, and NV12 pictures in it.
//!
//! ```text
//!   | 256 bytes | y row |pad| y row |pad| ... | gap | uv row |pad| ... | gap | scratch | gap | ...
//!   | no address  all of it is poison until a picture is put there
//! ```
//!
//! What a kernel may change is known to the byte: the test writes what it expects into a copy, and compares all of it.

use kernels::{Frame, Matrix, Range, Surface};

/// Bytes that an address may point into; the first is at no address, since 0 means none.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    poison: u8,
}

/// Where the planes of a picture lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Bytes from a multiple of 256 to the first byte of either plane.
    pub(crate) offset: usize,
    /// Bytes between the end of a row and the next row.
    pub(crate) padding: usize,
    /// What the strides are rounded up to.
    pub(crate) stride_align: usize,
}

const ALIGN: usize = 256;

impl Memory {
    pub(crate) fn new(poison: u8) -> Self {
        Self {
            bytes: vec![poison; ALIGN],
            poison,
        }
    }

    /// The address of `len` poisoned bytes, `offset` after a multiple of 256, with poison on both sides.
    pub(crate) fn reserve(&mut self, len: usize, offset: usize) -> u64 {
        let at = (self.bytes.len() + 1).next_multiple_of(ALIGN) + offset;
        self.bytes.resize(at + len + 1, self.poison);
        at as u64
    }

    /// A picture of the size and meaning of `like`, with poison for samples.
    pub(crate) fn surface(&mut self, like: &Frame, place: Place) -> Surface {
        let stride = |bytes: usize| (bytes + place.padding).next_multiple_of(place.stride_align);
        let (y_stride, uv_stride) = (stride(like.width()), stride(2 * like.u().width()));
        Surface {
            y: self.reserve(y_stride * like.height(), place.offset),
            uv: self.reserve(uv_stride * like.u().height(), place.offset),
            width: like.width() as u32,
            height: like.height() as u32,
            y_stride: y_stride as u32,
            uv_stride: uv_stride as u32,
            full_range: u32::from(like.range == Range::Full),
            matrix: match like.matrix {
                Matrix::Unspecified => 0,
                Matrix::Bt601 => 1,
                Matrix::Bt709 => 2,
                Matrix::Bt2020 => 3,
            },
        }
    }

    /// Writes the samples of `frame`, which is of the surface's size.
    pub(crate) fn put(&mut self, surface: &Surface, frame: &Frame) {
        for (y, row) in frame.y().rows().enumerate() {
            let at = surface.y as usize + y * surface.y_stride as usize;
            self.bytes[at..][..row.len()].copy_from_slice(row);
        }
        for (y, (u, v)) in frame.u().rows().zip(frame.v().rows()).enumerate() {
            let at = surface.uv as usize + y * surface.uv_stride as usize;
            for (pair, (u, v)) in self.bytes[at..].chunks_exact_mut(2).zip(u.iter().zip(v)) {
                pair.copy_from_slice(&[*u, *v]);
            }
        }
    }

    /// Which byte differs first, told as a place in one of the surfaces.
    pub(crate) fn difference(&self, other: &Self, surfaces: &[Surface]) -> Option<String> {
        let at = (0..self.bytes.len()).find(|&at| self.bytes[at] != other.bytes[at])?;
        let (is, expected) = (self.bytes[at], other.bytes[at]);
        let place = surfaces.iter().enumerate().find_map(|(index, surface)| {
            let planes = [
                ("y", surface.y, surface.y_stride, surface.height),
                (
                    "uv",
                    surface.uv,
                    surface.uv_stride,
                    surface.height.div_ceil(2),
                ),
            ];
            planes.into_iter().find_map(|(plane, base, stride, rows)| {
                let within = (at as u64).checked_sub(base)?;
                let (row, byte) = (within / u64::from(stride), within % u64::from(stride));
                (row < u64::from(rows)).then(|| {
                    let (width, height) = (surface.width, surface.height);
                    format!("{plane} row {row} byte {byte} of picture {index}, {width}x{height}")
                })
            })
        });
        let place = place.unwrap_or_else(|| format!("byte {at}, which is in no picture"));
        Some(format!("{place}: {is}, not {expected}"))
    }
}
