//! The pass from a tensor, two rows at a time: luma of each, then chroma of both.

use alloc::vec::Vec;

use super::{Buffers, Element, FromTensor, TensorError, black, check_len, clamped, from_rgb};
use crate::frame::Frame;
use crate::reference::first;

pub(super) fn from_tensor<T: Element>(
    tensor: &[T],
    spec: &FromTensor,
    dst: &mut Frame,
    buffers: &mut Buffers,
) -> Result<(), TensorError> {
    spec.check()?;
    let (width, height) = (spec.width, spec.height);
    check_len(width, height, tensor.len())?;
    let (range, matrix) = (dst.range, dst.matrix);
    dst.reset(width, height).map_err(TensorError::Size)?;
    (dst.range, dst.matrix) = (range, matrix);

    let k = from_rgb(matrix, range, height);
    let black = f32::from(black(range));
    let [upper, lower] = &mut buffers.rows;
    let [mut luma, mut u, mut v] = dst.planes_mut();
    let chroma = u.rows_mut().zip(v.rows_mut());
    for (row, (u, v)) in (0..height).step_by(2).zip(chroma) {
        read(tensor, spec, k, row, upper);
        write_luma(&upper[0], k[3], black, luma.row_mut(row));
        if row + 1 < height {
            read(tensor, spec, k, row + 1, lower);
            write_luma(&lower[0], k[3], black, luma.row_mut(row + 1));
        }
        let sums = upper.each_mut().map(|q| &mut q[..width]);
        let below = lower.each_mut().map(|q| &*first(q, width));
        for (sums, below) in sums.into_iter().zip(below) {
            add_rows(sums, (row + 1 < height).then_some(below));
        }
        write_chroma(&upper[1][..width], &upper[0], k[4], u);
        write_chroma(&upper[2][..width], &upper[0], k[5], v);
    }
    Ok(())
}

/// Luma, blue and red of one row of the tensor.
fn read<T: Element>(
    tensor: &[T],
    spec: &FromTensor,
    k: [f32; 6],
    row: usize,
    rows: &mut [Vec<f32>; 3],
) {
    let width = spec.width;
    let plane = |c: usize| &tensor[(c * spec.height + row) * width..][..width];
    let value = |c: usize, t: &T| clamped(t.number() * spec.scale[c] + spec.mean[c]);
    let [l, b, r] = rows.each_mut().map(|row| first(row, width));
    let from = plane(0).iter().zip(plane(1)).zip(plane(2));
    for (((l, b), r), ((red, green), blue)) in l.iter_mut().zip(b).zip(r).zip(from) {
        let (red, green, blue) = (value(0, red), value(1, green), value(2, blue));
        *l = (k[0] * red + k[1] * green) + k[2] * blue;
        (*b, *r) = (blue, red);
    }
}

fn write_luma(l: &[f32], span: f32, black: f32, out: &mut [u8]) {
    for (out, l) in out.iter_mut().zip(l) {
        *out = rint(l * span + black);
    }
}

/// Adds the row below, which is the row itself where there is none.
fn add_rows(sums: &mut [f32], below: Option<&[f32]>) {
    match below {
        Some(below) => sums.iter_mut().zip(below).for_each(|(a, b)| *a += b),
        None => sums.iter_mut().for_each(|a| *a += *a),
    }
}

/// `q` is blue or red, `l` luma; both already added up down the two rows.
fn write_chroma(q: &[f32], l: &[f32], k: f32, out: &mut [u8]) {
    let one = |q: f32, l: f32| {
        let x = (q - l) * k + 128.0;
        rint(if x < 255.0 { x } else { 255.0 })
    };
    let pairs = q.chunks_exact(2).zip(l.chunks_exact(2));
    for (out, (q, l)) in out.iter_mut().zip(pairs) {
        *out = one(q[0] + q[1], l[0] + l[1]);
    }
    if let (last, [q]) = (q.len() - 1, q.chunks_exact(2).remainder()) {
        let l = l[last];
        out[last / 2] = one(q + q, l + l);
    }
}

/// The whole number nearest to one of 0 to 255, of two the even: the last place of a float of 2^23 is 1.
#[inline(always)]
fn rint(x: f32) -> u8 {
    (x + 8_388_608.0).to_bits() as u8
}
