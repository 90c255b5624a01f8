//! One picture laid over another, with a plane that says how opaque each of its pixels is.
//!
//! Alpha is straight (the colour is not multiplied by it), 0 to 255, one sample a luma pixel. The picture may lie partly
//! or wholly outside; what is outside is not drawn. For a luma pixel that the picture covers,
//!
//! ```text
//!   out = (a · top + (255 - a) · bottom + 127) / 255
//! ```
//!
//! A chroma sample of the bottom stands for the `n` luma pixels below it: four, or two or one at a right or bottom edge
//! of odd size. Pixel `j` of them is covered with alpha `a_j` by a picture whose chroma there is `t_j`, or it is not
//! covered and `a_j` is 0:
//!
//! ```text
//!   out = (sum(a_j · t_j) + (255 n - sum(a_j)) · bottom + 255 n / 2) / (255 n)          halves of n = 1: 127
//! ```
//!
//! At an even position the `t_j` are one sample, and it is blended with the mean of the alphas. At an odd one two
//! or four samples of the picture meet in a sample of the bottom, and each counts for what it covers.
//!
//! Numbers are taken as they are: the two pictures are of one range and matrix, which the caller sees to.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::{Scratch, first};
use crate::frame::Frame;
use crate::plane::Plane;

/// The alpha plane is not of the picture's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlphaSizeError {
    /// Width and height of the picture.
    pub picture: (usize, usize),
    /// Width and height of the plane.
    pub alpha: (usize, usize),
}

impl fmt::Display for AlphaSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "alpha of {}x{} for a picture of {}x{}",
            self.alpha.0, self.alpha.1, self.picture.0, self.picture.1
        )
    }
}

impl core::error::Error for AlphaSizeError {}

/// Lays `top` over `dst` with its left upper corner `x` pixels right of `dst`'s and `y` below it. `alpha` has a sample
/// for each pixel of `top`. What `top` does not cover stays as it is, and so do range and matrix.
pub fn overlay(
    top: &Frame,
    alpha: Plane<'_>,
    x: i32,
    y: i32,
    dst: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), AlphaSizeError> {
    let picture = (top.width(), top.height());
    let alpha_size = (alpha.width(), alpha.height());
    if picture != alpha_size {
        return Err(AlphaSizeError {
            picture,
            alpha: alpha_size,
        });
    }
    let across = Covered::new(x, top.width(), dst.width());
    let down = Covered::new(y, top.height(), dst.height());
    if across.dst.is_empty() || down.dst.is_empty() {
        return Ok(());
    }
    luma(top, alpha, &across, &down, dst);
    chroma(top, alpha, &across, &down, dst, &mut scratch.overlay);
    Ok(())
}

/// What one axis of the bottom shares with the top.
struct Covered {
    /// The pixels of the bottom that are covered.
    dst: Range<usize>,
    /// The pixel of the top that lies on the first of them.
    top: usize,
}

impl Covered {
    fn new(position: i32, top: usize, dst: usize) -> Self {
        // Both sizes are below 2^14, so this cannot overflow.
        let (start, len, end) = (i64::from(position), top as i64, dst as i64);
        let covered = start.clamp(0, end) as usize..(start + len).clamp(0, end) as usize;
        Self {
            top: (covered.start as i64 - start).clamp(0, len) as usize,
            dst: covered,
        }
    }
}

/// Rows at the bottom's luma columns, and sums at its chroma columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    alpha: Vec<u8>,
    colour: Vec<u8>,
    alphas: Vec<u16>,
    colours: [Vec<u32>; 2],
}

fn luma(top: &Frame, alpha: Plane<'_>, across: &Covered, down: &Covered, dst: &mut Frame) {
    let [mut luma, ..] = dst.planes_mut();
    let picture = top.y();
    let columns = across.top..across.top + across.dst.len();
    for (row, from) in down.dst.clone().zip(down.top..) {
        let out = &mut luma.row_mut(row)[across.dst.clone()];
        let pixels = picture.row(from)[columns.clone()]
            .iter()
            .zip(&alpha.row(from)[columns.clone()]);
        for (out, (top, a)) in out.iter_mut().zip(pixels) {
            // At most 255 · 255 + 127: 16 bits hold it.
            let (top, a, bottom) = (u16::from(*top), u16::from(*a), u16::from(*out));
            *out = ((a * top + (255 - a) * bottom + 127) / 255) as u8;
        }
    }
}

fn chroma(
    top: &Frame,
    alpha: Plane<'_>,
    across: &Covered,
    down: &Covered,
    dst: &mut Frame,
    buffers: &mut Buffers,
) {
    let (width, height) = (dst.width(), dst.height());
    let [_, mut u, mut v] = dst.planes_mut();
    let chroma_columns = across.dst.start / 2..across.dst.end.div_ceil(2);
    let count = chroma_columns.len();
    // Rows at the bottom's luma columns begin at an even one; where the top begins or ends in the middle of a pair, the
    // other of the pair keeps an alpha of 0.
    let before = across.dst.start % 2;
    let line = first(&mut buffers.alpha, 2 * count);
    let colour = first(&mut buffers.colour, 2 * count);
    line.fill(0);
    colour.fill(0);
    let alphas = first(&mut buffers.alphas, count);
    let colours = (buffers.colours.each_mut()).map(|sums| first(sums, count));
    let [u_sums, v_sums] = colours;

    for row in down.dst.start / 2..down.dst.end.div_ceil(2) {
        alphas.fill(0);
        u_sums.fill(0);
        v_sums.fill(0);
        for y in (2 * row).max(down.dst.start)..(2 * row + 2).min(down.dst.end) {
            let from = down.top + (y - down.dst.start);
            let covered = before..before + across.dst.len();
            line[covered.clone()]
                .copy_from_slice(&alpha.row(from)[across.top..][..across.dst.len()]);
            for (sum, pair) in alphas.iter_mut().zip(line.chunks_exact(2)) {
                *sum += u16::from(pair[0]) + u16::from(pair[1]);
            }
            for (plane, sums) in [(top.u(), &mut *u_sums), (top.v(), &mut *v_sums)] {
                widen(
                    plane.row(from / 2),
                    across.top,
                    &mut colour[covered.clone()],
                );
                let pairs = line.chunks_exact(2).zip(colour.chunks_exact(2));
                for (sum, (a, t)) in sums.iter_mut().zip(pairs) {
                    let product = |i: usize| u32::from(u16::from(a[i]) * u16::from(t[i]));
                    *sum += product(0) + product(1);
                }
            }
        }
        let rows = 2.min(height - 2 * row);
        for (plane, sums) in [(&mut u, &*u_sums), (&mut v, &*v_sums)] {
            let out = &mut plane.row_mut(row)[chroma_columns.clone()];
            // Only the last column of an odd width stands for one pixel a row.
            let lone = usize::from(2 * chroma_columns.end > width);
            let whole = count - lone;
            let (out, out_lone) = out.split_at_mut(whole);
            match rows {
                1 => blend::<2>(sums, alphas, out),
                _ => blend::<4>(sums, alphas, out),
            }
            match rows {
                1 => blend::<1>(&sums[whole..], &alphas[whole..], out_lone),
                _ => blend::<2>(&sums[whole..], &alphas[whole..], out_lone),
            }
        }
    }
}

/// Chroma at the columns of luma: each sample twice, from the pixel `start` on.
fn widen(row: &[u8], start: usize, out: &mut [u8]) {
    let lone = (start % 2).min(out.len());
    let (left, rest) = out.split_at_mut(lone);
    left.fill(row[start / 2]);
    for (pair, t) in rest.chunks_mut(2).zip(&row[start.div_ceil(2)..]) {
        pair.fill(*t);
    }
}

/// `N` luma pixels a sample. At most 1020 · 255 + 510, in 32 bits.
fn blend<const N: u32>(colours: &[u32], alphas: &[u16], out: &mut [u8]) {
    for (out, (colour, alpha)) in out.iter_mut().zip(colours.iter().zip(alphas)) {
        let bottom = (255 * N - u32::from(*alpha)) * u32::from(*out);
        *out = ((colour + bottom + 255 * N / 2) / (255 * N)) as u8;
    }
}
