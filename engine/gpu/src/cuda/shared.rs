//! What all parts of one backend hold: its context, its stream, its memory, and what it counts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kernels::Frame;

use super::context::Context;
use super::pool::{Limits, Pool};
use super::staging::{self, Download, StagingPool};
use super::stream::{Event, Stream};
use super::surface::{DeviceBlocks, DevicePool, Surface};
use crate::backend::Usage;
use crate::fault::Fault;

/// Blocks of device memory that one backend may have: some tens a session, and more sessions than a lane can serve.
const BLOCKS_MAX: usize = 8192;

/// How old a reading of the device's memory may be: asking can take a lock of the driver's.
const MEMORY_AGE_MAX: Duration = Duration::from_millis(250);

/// Batches whose device time has not been read yet. Each is read when it is done, so there are a few.
const SPANS_MAX: usize = 64;

/// Remarks that are kept. Each model makes one at most.
const REMARKS_MAX: usize = 64;

/// What a backend's decoders, encoders and processor share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) context: Context,
    /// The one stream of the backend: what is put in later runs later.
    pub(crate) stream: Rc<Stream>,
    pub(crate) pool: Rc<DevicePool>,
    pub(crate) staging: Rc<StagingPool>,
    pub(crate) counters: Rc<Counters>,
    remarks: Rc<RefCell<Vec<String>>>,
    memory: Rc<Cell<Memory>>,
}

/// Device memory, free and in all, as it was at a time.
#[derive(Clone, Copy)]
struct Memory {
    at: Instant,
    free_bytes: u64,
    total_bytes: u64,
}

/// Totals since the backend was opened.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) to_device_bytes: Cell<u64>,
    pub(crate) from_device_bytes: Cell<u64>,
    pub(crate) decode_ns: Cell<u64>,
    pub(crate) process_ns: Cell<u64>,
    pub(crate) encode_ns: Cell<u64>,
    spans: RefCell<VecDeque<Span>>,
}

/// Which total a span of device time is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Decode,
    Process,
    Encode,
}

/// Work in the stream between two events.
pub(crate) struct Span {
    stage: Stage,
    from: Event,
    to: Event,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(context: Context) -> Result<Self, Fault> {
        let stream = Rc::new(Stream::new(&context)?);
        let memory = Memory::of(&context)?;
        let total = memory.total_bytes;
        let limits = Limits {
            blocks: BLOCKS_MAX,
            // The device is shared with other lanes and with the codec engines' own pictures; it says first that it is full.
            bytes: usize::try_from(total / 4 * 3).unwrap_or(usize::MAX),
        };
        let pool = Pool::new(
            "the device memory of a lane",
            DeviceBlocks::new(&stream),
            limits,
        );
        Ok(Self {
            staging: staging::pool(&context),
            context,
            stream,
            pool: Rc::new(pool),
            counters: Rc::default(),
            remarks: Rc::default(),
            memory: Rc::new(Cell::new(memory)),
        })
    }

    /// A surface with no picture and no memory yet.
    pub(crate) fn surface(&self) -> Surface {
        Surface::empty(&self.pool)
    }

    /// Puts a frame's way to the device into the stream; the surface takes its size.
    ///
    /// # Errors
    /// When there is no memory, or the device is lost.
    pub(crate) fn upload(&self, frame: &Frame, surface: &mut Surface) -> Result<(), Fault> {
        let bytes = staging::upload(frame, surface, &self.staging, &self.stream)?;
        add(&self.counters.to_device_bytes, bytes);
        Ok(())
    }

    /// Puts a picture's way to the host into the stream.
    ///
    /// # Errors
    /// When the surface is empty, there is no memory, or the device is lost.
    pub(crate) fn download(&self, surface: &Surface) -> Result<Download, Fault> {
        let (download, bytes) = staging::download(surface, &self.staging, &self.stream)?;
        add(&self.counters.from_device_bytes, bytes);
        Ok(download)
    }

    /// Keeps what an operator should know, once, while there is room for it.
    pub(crate) fn remark(&self, text: String) {
        let mut remarks = self.remarks.borrow_mut();
        if remarks.len() < REMARKS_MAX && !remarks.contains(&text) {
            remarks.push(text);
        }
    }

    /// What was kept, in its order.
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.remarks.borrow().clone()
    }

    /// Begins to measure what is put into the stream from here on. `None` when too many are being measured, which a device that
    /// does its work never lets come about.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn measure(&self, stage: Stage) -> Result<Option<Span>, Fault> {
        self.counters.settle();
        if self.counters.spans.borrow().len() >= SPANS_MAX {
            return Ok(None);
        }
        let span = Span {
            stage,
            from: Event::timed(&self.context)?,
            to: Event::timed(&self.context)?,
        };
        span.from.record(&self.stream)?;
        Ok(Some(span))
    }

    /// Ends it. The time is added to its total once the device is done.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn measured(&self, span: Option<Span>) -> Result<(), Fault> {
        if let Some(span) = span {
            span.to.record(&self.stream)?;
            self.counters.spans.borrow_mut().push_back(span);
        }
        Ok(())
    }

    /// The totals as of now.
    pub(crate) fn usage(&self) -> Usage {
        self.counters.settle();
        let mut memory = self.memory.get();
        if memory.at.elapsed() > MEMORY_AGE_MAX {
            // A device that is lost is told of by the next call that does something.
            memory = Memory::of(&self.context).unwrap_or(memory);
            self.memory.set(memory);
        }
        let counters = &self.counters;
        Usage {
            to_device_bytes: counters.to_device_bytes.get(),
            from_device_bytes: counters.from_device_bytes.get(),
            decode_ns: counters.decode_ns.get(),
            process_ns: counters.process_ns.get(),
            encode_ns: counters.encode_ns.get(),
            memory_free_bytes: Some(memory.free_bytes),
            memory_total_bytes: Some(memory.total_bytes),
            // And a few blocks beside them, for scratch and items.
            surfaces: self.pool.blocks() as u64,
        }
    }
}

impl Memory {
    fn of(context: &Context) -> Result<Self, Fault> {
        let (free_bytes, total_bytes) = context.memory()?;
        Ok(Self {
            at: Instant::now(),
            free_bytes,
            total_bytes,
        })
    }
}

// === impl Counters ===

impl Counters {
    /// Adds the spans that are done. They are in the order of the stream, so the first that is not ends it.
    fn settle(&self) {
        let mut spans = self.spans.borrow_mut();
        while let Some(span) = spans.front() {
            match span.to.is_done() {
                Ok(false) => return,
                // A device that is lost counts no more; whoever calls it next is told.
                Err(_) => spans.clear(),
                Ok(true) => {
                    let total = match span.stage {
                        Stage::Decode => &self.decode_ns,
                        Stage::Process => &self.process_ns,
                        Stage::Encode => &self.encode_ns,
                    };
                    add(total, span.to.since_ns(&span.from).unwrap_or(0));
                    spans.pop_front();
                }
            }
        }
    }
}

/// Adds to a total.
pub(crate) fn add(total: &Cell<u64>, more: u64) {
    total.set(total.get().saturating_add(more));
}
