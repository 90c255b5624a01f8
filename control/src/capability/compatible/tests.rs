//! Each rule by itself, what is said when it is broken, and what holds whatever a peer sends.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::net::capabilities::{CapabilityConstraints, Constraints};

use super::*;
use crate::capability::{Job, LiveModel, Offer};

const EDGES: &str = "builtin/edges";

fn peer() -> net::Capabilities {
    let models = [LiveModel {
        id: EDGES.to_owned(),
        warm: true,
        idle: 3,
        in_use: 1,
    }];
    Offer {
        models: &models,
        version: "0.9.1",
    }
    .capabilities()
}

fn job() -> net::Capabilities {
    Job {
        model: Some(EDGES),
        min_version: "0.9.0",
        ..Job::live()
    }
    .capabilities()
}

/// What is said of the two after a change to them.
fn said(change: impl FnOnce(&mut net::Capabilities, &mut net::Capabilities)) -> String {
    let (mut job, mut peer) = (job(), peer());
    change(&mut job, &mut peer);
    match compatible(Some(&job), Some(&peer)) {
        Ok(()) => "compatible".to_owned(),
        Err(why) => why.to_string(),
    }
}

fn model(of: &mut net::Capabilities) -> &mut ModelConstraint {
    let constraints = of.constraints.as_mut().unwrap();
    let live = constraints.per_capability.get_mut(&35).unwrap();
    live.models.get_mut(EDGES).unwrap()
}

#[test]
fn a_job_fits_who_offers_it() {
    assert_eq!(said(|_, _| ()), "compatible");
}

#[test]
fn absence_has_its_rules() {
    fn said(job: Option<&net::Capabilities>, peer: Option<&net::Capabilities>) -> String {
        compatible(job, peer).unwrap_err().to_string()
    }
    assert_eq!(
        said(None, Some(&peer())),
        "the job does not say what it needs"
    );
    assert_eq!(said(None, None), "the job does not say what it needs");
    assert_eq!(said(Some(&job()), None), "does not say what it can do");
    let legacy = net::Capabilities {
        bitstring: vec![0x0fff],
        ..Default::default()
    };
    assert_eq!(compatible(Some(&legacy), None), Ok(()));
    assert_eq!(compatible(Some(&Default::default()), None), Ok(()));
}

#[test]
fn versions_are_looked_at_first() {
    assert_eq!(
        said(|_, p| p.version = "0.8.1".to_owned()),
        "version 0.8.1 is older than 0.9.0"
    );
    assert_eq!(
        said(|_, p| {
            p.version.clear();
            p.bitstring.clear();
        }),
        "the version is not known, and 0.9.0 or newer is asked for"
    );
    assert_eq!(
        said(|_, p| p.version = "undefined".to_owned()),
        "the version is not known, and 0.9.0 or newer is asked for"
    );
    let asked = |min: &str, version: &str| {
        said(|j, p| {
            j.constraints.as_mut().unwrap().min_version = min.to_owned();
            p.version = version.to_owned();
        })
    };
    for (min, version) in [("", ""), ("", "undefined"), ("whatever", "junk")] {
        assert_eq!(asked(min, version), "compatible");
    }
    assert_eq!(
        asked("whatever", ""),
        "the version is not known, and whatever or newer is asked for"
    );
    assert_eq!(
        asked("0.9.0", "junk"),
        "version `junk` is none, and 0.9.0 or newer is asked for"
    );
}

#[test]
fn what_a_peer_demands_the_job_must_have() {
    assert_eq!(said(|_, p| p.mandatories = vec![1 << 12]), "compatible");
    assert_eq!(said(|_, p| p.mandatories = vec![1 << 12, 0]), "compatible");
    assert_eq!(
        said(|_, p| p.mandatories = vec![1 << 15 | 1 << 12]),
        "demands HEVC decode, which the job does not have"
    );
    assert_eq!(
        said(|_, p| p.mandatories = vec![0, 1]),
        "demands capability 64, which the job does not have"
    );
}

#[test]
fn models_are_held_against_the_peers() {
    assert_eq!(
        said(|j, _| *j = Job {
            model: Some("onnx/denoise"),
            ..Job::live()
        }
        .capabilities()),
        "does not offer onnx/denoise for Live video to video"
    );
    // Without constraints at the peer there is nothing to hold a model against.
    assert_eq!(
        said(|_, p| p.constraints.as_mut().unwrap().per_capability.clear()),
        "compatible"
    );
    assert_eq!(said(|_, p| p.constraints = None), "compatible");
    let cold = "does not have builtin/edges warm for Live video to video";
    assert_eq!(
        said(|j, p| (model(j).warm, model(p).warm) = (true, false)),
        cold
    );
    assert_eq!(
        said(|j, p| (model(j).warm, model(p).warm) = (true, true)),
        "compatible"
    );
    assert_eq!(
        said(|j, p| (model(j).warm, model(p).warm) = (false, false)),
        "compatible"
    );
    let runner = |min: &str, version: &str| {
        said(|j, p| {
            model(j).runner_version = min.to_owned();
            model(p).runner_version = version.to_owned();
        })
    };
    assert_eq!(runner("0.14", "0.14.1"), "compatible");
    assert_eq!(
        runner("0.14", "0.13.9"),
        "the runner of builtin/edges for Live video to video: version 0.13.9 is older than 0.14.0"
    );
    assert_eq!(
        runner("0.14", ""),
        "the runner of builtin/edges for Live video to video: the version is not known, and 0.14 or newer is asked for"
    );
    // However full it is.
    assert_eq!(
        said(|_, p| (model(p).capacity, model(p).capacity_in_use) = (0, 4)),
        "compatible"
    );
}

#[test]
fn what_a_job_needs_the_peer_must_have() {
    assert_eq!(
        said(|_, p| p.bitstring[0] &= !(1 << 35)),
        "lacks Live video to video"
    );
    assert_eq!(
        said(|_, p| p.bitstring[0] &= !(1 << 12 | 1 << 35)),
        "lacks Auth token, Live video to video"
    );
    assert_eq!(
        said(|_, p| p.bitstring.clear()),
        "lacks H.264, MPEGTS, MP4, Fractional framerates and 12 more"
    );
    assert_eq!(said(|j, _| j.bitstring.extend([0, 0])), "compatible");
    assert_eq!(said(|_, p| p.bitstring.push(u64::MAX)), "compatible");
    assert_eq!(said(|j, _| j.bitstring.push(1 << 3)), "lacks capability 67");
}

#[test]
fn a_models_name_is_shown_harmlessly() {
    let id = format!("\x1b]0;{}", "x".repeat(1_000));
    let said = said(|j, _| {
        *j = Job {
            model: Some(&id),
            ..Job::live()
        }
        .capabilities();
    });
    assert!(
        said.starts_with("does not offer \u{fffd}]0;xxx"),
        "{said:?}"
    );
    assert!(said.chars().count() < 200, "{said:?}");
}

/// A message of few different parts, so that many of them fit each other.
fn any_capabilities() -> impl Strategy<Value = net::Capabilities> {
    let version = prop_oneof![
        Just(String::new()),
        Just("undefined".to_owned()),
        "v?[0-9]{1,2}(\\.[0-9]){0,2}(-[a-z]{1,3})?",
        any::<String>(),
    ];
    let model = (any::<bool>(), any::<u32>(), version.clone(), any::<u32>()).prop_map(
        |(warm, capacity, runner_version, capacity_in_use)| ModelConstraint {
            warm,
            capacity,
            runner_version,
            capacity_in_use,
        },
    );
    let models = prop::collection::btree_map("[ab]|.*", model, 0..3)
        .prop_map(|models| CapabilityConstraints { models });
    let number = prop_oneof![34..37_u32, any::<u32>()];
    let constraints = (
        version.clone(),
        prop::collection::btree_map(number, models, 0..3),
    )
        .prop_map(|(min_version, per_capability)| Constraints {
            min_version,
            per_capability,
        });
    let words = prop::collection::vec(prop_oneof![0..4_u64, any::<u64>()], 0..70);
    (
        words.clone(),
        prop_oneof![Just(Vec::new()), words],
        any::<BTreeMap<u32, u32>>(),
        version,
        prop::option::of(constraints),
    )
        .prop_map(
            |(bitstring, mandatories, capacities, version, constraints)| net::Capabilities {
                bitstring,
                mandatories,
                capacities,
                version,
                constraints,
            },
        )
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(job in any_capabilities(), peer in any_capabilities()) {
        if let Err(why) = compatible(Some(&job), Some(&peer)) {
            let said = why.to_string();
            prop_assert!(!said.is_empty() && said.chars().count() < 500, "{said}");
            prop_assert!(!said.chars().any(char::is_control), "{said}");
        }
        drop(compatible(None, Some(&peer)));
        drop(compatible(Some(&job), None));
        prop_assert!(LiveModel::of(&peer).count() <= 2);
    }

    #[test]
    fn a_peer_that_can_more_still_can(mut job in any_capabilities(), mut peer in any_capabilities(), more in 0..4_096_u32) {
        if compatible(Some(&job), Some(&peer)).is_err() {
            // Most pairs of them fit not at all.
            job = super::tests::job();
            peer = super::tests::peer();
        }
        let mut bits = Bits::of_words(&peer.bitstring);
        bits.insert(Capability(more));
        peer.bitstring = bits.words().to_vec();
        prop_assert_eq!(compatible(Some(&job), Some(&peer)), Ok(()));
    }

    #[test]
    fn a_job_that_needs_less_still_fits(needed in any::<u64>(), fewer in any::<u64>(), had in any::<u64>()) {
        let of = |word| net::Capabilities { bitstring: vec![word], ..Default::default() };
        let fits = |job: u64| compatible(Some(&of(job)), Some(&of(had))).is_ok();
        prop_assert_eq!(fits(needed), needed & !had == 0);
        prop_assert!(!fits(needed) || fits(needed & fewer));
    }

    #[test]
    fn zero_words_at_the_end_change_nothing(job in any_capabilities(), peer in any_capabilities(), zeros in 0..5_usize) {
        let longer = |of: &net::Capabilities| {
            let mut of = of.clone();
            of.bitstring.extend(vec![0; zeros]);
            of.mandatories.extend(vec![0; zeros]);
            of
        };
        let expected = compatible(Some(&job), Some(&peer));
        prop_assert_eq!(compatible(Some(&longer(&job)), Some(&peer)), expected.clone());
        prop_assert_eq!(compatible(Some(&job), Some(&longer(&peer))), expected);
    }
}
