//! The built-in filters on NV12 against `reference::apply` on I420, in batches of several pictures.

use kernels::reference::apply;
use kernels::{Filter, Frame, Item, Matrix, Range, Scratch, item};
use proptest::prelude::*;

use crate::host::{How, launch};
use crate::memory::{Memory, Place};

/// One picture of a batch.
#[derive(Clone, Debug)]
struct Work {
    filter: Filter,
    frame: Frame,
    src: Place,
    dst: Place,
}

#[test]
fn every_filter_at_every_size_in_every_block() {
    for filters in families() {
        let mut batch = Vec::new();
        for (width, height) in SIZES {
            for filter in &filters {
                let n = batch.len();
                batch.push(Work {
                    filter: *filter,
                    frame: noise(width, height, n as u64, n % 3 == 0),
                    src: PLACES[n % PLACES.len()],
                    dst: PLACES[n / 2 % PLACES.len()],
                });
            }
        }
        for threads in [None, Some([1, 1]), Some([32, 8]), Some([256, 1])] {
            let is_backward = threads == Some([32, 8]);
            check(
                &batch,
                0xa5,
                How {
                    threads,
                    is_backward,
                },
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batch(
        batch in families_of(1..5),
        poison in any::<u8>(),
        threads in prop_oneof![Just(None), [1..40_u32, 1..8_u32].prop_map(Some)],
        is_backward in any::<bool>(),
    ) {
        check(&batch, poison, How { threads, is_backward });
    }
}

/// Runs the filters' plan over the batch, and compares all memory with what the reference leaves.
fn check(batch: &[Work], poison: u8, how: How) {
    let mut memory = Memory::new(poison);
    let mut scratch = Scratch::new();
    let (mut items, mut surfaces, mut results, mut scratches) = (vec![], vec![], vec![], vec![]);
    for work in batch {
        let Work { filter, frame, .. } = work;
        let src = memory.surface(frame, work.src);
        memory.put(&src, frame);
        let dst = memory.surface(frame, work.dst);
        let bytes = item::scratch_bytes(*filter, src.width, src.height) as usize;
        let own = match bytes {
            0 => 0,
            _ => memory.reserve(bytes, 0),
        };
        items.push(item::of(*filter, src, dst, own));
        surfaces.extend([src, dst]);
        scratches.push(own as usize..own as usize + bytes);
        let mut result = Frame::default();
        apply(*filter, frame, &mut result, &mut scratch);
        results.push((dst, result));
    }

    let mut expected = memory.clone();
    for (dst, result) in &results {
        expected.put(dst, result);
    }
    let plan = item::plan(batch[0].filter);
    for kernel in plan {
        launch(*kernel, &items, &mut memory.bytes, how);
    }
    for own in scratches {
        expected.bytes[own.clone()].copy_from_slice(&memory.bytes[own]);
    }
    if let Some(difference) = memory.difference(&expected, &surfaces) {
        let filters: Vec<_> = batch.iter().map(|work| work.filter).collect();
        panic!("{plan:?} {how:?}: {difference} (pictures are src and dst in turn; {filters:?})");
    }
    assert!(items.iter().all(is_said_in_dst));
}

fn is_said_in_dst(item: &Item) -> bool {
    (item.src.full_range, item.src.matrix) == (item.dst.full_range, item.dst.matrix)
}

// === what they are given ===

pub(crate) const SIZES: [(usize, usize); 11] = [
    (1, 1),
    (1, 2),
    (2, 1),
    (3, 5),
    (16, 16),
    (129, 3),
    (3, 140),
    (64, 48),
    (33, 130),
    (256, 66),
    (641, 359),
];

/// Aligned as a device's allocator does, tight, and as awkward as can be.
pub(crate) const PLACES: [Place; 5] = [
    Place {
        offset: 0,
        padding: 0,
        stride_align: 256,
    },
    Place {
        offset: 0,
        padding: 5,
        stride_align: 16,
    },
    Place {
        offset: 0,
        padding: 0,
        stride_align: 1,
    },
    Place {
        offset: 4,
        padding: 1,
        stride_align: 4,
    },
    Place {
        offset: 3,
        padding: 2,
        stride_align: 1,
    },
];

/// Filters that share a plan, and so a launch: the edges of each parameter, and values beyond them.
fn families() -> Vec<Vec<Filter>> {
    let percents = [0, 1, 37, 50, 99, 100, 255];
    let grayscale = |amount_percent| Filter::Grayscale { amount_percent };
    let invert = |amount_percent| Filter::Invert { amount_percent };
    let blends = percents
        .iter()
        .flat_map(|&percent| [grayscale(percent), invert(percent)]);
    vec![
        vec![
            Filter::Passthrough,
            Filter::Blur { radius_px: 0 },
            Filter::Pixelate { block_px: 1 },
        ],
        blends.collect(),
        [0, 1, 100, 101, 400, u16::MAX]
            .map(|gain_percent| Filter::Edges { gain_percent })
            .to_vec(),
        [1, 2, 3, 4, 9, 31, 64, 255]
            .map(|radius_px| Filter::Blur { radius_px })
            .to_vec(),
        [2, 3, 6, 16, 18, 32, 50, 128, 255]
            .map(|block_px| Filter::Pixelate { block_px })
            .to_vec(),
    ]
}

fn families_of(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Work>> {
    let percent = 0..=101_u8;
    let blend = (percent, any::<bool>()).prop_map(|(amount_percent, is_invert)| match is_invert {
        true => Filter::Invert { amount_percent },
        false => Filter::Grayscale { amount_percent },
    });
    let of = move |filter: BoxedStrategy<Filter>| {
        prop::collection::vec(works(filter), sizes.clone()).boxed()
    };
    prop_oneof![
        of(Just(Filter::Passthrough).boxed()),
        of(blend.boxed()),
        of((0..=450_u16)
            .prop_map(|gain_percent| Filter::Edges { gain_percent })
            .boxed()),
        of((1..=70_u8)
            .prop_map(|radius_px| Filter::Blur { radius_px })
            .boxed()),
        of((2..=140_u8)
            .prop_map(|block_px| Filter::Pixelate { block_px })
            .boxed()),
    ]
}

fn works(filter: BoxedStrategy<Filter>) -> impl Strategy<Value = Work> {
    let side = || prop_oneof![1..=5_usize, 1..=70_usize, 120..=140_usize];
    let place = || {
        let align = prop_oneof![Just(1_usize), Just(4), Just(16)];
        (0..=17_usize, 0..=9_usize, align).prop_map(|(offset, padding, stride_align)| Place {
            offset: offset / stride_align * stride_align,
            padding,
            stride_align,
        })
    };
    let frame = (side(), side(), any::<u64>(), any::<bool>())
        .prop_map(|(width, height, seed, is_extreme)| noise(width, height, seed, is_extreme));
    (filter, frame, place(), place()).prop_map(|(filter, frame, src, dst)| Work {
        filter,
        frame,
        src,
        dst,
    })
}

/// Noise of all values, or of 0 and 255 alone, which are the largest gradients and sums; either range by the seed.
pub(crate) fn noise(width: usize, height: usize, seed: u64, is_extreme: bool) -> Frame {
    let mut frame = Frame::new(width, height).expect("a size that a frame can have");
    frame.range = if seed.is_multiple_of(2) {
        Range::Limited
    } else {
        Range::Full
    };
    frame.matrix = [Matrix::Unspecified, Matrix::Bt601, Matrix::Bt709][seed as usize % 3];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for mut plane in frame.planes_mut() {
        for sample in plane.rows_mut().flatten() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = (state >> 32) as u8;
            *sample = match is_extreme {
                // Seven in eight are white, so that sums come near their limits.
                true => 255 * u8::from(value >= 32),
                false => value,
            };
        }
    }
    frame
}
