//! The Sobel gradient of luma.
//!
//! With `p` the luma plane, whose edge samples repeat outward,
//!
//! ```text
//!   gx = p[-1,+1] + 2 p[0,+1] + p[+1,+1] - p[-1,-1] - 2 p[0,-1] - p[+1,-1]        [row, column]
//!   gy = p[+1,-1] + 2 p[+1,0] + p[+1,+1] - p[-1,-1] - 2 p[-1,0] - p[-1,+1]
//!   m  = |gx| + |gy|                                                   0 to 2040
//!   e  = (8 m · G) >> 16        G = (8192 · gain_percent + 50) / 100    at 100 percent e = m
//!   out = black + min(e, white - black)                                16 and 235, or 0 and 255 in full range
//! ```
//!
//! Chroma is 128. Both gradients come from two sums a column, so each row is: sum the columns of three rows, then
//! compare neighbouring sums.

use super::{Scratch, first};
use crate::frame::Frame;

pub(super) fn edges(gain_percent: u16, src: &Frame, dst: &mut Frame, scratch: &mut Scratch) {
    let gain = ((8192 * u32::from(gain_percent) + 50) / 100) as u16;
    let (black, white) = src.range.luma();
    let luma = src.y();
    let (width, last) = (luma.width(), luma.height() - 1);
    // One more column on either side, for the repeated edge.
    let columns = first(&mut scratch.columns, width + 2);
    let slopes = first(&mut scratch.slopes, width + 2);
    let [mut y, mut u, mut v] = dst.planes_mut();
    for (row, out) in y.rows_mut().enumerate() {
        let above = luma.row(row.saturating_sub(1));
        let below = luma.row((row + 1).min(last));
        sum_columns(above, luma.row(row), below, columns, slopes);
        gradient(columns, slopes, gain, black, white - black, out);
    }
    u.fill(128);
    v.fill(128);
}

/// `columns[x + 1]` is `a + 2b + c` of column `x`, at most 1020; `slopes[x + 1]` is `c - a`.
fn sum_columns(above: &[u8], row: &[u8], below: &[u8], columns: &mut [i16], slopes: &mut [i16]) {
    let width = row.len();
    let inner = columns[1..=width].iter_mut().zip(&mut slopes[1..=width]);
    for (((column, slope), (a, b)), c) in inner.zip(above.iter().zip(row)).zip(below) {
        let (a, b, c) = (i16::from(*a), i16::from(*b), i16::from(*c));
        *column = a + 2 * b + c;
        *slope = c - a;
    }
    for sums in [columns, slopes] {
        sums[0] = sums[1];
        sums[width + 1] = sums[width];
    }
}

fn gradient(columns: &[i16], slopes: &[i16], gain: u16, black: u8, span: u8, out: &mut [u8]) {
    let width = out.len();
    let (left, right) = (&columns[..width], &columns[2..][..width]);
    let (west, here, east) = (
        &slopes[..width],
        &slopes[1..][..width],
        &slopes[2..][..width],
    );
    for x in 0..width {
        let gx = right[x] - left[x];
        let gy = west[x] + 2 * here[x] + east[x];
        let m = gx.unsigned_abs() + gy.unsigned_abs();
        // Both factors are 16 bits wide and the high half is kept: one instruction for eight pixels.
        let e = ((u32::from(8 * m) * u32::from(gain)) >> 16) as u16;
        out[x] = black + e.min(u16::from(span)) as u8;
    }
}
