//! A driver that is none: device memory is host memory, and a stream is a queue that runs when an event is asked about.
//!
//! Nothing runs before it is waited for, so a buffer that is used again too early shows in the pixels. Kernels are the reference
//! filters. Every handle is counted, faults are planted, and all of it is of one thread, as each test has its own.
#![allow(unsafe_code, reason = "it is a C library, as the driver is")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

use kernels::{Filter, Frame, Item, Matrix, Range, Scratch, item, reference};

use super::calls::Status;
use super::driver::Driver;
use super::nv12;
use super::status::SUCCESS;

mod calls;

/// Device memory of the fake device, in bytes.
pub(super) const MEMORY_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct State {
    next: usize,
    current: usize,
    pub(super) contexts: BTreeSet<usize>,
    pub(super) streams: BTreeSet<usize>,
    /// Whether what the event marks was done.
    pub(super) events: BTreeMap<usize, bool>,
    pub(super) modules: BTreeSet<usize>,
    functions: BTreeMap<usize, String>,
    pub(super) memory: BTreeMap<u64, usize>,
    pub(super) pinned: BTreeSet<usize>,
    queue: VecDeque<Op>,
    /// Status by call, once.
    plant: BTreeMap<&'static str, Status>,
    /// The context gives this at every call from now on.
    poison: Status,
    /// Events are never done.
    pub(super) hangs: bool,
    /// An event is done only when asked so many times.
    pub(super) lag: usize,
    /// Kernel and number of items of each launch that ran.
    pub(super) launches: Vec<(String, usize)>,
    /// Calls that give something back, and came after the poison.
    pub(super) late_frees: usize,
    pub(super) elapsed_ms: f32,
}

enum Op {
    Copy {
        from: usize,
        to: usize,
        bytes: usize,
    },
    Launch {
        name: String,
        count: usize,
        items: u64,
    },
    Record(usize),
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// The fake driver, with nothing made on it by this thread so far.
pub(super) fn driver() -> &'static Driver {
    with(|state| *state = State::default());
    same_driver()
}

/// The fake driver, with all that this thread has made on it.
pub(super) fn same_driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| Driver::initialised(calls::CALLS).expect("the fake driver starts"))
}

/// Looks at the state of this thread's device, or changes it.
pub(super) fn with<R>(look: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(look)
}

/// Lets one later call of this name give a status.
pub(super) fn plant(call: &'static str, status: Status) {
    with(|state| state.plant.insert(call, status));
}

/// What exists on the device: contexts, streams, events, modules, blocks of memory, pinned spans.
pub(super) fn held() -> [usize; 6] {
    with(|state| {
        [
            state.contexts.len(),
            state.streams.len(),
            state.events.len(),
            state.modules.len(),
            state.memory.len(),
            state.pinned.len(),
        ]
    })
}

impl State {
    fn handle(&mut self) -> usize {
        self.next += 1;
        // Not addresses of anything.
        0x1000 + self.next
    }

    /// Takes what was planted for a call. A status that poisons is given by all calls from then on.
    fn enter(&mut self, call: &'static str) -> Status {
        if self.poison != SUCCESS {
            return self.poison;
        }
        let status = self.plant.remove(call).unwrap_or(SUCCESS);
        if (700..720).contains(&status) {
            self.poison = status;
        }
        if status == SUCCESS && call != "create" && !self.contexts.contains(&self.current) {
            return 201;
        }
        status
    }

    /// As [`State::enter`], for a call that gives something back.
    fn leave(&mut self, call: &'static str) -> Status {
        if self.poison != SUCCESS {
            self.late_frees += 1;
        }
        self.enter(call)
    }

    /// Runs the queue up to the mark of an event.
    fn run(&mut self, event: usize) {
        while let Some(op) = self.queue.pop_front() {
            match op {
                Op::Copy { from, to, bytes } => copy(from, to, bytes),
                Op::Launch { name, count, items } => {
                    // SAFETY: the caller of a launch promises that its items are there until the stream has done it.
                    let items = unsafe {
                        std::slice::from_raw_parts(address::<Item>(items as usize), count)
                    };
                    for item in items {
                        launched(&name, item);
                    }
                    self.launches.push((name, count));
                }
                Op::Record(done) => {
                    self.events.insert(done, true);
                    if done == event {
                        return;
                    }
                }
            }
        }
    }
}

fn address<T>(at: usize) -> *mut T {
    std::ptr::with_exposed_provenance_mut(at)
}

fn copy(from: usize, to: usize, bytes: usize) {
    // SAFETY: the caller of a copy promises that both spans are there until the stream has done it; they are of different memory.
    unsafe { std::ptr::copy_nonoverlapping(address::<u8>(from), address::<u8>(to), bytes) }
}

/// What a kernel does to an item, by the reference.
fn launched(name: &str, item: &Item) {
    let range = if item.src.full_range == 1 {
        Range::Full
    } else {
        Range::Limited
    };
    let filter = match name {
        "copy" => Filter::Passthrough,
        "blend" => (0..=100)
            .map(|amount_percent| match item.ints[1] {
                0 => Filter::Grayscale { amount_percent },
                _ => Filter::Invert { amount_percent },
            })
            .find(|filter| same(*filter, item))
            .expect("a weight that a percentage has"),
        "edges" => (0..=400)
            .map(|gain_percent| Filter::Edges { gain_percent })
            .find(|filter| same(*filter, item))
            .expect("a gain that a percentage has"),
        // Leaves its radius in scratch; the second half does the work of both.
        "blur_rows" => return copy(&raw const item.ints as usize, item.scratch as usize, 4),
        "blur_columns" => {
            // SAFETY: scratch is at least one row of 16 bytes.
            let radius = unsafe { *address::<i32>(item.scratch as usize) };
            assert_eq!(
                radius, item.ints[0],
                "the first half came first, into the same scratch"
            );
            Filter::Blur {
                radius_px: radius as u8,
            }
        }
        "pixelate" => Filter::Pixelate {
            block_px: item.ints[0] as u8,
        },
        other => panic!("a kernel that the fake device lacks: {other}"),
    };
    let layout = nv12::Layout::new(item.src.width as usize, item.src.height as usize).unwrap();
    assert_eq!(item.src.uv - item.src.y, layout.luma_bytes() as u64);
    assert_eq!(item.src.y_stride as usize, layout.pitch());
    assert_eq!(
        (item.dst.full_range, item.dst.matrix),
        (item.src.full_range, item.src.matrix)
    );
    // SAFETY: a surface is one block of its layout's size.
    let from = unsafe { std::slice::from_raw_parts(address(item.src.y as usize), layout.bytes()) };
    // SAFETY: as above, and no other item is of this block.
    let to =
        unsafe { std::slice::from_raw_parts_mut(address(item.dst.y as usize), layout.bytes()) };
    let (mut src, mut dst) = (Frame::default(), Frame::default());
    nv12::to_frame(from, layout, range, Matrix::Unspecified, &mut src);
    reference::apply(filter, &src, &mut dst, &mut Scratch::new());
    nv12::from_frame(&dst, layout, to);
}

fn same(filter: Filter, item: &Item) -> bool {
    item::of(filter, item.src, item.dst, 0).ints == item.ints
}
