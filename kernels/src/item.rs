//! What every device kernel is handed: an array of [`Item`]s, one a picture, each of any session.
//!
//! `cu/item.cuh` is the same, field by field; a test holds the two together. An address is a number here: this crate
//! knows no device, and whoever launches says what the addresses mean and keeps what they point to alive.

mod filter;
mod picture;
mod tensor;

pub use tensor::Precision;

pub use filter::{SCRATCH_ALIGN, of, plan, scratch_bytes};

/// One NV12 picture: luma rows, then rows of U and V in turn at half size both ways, rounded up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// Address of the first luma byte.
    pub y: u64,
    /// Address of the first chroma pair.
    pub uv: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from a luma row to the next.
    pub y_stride: u32,
    /// Bytes from a chroma row to the next.
    pub uv_stride: u32,
    /// 0: luma 16 to 235, chroma 16 to 240; 1: all of 0 to 255.
    pub full_range: u32,
    /// 0: not said; 1: BT.601; 2: BT.709; 3: BT.2020.
    pub matrix: u32,
}

/// One picture's work. Which fields a kernel reads is said where its item is made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Item {
    /// The picture that is read.
    pub src: Surface,
    /// The picture that is written.
    pub dst: Surface,
    /// Address of a tensor, an alpha plane or a sum.
    pub aux: u64,
    /// Address of memory of its own.
    pub scratch: u64,
    /// Whole-number parameters.
    pub ints: [i32; 12],
    /// Parameters with a fraction.
    pub floats: [f32; 12],
}

/// Items that one launch may hold: `blockIdx.z` goes to 65,535, and no lane gathers nearly as many.
pub const ITEMS_MAX: usize = 1024;

const _: () = {
    assert!(size_of::<Surface>() == 40);
    assert!(size_of::<Item>() == 2 * 40 + 2 * 8 + 24 * 4);
    assert!(align_of::<Item>() == 8);
};
