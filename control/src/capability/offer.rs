//! What a node offers, what a job asks for, and what a peer was heard to offer.
//!
//! Each capability is offered once: only of a model is it said how often, `capacity` being what is free and `capacityInUse` what is not.

use std::collections::BTreeMap;

use proto::net;
use proto::net::capabilities::capability_constraints::ModelConstraint;
use proto::net::capabilities::{CapabilityConstraints, Constraints};

use super::Capability;
use super::bits::Bits;

/// A model for live video, and how much of it there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveModel {
    /// Its name.
    pub id: String,
    /// Whether it is loaded.
    pub warm: bool,
    /// Sessions that could begin.
    pub idle: u32,
    /// Sessions that run.
    pub in_use: u32,
}

impl LiveModel {
    /// Those that a peer offers, by name.
    pub fn of(peer: &net::Capabilities) -> impl Iterator<Item = Self> + '_ {
        let live = peer.constraints.as_ref().and_then(|constraints| {
            let number = Capability::LIVE_VIDEO_TO_VIDEO.0;
            constraints.per_capability.get(&number)
        });
        let models = live.into_iter().flat_map(|live| &live.models);
        models.map(|(id, model)| Self {
            id: id.clone(),
            warm: model.warm,
            idle: model.capacity,
            in_use: model.capacity_in_use,
        })
    }
}

/// What a node offers.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The models for live video. A node without any has no such capability. Two of one name are one.
    pub models: &'a [LiveModel],
    /// Of the software, as peers compare it.
    pub version: &'a str,
}

impl Offer<'_> {
    /// As a message.
    #[must_use]
    pub fn capabilities(&self) -> net::Capabilities {
        let live = Capability::LIVE_VIDEO_TO_VIDEO;
        let mut per_capability = BTreeMap::new();
        if !self.models.is_empty() {
            per_capability.insert(live.0, constraints(self.models));
        }
        let offered = (!self.models.is_empty()).then_some(live);
        message(offered, self.version, "", per_capability)
    }
}

/// What a job asks for: everything that is usual, and one capability.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Which.
    pub capability: Capability,
    /// With which model; `None` for any.
    pub model: Option<&'a str>,
    /// The oldest version of a node that will do; empty for any.
    pub min_version: &'a str,
    /// The oldest version of what runs the model that will do; empty for any.
    pub min_runner_version: &'a str,
    /// Our own.
    pub version: &'a str,
}

impl Job<'_> {
    /// Live video, through any model at any version.
    #[must_use]
    pub const fn live() -> Self {
        Self {
            capability: Capability::LIVE_VIDEO_TO_VIDEO,
            model: None,
            min_version: "",
            min_runner_version: "",
            version: "",
        }
    }

    /// As a message.
    #[must_use]
    pub fn capabilities(&self) -> net::Capabilities {
        let wanted = self.model.map(|id| {
            let model = ModelConstraint {
                runner_version: self.min_runner_version.to_owned(),
                ..Default::default()
            };
            let models = BTreeMap::from([(id.to_owned(), model)]);
            (self.capability.0, CapabilityConstraints { models })
        });
        let per_capability = wanted.into_iter().collect();
        let capability = Some(self.capability);
        message(capability, self.version, self.min_version, per_capability)
    }
}

fn message(
    capability: Option<Capability>,
    version: &str,
    min_version: &str,
    per_capability: BTreeMap<u32, CapabilityConstraints>,
) -> net::Capabilities {
    let all = || Capability::DEFAULT.into_iter().chain(capability);
    let bits: Bits = all().collect();
    net::Capabilities {
        bitstring: bits.words().to_vec(),
        mandatories: Vec::new(),
        capacities: all().map(|capability| (capability.0, 1)).collect(),
        version: version.to_owned(),
        constraints: Some(Constraints {
            min_version: min_version.to_owned(),
            per_capability,
        }),
    }
}

fn constraints(models: &[LiveModel]) -> CapabilityConstraints {
    let mut by_id = BTreeMap::<String, ModelConstraint>::new();
    for model in models {
        let all = by_id.entry(model.id.clone()).or_default();
        all.warm |= model.warm;
        all.capacity = all.capacity.saturating_add(model.idle);
        all.capacity_in_use = all.capacity_in_use.saturating_add(model.in_use);
    }
    CapabilityConstraints { models: by_id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Message;

    fn edges() -> LiveModel {
        LiveModel {
            id: "builtin/edges".to_owned(),
            warm: true,
            idle: 3,
            in_use: 1,
        }
    }

    /// The bits, and how many capabilities have a capacity.
    fn counted(message: &net::Capabilities) -> (&[u64], usize) {
        assert!(message.mandatories.is_empty());
        assert!(message.capacities.values().all(|capacity| *capacity == 1));
        (&message.bitstring, message.capacities.len())
    }

    #[test]
    fn an_offer_says_how_much_of_each_model_there_is() {
        let cold = LiveModel {
            warm: false,
            idle: u32::MAX,
            ..edges()
        };
        let other = LiveModel {
            id: "onnx/denoise".to_owned(),
            ..cold.clone()
        };
        let models = [cold, edges(), other.clone()];
        let offer = Offer {
            models: &models,
            version: "0.9.1",
        };
        let message = offer.capabilities();
        assert_eq!(counted(&message), (&[0x0008_0400_5fff][..], 16));
        assert_eq!(message.version, "0.9.1");
        let both = LiveModel {
            idle: u32::MAX,
            in_use: 2,
            ..edges()
        };
        assert_eq!(LiveModel::of(&message).collect::<Vec<_>>(), [both, other]);
    }

    #[test]
    fn who_has_no_model_offers_no_live_video() {
        let message = Offer {
            models: &[],
            version: "0.9.1",
        }
        .capabilities();
        assert_eq!(counted(&message), (&[0x0400_5fff][..], 15));
        assert_eq!(LiveModel::of(&message).count(), 0);
        assert_eq!(LiveModel::of(&net::Capabilities::default()).count(), 0);
    }

    #[test]
    fn a_job_asks_for_what_go_livepeers_jobs_ask_for() {
        let job = Job {
            model: Some("m"),
            min_version: "0.8.9",
            min_runner_version: "0.14",
            version: "0.9.1",
            ..Job::live()
        };
        let message = job.capabilities();
        assert_eq!(counted(&message), (&[0x0008_0400_5fff][..], 16));
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        // bitstring, packed: one word of six bytes as a varint; capacities; version; constraints.
        assert!(bytes.starts_with(&[0x0a, 6, 0xff, 0xbf, 0x81, 0xa0, 0x80, 0x01]));
        let tail = b"\x22\x050.9.1\x2a\x1a\x0a\x050.8.9\x12\x11\x08\x23\x12\x0d\x0a\x0b\x0a\x01m\x12\x06\x1a\x040.14";
        assert!(bytes.ends_with(tail), "{bytes:02x?}");
        assert_eq!(net::Capabilities::decode(&bytes[..]).unwrap(), message);
        let any = Job {
            capability: Capability::UPSCALE,
            ..Job::live()
        }
        .capabilities();
        assert_eq!(counted(&any), (&[0x4400_5fff][..], 16));
        assert_eq!(
            any.constraints.as_ref().unwrap().per_capability.len(),
            0,
            "any model"
        );
    }
}
