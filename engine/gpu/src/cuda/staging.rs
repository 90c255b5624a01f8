//! Pinned buffers that pictures pass through on their way between host and device.
//!
//! ```text
//!   taken ----- filled by the CPU, copy put into the stream, event recorded -----> given back, busy until the event is done
//!     ^                                                                                |
//!     +--------------------------------------------------------------------------------+
//! ```
//!
//! Invariant: a buffer that is lent out is not in use by the device, except for the one copy of a [`Download`] that has not been
//! waited for, and nobody looks at the bytes of that before.
#![allow(unsafe_code, reason = "memory is shared with the device")]

use std::rc::Rc;

use kernels::{Frame, Matrix, Range};

use super::context::Context;
use super::memory::{self, Pinned};
use super::nv12::{self, Layout};
use super::pool::{Allocate, Lease, Limits, Pool};
use super::stream::{Event, Stream};
use super::surface::{Surface, WAIT_MAX};
use crate::fault::Fault;

/// As many pictures on their way as a lane has sessions, both ways, at 1080p: 2 x 32 x 3.3 MB is 212 MB.
const LIMITS: Limits = Limits {
    blocks: 128,
    bytes: 256 << 20,
};

pub(crate) struct PinnedBlocks {
    context: Context,
}

/// A pinned buffer and when the device is done with it.
pub(crate) struct Staged {
    pub(super) pinned: Pinned,
    event: Event,
}

/// The pinned buffers of a backend.
pub(crate) type StagingPool = Pool<PinnedBlocks>;
/// One of them.
pub(crate) type StagingLease = Lease<PinnedBlocks>;

/// A picture on its way to the host.
pub(crate) struct Download {
    staged: StagingLease,
    layout: Layout,
    range: Range,
    matrix: Matrix,
}

pub(crate) fn pool(context: &Context) -> Rc<StagingPool> {
    let blocks = PinnedBlocks {
        context: context.clone(),
    };
    Rc::new(Pool::new("pinned memory", blocks, LIMITS))
}

// === impl PinnedBlocks ===

impl Allocate for PinnedBlocks {
    type Block = Staged;

    fn allocate(&self, bytes: usize) -> Result<Staged, Fault> {
        Ok(Staged {
            pinned: Pinned::new(&self.context, bytes)?,
            event: Event::new(&self.context)?,
        })
    }

    fn is_idle(&self, block: &Staged) -> Result<bool, Fault> {
        block.event.is_done()
    }

    fn settle(&self, block: &Staged) -> Result<(), Fault> {
        block.settled(block.event.wait("a copy between host and device", WAIT_MAX))
    }
}

// === impl Staged ===

impl Staged {
    /// Marks the buffer busy until the stream has done what it holds now.
    pub(super) fn busy_until(&self, stream: &Stream) -> Result<(), Fault> {
        self.settled(self.event.record(stream))
    }

    /// A buffer of which it is not known when the device is done with it may never be freed or used: the context is lost.
    fn settled(&self, outcome: Result<(), Fault>) -> Result<(), Fault> {
        if let Err(Fault::Full { call, name } | Fault::Failed { call, name }) = outcome {
            let fault = Fault::Lost { call, name };
            self.event.context().note(fault);
            return Err(fault);
        }
        outcome
    }
}

/// Puts a frame's way to the device into the stream. The surface takes its size, range and matrix. Gives the bytes copied.
pub(crate) fn upload(
    frame: &Frame,
    surface: &mut Surface,
    staging: &Rc<StagingPool>,
    stream: &Stream,
) -> Result<u64, Fault> {
    if frame.is_empty() {
        surface.clear();
        return Ok(0);
    }
    surface.shape(frame.width(), frame.height(), frame.range, frame.matrix)?;
    let layout = surface.layout();
    let to = surface.address().expect("a surface with a size has memory");
    let mut staged = staging.take(layout.bytes())?;
    let bytes = &mut staged.pinned[..layout.bytes()];
    nv12::from_frame(frame, layout, bytes);
    // SAFETY: the lease goes back with an event behind the copy, and until that is done the pool does not lend it out.
    unsafe { memory::upload(bytes, to, stream)? };
    staged.busy_until(stream)?;
    Ok(layout.bytes() as u64)
}

/// Puts a picture's way to the host into the stream. Gives the bytes copied beside it.
///
/// # Errors
/// When the surface is empty, pinned memory is out, or the device is lost.
pub(crate) fn download(
    surface: &Surface,
    staging: &Rc<StagingPool>,
    stream: &Stream,
) -> Result<(Download, u64), Fault> {
    let layout = surface.layout();
    let from = surface.address().ok_or(Fault::Failed {
        call: "a download",
        name: "the surface holds no picture",
    })?;
    let mut staged = staging.take(layout.bytes())?;
    let bytes = &mut staged.pinned[..layout.bytes()];
    // SAFETY: nobody looks at the bytes before `into_frame` has waited for the event behind the copy; and when the lease goes
    // back before, the pool does not lend it out until then.
    unsafe { memory::download(from, bytes, stream)? };
    staged.busy_until(stream)?;
    let download = Download {
        staged,
        layout,
        range: surface.range(),
        matrix: surface.matrix(),
    };
    Ok((download, layout.bytes() as u64))
}

impl Download {
    /// Waits for the picture, with a deadline, and makes a frame of it.
    ///
    /// # Errors
    /// When the device failed or did not answer.
    pub(crate) fn into_frame(self, frame: &mut Frame) -> Result<(), Fault> {
        self.staged
            .event
            .wait("a picture's copy to the host", WAIT_MAX)?;
        nv12::to_frame(
            &self.staged.pinned,
            self.layout,
            self.range,
            self.matrix,
            frame,
        );
        Ok(())
    }
}
