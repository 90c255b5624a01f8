//! Where bilinear sampling reads, and how much of each neighbour it takes: in fixed point, so that it is exact.
//!
//! A sample of the output has its centre somewhere in the plane that is read. Positions count from the plane's left
//! (or top) edge, so the centre of sample `i` is at `i + 1/2`. With `P = n/d` the position of the output's centre,
//!
//! ```text
//!   n = base + (2x + 1) · step                        d = denominator            x: the output's sample
//!   p = floor(256 n / d + 1/2) - 128                  256ths of a sample, from the centre of sample 0
//!   p = clamp(p, 256 · first, 256 · last)             beyond the edge is the nearest sample inside
//!   index = p >> 8      weight = p & 255              of the next sample; where index is last, weight is 0
//!
//!   t = a (256 - wy) + b wy                           down a column, at most 255 · 256 = 65 280: 16 bits
//!   s = t (256 - wx) + t' wx                          along the row, at most 255 · 65 536: 24 bits, an exact f32
//! ```
//!
//! Nothing is rounded but the position, which is right to 1/512 of a sample. Where a plane is read at its own size,
//! `n/d = x + 1/2`, every weight is 0 and `s` is the sample times 65 536.
//!
//! `256 n` may pass 2^32, so it is divided in two steps: `q = n / d`, `r = n mod d`, and then
//! `floor((256 n + d/2) / d) = 256 q + floor((256 r + d/2) / d)`.

use alloc::vec::Vec;

use crate::frame::DIMENSION_MAX;

/// One column more than the widest plane, so that the neighbour of the last sample is there to be read.
const LINE_LEN: usize = DIMENSION_MAX + 1;

/// How the centres of the output's samples lie along one axis of a plane. See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) base: u32,
    pub(super) step: u32,
    pub(super) denominator: u32,
    /// The first and the last sample that may be read.
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Walk {
    /// The sample to read and the weight, in 256ths, of the one after it.
    pub(super) fn tap(self, x: usize) -> (usize, u16) {
        let n = self.base + (2 * x as u32 + 1) * self.step;
        let (whole, part) = (n / self.denominator, n % self.denominator);
        let rounded = (256 * part + self.denominator / 2) / self.denominator;
        let position = (256 * whole + rounded).saturating_sub(128);
        let position = position.clamp(256 * self.first, 256 * self.last);
        ((position >> 8) as usize, (position & 255) as u16)
    }
}

/// The taps of one axis, kept from frame to frame while nothing changes. Indices count from [`Walk::first`].
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    of: Option<(Walk, usize)>,
    taps: Vec<(u16, u16)>,
    pattern: Pattern,
}

/// Ways of walking that need no table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pattern {
    #[default]
    Any,
    /// Sample for sample.
    Same,
    /// Two outputs a sample, a quarter to its left and a quarter to its right. `lone`: the first output is to the
    /// left of the first sample, and pairs begin after it.
    Doubled { lone: bool },
}

/// One row of a plane, blended with the next and times 256.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<u16>);

impl Axis {
    pub(super) fn set(&mut self, walk: Walk, len: usize) {
        if self.of == Some((walk, len)) {
            return;
        }
        self.taps.clear();
        self.taps.extend((0..len).map(|x| {
            let (index, weight) = walk.tap(x);
            (index as u16 - walk.first as u16, weight)
        }));
        let is = |pattern: &Pattern| {
            let last = (walk.last - walk.first) as u16;
            len <= pattern.outputs_max(usize::from(last) + 1)
                && (self.taps.iter().enumerate()).all(|(x, &tap)| pattern.tap(x, last) == tap)
        };
        self.pattern = [
            Pattern::Same,
            Pattern::Doubled { lone: true },
            Pattern::Doubled { lone: false },
        ]
        .into_iter()
        .find(is)
        .unwrap_or_default();
        self.of = Some((walk, len));
    }

    /// Samples that are read, from [`Walk::first`].
    fn source_len(&self) -> usize {
        self.of
            .map_or(0, |(walk, _)| (walk.last - walk.first) as usize + 1)
    }

    /// `out[x]` is `s`: 65 536 times what the row is at output `x`.
    pub(super) fn row(&self, line: &Line, out: &mut [i32]) {
        let line = line.samples();
        match self.pattern {
            Pattern::Same => {
                for (out, t) in out.iter_mut().zip(line) {
                    *out = i32::from(*t) << 8;
                }
            }
            Pattern::Doubled { lone } => doubled(&line[..=self.source_len()], lone, out),
            Pattern::Any => {
                for (out, (index, weight)) in out.iter_mut().zip(&self.taps) {
                    // The remainder is the index itself; it tells the compiler that the line is long enough.
                    let index = usize::from(*index) % DIMENSION_MAX;
                    let (t, next) = (i32::from(line[index]), i32::from(line[index + 1]));
                    *out = (t << 8) + (next - t) * i32::from(*weight);
                }
            }
        }
    }
}

/// `line` has the last sample twice, so the right neighbour of the last sample is itself.
fn doubled(line: &[u16], lone: bool, out: &mut [i32]) {
    let (left, pairs) = out.split_at_mut(usize::from(lone));
    left.fill(i32::from(line[0]) << 8);
    let neighbours = line.iter().zip(&line[1..]);
    let mut pairs = pairs.chunks_exact_mut(2);
    let mut end = 0;
    for (pair, (t, next)) in pairs.by_ref().zip(neighbours) {
        let (t, next) = (i32::from(*t), i32::from(*next));
        pair[0] = t * 192 + next * 64;
        pair[1] = t * 64 + next * 192;
        end += 1;
    }
    if let [out] = pairs.into_remainder() {
        *out = i32::from(line[end]) * 192 + i32::from(line[end + 1]) * 64;
    }
}

impl Pattern {
    /// The tap of output `x` under this pattern, `last` being the last sample.
    fn tap(self, x: usize, last: u16) -> (u16, u16) {
        let x = x as u32;
        let position = match self {
            Self::Any => return (u16::MAX, u16::MAX),
            Self::Same => 256 * x,
            Self::Doubled { lone: false } => 128 * x + 64,
            Self::Doubled { lone: true } => (128 * x).saturating_sub(64),
        };
        let position = position.min(256 * u32::from(last));
        ((position >> 8) as u16, (position & 255) as u16)
    }

    /// The most outputs that this pattern makes of so many samples.
    fn outputs_max(self, samples: usize) -> usize {
        match self {
            Self::Any => usize::MAX,
            Self::Same => samples,
            Self::Doubled { lone } => 2 * samples + usize::from(lone),
        }
    }
}

impl Line {
    /// Blends two rows of equal length; `weight` is the second's, in 256ths.
    pub(super) fn blend(&mut self, above: &[u8], below: &[u8], weight: u16) {
        self.0.resize(LINE_LEN, 0);
        let line = &mut self.0[..=above.len()];
        if weight == 0 {
            for (t, a) in line.iter_mut().zip(above) {
                *t = u16::from(*a) << 8;
            }
        } else {
            for ((t, a), b) in line.iter_mut().zip(above).zip(below) {
                *t = u16::from(*a) * (256 - weight) + u16::from(*b) * weight;
            }
        }
        line[above.len()] = line[above.len() - 1];
    }

    fn samples(&self) -> &[u16; LINE_LEN] {
        match self.0.first_chunk() {
            Some(samples) => samples,
            None => unreachable!("a line is blended before it is read"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_tap_is_the_position_to_a_512th(
            start in 0..200_u32, length in 1..400_u32, out in 1..400_u32, shrink in 1..=2_u32, x in 0..400_u32,
        ) {
            let x = x % out;
            let walk = walk(start, length, out, shrink);
            let (index, weight) = walk.tap(x as usize);
            let exact = (f64::from(start) + (f64::from(x) + 0.5) * f64::from(length) / f64::from(out))
                / f64::from(shrink) - 0.5;
            let exact = exact.clamp(f64::from(walk.first), f64::from(walk.last));
            let got = index as f64 + f64::from(weight) / 256.0;
            prop_assert!((got - exact).abs() <= 1.0 / 512.0, "{got} for {exact}");
            prop_assert!(index as u32 <= walk.last && (weight == 0 || (index as u32) < walk.last));
        }

        #[test]
        fn a_pattern_is_its_table(start in 0..9_u32, length in 1..40_u32, out in 1..40_u32, shrink in 1..=2_u32) {
            let walk = walk(start, length, if out > 30 { length } else { out }, shrink);
            let len = if out > 30 { length } else { out } as usize;
            let source: Vec<u8> = (0..=walk.last).map(|i| (i * 89 % 256) as u8).collect();
            let mut axis = Axis::default();
            axis.set(walk, len);
            let mut line = Line::default();
            line.blend(&source[walk.first as usize..], &source[walk.first as usize..], 0);
            let mut got = alloc::vec![0; len];
            axis.row(&line, &mut got);
            for (x, got) in got.into_iter().enumerate() {
                let (index, weight) = walk.tap(x);
                let next = source[(index + 1).min(walk.last as usize)];
                let (t, next) = (256 * i32::from(source[index]), 256 * i32::from(next));
                prop_assert_eq!(got, t * (256 - i32::from(weight)) + next * i32::from(weight));
            }
        }
    }

    #[test]
    fn the_patterns_are_found() {
        for (start, shrink, pattern) in [
            (3, 1, Pattern::Same),
            (4, 2, Pattern::Doubled { lone: true }),
            (5, 2, Pattern::Doubled { lone: false }),
        ] {
            let mut axis = Axis::default();
            axis.set(walk(start, 20, 20, shrink), 20);
            assert_eq!(axis.pattern, pattern);
        }
    }

    fn walk(start: u32, length: u32, out: u32, shrink: u32) -> Walk {
        Walk {
            base: 2 * start * out,
            step: length,
            denominator: 2 * out * shrink,
            first: start / shrink,
            last: (start + length - 1) / shrink,
        }
    }
}
