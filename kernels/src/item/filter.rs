//! Items of the built-in filters, and which kernels do a filter's work.
//!
//! What a device backend does: [`of`] for each picture, upload the items, then launch each kernel of [`plan`] in its order over all
//! of them. Pictures of one plan share a launch, whatever their sizes and parameters.
//!
//! Parameters are clamped as [`Filter::clamped`] clamps them. `src` and `dst` are of one size and do not overlap; `dst` gets every
//! sample, and the range and matrix of `src`.

use super::{Item, Surface};
use crate::kernel::Kernel;
use crate::reference::Filter;

/// The memory that [`Item::scratch`] points to begins at a multiple of this.
pub const SCRATCH_ALIGN: u64 = 16;

/// The kernels that do a filter's work, in the order of their launches.
pub fn plan(filter: Filter) -> &'static [Kernel] {
    match filter.clamped() {
        Filter::Passthrough
        | Filter::Blur { radius_px: 0 }
        | Filter::Pixelate { block_px: 0 | 1 } => &[Kernel::Copy],
        Filter::Grayscale { .. } | Filter::Invert { .. } => &[Kernel::Blend],
        Filter::Edges { .. } => &[Kernel::Edges],
        Filter::Blur { .. } => &[Kernel::BlurRows, Kernel::BlurColumns],
        Filter::Pixelate { .. } => &[Kernel::Pixelate],
    }
}

/// Bytes of scratch that one picture needs, which may be none. Items of one launch have each their own.
pub fn scratch_bytes(filter: Filter, width: u32, height: u32) -> u64 {
    if plan(filter) != [Kernel::BlurRows, Kernel::BlurColumns] {
        return 0;
    }
    // `cu/blur.cuh`: luma rows, then chroma rows, each as long as a chroma row rounded up to 16.
    let pitch = u64::from(width).next_multiple_of(16);
    pitch * (u64::from(height) + u64::from(height.div_ceil(2)))
}

/// The item of a filter, for each kernel of its [`plan`]. `scratch` is the address of [`scratch_bytes`] bytes, or 0 where
/// that is none.
///
/// # Panics
///
/// When `src` and `dst` are not of one size.
pub fn of(filter: Filter, src: Surface, dst: Surface, scratch: u64) -> Item {
    match filter.clamped() {
        Filter::Passthrough
        | Filter::Blur { radius_px: 0 }
        | Filter::Pixelate { block_px: 0 | 1 } => Item::copy(src, dst),
        Filter::Grayscale { amount_percent } => Item::grayscale(src, dst, amount_percent),
        Filter::Invert { amount_percent } => Item::invert(src, dst, amount_percent),
        Filter::Edges { gain_percent } => Item::edges(src, dst, gain_percent),
        Filter::Blur { radius_px } => Item::blur(src, dst, scratch, radius_px),
        Filter::Pixelate { block_px } => Item::pixelate(src, dst, block_px),
    }
}

/// Each panics when `src` and `dst` are not of one size.
impl Item {
    /// For `copy`.
    pub fn copy(src: Surface, dst: Surface) -> Self {
        pair(src, dst, &[])
    }

    /// For `blend`: `ints` are the weight of 128 and 0.
    pub fn grayscale(src: Surface, dst: Surface, amount_percent: u8) -> Self {
        pair(src, dst, &[weight(amount_percent), 0])
    }

    /// For `blend`: `ints` are the weight of 128 and 1. It reads the range of `src`.
    pub fn invert(src: Surface, dst: Surface, amount_percent: u8) -> Self {
        pair(src, dst, &[weight(amount_percent), 1])
    }

    /// For `edges`: `ints` is the gain, 8192 being once. It reads the range of `src`.
    pub fn edges(src: Surface, dst: Surface, gain_percent: u16) -> Self {
        let Filter::Edges { gain_percent } = (Filter::Edges { gain_percent }).clamped() else {
            unreachable!("clamping leaves a filter what it is");
        };
        pair(src, dst, &[(8192 * i32::from(gain_percent) + 50) / 100])
    }

    /// For `blur_rows`, then `blur_columns`: `ints` are radius and reciprocal of luma, then of chroma. `scratch` is the address
    /// of [`scratch_bytes`] bytes, which begin at a multiple of [`SCRATCH_ALIGN`].
    pub fn blur(src: Surface, dst: Surface, scratch: u64, radius_px: u8) -> Self {
        let Filter::Blur { radius_px } = (Filter::Blur { radius_px }).clamped() else {
            unreachable!("clamping leaves a filter what it is");
        };
        let radius = i32::from(radius_px);
        let chroma = (radius + 1) / 2;
        let ints = [radius, reciprocal(radius), chroma, reciprocal(chroma)];
        Self {
            scratch,
            ..pair(src, dst, &ints)
        }
    }

    /// For `pixelate`: `ints` is the side of a luma square. A side below 2 is 2 here: what leaves a picture as it is is
    /// [`Item::copy`].
    pub fn pixelate(src: Surface, dst: Surface, block_px: u8) -> Self {
        let block_px = block_px.max(2);
        let Filter::Pixelate { block_px } = (Filter::Pixelate { block_px }).clamped() else {
            unreachable!("clamping leaves a filter what it is");
        };
        pair(src, dst, &[i32::from(block_px)])
    }
}

fn pair(src: Surface, dst: Surface, ints: &[i32]) -> Item {
    let sizes = [(src.width, src.height), (dst.width, dst.height)];
    assert!(
        sizes[0] == sizes[1],
        "a filter keeps the size, and these are {sizes:?}"
    );
    let mut item = Item {
        src,
        dst: Surface {
            full_range: src.full_range,
            matrix: src.matrix,
            ..dst
        },
        ..Item::default()
    };
    item.ints[..ints.len()].copy_from_slice(ints);
    item
}

/// The weight `k` of `reference/blend.rs`.
fn weight(percent: u8) -> i32 {
    (128 * i32::from(percent.min(100)) + 50) / 100
}

/// The factor `M` of `reference/blur.rs`.
fn reciprocal(radius: i32) -> i32 {
    let n = 2 * radius + 1;
    (65536 + n / 2) / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{GAIN_PERCENT_MAX, RADIUS_PX_MAX};

    fn surface(width: u32, height: u32) -> Surface {
        Surface {
            width,
            height,
            ..Surface::default()
        }
    }

    #[test]
    fn parameters_are_clamped_as_the_filter_clamps_them() {
        let of = |filter| of(filter, surface(8, 8), surface(8, 8), 0).ints;
        for (given, meant) in [
            (
                Filter::Edges {
                    gain_percent: u16::MAX,
                },
                Filter::Edges {
                    gain_percent: GAIN_PERCENT_MAX,
                },
            ),
            (
                Filter::Blur { radius_px: 255 },
                Filter::Blur {
                    radius_px: RADIUS_PX_MAX,
                },
            ),
            (
                Filter::Pixelate { block_px: 255 },
                Filter::Pixelate { block_px: 128 },
            ),
            (
                Filter::Invert {
                    amount_percent: 255,
                },
                Filter::Invert {
                    amount_percent: 100,
                },
            ),
        ] {
            assert_eq!(of(given), of(meant));
        }
        let s = surface(8, 8);
        assert_eq!(Item::pixelate(s, s, 3).ints[0], 4);
        assert_eq!(Item::blur(s, s, 16, 64).ints[..4], [64, 508, 32, 1008]);
    }

    #[test]
    fn scratch_is_for_blur_alone() {
        let blur = Filter::Blur { radius_px: 3 };
        assert_eq!(scratch_bytes(blur, 129, 3), 144 * 5);
        assert_eq!(scratch_bytes(blur, 1, 1), 32);
        assert_eq!(scratch_bytes(Filter::Blur { radius_px: 0 }, 129, 3), 0);
        assert_eq!(
            scratch_bytes(Filter::Edges { gain_percent: 100 }, 129, 3),
            0
        );
    }

    #[test]
    #[should_panic(expected = "keeps the size")]
    fn another_size_is_refused() {
        Item::copy(surface(8, 8), surface(8, 9));
    }
}
