//! The decoder against a pretend driver: a table of C functions that run the callbacks as the real one does, in the same call.
//!
//! What this cannot show is that the real driver keeps to its header.
#![allow(unsafe_code, reason = "a pretend C library is one of C functions")]

mod fake;

use super::*;
use crate::check::tests::{LIMITS, STREAMS, units};
use crate::cuda::nvdec_chip::{IN_FLIGHT_MAX, OUTPUTS};
use crate::decode::Feature;
use fake::{API, Fake, PANICS, Pretend, fake, fresh};

const TICKS: i64 = 3000;
const SUCCESS: u32 = 2;
const IN_PROGRESS: u32 = 1;

fn decoder(codec: Codec) -> Decoder<Pretend> {
    let limits = Limits {
        width_max: 640,
        height_max: 640,
        ..LIMITS
    };
    Decoder::new(&API, Pretend, codec, limits)
}

fn order(name: &str) -> Vec<i64> {
    let stem = name.split('.').next().unwrap();
    let path = format!("{}/tests/data/{stem}.order", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read_to_string(path) {
        Ok(order) => order.lines().map(|line| line.parse().unwrap()).collect(),
        Err(_) => (0..).take(units(name).len()).collect(),
    }
}

fn timed(name: &str) -> Vec<(Vec<u8>, i64)> {
    let places = order(name);
    let all = units(name);
    assert_eq!(all.len(), places.len());
    all.into_iter()
        .zip(places.into_iter().map(|place| place * TICKS))
        .collect()
}

fn unit((data, pts): &(Vec<u8>, i64)) -> Unit<'_> {
    Unit { data, pts: *pts }
}

fn pts<S>(out: &[Decoded<S>]) -> Vec<i64> {
    out.iter().map(|picture| picture.pts / TICKS).collect()
}

/// Nothing is left behind.
fn all_given_back() {
    fake(|f| assert_eq!((f.decoders, f.parsers, f.mapped.len()), (0, 0, 0)));
}

#[test]
fn every_picture_comes_out_once_in_order_and_everything_is_given_back() {
    for (name, codec) in STREAMS {
        fresh();
        let all = timed(name);
        let mut decoder = decoder(codec);
        let mut out = Vec::new();
        for timed in &all {
            decoder.decode(unit(timed), &mut out).unwrap();
        }
        let held = all.len() - out.len();
        let depth = if name.contains("b3") || name.contains("open") {
            2
        } else {
            0
        };
        assert_eq!(held, depth, "{name}");
        decoder.flush(&mut out).unwrap();
        let expected: Vec<i64> = (0..all.len() as i64).collect();
        assert_eq!(pts(&out), expected, "{name}");
        let look = out[0].surface.look;
        assert_eq!(
            (look.range, look.matrix),
            (kernels::Range::Full, kernels::Matrix::Bt709)
        );
        assert_eq!(out[0].surface.rows - look.height, 4);
        assert_eq!(
            (out[0].width, out[0].height),
            (look.width as usize, look.height as usize)
        );
        drop(decoder);
        all_given_back();
        fake(|f| {
            assert!(f.mapped_max <= OUTPUTS && f.in_flight_max <= IN_FLIGHT_MAX);
            assert_eq!((f.maps, f.decoders_made, f.parsers_made), (all.len(), 1, 1));
            assert_eq!(f.sizes[0].2, 6, "the stream's five, and one");
            let bytes: usize = all.iter().map(|(data, _)| data.len()).sum();
            assert_eq!(f.bytes, bytes as u64);
        });
    }
}

#[test]
fn damage_is_told_and_the_next_key_picture_puts_it_right() {
    for status in [8, 9, 4_000_000_000] {
        fresh();
        fake(|f| f.status.insert(25, status));
        let all = timed("baseline.h264");
        let mut decoder = decoder(Codec::H264);
        let mut out = Vec::new();
        let errors: Vec<Option<Error>> = all
            .iter()
            .map(|timed| decoder.decode(unit(timed), &mut out).err())
            .collect();
        // A key picture is every twentieth.
        assert_eq!(
            errors[25],
            Some(Error::Damaged {
                code: status as i32
            })
        );
        assert!(
            errors[26..40]
                .iter()
                .all(|&error| error == Some(Error::AwaitingKey))
        );
        assert!(
            errors
                .iter()
                .take(25)
                .chain(&errors[40..])
                .all(Option::is_none)
        );
        assert_eq!(pts(&out), (0..25).chain(40..60).collect::<Vec<_>>());
        drop(decoder);
        all_given_back();
        fake(|f| assert_eq!((f.parsers_made, f.decoders_made), (2, 1)));
    }
}

#[test]
fn what_is_made_from_a_damaged_picture_is_dropped_and_a_key_picture_behind_it_is_not() {
    fresh();
    fake(|f| f.status.insert(18, 8));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..18] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    // Three in flight: the damaged one, one made from it, and a key picture.
    for timed in &all[18..21] {
        decoder.submit(unit(timed)).unwrap();
    }
    assert_eq!(decoder.collect(&mut out), Err(Error::Damaged { code: 8 }));
    assert_eq!(pts(&out)[17..], [17, 20]);
    // It goes on from there, with the same parser.
    for timed in &all[21..] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    assert_eq!(out.len(), 18 + 40);
    fake(|f| assert_eq!(f.parsers_made, 1));
}

#[test]
fn units_may_be_submitted_ahead_and_few_are_in_flight() {
    fresh();
    let all = timed("high-b3.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for chunk in all.chunks(15) {
        for timed in chunk {
            decoder.submit(unit(timed)).unwrap();
        }
        decoder.collect(&mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(pts(&out), (0..60).collect::<Vec<_>>());
    fake(|f| assert!(f.in_flight_max <= IN_FLIGHT_MAX, "{}", f.in_flight_max));
}

#[test]
fn a_slot_is_fetched_before_it_is_decoded_into_again() {
    fresh();
    fake(|f| f.slots = 1);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all {
        decoder.submit(unit(timed)).unwrap();
    }
    decoder.collect(&mut out).unwrap();
    assert_eq!(pts(&out), (0..60).collect::<Vec<_>>());
    // Each was fetched as what it was.
    fake(|f| assert_eq!(f.fetched, (0..60).collect::<Vec<_>>()));
}

#[test]
fn another_size_is_another_decoder_object_after_the_old_one_is_emptied() {
    fresh();
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..19] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    decoder.submit(unit(&all[19])).unwrap();
    fake(|f| f.width = 336);
    decoder.submit(unit(&all[20])).unwrap();
    decoder.collect(&mut out).unwrap();
    assert_eq!(pts(&out), (0..21).collect::<Vec<_>>());
    assert_eq!((out[19].width, out[20].width), (320, 336));
    fake(|f| assert_eq!((f.decoders, f.decoders_made), (1, 2)));
    drop(decoder);
    all_given_back();
}

#[test]
fn what_the_driver_says_of_a_sequence_is_checked_again() {
    let first = |set: &dyn Fn(&mut Fake)| {
        fresh();
        fake(set);
        let all = timed("baseline.h264");
        let mut decoder = decoder(Codec::H264);
        let mut out = Vec::new();
        let error = decoder.decode(unit(&all[0]), &mut out).err();
        assert!(out.is_empty());
        drop(decoder);
        all_given_back();
        error
    };
    let unsupported = |feature| Some(Error::Unsupported(feature));
    assert_eq!(
        first(&|f| f.chroma = Some(2)),
        unsupported(Feature::Chroma(2))
    );
    assert_eq!(
        first(&|f| f.chroma = Some(77)),
        unsupported(Feature::Chroma(77))
    );
    assert_eq!(
        first(&|f| f.width = 1920),
        Some(Error::TooLarge {
            width: 1920,
            height: 192
        })
    );
    assert_eq!(first(&|f| f.surfaces = 0), Some(damaged(code::RULE)));
    assert_eq!(first(&|f| f.surfaces = 200), Some(damaged(code::RULE)));
    assert_eq!(
        first(&|f| f.area_is_outside = true),
        Some(damaged(code::RULE))
    );
    assert_eq!(
        first(&|f| f.pictures_a_unit = 0),
        Some(damaged(code::MISSING))
    );
    assert!(matches!(
        first(&|f| f.width = 32),
        Some(Error::Device(Fault::Failed { .. }))
    ));
    let full = Fault::Full {
        call: "cuvidCreateDecoder",
        name: "memory",
    };
    assert_eq!(first(&|f| f.create_status = 2), Some(Error::Device(full)));
}

#[test]
fn a_second_picture_in_a_unit_is_damage() {
    fresh();
    fake(|f| f.pictures_a_unit = 2);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    assert_eq!(
        decoder.decode(unit(&all[0]), &mut out),
        Err(damaged(code::RULE))
    );
    assert_eq!(pts(&out), [0], "the first is whole");
    fake(|f| f.pictures_a_unit = 1);
    assert_eq!(
        decoder.decode(unit(&all[1]), &mut out),
        Err(Error::AwaitingKey)
    );
    assert_eq!(decoder.decode(unit(&all[20]), &mut out), Ok(()));
}

#[test]
fn a_panic_in_a_callback_stays_on_this_side() {
    fresh();
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    PANICS.set(true);
    let error = decoder.decode(unit(&all[0]), &mut out);
    PANICS.set(false);
    let expected = Fault::Failed {
        call: "a callback of the NVDEC parser",
        name: "a panic in this library",
    };
    assert_eq!(error, Err(Error::Device(expected)));
    // And it works on.
    assert_eq!(decoder.decode(unit(&all[20]), &mut out), Ok(()));
    assert_eq!(pts(&out), [20]);
    drop(decoder);
    all_given_back();
}

#[test]
fn a_chip_that_hangs_is_stuck_and_nothing_is_given_back_to_it() {
    fresh();
    fake(|f| f.status.insert(1, IN_PROGRESS));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    decoder.decode(unit(&all[0]), &mut out).unwrap();
    let error = decoder.decode(unit(&all[1]), &mut out);
    assert!(
        matches!(
            error,
            Err(Error::Device(Fault::Stuck { call: "NVDEC", .. }))
        ),
        "{error:?}"
    );
    assert!(matches!(
        decoder.decode(unit(&all[2]), &mut out),
        Err(Error::Device(Fault::Stuck { .. }))
    ));
    drop(decoder);
    // The parser is host memory; the decoder object goes with the context.
    fake(|f| assert_eq!((f.parsers, f.decoders, f.mapped.len()), (0, 1, 1)));
}

#[test]
fn a_chip_without_status_is_believed() {
    fresh();
    fake(|f| f.has_no_status = true);
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    assert_eq!(out.len(), 60);
    fake(|f| assert_eq!(f.queries, 1));
    drop(decoder);
    all_given_back();
    // One that knows nothing before the picture is mapped is asked again after.
    fresh();
    fake(|f| f.status.insert(0, 0));
    let mut decoder = super::tests::decoder(Codec::H264);
    decoder.decode(unit(&all[0]), &mut out).unwrap();
    fake(|f| assert_eq!(f.queries, 2));
}

#[test]
fn a_pool_that_is_full_hurts_one_and_leaves_no_map() {
    fresh();
    let full = Fault::Full {
        call: "the pool",
        name: "memory",
    };
    fake(|f| f.copy_fault = Some(full));
    let all = timed("baseline.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    assert_eq!(
        decoder.decode(unit(&all[0]), &mut out),
        Err(Error::Device(full))
    );
    drop(decoder);
    all_given_back();
}

#[test]
fn a_frame_that_is_not_shown_gives_no_picture() {
    fresh();
    fake(|f| f.pictures_a_unit = 2);
    let key = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30];
    let mut decoder = decoder(Codec::Vp9);
    let mut out = Vec::new();
    for pts in 0..5 {
        let data = if pts == 0 { &key[..] } else { &[0x86, 0, 0] };
        decoder
            .decode(
                Unit {
                    data,
                    pts: pts * TICKS,
                },
                &mut out,
            )
            .unwrap();
    }
    assert_eq!(pts(&out), [0, 1, 2, 3, 4]);
    fake(|f| assert_eq!((f.decoded, f.maps), (10, 5)));
    drop(decoder);
    all_given_back();
}

#[test]
fn a_reset_forgets_and_a_key_picture_begins() {
    fresh();
    let all = timed("high-b3.h264");
    let mut decoder = decoder(Codec::H264);
    let mut out = Vec::new();
    for timed in &all[..10] {
        decoder.submit(unit(timed)).unwrap();
    }
    decoder.reset();
    decoder.collect(&mut out).unwrap();
    assert!(out.is_empty());
    assert_eq!(
        decoder.decode(unit(&all[10]), &mut out),
        Err(Error::AwaitingKey)
    );
    for timed in &all[20..] {
        decoder.decode(unit(timed), &mut out).unwrap();
    }
    decoder.flush(&mut out).unwrap();
    assert_eq!(pts(&out), (20..60).collect::<Vec<_>>());
}

/// Units that are broken at random: bounded, no panic, and whole again from a key picture on.
#[test]
fn broken_streams_do_no_harm() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % end.max(1)
    };
    for (name, codec) in STREAMS {
        let whole = timed(name);
        for seed in 0..40 {
            fresh();
            let mut broken = whole.clone();
            for _ in 0..random(12) {
                let at = random(broken.len());
                let byte = random(broken[at].0.len());
                if seed % 3 == 0 {
                    broken[at].0.truncate(byte);
                } else if !broken[at].0.is_empty() {
                    broken[at].0[byte] ^= 1 << random(8);
                }
            }
            fake(|f| {
                f.status.insert(random(60), 8);
            });
            let mut decoder = decoder(codec);
            let mut out = Vec::new();
            for timed in &broken {
                let _ = decoder.decode(unit(timed), &mut out);
            }
            let _ = decoder.flush(&mut out);
            assert!(out.len() <= broken.len(), "{name} {seed}");
            out.clear();
            fake(|f| f.status.clear());
            for timed in &whole {
                decoder
                    .decode(unit(timed), &mut out)
                    .unwrap_or_else(|error| panic!("{name} {seed}: {error}"));
            }
            decoder.flush(&mut out).unwrap();
            assert_eq!(out.len(), whole.len(), "{name} {seed}");
            drop(decoder);
            all_given_back();
        }
    }
}

#[test]
fn abilities_and_limits_of_a_chip() {
    fresh();
    let caps = DEPTHS.map(|bits| API.caps(Codec::H265, bits).ok());
    let deep = ability(Codec::H265, caps).unwrap();
    assert_eq!(
        (deep.width_max, deep.height_max, deep.bits_max),
        (4096, 4096, 10)
    );
    // Ten bits that do not come out as NV12 do not count.
    fake(|f| f.nv12_mask = 2);
    let caps = DEPTHS.map(|bits| API.caps(Codec::H265, bits).ok());
    assert_eq!(ability(Codec::H265, caps).unwrap().bits_max, 8);
    assert_eq!(ability(Codec::Av1, [None, caps[0]]), None);
    let limits = limits(
        Config {
            width_max: 8000,
            height_max: 1080,
            unit_bytes_max: 5,
        },
        deep,
    );
    assert_eq!(
        (limits.width_max, limits.height_max, limits.unit_bytes_max),
        (4096, 1080, 5)
    );
}
