//! The calls of the fake driver: what the real ones do, as far as anyone here can tell, and checks of what they are asked.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use cudarc::driver::sys::{
    CUDA_MEMCPY2D_st, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUmodule, CUstream,
};
use kernels::Kernel;

use super::super::calls::{Calls, Status};
use super::super::status::{NOT_READY, OUT_OF_MEMORY, SUCCESS};
use super::{MEMORY_BYTES, Op, address, copy, with};

pub(super) const CALLS: Calls = Calls {
    init,
    driver_get_version,
    get_error_name,
    device_get_count,
    device_get,
    device_get_name,
    device_get_attribute,
    device_get_pci_bus_id,
    device_total_mem,
    device_primary_ctx_set_flags,
    device_primary_ctx_retain,
    device_primary_ctx_release,
    device_primary_ctx_reset,
    ctx_create,
    ctx_destroy,
    ctx_set_current,
    ctx_pop_current,
    mem_get_info,
    stream_create,
    stream_destroy,
    stream_wait_event,
    event_create,
    event_destroy,
    event_record,
    event_query,
    event_elapsed_time,
    mem_alloc,
    mem_free,
    mem_host_register,
    mem_host_unregister,
    memcpy_htod_async,
    memcpy_dtoh_async,
    memcpy_peer_async,
    memcpy_2d_async,
    module_load_data,
    module_unload,
    module_get_function,
    launch_kernel,
};

/// Writes where a call is asked to.
fn put<T>(to: *mut T, value: T) -> Status {
    // SAFETY: every caller hands in the address of a place of this type.
    unsafe { to.write(value) };
    SUCCESS
}

fn text(to: *mut c_char, length: c_int, value: &CStr) -> Status {
    let bytes = value.to_bytes_with_nul();
    assert!(bytes.len() <= length as usize);
    copy(bytes.as_ptr() as usize, to as usize, bytes.len());
    SUCCESS
}

unsafe extern "C" fn init(flags: c_uint) -> Status {
    flags
}

unsafe extern "C" fn driver_get_version(to: *mut c_int) -> Status {
    put(to, 12_040)
}

unsafe extern "C" fn get_error_name(_: Status, to: *mut *const c_char) -> Status {
    put(to, c"CUDA_ERROR_OF_THE_FUTURE".as_ptr())
}

unsafe extern "C" fn device_get_count(to: *mut c_int) -> Status {
    put(to, 1)
}

unsafe extern "C" fn device_get(to: *mut CUdevice, ordinal: c_int) -> Status {
    if ordinal == 0 { put(to, 0) } else { 101 }
}

unsafe extern "C" fn device_get_name(to: *mut c_char, length: c_int, _: CUdevice) -> Status {
    text(to, length, c"NVIDIA Fake")
}

unsafe extern "C" fn device_get_attribute(to: *mut c_int, which: c_uint, _: CUdevice) -> Status {
    put(to, if which == 75 { 8 } else { 9 })
}

unsafe extern "C" fn device_get_pci_bus_id(to: *mut c_char, length: c_int, _: CUdevice) -> Status {
    text(to, length, c"0000:65:00.0")
}

unsafe extern "C" fn device_total_mem(to: *mut usize, _: CUdevice) -> Status {
    put(to, MEMORY_BYTES)
}

unsafe extern "C" fn ctx_create(to: *mut CUcontext, _: c_uint, _: CUdevice) -> Status {
    with(|state| {
        // A new context has nothing of another one's fault.
        match state.enter("create") {
            SUCCESS => {
                let context = state.handle();
                state.contexts.insert(context);
                state.current = context;
                put(to, address(context))
            }
            status => status,
        }
    })
}

unsafe extern "C" fn ctx_destroy(context: CUcontext) -> Status {
    with(|state| {
        let context = context as usize;
        assert!(state.contexts.remove(&context), "destroyed once");
        let poison = state.poison.remove(&context);
        if poison.is_some() {
            // All of it goes with the context.
            state.clear(context);
        }
        poison.unwrap_or(SUCCESS)
    })
}

unsafe extern "C" fn device_primary_ctx_set_flags(_: CUdevice, flags: c_uint) -> Status {
    assert_eq!(flags, 4, "a thread that waits sleeps");
    with(|state| if state.primary == 0 { SUCCESS } else { 708 })
}

unsafe extern "C" fn device_primary_ctx_retain(to: *mut CUcontext, _: CUdevice) -> Status {
    with(|state| {
        if let Some(status) = state.plant.remove("device_primary_ctx_retain") {
            return status;
        }
        if state.primary == 0 {
            state.primary = state.handle();
            state.contexts.insert(state.primary);
        }
        state.primary_users += 1;
        put(to, address(state.primary))
    })
}

unsafe extern "C" fn device_primary_ctx_release(_: CUdevice) -> Status {
    with(|state| {
        state.primary_users -= 1;
        if state.primary_users == 0 && !state.poison.contains_key(&state.primary) {
            let context = std::mem::take(&mut state.primary);
            let mut left = state.owners.values();
            assert!(left.all(|owner| *owner != context), "all was given back");
            state.contexts.remove(&context);
        }
        SUCCESS
    })
}

/// What is lost stays lost until this, whoever lets go of it, as where a library holds the context for itself.
unsafe extern "C" fn device_primary_ctx_reset(_: CUdevice) -> Status {
    with(|state| {
        assert_eq!(state.primary_users, 0, "nobody has anything there");
        let context = std::mem::take(&mut state.primary);
        state.contexts.remove(&context);
        state.poison.remove(&context);
        state.clear(context);
        state.primary_resets += 1;
        SUCCESS
    })
}

unsafe extern "C" fn ctx_set_current(context: CUcontext) -> Status {
    with(|state| {
        state.current = context as usize;
        // As the real one: it does not look at what the context has come to.
        if state.contexts.contains(&state.current) {
            SUCCESS
        } else {
            709
        }
    })
}

unsafe extern "C" fn ctx_pop_current(to: *mut CUcontext) -> Status {
    put(
        to,
        address(with(|state| std::mem::take(&mut state.current))),
    )
}

unsafe extern "C" fn mem_get_info(free: *mut usize, total: *mut usize) -> Status {
    let (status, used) = with(|state| {
        (
            state.enter("mem_get_info"),
            state.memory.values().sum::<usize>(),
        )
    });
    put(free, MEMORY_BYTES - used);
    put(total, MEMORY_BYTES);
    status
}

unsafe extern "C" fn stream_create(to: *mut CUstream, flags: c_uint) -> Status {
    assert_eq!(flags, 1, "it does not wait for the default stream");
    with(|state| match state.enter("stream_create") {
        SUCCESS => {
            let stream = state.owned();
            state.streams.insert(stream);
            put(to, address(stream))
        }
        status => status,
    })
}

unsafe extern "C" fn stream_destroy(stream: CUstream) -> Status {
    with(|state| {
        let status = state.leave("stream_destroy");
        assert!(state.streams.remove(&(stream as usize)));
        state.owners.remove(&(stream as usize));
        status
    })
}

unsafe extern "C" fn stream_wait_event(stream: CUstream, event: CUevent, _: c_uint) -> Status {
    with(|state| {
        // The event may be of another context, and the stream may not.
        assert_eq!(state.owner(stream as usize), state.current);
        let mark = state.events[&(event as usize)];
        let status = state.enter("stream_wait_event");
        if status == SUCCESS && !state.marks_done.contains(&mark) {
            state.put(stream as usize, Op::Wait(mark));
        }
        status
    })
}

unsafe extern "C" fn event_create(to: *mut CUevent, _: c_uint) -> Status {
    with(|state| match state.enter("event_create") {
        SUCCESS => {
            let event = state.owned();
            state.events.insert(event, 0);
            put(to, address(event))
        }
        status => status,
    })
}

unsafe extern "C" fn event_destroy(event: CUevent) -> Status {
    with(|state| {
        let status = state.leave("event_destroy");
        assert!(state.events.remove(&(event as usize)).is_some());
        state.owners.remove(&(event as usize));
        status
    })
}

unsafe extern "C" fn event_record(event: CUevent, stream: CUstream) -> Status {
    with(|state| {
        let (event, stream) = (event as usize, stream as usize);
        assert!(state.events.contains_key(&event));
        let owners = (state.owner(event), state.owner(stream));
        assert_eq!(owners, (state.current, state.current));
        let status = state.enter("event_record");
        if status == SUCCESS {
            state.marks += 1;
            let mark = state.marks;
            state.events.insert(event, mark);
            state.put(stream, Op::Record(mark));
        }
        status
    })
}

unsafe extern "C" fn event_query(event: CUevent) -> Status {
    with(|state| {
        let status = state.enter("event_query");
        if status != SUCCESS {
            return status;
        }
        if state.is_done(event as usize) {
            return SUCCESS;
        }
        if state.hangs {
            return NOT_READY;
        }
        if state.lag > 0 {
            state.lag -= 1;
            return NOT_READY;
        }
        state.run(state.events[&(event as usize)]);
        SUCCESS
    })
}

unsafe extern "C" fn event_elapsed_time(to: *mut f32, from: CUevent, event: CUevent) -> Status {
    with(|state| {
        assert!(
            state.is_done(from as usize) && state.is_done(event as usize),
            "both are done"
        );
        put(to, state.elapsed_ms)
    })
}

unsafe extern "C" fn mem_alloc(to: *mut CUdeviceptr, bytes: usize) -> Status {
    with(|state| {
        let status = state.enter("mem_alloc");
        let used: usize = state.memory.values().sum();
        if status != SUCCESS || used + bytes > MEMORY_BYTES {
            return if status == SUCCESS {
                OUT_OF_MEMORY
            } else {
                status
            };
        }
        // SAFETY: no size that is asked for is zero.
        let at = unsafe { alloc(Layout::from_size_align(bytes, 256).unwrap()) }.expose_provenance()
            as u64;
        state.memory.insert(at, bytes);
        state.owners.insert(at as usize, state.current);
        put(to, at)
    })
}

pub(super) fn free(at: u64, bytes: usize) {
    // SAFETY: it was allocated with this layout, and is taken out of the table once.
    unsafe {
        dealloc(
            address(at as usize),
            Layout::from_size_align(bytes, 256).unwrap(),
        )
    }
}

unsafe extern "C" fn mem_free(at: CUdeviceptr) -> Status {
    with(|state| {
        let status = state.leave("mem_free");
        let bytes = state.memory.remove(&at).expect("freed once");
        let context = state.owners.remove(&(at as usize)).unwrap();
        assert_eq!(context, state.current);
        let span = at as usize..at as usize + bytes;
        assert!(
            !state.is_in_use(context, span),
            "the device is done with it"
        );
        free(at, bytes);
        status
    })
}

unsafe extern "C" fn mem_host_register(at: *mut c_void, bytes: usize, flags: c_uint) -> Status {
    assert_eq!((at as usize % 4096, bytes % 4096, flags), (0, 0, 1));
    at.expose_provenance();
    with(|state| {
        let status = state.enter("mem_host_register");
        if status == SUCCESS {
            assert!(state.pinned.insert(at as usize));
            state.owners.insert(at as usize, state.current);
        }
        status
    })
}

unsafe extern "C" fn mem_host_unregister(at: *mut c_void) -> Status {
    with(|state| {
        let status = state.leave("mem_host_unregister");
        if status == SUCCESS {
            assert!(state.pinned.remove(&(at as usize)));
            state.owners.remove(&(at as usize));
        }
        status
    })
}

fn enqueue(call: &'static str, stream: CUstream, op: Op) -> Status {
    with(|state| {
        assert_eq!(state.owner(stream as usize), state.current);
        let status = state.enter(call);
        if status == SUCCESS {
            state.put(stream as usize, op);
        }
        status
    })
}

unsafe extern "C" fn memcpy_htod_async(
    to: CUdeviceptr,
    from: *const c_void,
    bytes: usize,
    stream: CUstream,
) -> Status {
    let from = from.expose_provenance();
    enqueue(
        "memcpy_htod_async",
        stream,
        Op::Copy {
            from,
            to: to as usize,
            bytes,
        },
    )
}

unsafe extern "C" fn memcpy_dtoh_async(
    to: *mut c_void,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Status {
    let to = to.expose_provenance();
    enqueue(
        "memcpy_dtoh_async",
        stream,
        Op::Copy {
            from: from as usize,
            to,
            bytes,
        },
    )
}

unsafe extern "C" fn memcpy_peer_async(
    to: CUdeviceptr,
    to_context: CUcontext,
    from: CUdeviceptr,
    from_context: CUcontext,
    bytes: usize,
    stream: CUstream,
) -> Status {
    let (from, to) = (from as usize, to as usize);
    let contexts = (from_context as usize, to_context as usize);
    with(|state| {
        assert_eq!((state.owner(from), state.owner(to)), contexts);
        state.crossed.push((contexts.0, contexts.1, bytes));
    });
    enqueue("memcpy_peer_async", stream, Op::Cross { from, to, bytes })
}

unsafe extern "C" fn memcpy_2d_async(_: *const CUDA_MEMCPY2D_st, _: CUstream) -> Status {
    801
}

unsafe extern "C" fn module_load_data(
    to: *mut CUmodule,
    image: *const c_void,
    options: c_uint,
    _: *mut c_uint,
    values: *mut *mut c_void,
) -> Status {
    assert_eq!(options, 2);
    // SAFETY: PTX is text that ends in a NUL.
    let ptx = unsafe { CStr::from_ptr(image.cast()) };
    assert!(
        Kernel::ALL
            .iter()
            .any(|kernel| kernel.ptx().as_bytes() == ptx.to_bytes())
    );
    with(|state| match state.enter("module_load_data") {
        SUCCESS => {
            let module = state.owned();
            state.modules.insert(module);
            put(to, address(module))
        }
        status => {
            // SAFETY: the first value is the log buffer.
            let log = unsafe { *values };
            text(log.cast(), 64, c"\nptxas fatal: not today\nand more");
            status
        }
    })
}

unsafe extern "C" fn module_unload(module: CUmodule) -> Status {
    with(|state| {
        let status = state.leave("module_unload");
        assert!(state.modules.remove(&(module as usize)));
        state.owners.remove(&(module as usize));
        status
    })
}

unsafe extern "C" fn module_get_function(
    to: *mut CUfunction,
    module: CUmodule,
    name: *const c_char,
) -> Status {
    // SAFETY: a name is text that ends in a NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_str().unwrap().to_owned();
    with(|state| {
        assert!(state.modules.contains(&(module as usize)));
        let function = state.handle();
        state.functions.insert(function, name);
        put(to, address(function))
    })
}

unsafe extern "C" fn launch_kernel(
    function: CUfunction,
    x: c_uint,
    y: c_uint,
    z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    stream: CUstream,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    assert!(
        [x, y, z, threads_x, threads_y, threads_z]
            .iter()
            .all(|&side| side > 0)
    );
    assert!(shared == 0 && extra.is_null());
    // SAFETY: there is one argument, of 64 bits.
    let argument = unsafe { arguments.read() };
    // SAFETY: as above.
    let items = unsafe { argument.cast::<u64>().read() };
    let name = with(|state| state.functions[&(function as usize)].clone());
    let count = z as usize;
    enqueue("launch_kernel", stream, Op::Launch { name, count, items })
}
