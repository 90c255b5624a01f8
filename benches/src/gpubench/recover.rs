//! `recover`: how long after its device is lost a lane's pictures flow again.
//!
//! ```text
//!   open ─▶ first picture ─▶ lost ─▶ thrown away ─▶ opened anew ─▶ first picture        a backend by itself
//!   frames ─▶ lost ─▶ the session is told ─▶ a new session's first frame                under a lane, where it can be made so
//! ```

use std::time::{Duration, Instant};

use engine::drive::{Drive, Event, Options, Session, Step};
use gpu::Backend;
use gpu::stub::Point;

use super::Settings;
use super::clip::Clip;
use super::crew::surfaces;
use super::device::{LOST, Subject, open};
use super::report::{Report, Table, Trouble, Verdict};

const SIZE: (usize, usize) = (640, 360);
const ROUNDS: usize = 3;
/// What is promised, from the loss to the first picture.
const LIMIT_MS: f64 = 1000.0;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
const NAP: Duration = Duration::from_millis(1);
/// How many pictures a session shows before it is hurt.
const BEFORE: usize = 4;

/// The times of one round, in ms.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    open: f64,
    first: f64,
    drop: f64,
    again: f64,
    first_again: f64,
}

impl Round {
    fn back(&self) -> f64 {
        self.drop + self.again + self.first_again
    }
}

/// Puts the question.
///
/// # Errors
/// When there is no clip, or the device does not open.
pub fn run<S: Subject>(subject: &S, settings: &Settings) -> Result<Report, Trouble> {
    let clip = settings.clip(SIZE)?;
    let mut table = Table::new([
        "round",
        "open ms",
        "first picture ms",
        "thrown away ms",
        "opened anew ms",
        "first picture ms",
        "back in ms",
    ]);
    let (mut worst, mut how) = (0.0_f64, None);
    let mut name = String::new();
    for round in 1..=ROUNDS {
        let times;
        (times, how, name) = lose_and_open(subject, &clip)?;
        worst = worst.max(times.back());
        let ms = |value: f64| format!("{value:.1}");
        table.row([
            round.to_string(),
            ms(times.open),
            ms(times.first),
            ms(times.drop),
            ms(times.again),
            ms(times.first_again),
            ms(times.back()),
        ]);
    }
    let what = "a backend: from the loss to the first picture, the worst of three";
    let mut report = Report {
        notes: vec![
            format!("device: {name}"),
            match how {
                Some(how) => format!("how it is lost: {how}"),
                None => "it cannot be lost: it is only thrown away and opened".to_owned(),
            },
        ],
        tables: vec![table],
        verdicts: vec![match how {
            Some(_) => Verdict::under(what, worst, LIMIT_MS, "ms"),
            None => Verdict::NotJudged(format!("{what}: {worst:.1} ms without a loss")),
        }],
    };
    match subject.faults() {
        Some(_) => under_a_lane(subject, &clip, &mut report).map_err(Trouble::Failed)?,
        None => report.notes.push(
            "under a lane: not measured, since the loss cannot be brought about there; the engine's tests lose a lane's device on the stub"
                .to_owned(),
        ),
    }
    Ok(report)
}

fn lose_and_open<S: Subject>(
    subject: &S,
    clip: &Clip,
) -> Result<(Round, Option<&'static str>, String), Trouble> {
    let mut round = Round::default();
    let (backend, took) = timed(|| open(subject));
    let backend = backend?;
    round.open = took;
    round.first = first_picture::<S>(&backend, clip)?;
    let how = subject.lose(&backend).map_err(Trouble::Failed)?;
    let name = backend.name();
    ((), round.drop) = timed(|| drop(backend));
    let (backend, took) = timed(|| open(subject));
    let backend = backend?;
    round.again = took;
    round.first_again = first_picture::<S>(&backend, clip)?;
    Ok((round, how, name))
}

fn first_picture<S: Subject>(backend: &S::Backend, clip: &Clip) -> Result<f64, Trouble> {
    let (picture, took) = timed(|| {
        let picture = surfaces(backend, clip, 1)?;
        S::settle(backend).map_err(|why| why.to_string())?;
        Ok(picture)
    });
    picture.map(|_| took).map_err(Trouble::Failed)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let since = Instant::now();
    let done = work();
    (done, since.elapsed().as_secs_f64() * 1000.0)
}

// === under a lane ===

fn under_a_lane<S: Subject>(subject: &S, clip: &Clip, report: &mut Report) -> Result<(), String> {
    let Some(faults) = subject.faults() else {
        return Ok(());
    };
    let options = Options {
        lanes: 1,
        encode: true,
    };
    let mut drive = Drive::start(&subject.lanes_on(), options).map_err(|why| why.to_string())?;
    let mut session = placed(&mut drive)?;
    let sent = frames(&mut session, clip, 0, BEFORE)?;
    faults.fail_next(Point::DecodeSubmit, LOST);
    let since = Instant::now();
    let why = ended(&mut session, clip, sent)?;
    let told = since.elapsed().as_secs_f64() * 1000.0;
    let mut again = placed(&mut drive)?;
    frames(&mut again, clip, 0, 1)?;
    let back = since.elapsed().as_secs_f64() * 1000.0;
    let mut table = Table::new(["a lane", "ms from the loss"]);
    table.row([format!("the session is told: {why}"), format!("{told:.1}")]);
    table.row([
        "a new session's first frame".to_owned(),
        format!("{back:.1}"),
    ]);
    report.tables.push(table);
    report.verdicts.push(Verdict::under(
        "a lane: from the loss to a new session's first frame",
        back,
        LIMIT_MS,
        "ms",
    ));
    Ok(())
}

/// A session, as soon as the lane takes one.
fn placed(drive: &mut Drive) -> Result<Session, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match drive.session(Step::default(), 2) {
            Ok(session) => return Ok(session),
            Err(why) if Instant::now() >= until => return Err(why.to_string()),
            Err(_) => std::thread::sleep(NAP),
        }
    }
}

/// Feeds a session until so many frames have come. How many units it was sent.
fn frames(session: &mut Session, clip: &Clip, from: usize, count: usize) -> Result<usize, String> {
    let (until, mut sent, mut seen) = (Instant::now() + PATIENCE, from, 0);
    while seen < count {
        if Instant::now() >= until {
            return Err("no frame came".to_owned());
        }
        let (unit, pts) = clip.at(sent);
        if session.push(clip.codec, &unit.data, pts, unit.key) {
            sent += 1;
        }
        match session.next(NAP) {
            Some(Event::Frame(_)) => seen += 1,
            Some(Event::Ended(why)) => return Err(why),
            Some(Event::Dropped | Event::Damaged(_) | Event::Flushed) | None => {}
        }
    }
    Ok(sent)
}

/// Feeds a session until it is over; why it is.
fn ended(session: &mut Session, clip: &Clip, mut sent: usize) -> Result<String, String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let (unit, pts) = clip.at(sent);
        if session.push(clip.codec, &unit.data, pts, unit.key) {
            sent += 1;
        }
        if let Some(Event::Ended(why)) = session.next(NAP) {
            return Ok(why);
        }
    }
    Err("the session was not told".to_owned())
}
