//! Pictures to tensors and back: against twins that follow the written arithmetic one pixel at a time, in every bit;
//! against exact sampling in `f64`, in likeness; and against the published colours.
#![forbid(unsafe_code)]

use kernels::frame::Matrix;
use kernels::reference::half;
use kernels::reference::tensor::{
    Crop, FromTensor, TensorError, ToTensor, from_tensor_f16, from_tensor_f32, to_tensor_f16,
    to_tensor_f32,
};
use kernels::{Frame, Plane, Range, Scratch};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tensor_is_its_twin(
        (src, spec) in pictures_to_tensors(),
        (stale, stale_spec) in pictures_to_tensors(),
    ) {
        // Scratch that another size has dirtied changes nothing.
        let mut scratch = Scratch::new();
        let mut stale_out = vec![0.0; 3 * stale_spec.width * stale_spec.height];
        to_tensor_f32(&stale, &stale_spec, &mut stale_out, &mut scratch).unwrap();

        let expected = to_tensor_twin(&src, &spec);
        let mut out = vec![f32::NAN; expected.len()];
        to_tensor_f32(&src, &spec, &mut out, &mut scratch).unwrap();
        prop_assert_eq!(bits(&out), bits(&expected), "{:?}", spec);

        let mut halves = vec![0xffff; expected.len()];
        to_tensor_f16(&src, &spec, &mut halves, &mut scratch).unwrap();
        let expected: Vec<u16> = expected.into_iter().map(half::from_f32).collect();
        prop_assert_eq!(halves, expected);
    }

    #[test]
    fn a_tensor_is_like_exact_sampling((src, mut spec) in pictures_to_tensors()) {
        (spec.mean, spec.scale) = ([0.0; 3], [1.0; 3]);
        let mut out = vec![0.0; 3 * spec.width * spec.height];
        to_tensor_f32(&src, &spec, &mut out, &mut Scratch::new()).unwrap();
        // A position is right to 1/512 along either axis, so a sample to 2 · 255 / 512, nearly 1. Of the channels blue
        // is furthest off: 1 / 219 from luma and 2 / 224 from chroma.
        let tolerance = 1.0 / 219.0 + 2.0 / 224.0 + 1e-5;
        for (at, (got, exact)) in out.iter().zip(to_tensor_exact(&src, &spec)).enumerate() {
            prop_assert!((f64::from(*got) - exact).abs() < tolerance, "{got} for {exact} at {at} of {spec:?}");
        }
    }

    #[test]
    fn a_picture_is_its_twin((tensor, spec) in tensors(), range in ranges(), matrix in matrices(), stale in frames()) {
        let mut scratch = Scratch::new();
        let mut dst = stale;
        (dst.range, dst.matrix) = (range, matrix);
        from_tensor_f32(&tensor, &spec, &mut dst, &mut scratch).unwrap();
        prop_assert!(dst == from_tensor_twin(&tensor, &spec, range, matrix), "{spec:?}");

        let halves: Vec<u16> = tensor.iter().map(|&x| half::from_f32(x)).collect();
        from_tensor_f16(&halves, &spec, &mut dst, &mut scratch).unwrap();
        let widened: Vec<f32> = halves.iter().map(|&h| half::to_f32(h)).collect();
        prop_assert!(dst == from_tensor_twin(&widened, &spec, range, matrix), "{spec:?}");
    }

    #[test]
    fn grey_stays_grey(
        level in 16..=235_u8, width in 1..20_usize, height in 1..20_usize,
        range in ranges(), matrix in matrices(), normalised in any::<bool>(),
    ) {
        let mut src = Frame::new(width, height).unwrap();
        (src.range, src.matrix) = (range, matrix);
        let [mut y, mut u, mut v] = src.planes_mut();
        y.fill(level);
        u.fill(128);
        v.fill(128);
        let (out, back) = there_and_back(&src, normalised);
        prop_assert!(back == src);
        if !normalised {
            let (black, white) = range.luma();
            let exact = (f64::from(level) - f64::from(black)) / f64::from(white - black);
            for v in out {
                prop_assert!((f64::from(v) - exact).abs() < 1e-6, "{v} for {exact}");
            }
        }
    }

    #[test]
    fn brighter_luma_is_brighter_in_every_channel(low in any::<u8>(), u in any::<u8>(), v in any::<u8>(), matrix in matrices()) {
        let tensor = |y: u8| {
            let mut src = flat(y.max(1), u, v);
            src.matrix = matrix;
            plain_tensor(&src)
        };
        for (dark, bright) in tensor(low).into_iter().zip(tensor(low.saturating_add(1))) {
            prop_assert!((0.0..=1.0).contains(&dark) && dark <= bright);
        }
    }
}

#[test]
fn the_published_colours_of_each_matrix() {
    // 100 % colour bars in 8 bits, limited range. Those of BT.601 and BT.709 are in every test generator; those of
    // BT.2020 follow from its table 4 and 5.
    let bars: [(Matrix, [[u8; 3]; 4]); 3] = [
        (
            Matrix::Bt601,
            [
                [81, 90, 240],
                [145, 54, 34],
                [41, 240, 110],
                [235, 128, 128],
            ],
        ),
        (
            Matrix::Bt709,
            [
                [63, 102, 240],
                [173, 42, 26],
                [32, 240, 118],
                [235, 128, 128],
            ],
        ),
        (
            Matrix::Bt2020,
            [
                [74, 97, 240],
                [164, 47, 25],
                [29, 240, 119],
                [235, 128, 128],
            ],
        ),
    ];
    let colours = [
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0],
        [1.0, 1.0, 1.0],
    ];
    for (matrix, bars) in bars {
        for (yuv, rgb) in bars.into_iter().zip(colours) {
            let spec = plain(2, 2);
            let tensor: Vec<f32> = rgb.into_iter().flat_map(|c| [c; 4]).collect();
            let mut picture = Frame::default();
            picture.matrix = matrix;
            from_tensor_f32(&tensor, &spec, &mut picture, &mut Scratch::new()).unwrap();
            let got = picture.planes().map(|plane| plane.row(0)[0]);
            assert_eq!(got, yuv, "{matrix:?} {rgb:?}");

            // And back: 8 bits are right to half a level, of which blue takes 2 / 224 in chroma and 1 / 219 in luma.
            for (got, exact) in plain_tensor(&picture).into_iter().zip(tensor) {
                assert!((got - exact).abs() < 0.007, "{matrix:?} {got} for {exact}");
            }
        }
    }
}

#[test]
fn a_matrix_that_is_not_said_depends_on_the_lines() {
    for (height, meant) in [(719, Matrix::Bt601), (720, Matrix::Bt709)] {
        let mut src = Frame::new(2, height).unwrap();
        for (mut plane, value) in src.planes_mut().into_iter().zip([100, 90, 160]) {
            plane.fill(value);
        }
        let tensor = plain_tensor(&src);
        src.matrix = meant;
        assert_eq!(tensor, plain_tensor(&src));
        let mut back = Frame::default();
        let spec = plain(2, height);
        from_tensor_f32(&tensor, &spec, &mut back, &mut Scratch::new()).unwrap();
        back.matrix = meant;
        assert!(back == src);
    }
}

#[test]
fn a_smooth_picture_survives_the_round_trip() {
    for (width, height) in [(64, 48), (63, 47), (1, 1), (129, 3)] {
        for range in [Range::Limited, Range::Full] {
            for matrix in MATRICES {
                let mut src = Frame::new(width, height).unwrap();
                (src.range, src.matrix) = (range, matrix);
                let [y, u, v] = src.planes_mut();
                for (mut plane, (base, dx, dy)) in
                    [y, u, v]
                        .into_iter()
                        .zip([(70, 1, 1), (118, 1, 0), (140, -1, 1)])
                {
                    for (y, row) in plane.rows_mut().enumerate() {
                        for (x, p) in row.iter_mut().enumerate() {
                            *p = (base + dx * (x as i32 / 4) + dy * (y as i32 / 4)) as u8;
                        }
                    }
                }
                for normalised in [false, true] {
                    let (_, back) = there_and_back(&src, normalised);
                    for (a, b) in src.planes().into_iter().zip(back.planes()) {
                        for (a, b) in a.rows().flatten().zip(b.rows().flatten()) {
                            assert!(
                                a.abs_diff(*b) <= 1,
                                "{a} became {b}: {width}x{height} {matrix:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_mean_nothing_are_black_or_white() {
    let tensor = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        f32::MAX,
        -1e-40,
    ]
    .repeat(3);
    let spec = plain(6, 1);
    let mut dst = Frame::default();
    from_tensor_f32(&tensor, &spec, &mut dst, &mut Scratch::new()).unwrap();
    assert_eq!(dst.y().row(0), [16, 235, 16, 16, 235, 16]);
    assert_eq!(dst.u().row(0), [128; 3]);
    assert_eq!(dst.v().row(0), [128; 3]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut scratch = Scratch::new();
    let src = flat(50, 60, 70);
    let (width, height) = (src.width(), src.height());
    let good = ToTensor {
        crop: whole(&src),
        width: 4,
        height: 3,
        mean: [0.0; 3],
        scale: [1.0; 3],
    };
    let mut out = vec![0.0; 36];
    assert_eq!(to_tensor_f32(&src, &good, &mut out, &mut scratch), Ok(()));

    for (x, y, w, h) in [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (1, 0, width, 1),
        (0, height, 1, 1),
        (usize::MAX, 0, 2, 1),
        (0, 2, 1, usize::MAX),
    ] {
        let crop = Crop {
            x,
            y,
            width: w,
            height: h,
        };
        let error = TensorError::Crop {
            crop,
            width,
            height,
        };
        let spec = ToTensor { crop, ..good };
        assert_eq!(
            to_tensor_f32(&src, &spec, &mut out, &mut scratch),
            Err(error)
        );
    }
    let empty = Frame::default();
    assert!(matches!(
        to_tensor_f32(&empty, &good, &mut out, &mut scratch),
        Err(TensorError::Crop { .. })
    ));
    for width in [0, 8193, usize::MAX] {
        let spec = ToTensor { width, ..good };
        let error = to_tensor_f32(&src, &spec, &mut out, &mut scratch);
        assert!(matches!(error, Err(TensorError::Size(_))));
    }
    let short = TensorError::Length {
        expected: 36,
        given: 35,
    };
    assert_eq!(
        to_tensor_f32(&src, &good, &mut out[1..], &mut scratch),
        Err(short)
    );
    for number in [f32::NAN, f32::INFINITY] {
        let spec = ToTensor {
            mean: [0.0, number, 0.0],
            ..good
        };
        assert_eq!(
            to_tensor_f16(&src, &spec, &mut [0; 36], &mut scratch),
            Err(TensorError::Normalisation)
        );
    }

    let mut dst = src.clone();
    let good = plain(4, 3);
    for (spec, len) in [
        (plain(0, 3), 0),
        (plain(8193, 1), 3 * 8193),
        (good, 37),
        (
            FromTensor {
                scale: [1.0, 1.0, f32::NAN],
                ..good
            },
            36,
        ),
    ] {
        let tensor = vec![0; len];
        assert!(from_tensor_f16(&tensor, &spec, &mut dst, &mut scratch).is_err());
        assert!(dst == src);
    }
    assert!(TensorError::Normalisation.to_string().contains("finite"));
}

// === the twins ===

const ONE: i32 = 65_536;

/// Position in 256ths, before it is split: `n` and `d` of the text.
fn position(n: u64, d: u64, first: usize, last: usize) -> (usize, i32) {
    let p = ((256 * n + d / 2) / d) as i64 - 128;
    let p = p.clamp(256 * first as i64, 256 * last as i64);
    ((p / 256) as usize, (p % 256) as i32)
}

fn sample(plane: Plane<'_>, spec: &ToTensor, shrink: usize, x: usize, y: usize) -> i32 {
    let tap = |start: usize, len: usize, out: usize, at: usize| {
        let n = 2 * start * out + (2 * at + 1) * len;
        position(
            n as u64,
            (2 * shrink * out) as u64,
            start / shrink,
            (start + len - 1) / shrink,
        )
    };
    let crop = spec.crop;
    let (column, wx) = tap(crop.x, crop.width, spec.width, x);
    let (row, wy) = tap(crop.y, crop.height, spec.height, y);
    let at = |dx: usize, dy: usize| {
        let x = (column + dx).min(plane.width() - 1);
        i32::from(plane.row((row + dy).min(plane.height() - 1))[x])
    };
    let down = |dx| at(dx, 0) * (256 - wy) + at(dx, 1) * wy;
    down(0) * (256 - wx) + down(1) * wx
}

fn weights(matrix: Matrix, height: usize) -> [f64; 3] {
    let (r, b) = match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
        Matrix::Unspecified if height < 720 => (0.299, 0.114),
        Matrix::Unspecified => (0.2126, 0.0722),
    };
    [r, 1.0 - r - b, b]
}

fn spans(range: Range) -> (f64, f64, i32) {
    match range {
        Range::Limited => (219.0, 224.0, 16),
        Range::Full => (255.0, 255.0, 0),
    }
}

fn unit(v: f32) -> f32 {
    if v.is_nan() {
        0.0
    } else if v > 0.0 {
        v.min(1.0)
    } else {
        0.0
    }
}

fn to_tensor_twin(src: &Frame, spec: &ToTensor) -> Vec<f32> {
    let [wr, wg, wb] = weights(src.matrix, src.height());
    let (luma, chroma, black) = spans(src.range);
    let ky = (1.0 / (65_536.0 * luma)) as f32;
    let (kr, kb) = (
        2.0 * (1.0 - wr) / (65_536.0 * chroma),
        2.0 * (1.0 - wb) / (65_536.0 * chroma),
    );
    let (kgu, kgv) = ((kb * wb / wg) as f32, (kr * wr / wg) as f32);
    let (kr, kb) = (kr as f32, kb as f32);
    each(spec, |c, x, y| {
        let l = (sample(src.y(), spec, 1, x, y) - ONE * black) as f32 * ky;
        let u = (sample(src.u(), spec, 2, x, y) - ONE * 128) as f32;
        let v = (sample(src.v(), spec, 2, x, y) - ONE * 128) as f32;
        let value = [l + v * kr, (l - u * kgu) - v * kgv, l + u * kb][c];
        (unit(value) - spec.mean[c]) * spec.scale[c]
    })
}

/// The same without a fixed point: bilinear sampling and the matrix in `f64`.
fn to_tensor_exact(src: &Frame, spec: &ToTensor) -> Vec<f64> {
    let [wr, wg, wb] = weights(src.matrix, src.height());
    let (luma, chroma, black) = spans(src.range);
    let crop = spec.crop;
    let axis = |start: usize, len: usize, out: usize, at: usize, shrink: usize| {
        let centre = start as f64 + (at as f64 + 0.5) * len as f64 / out as f64;
        let p = centre / shrink as f64 - 0.5;
        let (first, last) = (start / shrink, (start + len - 1) / shrink);
        let p = p.clamp(first as f64, last as f64);
        (p as usize, (p as usize + 1).min(last), p.fract())
    };
    let at = |plane: Plane<'_>, shrink, x, y| {
        let (x0, x1, fx) = axis(crop.x, crop.width, spec.width, x, shrink);
        let (y0, y1, fy) = axis(crop.y, crop.height, spec.height, y, shrink);
        let row = |y: usize| {
            let row = plane.row(y);
            f64::from(row[x0]) * (1.0 - fx) + f64::from(row[x1]) * fx
        };
        row(y0) * (1.0 - fy) + row(y1) * fy
    };
    each(spec, |c, x, y| {
        let l = (at(src.y(), 1, x, y) - f64::from(black)) / luma;
        let u = (at(src.u(), 2, x, y) - 128.0) / chroma;
        let v = (at(src.v(), 2, x, y) - 128.0) / chroma;
        let (r, b) = (l + 2.0 * (1.0 - wr) * v, l + 2.0 * (1.0 - wb) * u);
        let g = (l - wr * r - wb * b) / wg;
        [r, g, b][c].clamp(0.0, 1.0)
    })
}

fn from_tensor_twin(tensor: &[f32], spec: &FromTensor, range: Range, matrix: Matrix) -> Frame {
    let (width, height) = (spec.width, spec.height);
    let [wr, wg, wb] = weights(matrix, height);
    let (luma, chroma, black) = spans(range);
    let (ku, kv) = (
        (chroma / (8.0 * (1.0 - wb))) as f32,
        (chroma / (8.0 * (1.0 - wr))) as f32,
    );
    let value = |c: usize, x: usize, y: usize| {
        let (x, y) = (x.min(width - 1), y.min(height - 1));
        unit(tensor[(c * height + y) * width + x] * spec.scale[c] + spec.mean[c])
    };
    let light = |x, y| {
        (wr as f32 * value(0, x, y) + wg as f32 * value(1, x, y)) + wb as f32 * value(2, x, y)
    };
    let four = |q: &dyn Fn(usize, usize) -> f32, x: usize, y: usize| {
        (q(2 * x, 2 * y) + q(2 * x, 2 * y + 1)) + (q(2 * x + 1, 2 * y) + q(2 * x + 1, 2 * y + 1))
    };
    let mut dst = Frame::new(width, height).unwrap();
    (dst.range, dst.matrix) = (range, matrix);
    for (index, mut plane) in dst.planes_mut().into_iter().enumerate() {
        for (y, row) in plane.rows_mut().enumerate() {
            for (x, p) in row.iter_mut().enumerate() {
                let l = four(&light, x, y);
                *p = match index {
                    0 => light(x, y) * luma as f32 + black as f32,
                    1 => (four(&|x, y| value(2, x, y), x, y) - l) * ku + 128.0,
                    _ => (four(&|x, y| value(0, x, y), x, y) - l) * kv + 128.0,
                }
                .min(255.0)
                .round_ties_even() as u8;
            }
        }
    }
    dst
}

fn each<T>(spec: &ToTensor, value: impl Fn(usize, usize, usize) -> T) -> Vec<T> {
    let mut out = Vec::new();
    for c in 0..3 {
        for y in 0..spec.height {
            for x in 0..spec.width {
                out.push(value(c, x, y));
            }
        }
    }
    out
}

fn bits(tensor: &[f32]) -> Vec<u32> {
    tensor.iter().map(|x| x.to_bits()).collect()
}

// === specifications and pictures ===

const MATRICES: [Matrix; 4] = [
    Matrix::Unspecified,
    Matrix::Bt601,
    Matrix::Bt709,
    Matrix::Bt2020,
];

fn whole(src: &Frame) -> Crop {
    Crop {
        x: 0,
        y: 0,
        width: src.width(),
        height: src.height(),
    }
}

fn plain(width: usize, height: usize) -> FromTensor {
    FromTensor {
        width,
        height,
        mean: [0.0; 3],
        scale: [1.0; 3],
    }
}

fn plain_tensor(src: &Frame) -> Vec<f32> {
    let spec = ToTensor {
        crop: whole(src),
        width: src.width(),
        height: src.height(),
        mean: [0.0; 3],
        scale: [1.0; 3],
    };
    let mut out = vec![0.0; 3 * src.width() * src.height()];
    to_tensor_f32(src, &spec, &mut out, &mut Scratch::new()).unwrap();
    out
}

/// To a tensor of the picture's own size and back; normalised as image models are, or not.
fn there_and_back(src: &Frame, normalised: bool) -> (Vec<f32>, Frame) {
    let (mean, deviation) = if normalised {
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let there = ToTensor {
        crop: whole(src),
        width: src.width(),
        height: src.height(),
        mean,
        scale: deviation.map(|d: f32| 1.0 / d),
    };
    let back = FromTensor {
        width: src.width(),
        height: src.height(),
        mean,
        scale: deviation,
    };
    let mut tensor = vec![0.0; 3 * src.width() * src.height()];
    let mut scratch = Scratch::new();
    to_tensor_f32(src, &there, &mut tensor, &mut scratch).unwrap();
    let mut picture = Frame::default();
    (picture.range, picture.matrix) = (src.range, src.matrix);
    from_tensor_f32(&tensor, &back, &mut picture, &mut scratch).unwrap();
    (tensor, picture)
}

fn flat(y: u8, u: u8, v: u8) -> Frame {
    let mut frame = Frame::new(5, 4).unwrap();
    for (mut plane, value) in frame.planes_mut().into_iter().zip([y, u, v]) {
        plane.fill(value);
    }
    frame
}

fn ranges() -> impl Strategy<Value = Range> {
    prop_oneof![Just(Range::Limited), Just(Range::Full)]
}

fn matrices() -> impl Strategy<Value = Matrix> {
    (0..4_usize).prop_map(|i| MATRICES[i])
}

fn sides() -> impl Strategy<Value = usize> {
    prop_oneof![1..=3_usize, 1..=40_usize, 60..=70_usize]
}

fn frames() -> impl Strategy<Value = Frame> {
    (sides(), sides(), any::<u64>(), ranges(), matrices()).prop_map(
        |(width, height, seed, range, matrix)| {
            let mut frame = Frame::new(width, height).unwrap();
            (frame.range, frame.matrix) = (range, matrix);
            let mut state = seed | 1;
            for mut plane in frame.planes_mut() {
                for p in plane.rows_mut().flatten() {
                    *p = (next(&mut state) >> 32) as u8;
                }
            }
            frame
        },
    )
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Sizes of which some are the crop's own, along one axis or both.
fn pictures_to_tensors() -> impl Strategy<Value = (Frame, ToTensor)> {
    let numbers = || [-2.0..2.0_f32, -2.0..2.0_f32, -2.0..2.0_f32];
    (
        frames(),
        any::<[u16; 4]>(),
        sides(),
        sides(),
        0..4_u8,
        numbers(),
        numbers(),
    )
        .prop_map(|(src, [x, y, w, h], width, height, same, mean, scale)| {
            let (x, y) = (usize::from(x) % src.width(), usize::from(y) % src.height());
            let crop = Crop {
                x,
                y,
                width: 1 + usize::from(w) % (src.width() - x),
                height: 1 + usize::from(h) % (src.height() - y),
            };
            let spec = ToTensor {
                crop,
                width: if same & 1 == 0 { width } else { crop.width },
                height: if same & 2 == 0 { height } else { crop.height },
                mean,
                scale,
            };
            (src, spec)
        })
}

/// Numbers about 0 to 1 with some that are far off, infinite or none at all.
fn tensors() -> impl Strategy<Value = (Vec<f32>, FromTensor)> {
    let numbers = || [-2.0..2.0_f32, -2.0..2.0_f32, -2.0..2.0_f32];
    (sides(), sides(), any::<u64>(), numbers(), numbers()).prop_map(
        |(width, height, seed, mean, scale)| {
            let mut state = seed | 1;
            let tensor = (0..3 * width * height)
                .map(|_| {
                    let random = next(&mut state);
                    match random % 16 {
                        0 => f32::from_bits((random >> 32) as u32),
                        _ => (random >> 40) as f32 / 12e6 - 0.2,
                    }
                })
                .collect();
            let spec = FromTensor {
                width,
                height,
                mean,
                scale,
            };
            (tensor, spec)
        },
    )
}
