//! A number burnt into a picture's luma, to be found again whatever a filter does to the picture.
//!
//! ```text
//!   ┌────┬────┬────┬────┬─ … ─┐   from the top left, line by line; a cell is 16 or 32 px square
//!   │ 1  │ 0  │ 16 bits      │   reference 1, reference 0, the number, its CRC-16: 34 cells
//!   ├────┴────┼─ … ──────────┤   ‖‖‖‖  1: vertical stripes, 4 px black, 4 px white
//!   │ 16 bits of CRC         │   ▒▒▒▒  0: flat black
//!   └────────────────────────┘
//! ```
//!
//! | filter | a 1 becomes | a 0 becomes |
//! |---|---|---|
//! | none, grey | stripes, half light on average | black |
//! | blur of up to 4 px, blocks of up to a cell | half light | black |
//! | invert | stripes, half light | white |
//! | edges | bright, since there is an edge every 4 px | black |
//!
//! So a cell's mean lies near that of one reference or near that of the other, and the references say which is which.
//!
//! Invariant: a mark is read as what was written, or not at all. A cell between the references, or a CRC that does not fit, makes it
//! unreadable; one in 65,536 marks of pure noise would pass for a number.

/// Where the cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    width: usize,
    height: usize,
    cell: usize,
}

/// Samples of a picture, a line every `stride`.
#[derive(Debug, Clone, Copy)]
pub struct Luma<'a> {
    /// All lines.
    pub samples: &'a [u8],
    /// From one line to the next.
    pub stride: usize,
    /// Samples of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

impl Layout {
    /// For pictures of this size; `None` when the mark would cover more than half of them.
    pub fn new(width: usize, height: usize) -> Option<Self> {
        [32, 16]
            .map(|cell| Self {
                width,
                height,
                cell,
            })
            .into_iter()
            .find(|layout| {
                let columns = width / layout.cell;
                columns > 0 && CELLS.div_ceil(columns) * layout.cell * 2 <= height
            })
    }

    /// Burns `number` in.
    pub fn write(self, number: u16, luma: &mut [u8], stride: usize) {
        for (cell, is_one) in bits(number).into_iter().enumerate() {
            let (left, top) = self.corner(cell);
            for line in luma
                .chunks_mut(stride)
                .skip(top)
                .take(self.cell)
                .filter_map(|line| line.get_mut(left..left + self.cell))
            {
                for (x, sample) in line.iter_mut().enumerate() {
                    *sample = if is_one && x % STRIPES_PX >= STRIPES_PX / 2 {
                        WHITE
                    } else {
                        BLACK
                    };
                }
            }
        }
    }

    /// The region that [`Self::write`] covers: columns and lines.
    pub fn size(self) -> (usize, usize) {
        let columns = self.width / self.cell;
        (columns * self.cell, CELLS.div_ceil(columns) * self.cell)
    }

    /// The number, from a picture of this size or one that was scaled.
    pub fn read(self, picture: Luma<'_>) -> Option<u16> {
        let means: Vec<u32> = (0..CELLS)
            .map(|cell| self.mean(cell, picture))
            .collect::<Option<_>>()?;
        let (one, zero) = (means[0], means[1]);
        let contrast = one.abs_diff(zero);
        if contrast < CONTRAST_MIN {
            return None;
        }
        let mut read = 0_u32;
        for mean in &means[REFERENCES..] {
            let (to_one, to_zero) = (mean.abs_diff(one), mean.abs_diff(zero));
            // Halfway is nowhere: it must be clearly nearer to one of them.
            if to_one.abs_diff(to_zero) * 4 < contrast {
                return None;
            }
            read = read << 1 | u32::from(to_one < to_zero);
        }
        let number = u16::try_from(read >> 16).ok()?;
        (u32::from(crc16(number)) == read & 0xffff).then_some(number)
    }

    /// Sixteenths of a luma step, over the inner part of a cell: half of it each way, and whole stripes of it.
    fn mean(self, cell: usize, picture: Luma<'_>) -> Option<u32> {
        let (left, top) = self.corner(cell);
        let (inset, inner) = (self.cell / 4, self.cell / 2);
        let x = |at: usize| at * picture.width / self.width;
        let y = |at: usize| at * picture.height / self.height;
        let (from, to) = (x(left + inset), x(left + inset + inner));
        let lines = y(top + inset)..y(top + inset + inner);
        let count = lines.len() * (to - from);
        if count == 0 {
            return None;
        }
        let mut sum = 0_usize;
        for line in lines {
            let begin = line * picture.stride;
            let samples = picture.samples.get(begin + from..begin + to)?;
            sum += samples
                .iter()
                .map(|&sample| usize::from(sample))
                .sum::<usize>();
        }
        u32::try_from(sum * 16 / count).ok()
    }

    fn corner(self, cell: usize) -> (usize, usize) {
        let columns = self.width / self.cell;
        (cell % columns * self.cell, cell / columns * self.cell)
    }
}

/// What the cells say, in order.
fn bits(number: u16) -> [bool; CELLS] {
    let word = u64::from(0b10_u8) << 32 | u64::from(number) << 16 | u64::from(crc16(number));
    std::array::from_fn(|cell| word >> (CELLS - 1 - cell) & 1 == 1)
}

/// CRC-16/CCITT of two bytes.
fn crc16(number: u16) -> u16 {
    number.to_be_bytes().iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let carry = if crc >> 15 == 1 { 0x1021 } else { 0 };
            crc << 1 ^ carry
        })
    })
}

const REFERENCES: usize = 2;
const CELLS: usize = REFERENCES + 32;
const STRIPES_PX: usize = 8;
/// Luma in limited range.
const BLACK: u8 = 16;
const WHITE: u8 = 235;
/// Between the references, in sixteenths: 24 steps of the 110 that there should be.
const CONTRAST_MIN: u32 = 24 * 16;

#[cfg(test)]
mod tests {
    use openh264::OpenH264API;
    use openh264::decoder::Decoder;
    use openh264::encoder::{BitRate, Encoder, EncoderConfig, FrameRate, RateControlMode};
    use openh264::formats::{YUVBuffer, YUVSource};

    use super::*;

    const WIDTH: usize = 640;
    const HEIGHT: usize = 128;
    const NUMBERS: [u16; 6] = [0, 1, 299, 0x5555, 0xaaaa, u16::MAX];

    fn layout() -> Layout {
        Layout::new(WIDTH, HEIGHT).unwrap()
    }

    /// A picture with texture and some noise.
    fn marked(number: u16) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(u64::from(number));
        let mut luma: Vec<u8> = (0..WIDTH * HEIGHT)
            .map(|at| ((at % WIDTH / 3 + at / WIDTH) % 200) as u8 + 20 + rng.u8(0..16))
            .collect();
        layout().write(number, &mut luma, WIDTH);
        luma
    }

    fn read(luma: &[u8]) -> Option<u16> {
        layout().read(Luma {
            samples: luma,
            stride: WIDTH,
            width: WIDTH,
            height: HEIGHT,
        })
    }

    fn each(
        luma: &[u8],
        filter: impl Fn(isize, isize, &dyn Fn(isize, isize) -> i32) -> i32,
    ) -> Vec<u8> {
        let at = |x: isize, y: isize| {
            let x = x.clamp(0, WIDTH as isize - 1) as usize;
            let y = y.clamp(0, HEIGHT as isize - 1) as usize;
            i32::from(luma[y * WIDTH + x])
        };
        (0..(WIDTH * HEIGHT) as isize)
            .map(|i| filter(i % WIDTH as isize, i / WIDTH as isize, &at).clamp(0, 255) as u8)
            .collect()
    }

    fn edges(luma: &[u8], gain: i32) -> Vec<u8> {
        each(luma, |x, y, at| {
            let column = |x| at(x, y - 1) + 2 * at(x, y) + at(x, y + 1);
            let row = |y| at(x - 1, y) + 2 * at(x, y) + at(x + 1, y);
            let steep = (column(x + 1) - column(x - 1)).abs() + (row(y + 1) - row(y - 1)).abs();
            16 + (steep * gain / 100).min(219)
        })
    }

    fn blur(luma: &[u8], radius: isize) -> Vec<u8> {
        let side = 2 * radius + 1;
        each(luma, |x, y, at| {
            let sum: i32 = (-radius..=radius)
                .flat_map(|dy| (-radius..=radius).map(move |dx| (dx, dy)))
                .map(|(dx, dy)| at(x + dx, y + dy))
                .sum();
            sum / (side * side) as i32
        })
    }

    fn pixelate(luma: &[u8], block: isize) -> Vec<u8> {
        each(luma, |x, y, at| {
            let (left, top) = (x / block * block, y / block * block);
            let sum: i32 = (0..block * block)
                .map(|i| at(left + i % block, top + i / block))
                .sum();
            sum / (block * block) as i32
        })
    }

    #[test]
    fn every_filter_leaves_it_readable() {
        for number in [299, 0xaaaa] {
            let luma = marked(number);
            let inverted: Vec<u8> = luma
                .iter()
                .map(|sample| 251 - (*sample).clamp(16, 235))
                .collect();
            for (name, picture) in [
                ("none", luma.clone()),
                ("invert", inverted),
                ("edges", edges(&luma, 100)),
                ("edges, weak", edges(&luma, 25)),
                ("edges, strong", edges(&luma, 400)),
                ("blur 1", blur(&luma, 1)),
                ("blur 4", blur(&luma, 4)),
                ("blocks of 8", pixelate(&luma, 8)),
                ("blocks of 16", pixelate(&luma, 16)),
            ] {
                assert_eq!(read(&picture), Some(number), "{name}");
            }
        }
    }

    #[test]
    fn a_scaled_picture_is_still_readable() {
        let luma = marked(4_711);
        let half: Vec<u8> = (0..WIDTH * HEIGHT / 4)
            .map(|i| {
                let (x, y) = (i % (WIDTH / 2) * 2, i / (WIDTH / 2) * 2);
                let at = |dx, dy| u32::from(luma[(y + dy) * WIDTH + x + dx]);
                ((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4) as u8
            })
            .collect();
        let picture = Luma {
            samples: &half,
            stride: WIDTH / 2,
            width: WIDTH / 2,
            height: HEIGHT / 2,
        };
        assert_eq!(layout().read(picture), Some(4_711));
    }

    #[test]
    fn a_damaged_mark_is_unreadable_and_never_another_number() {
        let mut rng = fastrand::Rng::with_seed(1);
        for number in NUMBERS {
            let good = marked(number);
            for cell in 0..CELLS {
                let mut luma = good.clone();
                let (left, top) = layout().corner(cell);
                let flip = bits(number)[cell];
                for y in top..top + 32 {
                    for x in left..left + 32 {
                        luma[y * WIDTH + x] = if flip { 16 } else { 126 };
                    }
                }
                assert_eq!(read(&luma), None, "{number}, cell {cell}");
            }
        }
        for _ in 0..200 {
            let noise: Vec<u8> = (0..WIDTH * HEIGHT).map(|_| rng.u8(..)).collect();
            assert_eq!(read(&noise), None);
        }
        assert_eq!(read(&vec![128; WIDTH * HEIGHT]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn it_survives_a_poor_encoder() {
        let config = EncoderConfig::new()
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(150_000))
            .skip_frames(false)
            .max_frame_rate(FrameRate::from_hz(30.0));
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
        let mut decoder = Decoder::new().unwrap();
        for number in 500..520 {
            let mut planes = marked(number);
            planes.resize(WIDTH * HEIGHT * 3 / 2, 128);
            let picture = YUVBuffer::from_vec(planes, WIDTH, HEIGHT);
            let bytes = encoder.encode(&picture).unwrap().to_vec();
            let decoded = decoder.decode(&bytes).unwrap().unwrap();
            let luma = Luma {
                samples: decoded.y(),
                stride: decoded.strides().0,
                width: WIDTH,
                height: HEIGHT,
            };
            assert_eq!(layout().read(luma), Some(number));
        }
    }

    #[test]
    fn a_small_picture_has_small_cells_and_a_tiny_one_none() {
        assert_eq!(layout().size(), (640, 64));
        assert_eq!(Layout::new(320, 180).unwrap().size(), (320, 32));
        assert_eq!(Layout::new(64, 64), None);
    }
}
