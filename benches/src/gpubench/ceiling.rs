//! `ceiling`: what the device's decoders give by themselves, and how much of it lanes keep.
//!
//! ```text
//!   1, 2, 4, ... decoders, threads with a backend each, pictures thrown away ─▶ the most pictures a second: the ceiling
//!   as many sessions of the same clip on 1, 2, 4 lanes: decode, edges, dropped ─▶ the ratio
//! ```
//!
//! The encoder is left out of the lanes, since a chip without one encodes on the CPU, which would hide the decoders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::drive::{Options, Step};
use gpu::{Backend, Filter};

use super::Settings;
use super::clip::Clip;
use super::crew::{Climb, Crew, Job};
use super::device::{Subject, has_engine, open};
use super::fleet::Fleet;
use super::report::{Report, Table, Trouble, Verdict, percent, rate};

const SIZES: [(usize, usize); 2] = [(1280, 720), (1920, 1080)];
/// What lanes are to keep of the ceiling.
const KEPT_PERCENT: f64 = 90.0;
const STREAMS_MAX: usize = 64;
const THREADS_MAX: usize = 8;
const LANES_MAX: usize = 4;
/// Windows that the time is enough for: two sizes with seven levels and three numbers of lanes each, and one clip of H.265.
const WINDOWS: u32 = 22;
/// How often the management library is asked.
const SAMPLE: Duration = Duration::from_millis(50);

/// Puts the question.
///
/// # Errors
/// When there is no clip, the device does not open, or no stream can be decoded.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let clips = settings.clips(&SIZES)?;
    let backend = open(subject)?;
    let is_h265 = backend
        .decoder(gpu::Codec::H265, gpu::decode::Config::default())
        .is_ok();
    let engine = match has_engine(&backend, "NVDEC") {
        true => "NVDEC",
        false => "the CPU's decoder",
    };
    let about = format!("device: {}", backend.name());
    drop(backend);
    let threads = threads();
    let crew = Crew::start(subject, threads).map_err(Trouble::Failed)?;
    let mut bench = Bench {
        subject,
        crew,
        window: settings.window(WINDOWS),
        alone: Table::new([
            "clip",
            "decoders",
            "threads",
            "pictures/s",
            "decoders' load % (NVML)",
        ]),
        lanes: Table::new([
            "clip",
            "sessions",
            "lanes",
            "frames/s",
            "of the ceiling %",
            "late and given up",
        ]),
        notes: vec![
            about,
            format!(
                "decoding by {engine}; lanes do builtin/edges and drop the picture where it would be encoded"
            ),
        ],
        verdicts: Vec::new(),
    };
    let until = settings.until();
    for (n, clip) in clips.iter().enumerate() {
        // Each clip has its part of what is left.
        let left = until.saturating_duration_since(Instant::now());
        let part = left / (clips.len() - n) as u32;
        bench.clip(clip, Instant::now() + part)?;
    }
    if is_h265 && settings.clips.is_empty() {
        bench.h265()?;
    }
    Ok(Report {
        notes: bench.notes,
        tables: vec![bench.alone, bench.lanes],
        verdicts: bench.verdicts,
    })
}

fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
}

struct Bench<'a, S> {
    subject: &'a S,
    crew: Crew,
    window: Duration,
    alone: Table,
    lanes: Table,
    notes: Vec<String>,
    verdicts: Vec<Verdict>,
}

impl<S: Subject> Bench<'_, S> {
    fn clip(&mut self, clip: &Clip, until: Instant) -> Result<(), Trouble> {
        let mut loads = Vec::new();
        let climb = Climb::up(STREAMS_MAX, until, |streams| {
            let sampler = Sampler::start(self.subject.ordinal());
            let tally = self.crew.measure(Job::Decode, clip, streams, self.window);
            loads.push(sampler.end());
            tally
        })
        .map_err(|why| Trouble::Failed(format!("{}: {why}", clip.name)))?;
        for (&(streams, tally), load) in climb.levels.iter().zip(loads) {
            self.alone.row([
                clip.name.clone(),
                streams.to_string(),
                streams.min(self.crew.threads()).to_string(),
                rate(tally.rate),
                load,
            ]);
        }
        self.notes.push(format!("{}: {}", clip.name, climb.end));
        let Some((streams, ceiling)) = climb.best() else {
            return Ok(());
        };
        self.through_lanes(clip, streams, ceiling.rate);
        Ok(())
    }

    /// The same streams through lanes: more of them as long as one falls short.
    fn through_lanes(&mut self, clip: &Clip, streams: usize, ceiling: f64) {
        let mut best: Option<(usize, f64)> = None;
        let mut lanes = 1;
        while lanes <= LANES_MAX.min(threads()) {
            match self.lanes_once(clip, streams, lanes) {
                Ok((frames_a_second, given_up)) => {
                    let kept = percent(frames_a_second, ceiling).unwrap_or(0.0);
                    self.lanes.row([
                        clip.name.clone(),
                        streams.to_string(),
                        lanes.to_string(),
                        rate(frames_a_second),
                        format!("{kept:.1}"),
                        given_up.to_string(),
                    ]);
                    if best.is_none_or(|(_, most)| kept > most) {
                        best = Some((lanes, kept));
                    }
                    if kept >= KEPT_PERCENT {
                        break;
                    }
                }
                Err(why) => {
                    self.notes
                        .push(format!("{}: {lanes} lanes: {why}", clip.name));
                    break;
                }
            }
            lanes *= 2;
        }
        self.verdicts.push(judge(&clip.name, streams, best));
    }

    /// Frames a second, and how many were given up for being late.
    fn lanes_once(&self, clip: &Clip, streams: usize, lanes: usize) -> Result<(f64, u64), String> {
        let step = Step::Filter(Filter::Edges { gain_percent: 100 });
        let options = Options {
            lanes,
            encode: false,
        };
        let on = self.subject.lanes_on();
        let mut fleet = Fleet::start(&on, options, &step, clip, streams)?;
        fleet.warm_up()?;
        let (since, before) = (Instant::now(), fleet.tally);
        fleet.run(since + 2 * self.window)?;
        let (took, tally) = (since.elapsed(), fleet.tally.since(before));
        fleet.drain()?;
        Ok((tally.frames as f64 / took.as_secs_f64(), tally.dropped))
    }

    fn h265(&mut self) -> Result<(), Trouble> {
        let clip = Clip::h265()?;
        let streams = 2 * self.crew.threads();
        let sampler = Sampler::start(self.subject.ordinal());
        let tally = self.crew.measure(Job::Decode, &clip, streams, self.window);
        let load = sampler.end();
        match tally {
            Ok(tally) => self.alone.row([
                clip.name.clone(),
                streams.to_string(),
                self.crew.threads().to_string(),
                rate(tally.rate),
                load,
            ]),
            Err(why) => self.notes.push(format!("{}: {why}", clip.name)),
        }
        Ok(())
    }
}

/// `best` is the number of lanes that kept the most, and how much.
fn judge(name: &str, streams: usize, best: Option<(usize, f64)>) -> Verdict {
    match best {
        None => Verdict::Fail(format!("{name}: nothing came through a lane")),
        Some((lanes, kept)) => Verdict::at_least(
            &format!("{name}: what {streams} sessions on {lanes} lane(s) keep of the ceiling"),
            kept,
            KEPT_PERCENT,
            "%",
        ),
    }
}

/// Asks the management library while something runs.
struct Sampler {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

/// Nothing was said yet.
const UNKNOWN: u32 = u32::MAX;

impl Sampler {
    fn start(ordinal: Option<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let most = Arc::new(AtomicU32::new(UNKNOWN));
        let thread = ordinal.and_then(|ordinal| {
            let (stop, most) = (stop.clone(), most.clone());
            let sample = move || {
                while !stop.load(Ordering::Relaxed) {
                    let load = gpu::utilisation(ordinal).and_then(|said| said.decode_percent);
                    if let Some(load) = load {
                        let before = most.load(Ordering::Relaxed);
                        let now = if before == UNKNOWN {
                            load
                        } else {
                            before.max(load)
                        };
                        most.store(now, Ordering::Relaxed);
                    }
                    std::thread::sleep(SAMPLE);
                }
            };
            // Without a thread there is no figure, and the table says so.
            std::thread::Builder::new().spawn(sample).ok()
        });
        Self { stop, most, thread }
    }

    /// The highest load that was seen.
    fn end(mut self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        match self.most.load(Ordering::Relaxed) {
            UNKNOWN => "not known".to_owned(),
            load => load.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_pass() {
        assert!(matches!(judge("x", 8, Some((1, 90.0))), Verdict::Pass(_)));
        assert!(matches!(judge("x", 8, Some((4, 89.9))), Verdict::Fail(_)));
        assert!(matches!(judge("x", 8, None), Verdict::Fail(_)));
    }

    #[test]
    fn without_a_card_the_load_is_not_known() {
        assert_eq!(Sampler::start(None).end(), "not known");
    }
}
