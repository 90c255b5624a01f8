//! What a picture costs on a lane, before any session has come: a small clip is taken through all steps.
//!
//! The clip is made once a process, by the CPU's encoder: a device can only encode what it has decoded, so the first bytes have to
//! come from elsewhere. It is 1280×720, moving and a little noisy, as a camera's pictures are; what a session's pictures cost
//! takes over as they are measured.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gpu::{Backend, Codec, Cpu, Filter, Frame, Process, Step};

use super::admission::{Cost, Spent};
use super::end::{End, guarded};
use super::stats::Board;

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
pub(super) const PIXELS: u64 = (WIDTH * HEIGHT) as u64;
/// Pictures of the clip; after the last the first, a key picture, comes again.
const PICTURES: usize = 4;
/// As many as tell enough, should the time allow more.
const MEASURED_MAX: usize = 30;
/// Ticks of 90 kHz from picture to picture.
const TICKS: i64 = 3000;

/// What was found out.
pub(super) struct Measured {
    pub(super) cost: Cost,
    /// Device memory that one session took; 0 where it is not counted.
    pub(super) session_bytes: u64,
}

/// Takes the clip through the device until the time is over; at least twice, since the first picture also pays for what is made once.
pub(super) fn run<B: Backend>(
    backend: &B,
    processor: &mut Box<dyn Process<B::Surface>>,
    board: &Board,
    time: Duration,
) -> Result<Measured, End> {
    let clip = clip()?;
    let free_before = backend.usage().memory_free_bytes;
    let decode_config = gpu::decode::Config::default();
    let mut decoder = guarded(board, || backend.decoder(Codec::H264, decode_config))??;
    let encode_config = gpu::encode::Config::default();
    let mut encoder = guarded(board, || backend.encoder(Codec::H264, encode_config))??;
    let mut output = guarded(board, || backend.surface())??;
    let step = Step::Filter(Filter::Edges { gain_percent: 100 });
    let (mut cost, mut pictures, mut data) = (Cost::default(), Vec::new(), Vec::new());
    let until = Instant::now() + time;
    for n in 0..=MEASURED_MAX {
        let began = Instant::now();
        if began >= until && n > 1 {
            break;
        }
        let unit = gpu::Unit {
            data: &clip[n % PICTURES],
            pts: n as i64 * TICKS,
        };
        guarded(board, || decoder.decode(unit, &mut pictures))?.map_err(failed)?;
        let decoded = Instant::now();
        for picture in pictures.drain(..) {
            guarded(board, || {
                processor.process_one(&step, &picture.surface, &mut output)
            })?
            .map_err(failed)?;
            let processed = Instant::now();
            data.clear();
            guarded(board, || {
                encoder.encode(&output, picture.pts, n == 0, &mut data)
            })?
            .map_err(failed)?;
            let pixels = (picture.width * picture.height) as u64;
            if n > 0 {
                cost.add(&Spent {
                    decode: decoded - began,
                    process: processed - decoded,
                    encode: processed.elapsed(),
                    decoded_pixels: pixels,
                    encoded_pixels: pixels,
                });
            }
            guarded(board, || decoder.recycle(picture.surface))?;
        }
    }
    let free_after = backend.usage().memory_free_bytes;
    guarded(board, move || drop((decoder, encoder, output)))?;
    if cost.ps().is_none() {
        return Err(End::Failed("the calibration gave no picture".to_owned()));
    }
    Ok(Measured {
        cost,
        session_bytes: free_before
            .zip(free_after)
            .map_or(0, |(before, after)| before.saturating_sub(after)),
    })
}

fn failed(error: impl Into<Failed>) -> End {
    match error.into() {
        Failed::Device(fault) => fault.into(),
        Failed::Other(why) => End::Failed(why),
    }
}

/// What went wrong in a step, told apart no further than is needed.
enum Failed {
    Device(gpu::Fault),
    Other(String),
}

impl From<gpu::decode::Error> for Failed {
    fn from(error: gpu::decode::Error) -> Self {
        match error {
            gpu::decode::Error::Device(fault) => Self::Device(fault),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<gpu::process::Error> for Failed {
    fn from(error: gpu::process::Error) -> Self {
        match error {
            gpu::process::Error::Device(fault) => Self::Device(fault),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<gpu::encode::Error> for Failed {
    fn from(error: gpu::encode::Error) -> Self {
        match error {
            gpu::encode::Error::Device(fault) => Self::Device(fault),
            error => Self::Other(error.to_string()),
        }
    }
}

fn clip() -> Result<&'static [Vec<u8>], End> {
    static CLIP: OnceLock<Result<Vec<Vec<u8>>, String>> = OnceLock::new();
    match CLIP.get_or_init(make) {
        Ok(clip) => Ok(clip),
        Err(why) => Err(End::Failed(why.clone())),
    }
}

fn make() -> Result<Vec<Vec<u8>>, String> {
    let mut encoder = Cpu
        .encoder(Codec::H264, gpu::encode::Config::default())
        .map_err(|error| error.to_string())?;
    let mut frame = Frame::new(WIDTH, HEIGHT).map_err(|error| error.to_string())?;
    let mut clip = Vec::new();
    for n in 0..PICTURES {
        draw(&mut frame, n);
        let mut data = Vec::new();
        encoder
            .encode(&frame, n as i64 * TICKS, n == 0, &mut data)
            .map_err(|error| error.to_string())?;
        clip.push(data);
    }
    Ok(clip)
}

/// Soft stripes that move, under the noise of a camera: two bits of it, in luma.
fn draw(frame: &mut Frame, n: usize) {
    let mut chance = 0x9e37_79b9_u32 ^ n as u32;
    let [luma, blue, red] = &mut frame.planes_mut();
    for (y, row) in luma.rows_mut().enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            // A linear congruential generator (Numerical Recipes' constants): noise enough.
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let slope = (x + 3 * n + y / 2) % 256;
            let wave = slope.min(255 - slope);
            *pixel = (48 + wave + (chance >> 30) as usize) as u8;
        }
    }
    for plane in [blue, red] {
        for (y, row) in plane.rows_mut().enumerate() {
            row.fill((96 + (y + n) / 8 % 64) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::Open;
    use gpu::stub::{Settings, Stub};

    #[test]
    fn the_cpu_says_what_a_picture_costs() {
        let mut processor = Cpu.processor().unwrap();
        let time = Duration::from_millis(100);
        let measured = run(&Cpu, &mut processor, &Board::new(), time).ok().unwrap();
        let cost = measured.cost.ps().unwrap();
        println!("{} us a picture of 1280x720", cost * PIXELS / 1_000_000);
        // A tenth of a millisecond to a second a picture: any machine that this runs on.
        assert!((100..1_100_000).contains(&cost), "{cost}");
        assert_eq!(measured.session_bytes, 0);
    }

    #[test]
    fn a_device_says_what_memory_a_session_takes() {
        let stub = Stub::new(Settings {
            surface_bytes: 1000,
            ..Settings::default()
        });
        let backend = stub.open().unwrap();
        let mut processor = backend.processor().unwrap();
        let measured = run(&backend, &mut processor, &Board::new(), Duration::ZERO);
        assert_eq!(measured.ok().unwrap().session_bytes, 11 * 1000);
        assert_eq!(stub.surfaces(), 0, "it leaves nothing behind");
    }
}
