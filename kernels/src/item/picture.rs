//! Items of renditions, the overlay and the comparison: `scale_bilinear`, `scale_area`, `overlay`, `psnr`.

use super::{Item, Surface};
use crate::frame::DIMENSION_MAX;
use crate::reference::scale::{Ratio, ScaleError};

impl Item {
    /// For `scale_bilinear`: `src` at the size of `dst`, which gets the range and matrix of `src`. What it does is in
    /// [`crate::reference::scale`]. Neither picture is empty.
    pub fn scale_bilinear(src: Surface, dst: Surface) -> Self {
        Self {
            src,
            dst: Surface {
                full_range: src.full_range,
                matrix: src.matrix,
                ..dst
            },
            ..Self::default()
        }
    }

    /// For `scale_area`: the same, from all that an output covers. `dst` is larger than `src` in neither way.
    pub fn scale_area(src: Surface, dst: Surface) -> Result<Self, ScaleError> {
        let [from, to] = [src, dst].map(|s| (s.width as usize, s.height as usize));
        if from.0 == 0 || from.1 == 0 || to.0 == 0 || to.1 == 0 {
            return Err(ScaleError::Empty);
        }
        if to.0 > from.0 || to.1 > from.1 {
            return Err(ScaleError::Enlarges { from, to });
        }
        let luma = [(from.0, to.0), (from.1, to.1)];
        let chroma = luma.map(|(from, to)| (from.div_ceil(2), to.div_ceil(2)));
        let mut item = Self::scale_bilinear(src, dst);
        let ratios = [luma, chroma].into_iter().flatten();
        for (ints, (from, to)) in item.ints.chunks_exact_mut(2).zip(ratios) {
            let ratio = Ratio::new(from, to);
            ints.copy_from_slice(&[ratio.from as i32, ratio.to as i32]);
        }
        Ok(item)
    }

    /// For `overlay`: `top` over `bottom`, in place, with its left upper corner `x` to the right of and `y` below that of
    /// `bottom`. `alpha` is the address of a byte for each luma pixel of `top`, in rows `alpha_stride` bytes apart. What it
    /// does is in [`crate::reference::overlay`]. No two items of a launch have the same bottom.
    pub fn overlay(
        top: Surface,
        alpha: u64,
        alpha_stride: u32,
        x: i32,
        y: i32,
        bottom: Surface,
    ) -> Self {
        // Beyond this nothing is covered, wherever it is.
        let far = DIMENSION_MAX as i32;
        let mut item = Self {
            src: top,
            dst: bottom,
            aux: alpha,
            ..Self::default()
        };
        item.ints[..3].copy_from_slice(&[
            x.clamp(-far, far),
            y.clamp(-far, far),
            alpha_stride.cast_signed(),
        ]);
        item
    }

    /// For `psnr`: adds the squared differences of `a` and `b` to three `u64` at the address `sums`, luma first, which are
    /// zero before: what [`crate::psnr::of_squares`] takes.
    ///
    /// # Panics
    ///
    /// When the pictures are not of one size.
    pub fn psnr(a: Surface, b: Surface, sums: u64) -> Self {
        let sizes = [(a.width, a.height), (b.width, b.height)];
        assert!(
            sizes[0] == sizes[1],
            "pictures of one size are compared, and these are {sizes:?}"
        );
        Self {
            src: a,
            dst: b,
            aux: sums,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(width: u32, height: u32) -> Surface {
        Surface {
            width,
            height,
            ..Surface::default()
        }
    }

    #[test]
    fn ratios_are_in_lowest_terms() {
        let item = Item::scale_area(surface(1920, 1080), surface(1280, 720)).unwrap();
        assert_eq!(item.ints[..8], [3, 2, 3, 2, 3, 2, 3, 2]);
        let item = Item::scale_area(surface(5, 7), surface(3, 1)).unwrap();
        assert_eq!(item.ints[..8], [5, 3, 7, 1, 3, 2, 4, 1]);
        assert!(Item::scale_area(surface(5, 7), surface(5, 8)).is_err());
        assert_eq!(
            Item::scale_area(surface(5, 7), surface(0, 7)),
            Err(ScaleError::Empty)
        );
    }

    #[test]
    fn positions_stay_within_what_a_kernel_can_add_to() {
        let s = surface(4, 4);
        let item = Item::overlay(s, 256, 4, i32::MIN, i32::MAX, s);
        assert_eq!(item.ints[..3], [-8192, 8192, 4]);
    }

    #[test]
    #[should_panic(expected = "one size")]
    fn other_sizes_are_not_compared() {
        Item::psnr(surface(8, 8), surface(8, 9), 256);
    }
}
