//! The driver's calls that are used here, as a table of addresses.
//!
//! `cudarc` finds the library and names the types; its own calls are not used, for two reasons. They give the status as a Rust
//! enum, and a status that a newer driver has and the enum has not would be undefined behaviour: here a [`Status`] is a number.
//! And they look a symbol up at its first use and panic when it is missing: here all are looked up at once, and a driver that
//! lacks one is refused with the symbol's name.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{c_char, c_int, c_uint, c_void};

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUmodule, CUstream,
};

/// What a driver call gives back: 0 is success. The others are in `status`.
pub type Status = u32;

macro_rules! calls {
    ($($field:ident = $symbol:literal($($argument:ty),*);)*) => {
        /// The calls. Each is as unsafe as the C function that it is; NVIDIA's driver API manual says what each asks for.
        #[derive(Clone, Copy)]
        pub(super) struct Calls {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Calls {
            /// Looks every call up in the driver's library.
            ///
            /// # Errors
            /// The first symbol that it lacks.
            ///
            /// # Panics
            /// When there is no library: ask [`sys::is_culib_present`] first.
            pub(super) fn load() -> Result<Self, &'static str> {
                // SAFETY: loading runs the library's initialisers, which those of NVIDIA's driver expect of any process. The
                // library is never unloaded, so what is looked up in it stays.
                let library = unsafe { sys::culib() };
                Ok(Self {
                    $($field: {
                        // SAFETY: the types are those that the driver's header gives the function of this name, except that
                        // the enums it returns are read as the unsigned int that they are.
                        let found = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) -> Status>($symbol.as_bytes())
                        };
                        *found.map_err(|_| $symbol)?
                    },)*
                })
            }
        }
    };
}

calls! {
    init = "cuInit"(c_uint);
    driver_get_version = "cuDriverGetVersion"(*mut c_int);
    get_error_name = "cuGetErrorName"(Status, *mut *const c_char);

    device_get_count = "cuDeviceGetCount"(*mut c_int);
    device_get = "cuDeviceGet"(*mut CUdevice, c_int);
    device_get_name = "cuDeviceGetName"(*mut c_char, c_int, CUdevice);
    device_get_attribute = "cuDeviceGetAttribute"(*mut c_int, c_uint, CUdevice);
    device_get_pci_bus_id = "cuDeviceGetPCIBusId"(*mut c_char, c_int, CUdevice);
    device_total_mem = "cuDeviceTotalMem_v2"(*mut usize, CUdevice);

    device_primary_ctx_set_flags = "cuDevicePrimaryCtxSetFlags_v2"(CUdevice, c_uint);
    device_primary_ctx_retain = "cuDevicePrimaryCtxRetain"(*mut CUcontext, CUdevice);
    device_primary_ctx_release = "cuDevicePrimaryCtxRelease_v2"(CUdevice);
    device_primary_ctx_reset = "cuDevicePrimaryCtxReset_v2"(CUdevice);

    ctx_create = "cuCtxCreate_v2"(*mut CUcontext, c_uint, CUdevice);
    ctx_destroy = "cuCtxDestroy_v2"(CUcontext);
    ctx_set_current = "cuCtxSetCurrent"(CUcontext);
    ctx_pop_current = "cuCtxPopCurrent_v2"(*mut CUcontext);
    mem_get_info = "cuMemGetInfo_v2"(*mut usize, *mut usize);

    stream_create = "cuStreamCreate"(*mut CUstream, c_uint);
    stream_destroy = "cuStreamDestroy_v2"(CUstream);
    stream_wait_event = "cuStreamWaitEvent"(CUstream, CUevent, c_uint);
    event_create = "cuEventCreate"(*mut CUevent, c_uint);
    event_destroy = "cuEventDestroy_v2"(CUevent);
    event_record = "cuEventRecord"(CUevent, CUstream);
    event_query = "cuEventQuery"(CUevent);
    event_elapsed_time = "cuEventElapsedTime"(*mut f32, CUevent, CUevent);

    mem_alloc = "cuMemAlloc_v2"(*mut CUdeviceptr, usize);
    mem_free = "cuMemFree_v2"(CUdeviceptr);
    mem_host_register = "cuMemHostRegister_v2"(*mut c_void, usize, c_uint);
    mem_host_unregister = "cuMemHostUnregister"(*mut c_void);
    memcpy_htod_async = "cuMemcpyHtoDAsync_v2"(CUdeviceptr, *const c_void, usize, CUstream);
    memcpy_dtoh_async = "cuMemcpyDtoHAsync_v2"(*mut c_void, CUdeviceptr, usize, CUstream);
    memcpy_peer_async = "cuMemcpyPeerAsync"(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, usize, CUstream);
    memcpy_2d_async = "cuMemcpy2DAsync_v2"(*const sys::CUDA_MEMCPY2D_st, CUstream);

    module_load_data = "cuModuleLoadDataEx"(*mut CUmodule, *const c_void, c_uint, *mut c_uint, *mut *mut c_void);
    module_unload = "cuModuleUnload"(CUmodule);
    module_get_function = "cuModuleGetFunction"(*mut CUfunction, CUmodule, *const c_char);
    launch_kernel = "cuLaunchKernel"(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
    );
}
