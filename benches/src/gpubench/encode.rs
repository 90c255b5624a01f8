//! `encode`: pictures a second, more and more streams, and what a picture loses on a round trip.
//!
//! The pictures lie on the device. Where the chip has no encoder each is copied to pinned memory and encoded on the CPU, on the
//! thread of its stream; the report says which it was.

use std::time::Instant;

use gpu::{Backend, Codec, Cpu, psnr};

use super::Settings;
use super::clip::{Clip, TICKS};
use super::crew::{Climb, Crew, Job, SOURCES, surfaces};
use super::device::{Subject, has_engine, open};
use super::report::{Report, Table, Trouble, Verdict, db, rate};

const SIZES: [(usize, usize); 2] = [(1280, 720), (1920, 1080)];
/// What [`gpu::encode::Config::qp_max`] promises of luma.
const LEAST_DB: f64 = 33.0;
const STREAMS_MAX: usize = 32;
const THREADS_MAX: usize = 16;
/// Windows that the time is enough for: two sizes, six levels each.
const WINDOWS: u32 = 12;

/// Puts the question.
///
/// # Errors
/// When there is no clip, the device does not open, or nothing can be encoded.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let clips = settings.clips(&SIZES)?;
    let backend = open(subject)?;
    let by = match (has_engine(&backend, "NVENC"), subject.ordinal()) {
        (true, _) => "NVENC",
        (false, Some(_)) => {
            "the CPU, from a pinned copy of each picture: the chip has no encoder that can be used"
        }
        (false, None) => "the CPU, where the pictures are",
    };
    let notes = vec![
        format!("device: {}", backend.name()),
        format!("encoding by {by}"),
    ];
    let mut lost = Table::new([
        "clip",
        "pictures",
        "kbit a picture",
        "least dB, luma",
        "mean dB, luma",
    ]);
    let mut verdicts = Vec::new();
    for clip in &clips {
        let trip = round_trip(&backend, clip)
            .map_err(|why| Trouble::Failed(format!("{}: {why}", clip.name)))?;
        lost.row([
            clip.name.clone(),
            trip.pictures.to_string(),
            format!(
                "{:.0}",
                trip.bytes as f64 * 8.0 / 1000.0 / trip.pictures as f64
            ),
            db(trip.least),
            db(trip.mean),
        ]);
        verdicts.push(Verdict::at_least(
            &format!("{}: luma after a round trip", clip.name),
            trip.least,
            LEAST_DB,
            "dB",
        ));
    }
    drop(backend);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let crew = Crew::start(subject, cores.min(THREADS_MAX)).map_err(Trouble::Failed)?;
    let (table, ends) = climb(&crew, &clips, settings)?;
    Ok(Report {
        notes: notes.into_iter().chain(ends).collect(),
        tables: vec![table, lost],
        verdicts,
    })
}

fn climb(
    crew: &Crew,
    clips: &[Clip],
    settings: &Settings,
) -> Result<(Table, Vec<String>), Trouble> {
    let mut table = Table::new(["clip", "streams", "threads", "pictures/s", "a stream"]);
    let (until, mut ends) = (settings.until(), Vec::new());
    for (n, clip) in clips.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let part = Instant::now() + left / (clips.len() - n) as u32;
        let window = settings.window(WINDOWS);
        let climb = Climb::up(STREAMS_MAX, part, |streams| {
            crew.measure(Job::Encode, clip, streams, window)
        })
        .map_err(|why| Trouble::Failed(format!("{}: {why}", clip.name)))?;
        for &(streams, tally) in &climb.levels {
            table.row([
                clip.name.clone(),
                streams.to_string(),
                streams.min(crew.threads()).to_string(),
                rate(tally.rate),
                rate(tally.rate / streams as f64),
            ]);
        }
        ends.push(format!("{}: {}", clip.name, climb.end));
    }
    Ok((table, ends))
}

struct RoundTrip {
    pictures: usize,
    bytes: usize,
    least: f64,
    mean: f64,
}

/// Encodes the first pictures of a clip on the device and decodes them on the CPU, beside the CPU's own decoding of the clip.
fn round_trip<B: Backend>(backend: &B, clip: &Clip) -> Result<RoundTrip, String> {
    let sources = surfaces(backend, clip, SOURCES)?;
    let truth = clip.on_the_cpu(usize::MAX)?;
    let config = gpu::encode::Config::default();
    let made = backend.encoder(Codec::H264, config);
    let mut encoder = made.map_err(|why| why.to_string())?;
    let made = Cpu.decoder(Codec::H264, gpu::decode::Config::default());
    let mut decoder = made.map_err(|why| why.to_string())?;
    let (mut out, mut bytes) = (Vec::new(), 0);
    for (n, source) in sources.iter().enumerate() {
        let mut data = Vec::new();
        let pts = n as i64 * TICKS;
        encoder
            .encode(&source.surface, pts, n == 0, &mut data)
            .map_err(|why| why.to_string())?;
        bytes += data.len();
        let unit = gpu::Unit { data: &data, pts };
        decoder
            .decode(unit, &mut out)
            .map_err(|why| format!("what was encoded does not decode: {why}"))?;
    }
    decoder.flush(&mut out).map_err(|why| why.to_string())?;
    if out.len() != sources.len() {
        return Err(format!(
            "{} of {} pictures came back from a round trip",
            out.len(),
            sources.len()
        ));
    }
    let (mut least, mut sum) = (f64::INFINITY, 0.0);
    for (back, truth) in out.iter().zip(&truth) {
        let alike = psnr(&back.surface, &truth.surface)
            .ok_or("a picture came back from a round trip in another size")?;
        least = least.min(alike.y);
        sum += alike.y;
    }
    Ok(RoundTrip {
        pictures: out.len(),
        bytes,
        least,
        mean: sum / out.len() as f64,
    })
}
