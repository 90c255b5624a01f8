//! One picture in device memory, from a pool.
//!
//! A surface may be used again, by the stream of its backend, as soon as it is dropped: what is put into the stream later runs
//! later. Nothing writes a surface on another stream.

use std::rc::Rc;

use kernels::{Matrix, Range};

use super::context::Context;
use super::memory::DeviceMemory;
use super::nv12::Layout;
use super::pool::{Allocate, Lease, Pool};
use super::stream::Stream;
use crate::fault::Fault;

/// How long anything waits for the device: a hundred times what a batch of the largest pictures takes.
pub(crate) const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Where the device memory of a backend comes from: pictures, scratch, tensors, and what kernels are handed.
pub(crate) struct DeviceBlocks {
    context: Context,
    stream: Rc<Stream>,
}

/// The device memory of a backend.
pub(crate) type DevicePool = Pool<DeviceBlocks>;
/// A block of it.
pub(crate) type DeviceLease = Lease<DeviceBlocks>;

/// One NV12 picture in device memory, or none yet.
pub struct Surface {
    pool: Rc<DevicePool>,
    block: Option<DeviceLease>,
    layout: Layout,
    range: Range,
    matrix: Matrix,
}

// === impl DeviceBlocks ===

impl DeviceBlocks {
    pub(super) fn new(stream: &Rc<Stream>) -> Self {
        Self {
            context: stream.context().clone(),
            stream: Rc::clone(stream),
        }
    }
}

impl Allocate for DeviceBlocks {
    type Block = DeviceMemory;

    fn allocate(&self, bytes: usize) -> Result<DeviceMemory, Fault> {
        DeviceMemory::new(&self.context, bytes)
    }

    /// All that uses these blocks is in one stream, or waited for by it.
    fn is_idle(&self, _: &DeviceMemory) -> Result<bool, Fault> {
        Ok(true)
    }

    fn settle(&self, _: &DeviceMemory) -> Result<(), Fault> {
        self.stream.settle(WAIT_MAX)
    }
}

impl DevicePool {
    /// A surface for a picture of this size. What it holds is unspecified.
    ///
    /// # Errors
    /// As [`Surface::shape`].
    pub(crate) fn surface(
        self: &Rc<Self>,
        width: usize,
        height: usize,
        range: Range,
        matrix: Matrix,
    ) -> Result<Surface, Fault> {
        let mut surface = Surface::empty(self);
        surface.shape(width, height, range, matrix)?;
        Ok(surface)
    }
}

// === impl Surface ===

impl Surface {
    /// A surface that holds no memory yet.
    pub(crate) fn empty(pool: &Rc<DevicePool>) -> Self {
        Self {
            pool: Rc::clone(pool),
            block: None,
            layout: Layout::default(),
            range: Range::default(),
            matrix: Matrix::default(),
        }
    }

    /// Gives the surface a size, and memory for it unless what it has suffices. What it then holds is unspecified.
    ///
    /// # Errors
    /// When the size is none that a picture can have, when there is no memory, or the device is lost. The surface is then empty.
    pub(crate) fn shape(
        &mut self,
        width: usize,
        height: usize,
        range: Range,
        matrix: Matrix,
    ) -> Result<(), Fault> {
        let Some(layout) = Layout::new(width, height) else {
            self.clear();
            return Err(Fault::Failed {
                call: "a surface",
                name: "a size that no picture has: each side is 1 to 8192",
            });
        };
        let bytes = layout.bytes();
        // Memory that is much too large is given back, so that a stream which shrinks does not keep it.
        let fits =
            |block: &DeviceLease| (bytes..=4 * bytes.max(64 << 10)).contains(&block.capacity());
        if !self.block.as_ref().is_some_and(fits) {
            self.clear();
            self.block = Some(self.pool.take(bytes)?);
        }
        self.layout = layout;
        self.range = range;
        self.matrix = matrix;
        Ok(())
    }

    /// Gives its memory back.
    pub(crate) fn clear(&mut self) {
        self.block = None;
        self.layout = Layout::default();
    }

    /// Whether it holds no picture.
    pub fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    /// Width in pixels; 0 when it is empty.
    pub fn width(&self) -> usize {
        self.layout.width()
    }

    /// Height in pixels; 0 when it is empty.
    pub fn height(&self) -> usize {
        self.layout.height()
    }

    /// What its numbers span.
    pub fn range(&self) -> Range {
        self.range
    }

    /// How luma and chroma were made.
    pub fn matrix(&self) -> Matrix {
        self.matrix
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The picture as kernels take it, unless there is none. The addresses are good while the surface is not shaped, cleared or
    /// dropped; and for the backend's stream, for what is put into it until then.
    pub(crate) fn nv12(&self) -> Option<kernels::Surface> {
        let block = self.block.as_ref()?;
        Some(self.layout.at(block.address(), self.range, self.matrix))
    }

    /// Its device memory begins here, unless there is none: luma, then chroma, as the layout says.
    pub(crate) fn address(&self) -> Option<u64> {
        self.block.as_ref().map(|block| block.address())
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surface({}x{})", self.width(), self.height())
    }
}
