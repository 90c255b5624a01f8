//! The box blur: rows, then columns, each with a running sum, so that the radius costs nothing.
//!
//! For one line of samples `p`, whose ends repeat outward, with `n = 2r + 1`,
//!
//! ```text
//!   s[x]   = p[x-r] + ... + p[x+r]                     at most 129 · 255 = 32 895
//!   out[x] = (s[x] · M + 32768) >> 16                  M = (65536 + n/2) / n
//! ```
//!
//! first along every row, then, on that result, down every column. A flat area stays as it is: `n·M` is within
//! `n/2` of 65536, and 255 · 129 / 2 = 16 447 is less than the half that rounding allows. Chroma has half the
//! samples, so its radius is `(r + 1) / 2`.

use super::{Scratch, first};
use crate::frame::Frame;
use crate::plane::{Plane, PlaneMut};

pub(super) fn blur(radius_px: u8, src: &Frame, dst: &mut Frame, scratch: &mut Scratch) {
    let radius = usize::from(radius_px);
    let radii = [radius, radius.div_ceil(2), radius.div_ceil(2)];
    for ((from, to), radius) in src.planes().into_iter().zip(dst.planes_mut()).zip(radii) {
        plane(from, to, radius, scratch);
    }
}

fn plane(src: Plane<'_>, mut dst: PlaneMut<'_>, radius: usize, scratch: &mut Scratch) {
    let (width, height) = (src.width(), src.height());
    let (n, scale) = (2 * radius + 1, reciprocal(2 * radius + 1));
    let sums = first(&mut scratch.sums, width);

    // Rows into the scratch plane.
    let blurred = first(&mut scratch.plane, width * height);
    let line = first(&mut scratch.row, width + n);
    for (from, to) in src.rows().zip(blurred.chunks_exact_mut(width)) {
        extend(from, radius, line);
        running_sums(line, n, sums);
        divide(sums, scale, to);
    }

    // Columns out of it, all at once: one sum a column, a row added and a row taken away.
    let row = |y: usize| &blurred[y.min(height - 1) * width..][..width];
    sums.fill(0);
    for y in 0..n {
        add(sums, row(y.saturating_sub(radius)));
    }
    for (y, to) in dst.rows_mut().enumerate() {
        divide(sums, scale, to);
        add(sums, row(y + radius + 1));
        subtract(sums, row(y.saturating_sub(radius)));
    }
}

fn reciprocal(n: usize) -> u16 {
    ((65536 + n / 2) / n) as u16
}

/// The row with its first sample repeated `radius` times before and its last `radius + 1` times after: the last
/// one is what the sum beyond the end would add.
fn extend(row: &[u8], radius: usize, line: &mut [u8]) {
    let (before, rest) = line.split_at_mut(radius);
    let (middle, after) = rest.split_at_mut(row.len());
    before.fill(row[0]);
    middle.copy_from_slice(row);
    after.fill(row[row.len() - 1]);
}

/// `sums[x]` is the sum of `line[x..x + n]`. The differences are taken eight at a time; only adding them up is one
/// after the other.
fn running_sums(line: &[u8], n: usize, sums: &mut [u16]) {
    let mut sum: u16 = line[..n].iter().map(|&p| u16::from(p)).sum();
    let (out, into) = (&line[..sums.len()], &line[n..][..sums.len()]);
    for ((s, out), into) in sums.iter_mut().zip(out).zip(into) {
        *s = u16::from(*into).wrapping_sub(u16::from(*out));
    }
    for s in sums {
        let difference = *s;
        *s = sum;
        sum = sum.wrapping_add(difference);
    }
}

fn divide(sums: &[u16], scale: u16, out: &mut [u8]) {
    for (sum, out) in sums.iter().zip(out) {
        *out = ((u32::from(*sum) * u32::from(scale) + 32768) >> 16) as u8;
    }
}

fn add(sums: &mut [u16], row: &[u8]) {
    for (sum, p) in sums.iter_mut().zip(row) {
        *sum = sum.wrapping_add(u16::from(*p));
    }
}

/// Undoes an [`add`] of the same row; the sum may pass below zero and back when the order is add, then subtract.
fn subtract(sums: &mut [u16], row: &[u8]) {
    for (sum, p) in sums.iter_mut().zip(row) {
        *sum = sum.wrapping_sub(u16::from(*p));
    }
}
