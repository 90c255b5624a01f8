//! `decode`: the device's pictures beside those of the CPU's decoder.
//!
//! Each clip is decoded twice: once for its rate, pictures thrown away, and once for its pictures, each compared as it comes. A
//! device that refuses a stream should go over to the CPU by itself; then the pictures come from host memory, which the bytes
//! that went to the device give away.

use std::time::Instant;

use gpu::{Backend, Decoded, Frame, psnr};
use kernels::psnr::EQUAL_DB;

use super::Settings;
use super::clip::Clip;
use super::device::{Subject, has_engine, open};
use super::report::{Report, Table, Trouble, Verdict, db, rate};

/// The least likeness of a picture that was decoded by another decoder of the same standard.
const LEAST_DB: f64 = 50.0;
const SIZES: [(usize, usize); 3] = [(640, 360), (1280, 720), (1920, 1080)];

/// How a device's pictures compare with the CPU's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likeness {
    /// Pictures of the device, and of the CPU.
    pub counts: (usize, usize),
    /// The least and the mean over pictures of their worst plane, in dB; `None` when no two could be compared.
    pub least_and_mean: Option<(f64, f64)>,
    /// Pictures that differ in size or time, so that there is nothing to compare.
    pub misplaced: usize,
}

/// What the device did with a clip.
enum Decoding {
    Done {
        likeness: Likeness,
        a_second: f64,
        /// By the CPU behind the device's decoder.
        elsewhere: bool,
    },
    Refused(String),
}

/// Puts the question.
///
/// # Errors
/// When there is no clip, or the device does not open.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let mut clips = settings.clips(&SIZES)?;
    if settings.clips.is_empty() {
        clips.push(Clip::h264_422()?);
        clips.push(Clip::h265()?);
    }
    let until = settings.until();
    let backend = open(subject)?;
    let mut table = Table::new([
        "clip",
        "pictures",
        "the CPU's",
        "least dB",
        "mean dB",
        "pictures/s, one stream",
        "decoded by",
    ]);
    let mut verdicts = Vec::new();
    for clip in &clips {
        if Instant::now() >= until {
            verdicts.push(Verdict::NotJudged(format!(
                "{}: the time was over; give --seconds more",
                clip.name
            )));
            continue;
        }
        let truth = clip.on_the_cpu(usize::MAX);
        let empty = Vec::new();
        let decoding = decode::<S>(&backend, clip, truth.as_ref().unwrap_or(&empty));
        let judged = judge(&clip.name, &decoding, truth.as_ref().map(Vec::len));
        table.row(row(&backend, clip, &decoding, truth.as_ref().map(Vec::len)));
        verdicts.push(judged);
    }
    Ok(Report {
        notes: vec![
            format!("device: {}", backend.name()),
            "beside it: the CPU's own decoder; dB of each picture's worst plane".to_owned(),
        ],
        tables: vec![table],
        verdicts,
    })
}

fn decode<S: Subject>(backend: &S::Backend, clip: &Clip, truth: &[Decoded<Frame>]) -> Decoding {
    let before = backend.usage().to_device_bytes;
    let timed = match pass::<S>(backend, clip, |_, _| Ok(())) {
        Ok(timed) => timed,
        Err(why) => return Decoding::Refused(why),
    };
    let copied = backend.usage().to_device_bytes - before;
    let (mut likeness, mut sum, mut least) = (Likeness::default(), 0.0, f64::INFINITY);
    let (mut frame, mut compared) = (Frame::default(), 0_usize);
    let again = pass::<S>(backend, clip, |n, picture| {
        likeness.counts.0 = n + 1;
        let Some(truth) = truth.get(n) else {
            return Ok(());
        };
        if !S::read(backend, &picture.surface, &mut frame).map_err(|why| why.to_string())? {
            return Ok(());
        }
        match psnr(&frame, &truth.surface).filter(|_| truth.pts == picture.pts) {
            Some(psnr) => {
                let worst = psnr.y.min(psnr.u).min(psnr.v);
                least = least.min(worst);
                sum += worst;
                compared += 1;
            }
            None => likeness.misplaced += 1,
        }
        Ok(())
    });
    if let Err(why) = again {
        return Decoding::Refused(why);
    }
    likeness.counts.1 = truth.len();
    likeness.least_and_mean = (compared > 0).then(|| (least, sum / compared as f64));
    Decoding::Done {
        likeness,
        a_second: timed.0 as f64 / timed.1,
        // Half a picture's luma and more for each: no bitstream is that long.
        elsewhere: has_engine(backend, "NVDEC") && copied > timed.2 / 2,
    }
}

/// Decodes a clip from its beginning. Pictures, seconds, and pixels of luma.
fn pass<S: Subject>(
    backend: &S::Backend,
    clip: &Clip,
    mut see: impl FnMut(usize, &Decoded<<S::Backend as Backend>::Surface>) -> Result<(), String>,
) -> Result<(usize, f64, u64), String> {
    let config = gpu::decode::Config::default();
    let made = backend.decoder(clip.codec, config);
    let mut decoder = made.map_err(|why| why.to_string())?;
    let (mut out, mut pictures, mut pixels) = (Vec::new(), 0, 0);
    let since = Instant::now();
    for n in 0..=clip.units().len() {
        let decoded = match clip.units().get(n) {
            Some(unit) => decoder.decode(
                gpu::Unit {
                    data: &unit.data,
                    pts: unit.pts,
                },
                &mut out,
            ),
            None => decoder.flush(&mut out),
        };
        decoded.map_err(|why| format!("unit {n}: {why}"))?;
        for picture in out.drain(..) {
            see(pictures, &picture)?;
            pictures += 1;
            pixels += (picture.width * picture.height) as u64;
            decoder.recycle(picture.surface);
        }
    }
    Ok((pictures, since.elapsed().as_secs_f64(), pixels))
}

fn row(
    backend: &impl Backend,
    clip: &Clip,
    decoding: &Decoding,
    truth: Result<usize, &String>,
) -> Vec<String> {
    let expected = truth.map_or_else(|_| "reads it not".to_owned(), |count| count.to_string());
    match decoding {
        Decoding::Refused(why) => vec![
            clip.name.clone(),
            "none".to_owned(),
            expected,
            String::new(),
            String::new(),
            String::new(),
            format!("nobody: {why}"),
        ],
        Decoding::Done {
            likeness,
            a_second,
            elsewhere,
        } => {
            let (least, mean) = likeness.least_and_mean.map_or_else(
                || ("not seen".to_owned(), "not seen".to_owned()),
                |(least, mean)| (db(least), db(mean)),
            );
            let by = match (elsewhere, has_engine(backend, "NVDEC")) {
                (true, _) => {
                    "the CPU: the chip refused it, and its pictures were copied to the device"
                }
                (false, true) => "NVDEC",
                (false, false) => "the CPU",
            };
            vec![
                clip.name.clone(),
                likeness.counts.0.to_string(),
                expected,
                least,
                mean,
                rate(*a_second),
                by.to_owned(),
            ]
        }
    }
}

fn judge(name: &str, decoding: &Decoding, truth: Result<usize, &String>) -> Verdict {
    match (decoding, truth) {
        (Decoding::Refused(why), Err(also)) => Verdict::NotJudged(format!(
            "{name}: refused by the device ({why}) and by the CPU ({also})"
        )),
        (Decoding::Refused(why), Ok(_)) => Verdict::Fail(format!(
            "{name}: refused ({why}), and the device did not go over to the CPU, which decodes it"
        )),
        (Decoding::Done { likeness, .. }, Err(why)) => Verdict::NotJudged(format!(
            "{name}: {} pictures; there are none to compare them with: {why}",
            likeness.counts.0
        )),
        (Decoding::Done { likeness, .. }, Ok(_)) => likeness.judge(name),
    }
}

impl Likeness {
    /// Whether the pictures are the CPU's.
    pub fn judge(self, name: &str) -> Verdict {
        let (ours, theirs) = self.counts;
        if ours != theirs || self.misplaced > 0 {
            return Verdict::Fail(format!(
                "{name}: {ours} pictures, the CPU's are {theirs}; {} of another size or time",
                self.misplaced
            ));
        }
        match self.least_and_mean {
            None => Verdict::NotJudged(format!(
                "{name}: {ours} pictures, as many as the CPU's; pictures of this device cannot be looked at"
            )),
            Some((least, _)) if least >= EQUAL_DB => {
                Verdict::Pass(format!("{name}: {ours} pictures, identical to the CPU's"))
            }
            Some((least, _)) => {
                Verdict::at_least(&format!("{name}: {ours} pictures"), least, LEAST_DB, "dB")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_must_be_as_many_and_alike() {
        let of = |ours, theirs, least| Likeness {
            counts: (ours, theirs),
            least_and_mean: least,
            misplaced: 0,
        };
        let word = |likeness: Likeness| likeness.judge("x").to_string();
        assert!(
            word(of(30, 30, Some((127.0, 127.0)))).starts_with("**PASS** x: 30 pictures, ident")
        );
        assert!(word(of(30, 30, Some((50.0, 60.0)))).starts_with("**PASS**"));
        assert!(word(of(30, 30, Some((49.9, 60.0)))).starts_with("**FAIL**"));
        assert!(word(of(29, 30, Some((127.0, 127.0)))).starts_with("**FAIL**"));
        assert!(word(of(30, 30, None)).starts_with("**not judged**"));
        let misplaced = Likeness {
            misplaced: 1,
            ..of(30, 30, Some((127.0, 127.0)))
        };
        assert!(word(misplaced).starts_with("**FAIL**"));
    }

    #[test]
    fn a_refusal_is_a_failure_only_where_the_cpu_would_do_it() {
        let refused = Decoding::Refused("not supported: chroma format 4:2:2".to_owned());
        let why = "cpu has no H.265 decoder".to_owned();
        let verdict = judge("x", &refused, Ok(60));
        assert!(verdict.to_string().contains("chroma format 4:2:2"));
        assert!(matches!(verdict, Verdict::Fail(_)));
        assert!(matches!(
            judge("x", &refused, Err(&why)),
            Verdict::NotJudged(_)
        ));
    }
}
