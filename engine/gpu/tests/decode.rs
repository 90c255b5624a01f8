//! What comes out of whole streams: every picture, in order, at its time, no later than it must.

mod common;

use common::{STREAMS, TICKS, decode_all, decoder, stream};
use gpu::decode::{Config, Error, Feature};
use gpu::{Backend, Codec, Cpu, Unavailable};
use kernels::psnr::psnr;

#[test]
fn every_picture_comes_out_in_order_with_its_timestamp() {
    for (name, _) in STREAMS {
        let units = stream(name);
        let pictures = decode_all(&units);
        let pts: Vec<i64> = pictures.iter().map(|picture| picture.pts).collect();
        let expected: Vec<i64> = (0..units.len() as i64).map(|i| i * TICKS).collect();
        assert_eq!(pts, expected, "{name}");
        for picture in &pictures {
            assert_eq!((picture.width, picture.height), (320, 180));
            assert_eq!(
                (picture.surface.width(), picture.surface.height()),
                (320, 180)
            );
        }
    }
}

/// A picture is that of its timestamp and not a neighbour's: two codings of one clip agree best when aligned.
#[test]
fn timestamps_are_on_the_right_pictures() {
    let truth = decode_all(&stream("baseline"));
    for name in ["high-zerolatency", "high-b3", "high422-b3", "main-b3"] {
        let pictures = decode_all(&stream(name));
        let mean = |shift: usize| {
            let pairs = pictures.iter().zip(&truth[shift..]);
            let all: Vec<f64> = pairs
                .map(|(a, b)| psnr(&a.surface, &b.surface).unwrap().y)
                .collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        assert!(mean(0) > 30.0, "{name}: {}", mean(0));
        assert!(mean(0) > mean(1) + 1.0, "{name}: {} {}", mean(0), mean(1));
    }
}

#[test]
fn the_delay_is_the_reorder_depth_and_no_more() {
    for (name, depth) in STREAMS {
        let mut decoder = decoder();
        let mut out = Vec::new();
        let mut since_key = 0;
        for (fed, timed) in stream(name).iter().enumerate() {
            decoder.decode(timed.unit(), &mut out).unwrap();
            since_key = if timed.is_key() { 1 } else { since_key + 1 };
            // A key picture lets everything before it go.
            let held = depth.min(since_key);
            assert_eq!(out.len(), fed + 1 - held, "{name} after unit {fed}");
        }
    }
}

#[test]
fn surfaces_come_back() {
    for (name, _) in STREAMS {
        let mut decoder = decoder();
        let mut out = Vec::new();
        let mut buffers = std::collections::HashSet::new();
        for timed in stream(name) {
            decoder.decode(timed.unit(), &mut out).unwrap();
            for picture in out.drain(..) {
                buffers.insert(picture.surface.y().bytes().as_ptr());
                decoder.recycle(picture.surface);
            }
        }
        assert!(
            buffers.len() <= 4,
            "{name}: {} buffers for 60 pictures",
            buffers.len()
        );
    }
}

#[test]
fn a_stream_is_joined_at_its_next_key_picture() {
    let units = stream("high-b3");
    let mut decoder = decoder();
    let mut out = Vec::new();
    let key = units
        .iter()
        .skip(1)
        .position(common::Timed::is_key)
        .unwrap()
        + 1;
    for timed in &units[3..key] {
        assert_eq!(
            decoder.decode(timed.unit(), &mut out),
            Err(Error::AwaitingKey)
        );
    }
    assert!(out.is_empty());
    for timed in &units[key..] {
        decoder.decode(timed.unit(), &mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(out.len(), units.len() - key);

    // And again after a reset, by the same rule.
    decoder.reset();
    out.clear();
    assert_eq!(
        decoder.decode(units[5].unit(), &mut out),
        Err(Error::AwaitingKey)
    );
    for timed in &units {
        decoder.decode(timed.unit(), &mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(out.len(), units.len());
}

#[test]
fn one_stream_may_follow_another() {
    let mut decoder = decoder();
    let mut out = Vec::new();
    for (name, _) in STREAMS {
        for timed in stream(name) {
            decoder.decode(timed.unit(), &mut out).unwrap();
        }
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(out.len(), 60 * STREAMS.len());
}

#[test]
fn limits_hold_before_memory_is_spent() {
    let units = stream("high-b3");
    let small = Config {
        width_max: 304,
        ..Config::default()
    };
    let mut decoder = Cpu.decoder(Codec::H264, small).unwrap();
    let mut out = Vec::new();
    let refused = Err(Error::TooLarge {
        width: 320,
        height: 192,
    });
    for timed in &units {
        assert_eq!(decoder.decode(timed.unit(), &mut out), refused);
    }

    let short = Config {
        unit_bytes_max: 100,
        ..Config::default()
    };
    let mut decoder = Cpu.decoder(Codec::H264, short).unwrap();
    let error = decoder.decode(units[0].unit(), &mut out).unwrap_err();
    assert!(matches!(error, Error::UnitTooLarge { limit: 100, .. }) && !error.is_fatal());

    // Ten thousand empty slices.
    let many: Vec<u8> = [0, 0, 1, 0x65, 0x88].repeat(10_000);
    let mut decoder = common::decoder();
    let unit = gpu::Unit {
        data: &many,
        pts: 0,
    };
    let error = decoder.decode(unit, &mut out).unwrap_err();
    assert!(matches!(error, Error::UnitTooLarge { limit: 1024, .. }));
    assert!(out.is_empty());
}

#[test]
fn what_is_not_supported_is_named() {
    let mut decoder = decoder();
    let mut out = Vec::new();
    for timed in stream("high444") {
        let error = decoder.decode(timed.unit(), &mut out).unwrap_err();
        assert_eq!(error, Error::Unsupported(Feature::Chroma(3)));
        assert_eq!(error.to_string(), "not supported: chroma format 4:4:4");
        assert!(error.is_fatal());
    }
    // A stream that it can decode may still follow.
    for timed in stream("baseline") {
        decoder.decode(timed.unit(), &mut out).unwrap();
    }
    assert_eq!(out.len(), 60);

    let refused = Cpu.decoder(Codec::H265, Config::default()).err().unwrap();
    assert_eq!(refused.to_string(), "cpu has no H.265 decoder");
    assert!(matches!(refused, Unavailable::Codec { .. }));
}

/// Every sample of a stream that openh264 does not read is what ffmpeg's decoder makes of it, brought to 4:2:0 and
/// 8 bits by the rule that `data/expected.py` states.
#[test]
fn other_formats_are_exact() {
    let lengths = [
        ("high422-b3", 60),
        ("high422-slices", 60),
        ("high422-10", 8),
        ("high10", 8),
        ("gray", 8),
    ];
    for (name, length) in lengths {
        let path = format!("{}/tests/data/{name}.fnv", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(path).unwrap();
        let pictures = decode_all(&stream(name));
        let got: Vec<String> = pictures.iter().map(|p| digest(&p.surface)).collect();
        assert_eq!(got, expected.lines().collect::<Vec<_>>(), "{name}");
        assert_eq!(got.len(), length, "{name}");
    }
}

fn digest(frame: &gpu::Frame) -> String {
    let planes = frame.planes();
    let bytes = planes.iter().flat_map(|plane| plane.rows().flatten());
    let fnv = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, fnv))
}
