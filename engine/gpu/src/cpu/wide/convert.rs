//! From what the library decodes to I420.
//!
//! A sample of the result is the mean of those that it stands for, taken at full precision, a half rounded up, and
//! at most 255: two chroma rows of 4:2:2 become one, four steps of 10 bits become one. Whatever is measured against
//! the decoded input is measured against this. Missing chroma is grey.
//!
//! ```text
//!   8 bits   4:2:0  c                    10 bits   (c + 2) >> 2
//!   8 bits   4:2:2  (a + b + 1) >> 1     10 bits   (a + b + 4) >> 3          a above b; a last odd row stands alone
//! ```
//!
//! Chroma that lay on its luma row then lies between two, which is where 4:2:0 has it unless it says otherwise.

use kernels::Frame;
use rust_h264::decoder::{ChromaFormat, Frame as Picture};

/// `None` when the picture is not what its fields say.
pub(super) fn to_i420(picture: &Picture, mut frame: Frame) -> Option<Frame> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    frame.reset(width, height).ok()?;
    let deep = match picture.bit_depth {
        8 => false,
        10 => true,
        _ => return None,
    };
    let pairs = picture.chroma_format == ChromaFormat::Yuv422;
    // An odd width is that of a stream without chroma, for which the library rounds down and a frame up.
    let grey = width % 2 == 1;
    let sources = [
        (&picture.y, width, height, false),
        (
            &picture.u,
            width / 2,
            picture.chroma_height() as usize,
            pairs,
        ),
        (
            &picture.v,
            width / 2,
            picture.chroma_height() as usize,
            pairs,
        ),
    ];
    let [mut y, mut u, mut v] = frame.planes_mut();
    for (i, (plane, (source, width, rows, pairs))) in [&mut y, &mut u, &mut v]
        .into_iter()
        .zip(sources)
        .enumerate()
    {
        let row_bytes = width << usize::from(deep);
        if i > 0 && (grey || (!pairs && rows < plane.height())) {
            plane.fill(128);
            continue;
        }
        if source.len() < rows * row_bytes {
            return None;
        }
        let row = |at: usize| &source[at.min(rows - 1) * row_bytes..][..row_bytes];
        for (at, to) in plane.rows_mut().enumerate() {
            match (pairs, deep) {
                (false, false) => to.copy_from_slice(row(at)),
                (true, false) => mean(row(2 * at), row(2 * at + 1), to),
                (false, true) => shallow(row(at), to),
                (true, true) => mean_shallow(row(2 * at), row(2 * at + 1), to),
            }
        }
    }
    Some(frame)
}

fn mean(above: &[u8], below: &[u8], to: &mut [u8]) {
    for ((to, &a), &b) in to.iter_mut().zip(above).zip(below) {
        *to = (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
    }
}

fn shallow(from: &[u8], to: &mut [u8]) {
    for (to, sample) in to.iter_mut().zip(from.as_chunks().0) {
        *to = (u16::from_le_bytes(*sample).saturating_add(2) >> 2).min(255) as u8;
    }
}

fn mean_shallow(above: &[u8], below: &[u8], to: &mut [u8]) {
    let pairs = above.as_chunks().0.iter().zip(below.as_chunks().0);
    for (to, (&a, &b)) in to.iter_mut().zip(pairs) {
        let sum = u32::from(u16::from_le_bytes(a)) + u32::from(u16::from_le_bytes(b));
        *to = ((sum + 4) >> 3).min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, chroma_format: ChromaFormat, bit_depth: u8) -> Picture {
        Picture {
            width,
            height,
            y: Vec::new(),
            u: Vec::new(),
            v: Vec::new(),
            pic_order_cnt: 0,
            chroma_format,
            bit_depth,
        }
    }

    fn deep(samples: &[u16]) -> Vec<u8> {
        samples.iter().flat_map(|s| s.to_le_bytes()).collect()
    }

    #[test]
    fn two_chroma_rows_are_one_and_a_half_goes_up() {
        let mut from = picture(4, 3, ChromaFormat::Yuv422, 8);
        from.y = (0..12).collect();
        from.u = vec![10, 255, 11, 255, 7, 0];
        from.v = vec![0, 1, 0, 2, 254, 255];
        let frame = to_i420(&from, Frame::default()).unwrap();
        let rows = |plane: kernels::Plane<'_>| plane.rows().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(rows(frame.y()).concat(), from.y);
        assert_eq!(rows(frame.u()), [[11, 255], [7, 0]]);
        assert_eq!(rows(frame.v()), [[0, 2], [254, 255]]);
    }

    #[test]
    fn ten_bits_are_rounded_once() {
        let mut from = picture(2, 2, ChromaFormat::Yuv422, 10);
        from.y = deep(&[0, 1, 2, 1023]);
        from.u = deep(&[1, 2]);
        from.v = deep(&[1023, 1021]);
        let frame = to_i420(&from, Frame::default()).unwrap();
        assert_eq!(
            (frame.y().row(0), frame.y().row(1)),
            (&[0, 0][..], &[1, 255][..])
        );
        // Rounding twice would have made 1 of the first: (0 + 1 + 1) >> 1.
        assert_eq!((frame.u().row(0), frame.v().row(0)), (&[0][..], &[255][..]));
        let mut half = picture(2, 2, ChromaFormat::Yuv420, 10);
        (half.y, half.u, half.v) = (deep(&[4; 4]), deep(&[6]), deep(&[5]));
        let frame = to_i420(&half, Frame::default()).unwrap();
        assert_eq!((frame.u().row(0), frame.v().row(0)), (&[2][..], &[1][..]));
    }

    #[test]
    fn missing_chroma_is_grey_at_any_size() {
        let mut from = picture(3, 3, ChromaFormat::Yuv420, 8);
        from.y = vec![9; 9];
        (from.u, from.v) = (vec![1], vec![1]);
        let frame = to_i420(&from, Frame::default()).unwrap();
        assert_eq!(frame.y().row(2), [9, 9, 9]);
        assert_eq!(
            (frame.u().row(1), frame.v().row(0)),
            (&[128, 128][..], &[128, 128][..])
        );
    }

    #[test]
    fn a_picture_that_is_too_short_is_none() {
        let mut from = picture(4, 4, ChromaFormat::Yuv422, 8);
        (from.y, from.u, from.v) = (vec![0; 16], vec![0; 8], vec![0; 7]);
        assert_eq!(to_i420(&from, Frame::default()), None);
        from.bit_depth = 12;
        assert_eq!(to_i420(&from, Frame::default()), None);
    }
}
