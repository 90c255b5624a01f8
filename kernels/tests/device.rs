//! The device kernels without a device: each `cu/*.cu` is compiled as ordinary C++ and run by `tests/host/main.cpp`, one thread
//! after the other, and what it leaves in memory is compared with `kernels::reference`, byte for byte.
//!
//! - `host`    compiles a kernel once and launches it
//! - `memory`  the memory of a launch: pictures with padding around them, all of it poisoned
//! - `filters` the built-in filters
//! - `tensors` pictures to tensors and back
//! - `pictures` renditions, overlay and likeness
//! - `layout`  `item.rs` and `item.cuh` agree field by field
//!
//! A C++ compiler (`CXX`, else `c++`) is what building Millstream needs anyway, so its absence is a failure.
#![forbid(unsafe_code)]

#[path = "device/filters.rs"]
mod filters;
#[path = "device/host.rs"]
mod host;
#[path = "device/layout.rs"]
mod layout;
#[path = "device/memory.rs"]
mod memory;
#[path = "device/pictures.rs"]
mod pictures;
#[path = "device/tensors.rs"]
mod tensors;
