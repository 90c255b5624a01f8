//! `millstream ticket`: tools for tickets, beside a running node or without one.

mod check;
mod ledger;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::plan::usual_data_dir;

const CHECK_HELP: &str = "\
The file is JSON with a list `vectors` (tickets: inputs, and the bytes, hashes, signature and draw that they give), a list
`signature_vectors` (digests and signatures, and what the contract says of them), or both. Each is put through all three verifiers,
by themselves and again once the sender is known, and a line says whether all of them say what is expected.

Examples:
  millstream ticket check engine/ticket/tests/ticket-vectors.json
      The vectors that this project is held to.

Exit status: 0 when all agree; 1 when anything does not; 2 when the file cannot be read.";

const LEDGER_HELP: &str = "\
What is shown is what a node would know after a crash at this moment; one may be running meanwhile.

Credits are exact: `credit_parts` counts parts of 1/(2^256-1) of a wei, and a ticket adds face value times win probability of them.

Examples:
  millstream ticket ledger --data-dir /var/lib/millstream
  millstream ticket ledger --json | jq '.accounts[] | {sender, account, balance_wei}'

Exit status: 0; 17 when there is no record, or it is of no use.";

/// What can be done with tickets.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TicketCommand {
    /// Put test vectors through every verifier that this build has.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show what was recorded of payments: accounts, their credit, and winning tickets.
    #[command(after_help = LEDGER_HELP)]
    Ledger(LedgerArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The vectors
    file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LedgerArgs {
    /// The node's data directory [default: $XDG_DATA_HOME/millstream, or ~/.millstream]
    #[arg(long, value_name = "DIR", env = "MILLSTREAM_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Carries it out, and says in `out` what is to be printed, however it ends.
pub(crate) fn run(command: &TicketCommand, out: &mut String) -> Result<(), Failure> {
    match command {
        TicketCommand::Check(args) => check::run(&args.file, out),
        TicketCommand::Ledger(args) => {
            let dir = args.data_dir.clone().or_else(usual_data_dir);
            *out = ledger::run(dir, args.json)?;
            Ok(())
        }
    }
}
