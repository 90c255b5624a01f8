//! A moving picture of any size, drawn: for when no clip of that size is at hand.
//!
//! ```text
//!   luma    slow waves of light that drift to the left, and tiles of grain that drift down: motion, edges and detail
//!   chroma  two ramps that turn with time
//! ```
//!
//! It is a function of its number and size alone, so that every run plays the same. How hard it is to code lies between a
//! talking head and a crowd; it stands for no one's video in particular.

/// Draws picture `number` into the planes of an I420 picture, luma first; none has padding.
pub(super) fn paint(number: usize, width: usize, height: usize, planes: &mut [Vec<u8>; 3]) {
    for (y, line) in planes[0].chunks_mut(width).enumerate().take(height) {
        for (x, sample) in line.iter_mut().enumerate() {
            let light = triangle(x * 2 + y + number * DRIFT_PX);
            *sample = light + grain(x / TILE_PX, (y + height - number % height) / TILE_PX);
        }
    }
    let [_, blue, red] = planes;
    for (plane, turn) in [(blue, 1), (red, 2)] {
        for (y, line) in plane.chunks_mut(width / 2).enumerate() {
            for (x, sample) in line.iter_mut().enumerate() {
                *sample = 32 + triangle(x * turn + y * (3 - turn) + number * turn);
            }
        }
    }
}

/// 0 to 127 and back in 512 steps.
fn triangle(at: usize) -> u8 {
    let phase = at % 512;
    let folded = if phase < 256 { phase } else { 511 - phase };
    folded.to_le_bytes()[0] / 2
}

/// 0 to 63, without a pattern that an encoder could find.
fn grain(x: usize, y: usize) -> u8 {
    let mixed =
        (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35);
    (mixed >> 13).to_le_bytes()[0] & 63
}

/// From one picture to the next.
const DRIFT_PX: usize = 3;
const TILE_PX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_is_the_same_again() {
        let draw = |number| {
            let mut planes = [vec![0; 64 * 48], vec![0; 32 * 24], vec![0; 32 * 24]];
            paint(number, 64, 48, &mut planes);
            planes
        };
        assert_eq!(draw(7), draw(7));
        for (before, after) in draw(7).iter().zip(&draw(8)) {
            assert_ne!(before, after);
        }
        let [luma, blue, red] = draw(1_000);
        assert!(luma.iter().max() > luma.iter().min());
        assert!(blue != red && luma.iter().all(|sample| *sample <= 190));
    }
}
