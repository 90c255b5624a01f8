//! Kernels, from text to launches.
//!
//! The driver compiles the PTX for the device when a module is loaded, which happens when a backend is opened and at no other
//! time; it keeps what it compiled in a cache on disk, so the next open is quick. A launch is over the pictures of many sessions:
//!
//! ```text
//!   batch    | items of blend | items of blur_rows | items of blur_columns |     pinned, then one copy to the device
//!                    |                  |                     |
//!                 launch             launch                launch                one a kernel; blockIdx.z is the item
//! ```
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CString, c_uint, c_void};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUfunction, CUmodule};
use kernels::item::ITEMS_MAX;
use kernels::kernel::Grid;
use kernels::{Item, Kernel};

use super::context::Context;
use super::memory;
use super::refused;
use super::shared::{Shared, add};
use super::stream::Stream;
use crate::backend::Unavailable;
use crate::fault::Fault;

const JIT_ERROR_LOG_BUFFER: c_uint = 5;
const JIT_ERROR_LOG_BUFFER_SIZE_BYTES: c_uint = 6;
const JIT_LOG_BYTES: usize = 8 << 10;

/// Compiled kernels.
pub struct Module {
    context: Context,
    raw: CUmodule,
}

/// One kernel of a module.
pub struct Function {
    module: Rc<Module>,
    raw: CUfunction,
}

/// One kernel over many items.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    /// At most [`ITEMS_MAX`].
    pub(crate) items: Vec<Item>,
}

/// Every kernel of the `kernels` crate, compiled for one context.
pub(crate) struct Kernels {
    /// In the order of [`Kernel::ALL`].
    functions: Vec<Function>,
    /// How long compiling them took.
    pub(crate) compiled_in: Duration,
}

// === impl Module ===

impl Module {
    /// Compiles PTX for the device. The name is for errors.
    ///
    /// # Errors
    /// What the compiler says first, or the device's fault.
    pub fn compile(context: &Context, name: &str, ptx: &str) -> Result<Rc<Self>, Unavailable> {
        let text = CString::new(ptx)
            .map_err(|_| refused(format!("kernel {name}: a NUL within its text")))?;
        let mut log = vec![0_u8; JIT_LOG_BYTES];
        // Each option is a number, and each value a pointer that is one or is a number in the place of one.
        let mut options = [JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values: [*mut c_void; 2] = [
            log.as_mut_ptr().cast(),
            std::ptr::without_provenance_mut(JIT_LOG_BYTES),
        ];
        let mut raw: CUmodule = std::ptr::null_mut();
        let loaded = context.call("cuModuleLoadDataEx", |calls| {
            // SAFETY: the image is text that ends in a NUL, the arrays are as long as said, the log buffer as its size says, and
            // all of it outlives the call.
            unsafe {
                (calls.module_load_data)(
                    &mut raw,
                    text.as_ptr().cast(),
                    options.len() as c_uint,
                    options.as_mut_ptr(),
                    values.as_mut_ptr(),
                )
            }
        });
        match loaded {
            Ok(()) => Ok(Rc::new(Self {
                context: context.clone(),
                raw,
            })),
            Err(Fault::Failed { name: why, .. }) => {
                let said = first_line(&log);
                Err(refused(format!("kernel {name}: {why}{said}")))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// A kernel of the module by its name.
    ///
    /// # Errors
    /// When there is none of that name, or the device is lost.
    pub fn function(self: &Rc<Self>, name: &str) -> Result<Function, Fault> {
        let name = CString::new(name).unwrap_or_default();
        let mut raw: CUfunction = std::ptr::null_mut();
        self.context.call("cuModuleGetFunction", |calls| {
            // SAFETY: it writes one handle to a place that is one; module and name live.
            unsafe { (calls.module_get_function)(&mut raw, self.raw, name.as_ptr()) }
        })?;
        Ok(Function {
            module: Rc::clone(self),
            raw,
        })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.context.give_back("cuModuleUnload", |calls| {
            // SAFETY: the handle came from cuModuleLoadDataEx and this is its only end: every function holds its module.
            unsafe { (calls.module_unload)(self.raw) }
        });
    }
}

// === impl Function ===

impl Function {
    /// Puts a launch into the stream. The kernel takes one argument of 64 bits.
    ///
    /// # Safety
    /// The kernel is one that takes such an argument, and what it reads and writes by it is there until the stream has done it.
    ///
    /// # Errors
    /// When the launch is refused, or the device is lost. What the kernel itself does wrong comes out of later calls.
    pub unsafe fn launch(
        &self,
        stream: &Stream,
        grid: Grid,
        mut argument: u64,
    ) -> Result<(), Fault> {
        let [x, y, z] = grid.blocks;
        let [threads_x, threads_y, threads_z] = grid.threads;
        let mut arguments: [*mut c_void; 1] = [(&raw mut argument).cast()];
        self.module.context.call("cuLaunchKernel", |calls| {
            // SAFETY: function and stream are of this context and live; the arguments are copied before the call returns; the
            // rest is what the caller promises.
            unsafe {
                (calls.launch_kernel)(
                    self.raw,
                    x,
                    y,
                    z,
                    threads_x,
                    threads_y,
                    threads_z,
                    0,
                    stream.raw(),
                    arguments.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            }
        })
    }
}

// === impl Kernels ===

impl Kernels {
    /// Compiles every kernel.
    pub(crate) fn compile(context: &Context) -> Result<Self, Unavailable> {
        let since = Instant::now();
        let compiled = |kernel: &Kernel| {
            let module = Module::compile(context, kernel.name(), kernel.ptx())?;
            Ok(module.function(kernel.name())?)
        };
        let functions: Result<_, Unavailable> = Kernel::ALL.iter().map(compiled).collect();
        Ok(Self {
            functions: functions?,
            compiled_in: since.elapsed(),
        })
    }

    /// Puts launches into the stream, in order, behind one copy of all their items.
    ///
    /// # Safety
    /// What the items' addresses mean is there until the stream has done all of it, and no two items of one launch write to the
    /// same place, nor does one write what another reads.
    pub(crate) unsafe fn launch(&self, shared: &Shared, launches: &[Launch]) -> Result<(), Fault> {
        let count: usize = launches.iter().map(|launch| launch.items.len()).sum();
        if count == 0 {
            return Ok(());
        }
        let bytes = count * size_of::<Item>();
        let mut staged = shared.staging.take(bytes)?;
        let mut to = &mut staged.pinned[..bytes];
        for launch in launches {
            let (here, rest) = to.split_at_mut(size_of_val(&launch.items[..]));
            here.copy_from_slice(item_bytes(&launch.items));
            to = rest;
        }
        // Dropped at the end and lent again at once: the next batch's copy comes after these kernels in the stream.
        let items = shared.pool.take(bytes)?;
        // SAFETY: the lease goes back with an event behind the copy, and until that is done the pool does not lend it out.
        unsafe { memory::upload(&staged.pinned[..bytes], items.address(), &shared.stream)? };
        staged.busy_until(&shared.stream)?;
        add(&shared.counters.to_device_bytes, bytes as u64);

        let mut at = items.address();
        for launch in launches.iter().filter(|launch| !launch.items.is_empty()) {
            debug_assert!(launch.items.len() <= ITEMS_MAX);
            let grid = launch.kernel.grid(&launch.items);
            let function = &self.functions[launch.kernel as usize];
            // SAFETY: the function is that of the kernel, whose argument is the address of as many items as the grid is deep;
            // they lie there by the copy before, and what they mean is what the caller promises.
            unsafe { function.launch(&shared.stream, grid, at)? };
            at += size_of_val(&launch.items[..]) as u64;
        }
        Ok(())
    }
}

fn item_bytes(items: &[Item]) -> &[u8] {
    // Two surfaces, two addresses, 24 words: no padding anywhere.
    const _: () = assert!(size_of::<Item>() == 2 * (2 * 8 + 6 * 4) + 2 * 8 + 24 * 4);
    // SAFETY: an item has a fixed layout without padding, so each of its bytes is initialised.
    unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) }
}

/// `: ` and the first line of the compiler's log that says something.
fn first_line(log: &[u8]) -> String {
    let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(|line| format!(": {line}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_by_its_place_in_the_list() {
        for (place, kernel) in Kernel::ALL.iter().enumerate() {
            assert_eq!(*kernel as usize, place);
        }
    }

    #[test]
    fn the_compilers_first_words_are_quoted() {
        assert_eq!(
            first_line(b"\n  ptxas fatal: no\nmore\0junk"),
            ": ptxas fatal: no"
        );
        assert_eq!(first_line(&[0; 8]), "");
        assert_eq!(first_line(b""), "");
    }
}
