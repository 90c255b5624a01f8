//! Threads that keep one step of a device busy: each opens a backend of its own and runs some of the streams.
//!
//! ```text
//!   measure: Prepare ─▶ every thread makes its decoders or encoders and does one picture of each ─▶ ready
//!            Run     ─▶ rounds of {submit to each, collect from each} until the window is over   ─▶ pictures, seconds
//! ```
//!
//! A window begins when all are ready, so what is made once is not in it. Pictures are thrown away.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gpu::{Backend, Codec, Decode, Encode, Open};

use super::clip::Clip;
use super::device::Subject;

/// How long opening, preparing and the end of a window may take, each.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the end of the threads is waited for.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pictures that an encoder is given in turn.
pub const SOURCES: usize = 8;

/// What is done with a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Its units are decoded.
    Decode,
    /// Its first pictures are encoded.
    Encode,
}

/// The threads. Dropping it ends them.
pub struct Crew {
    hands: Vec<Hand>,
}

struct Hand {
    orders: Sender<Order>,
    answers: Receiver<Result<Tally, String>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Prepare(Job, Clip, usize),
    Run(Duration),
}

/// What one window came to, over all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Pictures that came out.
    pub pictures: u64,
    /// Pictures a second.
    pub rate: f64,
}

/// What a thread does with a window.
type Ready<'a> = Box<dyn FnMut(Duration) -> Result<Tally, String> + 'a>;

// === impl Crew ===

impl Crew {
    /// Starts threads, each with a backend.
    ///
    /// # Errors
    /// When one does not open.
    pub fn start<S: Subject>(subject: &S, threads: usize) -> Result<Self, String> {
        let hands: Result<Vec<Hand>, String> = (0..threads.max(1))
            .map(|n| Hand::start(subject, n))
            .collect();
        let crew = Self { hands: hands? };
        for hand in &crew.hands {
            hand.answer()?;
        }
        Ok(crew)
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.hands.len()
    }

    /// Does a job on so many streams at once for so long.
    ///
    /// # Errors
    /// When a stream of them cannot be made, or failed.
    pub fn measure(
        &self,
        job: Job,
        clip: &Clip,
        streams: usize,
        window: Duration,
    ) -> Result<Tally, String> {
        let shares = shares(streams, self.hands.len());
        let busy: Vec<&Hand> = self.hands.iter().take(shares.len()).collect();
        for (hand, &share) in busy.iter().zip(&shares) {
            hand.order(Order::Prepare(job, clip.clone(), share))?;
        }
        // All are heard, so that none answers the next question with this one's answer.
        let prepared: Vec<_> = busy.iter().map(|hand| hand.answer()).collect();
        prepared.into_iter().collect::<Result<Vec<_>, _>>()?;
        for hand in &busy {
            hand.order(Order::Run(window))?;
        }
        let run: Vec<_> = busy.iter().map(|hand| hand.answer()).collect();
        let mut all = Tally::default();
        for tally in run {
            let tally = tally?;
            all.pictures += tally.pictures;
            all.rate += tally.rate;
        }
        Ok(all)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let until = Instant::now() + FAREWELL;
        let threads: Vec<_> = self.hands.drain(..).map(|hand| hand.thread).collect();
        for thread in threads.into_iter().flatten() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // One that panicked has said so, and its answers were missed.
                let _ = thread.join();
            }
        }
    }
}

/// Streams a thread, for as many threads as get any.
fn shares(streams: usize, threads: usize) -> Vec<usize> {
    let busy = streams.min(threads).max(1);
    (0..busy)
        .map(|n| streams / busy + usize::from(n < streams % busy))
        .collect()
}

// === impl Hand ===

impl Hand {
    fn start<S: Subject>(subject: &S, number: usize) -> Result<Self, String> {
        let (orders, inbox) = mpsc::channel();
        let (outbox, answers) = mpsc::channel();
        let subject = subject.clone();
        let thread = std::thread::Builder::new()
            .name(format!("crew-{number}"))
            .spawn(move || live(&subject, &inbox, &outbox))
            .map_err(|why| format!("cannot start a thread: {why}"))?;
        Ok(Self {
            orders,
            answers,
            thread: Some(thread),
        })
    }

    fn order(&self, order: Order) -> Result<(), String> {
        let gone = |_| "a thread has ended".to_owned();
        self.orders.send(order).map_err(gone)
    }

    fn answer(&self) -> Result<Tally, String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err("a thread has ended".to_owned()),
        }
    }
}

/// A thread's whole life. Nobody who listens any more: fine.
fn live<S: Subject>(subject: &S, inbox: &Receiver<Order>, outbox: &Sender<Result<Tally, String>>) {
    let backend = match Open::open(subject) {
        Ok(backend) => backend,
        Err(why) => {
            let _ = outbox.send(Err(format!("{} does not open: {why}", subject.name())));
            return;
        }
    };
    let _ = outbox.send(Ok(Tally::default()));
    let mut ready: Option<Ready<'_>> = None;
    while let Ok(order) = inbox.recv() {
        let answer = match order {
            Order::Prepare(job, clip, streams) => {
                // The last ones go first, so that there is room for these.
                drop(ready.take());
                let made = match job {
                    Job::Decode => decoding(&backend, clip, streams),
                    Job::Encode => encoding(&backend, &clip, streams),
                };
                made.map(|made| {
                    ready = Some(made);
                    Tally::default()
                })
            }
            Order::Run(window) => match &mut ready {
                Some(run) => run(window),
                None => Err("nothing was prepared".to_owned()),
            },
        };
        let _ = outbox.send(answer);
    }
}

// === the jobs ===

fn decoding<B: Backend>(backend: &B, clip: Clip, streams: usize) -> Result<Ready<'_>, String> {
    let config = gpu::decode::Config::default();
    let made = |_| backend.decoder(clip.codec, config);
    let mut decoders = (0..streams)
        .map(made)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| why.to_string())?;
    let mut out = Vec::new();
    let mut next = 0;
    let mut round = move || -> Result<u64, String> {
        let (unit, pts) = clip.at(next);
        next += 1;
        let data = &unit.data[..];
        for decoder in &mut decoders {
            let unit = gpu::Unit { data, pts };
            decoder.submit(unit).map_err(|why| why.to_string())?;
        }
        let mut pictures = 0;
        for decoder in &mut decoders {
            pictures += collected(decoder.as_mut(), &mut out)?;
        }
        Ok(pictures)
    };
    round()?;
    Ok(Box::new(move |window| rounds(window, &mut round)))
}

fn collected<S>(
    decoder: &mut dyn Decode<S>,
    out: &mut Vec<gpu::Decoded<S>>,
) -> Result<u64, String> {
    decoder.collect(out).map_err(|why| why.to_string())?;
    let pictures = out.len() as u64;
    for picture in out.drain(..) {
        decoder.recycle(picture.surface);
    }
    Ok(pictures)
}

fn encoding<'a, B: Backend>(
    backend: &'a B,
    clip: &Clip,
    streams: usize,
) -> Result<Ready<'a>, String> {
    let sources = surfaces(backend, clip, SOURCES)?;
    let config = gpu::encode::Config::default();
    let mut encoders = (0..streams)
        .map(|_| backend.encoder(Codec::H264, config))
        .collect::<Result<Vec<Box<dyn Encode<B::Surface>>>, _>>()
        .map_err(|why| why.to_string())?;
    let mut data = Vec::new();
    let (mut next, mut pts) = (0, 0);
    let mut round = move || -> Result<u64, String> {
        let source = &sources[there_and_back(next, sources.len())];
        for encoder in &mut encoders {
            let submitted = encoder.submit(&source.surface, pts, next == 0);
            submitted.map_err(|why| why.to_string())?;
        }
        let mut pictures = 0;
        for encoder in &mut encoders {
            data.clear();
            let encoded = encoder.collect(&mut data).map_err(|why| why.to_string())?;
            pictures += u64::from(encoded.bytes > 0);
        }
        next += 1;
        pts += super::clip::TICKS;
        Ok(pictures)
    };
    round()?;
    Ok(Box::new(move |window| rounds(window, &mut round)))
}

/// The first pictures of a clip on the device, at least one. They are the decoder's own surfaces, so none is given back.
///
/// # Errors
/// When the device does not decode it.
pub(super) fn surfaces<B: Backend>(
    backend: &B,
    clip: &Clip,
    count: usize,
) -> Result<Vec<gpu::Decoded<B::Surface>>, String> {
    let config = gpu::decode::Config::default();
    let made = backend.decoder(clip.codec, config);
    let mut decoder = made.map_err(|why| why.to_string())?;
    let mut out = Vec::new();
    for unit in clip.units() {
        let unit = gpu::Unit {
            data: &unit.data,
            pts: unit.pts,
        };
        decoder
            .decode(unit, &mut out)
            .map_err(|why| why.to_string())?;
        if out.len() >= count {
            break;
        }
    }
    decoder.flush(&mut out).map_err(|why| why.to_string())?;
    out.truncate(count);
    if out.is_empty() {
        return Err(format!("{}: no picture was decoded", clip.name));
    }
    Ok(out)
}

/// 0, 1, 2, 1, 0, 1, ... so that the last picture is followed by one that is like it.
pub(super) const fn there_and_back(n: usize, of: usize) -> usize {
    if of < 2 {
        return 0;
    }
    let lap = 2 * (of - 1);
    let place = n % lap;
    if place < of { place } else { lap - place }
}

fn rounds(
    window: Duration,
    round: &mut impl FnMut() -> Result<u64, String>,
) -> Result<Tally, String> {
    let since = Instant::now();
    let mut pictures = 0;
    loop {
        pictures += round()?;
        let elapsed = since.elapsed();
        if elapsed >= window {
            return Ok(Tally {
                pictures,
                rate: pictures as f64 / elapsed.as_secs_f64(),
            });
        }
    }
}

// === how many streams ===

/// What more and more streams came to.
#[derive(Debug, Clone, Default)]
pub struct Climb {
    /// Each level: streams, and what they gave.
    pub levels: Vec<(usize, Tally)>,
    /// Why it went no further.
    pub end: String,
}

impl Climb {
    /// Doubles the streams until the rate rises by less than a twentieth, `most` are reached, one more does not open, or the time
    /// is over. `measure` is asked for each level.
    ///
    /// # Errors
    /// When not even one stream can be measured.
    pub fn up(
        most: usize,
        until: Instant,
        mut measure: impl FnMut(usize) -> Result<Tally, String>,
    ) -> Result<Self, String> {
        let mut climb = Self::default();
        let mut streams = 1;
        loop {
            match measure(streams) {
                Ok(tally) => {
                    let before = climb.best().map_or(0.0, |(_, best)| best.rate);
                    climb.levels.push((streams, tally));
                    if tally.rate < before * RISE {
                        climb.end = "the rate rose no more".to_owned();
                        return Ok(climb);
                    }
                }
                Err(why) if climb.levels.is_empty() => return Err(why),
                Err(why) => {
                    climb.end = format!("{streams} streams: {why}");
                    return Ok(climb);
                }
            }
            if streams * 2 > most {
                climb.end = format!("{most} are the most that are tried");
                return Ok(climb);
            }
            if Instant::now() >= until {
                climb.end = "the time was over; give --seconds more".to_owned();
                return Ok(climb);
            }
            streams *= 2;
        }
    }

    /// The fastest level.
    pub fn best(&self) -> Option<(usize, Tally)> {
        let by_rate = |a: &&(usize, Tally), b: &&(usize, Tally)| a.1.rate.total_cmp(&b.1.rate);
        self.levels.iter().max_by(by_rate).copied()
    }
}

/// What counts as rising.
const RISE: f64 = 1.05;

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::Cpu;

    #[test]
    fn streams_are_shared_out() {
        assert_eq!(shares(1, 4), [1]);
        assert_eq!(shares(4, 4), [1; 4]);
        assert_eq!(shares(7, 3), [3, 2, 2]);
        assert_eq!(shares(0, 3), [0]);
    }

    #[test]
    fn pictures_go_there_and_back() {
        let order: Vec<_> = (0..7).map(|n| there_and_back(n, 3)).collect();
        assert_eq!(order, [0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(there_and_back(5, 1), 0);
    }

    #[test]
    fn a_climb_ends_where_the_rate_does() {
        let later = Instant::now() + Duration::from_secs(60);
        let tally = |rate| Ok(Tally { pictures: 1, rate });
        let flat = |streams: usize| tally(100.0 * streams.min(4) as f64);
        let climb = Climb::up(64, later, flat).unwrap();
        let streams: Vec<_> = climb.levels.iter().map(|level| level.0).collect();
        assert_eq!(streams, [1, 2, 4, 8]);
        assert_eq!(climb.best().unwrap().1.rate, 400.0);
        let full = |streams: usize| match streams {
            1 | 2 => tally(100.0 * streams as f64),
            _ => Err("full".to_owned()),
        };
        let climb = Climb::up(64, later, full).unwrap();
        assert_eq!(climb.end, "4 streams: full");
        assert_eq!(climb.best().unwrap().0, 2);
        let endless = |streams: usize| tally(streams as f64);
        let climb = Climb::up(6, later, endless).unwrap();
        assert_eq!(climb.levels.len(), 3);
        let climb = Climb::up(6, Instant::now(), endless).unwrap();
        assert_eq!(climb.levels.len(), 1, "the time is over");
        assert!(Climb::up(6, later, |_| Err("no".to_owned())).is_err());
    }

    #[test]
    fn a_crew_counts_what_it_does_and_says_what_it_cannot() {
        let crew = Crew::start(&Cpu, 2).unwrap();
        assert_eq!(crew.threads(), 2);
        let window = Duration::from_millis(50);
        let clip = Clip::draw(64, 64).unwrap();
        for job in [Job::Decode, Job::Encode] {
            let tally = crew.measure(job, &clip, 3, window).unwrap();
            assert!(tally.pictures >= 3 && tally.rate > 0.0, "{tally:?}");
        }
        let h265 = Clip::h265().unwrap();
        let refused = crew.measure(Job::Decode, &h265, 2, window).unwrap_err();
        assert!(refused.contains("no H.265 decoder"), "{refused}");
        let again = crew.measure(Job::Decode, &clip, 1, window).unwrap();
        assert!(again.pictures > 0, "and goes on");
    }
}
