//! A clip with its slices damaged: what a bad camera, a bad link or a bad neighbour sends.
//!
//! ```text
//!   TS headers, PES, parameter sets, start codes     whole: the damage gets as far as the decoder
//!   slice NAL, header byte                           whole
//!   slice NAL, the rest                              in one frame of twelve or so, some bytes are other bytes
//! ```
//!
//! A decoder that has met damage shows nothing until the next key frame. With a key frame every thirty or so, it is hit in most groups
//! of pictures, and has had some work with them by then: a stream of nothing but damage would be the lightest load of all.
//!
//! Invariants:
//! - The same seed damages the same bytes.
//! - No frame changes its length, and none that was no key frame becomes one by its first NAL unit's type.

use super::clip::Clip;
use super::ts::is_slice;

/// Damages some frames of a clip; gives how many.
pub(super) fn damage(clip: &mut Clip, seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut damaged = 0;
    for frame in &mut clip.frames {
        if rng.u32(..FRAMES_A_HIT) == 0 {
            damaged += usize::from(damage_unit(&mut frame.unit, &mut rng));
        }
    }
    damaged
}

/// Whether there was a slice to damage.
fn damage_unit(unit: &mut [u8], rng: &mut fastrand::Rng) -> bool {
    let mut has_slice = false;
    for body in slice_bodies(unit) {
        has_slice = true;
        for _ in 0..body.len().div_ceil(BYTES_A_FLIP) {
            let at = rng.usize(body.clone());
            // Never the same byte again.
            unit[at] ^= rng.u8(1..);
        }
    }
    has_slice
}

/// Where the slices lie, without their start codes and header bytes; empty ones are left out.
fn slice_bodies(unit: &[u8]) -> Vec<std::ops::Range<usize>> {
    let starts: Vec<usize> = unit
        .windows(3)
        .enumerate()
        .filter(|(_, bytes)| *bytes == [0, 0, 1])
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([unit.len()]);
    starts
        .iter()
        .zip(ends)
        .filter(|(start, _)| unit.get(*start + 3).is_some_and(|header| is_slice(*header)))
        .map(|(start, end)| start + 4..end)
        .filter(|body| !body.is_empty())
        .collect()
}

const FRAMES_A_HIT: u32 = 12;
/// Often enough that no slice of a frame of some kilobytes is spared.
const BYTES_A_FLIP: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::clip::Making;
    use super::super::ts::{is_key, nal_types};
    use super::*;
    use crate::clock::SECOND;

    fn clip() -> Clip {
        let making = Making {
            fps: None,
            bitrate_bps: None,
            segment_ns: SECOND,
            is_marked: false,
        };
        Clip::load(None, making, &|_| {}).unwrap()
    }

    #[test]
    fn only_slices_are_damaged_and_the_same_ones_again() {
        let whole = clip();
        let (mut one, mut again, mut other) = (clip(), clip(), clip());
        let count = damage(&mut one, 7);
        assert_eq!(damage(&mut again, 7), count);
        damage(&mut other, 8);
        let frames = whole.frames.len();
        assert!((frames / 20..frames / 7).contains(&count), "{count}");
        let mut changed = 0;
        for ((frame, one), again) in whole.frames.iter().zip(&one.frames).zip(&again.frames) {
            assert_eq!(one.unit, again.unit);
            assert_eq!(one.unit.len(), frame.unit.len());
            assert_eq!(nal_types(&one.unit).next(), nal_types(&frame.unit).next());
            assert!(is_key(&one.unit) || !frame.is_key);
            // Up to the first slice nothing differs.
            let head = slice_bodies(&frame.unit).first().unwrap().start;
            assert_eq!(one.unit[..head], frame.unit[..head]);
            changed += usize::from(one.unit != frame.unit);
        }
        assert_eq!(changed, count);
        let differs = |(one, other): (
            &super::super::clip::ClipFrame,
            &super::super::clip::ClipFrame,
        )| { one.unit != other.unit };
        assert!(one.frames.iter().zip(&other.frames).any(differs));
    }

    #[test]
    fn what_has_no_slice_stays_whole() {
        let mut rng = fastrand::Rng::with_seed(1);
        for unit in [
            &b""[..],
            &[0, 0, 1],
            &[0, 0, 1, 0x65],
            &[0, 0, 1, 0x67, 1, 2, 3],
            &[9; 40],
        ] {
            let mut damaged = unit.to_vec();
            assert!(!damage_unit(&mut damaged, &mut rng));
            assert_eq!(damaged, unit);
        }
    }
}
