//! Damaged and invented streams: no panic, no crash, bounded output, and whole pictures again at the next key picture.

mod common;

use common::{Random, STREAMS, TICKS, Timed, decoder, is_wide, stream};
use gpu::{Decode, Frame, Unit};

/// Feeds damaged units, then a whole stream, which must come out whole.
fn survives(decoder: &mut dyn Decode<Frame>, damaged: &[Vec<u8>], whole: &[Timed], context: &str) {
    let mut out = Vec::new();
    for (i, data) in damaged.iter().enumerate() {
        let pts = i as i64 * TICKS;
        let _ = decoder.decode(Unit { data, pts }, &mut out);
        assert!(out.len() <= 20 * (i + 1), "{context}");
        for picture in out.drain(..) {
            assert!(picture.width <= 1920 && picture.height <= 1920, "{context}");
            decoder.recycle(picture.surface);
        }
    }
    decoder.flush(&mut out).unwrap();
    out.clear();
    for timed in whole {
        let result = decoder.decode(timed.unit(), &mut out);
        assert!(result.is_ok(), "{context}: {result:?}");
    }
    decoder.flush(&mut out).unwrap();
    let pts: Vec<i64> = out.iter().map(|picture| picture.pts).collect();
    let expected: Vec<i64> = (0..whole.len() as i64).map(|i| i * TICKS).collect();
    assert_eq!(pts, expected, "{context}");
}

fn for_each_seed(seeds: u64, damage: impl Fn(&mut Random, &mut Vec<Vec<u8>>)) {
    for (name, _) in STREAMS {
        // rust_h264 is not optimised in a test build.
        let seeds = if is_wide(name) { seeds / 4 } else { seeds };
        let whole = stream(name);
        // The first group of pictures is enough to break things with and to recover on.
        let group: Vec<Timed> = stream(name).into_iter().take(20).collect();
        let mut kept = decoder();
        for seed in 0..seeds {
            let mut random = Random::new(seed);
            let mut units: Vec<Vec<u8>> = whole.iter().take(24).map(|t| t.data.clone()).collect();
            damage(&mut random, &mut units);
            let context = format!("{name}, seed {seed}");
            // Both a decoder that has been through everything before and one that has seen nothing.
            survives(kept.as_mut(), &units, &group, &context);
            if seed % 4 == 0 {
                survives(decoder().as_mut(), &units, &group, &context);
            }
        }
    }
}

/// A stream that sends its parameter sets once recovers as well.
#[test]
fn parameter_sets_are_remembered() {
    for (name, _) in STREAMS {
        let mut units = stream(name);
        for timed in units.iter_mut().skip(1).filter(|timed| timed.is_key()) {
            let idr = timed
                .data
                .windows(4)
                .position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 5);
            timed.data.drain(..idr.unwrap());
        }
        let mut decoder = decoder();
        let mut out = Vec::new();
        let mut errors = 0;
        for (i, timed) in units.iter().enumerate() {
            let mut data = timed.data.clone();
            if i == 7 {
                data.truncate(data.len() / 2);
            }
            let pts = timed.pts;
            errors += usize::from(decoder.decode(Unit { data: &data, pts }, &mut out).is_err());
        }
        decoder.flush(&mut out).unwrap();
        // From the damaged picture to the next key picture, and nothing more.
        assert_eq!((errors, out.len()), (13, 47), "{name}");
    }
}

/// A slice or a picture that is not there is an error, not a picture made of what is.
#[test]
fn what_is_lost_is_missed() {
    // The unit is one that later ones are made from.
    for (name, place) in [("high422-slices", 4), ("high422-b3", 1)] {
        let units = stream(name);
        let slices = |data: &[u8]| -> Vec<usize> {
            let at =
                |&at: &usize| data[at..at + 3] == [0, 0, 1] && matches!(data[at + 3] & 0x1f, 1 | 5);
            (0..data.len() - 4).filter(at).collect()
        };
        let count = slices(&units[place].data).len();
        for lost in 0..count {
            let mut decoder = decoder();
            let mut out = Vec::new();
            let mut errors = 0;
            for (i, timed) in units.iter().take(20).enumerate() {
                let mut data = timed.data.clone();
                if i == place {
                    let starts = slices(&data);
                    let end = starts.get(lost + 1).copied().unwrap_or(data.len());
                    data.drain(starts[lost]..end);
                }
                let pts = timed.pts;
                errors += usize::from(decoder.decode(Unit { data: &data, pts }, &mut out).is_err());
            }
            decoder.flush(&mut out).unwrap();
            // A unit that is gone altogether is missed by the next.
            let missed = 20 - place - usize::from(count == 1);
            assert_eq!(
                (errors, out.len()),
                (missed, place),
                "{name} without slice {lost}"
            );
        }
    }
}

#[test]
fn flipped_bits() {
    for_each_seed(60, |random, units| {
        for _ in 0..=random.below(12) {
            let unit = random.below(units.len());
            let at = random.below(units[unit].len());
            units[unit][at] ^= 1 << random.below(8);
        }
    });
}

#[test]
fn damaged_parameter_sets() {
    for_each_seed(60, |random, units| {
        for _ in 0..=random.below(3) {
            let at = 3 + random.below(32);
            units[0][at] ^= 1 << random.below(8);
        }
    });
}

#[test]
fn cut_and_lost_units() {
    for_each_seed(40, |random, units| {
        for _ in 0..=random.below(4) {
            let unit = random.below(units.len());
            let len = random.below(units[unit].len());
            units[unit].truncate(len);
        }
        for _ in 0..random.below(3) {
            units.remove(random.below(units.len()));
        }
    });
}

#[test]
fn shuffled_and_joined_units() {
    for_each_seed(40, |random, units| {
        for _ in 0..random.below(8) {
            let (a, b) = (random.below(units.len()), random.below(units.len()));
            units.swap(a, b);
        }
        let into = random.below(units.len());
        let joined = units[random.below(units.len())].clone();
        units[into].extend(joined);
    });
}

#[test]
fn noise() {
    for_each_seed(40, |random, units| {
        for unit in units.iter_mut().skip(random.below(6)) {
            let kept = random.below(unit.len());
            for byte in &mut unit[kept..] {
                *byte = random.below(256) as u8;
            }
        }
        units.push(
            (0..random.below(3000))
                .map(|_| random.below(256) as u8)
                .collect(),
        );
        units.push(Vec::new());
        units.push(vec![0; 50]);
    });
}
