//! `millstream gateway`: what a gateway can be told from the command line.

mod signer;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use control::capability::{Capability, Job};
use control::gateway::client::Deadlines;
use control::gateway::probe::{Question, Row, probe};
use control::gateway::{Target, trusting};

use crate::failure::{Failure, Reason};
use crate::report::Style;
use signer::Signer;

const PROBE_HELP: &str = "\
Each orchestrator is asked what a gateway asks before it sends work (GetOrchestrator, over gRPC), 32 at a time, and its answer is held \
against a job of live-video-to-video. Nothing is bought and no session begins. Without a scheme an address is https, without a port 8935; \
certificates are not checked, since orchestrators sign their own.

What the columns and rows mean:
  connect       milliseconds until there was a connection, TLS included
  call          milliseconds from there to the answer
  verdict       compatible: it would get the job; incompatible: it answers, and would not; failed: no answer
  why           what is in the way
  work at       where it wants its work, when that is not where it was asked
  price         what a pixel costs, exactly; none is said by who is off-chain
  tickets       what a winning ticket pays, what a ticket is worth on average, and who is paid
  can           its capabilities; `the usual 15` are those that every node has
  model         a model for live video, how many sessions of it could begin, and how many run; full is compatible

The request is signed, as gateways do. An orchestrator that is paid may want an account with a reserve: name yours with \
--eth-keystore-path. Without it, a key is made for this run and forgotten.

Examples:
  millstream gateway probe video.example.net
      What one orchestrator offers.
  millstream gateway probe --model builtin/edges https://a.example.net:8935 https://b.example.net:8935
      Which of two have that model, and which is nearer.
  millstream gateway probe --offchain http://127.0.0.1:8935
      A node on this machine that takes no payments.
  MILLSTREAM_ETH_PASSWORD=/run/secrets/eth millstream gateway probe --eth-keystore-path key.json video.example.net
      As the account of a keystore.
  millstream gateway probe --json $(cat orchestrators) | jq -r '.orchestrators[] | select(.compatible) | .uri'
      For scripts. The keys are stable within \"schema\": \"millstream.probe/1\".

Exit status: 0 when at least one is compatible; 1 when none is; 2 when flags, addresses or the keystore are not understood; \
21 when nobody can be asked from this machine.";

/// What a gateway can be told.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Ask orchestrators what they offer, and whether a gateway would give them work.
    #[command(after_help = PROBE_HELP)]
    Probe(ProbeArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ProbeArgs {
    /// The orchestrators
    #[arg(required = true, value_name = "URL")]
    targets: Vec<Target>,

    /// The model that the job is to have [default: any]
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    model: Option<String>,

    /// As JSON, for programs
    #[arg(long)]
    json: bool,

    /// How long to wait for a connection, and then for an answer [default: 3, and 8]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: Option<u64>,

    /// Sign as the account of this keystore file [default: a key made for this run]
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_ETH_KEYSTORE_PATH",
        requires = "eth_password"
    )]
    eth_keystore_path: Option<PathBuf>,

    /// The keystore's password, or a file with it; a password on the command line can be seen by others on this machine
    #[arg(
        long,
        value_name = "TEXT|FILE",
        env = "MILLSTREAM_ETH_PASSWORD",
        hide_env_values = true
    )]
    eth_password: Option<String>,

    /// Ask as a gateway that is off-chain: with no account, and unsigned
    #[arg(long, conflicts_with = "eth_keystore_path")]
    offchain: bool,
}

/// Carries it out, and says in `out` what is to be printed, however it ends.
pub(crate) fn run(command: &GatewayCommand, style: Style, out: &mut String) -> Result<(), Failure> {
    let GatewayCommand::Probe(args) = command;
    let signer = match &args.eth_keystore_path {
        _ if args.offchain => Signer::Nobody,
        Some(path) => Signer::of_keystore(path, args.eth_password.as_deref().unwrap_or_default())?,
        None => Signer::made_up()?,
    };
    let asked = Asked {
        model: args.model.as_deref(),
        signer: &signer,
    };
    let rows = ask(args, &asked)?;
    *out = match args.json {
        true => table::json(&asked, &rows),
        false => table::text(&asked, &rows, style),
    };
    match rows.iter().any(Row::is_fit) {
        true => Ok(()),
        false => Err(Failure::new(
            Reason::No,
            "no orchestrator is compatible",
            format!("{} asked, and none would get the job", table::count(&rows)),
            "a row `why` tells what is in the way of each",
        )),
    }
}

/// What was asked, and by whom.
struct Asked<'a> {
    model: Option<&'a str>,
    signer: &'a Signer,
}

impl Asked<'_> {
    const CAPABILITY: Capability = Capability::LIVE_VIDEO_TO_VIDEO;

    fn pipeline() -> String {
        Self::CAPABILITY.pipeline().unwrap_or_default()
    }
}

fn ask(args: &ProbeArgs, asked: &Asked<'_>) -> Result<Vec<Row>, Failure> {
    let broken = |why: String| {
        let fix = "this should not happen; report it with the reason";
        Failure::new(Reason::Control, "nobody can be asked", why, fix)
    };
    let tls = trusting().map_err(|error| broken(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(error.to_string()))?;
    let job = Job {
        capability: Asked::CAPABILITY,
        model: asked.model,
        version: env!("CARGO_PKG_VERSION"),
        ..Job::live()
    };
    let deadlines = match args.timeout.map(Duration::from_secs) {
        Some(each) => Deadlines {
            connect: each,
            call: each,
        },
        None => Deadlines::default(),
    };
    let question = Question::new(asked.signer.key(), job.capabilities(), deadlines);
    let rows = runtime.block_on(probe(args.targets.clone(), &question, &tls));
    // A name that is still being looked up has had its time.
    runtime.shutdown_background();
    Ok(rows)
}
