//! Squares of one colour.
//!
//! Luma is cut into squares of `b` samples and chroma into squares of `b / 2`, from the top left; those on the
//! right and bottom edge may be cut short. Every sample of a square becomes
//!
//! ```text
//!   (sum + count / 2) / count            count: the samples that the square really has
//! ```
//!
//! `b` is even, so a luma square and its chroma squares cover the same part of the picture.

use super::{Scratch, first};
use crate::frame::Frame;
use crate::plane::{Plane, PlaneMut};

pub(super) fn pixelate(block_px: u8, src: &Frame, dst: &mut Frame, scratch: &mut Scratch) {
    let block = usize::from(block_px);
    let blocks = [block, block / 2, block / 2];
    for ((from, to), block) in src.planes().into_iter().zip(dst.planes_mut()).zip(blocks) {
        plane(from, to, block, scratch);
    }
}

fn plane(src: Plane<'_>, mut dst: PlaneMut<'_>, block: usize, scratch: &mut Scratch) {
    let (width, height) = (src.width(), src.height());
    let columns = first(&mut scratch.sums, width);
    let line = first(&mut scratch.row, width);
    for top in (0..height).step_by(block) {
        let bottom = (top + block).min(height);
        columns.fill(0);
        for y in top..bottom {
            // At most 128 rows of 255: 16 bits hold the sum.
            for (sum, p) in columns.iter_mut().zip(src.row(y)) {
                *sum += u16::from(*p);
            }
        }
        means(columns, block, bottom - top, line);
        for y in top..bottom {
            dst.row_mut(y).copy_from_slice(line);
        }
    }
}

fn means(columns: &[u16], block: usize, rows: usize, line: &mut [u8]) {
    for (sums, out) in columns.chunks(block).zip(line.chunks_mut(block)) {
        let sum: u32 = sums.iter().map(|&s| u32::from(s)).sum();
        let count = (sums.len() * rows) as u32;
        out.fill(((sum + count / 2) / count) as u8);
    }
}
