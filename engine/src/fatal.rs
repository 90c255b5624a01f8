//! The few reasons for which the process stops by itself, one exit status each.
//!
//! A panic in a connection or a session ends that one alone. A panic anywhere else on a shard or a lane leaves a core that
//! answers nobody while its siblings go on: half alive is worse than dead, so the process ends and a supervisor starts it anew.

use std::process::exit;

/// Why the process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A shard's thread panicked outside any connection or session.
    ShardPanicked = 70,
    /// A lane's thread panicked outside any session.
    LanePanicked = 71,
    /// The ticket lane's thread panicked.
    TicketLanePanicked = 72,
}

/// Ends the process if the thread that holds it unwinds.
pub(crate) struct Guard(pub(crate) Reason);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The panic itself was printed by the hook; this says what follows from it.
            tracing::error!(reason = ?self.0, status = self.0 as i32, "stopping the process");
            exit(self.0 as i32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_well_ends_nothing_else() {
        std::thread::spawn(|| drop(Guard(Reason::LanePanicked)))
            .join()
            .unwrap();
    }

    #[test]
    fn every_reason_has_a_status_of_its_own() {
        let all = [
            Reason::ShardPanicked,
            Reason::LanePanicked,
            Reason::TicketLanePanicked,
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| *other as i32 != *one as i32));
        }
    }
}
