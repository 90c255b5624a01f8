//! What a scenario's settings must be able to do for the command line.

use std::path::Path;

use clap::Args;
use loadgen::conduct::{Scenario, Stop};
use loadgen::failure::Failure;
use loadgen::polite::Gate;
use loadgen::search::Find;
use loadgen::target::Target;
use loadgen::{churn, handshake, live, tickets, trickle};
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
    /// What these settings ask for in place of a load, if they do.
    fn errand(&self) -> Option<Errand> {
        None
    }
}

/// Something to be done at a server that is no load. Says whether all of it was.
pub(crate) type Errand = Box<dyn FnOnce(&Target, &Stop) -> Result<bool, Failure>>;

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

impl Load for tickets::Options {
    const NAME: &'static str = "tickets";

    fn or(self, file: Self) -> Self {
        self.or(file)
    }

    fn resolve(
        &self,
        target: Target,
        seed: u64,
        gate: &Gate,
    ) -> Result<Box<dyn Scenario>, Failure> {
        if self.settle == Some(true) {
            return Err(Failure::new("--settle puts no load on anything"));
        }
        let mut tickets =
            tickets::Tickets::resolve(self, target, seed, |doing| eprintln!("{doing}"))?;
        tickets.stop_at_refusal = gate.is_guarded();
        if gate.is_guarded() && tickets.is_hostile() {
            return Err(Failure::new(
                "forged and repeated payments are for servers of your own: leave --bad and --replay out, or write --polite never",
            ));
        }
        Ok(Box::new(tickets))
    }

    fn set(&mut self, find: Find, n: u32) -> bool {
        match find {
            Find::Rate => self.rate = Some(n),
            Find::Channels | Find::Joins | Find::Sessions | Find::Subscribers => return false,
        }
        true
    }

    fn errand(&self) -> Option<Errand> {
        (self.settle == Some(true)).then(|| {
            let path = self.ledger.clone();
            Box::new(move |target: &Target, stop: &Stop| settle(path.as_deref(), target, stop))
                as Errand
        })
    }
}

impl Load for handshake::Options {
    const NAME: &'static str = "handshake";

    fn or(self, file: Self) -> Self {
        self.or(file)
    }

    fn resolve(
        &self,
        target: Target,
        seed: u64,
        gate: &Gate,
    ) -> Result<Box<dyn Scenario>, Failure> {
        let mut handshake = handshake::Handshake::resolve(self, target, seed)?;
        handshake.stop_at_refusal = gate.is_guarded();
        Ok(Box::new(handshake))
    }

    fn set(&mut self, find: Find, n: u32) -> bool {
        match find {
            Find::Rate => self.rate = Some(n),
            Find::Channels | Find::Joins | Find::Sessions | Find::Subscribers => return false,
        }
        true
    }
}

/// `loadgen tickets --settle`.
fn settle(path: Option<&Path>, target: &Target, stop: &Stop) -> Result<bool, Failure> {
    let path = path.ok_or_else(|| Failure::new("--settle needs what to settle: --ledger FILE"))?;
    let mut ledger = tickets::Ledger::read(path)?;
    let settlement = ledger.settle(target, stop);
    ledger.write(path)?;
    println!("{}", settlement?);
    Ok(ledger.open() == 0)
}
