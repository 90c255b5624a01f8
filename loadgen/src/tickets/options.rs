//! What the load is made of: flags, or the table `[tickets]`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::or_else;
use crate::units::{Share, Span};

/// Flags, and the table `[tickets]`; what neither says is `None`. A range lets every sender draw its own.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Senders; the key of each follows from the seed [default: 10]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub senders: Option<u32>,
    /// Tickets of a payment, from 1 to 600. A number, or a range such as 1..20 [default: 1]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub tickets_per_payment: Option<Span<u32>>,
    /// Payments a second over all senders, whatever the orchestrator does [default: 100]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<u32>,
    /// Connections; each has one payment under way, and a payment for which there is none waits [default: 16]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub connections: Option<u32>,
    /// Of the payments, how many have forged signatures, such as 5%. They are to be refused [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub bad: Option<Share>,
    /// Of the good payments, how many are sent a second time, later. They are to be refused then [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub replay: Option<Share>,
    /// Payments of a sender are shuffled within so many [default: 1, in order]
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub reorder: Option<u32>,
    /// Of the tickets, how many are to win, such as 0.1%: do not begin when what the orchestrator offers is more than 1 % off [default: any]
    #[arg(long, value_name = "SHARE", help_heading = "Orchestrator")]
    pub win_rate: Option<Share>,
    /// Keep the account of what was credited in this file, and go on from it; what it holds open is settled first [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Orchestrator")]
    pub ledger: Option<PathBuf>,
    /// Only settle what the ledger holds open: send it again, and see. No load; exit status 4 when some of it stays open
    #[arg(long, help_heading = "Orchestrator", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub settle: Option<bool>,
}

impl Options {
    /// What a file says fills in what the flags did not.
    #[must_use]
    pub fn or(mut self, file: Self) -> Self {
        or_else!(
            self,
            file,
            senders,
            tickets_per_payment,
            rate,
            connections,
            bad,
            replay,
            reorder,
            win_rate,
            ledger,
            settle,
        );
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_a_file_may_write_ranges() {
        let file: Options =
            toml::from_str("senders = 4\ntickets_per_payment = \"1..20\"\nbad = \"5%\"").unwrap();
        let flags = Options {
            senders: Some(2),
            ..Options::default()
        };
        let both = flags.or(file);
        assert_eq!((both.senders, both.bad), (Some(2), Some(Share(0.05))));
        assert_eq!(both.tickets_per_payment.unwrap().max, 20);
        assert!(toml::from_str::<Options>("sendrs = 4").is_err());
    }
}
