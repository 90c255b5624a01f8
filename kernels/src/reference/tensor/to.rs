//! The pass to a tensor, a row at a time: three planes sampled, then the colours of the row.

use super::{Buffers, Element, TensorError, ToTensor, black, check_len, clamped, to_rgb};
use crate::frame::Frame;
use crate::reference::first;
use crate::reference::resample::Walk;

pub(super) fn to_tensor<T: Element>(
    src: &Frame,
    spec: &ToTensor,
    out: &mut [T],
    buffers: &mut Buffers,
) -> Result<(), TensorError> {
    spec.check(src.width(), src.height())?;
    let (width, height) = (spec.width, spec.height);
    check_len(width, height, out.len())?;

    let crop = spec.crop;
    let [across, across_chroma] = walks(crop.x, crop.width, width);
    let [down, down_chroma] = walks(crop.y, crop.height, height);
    buffers.luma.set(across, width);
    buffers.chroma.set(across_chroma, width);
    let planes = [
        (src.y(), &buffers.luma, across, down),
        (src.u(), &buffers.chroma, across_chroma, down_chroma),
        (src.v(), &buffers.chroma, across_chroma, down_chroma),
    ];
    let colours = Colours {
        black: 65_536 * i32::from(black(src.range)),
        k: to_rgb(src.matrix, src.range, src.height()),
        mean: spec.mean,
        scale: spec.scale,
    };
    let (red, rest) = out.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    let rows = red
        .chunks_exact_mut(width)
        .zip(green.chunks_exact_mut(width))
        .zip(blue.chunks_exact_mut(width));
    for (y, ((red, green), blue)) in rows.enumerate() {
        for ((plane, axis, across, down), samples) in planes.iter().zip(&mut buffers.samples) {
            let (index, weight) = down.tap(y);
            let below = (index + 1).min(down.last as usize);
            let columns = across.first as usize..=across.last as usize;
            buffers.line.blend(
                &plane.row(index)[columns.clone()],
                &plane.row(below)[columns],
                weight,
            );
            axis.row(&buffers.line, first(samples, width));
        }
        let [y, u, v] = &buffers.samples;
        colours.row([&y[..width], &u[..width], &v[..width]], red, green, blue);
    }
    Ok(())
}

/// Along one axis: luma, chroma.
fn walks(start: usize, len: usize, out: usize) -> [Walk; 2] {
    let (start, len, out) = (start as u32, len as u32, out as u32);
    [1, 2].map(|shrink| Walk {
        base: 2 * start * out,
        step: len,
        denominator: 2 * shrink * out,
        first: start / shrink,
        last: (start + len - 1) / shrink,
    })
}

struct Colours {
    black: i32,
    k: [f32; 5],
    mean: [f32; 3],
    scale: [f32; 3],
}

impl Colours {
    fn row<T: Element>(&self, from: [&[i32]; 3], red: &mut [T], green: &mut [T], blue: &mut [T]) {
        let [ky, kr, kgu, kgv, kb] = self.k;
        let store = |c: usize, v: f32| T::of((clamped(v) - self.mean[c]) * self.scale[c]);
        let samples = from[0].iter().zip(from[1]).zip(from[2]);
        let pixels = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), ((y, u), v)) in pixels.zip(samples) {
            let l = (y - self.black) as f32 * ky;
            let u = (u - CHROMA_ZERO) as f32;
            let v = (v - CHROMA_ZERO) as f32;
            *red = store(0, l + v * kr);
            *green = store(1, (l - u * kgu) - v * kgv);
            *blue = store(2, l + u * kb);
        }
    }
}

const CHROMA_ZERO: i32 = 65_536 * 128;
