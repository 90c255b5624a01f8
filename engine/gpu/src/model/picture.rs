//! How a picture becomes a model's tensor, and the tensor that comes out a picture.
//!
//! | the model's side takes | the tensor has | the picture that comes out has |
//! |---|---|---|
//! | any size | the picture's | the picture's, times the model's factor |
//! | multiples of `n` | the largest multiple within the picture's, at least `n` | that, times the factor |
//! | one size | that size | that, times the factor |
//!
//! Where the sizes differ the whole picture is scaled, not cropped. The picture that comes out says which matrix it is in: the
//! one that the tensor was made with, so that a picture which an upscaler takes over 720 lines does not change its colours.

use kernels::Matrix;
use kernels::frame::DIMENSION_MAX;
use kernels::reference::tensor::{Crop, FromTensor, ToTensor};

use super::layout::{Batch, Layout, Side};
use super::{ELEMENTS_MAX, Error, Fault, Runtime, Source};

/// A model with the library that runs it: what a step names. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Model {
    runtime: Runtime,
    source: Source,
}

/// One size of picture on its way through a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Passage {
    pub(crate) to: ToTensor,
    pub(crate) from: FromTensor,
}

// === impl Model ===

impl Model {
    /// A model that `runtime` will run.
    pub fn new(runtime: &Runtime, source: Source) -> Self {
        Self {
            runtime: runtime.clone(),
            source,
        }
    }

    /// What sessions ask for: `onnx/NAME`.
    pub fn id(&self) -> &str {
        self.source.id()
    }

    /// What goes in and what comes out.
    pub fn layout(&self) -> &Layout {
        self.source.layout()
    }

    /// Makes it ready to run. That may take seconds.
    ///
    /// # Errors
    /// As [`Runtime::session`].
    pub fn session(&self, place: super::Place) -> Result<super::Session, Error> {
        self.runtime.session(&self.source, place)
    }
}

/// Two are the same when their ids are: a node has one of each.
impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

// === impl Passage ===

impl Passage {
    /// For pictures of this size.
    ///
    /// # Errors
    /// When a picture of this size would come out larger than a picture can be.
    pub(crate) fn of(layout: &Layout, width: usize, height: usize) -> Result<Self, Fault> {
        let (w, h) = (fitted(layout.width, width), fitted(layout.height, height));
        let (_, pictures) = batch_of(layout, 1);
        let [_, _, out_h, out_w] = layout.check([pictures, 3, h, w])?;
        if out_w.max(out_h) > DIMENSION_MAX {
            return Err(Fault::Shape {
                shape: [1, 3, h, w],
                why: format!(
                    "what comes out, {out_w}x{out_h}, is larger than {DIMENSION_MAX} pixels"
                ),
            });
        }
        let out = layout.output_scaling;
        Ok(Self {
            to: ToTensor {
                crop: Crop {
                    x: 0,
                    y: 0,
                    width,
                    height,
                },
                width: w,
                height: h,
                mean: layout.scaling.mean,
                scale: layout.scaling.scale,
            },
            from: FromTensor {
                width: out_w,
                height: out_h,
                mean: out.mean,
                scale: out.scale.map(f32::recip),
            },
        })
    }

    /// The tensor's shape for so many pictures.
    pub(crate) fn shape(&self, pictures: usize) -> [usize; 4] {
        [pictures, 3, self.to.height, self.to.width]
    }

    /// Pictures that a tensor can hold, going in and coming out; at least 1.
    pub(crate) fn pictures_max(&self) -> usize {
        let (inward, outward) = self.numbers();
        (ELEMENTS_MAX / inward.max(outward)).max(1)
    }

    /// Numbers that one picture takes, going in and coming out.
    pub(crate) fn numbers(&self) -> (usize, usize) {
        (
            3 * self.to.width * self.to.height,
            3 * self.from.width * self.from.height,
        )
    }
}

/// How many pictures of `count` go into the next run, and how many it is run with: a model of one batch size is filled up with
/// repetitions of the last.
pub(crate) fn batch_of(layout: &Layout, count: usize) -> (usize, usize) {
    match layout.batch {
        Batch::Max(max) => (count.min(max), count.min(max)),
        Batch::Fixed(fixed) => (count.min(fixed), fixed),
    }
}

/// The matrix that a picture which does not say is read with (see [`kernels::reference::tensor`]).
pub(crate) fn matrix_of(matrix: Matrix, height: usize) -> Matrix {
    match matrix {
        Matrix::Unspecified if height < 720 => Matrix::Bt601,
        Matrix::Unspecified => Matrix::Bt709,
        said => said,
    }
}

fn fitted(side: Side, px: usize) -> usize {
    match side {
        Side::Any => px,
        Side::Fixed(fixed) => fixed,
        Side::Multiple(of) => (px / of * of).max(of),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Element, Scaling};
    use super::*;

    fn layout(width: Side, factor: usize, batch: Batch) -> Layout {
        Layout {
            input: "in".into(),
            output: "out".into(),
            element: Element::F32,
            batch,
            width,
            height: width,
            scaling: Scaling {
                mean: [0.5; 3],
                scale: [2.0; 3],
            },
            output_scaling: Scaling {
                mean: [0.25; 3],
                scale: [4.0; 3],
            },
            factor,
            licence: None,
            origin: None,
            description: None,
        }
    }

    #[test]
    fn sizes_follow_what_the_model_takes() {
        let of = |side, factor| {
            let passage = Passage::of(&layout(side, factor, Batch::Max(4)), 641, 359).unwrap();
            let (to, from) = (passage.to, passage.from);
            ((to.width, to.height), (from.width, from.height))
        };
        assert_eq!(of(Side::Any, 1), ((641, 359), (641, 359)));
        assert_eq!(of(Side::Any, 2), ((641, 359), (1282, 718)));
        assert_eq!(of(Side::Multiple(16), 1), ((640, 352), (640, 352)));
        assert_eq!(of(Side::Multiple(1024), 1), ((1024, 1024), (1024, 1024)));
        assert_eq!(of(Side::Fixed(224), 2), ((224, 224), (448, 448)));
    }

    #[test]
    fn numbers_go_in_as_the_model_wants_them_and_come_out_turned_round() {
        let passage = Passage::of(&layout(Side::Any, 1, Batch::Fixed(3)), 4, 4).unwrap();
        assert_eq!((passage.to.mean, passage.to.scale), ([0.5; 3], [2.0; 3]));
        assert_eq!(
            (passage.from.mean, passage.from.scale),
            ([0.25; 3], [0.25; 3])
        );
    }

    #[test]
    fn a_tensor_holds_so_many_pictures_and_no_more() {
        for (factor, most) in [(1, 21), (2, 5)] {
            let layout = layout(Side::Any, factor, Batch::Max(64));
            let passage = Passage::of(&layout, 1920, 1080).unwrap();
            assert_eq!(passage.pictures_max(), most);
            assert!(layout.check(passage.shape(most)).is_ok());
            assert!(layout.check(passage.shape(most + 1)).is_err());
        }
    }

    #[test]
    fn what_would_come_out_too_large_is_refused() {
        let fault = Passage::of(&layout(Side::Any, 8, Batch::Max(1)), 1920, 1080).unwrap_err();
        assert!(
            matches!(fault, Fault::Shape { .. } | Fault::TooLarge { .. }),
            "{fault}"
        );
    }

    #[test]
    fn a_model_of_one_batch_size_is_filled_up() {
        assert_eq!(batch_of(&layout(Side::Any, 1, Batch::Max(4)), 9), (4, 4));
        assert_eq!(batch_of(&layout(Side::Any, 1, Batch::Max(4)), 3), (3, 3));
        assert_eq!(batch_of(&layout(Side::Any, 1, Batch::Fixed(4)), 3), (3, 4));
    }
}
