//! What a scenario's settings must be able to do for the command line.

use clap::Args;
use loadgen::conduct::Scenario;
use loadgen::failure::Failure;
use loadgen::polite::Gate;
use loadgen::search::Find;
use loadgen::target::Target;
use loadgen::{churn, live, trickle};
use serde::de::DeserializeOwned;

/// Settings of a scenario, from flags and a file.
pub(crate) trait Load: Args + Clone + Default + DeserializeOwned {
    /// Of the scenario, of its table in a file.
    const NAME: &'static str;

    /// A file fills in what the flags do not say.
    fn or(self, file: Self) -> Self;
    /// The scenario, with every default filled in.
    fn resolve(&self, target: Target, seed: u64, gate: &Gate)
    -> Result<Box<dyn Scenario>, Failure>;
    /// Sets what is searched for; false when this scenario has no such thing.
    fn set(&mut self, find: Find, n: u32) -> bool;
}

impl Load for trickle::Options {
    const NAME: &'static str = "trickle";

    fn or(self, file: Self) -> Self {
        self.or(file)
    }

    fn resolve(&self, target: Target, seed: u64, _: &Gate) -> Result<Box<dyn Scenario>, Failure> {
        Ok(Box::new(trickle::Trickle::resolve(self, target, seed)?))
    }

    fn set(&mut self, find: Find, n: u32) -> bool {
        match find {
            Find::Channels => self.channels = Some(n),
            Find::Subscribers => self.subscribers = Some(n.into()),
            Find::Rate => self.rate = Some(n.into()),
            Find::Sessions | Find::Joins => return false,
        }
        true
    }
}

impl Load for churn::Options {
    const NAME: &'static str = "churn";

    fn or(self, file: Self) -> Self {
        self.or(file)
    }

    fn resolve(&self, target: Target, seed: u64, _: &Gate) -> Result<Box<dyn Scenario>, Failure> {
        Ok(Box::new(churn::Churn::resolve(self, target, seed)?))
    }

    fn set(&mut self, find: Find, n: u32) -> bool {
        match find {
            Find::Channels => self.channels = Some(n),
            Find::Joins => self.joins = Some(n),
            Find::Rate => self.rate = Some(n.into()),
            Find::Sessions | Find::Subscribers => return false,
        }
        true
    }
}

impl Load for live::Options {
    const NAME: &'static str = "live";

    fn or(self, file: Self) -> Self {
        self.or(file)
    }

    fn resolve(
        &self,
        target: Target,
        seed: u64,
        gate: &Gate,
    ) -> Result<Box<dyn Scenario>, Failure> {
        let mut live = live::Live::resolve(self, target, seed, &|doing| eprintln!("{doing}"))?;
        live.start_every_ns = live.start_every_ns.max(gate.start_every_ns());
        live.stop_at_refusal = gate.is_guarded();
        Ok(Box::new(live))
    }

    fn set(&mut self, find: Find, n: u32) -> bool {
        match find {
            Find::Sessions => self.sessions = Some(n),
            Find::Channels | Find::Joins | Find::Rate | Find::Subscribers => return false,
        }
        true
    }
}
