//! A session of ONNX Runtime, on the CPU or on a CUDA device.
//!
//! Why unsafe: a tensor in device memory is an address and a shape, and the wrapper has no call that binds an output to
//! one it does not own.
#![expect(
    unsafe_code,
    reason = "tensors on a device are raw addresses, see above"
)]

use std::ffi::CString;

use ort::AsPointer;
use ort::ep::{CUDA, cuda::ConvAlgorithmSearch};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Shape, TensorRef, TensorRefMut};

use super::error::{Error, Fault, brief};
use super::layout::Layout;
use super::runtime::{Place, Stream};
use super::session::Number;
use super::source::Source;

const NAME: &str = "ONNX Runtime";

/// One model, ready to run.
pub(super) struct Model {
    session: ort::session::Session,
    input: String,
    output: String,
    cuda: Option<(i32, Option<Stream>)>,
}

impl Model {
    pub(super) fn open(source: &Source, place: Place) -> Result<Self, Error> {
        let refused = |error: ort::Error| Error::Refused {
            library: NAME,
            reason: brief(&error.to_string()),
        };
        let Layout { input, output, .. } = source.layout().clone();
        let mut builder = options(place).map_err(refused)?;
        let mut cuda = None;
        if let Place::Cuda { device, stream } = place {
            let unavailable = |reason: String| Error::Unavailable {
                place: "CUDA",
                reason,
            };
            let device = i32::try_from(device)
                .map_err(|_| unavailable(format!("there is no device {device}")))?;
            let provider = provider(device, stream).build().error_on_failure();
            builder = builder
                .with_execution_providers([provider])
                .map_err(|error| unavailable(brief(&error.to_string())))?;
            cuda = Some((device, stream));
        }
        let session = builder
            .commit_from_memory(source.bytes())
            .map_err(refused)?;
        Ok(Self {
            session,
            input,
            output,
            cuda,
        })
    }

    pub(super) fn run<T: Number>(
        &mut self,
        input: &[T],
        shape: [usize; 4],
        expected: [usize; 4],
        output: &mut Vec<T>,
    ) -> Result<(), Fault> {
        let input = TensorRef::from_array_view((shape, input))?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])?;
        let value = outputs
            .get(self.output.as_str())
            .ok_or_else(|| Fault::Library(format!("no output named {}", self.output)))?;
        let (got, numbers) = value.try_extract_tensor::<T>()?;
        if !got
            .iter()
            .map(|size| usize::try_from(*size).ok())
            .eq(expected.map(Some))
        {
            let size = |size: &i64| usize::try_from(*size).unwrap_or_default();
            let got = got.iter().map(size).collect();
            return Err(Fault::Output { got, expected });
        }
        output.extend_from_slice(numbers);
        Ok(())
    }

    /// Runs on tensors that are, and stay, in the device's memory.
    ///
    /// # Safety
    /// As [`Session::run_on_device`](super::Session::run_on_device).
    pub(super) unsafe fn run_on_device<T: Number>(
        &mut self,
        input: u64,
        shape: [usize; 4],
        output: u64,
        expected: [usize; 4],
    ) -> Result<(), Fault> {
        let Some((device, stream)) = self.cuda else {
            return Err(Fault::NotOnDevice);
        };
        let tensor = |address: u64, shape: [usize; 4]| {
            let memory = MemoryInfo::new(
                AllocationDevice::CUDA,
                device,
                AllocatorType::Device,
                MemoryType::Default,
            )?;
            // Sizes were checked against `ELEMENTS_MAX`, so they are far below `i64::MAX`.
            let shape = Shape::new(shape.map(|size| size as i64));
            let address = address as usize as *mut std::ffi::c_void;
            // SAFETY: the caller promises that `address` is memory of this device, of at least as many numbers of `T`
            // as `shape` says; the view is dropped before this function returns.
            unsafe { TensorRefMut::<T>::from_raw(memory, address, shape) }
        };
        let input = tensor(input, shape)?;
        let output = tensor(output, expected)?;
        let name = CString::new(self.output.as_str())
            .map_err(|_| Fault::Library("the output's name holds a 0".into()))?;
        let mut binding = self.session.create_binding()?;
        binding.bind_input(self.input.as_str(), &*input)?;
        // SAFETY: binding, name and value live through the call; the binding takes a reference of its own to the value.
        let status =
            unsafe { (ort::api().BindOutput)(binding.ptr_mut(), name.as_ptr(), output.ptr()) };
        // SAFETY: it was just returned, and nobody else releases it.
        unsafe { ort::Error::result_from_status(status) }?;
        drop(self.session.run_binding(&binding)?);
        if stream.is_none() {
            // The library's own stream: wait, since the caller cannot.
            binding.synchronize_outputs()?;
        }
        Ok(())
    }
}

fn options(place: Place) -> ort::Result<SessionBuilder> {
    let threads = match place {
        Place::Cpu { threads } => threads,
        // What the device lacks, and the launching.
        Place::Cuda { .. } => 1,
    };
    let builder = ort::session::Session::builder()?
        .with_log_level(ort::logging::LogLevel::Fatal)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Waiting threads sleep: the cores have other work.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    Ok(builder)
}

fn provider(device: i32, stream: Option<Stream>) -> CUDA {
    // The default tries every algorithm on the first picture of each size, for seconds; a live stream cannot wait.
    let cuda = CUDA::default()
        .with_device_id(device)
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    match stream {
        // SAFETY: whoever made the `Stream` promised that it outlives its sessions.
        Some(stream) => unsafe { cuda.with_compute_stream(stream.address() as *mut ()) },
        None => cuda,
    }
}

impl From<ort::Error> for Fault {
    fn from(error: ort::Error) -> Self {
        Self::Library(brief(&error.to_string()))
    }
}
