//! `to_tensor` and `from_tensor` against their twins: every bit of every float and of every half.

use kernels::item::Precision;
use kernels::reference::tensor::{
    Crop, FromTensor, ToTensor, from_tensor_f16, from_tensor_f32, to_tensor_f16, to_tensor_f32,
};
use kernels::{Frame, Item, Kernel, Matrix, Scratch};

use crate::filters::{PLACES, SIZES, noise};
use crate::host::{How, launch};
use crate::memory::Memory;

const PRECISIONS: [Precision; 2] = [Precision::Single, Precision::Half];

const MATRICES: [Matrix; 4] = [
    Matrix::Unspecified,
    Matrix::Bt601,
    Matrix::Bt709,
    Matrix::Bt2020,
];

#[test]
fn a_tensor_at_every_size_in_every_block() {
    let mut memory = Memory::new(0xa5);
    let (mut items, mut surfaces, mut results) = (vec![], vec![], vec![]);
    let mut scratch = Scratch::new();
    for (n, (width, height)) in sizes().enumerate() {
        let mut frame = noise(width, height, n as u64, n % 3 == 0);
        frame.matrix = MATRICES[n % 4];
        let src = memory.surface(&frame, PLACES[n % PLACES.len()]);
        memory.put(&src, &frame);
        for spec in specs(&frame, n) {
            for precision in PRECISIONS {
                let count = 3 * spec.width * spec.height;
                let tensor = memory.reserve(count * precision.bytes(), 0);
                items.push(Item::to_tensor(src, &spec, precision, tensor).unwrap());
                results.push((tensor, to_tensor(&frame, &spec, precision, &mut scratch)));
            }
        }
        surfaces.push(src);
    }
    let mut expected = memory.clone();
    for (at, bytes) in results {
        expected.bytes[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    for how in ways() {
        let mut got = memory.clone();
        launch(Kernel::ToTensor, &items, &mut got.bytes, how);
        assert_eq!(got.difference(&expected, &surfaces), None, "{how:?}");
    }
}

#[test]
fn a_picture_at_every_size_in_every_block() {
    let mut memory = Memory::new(0x5a);
    let (mut items, mut surfaces, mut results) = (vec![], vec![], vec![]);
    let mut scratch = Scratch::new();
    for (n, (width, height)) in sizes().enumerate() {
        let tensor = numbers(3 * width * height, n as u64);
        let spec = FromTensor {
            width,
            height,
            mean: [0.485, 0.0, -0.3],
            scale: [0.229, 1.0, 1.7],
        };
        for precision in PRECISIONS {
            let bytes = bytes(&tensor, precision);
            let at = memory.reserve(bytes.len(), 0);
            memory.bytes[at as usize..][..bytes.len()].copy_from_slice(&bytes);
            let mut result = noise(width, height, n as u64, false);
            result.matrix = MATRICES[n / 2 % 4];
            let dst = memory.surface(&result, PLACES[n % PLACES.len()]);
            items.push(Item::from_tensor(at, &spec, precision, dst).unwrap());
            surfaces.push(dst);
            match precision {
                Precision::Single => from_tensor_f32(&tensor, &spec, &mut result, &mut scratch),
                Precision::Half => {
                    from_tensor_f16(&halves(&tensor), &spec, &mut result, &mut scratch)
                }
            }
            .unwrap();
            results.push((dst, result));
        }
    }
    let mut expected = memory.clone();
    for (dst, result) in &results {
        expected.put(dst, result);
    }
    for how in ways() {
        let mut got = memory.clone();
        launch(Kernel::FromTensor, &items, &mut got.bytes, how);
        assert_eq!(got.difference(&expected, &surfaces), None, "{how:?}");
    }
}

/// Every half in, through a normalisation that keeps its size, and numbers about every tie and end out.
#[test]
fn halves_are_converted_alike() {
    // Out: grey pictures of every level, and scales that bring them to subnormal, ordinary and infinite halves.
    let mut frame = noise(256, 2, 1, false);
    for mut plane in frame.planes_mut() {
        plane.fill(128);
    }
    for row in frame.planes_mut()[0].rows_mut() {
        for (value, p) in (0..=255).zip(row) {
            *p = value;
        }
    }
    let mut memory = Memory::new(0);
    let src = memory.surface(&frame, PLACES[0]);
    memory.put(&src, &frame);
    let (mut items, mut results) = (vec![], vec![]);
    for scale in [
        1e-9, 6e-8, 1e-6, 6.1e-5, 0.1, 1.0, 300.0, 65_519.0, 65_521.0, 1e30, -3e-8, -7e4,
    ] {
        let spec = ToTensor {
            crop: whole(&frame),
            width: 256,
            height: 2,
            mean: [0.0, 0.5, 1.0],
            scale: [scale; 3],
        };
        let at = memory.reserve(3 * 512 * 2, 0);
        items.push(Item::to_tensor(src, &spec, Precision::Half, at).unwrap());
        let bytes = to_tensor(&frame, &spec, Precision::Half, &mut Scratch::new());
        results.push((at, bytes));
    }
    let mut expected = memory.clone();
    for (at, bytes) in results {
        expected.bytes[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    launch(Kernel::ToTensor, &items, &mut memory.bytes, How::default());
    assert_eq!(memory.difference(&expected, &[src]), None);

    // In: all 65 536, at a scale that spreads the small ones over the levels and one that does so for the large.
    let (width, height) = (256, 256);
    let tensor: Vec<u16> = (0..3).flat_map(|_| 0..=u16::MAX).collect();
    let mut memory = Memory::new(0);
    let at = memory.reserve(2 * tensor.len(), 0);
    for (to, half) in memory.bytes[at as usize..].chunks_exact_mut(2).zip(&tensor) {
        to.copy_from_slice(&half.to_le_bytes());
    }
    let (mut items, mut surfaces, mut results) = (vec![], vec![], vec![]);
    for scale in [1.0, 8000.0, 1.0 / 65_504.0] {
        let spec = FromTensor {
            width,
            height,
            mean: [0.5; 3],
            scale: [scale, -scale, scale / 3.0],
        };
        let mut result = Frame::new(width, height).unwrap();
        let dst = memory.surface(&result, PLACES[0]);
        items.push(Item::from_tensor(at, &spec, Precision::Half, dst).unwrap());
        surfaces.push(dst);
        from_tensor_f16(&tensor, &spec, &mut result, &mut Scratch::new()).unwrap();
        results.push(result);
    }
    let mut expected = memory.clone();
    for (dst, result) in surfaces.iter().zip(&results) {
        expected.put(dst, result);
    }
    launch(
        Kernel::FromTensor,
        &items,
        &mut memory.bytes,
        How::default(),
    );
    assert_eq!(memory.difference(&expected, &surfaces), None);
}

// === what they are given ===

pub(crate) fn ways() -> [How; 4] {
    [None, Some([1, 1]), Some([32, 8]), Some([256, 1])].map(|threads| How {
        threads,
        is_backward: threads == Some([32, 8]),
    })
}

/// The common sizes without the largest, and one on either side of the lines at which an unsaid matrix changes.
fn sizes() -> impl Iterator<Item = (usize, usize)> {
    SIZES
        .into_iter()
        .filter(|size| size.0 < 600)
        .chain([(3, 719), (2, 720)])
}

/// All of the picture at its own size, at another, and a part of it that begins at an odd or even pixel.
fn specs(frame: &Frame, n: usize) -> [ToTensor; 3] {
    let all = whole(frame);
    let (x, y) = (n % 3 % all.width, n % 4 % all.height);
    let part = Crop {
        x,
        y,
        width: (all.width - x).div_ceil(1 + n % 2),
        height: (all.height - y).div_ceil(1 + n % 3),
    };
    let of = |crop, width, height| ToTensor {
        crop,
        width,
        height,
        mean: [0.485, 0.456, -0.1],
        scale: [1.0 / 0.229, 4.464_286, -1.0],
    };
    [
        of(all, all.width, all.height),
        of(all, 1 + n * 7, 1 + n * 5 % 31),
        of(part, part.width, 17),
    ]
}

fn whole(frame: &Frame) -> Crop {
    Crop {
        x: 0,
        y: 0,
        width: frame.width(),
        height: frame.height(),
    }
}

/// The twin's tensor as it lies in memory.
fn to_tensor(
    frame: &Frame,
    spec: &ToTensor,
    precision: Precision,
    scratch: &mut Scratch,
) -> Vec<u8> {
    let count = 3 * spec.width * spec.height;
    match precision {
        Precision::Single => {
            let mut out = vec![0.0; count];
            to_tensor_f32(frame, spec, &mut out, scratch).unwrap();
            bytes(&out, precision)
        }
        Precision::Half => {
            let mut out = vec![0; count];
            to_tensor_f16(frame, spec, &mut out, scratch).unwrap();
            out.into_iter().flat_map(u16::to_le_bytes).collect()
        }
    }
}

fn bytes(tensor: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::Single => tensor.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Precision::Half => halves(tensor)
            .into_iter()
            .flat_map(u16::to_le_bytes)
            .collect(),
    }
}

fn halves(tensor: &[f32]) -> Vec<u16> {
    let half = kernels::reference::half::from_f32;
    tensor.iter().map(|&x| half(x)).collect()
}

/// About -0.2 to 1.2, and one in sixteen of any bits: huge, tiny, infinite or no number at all.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let number = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 16 {
            0 => f32::from_bits((state >> 32) as u32),
            _ => (state >> 40) as f32 / 12e6 - 0.2,
        }
    };
    (0..count).map(number).collect()
}
