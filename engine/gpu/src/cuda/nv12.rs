//! How a picture lies in device memory, and the way there and back from a [`Frame`].
//!
//! ```text
//!   pitch = width rounded up to 256              an odd width has a chroma row one byte longer, which 256 holds as well
//!   | Y row 0 ......... |pad|
//!   | ...               |
//!   | Y row h-1         |pad|
//!   | U V U V row 0 ... |pad|                    ceil(width / 2) pairs
//!   | ...               |                        ceil(height / 2) rows
//! ```
//!
//! The same layout is used in pinned memory, so that a picture is one copy, padding included. Pixels are those of the frame:
//! only their order changes.

use kernels::frame::DIMENSION_MAX;
use kernels::{Frame, Matrix, Range, Surface};

/// Rows begin at multiples of this: what the widest access of a kernel and the copy engines ask for.
const PITCH_ALIGN: usize = 256;

/// Size and pitch of an NV12 picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    width: usize,
    height: usize,
    pitch: usize,
}

impl Layout {
    /// The layout of a picture, unless its size is none that a picture can have.
    pub(crate) fn new(width: usize, height: usize) -> Option<Self> {
        let fits = 1..=DIMENSION_MAX;
        (fits.contains(&width) && fits.contains(&height)).then(|| Self {
            width,
            height,
            pitch: width.next_multiple_of(PITCH_ALIGN),
        })
    }

    pub(crate) fn width(self) -> usize {
        self.width
    }

    pub(crate) fn height(self) -> usize {
        self.height
    }

    /// Bytes from a row to the next, luma and chroma alike.
    pub(crate) fn pitch(self) -> usize {
        self.pitch
    }

    /// Bytes of the luma rows; the chroma rows follow.
    pub(crate) fn luma_bytes(self) -> usize {
        self.pitch * self.height
    }

    /// Bytes of the picture, padding included.
    pub(crate) fn bytes(self) -> usize {
        self.luma_bytes() + self.pitch * self.height.div_ceil(2)
    }

    /// The picture at an address, as kernels take it.
    pub(crate) fn at(self, address: u64, range: Range, matrix: Matrix) -> Surface {
        let pitch = self.pitch as u32;
        Surface {
            y: address,
            uv: address + self.luma_bytes() as u64,
            width: self.width as u32,
            height: self.height as u32,
            y_stride: pitch,
            uv_stride: pitch,
            full_range: u32::from(range == Range::Full),
            matrix: match matrix {
                Matrix::Unspecified => 0,
                Matrix::Bt601 => 1,
                Matrix::Bt709 => 2,
                Matrix::Bt2020 => 3,
            },
        }
    }
}

/// Writes a frame of the layout's size. Padding is left as it is.
///
/// # Panics
/// When the frame is of another size or `to` too short: both are made from the layout.
pub(crate) fn from_frame(frame: &Frame, layout: Layout, to: &mut [u8]) {
    assert_eq!(
        (frame.width(), frame.height()),
        (layout.width, layout.height)
    );
    let (luma, chroma) = to[..layout.bytes()].split_at_mut(layout.luma_bytes());
    for (to, from) in luma.chunks_exact_mut(layout.pitch).zip(frame.y().rows()) {
        to[..layout.width].copy_from_slice(from);
    }
    let rows = frame.u().rows().zip(frame.v().rows());
    for (to, (u, v)) in chroma.chunks_exact_mut(layout.pitch).zip(rows) {
        for (pair, (u, v)) in to.chunks_exact_mut(2).zip(u.iter().zip(v)) {
            pair[0] = *u;
            pair[1] = *v;
        }
    }
}

/// Makes a frame of a picture in memory.
///
/// # Panics
/// When `from` is too short: it is made from the layout.
pub(crate) fn to_frame(
    from: &[u8],
    layout: Layout,
    range: Range,
    matrix: Matrix,
    frame: &mut Frame,
) {
    frame
        .reset(layout.width, layout.height)
        .expect("a layout has a size that a frame can have");
    frame.range = range;
    frame.matrix = matrix;
    let (luma, chroma) = from[..layout.bytes()].split_at(layout.luma_bytes());
    let [mut y, mut u, mut v] = frame.planes_mut();
    for (to, from) in y.rows_mut().zip(luma.chunks_exact(layout.pitch)) {
        to.copy_from_slice(&from[..layout.width]);
    }
    let rows = u.rows_mut().zip(v.rows_mut());
    for ((u, v), from) in rows.zip(chroma.chunks_exact(layout.pitch)) {
        for ((u, v), pair) in u.iter_mut().zip(v).zip(from.chunks_exact(2)) {
            *u = pair[0];
            *v = pair[1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Frame {
        let mut frame = Frame::new(width, height).unwrap();
        let mut state = (width * 10_007 + height) as u32;
        for mut plane in frame.planes_mut() {
            for p in plane.rows_mut().flatten() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *p = (state >> 24) as u8;
            }
        }
        frame
    }

    #[test]
    fn pitch_and_size() {
        for (width, height, pitch, bytes) in [
            (1, 1, 256, 512),
            (256, 2, 256, 768),
            (257, 3, 512, 2560),
            (1280, 720, 1280, 1_382_400),
            (1920, 1080, 2048, 3_317_760),
            (8192, 8192, 8192, 100_663_296),
        ] {
            let layout = Layout::new(width, height).unwrap();
            assert_eq!(
                (layout.pitch(), layout.bytes()),
                (pitch, bytes),
                "{width}x{height}"
            );
        }
        for (width, height) in [(0, 4), (4, 0), (8193, 4), (4, usize::MAX)] {
            assert_eq!(Layout::new(width, height), None);
        }
    }

    #[test]
    fn what_a_kernel_is_told() {
        let layout = Layout::new(257, 3).unwrap();
        let surface = layout.at(4096, Range::Full, Matrix::Bt709);
        assert_eq!((surface.y, surface.uv), (4096, 4096 + 3 * 512));
        assert_eq!((surface.width, surface.height), (257, 3));
        assert_eq!((surface.y_stride, surface.uv_stride), (512, 512));
        assert_eq!((surface.full_range, surface.matrix), (1, 2));
        let plain = layout.at(0, Range::Limited, Matrix::Unspecified);
        assert_eq!((plain.full_range, plain.matrix), (0, 0));
    }

    #[test]
    fn pixels_survive_the_way_there_and_back_and_padding_is_untouched() {
        for (width, height) in [
            (1, 1),
            (1, 2),
            (2, 1),
            (3, 5),
            (64, 48),
            (255, 7),
            (257, 3),
            (641, 359),
        ] {
            let layout = Layout::new(width, height).unwrap();
            let mut frame = noise(width, height);
            frame.range = Range::Full;
            frame.matrix = Matrix::Bt601;
            let mut bytes = vec![0xa5; layout.bytes()];
            from_frame(&frame, layout, &mut bytes);
            let chroma = &bytes[layout.luma_bytes()..];
            assert_eq!(chroma[..2], [frame.u().row(0)[0], frame.v().row(0)[0]]);
            let pictures = [
                (&bytes[..layout.luma_bytes()], width),
                (chroma, 2 * width.div_ceil(2)),
            ];
            for (rows, used) in pictures {
                for row in rows.chunks_exact(layout.pitch()) {
                    assert!(row[used..].iter().all(|&b| b == 0xa5));
                }
            }
            let mut back = Frame::new(9, 9).unwrap();
            to_frame(&bytes, layout, Range::Full, Matrix::Bt601, &mut back);
            assert!(back == frame, "{width}x{height}");
        }
    }
}
