//! Items of `to_tensor` and `from_tensor`. What they do is in [`crate::reference::tensor`].

use super::{Item, Surface};
use crate::frame::{Matrix, Range};
use crate::reference::tensor::{self, FromTensor, TensorError, ToTensor};

/// What a tensor's numbers are in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// `f32`, 4 bytes.
    Single,
    /// IEEE half, 2 bytes.
    Half,
}

impl Precision {
    /// Bytes of one number. A tensor of planar RGB has `3 * width * height` of them, and begins at a multiple of this.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Single => 4,
            Self::Half => 2,
        }
    }

    fn code(self) -> i32 {
        match self {
            Self::Single => 0,
            Self::Half => 1,
        }
    }
}

impl Item {
    /// For `to_tensor`: `src` as a tensor at the address `tensor`. Range and matrix are those of `src`.
    pub fn to_tensor(
        src: Surface,
        spec: &ToTensor,
        precision: Precision,
        tensor: u64,
    ) -> Result<Self, TensorError> {
        spec.check(src.width as usize, src.height as usize)?;
        let mut item = Self {
            src,
            // No picture: the size of the tensor, which the check has brought below 2^14.
            dst: Surface {
                width: spec.width as u32,
                height: spec.height as u32,
                ..Surface::default()
            },
            aux: tensor,
            ..Self::default()
        };
        let crop = spec.crop;
        let rectangle = [crop.x, crop.y, crop.width, crop.height].map(|pixels| pixels as i32);
        item.ints[..4].copy_from_slice(&rectangle);
        item.ints[4] = precision.code();
        let k = tensor::to_rgb(matrix_of(&src), range_of(&src), src.height as usize);
        item.floats[..3].copy_from_slice(&spec.mean);
        item.floats[3..6].copy_from_slice(&spec.scale);
        item.floats[6..11].copy_from_slice(&k);
        Ok(item)
    }

    /// For `from_tensor`: the tensor at the address `tensor` as a picture in `dst`, in the range and matrix of `dst`.
    ///
    /// # Panics
    ///
    /// When `dst` is not of the tensor's size.
    pub fn from_tensor(
        tensor: u64,
        spec: &FromTensor,
        precision: Precision,
        dst: Surface,
    ) -> Result<Self, TensorError> {
        spec.check()?;
        let sizes = [
            (spec.width, spec.height),
            (dst.width as usize, dst.height as usize),
        ];
        assert!(
            sizes[0] == sizes[1],
            "a picture has its tensor's size, and these are {sizes:?}"
        );
        let mut item = Self {
            dst,
            aux: tensor,
            ..Self::default()
        };
        item.ints[0] = precision.code();
        let k = tensor::from_rgb(matrix_of(&dst), range_of(&dst), spec.height);
        item.floats[..3].copy_from_slice(&spec.mean);
        item.floats[3..6].copy_from_slice(&spec.scale);
        item.floats[6..].copy_from_slice(&k);
        Ok(item)
    }
}

fn range_of(surface: &Surface) -> Range {
    match surface.full_range {
        0 => Range::Limited,
        _ => Range::Full,
    }
}

fn matrix_of(surface: &Surface) -> Matrix {
    match surface.matrix {
        1 => Matrix::Bt601,
        2 => Matrix::Bt709,
        3 => Matrix::Bt2020,
        _ => Matrix::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::tensor::Crop;

    #[test]
    fn what_cannot_be_is_refused() {
        let src = Surface {
            width: 8,
            height: 6,
            ..Surface::default()
        };
        let spec = ToTensor {
            crop: Crop {
                x: 1,
                y: 2,
                width: 7,
                height: 4,
            },
            width: 3,
            height: 2,
            mean: [0.5; 3],
            scale: [2.0; 3],
        };
        let item = Item::to_tensor(src, &spec, Precision::Half, 64).unwrap();
        assert_eq!(item.ints[..5], [1, 2, 7, 4, 1]);
        assert_eq!((item.dst.width, item.dst.height, item.aux), (3, 2, 64));
        let mut outside = spec;
        outside.crop.x = 2;
        let error = Item::to_tensor(src, &outside, Precision::Half, 64);
        assert!(matches!(error, Err(TensorError::Crop { .. })));
        let back = FromTensor {
            width: 8,
            height: 6,
            mean: [f32::NAN; 3],
            scale: [2.0; 3],
        };
        assert_eq!(
            Item::from_tensor(64, &back, Precision::Single, src),
            Err(TensorError::Normalisation)
        );
    }

    #[test]
    #[should_panic(expected = "its tensor's size")]
    fn a_picture_of_another_size_is_refused() {
        let spec = FromTensor {
            width: 8,
            height: 6,
            mean: [0.0; 3],
            scale: [1.0; 3],
        };
        let _ = Item::from_tensor(64, &spec, Precision::Single, Surface::default());
    }
}
