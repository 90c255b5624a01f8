//! A model that is ready to run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use half::slice::HalfBitsSliceExt;
use half::vec::{HalfBitsVecExt, HalfFloatVecExt};

use super::error::{Error, Fault, brief};
use super::layout::{Element, Layout, elements};
use super::runtime::{Kind, Place};
use super::source::Source;
use super::{onnxruntime, tract};

/// One model on one place. Runs one batch at a time; threads that want to run at once have a session each.
pub struct Session {
    layout: Arc<Layout>,
    library: Library,
    place: Place,
}

enum Library {
    OnnxRuntime(Box<onnxruntime::Model>),
    Tract(Box<tract::Model>),
}

/// A number that tensors are made of, in the words of both libraries.
pub(super) trait Number:
    Copy + std::fmt::Debug + tract_onnx::prelude::Datum + ort::value::PrimitiveTensorElementType
{
    const ELEMENT: Element;
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
}

impl Number for half::f16 {
    const ELEMENT: Element = Element::F16;
}

impl Session {
    pub(super) fn open(kind: &Kind, source: &Source, place: Place) -> Result<Self, Error> {
        let open = || match (kind, place) {
            (Kind::OnnxRuntime(_), _) => onnxruntime::Model::open(source, place)
                .map(|model| Library::OnnxRuntime(Box::new(model))),
            (Kind::Tract { .. }, Place::Cpu { .. }) => {
                tract::Model::open(source).map(|model| Library::Tract(Box::new(model)))
            }
            (Kind::Tract { why }, Place::Cuda { .. }) => Err(Error::Unavailable {
                place: "CUDA",
                reason: format!("{} has no CUDA form ({why})", tract::VERSION),
            }),
        };
        let library = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened?,
            Err(panic) => {
                let library = match kind {
                    Kind::OnnxRuntime(_) => "ONNX Runtime",
                    Kind::Tract { .. } => tract::VERSION,
                };
                let reason = format!("it panicked: {}", said(panic.as_ref()));
                return Err(Error::Refused { library, reason });
            }
        };
        Ok(Self {
            layout: Arc::clone(source.shared_layout()),
            library,
            place,
        })
    }

    /// What goes in and what comes out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where it runs.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Runs the model on `[n, 3, h, w]` numbers, planar, scaled as the layout says. `output` is filled anew, its memory
    /// reused; its shape is returned. It is empty after an error.
    ///
    /// # Errors
    /// [`Fault`]; the session can be used again.
    pub fn run(
        &mut self,
        input: &[f32],
        shape: [usize; 4],
        output: &mut Vec<f32>,
    ) -> Result<[usize; 4], Fault> {
        self.run_numbers(input, shape, output)
    }

    /// The same for a model whose numbers are [`Element::F16`], as their bits.
    ///
    /// # Errors
    /// [`Fault`]; the session can be used again.
    pub fn run_f16(
        &mut self,
        input: &[u16],
        shape: [usize; 4],
        output: &mut Vec<u16>,
    ) -> Result<[usize; 4], Fault> {
        let mut numbers = std::mem::take(output).reinterpret_into();
        let result = self.run_numbers::<half::f16>(input.reinterpret_cast(), shape, &mut numbers);
        *output = numbers.reinterpret_into();
        result
    }

    /// Runs the model on tensors that are in the device's memory and stay there. Returns the output's shape.
    ///
    /// With the session's own [`Stream`](super::Stream), the input may still be being written by work queued on it, and
    /// the output is there for work queued on it afterwards; this does not promise to wait. Without, the input must be
    /// complete, and so is the output on return.
    ///
    /// # Errors
    /// [`Fault::NotOnDevice`] for a session on the CPU; others as [`Session::run`].
    ///
    /// # Safety
    /// `input` and `output` are addresses in the memory of the session's device, aligned for the layout's element, of at
    /// least as many elements as `shape` and [`Layout::check`] of it say. They do not overlap, nobody else writes to the
    /// one or touches the other meanwhile, and both stay allocated until the queued work is done.
    #[expect(unsafe_code, reason = "device memory is known by its address only")]
    pub unsafe fn run_on_device(
        &mut self,
        input: u64,
        shape: [usize; 4],
        output: u64,
    ) -> Result<[usize; 4], Fault> {
        let Library::OnnxRuntime(model) = &mut self.library else {
            return Err(Fault::NotOnDevice);
        };
        let expected = self.layout.check(shape)?;
        let element = self.layout.element;
        guarded(|| match element {
            // SAFETY: the caller's promise is the same, and the sizes are those of the layout.
            Element::F32 => unsafe { model.run_on_device::<f32>(input, shape, output, expected) },
            // SAFETY: as above.
            Element::F16 => unsafe {
                model.run_on_device::<half::f16>(input, shape, output, expected)
            },
        })?;
        Ok(expected)
    }

    fn run_numbers<T: Number>(
        &mut self,
        input: &[T],
        shape: [usize; 4],
        output: &mut Vec<T>,
    ) -> Result<[usize; 4], Fault> {
        output.clear();
        if self.layout.element != T::ELEMENT {
            return Err(Fault::Element(self.layout.element));
        }
        let expected = self.layout.check(shape)?;
        if input.len() != elements(shape) {
            return Err(Fault::Length {
                len: input.len(),
                expected: elements(shape),
            });
        }
        let library = &mut self.library;
        let result = guarded(|| match library {
            Library::OnnxRuntime(model) => model.run(input, shape, expected, output),
            Library::Tract(model) => model.run(input, shape, expected, output),
        });
        if result.is_err() {
            output.clear();
        }
        result.map(|()| expected)
    }
}

/// A panic within is a fault. What it was about to change is checked or dropped before it is used again.
fn guarded(run: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => Err(Fault::Panicked(said(panic.as_ref()))),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    brief(text.unwrap_or("it did not say what"))
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("layout", &self.layout)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
