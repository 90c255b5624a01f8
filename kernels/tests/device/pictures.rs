//! Renditions, the overlay and sums of squares against their twins.

use kernels::reference::overlay::overlay;
use kernels::reference::scale::{area, bilinear};
use kernels::{Frame, Item, Kernel, Scratch, Surface, psnr};

use crate::filters::{PLACES, SIZES, noise};
use crate::host::{How, launch};
use crate::memory::Memory;
use crate::tensors::ways;

#[test]
fn bilinear_from_and_to_every_size_in_every_block() {
    let pairs = small().flat_map(|from| small().map(move |to| (from, to)));
    let large = [((641, 359), (427, 240)), ((256, 66), (641, 359))];
    renditions(
        Kernel::ScaleBilinear,
        pairs.chain(large),
        |frame, to, result, scratch| {
            bilinear(frame, to.0, to.1, result, scratch).unwrap();
        },
        Item::scale_bilinear,
    );
}

#[test]
fn area_from_and_to_every_size_in_every_block() {
    let is_smaller =
        |&(from, to): &((usize, usize), (usize, usize))| to.0 <= from.0 && to.1 <= from.1;
    let pairs = small().flat_map(|from| small().map(move |to| (from, to)));
    let large = [
        ((641, 359), (427, 239)),
        ((641, 359), (320, 180)),
        ((96, 54), (64, 36)),
    ];
    renditions(
        Kernel::ScaleArea,
        pairs.filter(is_smaller).chain(large),
        |frame, to, result, scratch| {
            area(frame, to.0, to.1, result, scratch).unwrap();
        },
        |src, dst| Item::scale_area(src, dst).unwrap(),
    );
}

/// White but for noise: the divisor is beyond 2^24 and the sums are beyond 2^32.
#[test]
fn an_area_of_sums_beyond_32_bits() {
    let mut frame = noise(8191, 2603, 1, true);
    for mut plane in frame.planes_mut() {
        for row in plane.rows_mut().skip(5) {
            row.fill(255);
        }
    }
    let mut memory = Memory::new(1);
    let mut result = Frame::default();
    area(&frame, 8, 2, &mut result, &mut Scratch::new()).unwrap();
    let [src, dst] = [&frame, &result].map(|frame| memory.surface(frame, PLACES[1]));
    memory.put(&src, &frame);
    let mut expected = memory.clone();
    expected.put(&dst, &result);
    let item = Item::scale_area(src, dst).unwrap();
    launch(
        Kernel::ScaleArea,
        &[item],
        &mut memory.bytes,
        How::default(),
    );
    assert_eq!(memory.difference(&expected, &[src, dst]), None);
}

#[test]
fn an_overlay_at_every_position_in_every_block() {
    let mut memory = Memory::new(0x3c);
    let (mut items, mut surfaces, mut results) = (vec![], vec![], vec![]);
    let mut scratch = Scratch::new();
    let positions = [-140, -5, -2, -1, 0, 1, 2, 7, 40, i32::MIN, i32::MAX];
    let sizes: Vec<_> = small().collect();
    for n in 0..600 {
        let bottom = sizes[n * 7 % sizes.len()];
        let top = sizes[n / 3 * 5 % sizes.len()];
        let (x, y) = (
            positions[n % positions.len()],
            positions[n / 11 % positions.len()],
        );
        let [mut below, above, alpha] = [
            noise(bottom.0, bottom.1, n as u64, false),
            noise(top.0, top.1, n as u64 + 1, n % 5 == 0),
            noise(top.0, top.1, n as u64 + 2, n % 4 == 0),
        ];
        let [dst, src] = [&below, &above].map(|frame| {
            let surface = memory.surface(frame, PLACES[n % PLACES.len()]);
            memory.put(&surface, frame);
            surface
        });
        let stride = alpha.width() + n % 3;
        let plane = memory.reserve(stride * alpha.height(), n % 4);
        for (row, samples) in alpha.y().rows().enumerate() {
            memory.bytes[plane as usize + row * stride..][..samples.len()].copy_from_slice(samples);
        }
        items.push(Item::overlay(src, plane, stride as u32, x, y, dst));
        surfaces.extend([src, dst]);
        overlay(&above, alpha.y(), x, y, &mut below, &mut scratch).unwrap();
        results.push((dst, below));
    }
    compare(Kernel::Overlay, &memory, &items, &surfaces, &results);
}

#[test]
fn squares_of_every_size_in_every_block() {
    let mut memory = Memory::new(0);
    let (mut items, mut results) = (vec![], vec![]);
    for (n, (width, height)) in SIZES.into_iter().enumerate() {
        let frames = [0, 1].map(|i| noise(width, height, (2 * n + i) as u64, n % 2 == 0));
        let [a, b] = [0, 1].map(|i| {
            let surface = memory.surface(&frames[i], PLACES[(n + i) % PLACES.len()]);
            memory.put(&surface, &frames[i]);
            surface
        });
        let sums = memory.reserve(24, 0);
        items.push(Item::psnr(a, b, sums));
        let squares = psnr::squares(&frames[0], &frames[1]).unwrap();
        assert_eq!(
            psnr::of_squares(width, height, squares),
            psnr::psnr(&frames[0], &frames[1])
        );
        results.push((sums as usize, squares));
    }
    for how in ways() {
        let mut got = memory.bytes.clone();
        launch(Kernel::Psnr, &items, &mut got, how);
        let mut expected = memory.bytes.clone();
        for (at, squares) in &results {
            for (i, sum) in squares.iter().enumerate() {
                expected[at + 8 * i..][..8].copy_from_slice(&sum.to_le_bytes());
            }
        }
        assert!(got == expected, "{how:?}");
    }
}

/// One launch over all the pairs of sizes, in every way.
fn renditions(
    kernel: Kernel,
    pairs: impl Iterator<Item = ((usize, usize), (usize, usize))>,
    twin: impl Fn(&Frame, (usize, usize), &mut Frame, &mut Scratch),
    item: impl Fn(Surface, Surface) -> Item,
) {
    let mut memory = Memory::new(0xc3);
    let (mut items, mut surfaces, mut results) = (vec![], vec![], vec![]);
    let mut scratch = Scratch::new();
    for (n, (from, to)) in pairs.enumerate() {
        let frame = noise(from.0, from.1, n as u64, n % 3 == 0);
        let mut result = Frame::default();
        twin(&frame, to, &mut result, &mut scratch);
        let src = memory.surface(&frame, PLACES[n % PLACES.len()]);
        memory.put(&src, &frame);
        let dst = memory.surface(&result, PLACES[n / 2 % PLACES.len()]);
        items.push(item(src, dst));
        surfaces.extend([src, dst]);
        results.push((dst, result));
    }
    compare(kernel, &memory, &items, &surfaces, &results);
}

fn compare(
    kernel: Kernel,
    memory: &Memory,
    items: &[Item],
    surfaces: &[Surface],
    results: &[(Surface, Frame)],
) {
    let mut expected = memory.clone();
    for (dst, result) in results {
        expected.put(dst, result);
    }
    for how in ways() {
        let mut got = memory.clone();
        launch(kernel, items, &mut got.bytes, how);
        assert_eq!(got.difference(&expected, surfaces), None, "{how:?}");
    }
}

/// The common sizes but the largest.
fn small() -> impl Iterator<Item = (usize, usize)> + Clone {
    SIZES.into_iter().filter(|size| size.0 < 600)
}
