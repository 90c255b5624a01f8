//! The filters that see one sample at a time: a sample, what it is drawn to, and by how much.
//!
//! With `k = (128 · percent + 50) / 100`, which is 0 to 128,
//!
//! ```text
//!   out = x + (((to - x) · k + 64) >> 7)        arithmetic shift: rounds to nearest, halves upward
//! ```
//!
//! `(to - x) · k` is within ±255 · 128 = ±32 640, so 16 bits hold it with the 64 added. At 0 percent `out` is `x`,
//! at 100 it is `to`.
//!
//! | filter | luma is drawn to | chroma is drawn to |
//! |---|---|---|
//! | grayscale | itself | 128 |
//! | invert, limited range | 251 − x, x first clamped to 16..=235 | 255 − x |
//! | invert, full range | 255 − x | 255 − x |

use crate::frame::{Frame, Range};
use crate::plane::{Plane, PlaneMut};

pub(super) fn grayscale(amount_percent: u8, src: &Frame, dst: &mut Frame) {
    let k = weight(amount_percent);
    let [y, u, v] = dst.planes_mut();
    map(src.y(), y, |x| x);
    map(src.u(), u, |x| draw(x, 128, k));
    map(src.v(), v, |x| draw(x, 128, k));
}

pub(super) fn invert(amount_percent: u8, src: &Frame, dst: &mut Frame) {
    let k = weight(amount_percent);
    let [y, u, v] = dst.planes_mut();
    match src.range {
        // 16 + 235: black and white change places.
        Range::Limited => map(src.y(), y, |x| draw(x, 251 - x.clamp(16, 235), k)),
        Range::Full => map(src.y(), y, |x| draw(x, 255 - x, k)),
    }
    map(src.u(), u, |x| draw(x, 255 - x, k));
    map(src.v(), v, |x| draw(x, 255 - x, k));
}

fn weight(percent: u8) -> i16 {
    (128 * i16::from(percent) + 50) / 100
}

#[inline(always)]
fn draw(x: u8, to: u8, k: i16) -> u8 {
    let x = i16::from(x);
    (x + (((i16::from(to) - x) * k + 64) >> 7)) as u8
}

#[inline(always)]
fn map(src: Plane<'_>, mut dst: PlaneMut<'_>, each: impl Fn(u8) -> u8) {
    for (from, to) in src.rows().zip(dst.rows_mut()) {
        for (from, to) in from.iter().zip(to) {
            *to = each(*from);
        }
    }
}
