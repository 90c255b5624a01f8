//! Renditions: against twins that follow the written arithmetic one pixel at a time, and against exact sampling in
//! `f64`.
#![forbid(unsafe_code)]

use kernels::frame::Matrix;
use kernels::reference::scale::{ScaleError, area, bilinear};
use kernels::{Frame, Plane, Range, Scratch};
use proptest::prelude::*;

type Scale =
    fn(&Frame, usize, usize, &mut Frame, &mut Scratch) -> std::result::Result<(), ScaleError>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bilinear_is_its_twin(src in frames(), (width, height) in sizes(), stale in frames(), other in sizes()) {
        let mut scratch = Scratch::new();
        let mut dst = stale.clone();
        bilinear(&stale, other.0, other.1, &mut dst, &mut scratch).unwrap();
        bilinear(&src, width, height, &mut dst, &mut scratch).unwrap();
        prop_assert!(dst == bilinear_twin(&src, width, height));
    }

    #[test]
    fn bilinear_is_like_exact_sampling(src in frames(), (width, height) in sizes()) {
        let mut dst = Frame::default();
        bilinear(&src, width, height, &mut dst, &mut Scratch::new()).unwrap();
        let exact = each(&src, width, height, |p, x, y| {
            let axis = |at: usize, from: usize, to: usize, samples: usize| {
                let p = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (samples - 1) as f64);
                (p as usize, (p as usize + 1).min(samples - 1), p.fract())
            };
            let (x0, x1, fx) = axis(x, src.width(), width, p.width());
            let (y0, y1, fy) = axis(y, src.height(), height, p.height());
            let row = |y: usize| f64::from(p.row(y)[x0]) * (1.0 - fx) + f64::from(p.row(y)[x1]) * fx;
            (row(y0) * (1.0 - fy) + row(y1) * fy).round() as u8
        });
        // Positions are right to 1/512 along either axis, so samples to nearly 1; both are then rounded.
        prop_assert!(furthest(&dst, &exact) <= 2);
    }

    #[test]
    fn an_area_is_its_twin(src in frames(), (width, height) in sizes(), stale in frames()) {
        let mut scratch = Scratch::new();
        let mut dst = Frame::default();
        area(&stale, 1, 1, &mut dst, &mut scratch).unwrap();
        let (width, height) = (width.min(src.width()), height.min(src.height()));
        area(&src, width, height, &mut dst, &mut scratch).unwrap();
        prop_assert!(dst == area_twin(&src, width, height));
    }

    #[test]
    fn the_ladders_own_ratios_are_their_twins(
        (from, to) in prop_oneof![
            Just((2, 1)), Just((3, 1)), Just((3, 2)), Just((4, 3)), Just((9, 4)), Just((1, 1)), Just((8, 3)),
        ],
        across in 1..8_usize, down in 1..8_usize, seed in any::<u64>(),
    ) {
        let src = noise(2 * from * across, 2 * from * down, seed);
        let (width, height) = (2 * to * across, 2 * to * down);
        let mut dst = Frame::default();
        area(&src, width, height, &mut dst, &mut Scratch::new()).unwrap();
        prop_assert!(dst == area_twin(&src, width, height));
    }

    #[test]
    fn flat_stays_flat_and_nothing_leaves_the_bounds(src in frames(), (width, height) in sizes(), value in any::<u8>()) {
        let mut dst = Frame::default();
        let mut scratch = Scratch::new();
        for (scale, (width, height)) in both(&src, width, height) {
            scale(&src, width, height, &mut dst, &mut scratch).unwrap();
            for (from, to) in src.planes().into_iter().zip(dst.planes()) {
                let (low, high) = (from.rows().flatten().min(), from.rows().flatten().max());
                prop_assert!(to.rows().flatten().min() >= low && to.rows().flatten().max() <= high);
            }
            let mut flat = src.clone();
            for mut plane in flat.planes_mut() {
                plane.fill(value);
            }
            scale(&flat, width, height, &mut dst, &mut scratch).unwrap();
            prop_assert!(dst.planes().iter().all(|p| p.rows().flatten().all(|&p| p == value)));
            prop_assert_eq!((dst.range, dst.matrix), (src.range, src.matrix));
        }
    }

    #[test]
    fn a_brighter_picture_is_nowhere_darker(src in frames(), (width, height) in sizes(), seed in any::<u64>()) {
        let mut brighter = src.clone();
        let add = noise(src.width(), src.height(), seed);
        for (mut plane, add) in brighter.planes_mut().into_iter().zip(add.planes()) {
            for (p, add) in plane.rows_mut().flatten().zip(add.rows().flatten()) {
                *p = p.saturating_add(*add);
            }
        }
        let (mut low, mut high) = (Frame::default(), Frame::default());
        let mut scratch = Scratch::new();
        for (scale, (width, height)) in both(&src, width, height) {
            scale(&src, width, height, &mut low, &mut scratch).unwrap();
            scale(&brighter, width, height, &mut high, &mut scratch).unwrap();
            for (low, high) in low.planes().into_iter().zip(high.planes()) {
                prop_assert!(low.rows().flatten().zip(high.rows().flatten()).all(|(low, high)| low <= high));
            }
        }
    }

    #[test]
    fn its_own_size_is_a_copy(src in frames()) {
        let mut dst = Frame::default();
        for (scale, (width, height)) in both(&src, src.width(), src.height()) {
            scale(&src, width, height, &mut dst, &mut Scratch::new()).unwrap();
            prop_assert!(dst == src);
        }
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    // 8192 to 8191: nothing divides both, so the weights are as large as they can be along that axis.
    let mut scratch = Scratch::new();
    let mut dst = Frame::default();
    // 257 rows are the most, and 258 the fewest, whose columns are added up in 16 bits and in 32.
    for (size, to) in [
        ((8192, 3), (8191, 2)),
        ((3, 8192), (2, 8191)),
        ((5, 257), (3, 256)),
        ((5, 258), (3, 257)),
    ] {
        let mut src = noise(size.0, size.1, 7);
        area(&src, to.0, to.1, &mut dst, &mut scratch).unwrap();
        assert!(dst == area_twin(&src, to.0, to.1));
        bilinear(&src, to.0, to.1, &mut dst, &mut scratch).unwrap();
        assert!(dst == bilinear_twin(&src, to.0, to.1));
        for mut plane in src.planes_mut() {
            plane.fill(255);
        }
        area(&src, to.0, to.1, &mut dst, &mut scratch).unwrap();
        assert!(dst == area_twin(&src, to.0, to.1));
    }
    // Both axes at once: the divisor is nearly 2^26.
    let mut src = Frame::new(8192, 8191).unwrap();
    for mut plane in src.planes_mut() {
        plane.fill(255);
    }
    area(&src, 8191, 8190, &mut dst, &mut scratch).unwrap();
    assert!((dst.planes().iter()).all(|plane| plane.rows().flatten().all(|&p| p == 255)));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut scratch = Scratch::new();
    let src = noise(6, 5, 1);
    let before = noise(3, 3, 2);
    let mut dst = before.clone();
    for (width, height) in [(0, 1), (1, 0), (8193, 1), (1, usize::MAX)] {
        let error = bilinear(&src, width, height, &mut dst, &mut scratch);
        assert!(matches!(error, Err(ScaleError::Size(_))));
    }
    assert!(matches!(
        area(&src, 0, 1, &mut dst, &mut scratch),
        Err(ScaleError::Size(_))
    ));
    for to in [(7, 5), (6, 6), (usize::MAX, 1)] {
        let error = ScaleError::Enlarges { from: (6, 5), to };
        assert_eq!(area(&src, to.0, to.1, &mut dst, &mut scratch), Err(error));
        assert!(error.to_string().contains("6x5"));
    }
    let empty = Frame::default();
    assert_eq!(
        bilinear(&empty, 1, 1, &mut dst, &mut scratch),
        Err(ScaleError::Empty)
    );
    assert_eq!(
        area(&empty, 1, 1, &mut dst, &mut scratch),
        Err(ScaleError::Empty)
    );
    assert!(dst == before);
}

// === the twins ===

fn bilinear_twin(src: &Frame, width: usize, height: usize) -> Frame {
    each(src, width, height, |p, x, y| {
        let tap = |at: usize, from: usize, to: usize, samples: usize| {
            let (n, d) = ((2 * at + 1) * from, 2 * to);
            let position = ((256 * n + d / 2) / d) as i64 - 128;
            let position = position.clamp(0, 256 * (samples as i64 - 1)) as usize;
            (
                position / 256,
                (position / 256 + 1).min(samples - 1),
                (position % 256) as u32,
            )
        };
        let (x0, x1, wx) = tap(x, src.width(), width, p.width());
        let (y0, y1, wy) = tap(y, src.height(), height, p.height());
        let down = |x: usize| u32::from(p.row(y0)[x]) * (256 - wy) + u32::from(p.row(y1)[x]) * wy;
        ((down(x0) * (256 - wx) + down(x1) * wx + 32_768) / 65_536) as u8
    })
}

fn area_twin(src: &Frame, width: usize, height: usize) -> Frame {
    let halves = (width.div_ceil(2), height.div_ceil(2));
    each(src, width, height, |p, x, y| {
        let luma = p.width() == src.width() && p.height() == src.height();
        let (width, height) = if luma { (width, height) } else { halves };
        let shared = |at: usize, i: usize, from: usize, to: usize| {
            let (begin, end) = ((at * from).max(i * to), ((at + 1) * from).min((i + 1) * to));
            end.saturating_sub(begin) as u64
        };
        let touched =
            |at: usize, from: usize, to: usize| at * from / to..((at + 1) * from).div_ceil(to);
        let mut sum = 0;
        for i in touched(y, p.height(), height) {
            for j in touched(x, p.width(), width) {
                let weight = shared(y, i, p.height(), height) * shared(x, j, p.width(), width);
                sum += weight * u64::from(p.row(i)[j]);
            }
        }
        let all = (p.width() * p.height()) as u64;
        ((2 * sum + all) / (2 * all)) as u8
    })
}

fn each(
    src: &Frame,
    width: usize,
    height: usize,
    pixel: impl Fn(Plane<'_>, usize, usize) -> u8,
) -> Frame {
    let mut dst = Frame::new(width, height).unwrap();
    (dst.range, dst.matrix) = (src.range, src.matrix);
    for (mut to, from) in dst.planes_mut().into_iter().zip(src.planes()) {
        for (y, row) in to.rows_mut().enumerate() {
            for (x, p) in row.iter_mut().enumerate() {
                *p = pixel(from, x, y);
            }
        }
    }
    dst
}

fn furthest(a: &Frame, b: &Frame) -> u8 {
    let planes = a.planes().into_iter().zip(b.planes());
    planes
        .flat_map(|(a, b)| a.rows().flatten().zip(b.rows().flatten()))
        .map(|(a, b)| a.abs_diff(*b))
        .max()
        .unwrap_or(0)
}

/// Both ways, the second at a size that it can make.
fn both(src: &Frame, width: usize, height: usize) -> [(Scale, (usize, usize)); 2] {
    let smaller = (width.min(src.width()), height.min(src.height()));
    [(bilinear, (width, height)), (area, smaller)]
}

// === what they are given ===

fn sides() -> impl Strategy<Value = usize> {
    prop_oneof![1..=3_usize, 1..=40_usize, 60..=90_usize]
}

fn sizes() -> impl Strategy<Value = (usize, usize)> {
    (sides(), sides())
}

fn frames() -> impl Strategy<Value = Frame> {
    (sizes(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |((width, height), seed, full, high)| {
            let mut frame = noise(width, height, seed);
            frame.range = if full { Range::Full } else { Range::Limited };
            frame.matrix = if high { Matrix::Bt709 } else { Matrix::Bt601 };
            frame
        },
    )
}

fn noise(width: usize, height: usize, seed: u64) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    let mut state = seed | 1;
    for mut plane in frame.planes_mut() {
        for p in plane.rows_mut().flatten() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *p = (state >> 32) as u8;
        }
    }
    frame
}
