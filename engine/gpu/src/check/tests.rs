//! Whole streams pass, and nothing that is made of them by force does harm.

use proptest::prelude::*;

use super::*;

pub(crate) const LIMITS: Limits = Limits {
    width_max: 1920,
    height_max: 1920,
    bits_max: 8,
    references_max: 16,
    unit_bytes_max: 1 << 20,
    slices_max: 64,
};

/// The fixtures that a device decodes, with their codec.
pub(crate) const STREAMS: [(&str, Codec); 6] = [
    ("baseline.h264", Codec::H264),
    ("high-b3.h264", Codec::H264),
    ("high-zerolatency.h264", Codec::H264),
    ("main-b3.h264", Codec::H264),
    ("main.h265", Codec::H265),
    ("main-open.h265", Codec::H265),
];

/// The access units of a fixture.
pub(crate) fn units(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let data = std::fs::read(path).unwrap();
    let mut units: Vec<Vec<u8>> = vec![Vec::new()];
    let mut has_slice = false;
    for nal in nal::units(&data).map(trimmed) {
        let (slice, first) = if name.ends_with("h265") {
            (nal[0] >> 1 & 0x3f < 32, nal[2] & 0x80 != 0)
        } else {
            (matches!(nal::kind(nal), 1 | 5), nal[1] & 0x80 != 0)
        };
        if has_slice && (first || !slice) {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= slice;
        append(nal, units.last_mut().unwrap());
    }
    units
}

fn kinds(codec: Codec, data: &[u8]) -> Vec<u8> {
    let kind = |nal: &[u8]| match codec {
        Codec::H265 => nal[0] >> 1 & 0x3f,
        _ => nal::kind(nal),
    };
    nal::units(data).map(kind).collect()
}

#[test]
fn whole_streams_pass_as_they_are() {
    for (name, codec) in STREAMS {
        let mut checker = Checker::new(codec, LIMITS);
        let mut keys = 0;
        for (i, unit) in units(name).iter().enumerate() {
            let admitted = checker
                .admit(unit)
                .unwrap_or_else(|error| panic!("{name} {i}: {error}"));
            assert_eq!(admitted.data, unit, "{name} {i}");
            keys += usize::from(admitted.key);
        }
        let expected = if codec == Codec::H264 { 3 } else { 2 };
        assert_eq!(keys, expected, "{name}");
        assert_eq!(
            checker.reorder(),
            Some(if name.contains('-') && !name.contains("zero") {
                2
            } else {
                0
            }),
            "{name}"
        );
    }
}

#[test]
fn only_parameter_sets_and_slices_pass() {
    for (name, codec) in STREAMS {
        let extras: &[&[u8]] = match codec {
            Codec::H265 => &[
                &[35 << 1, 1, 0x50],
                &[39 << 1, 1, 4, 9],
                &[38 << 1, 1],
                &[48 << 1, 1, 2],
                &[1 << 1, 9, 7],
            ],
            _ => &[
                &[9, 0xf0],
                &[6, 4, 200, 0x80],
                &[12, 255],
                &[24, 1],
                &[14, 3, 3],
                &[20, 1],
            ],
        };
        let mut checker = Checker::new(codec, LIMITS);
        for unit in units(name) {
            let mut noisy = Vec::new();
            for nal in nal::units(&unit) {
                extras.iter().for_each(|extra| append(extra, &mut noisy));
                append(nal, &mut noisy);
            }
            extras.iter().for_each(|extra| append(extra, &mut noisy));
            assert_eq!(checker.admit(&noisy).unwrap().data, unit, "{name}");
        }
    }
}

#[test]
fn a_set_is_the_same_whatever_zeros_follow_it() {
    for (name, codec) in STREAMS {
        let all = units(name);
        let mut padded = Vec::new();
        for nal in nal::units(&all[0]) {
            append(nal, &mut padded);
            padded.extend([0; 3]);
        }
        let mut checker = Checker::new(codec, LIMITS);
        assert_eq!(checker.admit(&padded).unwrap().data, all[0], "{name}");
        // Not taken for a change, which only a key picture may bring.
        let first_slice = nal::units(&all[0])
            .take_while(|nal| match codec {
                Codec::H265 => nal[0] >> 1 & 0x3f >= 32,
                _ => nal::kind(nal) >= nal::SPS,
            })
            .map(|nal| nal.len() + 3)
            .sum::<usize>();
        assert!(first_slice > 0);
        let repeated = [all[0][..first_slice].to_vec(), all[1].clone()].concat();
        assert!(checker.admit(&repeated).is_ok(), "{name}");
    }
}

#[test]
fn nothing_passes_before_a_key_picture() {
    for (name, codec) in STREAMS {
        let all = units(name);
        let mut checker = Checker::new(codec, LIMITS);
        // The sets are known, and still there is nothing to refer to.
        assert!(checker.admit(&all[0]).unwrap().key, "{name}");
        checker.lost();
        for unit in &all[1..3] {
            assert_eq!(checker.admit(unit), Err(Error::AwaitingKey), "{name}");
        }
    }
}

/// A stream that sends its sets once is shown them again after an error.
#[test]
fn kept_sets_are_shown_after_an_error() {
    for (name, codec) in STREAMS {
        let slices_only = |unit: &[u8]| {
            let mut out = Vec::new();
            let is_set = |nal: &[u8]| {
                matches!(
                    (codec, kinds(codec, &[&[0, 0, 1], nal].concat())[0]),
                    (Codec::H264, 7 | 8) | (Codec::H265, 32..=34)
                )
            };
            nal::units(unit)
                .filter(|nal| !is_set(nal))
                .for_each(|nal| append(nal, &mut out));
            out
        };
        let all = units(name);
        let mut checker = Checker::new(codec, LIMITS);
        checker.admit(&all[0]).unwrap();
        checker.lost();
        let bare = slices_only(&all[0]);
        assert!(bare.len() < all[0].len());
        assert_eq!(checker.admit(&bare).unwrap().data, all[0], "{name}");
        // And not twice.
        assert_eq!(checker.admit(&bare).unwrap().data, bare, "{name}");
    }
}

#[test]
fn streams_beyond_the_limits_are_refused_by_name() {
    let first =
        |name: &str, codec, limits| Checker::new(codec, limits).admit(&units(name)[0]).map(drop);
    let narrow = Limits {
        width_max: 304,
        ..LIMITS
    };
    let low = Limits {
        height_max: 176,
        ..LIMITS
    };
    assert_eq!(
        first("main-b3.h264", Codec::H264, narrow),
        Err(Error::TooLarge {
            width: 320,
            height: 192
        })
    );
    assert_eq!(
        first("main-b3.h264", Codec::H264, low),
        Err(Error::TooLarge {
            width: 320,
            height: 192
        })
    );
    assert_eq!(
        first(
            "main.h265",
            Codec::H265,
            Limits {
                width_max: 256,
                ..LIMITS
            }
        ),
        Err(Error::TooLarge {
            width: 320,
            height: 184
        })
    );
    for (name, codec, feature) in [
        ("high422.h264", Codec::H264, Feature::Chroma(2)),
        ("high444.h264", Codec::H264, Feature::Chroma(3)),
        ("gray.h264", Codec::H264, Feature::Chroma(0)),
        ("high10.h264", Codec::H264, Feature::BitDepth(10)),
        ("main10.h265", Codec::H265, Feature::BitDepth(10)),
    ] {
        assert_eq!(
            first(name, codec, LIMITS),
            Err(Error::Unsupported(feature)),
            "{name}"
        );
    }
    let deep = Limits {
        bits_max: 10,
        ..LIMITS
    };
    assert_eq!(first("high10.h264", Codec::H264, deep), Ok(()));
    assert_eq!(first("main10.h265", Codec::H265, deep), Ok(()));
    let few = Limits {
        references_max: 1,
        ..LIMITS
    };
    assert_eq!(
        first("high-b3.h264", Codec::H264, few),
        Err(damaged(code::RULE))
    );
    assert_eq!(
        first("main-open.h265", Codec::H265, few),
        Err(damaged(code::RULE))
    );
    let short = Limits {
        unit_bytes_max: 100,
        ..LIMITS
    };
    assert!(matches!(
        first("main.h265", Codec::H265, short),
        Err(Error::UnitTooLarge { limit: 100, .. })
    ));
    // A refused stream has that as its error, slice after slice, and the next that is fit passes.
    let mut checker = Checker::new(Codec::H264, LIMITS);
    for unit in units("high422.h264") {
        assert_eq!(
            checker.admit(&unit),
            Err(Error::Unsupported(Feature::Chroma(2)))
        );
    }
    assert!(checker.admit(&units("baseline.h264")[0]).is_ok());
}

#[test]
fn a_lost_reference_is_missed_and_a_lost_slice_of_two() {
    for (name, depth) in [("baseline.h264", 3), ("high-b3.h264", 4)] {
        let all = units(name);
        let mut checker = Checker::new(Codec::H264, LIMITS);
        let mut error = None;
        for (_, unit) in all.iter().enumerate().filter(|(i, _)| *i != 1) {
            error = error.or(checker.admit(unit).err());
        }
        assert_eq!(error, Some(damaged(code::MISSING)), "{name} within {depth}");
    }
    // Two pictures in one unit.
    for (name, codec) in STREAMS {
        let all = units(name);
        let joined = [all[0].clone(), all[1].clone()].concat();
        let mut checker = Checker::new(codec, LIMITS);
        assert_eq!(checker.admit(&joined), Err(damaged(code::RULE)), "{name}");
    }
    // Not the first slice.
    let sliced = units("high422-slices.h264");
    let second = nal::units(&sliced[1]).nth(1).unwrap();
    let mut unit = Vec::new();
    append(second, &mut unit);
    let mut checker = Checker::new(Codec::H264, LIMITS);
    checker.admit(&units("baseline.h264")[0]).unwrap();
    assert_eq!(checker.admit(&unit), Err(damaged(code::MISSING)));
}

#[test]
fn leading_pictures_of_a_stream_joined_late_are_left_out() {
    let all = units("main-open.h265");
    let cra = (0..all.len())
        .find(|&i| kinds(Codec::H265, &all[i]).contains(&21))
        .unwrap();
    let mut checker = Checker::new(Codec::H265, LIMITS);
    let admitted: Vec<bool> = all[cra..]
        .iter()
        .map(|unit| !checker.admit(unit).unwrap().data.is_empty())
        .collect();
    assert_eq!(admitted[..5], [true, false, false, false, true]);
    // In the midst of a stream they are as good as any.
    let mut checker = Checker::new(Codec::H265, LIMITS);
    assert!(
        all.iter()
            .all(|unit| !checker.admit(unit).unwrap().data.is_empty())
    );
}

#[test]
fn sets_alone_are_kept_and_shown_with_the_next_picture() {
    for (name, codec) in STREAMS {
        let all = units(name);
        let (mut sets, mut slices) = (Vec::new(), Vec::new());
        for nal in nal::units(&all[0]) {
            let set = kinds(codec, &[&[0, 0, 1], nal].concat())[0];
            let is_set = if codec == Codec::H265 {
                set >= 32
            } else {
                set >= 7
            };
            append(nal, if is_set { &mut sets } else { &mut slices });
        }
        let mut checker = Checker::new(codec, LIMITS);
        assert!(checker.admit(&sets).unwrap().data.is_empty(), "{name}");
        assert_eq!(checker.admit(&slices).unwrap().data, all[0], "{name}");
        // Between two pictures, too.
        assert!(checker.admit(&sets).unwrap().data.is_empty(), "{name}");
        assert_eq!(
            checker.admit(&all[1]).unwrap().data,
            [sets, all[1].clone()].concat(),
            "{name}"
        );
    }
}

#[test]
fn sets_without_end_are_not_kept() {
    let all = units("baseline.h264");
    let pps = nal::units(&all[0])
        .find(|nal| nal::kind(nal) == nal::PPS)
        .unwrap();
    let mut checker = Checker::new(Codec::H264, LIMITS);
    checker.admit(&all[0]).unwrap();
    let mut padded = pps.to_vec();
    padded.resize(SETS_BYTES_MAX, 0xff);
    let mut unit = Vec::new();
    append(&padded, &mut unit);
    assert!(matches!(
        checker.admit(&unit),
        Err(Error::UnitTooLarge {
            limit: SETS_BYTES_MAX,
            ..
        })
    ));
}

#[test]
fn vp9_and_av1_by_their_heads() {
    // A key frame of profile 0, 320x180: marker, profile, shown; sync code; BT.601, limited; the sides less one.
    let key = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30];
    let between = [0x86, 0, 0];
    let mut checker = Checker::new(Codec::Vp9, LIMITS);
    assert_eq!(checker.admit(&between), Err(Error::AwaitingKey));
    assert_eq!(checker.admit(&key).unwrap().data, key);
    assert!(!checker.admit(&between).unwrap().key);
    let narrow = Limits {
        width_max: 256,
        ..LIMITS
    };
    assert_eq!(
        Checker::new(Codec::Vp9, narrow).admit(&key),
        Err(Error::TooLarge {
            width: 320,
            height: 180
        })
    );
    let odd = Err(Error::Unsupported(Feature::Profile(1)));
    assert_eq!(checker.admit(&[0xa0, 0]), odd);
    // A delimiter, then a sequence header of two bytes, then a frame.
    let (start, frame) = ([0x12, 0, 0x0a, 2, 1, 2, 0x32, 1, 7], [0x12, 0, 0x32, 1, 7]);
    let mut checker = Checker::new(Codec::Av1, LIMITS);
    assert_eq!(checker.admit(&frame), Err(Error::AwaitingKey));
    assert!(checker.admit(&start).unwrap().key);
    assert_eq!(checker.admit(&frame).unwrap().data, frame);
    assert_eq!(
        checker.admit(&[0x12, 0, 0x32, 9, 7]),
        Err(damaged(code::SYNTAX))
    );
}

/// Every field of the parameter sets and slice heads, a bit at a time.
#[test]
fn flipped_bits_never_panic() {
    for (name, codec) in STREAMS {
        let all = units(name);
        let head = all[0].len().min(160);
        for bit in 0..head * 8 {
            let mut flipped = all[0].clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut checker = Checker::new(codec, LIMITS);
            for unit in std::iter::once(&flipped).chain(&all[1..3]).chain(&all[..2]) {
                if let Ok(admitted) = checker.admit(unit) {
                    assert!(admitted.data.len() <= unit.len() + SETS_BYTES_MAX);
                }
            }
            assert!(
                checker.admit(&all[0]).is_ok(),
                "{name}: the next key picture passes after bit {bit}"
            );
        }
        for len in 0..head {
            let _ = Checker::new(codec, LIMITS).admit(&all[0][..len]);
        }
    }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::H264),
        Just(Codec::H265),
        Just(Codec::Vp9),
        Just(Codec::Av1)
    ]
}

/// Units of NAL units that begin as some do and go on as they like.
fn garbage() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop_oneof![
        Just(vec![0x67, 66, 0, 40]),
        Just(vec![0x68]),
        Just(vec![0x65, 0x88]),
        Just(vec![0x41, 0x9a]),
        Just(vec![64, 1]),
        Just(vec![66, 1, 1, 1]),
        Just(vec![68, 1]),
        Just(vec![40, 1, 0xa0]),
        any::<[u8; 2]>().prop_map(|bytes| bytes.to_vec())
    ];
    let nal = (kind, prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(kind, rest)| [vec![0, 0, 1], kind, rest].concat());
    let unit = prop::collection::vec(nal, 0..5).prop_map(|nals| nals.concat());
    prop::collection::vec(unit, 1..6)
}

proptest! {
    #[test]
    fn garbage_does_no_harm(codec in codec(), units in garbage()) {
        let mut checker = Checker::new(codec, LIMITS);
        let mut opened = false;
        for unit in units {
            match checker.admit(&unit) {
                Ok(admitted) => {
                    prop_assert!(admitted.data.len() <= unit.len() + SETS_BYTES_MAX);
                    opened |= admitted.key;
                    prop_assert!(opened || admitted.data.is_empty());
                }
                Err(_) => opened = false,
            }
        }
    }

    #[test]
    fn bytes_that_are_no_stream_do_no_harm(codec in codec(), data in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Checker::new(codec, LIMITS).admit(&data);
    }
}
