//! Whether a peer can do a job, and why not.
//!
//! The rules and their order are go-livepeer's, but for one: it counts the words of two bit sets before it compares them, and here zero
//! words at the end change nothing (see [`Bits`]). How much room a model has is not compared: that is said by who has none.

use std::fmt;

use proto::net;
use proto::net::capabilities::capability_constraints::ModelConstraint;

use super::bits::Bits;
use super::version::{VersionFault, is_enough};
use super::{Capability, printable_model};

/// Why a peer cannot do a job: the first rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incompatible {
    /// The job does not say what it needs.
    NoJob,
    /// The peer does not say what it can, and the job needs more than an old one has.
    Silent,
    /// The peer is too old.
    Version(VersionFault),
    /// The peer works for those only who have these.
    Demands(Bits),
    /// The peer has the capability, but not with this model.
    NoModel {
        /// What for.
        capability: Capability,
        /// Which, fit to be shown.
        model: String,
    },
    /// The peer would have to load the model first.
    Cold {
        /// What for.
        capability: Capability,
        /// Which, fit to be shown.
        model: String,
    },
    /// What runs the model is too old.
    Runner {
        /// What for.
        capability: Capability,
        /// Which, fit to be shown.
        model: String,
        /// What is wrong with it.
        fault: VersionFault,
    },
    /// The peer has not got these.
    Lacks(Bits),
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJob => f.write_str("the job does not say what it needs"),
            Self::Silent => f.write_str("does not say what it can do"),
            Self::Version(fault) => fault.fmt(f),
            Self::Demands(bits) => write!(f, "demands {}, which the job does not have", List(bits)),
            Self::NoModel { capability, model } => {
                write!(f, "does not offer {model} for {capability}")
            }
            Self::Cold { capability, model } => {
                write!(f, "does not have {model} warm for {capability}")
            }
            Self::Runner {
                capability,
                model,
                fault,
            } => write!(f, "the runner of {model} for {capability}: {fault}"),
            Self::Lacks(bits) => write!(f, "lacks {}", List(bits)),
        }
    }
}

impl std::error::Error for Incompatible {}

/// Whether `peer` can do `job`. Either may be absent from the message that should have it: no job fits nobody, and a peer that does not
/// say what it can is one from before there was anything to say.
///
/// # Errors
/// The first rule that is broken.
pub fn compatible(
    job: Option<&net::Capabilities>,
    peer: Option<&net::Capabilities>,
) -> Result<(), Incompatible> {
    let job = job.ok_or(Incompatible::NoJob)?;
    let needed = Bits::of_words(&job.bitstring);
    let Some(peer) = peer else {
        let legacy: Bits = Capability::LEGACY.into_iter().collect();
        return match needed.is_subset_of(&legacy) {
            true => Ok(()),
            false => Err(Incompatible::Silent),
        };
    };
    let min_version = job.constraints.as_ref().map_or("", |it| &it.min_version);
    is_enough(&peer.version, min_version).map_err(Incompatible::Version)?;
    let demanded = Bits::of_words(&peer.mandatories).without(&needed);
    if !demanded.is_empty() {
        return Err(Incompatible::Demands(demanded));
    }
    models(job, peer)?;
    let missing = needed.without(&Bits::of_words(&peer.bitstring));
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Incompatible::Lacks(missing)),
    }
}

/// A capability without constraints at the peer is taken to have none: whether it has it at all, the bits say.
fn models(job: &net::Capabilities, peer: &net::Capabilities) -> Result<(), Incompatible> {
    let (Some(ours), Some(theirs)) = (&job.constraints, &peer.constraints) else {
        return Ok(());
    };
    for (number, wanted) in &ours.per_capability {
        let Some(offered) = theirs.per_capability.get(number) else {
            continue;
        };
        for (id, wanted) in &wanted.models {
            let capability = Capability(*number);
            let model = || printable_model(id);
            let offered = offered.models.get(id);
            let offered = offered.ok_or_else(|| Incompatible::NoModel {
                capability,
                model: model(),
            })?;
            suits(wanted, offered).map_err(|unfit| match unfit {
                Unfit::Cold => Incompatible::Cold {
                    capability,
                    model: model(),
                },
                Unfit::Runner(fault) => Incompatible::Runner {
                    capability,
                    model: model(),
                    fault,
                },
            })?;
        }
    }
    Ok(())
}

enum Unfit {
    Cold,
    Runner(VersionFault),
}

fn suits(wanted: &ModelConstraint, offered: &ModelConstraint) -> Result<(), Unfit> {
    if wanted.warm && !offered.warm {
        return Err(Unfit::Cold);
    }
    is_enough(&offered.runner_version, &wanted.runner_version).map_err(Unfit::Runner)
}

/// Names, as many as a line has room for.
struct List<'a>(&'a Bits);

const NAMED_MAX: usize = 4;

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, capability) in self.0.iter().take(NAMED_MAX).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{capability}")?;
        }
        match self.0.iter().skip(NAMED_MAX).count() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests;
