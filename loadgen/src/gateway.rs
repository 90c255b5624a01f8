//! What a gateway says to an orchestrator before there is video, and what it makes of the answer.
//!
//! ```text
//!   Identity ── OrchestratorRequest{address, sig, capabilities} ──▶ GetOrchestrator ──▶ OrchestratorInfo ──▶ Offer
//!      │                                                                                ticket params, price, auth token
//!      └── credentials: SegData{manifest id, auth token, sig} ──▶ the header Livepeer-Segment of whatever is paid
//! ```
//!
//! Messages are those of the crate `proto`, tickets those of the crate `ticket`; both are held to go-livepeer's vectors, and nothing else
//! here is shared with a server.

use proto::net::Capabilities;
use proto::net::capabilities::capability_constraints::ModelConstraint;
use proto::net::capabilities::{CapabilityConstraints, Constraints};

mod identity;
mod offer;

pub use identity::{Identity, PrivateKey, credentials};
pub use offer::{GET_ORCHESTRATOR, Offer};

/// What a live-video-to-video job with this model needs: what every job of a gateway needs, and the model. As a stock gateway writes it.
pub fn live_capabilities(model: &str) -> Capabilities {
    let bits = CAPABILITIES_DEFAULT | 1 << LIVE_VIDEO_TO_VIDEO;
    let models = [(model.to_owned(), ModelConstraint::default())].into();
    Capabilities {
        bitstring: vec![bits],
        capacities: (0..u64::BITS)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(|capability| (capability, 1))
            .collect(),
        constraints: Some(Constraints {
            per_capability: [(LIVE_VIDEO_TO_VIDEO, CapabilityConstraints { models })].into(),
            ..Constraints::default()
        }),
        ..Capabilities::default()
    }
}

/// The number of the capability.
pub const LIVE_VIDEO_TO_VIDEO: u32 = 35;
/// The bits of what gateways ask of everybody.
const CAPABILITIES_DEFAULT: u64 = 0x0400_5fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_job_needs_its_model_beside_what_every_job_needs() {
        let needed = live_capabilities("a/b");
        assert_eq!(needed.bitstring, [0x8_0400_5fff]);
        assert_eq!(needed.capacities.len(), 16);
        assert_eq!(needed.capacities[&35], 1);
        let constraints = needed.constraints.unwrap().per_capability;
        assert_eq!(constraints.len(), 1);
        assert_eq!(constraints[&35].models.keys().collect::<Vec<_>>(), ["a/b"]);
    }
}
