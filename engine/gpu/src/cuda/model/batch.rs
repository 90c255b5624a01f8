//! One run of a model: its tensors, and the kernels that fill the one and read the other.
//!
//! ```text
//!   picture 0 . 1 . 2        to_tensor, an item each       | 0 | 1 | 2 | 2 |       the last again, for a model of just 4
//! ```

use std::rc::Rc;

use kernels::item::{ITEMS_MAX, Precision};
use kernels::reference::tensor::TensorError;
use kernels::{Item, Kernel};

use super::super::launch::Launch;
use super::super::surface::{DeviceLease, DevicePool, Surface};
use crate::fault::Fault;
use crate::model::{BATCH_MAX, Element, Model, Passage};
use crate::process::{Error, Work};

// A launch holds a whole batch.
const _: () = assert!(BATCH_MAX <= ITEMS_MAX);

/// One run: so many pictures, some of them perhaps repeated.
pub(super) struct Batch<'a> {
    pub(super) model: &'a Model,
    passage: &'a Passage,
    pictures: usize,
    precision: Precision,
}

/// What goes in and what comes out of one run, in one context's memory.
pub(super) struct Tensors {
    pub(super) input: DeviceLease,
    pub(super) output: DeviceLease,
}

// === impl Batch ===

impl<'a> Batch<'a> {
    /// A run of this many pictures.
    pub(super) fn new(model: &'a Model, passage: &'a Passage, pictures: usize) -> Self {
        let precision = match model.layout().element {
            Element::F32 => Precision::Single,
            Element::F16 => Precision::Half,
        };
        Self {
            model,
            passage,
            pictures,
            precision,
        }
    }

    /// Of the tensor going in.
    pub(super) fn shape(&self) -> [usize; 4] {
        self.passage.shape(self.pictures)
    }

    /// Bytes of the tensors going in and coming out.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let (inward, outward) = self.passage.numbers();
        let pictures = self.pictures * self.precision.bytes();
        (inward * pictures, outward * pictures)
    }

    /// The pictures as a tensor, the last one as often as the batch has room for.
    pub(super) fn launch_in(
        &self,
        works: &[&mut Work<'_, Surface>],
        tensor: u64,
    ) -> Result<Launch, Error> {
        let (numbers, _) = self.passage.numbers();
        let item = |n: usize| {
            let surface = works[n.min(works.len() - 1)].input.nv12();
            let surface = surface.expect("an input with a size has memory");
            let at = tensor + (n * numbers * self.precision.bytes()) as u64;
            Item::to_tensor(surface, &self.passage.to, self.precision, at)
        };
        let items: Result<_, TensorError> = (0..self.pictures).map(item).collect();
        Ok(Launch {
            kernel: Kernel::ToTensor,
            items: items.map_err(|error| Error::Refused(error.to_string()))?,
        })
    }

    /// The tensor as pictures, without those that only filled the batch up.
    pub(super) fn launch_out(
        &self,
        works: &[&mut Work<'_, Surface>],
        tensor: u64,
    ) -> Result<Launch, Error> {
        let (_, numbers) = self.passage.numbers();
        let item = |(n, work): (usize, &&mut Work<'_, Surface>)| {
            let surface = work.output.nv12();
            let surface = surface.expect("an output that was shaped has memory");
            let at = tensor + (n * numbers * self.precision.bytes()) as u64;
            Item::from_tensor(at, &self.passage.from, self.precision, surface)
        };
        let items: Result<_, TensorError> = works.iter().enumerate().map(item).collect();
        Ok(Launch {
            kernel: Kernel::FromTensor,
            items: items.map_err(|error| Error::Refused(error.to_string()))?,
        })
    }
}

// === impl Tensors ===

impl Tensors {
    /// Memory for both.
    ///
    /// # Errors
    /// When there is none, or the device is lost.
    pub(super) fn take(pool: &Rc<DevicePool>, batch: &Batch<'_>) -> Result<Self, Fault> {
        let (bytes_in, bytes_out) = batch.bytes();
        Ok(Self {
            input: pool.take(bytes_in)?,
            output: pool.take(bytes_out)?,
        })
    }
}
