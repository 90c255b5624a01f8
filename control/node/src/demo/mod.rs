//! `millstream demo`: the main job on one machine, through real sockets, in front of your eyes.
//!
//! An orchestrator starts on loopback. A clip is published to it frame by frame at real-time pace, as a gateway would; what comes
//! back is watched, timed and kept. At the end the output is held against the input: frames, sound, step, likeness.
//!
//! ```text
//!   clip ─▶ Publisher ─▶ socket ─▶ orchestrator ─▶ socket ─▶ Watcher ─▶ out.ts ─▶ Verdict, side-by-side.png
//!               └────────── when each frame's last byte left ──▶ Meter ◀── when its first byte came back
//! ```

mod clip;
mod http;
mod meter;
mod picture;
mod publish;
mod verdict;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::failure::{Failure, Reason};
use crate::options::Options;
use crate::orchestrator::{self, Running};
use crate::plan::{Machine, Plan};
use crate::report::{Report, Style, bytes};
use clip::Clip;
use http::Target;
use meter::Meter;
use verdict::Verdict;

/// How often the live line is drawn, in a terminal and elsewhere.
const REDRAW: Duration = Duration::from_millis(250);
const REPRINT: Duration = Duration::from_secs(1);
/// How long the output may take to end after the input has.
const AFTERGLOW: Duration = Duration::from_secs(15);

/// Flags of `millstream demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// An MPEG-TS file with H.264 video to play [default: the clip that is built in]
    #[arg(long, value_name = "FILE.ts")]
    input: Option<PathBuf>,

    /// What to do to each frame
    #[arg(long, value_enum, default_value_t = FilterName::Edges)]
    filter: FilterName,

    /// How long to play; longer than the clip plays it again [default: the clip, once]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,

    /// Play the clip again and again, until --seconds have passed or Ctrl-C
    #[arg(long = "loop")]
    again: bool,

    /// What processes frames: auto, cpu, cuda or cuda:N; auto takes a GPU that works and otherwise the CPU [default: auto]
    #[arg(
        long,
        value_name = "DEVICE",
        env = "MILLSTREAM_DEVICE",
        hide_env = true
    )]
    device: Option<String>,

    /// Where out.ts and side-by-side.png go
    #[arg(long, value_name = "DIR", default_value = "millstream-demo")]
    out: PathBuf,
}

/// The built-in filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilterName {
    Passthrough,
    Grayscale,
    Edges,
    Blur,
    Pixelate,
    Invert,
}

impl FilterName {
    fn model(self) -> String {
        format!(
            "builtin/{}",
            self.to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_owned())
        )
    }
}

/// Plays, watches, judges.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let style = Style::of(io::stdout().is_terminal());
    let clip = Clip::load(args.input.as_deref())?;
    let plan = plan(args)?;
    let place = Place::make(&args.out)?;
    let running = orchestrator::start(plan)?;
    let stop = Arc::new(AtomicBool::new(false));
    running.on_interrupt({
        let stop = stop.clone();
        move || stop.store(true, Ordering::Release)
    });

    let target = Target::new(running.local_addr());
    let session = http::start_session(&target, &args.filter.model())
        .map_err(|why| failed("the session was refused", why))?;
    announce(args, &clip, &running, &session);

    let meter = Arc::new(Meter::default());
    let watcher = watch::start(&target, &session.subscribe_path, meter.clone());
    let length = play_length(args, &clip);
    let publisher = publish::start(
        &target,
        &session.publish_path,
        clip.clone(),
        length,
        meter.clone(),
        stop,
    );

    let status_path = format!("/live-video-to-video/{}/status", session.manifest_id);
    let mut status = Value::Null;
    let mut line = LiveLine::new(style);
    while !publisher.is_finished() {
        line.draw(&meter);
        if let Ok(now) = http::get_json(&target, &status_path) {
            status = now;
        }
        std::thread::sleep(REDRAW);
    }
    let published = publisher
        .join()
        .unwrap_or_else(|_| Err("the publisher panicked".to_owned()));
    let until = Instant::now() + AFTERGLOW;
    while !watcher.is_finished() && Instant::now() < until {
        line.draw(&meter);
        std::thread::sleep(REDRAW);
    }
    line.end();
    let output = match watcher.is_finished() {
        true => watcher
            .join()
            .unwrap_or_else(|_| Err("the watcher panicked".to_owned())),
        false => Err(format!(
            "the output did not end within {} s",
            AFTERGLOW.as_secs()
        )),
    };
    running.stop();
    let input = published.map_err(|why| failed("publishing failed", why))?;
    let output = output.map_err(|why| failed("watching failed", why))?;
    conclude(&place, &input, &output, args.filter, &status, &meter, style)
}

fn failed(what: &str, why: String) -> Failure {
    Failure::new(
        Reason::Engine,
        what,
        why,
        "run it with --log debug on `millstream orchestrator` to see more",
    )
}

/// Where the demo leaves things.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn make(dir: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir).map_err(|error| {
            Failure::new(
                Reason::DataDir,
                format!("{} cannot be made", dir.display()),
                error.to_string(),
                "give another directory with --out DIR",
            )
        })?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        std::fs::write(&path, content).map_err(|error| {
            Failure::new(
                Reason::DataDir,
                format!("{} cannot be written", path.display()),
                error.to_string(),
                "give another directory with --out DIR",
            )
        })?;
        Ok(path)
    }
}

/// An orchestrator on a free loopback port, one shard and one lane, in cleartext.
fn plan(args: &DemoArgs) -> Result<Plan, Failure> {
    let options = Options {
        service_addr: Some("http://127.0.0.1:0".to_owned()),
        data_dir: Some(args.out.clone()),
        lanes: Some(1),
        device: args.device.clone(),
        page_memory_mib: Some(256),
        ..Options::default()
    };
    let mut plan = Plan::resolve(options, &Machine::probe())?;
    plan.placement.cores.truncate(1);
    Ok(plan)
}

fn play_length(args: &DemoArgs, clip: &Clip) -> Duration {
    match (args.seconds, args.again) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, true) => Duration::MAX,
        (None, false) => clip.duration(),
    }
}

fn announce(args: &DemoArgs, clip: &Clip, running: &Running, session: &http::Session) {
    let mut report = Report::new(format!("millstream {} demo", env!("CARGO_PKG_VERSION")));
    report.row("clip", format!("{}, {}", clip.name, clip.describe()));
    report.row("filter", args.filter.model());
    report.row("service", running.service().to_string());
    report.rows("device", &running.device().lines);
    report.row("session", session.manifest_id.clone());
    print(&report.render(Style::of(io::stdout().is_terminal())));
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// The line that shows how it goes.
struct LiveLine {
    style: Style,
    last: Option<Instant>,
}

impl LiveLine {
    fn new(style: Style) -> Self {
        Self { style, last: None }
    }

    fn draw(&mut self, meter: &Meter) {
        let now = Instant::now();
        match self.style {
            Style::Terminal => print(&format!("\r\x1b[2K{}", meter.line(now))),
            Style::Plain if self.last.is_none_or(|last| now - last >= REPRINT) => {
                self.last = Some(now);
                print(&format!("{}\n", meter.line(now)));
            }
            Style::Plain => {}
        }
    }

    fn end(&self) {
        if self.style == Style::Terminal {
            print("\n");
        }
    }
}

fn conclude(
    place: &Place,
    input: &[u8],
    output: &[u8],
    filter: FilterName,
    status: &Value,
    meter: &Meter,
    style: Style,
) -> Result<(), Failure> {
    let path = place.write("out.ts", output)?;
    let verdict = Verdict::reach(input, output, filter.filter())
        .map_err(|why| failed("the output cannot be judged", why))?;
    let mut report = Report::new("what came back");
    verdict.describe(&mut report);
    meter.describe(&mut report);
    describe_stages(status, &mut report);
    report.row(
        "output",
        format!("{}, {}", path.display(), bytes(output.len() as u64)),
    );
    if let Some(picture) = &verdict.picture {
        let png = picture::side_by_side(&picture.before, &picture.after)
            .map_err(|why| failed("the picture cannot be made", why))?;
        let path = place.write("side-by-side.png", &png)?;
        report.row("picture", format!("{}, before and after", path.display()));
    }
    print(&format!("\n{}", report.render(style)));
    if verdict.is_good() {
        Ok(())
    } else {
        Err(failed(
            "the output is not what it should be",
            verdict.complaint(),
        ))
    }
}

fn describe_stages(status: &Value, report: &mut Report) {
    let names = [
        "demux",
        "queue_in",
        "decode",
        "filter",
        "encode",
        "queue_out",
        "mux",
        "total",
    ];
    for (n, name) in names.iter().enumerate() {
        let stage = &status["latency"][name];
        let ms = |key: &str| stage[key].as_f64().map(|us| us / 1000.0);
        if let (Some(p50), Some(p99), Some(max)) = (ms("p50_us"), ms("p99_us"), ms("max_us")) {
            let title = if n == 0 { "inside" } else { "" };
            report.row(
                title,
                format!("{name:<10} p50 {p50:>7.2} ms   p99 {p99:>7.2} ms   worst {max:>7.2} ms"),
            );
        }
    }
}

impl FilterName {
    /// What the session's model does unless told otherwise.
    fn filter(self) -> engine::offline::Filter {
        use engine::offline::Filter;
        match self {
            Self::Passthrough => Filter::Passthrough,
            Self::Grayscale => Filter::Grayscale {
                amount_percent: 100,
            },
            Self::Edges => Filter::Edges { gain_percent: 100 },
            Self::Blur => Filter::Blur { radius_px: 4 },
            Self::Pixelate => Filter::Pixelate { block_px: 16 },
            Self::Invert => Filter::Invert {
                amount_percent: 100,
            },
        }
    }
}
