//! The kernels of the fake device: the reference's, on pictures and tensors that lie in host memory.

use kernels::reference::tensor::{self, Crop, FromTensor, ToTensor};
use kernels::{Filter, Frame, Item, Matrix, Range, Scratch, Surface, item, reference};

use super::super::nv12;
use super::{address, copy};

/// What a kernel does to an item, by the reference.
pub(super) fn launched(name: &str, item: &Item) {
    let filter = match name {
        "to_tensor" => return to_tensor(item),
        "from_tensor" => return from_tensor(item),
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
    assert_eq!(
        (item.dst.full_range, item.dst.matrix),
        (item.src.full_range, item.src.matrix)
    );
    let (src, mut dst) = (read(&item.src), Frame::default());
    reference::apply(filter, &src, &mut dst, &mut Scratch::new());
    write(&dst, &item.dst);
}

fn to_tensor(item: &Item) {
    let [x, y, width, height] = [0, 1, 2, 3].map(|n| item.ints[n] as usize);
    let spec = ToTensor {
        crop: Crop {
            x,
            y,
            width,
            height,
        },
        width: item.dst.width as usize,
        height: item.dst.height as usize,
        mean: [0, 1, 2].map(|n| item.floats[n]),
        scale: [3, 4, 5].map(|n| item.floats[n]),
    };
    let numbers = 3 * spec.width * spec.height;
    let (src, scratch) = (read(&item.src), &mut Scratch::new());
    match item.ints[4] {
        0 => tensor::to_tensor_f32(&src, &spec, numbers_at(item.aux, numbers), scratch),
        _ => tensor::to_tensor_f16(&src, &spec, numbers_at(item.aux, numbers), scratch),
    }
    .unwrap();
}

fn from_tensor(item: &Item) {
    let spec = FromTensor {
        width: item.dst.width as usize,
        height: item.dst.height as usize,
        mean: [0, 1, 2].map(|n| item.floats[n]),
        scale: [3, 4, 5].map(|n| item.floats[n]),
    };
    let numbers = 3 * spec.width * spec.height;
    // Of the right range and matrix; its pixels are written over.
    let (mut dst, scratch) = (read(&item.dst), &mut Scratch::new());
    match item.ints[0] {
        0 => tensor::from_tensor_f32(numbers_at(item.aux, numbers), &spec, &mut dst, scratch),
        _ => tensor::from_tensor_f16(numbers_at(item.aux, numbers), &spec, &mut dst, scratch),
    }
    .unwrap();
    write(&dst, &item.dst);
}

fn numbers_at<T>(at: u64, count: usize) -> &'static mut [T] {
    // SAFETY: the caller of a launch promises that the item's tensor is there and nobody else's; it is used within this call.
    unsafe { std::slice::from_raw_parts_mut(address(at as usize), count) }
}

fn read(surface: &Surface) -> Frame {
    let layout = layout(surface);
    // SAFETY: a surface is one block of its layout's size.
    let from = unsafe { std::slice::from_raw_parts(address(surface.y as usize), layout.bytes()) };
    let range = [Range::Limited, Range::Full][surface.full_range as usize];
    let matrices = [
        Matrix::Unspecified,
        Matrix::Bt601,
        Matrix::Bt709,
        Matrix::Bt2020,
    ];
    let mut frame = Frame::default();
    let matrix = matrices[surface.matrix as usize];
    nv12::to_frame(from, layout, range, matrix, &mut frame);
    frame
}

fn write(frame: &Frame, surface: &Surface) {
    let layout = layout(surface);
    // SAFETY: as above, and no other item writes this block.
    let to = unsafe { std::slice::from_raw_parts_mut(address(surface.y as usize), layout.bytes()) };
    nv12::from_frame(frame, layout, to);
}

fn layout(surface: &Surface) -> nv12::Layout {
    let layout = nv12::Layout::new(surface.width as usize, surface.height as usize).unwrap();
    assert_eq!(surface.uv - surface.y, layout.luma_bytes() as u64);
    assert_eq!(surface.y_stride as usize, layout.pitch());
    layout
}

fn same(filter: Filter, item: &Item) -> bool {
    item::of(filter, item.src, item.dst, 0).ints == item.ints
}
