//! Before and after, side by side, as a PNG.

use engine::offline::Frame;

/// Pixels between the two.
const GAP: usize = 8;

/// Renders the pair.
pub(super) fn side_by_side(before: &Frame, after: &Frame) -> Result<Vec<u8>, String> {
    let (width, height) = (
        before.width() + GAP + after.width(),
        before.height().max(after.height()),
    );
    let mut pixels = vec![0xff; width * height * 3];
    paint(before, &mut pixels, width, 0);
    paint(after, &mut pixels, width, before.width() + GAP);
    let mut file = Vec::new();
    let size = |n: usize| u32::try_from(n).map_err(|error| error.to_string());
    let mut encoder = png::Encoder::new(&mut file, size(width)?, size(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer
        .write_image_data(&pixels)
        .map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(file)
}

fn paint(frame: &Frame, pixels: &mut [u8], stride: usize, left: usize) {
    for row in 0..frame.height() {
        let (luma, u, v) = (
            frame.y().row(row),
            frame.u().row(row / 2),
            frame.v().row(row / 2),
        );
        let line = &mut pixels[(row * stride + left) * 3..][..frame.width() * 3];
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&rgb(luma[x], u[x / 2], v[x / 2]));
        }
    }
}

/// BT.709, limited range (ITU-R BT.709-6, 3.2 to 3.5), in 16-bit fixed point.
fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (i32::from(y) - 16, i32::from(u) - 128, i32::from(v) - 128);
    let luma = 76_309 * y + 32_768;
    let clamp = |value: i32| u8::try_from((value >> 16).clamp(0, 255)).unwrap_or(0);
    [
        clamp(luma + 117_489 * v),
        clamp(luma - 13_975 * u - 34_925 * v),
        clamp(luma + 138_438 * u),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_white_and_grey_have_no_colour() {
        assert_eq!(rgb(16, 128, 128), [0, 0, 0]);
        assert_eq!(rgb(235, 128, 128), [255, 255, 255]);
        let [r, g, b] = rgb(126, 128, 128);
        assert!(r == g && g == b && (127..=129).contains(&r), "{r} {g} {b}");
    }

    #[test]
    fn a_pair_becomes_one_png() {
        let mut before = Frame::new(31, 16).unwrap();
        before.planes_mut()[0].fill(235);
        let after = Frame::new(32, 16).unwrap();
        let file = side_by_side(&before, &after).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (31 + 8 + 32, 16));
    }
}
