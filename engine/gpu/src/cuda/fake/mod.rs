//! A driver that is none: device memory is host memory, and a stream is a queue that runs when an event is asked about.
//!
//! Nothing runs before it is waited for, by the host or by another stream, so a buffer that is used again too early shows in the
//! pixels, and so does a wait that is missing. Kernels are the reference's. Every handle is counted, faults are planted, and all of it is of one thread, as each test has its own.
#![allow(unsafe_code, reason = "it is a C library, as the driver is")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

use kernels::Item;

use super::calls::Status;
use super::driver::Driver;
use super::status::SUCCESS;

mod calls;
mod device;

/// Device memory of the fake device, in bytes.
pub(super) const MEMORY_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct State {
    next: usize,
    current: usize,
    pub(super) contexts: BTreeSet<usize>,
    pub(super) streams: BTreeSet<usize>,
    /// The mark that each event made last; 0 before the first.
    pub(super) events: BTreeMap<usize, usize>,
    marks: usize,
    marks_done: BTreeSet<usize>,
    pub(super) modules: BTreeSet<usize>,
    functions: BTreeMap<usize, String>,
    pub(super) memory: BTreeMap<u64, usize>,
    pub(super) pinned: BTreeSet<usize>,
    /// By stream.
    queues: BTreeMap<usize, VecDeque<Op>>,
    /// The context that a stream, an event, a module or a block of memory is of.
    owners: BTreeMap<usize, usize>,
    /// The device's primary context, unless there is none, and how often it is held.
    pub(super) primary: usize,
    pub(super) primary_users: usize,
    pub(super) primary_resets: usize,
    /// From which context to which, and the bytes, of each copy across that was put in.
    pub(super) crossed: Vec<(usize, usize, usize)>,
    /// Status by call, once.
    plant: BTreeMap<&'static str, Status>,
    /// What a context gives at every call from now on.
    poison: BTreeMap<usize, Status>,
    /// Events are never done.
    pub(super) hangs: bool,
    /// Streams of the primary context run ahead of all else, as far as nothing holds them back.
    pub(super) primary_runs_ahead: bool,
    /// An event is done only when asked so many times.
    pub(super) lag: usize,
    /// Kernel and number of items of each launch that ran, and other things by their names, in their order.
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
    /// A copy across contexts.
    Cross {
        from: usize,
        to: usize,
        bytes: usize,
    },
    /// What another library puts in, by a name and a number.
    Call(&'static str, usize, Box<dyn FnOnce()>),
    Record(usize),
    Wait(usize),
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

/// Puts something into a stream as another library would.
pub(super) fn call(stream: usize, name: &'static str, count: usize, run: impl FnOnce() + 'static) {
    with(|state| state.put(stream, Op::Call(name, count, Box::new(run))));
}

/// Makes the primary context current, as the CUDA runtime does before anything else.
pub(super) fn enter_primary() -> usize {
    with(|state| {
        state.current = state.primary;
        state.current
    })
}

/// Poisons the primary context, as a kernel does that faults there.
pub(super) fn poison_primary(status: Status) {
    with(|state| state.poison.insert(state.primary, status));
}

/// The context that is current.
pub(super) fn current() -> usize {
    with(|state| state.current)
}

impl State {
    fn handle(&mut self) -> usize {
        self.next += 1;
        // Not addresses of anything.
        0x1000 + self.next
    }

    /// Takes what was planted for a call. A status that poisons is given by all calls from then on.
    fn enter(&mut self, call: &'static str) -> Status {
        if let Some(poison) = self.poison.get(&self.current)
            && call != "create"
        {
            return *poison;
        }
        let status = self.plant.remove(call).unwrap_or(SUCCESS);
        if (700..720).contains(&status) {
            self.poison.insert(self.current, status);
        }
        if status == SUCCESS && call != "create" && !self.contexts.contains(&self.current) {
            return 201;
        }
        status
    }

    /// As [`State::enter`], for a call that gives something back.
    fn leave(&mut self, call: &'static str) -> Status {
        if self.poison.contains_key(&self.current) {
            self.late_frees += 1;
        }
        self.enter(call)
    }

    /// A new handle that is of the current context.
    fn owned(&mut self) -> usize {
        let handle = self.handle();
        self.owners.insert(handle, self.current);
        handle
    }

    /// The context of a stream, an event, a module, or memory that begins at or before an address.
    pub(super) fn owner(&self, of: usize) -> usize {
        let block = self.memory.range(..=of as u64).next_back();
        let inside = block.filter(|(at, bytes)| of < **at as usize + **bytes);
        let of = inside.map_or(of, |(at, _)| *at as usize);
        self.owners[&of]
    }

    fn put(&mut self, stream: usize, op: Op) {
        assert!(self.streams.contains(&stream));
        self.queues.entry(stream).or_default().push_back(op);
        if self.primary_runs_ahead && self.owners[&stream] == self.primary {
            self.run_ahead(stream);
        }
    }

    /// Runs a queue up to the first mark that it waits for and that is not done.
    fn run_ahead(&mut self, stream: usize) {
        while let Some(op) = self.queues.get_mut(&stream).and_then(VecDeque::pop_front) {
            match op {
                Op::Wait(mark) if !self.marks_done.contains(&mark) => {
                    self.queues.entry(stream).or_default().push_front(op);
                    return;
                }
                op => self.perform(op),
            }
        }
    }

    fn is_done(&self, event: usize) -> bool {
        let mark = self.events[&event];
        mark == 0 || self.marks_done.contains(&mark)
    }

    /// Whether anything that is still to be done is of the context, or copies to or from the span.
    fn is_in_use(&self, context: usize, span: std::ops::Range<usize>) -> bool {
        let is_inside = |op: &Op| match op {
            Op::Copy { from, to, .. } | Op::Cross { from, to, .. } => {
                span.contains(from) || span.contains(to)
            }
            _ => false,
        };
        self.queues.iter().any(|(stream, queue)| {
            let is_ours = self.owners.get(stream) == Some(&context);
            (is_ours && !queue.is_empty()) || queue.iter().any(is_inside)
        })
    }

    /// Drops all that is of a context.
    fn clear(&mut self, context: usize) {
        let owners = std::mem::take(&mut self.owners);
        let (gone, stay): (BTreeMap<_, _>, _) =
            owners.into_iter().partition(|(_, owner)| *owner == context);
        self.owners = stay;
        for (handle, _) in gone {
            self.streams.remove(&handle);
            self.queues.remove(&handle);
            self.events.remove(&handle);
            self.modules.remove(&handle);
            self.pinned.remove(&handle);
            if let Some(bytes) = self.memory.remove(&(handle as u64)) {
                calls::free(handle as u64, bytes);
            }
        }
    }

    /// Runs the queues as far as a mark needs.
    fn run(&mut self, mark: usize) {
        let is_it = |op: &Op| matches!(op, Op::Record(other) if *other == mark);
        let stream = self
            .queues
            .iter()
            .find(|(_, queue)| queue.iter().any(is_it));
        let Some(stream) = stream.map(|(stream, _)| *stream) else {
            return;
        };
        while let Some(op) = self.queues.get_mut(&stream).and_then(VecDeque::pop_front) {
            let is_last = is_it(&op);
            self.perform(op);
            if is_last {
                return;
            }
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Copy { from, to, bytes } => copy(from, to, bytes),
            Op::Cross { from, to, bytes } => {
                copy(from, to, bytes);
                self.launches.push(("across".to_owned(), bytes));
            }
            Op::Launch { name, count, items } => {
                // SAFETY: the caller of a launch promises that its items are there until the stream has done it.
                let items =
                    unsafe { std::slice::from_raw_parts(address::<Item>(items as usize), count) };
                for item in items {
                    device::launched(&name, item);
                }
                self.launches.push((name, count));
            }
            Op::Call(name, count, run) => {
                run();
                self.launches.push((name.to_owned(), count));
            }
            Op::Record(mark) => {
                self.marks_done.insert(mark);
            }
            Op::Wait(mark) => self.run(mark),
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
