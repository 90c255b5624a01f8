//! Each filter against a naive twin that follows the written arithmetic one pixel at a time.

use kernels::reference::{BLOCK_PX_MAX, GAIN_PERCENT_MAX, RADIUS_PX_MAX, apply};
use kernels::{Filter, Frame, Plane, Range, Scratch};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_filter_is_its_twin(
        filter in filters(),
        src in frames(),
        stale in frames(),
        again in any::<bool>(),
    ) {
        let mut dst = stale.clone();
        let mut scratch = Scratch::new();
        if again {
            // Scratch that another size has dirtied changes nothing.
            apply(filter, &stale, &mut dst, &mut scratch);
        }
        apply(filter, &src, &mut dst, &mut scratch);
        prop_assert!(dst == twin(filter, &src), "{filter:?} of {}x{}", src.width(), src.height());
    }
}

#[test]
fn parameters_are_brought_into_range() {
    let over = [
        (
            Filter::Grayscale {
                amount_percent: 255,
            },
            Filter::Grayscale {
                amount_percent: 100,
            },
        ),
        (
            Filter::Invert {
                amount_percent: 101,
            },
            Filter::Invert {
                amount_percent: 100,
            },
        ),
        (
            Filter::Edges {
                gain_percent: u16::MAX,
            },
            Filter::Edges {
                gain_percent: GAIN_PERCENT_MAX,
            },
        ),
        (
            Filter::Blur { radius_px: 255 },
            Filter::Blur {
                radius_px: RADIUS_PX_MAX,
            },
        ),
        (
            Filter::Pixelate { block_px: 255 },
            Filter::Pixelate {
                block_px: BLOCK_PX_MAX,
            },
        ),
        (
            Filter::Pixelate { block_px: 0 },
            Filter::Pixelate { block_px: 1 },
        ),
        (
            Filter::Pixelate { block_px: 3 },
            Filter::Pixelate { block_px: 4 },
        ),
    ];
    for (given, meant) in over {
        assert_eq!(given.clamped(), meant);
        assert_eq!(meant.clamped(), meant);
    }
}

#[test]
fn a_flat_picture_survives_every_blur() {
    let mut scratch = Scratch::new();
    let mut src = Frame::new(37, 21).unwrap();
    let mut dst = Frame::default();
    for value in [0, 1, 127, 254, 255] {
        for mut plane in src.planes_mut() {
            plane.fill(value);
        }
        for radius_px in 0..=RADIUS_PX_MAX {
            apply(Filter::Blur { radius_px }, &src, &mut dst, &mut scratch);
            assert!(dst == src, "{value} at radius {radius_px}");
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    let mut scratch = Scratch::new();
    let mut dst = Frame::default();
    // A chess board of single pixels, stripes, and two halves: the largest gradients and differences there are.
    for pattern in [
        |x: usize, y: usize| (x + y) % 2,
        |x, _| x / 2 % 2,
        |_, y| y / 70 % 2,
    ] {
        let mut src = Frame::new(150, 140).unwrap();
        for mut plane in src.planes_mut() {
            for (y, row) in plane.rows_mut().enumerate() {
                for (x, p) in row.iter_mut().enumerate() {
                    *p = 255 * pattern(x, y) as u8;
                }
            }
        }
        for range in [Range::Limited, Range::Full] {
            src.range = range;
            for filter in [
                Filter::Edges {
                    gain_percent: GAIN_PERCENT_MAX,
                },
                Filter::Blur {
                    radius_px: RADIUS_PX_MAX,
                },
                Filter::Pixelate {
                    block_px: BLOCK_PX_MAX,
                },
                Filter::Invert {
                    amount_percent: 100,
                },
                Filter::Grayscale { amount_percent: 99 },
            ] {
                apply(filter, &src, &mut dst, &mut scratch);
                assert!(dst == twin(filter, &src), "{filter:?}");
            }
        }
    }
}

#[test]
fn an_empty_frame_filters_to_an_empty_frame() {
    let mut dst = Frame::new(8, 8).unwrap();
    apply(
        Filter::Blur { radius_px: 3 },
        &Frame::default(),
        &mut dst,
        &mut Scratch::new(),
    );
    assert!(dst.is_empty());
}

// === the twins ===

fn twin(filter: Filter, src: &Frame) -> Frame {
    let (black, white) = src.range.luma();
    match filter {
        Filter::Passthrough => src.clone(),
        Filter::Grayscale { amount_percent } => each(src, |plane, p, x, y| {
            let to = if plane == 0 { p.row(y)[x].into() } else { 128 };
            blend(p.row(y)[x].into(), to, amount_percent)
        }),
        Filter::Invert { amount_percent } => each(src, |plane, p, x, y| {
            let value = i32::from(p.row(y)[x]);
            let to = match (plane, src.range) {
                (0, Range::Limited) => 251 - value.clamp(16, 235),
                _ => 255 - value,
            };
            blend(value, to, amount_percent)
        }),
        Filter::Edges { gain_percent } => each(src, |plane, p, x, y| {
            if plane != 0 {
                return 128;
            }
            let at = |dx, dy| near(p, x as i32 + dx, y as i32 + dy);
            let gx = at(1, -1) + 2 * at(1, 0) + at(1, 1) - at(-1, -1) - 2 * at(-1, 0) - at(-1, 1);
            let gy = at(-1, 1) + 2 * at(0, 1) + at(1, 1) - at(-1, -1) - 2 * at(0, -1) - at(1, -1);
            let gain = (8192 * i64::from(gain_percent.min(GAIN_PERCENT_MAX)) + 50) / 100;
            let e = (8 * i64::from(gx.abs() + gy.abs()) * gain) >> 16;
            black + e.min((white - black).into()) as u8
        }),
        Filter::Blur { radius_px } => {
            let radius = i32::from(radius_px.min(RADIUS_PX_MAX));
            let of = |plane| if plane == 0 { radius } else { (radius + 1) / 2 };
            let rows = each(src, |plane, p, x, y| {
                mean(of(plane), |d| near(p, x as i32 + d, y as i32))
            });
            each(&rows, |plane, p, x, y| {
                mean(of(plane), |d| near(p, x as i32, y as i32 + d))
            })
        }
        Filter::Pixelate { block_px: 0 | 1 } => src.clone(),
        Filter::Pixelate { block_px } => each(src, |plane, p, x, y| {
            let luma = usize::from(block_px.min(BLOCK_PX_MAX)).div_ceil(2) * 2;
            let block = if plane == 0 { luma } else { luma / 2 };
            let span =
                |at: usize, end: usize| at / block * block..(at / block * block + block).min(end);
            let (mut sum, mut count) = (0, 0);
            for y in span(y, p.height()) {
                for x in span(x, p.width()) {
                    sum += u64::from(p.row(y)[x]);
                    count += 1;
                }
            }
            ((sum + count / 2) / count) as u8
        }),
    }
}

fn blend(x: i32, to: i32, percent: u8) -> u8 {
    let k = (128 * i32::from(percent.min(100)) + 50) / 100;
    u8::try_from(x + (((to - x) * k + 64) >> 7)).unwrap()
}

fn mean(radius: i32, at: impl Fn(i32) -> i32) -> u8 {
    let n = i64::from(2 * radius + 1);
    let sum: i32 = (-radius..=radius).map(at).sum();
    u8::try_from((i64::from(sum) * ((65536 + n / 2) / n) + 32768) >> 16).unwrap()
}

fn near(plane: Plane<'_>, x: i32, y: i32) -> i32 {
    let x = x.clamp(0, plane.width() as i32 - 1) as usize;
    let y = y.clamp(0, plane.height() as i32 - 1) as usize;
    plane.row(y)[x].into()
}

fn each(src: &Frame, pixel: impl Fn(usize, Plane<'_>, usize, usize) -> u8) -> Frame {
    let mut dst = Frame::new(src.width(), src.height()).unwrap();
    dst.range = src.range;
    dst.matrix = src.matrix;
    for (index, (mut to, from)) in dst.planes_mut().into_iter().zip(src.planes()).enumerate() {
        for (y, row) in to.rows_mut().enumerate() {
            for (x, p) in row.iter_mut().enumerate() {
                *p = pixel(index, from, x, y);
            }
        }
    }
    dst
}

// === what they are given ===

fn filters() -> impl Strategy<Value = Filter> {
    let percent = 0..=120_u8;
    prop_oneof![
        Just(Filter::Passthrough),
        percent
            .clone()
            .prop_map(|amount_percent| Filter::Grayscale { amount_percent }),
        percent.prop_map(|amount_percent| Filter::Invert { amount_percent }),
        (0..=500_u16).prop_map(|gain_percent| Filter::Edges { gain_percent }),
        prop_oneof![0..=4_u8, any::<u8>()].prop_map(|radius_px| Filter::Blur { radius_px }),
        prop_oneof![0..=9_u8, any::<u8>()].prop_map(|block_px| Filter::Pixelate { block_px }),
    ]
}

/// Small frames, 1×1 and odd sizes among them, smaller than most radii and blocks; noise or near-flat.
fn frames() -> impl Strategy<Value = Frame> {
    let side = || prop_oneof![1..=3_usize, 1..=40_usize, 60..=70_usize];
    (side(), side(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |(width, height, seed, full, flat)| {
            let mut frame = Frame::new(width, height).unwrap();
            frame.range = if full { Range::Full } else { Range::Limited };
            let mut state = seed | 1;
            for mut plane in frame.planes_mut() {
                for row in plane.rows_mut() {
                    for p in row {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        *p = if flat {
                            250 + (state % 6) as u8
                        } else {
                            (state >> 32) as u8
                        };
                    }
                }
            }
            frame
        },
    )
}
