//! A decoded picture's way from the engine's memory into ours: two copies within the device, cropped.
#![allow(unsafe_code, reason = "the driver is a C library")]

use cudarc::driver::sys::{CUDA_MEMCPY2D_st, CUmemorytype};

use super::nvdec_chip::Mapped;
use super::shared::{Shared, Stage};
use super::stream::Event;
use super::surface::Surface;
use crate::fault::Fault;

/// One rectangle of bytes, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) from: u64,
    pub(super) from_pitch: usize,
    pub(super) to: u64,
    pub(super) to_pitch: usize,
    pub(super) width_bytes: usize,
    pub(super) rows: usize,
}

/// Puts the copy of a mapped picture into the stream. The event is done when the copy is.
pub(super) fn copy(shared: &Shared, from: &Mapped) -> Result<(Surface, Event), Fault> {
    let look = from.look;
    let (width, height) = (look.width as usize, look.height as usize);
    let surface = shared
        .pool
        .surface(width, height, look.range, look.matrix)?;
    let mark = Event::new(&shared.context)?;
    let to = surface.nv12().ok_or(Fault::Failed {
        call: "a surface",
        name: "no memory behind it",
    })?;
    let span = shared.measure(Stage::Decode)?;
    for rectangle in rectangles(from, &to) {
        // SAFETY: the source is mapped until the mark below is done (`nvdec_chip`), and the surface is of this stream's pool.
        unsafe { put(shared, rectangle) }?;
    }
    shared.measured(span)?;
    mark.record(&shared.stream)?;
    Ok((surface, mark))
}

/// Luma, then chroma: what is shown of a picture whose chroma rows follow its luma rows.
fn rectangles(from: &Mapped, to: &kernels::Surface) -> [Rectangle; 2] {
    let (left, top) = (u64::from(from.look.left), u64::from(from.look.top));
    let pitch = u64::from(from.pitch);
    let (width, height) = (to.width as usize, to.height as usize);
    let luma = Rectangle {
        from: from.address + top * pitch + left,
        from_pitch: from.pitch as usize,
        to: to.y,
        to_pitch: to.y_stride as usize,
        width_bytes: width,
        rows: height,
    };
    // A pair is two bytes wide and stands for two columns; cropping is by whole pairs in every codec but on the far sides.
    let chroma = Rectangle {
        from: from.address + (u64::from(from.rows) + top / 2) * pitch + (left & !1),
        to: to.uv,
        to_pitch: to.uv_stride as usize,
        width_bytes: 2 * width.div_ceil(2),
        rows: height.div_ceil(2),
        ..luma
    };
    [luma, chroma]
}

/// Puts one copy within the device into the stream.
///
/// # Safety
/// Both spans are of the context, and nothing else writes them until the stream has done it.
pub(super) unsafe fn put(shared: &Shared, rectangle: Rectangle) -> Result<(), Fault> {
    let how = CUDA_MEMCPY2D_st {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcHost: std::ptr::null(),
        srcDevice: rectangle.from,
        srcArray: std::ptr::null_mut(),
        srcPitch: rectangle.from_pitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstHost: std::ptr::null_mut(),
        dstDevice: rectangle.to,
        dstArray: std::ptr::null_mut(),
        dstPitch: rectangle.to_pitch,
        WidthInBytes: rectangle.width_bytes,
        Height: rectangle.rows,
    };
    shared.context.call("cuMemcpy2DAsync", |calls| {
        // SAFETY: as the caller promises; the structure is read before the call returns.
        unsafe { (calls.memcpy_2d_async)(&how, shared.stream.raw()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::nvdec_chip::Look;
    use kernels::{Matrix, Range};

    #[test]
    fn what_is_copied_of_a_cropped_picture() {
        let mapped = |left, top, width, height| Mapped {
            address: 1 << 20,
            pitch: 2048,
            rows: 1088,
            look: Look {
                left,
                top,
                width,
                height,
                range: Range::Limited,
                matrix: Matrix::Bt709,
            },
        };
        let to = |width, height| kernels::Surface {
            y: 4096,
            uv: 9_000_000,
            width,
            height,
            y_stride: 2048,
            uv_stride: 2048,
            ..kernels::Surface::default()
        };
        let [luma, chroma] = rectangles(&mapped(0, 0, 1920, 1080), &to(1920, 1080));
        assert_eq!((luma.from, luma.to), (1 << 20, 4096));
        assert_eq!((luma.width_bytes, luma.rows), (1920, 1080));
        assert_eq!(
            (chroma.from, chroma.to),
            ((1 << 20) + 1088 * 2048, 9_000_000)
        );
        assert_eq!((chroma.width_bytes, chroma.rows), (1920, 540));
        // Cropped at the near sides, and odd at the far ones.
        let [luma, chroma] = rectangles(&mapped(6, 4, 321, 179), &to(321, 179));
        assert_eq!(luma.from, (1 << 20) + 4 * 2048 + 6);
        assert_eq!(chroma.from, (1 << 20) + (1088 + 2) * 2048 + 6);
        assert_eq!((luma.width_bytes, luma.rows), (321, 179));
        assert_eq!((chroma.width_bytes, chroma.rows), (322, 90));
    }
}
