//! Views of one plane of a frame: rows of `width` samples, `stride` bytes apart.
//!
//! Invariant: the bytes of a view are exactly `stride * height`, so rows are whole chunks and need no bounds check.

/// A stride is a multiple of this, so that a row is a whole number of vectors and of cache lines.
pub const STRIDE_ALIGN: usize = 64;

/// Width, height and stride of one plane.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    width: usize,
    height: usize,
    stride: usize,
}

impl Layout {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let stride = width.next_multiple_of(STRIDE_ALIGN);
        Self {
            width,
            height,
            stride,
        }
    }

    pub(crate) fn len(self) -> usize {
        self.stride * self.height
    }

    pub(crate) fn of(self, data: &[u8]) -> Plane<'_> {
        let Self {
            width,
            height,
            stride,
        } = self;
        Plane {
            data,
            width,
            height,
            stride,
        }
    }

    pub(crate) fn of_mut(self, data: &mut [u8]) -> PlaneMut<'_> {
        let Self {
            width,
            height,
            stride,
        } = self;
        PlaneMut {
            data,
            width,
            height,
            stride,
        }
    }
}

/// One plane, to read.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
}

impl<'a> Plane<'a> {
    /// Width in samples.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in samples.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All bytes, padding included: `stride * height` of them.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// One row, `width` long.
    ///
    /// # Panics
    ///
    /// When `y` is not below the height.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.width]
    }

    /// The rows from top to bottom.
    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let width = self.width;
        // An empty plane has a stride of zero and no chunk to show for it.
        self.data
            .chunks_exact(self.stride.max(1))
            .map(move |row| &row[..width])
    }
}

/// One plane, to write.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    data: &'a mut [u8],
    width: usize,
    height: usize,
    stride: usize,
}

impl PlaneMut<'_> {
    /// Width in samples.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in samples.
    pub fn height(&self) -> usize {
        self.height
    }

    /// One row, `width` long.
    ///
    /// # Panics
    ///
    /// When `y` is not below the height.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..][..self.width]
    }

    /// The rows from top to bottom.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let width = self.width;
        self.data
            .chunks_exact_mut(self.stride.max(1))
            .map(move |row| &mut row[..width])
    }

    /// Sets every sample, padding included.
    pub fn fill(&mut self, value: u8) {
        self.data.fill(value);
    }
}
