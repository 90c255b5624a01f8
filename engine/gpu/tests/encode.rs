//! What the encoder promises, seen through the decoder.

mod common;

use common::{TICKS, access_units, decode_all, decoder, stream};
use gpu::encode::{Config, Error};
use gpu::{Backend, Codec, Cpu, Encode, Filter, Frame, Step, Unit};
use kernels::psnr::psnr;
use kernels::{Matrix, Range};

fn encoder(config: Config) -> Box<dyn Encode<Frame>> {
    Cpu.encoder(Codec::H264, config).unwrap()
}

fn clip() -> Vec<Frame> {
    let pictures = decode_all(&stream("high-zerolatency"));
    pictures
        .into_iter()
        .map(|picture| picture.surface)
        .collect()
}

fn filtered(filter: Filter, frames: &[Frame]) -> Vec<Frame> {
    let mut processor = Cpu.processor().unwrap();
    let each = |frame: &Frame| {
        let mut out = Cpu.surface().unwrap();
        processor
            .process_one(&Step::Filter(filter), frame, &mut out)
            .unwrap();
        out
    };
    frames.iter().map(each).collect()
}

/// The types of the NAL units of an access unit.
fn kinds(data: &[u8]) -> Vec<u8> {
    let starts = data.windows(4).filter(|window| window[..3] == [0, 0, 1]);
    starts.map(|window| window[3] & 0x1f).collect()
}

#[test]
fn quality_holds_even_for_edges() {
    for filter in [Filter::Passthrough, Filter::Edges { gain_percent: 100 }] {
        let source = filtered(filter, &clip());
        let mut encoder = encoder(Config::default());
        let mut decoder = decoder();
        let (mut data, mut out, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (i, frame) in source.iter().enumerate() {
            let pts = i as i64 * TICKS;
            data.clear();
            let coded = encoder.encode(frame, pts, false, &mut data).unwrap();
            assert_eq!(coded.bytes, data.len());
            decoder.decode(Unit { data: &data, pts }, &mut out).unwrap();
            // No delay: the picture is out already.
            let picture = out.pop().unwrap();
            assert!(out.is_empty() && picture.pts == pts);
            sum += psnr(frame, &picture.surface).unwrap().y;
            decoder.recycle(picture.surface);
        }
        let mean = sum / source.len() as f64;
        assert!(mean >= 33.0, "{filter:?}: {mean:.2} dB");
    }
}

#[test]
fn key_pictures_are_where_they_are_asked_for() {
    let config = Config {
        key_interval: 0,
        ..Config::default()
    };
    let mut encoder = encoder(config);
    for (i, frame) in clip().iter().enumerate() {
        let mut data = Vec::new();
        let force = [7, 8, 31].contains(&i);
        let coded = encoder
            .encode(frame, i as i64 * TICKS, force, &mut data)
            .unwrap();
        assert_eq!(coded.key, i == 0 || force, "picture {i}");
        let expected: &[u8] = if coded.key { &[7, 8, 5] } else { &[1] };
        assert_eq!(kinds(&data), expected, "picture {i}");
    }
}

#[test]
fn key_pictures_come_at_their_interval() {
    let config = Config {
        key_interval: 12,
        ..Config::default()
    };
    let mut encoder = encoder(config);
    let mut data = Vec::new();
    for (i, frame) in clip().iter().enumerate() {
        let coded = encoder
            .encode(frame, i as i64 * TICKS, false, &mut data)
            .unwrap();
        assert_eq!(coded.key, i % 12 == 0, "picture {i}");
    }
    assert_eq!(access_units(&data).len(), 60);
}

#[test]
fn the_size_may_change_at_any_picture() {
    let mut encoder = encoder(Config::default());
    let mut decoder = decoder();
    let sizes = [
        (320, 180),
        (322, 178),
        (161, 91),
        (16, 16),
        (17, 640),
        (320, 180),
    ];
    let mut pts = 0;
    for (width, height) in sizes {
        for i in 0..3 {
            let mut frame = Frame::new(width, height).unwrap();
            for mut plane in frame.planes_mut() {
                plane.fill(90 + 10 * i);
            }
            let (mut data, mut out) = (Vec::new(), Vec::new());
            let coded = encoder.encode(&frame, pts, false, &mut data).unwrap();
            assert_eq!(coded.key, i == 0, "{width}x{height}");
            decoder.decode(Unit { data: &data, pts }, &mut out).unwrap();
            // Odd sizes lose their last column or row.
            assert_eq!((out[0].width, out[0].height), (width & !1, height & !1));
            let got = out[0].surface.y().row(0)[0];
            assert!(got.abs_diff(90 + 10 * i) <= 3, "{width}x{height}: {got}");
            pts += TICKS;
        }
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let mut encoder = encoder(Config::default());
    let mut data = Vec::new();
    for (width, height) in [(15, 100), (100, 15), (3842, 100), (3000, 3000)] {
        let frame = Frame::new(width, height).unwrap();
        let error = encoder.encode(&frame, 0, false, &mut data).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
    let error = encoder
        .encode(&Frame::default(), 0, true, &mut data)
        .unwrap_err();
    assert!(matches!(error, Error::Size { .. }));
    assert!(data.is_empty());
    assert!(
        encoder
            .encode(&Frame::new(64, 64).unwrap(), 0, false, &mut data)
            .unwrap()
            .key
    );
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let zero = Config {
        fps_num: 0,
        ..Config::default()
    };
    let coarse = Config {
        qp_max: 60,
        ..Config::default()
    };
    for config in [zero, coarse] {
        assert!(Cpu.encoder(Codec::H264, config).is_err());
    }
    assert!(Cpu.encoder(Codec::H265, Config::default()).is_err());
}

#[test]
fn odd_timestamps_do_no_harm() {
    let mut encoder = encoder(Config::default());
    let frame = Frame::new(64, 64).unwrap();
    for pts in [i64::MIN, 0, i64::MAX, -1, 5] {
        encoder.encode(&frame, pts, false, &mut Vec::new()).unwrap();
    }
}

#[test]
fn what_colours_mean_is_passed_on() {
    for (range, matrix) in [
        (Range::Limited, Matrix::Unspecified),
        (Range::Full, Matrix::Unspecified),
        (Range::Limited, Matrix::Bt601),
        (Range::Full, Matrix::Bt709),
        (Range::Limited, Matrix::Bt2020),
    ] {
        let mut frame = Frame::new(64, 64).unwrap();
        (frame.range, frame.matrix) = (range, matrix);
        let (mut data, mut out) = (Vec::new(), Vec::new());
        encoder(Config::default())
            .encode(&frame, 0, false, &mut data)
            .unwrap();
        decoder()
            .decode(
                Unit {
                    data: &data,
                    pts: 0,
                },
                &mut out,
            )
            .unwrap();
        assert_eq!(
            (out[0].surface.range, out[0].surface.matrix),
            (range, matrix)
        );
    }
}
