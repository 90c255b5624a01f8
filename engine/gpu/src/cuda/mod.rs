//! An NVIDIA device as a backend, found at run time.
//!
//! ```text
//!   Open: Cuda --open, on the lane's thread--> CudaBackend: a context, a stream, a pool, kernels
//!
//!   bitstream -> decoder -> Surface -> kernels, one launch a kind for the whole batch -> Surface -> encoder -> bitstream
//!                              NV12 in device memory throughout
//! ```
//!
//! | file | what |
//! |---|---|
//! | `driver`, `calls`, `status` | the library, its calls, what their errors mean |
//! | `context`, `stream`, `memory` | the device's things, each given back when dropped; the rules of doing so are in `context` |
//! | `pool`, `surface`, `staging`, `nv12` | memory that is used again, pictures in it, and their way to the host and back |
//! | `shared` | what all parts of one backend hold |

mod calls;
mod context;
mod driver;
mod memory;
mod nv12;
mod pool;
mod shared;
mod staging;
mod status;
mod stream;
mod surface;

pub use calls::Status;
pub use context::Context;
pub use driver::Driver;
pub use memory::{Pinned, Region};
pub use stream::{Event, Stream};
pub use surface::Surface;
