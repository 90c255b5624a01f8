//! What a device does, and how far what is around it keeps up: see `benches::gpubench`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use benches::gpubench::device::{Choice, Found};
use benches::gpubench::report::{Report, Trouble};
use benches::gpubench::{Question, Settings};
use clap::Parser;

const HELP: &str = "\
Examples:
  gpubench
      All six questions, to the first CUDA device, in about two minutes.
  gpubench ceiling --device cuda:1 --seconds 30
      One of them, of the second device, with more time.
  gpubench decode --clip football.ts --clip interview.ts
      Are the pictures of these files the CPU's?
  gpubench --device cpu --size 320x180 --seconds 1
      Goes through all of it without a card, to see that it runs. Its figures are worthless, and it says so.

What is promised, and judged on a card:
  decode    as many pictures as the CPU's decoder, each at least 50 dB like it
  ceiling   lanes keep at least 90 % of what the decoders give alone
  encode    luma of at least 33 dB after a round trip
  copies    nothing but the bitstream and the kernels' descriptors crosses to or from the device
  recover   less than 1 s from a lost device to the next picture

Exit status:
   0  measured, no promise broken     1  something could not be measured     2  wrong flags
   4  a promise is broken            77  what it needs is absent";

/// Asks a device what it does: its pictures, its rates, what it copies, how it comes back.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Cli {
    /// What to ask, in this order [default: everything]
    questions: Vec<Question>,
    /// auto (the first CUDA device that can be used), cuda:N; cpu or stub to rehearse
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Measure with this MPEG-TS file in the place of drawn pictures; may be given again
    #[arg(long, value_name = "FILE")]
    clip: Vec<PathBuf>,
    /// Draw pictures of this size, such as 1280x720, in the place of each question's own; may be given again
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Vec<(usize, usize)>,
    /// How long a question may measure; drawing clips and opening devices is not counted
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Run the model with this libonnxruntime.so [default: the system's, else tract, which is built in and slower]
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_ONNXRUNTIME")]
    onnxruntime: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let found = match cli.device.find() {
        Ok(found) => found,
        Err(trouble) => {
            println!("{trouble}");
            return ExitCode::from(status_of(&trouble));
        }
    };
    println!("{}", found.about());
    let all = <Question as clap::ValueEnum>::value_variants();
    let asked = if cli.questions.is_empty() {
        all.to_vec()
    } else {
        cli.questions
    };
    let settings = Settings {
        clips: cli.clip,
        sizes: cli.size,
        time: Duration::from_secs_f64(cli.seconds),
        onnxruntime: cli.onnxruntime,
    };
    let statuses: Vec<u8> = asked
        .into_iter()
        .map(|question| ask(question, &found, &settings))
        .collect();
    // Whatever failed is worse than what is absent.
    let worst = [UNMEASURED, BROKEN, ABSENT]
        .into_iter()
        .find(|status| statuses.contains(status));
    ExitCode::from(worst.unwrap_or(0))
}

/// Puts one question, prints the answer, and gives the exit status that it is worth.
fn ask(question: Question, found: &Found, settings: &Settings) -> u8 {
    println!("\n### {}\n", question.name());
    match answer(question, found, settings) {
        Ok(report) => {
            println!("{report}");
            match (report.has_failed(), found.is_rehearsal()) {
                (true, false) => BROKEN,
                (true, true) => {
                    println!("A rehearsal: the failure above does not count.");
                    0
                }
                (false, _) => 0,
            }
        }
        Err(trouble) => {
            println!("{trouble}");
            status_of(&trouble)
        }
    }
}

/// On a thread of its own, which is left behind when a call into the device does not come back.
fn answer(question: Question, found: &Found, settings: &Settings) -> Result<Report, Trouble> {
    let limit = settings.time * 3 + GRACE;
    let (to, answered) = mpsc::channel();
    let (found, settings) = (found.clone(), settings.clone());
    let asking = move || {
        // Nobody listens after the limit: fine.
        let _ = to.send(question.put(&found, &settings));
    };
    std::thread::Builder::new()
        .spawn(asking)
        .map_err(|why| Trouble::Failed(format!("cannot start a thread: {why}")))?;
    match answered.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(Trouble::Failed(format!(
            "it did not end within {} s",
            limit.as_secs()
        ))),
        Err(RecvTimeoutError::Disconnected) => Err(Trouble::Failed(
            "it panicked; what it said is on standard error".to_owned(),
        )),
    }
}

const fn status_of(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Absent(_) => ABSENT,
        Trouble::Failed(_) => UNMEASURED,
    }
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| "two numbers, as in 1280x720".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.05..=3600.0).contains(seconds))
        .ok_or_else(|| "a number from 0.05 to 3600".to_owned())
}

const UNMEASURED: u8 = 1;
const BROKEN: u8 = 4;
const ABSENT: u8 = 77;
/// For drawing clips, opening devices, and what is under way when the time is over.
const GRACE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(args: &[&str]) -> Result<Cli, String> {
        let args = std::iter::once("gpubench").chain(args.iter().copied());
        Cli::try_parse_from(args).map_err(|why| why.to_string())
    }

    #[test]
    fn the_flags_make_sense_to_their_parser() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_is_asked_of_the_first_card_unless_it_is_said_otherwise() {
        let cli = parsed(&[]).unwrap();
        assert!(cli.questions.is_empty() && cli.clip.is_empty());
        assert_eq!((cli.device, cli.seconds), (Choice::Auto, 10.0));
        let cli = parsed(&[
            "ceiling",
            "model",
            "--device",
            "cuda:2",
            "--seconds",
            "0.5",
            "--size",
            "64x48",
            "--clip",
            "a.ts",
            "--clip",
            "b.ts",
        ])
        .unwrap();
        assert_eq!(cli.questions, [Question::Ceiling, Question::Model]);
        assert_eq!(cli.device, Choice::Cuda(2));
        assert_eq!((cli.size, cli.seconds), (vec![(64, 48)], 0.5));
        assert_eq!(cli.clip.len(), 2);
    }

    #[test]
    fn wrong_flags_say_what_is_right() {
        for (args, right) in [
            (["--device", "gpu"], "auto, cuda:N, cpu or stub"),
            (["--size", "720p"], "as in 1280x720"),
            (["--seconds", "0"], "from 0.05 to 3600"),
            (["--seconds", "NaN"], "from 0.05 to 3600"),
            (["decode", "fly"], "recover"),
        ] {
            let why = parsed(&args).err().expect("it is wrong");
            assert!(why.contains(right), "{args:?}: {why}");
        }
    }
}
