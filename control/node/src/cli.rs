//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::demo::DemoArgs;
use crate::gateway::GatewayCommand;
use crate::options::Options;
use crate::tickets::TicketCommand;

const EXAMPLES: &str = "\
Every setting is also an environment variable, --max-sessions N being MILLSTREAM_MAX_SESSIONS=N, and a key of the file.
A flag beats the environment, the environment beats the file.

Examples:
  millstream orchestrator
      On this machine only: https://127.0.0.1:8935 with a certificate of its own.
  millstream orchestrator --service-addr https://video.example.net:8935 --cores 0-3 --lanes 4
      Reachable by others under that name; four cores carry the network, four lanes the video.
  millstream orchestrator --service-addr https://video.example.net --http-addr http://127.0.0.1:9000
      Behind a proxy that ends TLS.
  millstream orchestrator --device cuda:1 --models-dir /srv/models
      On the second GPU or not at all; /srv/models/denoise.onnx is offered to sessions as onnx/denoise.
  millstream config example > millstream.toml && millstream orchestrator --config millstream.toml
      From a file.

Exit status:
   0  ended by SIGTERM or SIGINT, sessions drained     2  settings not understood
  10  no io_uring          11  too little memory may be locked     12  the port cannot be had
  13  data directory       14  too few files may be open           15  certificate or key
  16  models directory     17  record of payments                  18  the account that signs
  19  nobody answers at the service URL
  20  the engine did not start                        21  the control plane failed";

const DEMO_EXAMPLES: &str = "\
Examples:
  millstream demo
      The built-in clip, its edges, once.
  millstream demo --filter pixelate --loop --seconds 60
      For a minute.
  millstream demo --input camera.ts --filter blur --out /tmp/look
      Your own MPEG-TS file with H.264 video; the result in /tmp/look.";

const DEVICES_HELP: &str = "\
What the rows mean:
  cuda     the driver, or why there is none and what is used instead
  memory   in all, and free at this moment
  compute  compute capability
  decode   codecs that the device's own decoder reads, with the largest picture and bits a sample
  encode   codecs that the device's own encoder writes; `nothing` on chips without NVENC (A100, H100, H200)
  engines  how many decoders and encoders the chip has
  runs     where each step of a session would run: what a device lacks, the CPU does
  note     what is missing or slower than it could be, and what to do about it

A device with a row `trouble` is not used. `--device auto` takes the first that works, `--device cuda:N` that one or none.

Examples:
  millstream devices
      For people.
  millstream devices --json | jq -r .preferred
      For scripts: what `--device auto` would take. The keys are stable within \"schema\": \"millstream.devices/1\".

Exit status: 0, whatever was found.";

/// A Livepeer node for real-time video: frames go from the socket to the filter and back without a detour.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take live video from gateways, process it frame by frame, and hand it back.
    #[command(after_help = EXAMPLES, mut_args(|arg| arg.hide_env(true)))]
    Orchestrator(Box<OrchestratorArgs>),
    /// Show it working: play a clip through an orchestrator on this machine and judge what comes back.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Show which devices can process video, what each decodes and encodes, and what runs where.
    #[command(after_help = DEVICES_HELP)]
    Devices(DevicesArgs),
    /// Look for orchestrators with a gateway's eyes.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Tools for tickets: check verifiers, show what was recorded.
    #[command(subcommand)]
    Ticket(TicketCommand),
    /// Help with the configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub(crate) struct OrchestratorArgs {
    /// Read settings from a TOML file; every flag below is a key of the same name, without the dashes.
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Print the settings that would be used, as TOML, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,

    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DevicesArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a configuration file with every setting, its meaning and its default.
    Example,
}

/// Defaults that are no values.
const NOTHING: [&str; 2] = ["none", "nobody's"];

/// The example file, made from the flags themselves so that it cannot grow old.
pub(crate) fn example() -> String {
    let cli = Cli::command();
    let mut text = String::from(
        "# Settings of `millstream orchestrator`. A flag beats the environment, the environment beats this file.\n",
    );
    let args = cli
        .find_subcommand("orchestrator")
        .into_iter()
        .flat_map(clap::Command::get_arguments);
    let mut heading = None;
    for arg in args {
        let (Some(long), Some(current)) = (arg.get_long(), arg.get_help_heading()) else {
            continue;
        };
        if heading != Some(current) {
            heading = Some(current);
            text.push_str(&format!("\n# === {current} ===\n"));
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (meaning, default) = help.split_once(" [default: ").unwrap_or((&help, ""));
        let unit = arg
            .get_value_names()
            .and_then(|names| names.first())
            .map_or("", |name| name.as_str());
        let default = default.trim_end_matches(']');
        let value = match unit {
            "BOOL" | "N" | "MIB" | "SECONDS" | "MICROSECONDS" | "PERCENT" | "WEI"
                if default.parse::<u64>().is_ok() || unit == "BOOL" =>
            {
                default.to_owned()
            }
            "N" | "MIB" | "SECONDS" | "PERCENT" | "WEI" => format!("0   # {default}"),
            _ if default.contains(' ') || NOTHING.contains(&default) => {
                format!("\"\"   # {default}")
            }
            _ => format!("{default:?}"),
        };
        text.push_str(&format!("\n# {meaning}\n#{long} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_a_variable_and_a_line_in_the_example() {
        let cli = Cli::command();
        let orchestrator = cli.find_subcommand("orchestrator").unwrap();
        let example = example();
        let mut seen = 0;
        for arg in orchestrator
            .get_arguments()
            .filter(|arg| arg.get_help_heading().is_some())
        {
            let long = arg.get_long().unwrap();
            let variable = format!("MILLSTREAM_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), variable);
            assert!(example.contains(&format!("\n#{long} = ")), "{long}");
            let help = arg.get_help().unwrap().to_string();
            assert!(
                help.contains("[default: ") && help.ends_with(']'),
                "{long}: {help}"
            );
            seen += 1;
        }
        assert_eq!(seen, Options::default().keys().len());
    }

    #[test]
    fn the_example_is_a_file_that_can_be_read_also_with_its_lines_switched_on() {
        Options::from_toml(&example()).unwrap();
        let on: String = example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let options = Options::from_toml(&on).unwrap();
        assert_eq!(options.max_sessions, Some(256));
        assert_eq!(
            options.service_addr.as_deref(),
            Some("https://127.0.0.1:8935")
        );
        // Where a default is a value, it can be meant as it stands.
        let values: String = on
            .lines()
            .filter(|line| !line.contains("   # "))
            .map(|line| format!("{line}\n"))
            .collect();
        let values = Options::from_toml(&values).unwrap();
        assert_eq!(values.network.as_deref(), Some("offchain"));
        let machine = crate::plan::tests::machine();
        let said = crate::plan::Plan::resolve(values, &machine)
            .unwrap()
            .to_options();
        let unsaid = crate::plan::Plan::resolve(Options::default(), &machine).unwrap();
        assert_eq!(said, unsaid.to_options());
    }
}
