//! The table against examples reckoned by hand from go-livepeer's rule, and against the rule itself in small numbers.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use proptest::prelude::*;
use proto::net::capabilities::{CapabilityConstraints, Constraints};

use super::number::decimal;
use super::*;

const LIVE: u32 = 35;
const ALICE: Address = Address([1; 20]);
const BOB: Address = Address([2; 20]);

fn rate(wei: u64, pixels: u64) -> Rate {
    Rate::new(Wei::from(wei), NonZeroU64::new(pixels).unwrap())
}

fn model(sender: Option<Address>, capability: u32, model: &str, rate: Rate) -> ModelRate {
    ModelRate {
        sender,
        capability,
        model: model.to_owned(),
        rate,
    }
}

/// Work costs 100, for Bob 80. The model `a` costs 300, for Bob 250; `b` half a wei; `c` nothing; the image model `a` 7.
fn table() -> Prices {
    Prices::new(Config {
        base: rate(100, 1),
        senders: vec![(BOB, rate(80, 1))],
        models: vec![
            model(None, LIVE, "a", rate(300, 1)),
            model(Some(BOB), LIVE, "a", rate(250, 1)),
            model(None, LIVE, "b", rate(1, 2)),
            model(None, LIVE, "c", Rate::FREE),
            model(None, 27, "a", rate(7, 1)),
            model(Some(BOB), 27, "mine", rate(2, 3)),
        ],
    })
    .unwrap()
}

fn base_alone(base: Rate) -> Prices {
    Prices::new(Config {
        base,
        senders: Vec::new(),
        models: Vec::new(),
    })
    .unwrap()
}

/// What is wanted: capabilities with their models, all of them among the capacities.
fn wanted(models: &[(u32, &[&str])]) -> net::Capabilities {
    let constraints = |names: &&[&str]| CapabilityConstraints {
        models: names
            .iter()
            .map(|name| ((*name).to_owned(), Default::default()))
            .collect(),
    };
    net::Capabilities {
        capacities: models.iter().map(|(number, _)| (*number, 1)).collect(),
        constraints: Some(Constraints {
            per_capability: models
                .iter()
                .map(|(number, names)| (*number, constraints(names)))
                .collect(),
            ..Constraints::default()
        }),
        ..net::Capabilities::default()
    }
}

fn on(tx_cost: u64, face_value: u64) -> Overhead {
    Overhead::On {
        tx_cost_wei: Wei::from(tx_cost),
        face_value_wei: Wei::from(face_value),
    }
}

#[test]
fn who_only_looks_is_told_the_base_price() {
    let table = table();
    let price = |sender| table.price(&sender, None, Overhead::Off).unwrap();
    assert_eq!(price(ALICE).to_wire(), (100, 1));
    assert_eq!(price(BOB).to_wire(), (80, 1));
}

#[test]
fn what_is_wanted_is_added_up_and_nothing_is_the_base_price() {
    let table = table();
    let price = |sender, models: &[(u32, &[&str])]| {
        let wanted = wanted(models);
        table
            .price(&sender, Some(&wanted), Overhead::Off)
            .unwrap()
            .to_wire()
    };
    for (models, alices, bobs) in [
        (&[(LIVE, &["a"][..])][..], (300, 1), (250, 1)),
        (&[(LIVE, &["b"])], (1, 2), (1, 2)),
        (&[(LIVE, &["a", "b"])], (601, 2), (501, 2)),
        (&[(LIVE, &["a", "b"]), (27, &["a"])], (615, 2), (515, 2)),
        // A price of Bob's alone: a third comes in.
        (&[(LIVE, &["b"]), (27, &["mine"])], (1, 2), (7, 6)),
        // Free, unknown, no models, none of our capabilities: what transcoding costs.
        (&[(LIVE, &["c"])], (100, 1), (80, 1)),
        (&[(LIVE, &["nobody's"])], (100, 1), (80, 1)),
        (&[(LIVE, &[])], (100, 1), (80, 1)),
        (&[(29, &["a"])], (100, 1), (80, 1)),
        (&[], (100, 1), (80, 1)),
    ] {
        assert_eq!(price(ALICE, models), alices, "{models:?}");
        assert_eq!(price(BOB, models), bobs, "{models:?}");
    }
}

#[test]
fn a_capability_counts_where_it_is_among_the_capacities_and_has_constraints() {
    let table = table();
    let price = |wanted: &net::Capabilities| {
        table
            .price(&ALICE, Some(wanted), Overhead::Off)
            .unwrap()
            .to_wire()
    };
    let mut without_capacity = wanted(&[(LIVE, &["a"]), (27, &["a"])]);
    without_capacity.capacities.remove(&LIVE);
    assert_eq!(price(&without_capacity), (7, 1));
    let mut without_constraints = wanted(&[(LIVE, &["a"])]);
    without_constraints.constraints = None;
    assert_eq!(price(&without_constraints), (100, 1));
    // A payment under that one is too small for the model all the same.
    assert_eq!(table.model_price(&ALICE, LIVE, "a").to_wire(), (300, 1));
}

#[test]
fn a_redemption_adds_its_share_of_the_face_value() {
    let price = |base, overhead| {
        base_alone(base)
            .price(&ALICE, None, overhead)
            .unwrap()
            .to_wire()
    };
    for (base, overhead, expected) in [
        // A hundredth: 1000 × 1.01.
        (rate(1_000, 1), on(1, 100), (1_010, 1)),
        (rate(1, 1), on(1, 100), (101, 100)),
        (rate(1, 10), on(1, 100), (101, 1_000)),
        // 0.1 × 1.001 = 0.1001, of which thousandths are kept.
        (rate(1, 10), on(1, 1_000), (1, 10)),
        // 1 × 4/3 = 1.333…
        (rate(1, 1), on(1, 3), (1_333, 1_000)),
        // A redemption that is dearer than the ticket: 10 × (1 + 5).
        (rate(10, 1), on(50, 10), (60, 1)),
        // 1200 × (1 + 3.6e14 / 3.6e16).
        (
            rate(1_200, 1),
            on(360_000_000_000_000, 36_000_000_000_000_000),
            (1_212, 1),
        ),
        // Nothing to add: cut all the same.
        (rate(1, 3), on(0, 100), (333, 1_000)),
        (rate(1, 3), on(1, 0), (333, 1_000)),
        (rate(1, 3), Overhead::Off, (1, 3)),
        // Of nothing, nothing; and what is below a thousandth is nothing.
        (Rate::FREE, on(1, 1), (0, 1)),
        (rate(1, 2_000), on(0, 0), (0, 1)),
        (rate(1, 2_000), on(1, 1), (1, 1_000)),
    ] {
        assert_eq!(price(base, overhead), expected, "{base:?}, {overhead:?}");
    }
}

#[test]
fn an_overhead_counts_for_models_too() {
    let wanted = wanted(&[(LIVE, &["a", "b"])]);
    let price = table().price(&BOB, Some(&wanted), on(1, 100)).unwrap();
    // 250.5 × 1.01 = 253.005
    assert_eq!(price.to_wire(), (50_601, 200));
}

#[test]
fn what_does_not_fit_is_cut_and_what_is_too_much_is_refused() {
    let off = |base| base_alone(base).price(&ALICE, None, Overhead::Off);
    let most = rate(i64::MAX as u64, 1);
    assert_eq!(off(most).unwrap().to_wire(), (i64::MAX, 1));
    // A third of a wei in twenty digits: neither half is an int64.
    let fine = decimal("0.33333333333333333333").unwrap();
    assert_eq!(off(fine).unwrap().to_wire(), (333, 1_000));
    // Thousandths of so much do not fit either.
    let much = decimal("9223372036854775807.5").unwrap();
    assert_eq!(off(much).unwrap().to_wire(), (i64::MAX, 1));
    let dear = base_alone(most).price(&ALICE, None, on(1, 1_000_000));
    assert_eq!(dear, Err(NoPrice::TooHigh));
    assert_eq!(
        NoPrice::TooHigh.to_string(),
        "price cannot be converted to int64"
    );
    // The greatest numbers of all.
    let all = Overhead::On {
        tx_cost_wei: Wei::MAX,
        face_value_wei: Wei::MAX,
    };
    let twice = base_alone(rate(50, 1)).price(&ALICE, None, all).unwrap();
    assert_eq!(twice.to_wire(), (100, 1));
    let lost = Overhead::On {
        tx_cost_wei: Wei::MAX,
        face_value_wei: Wei::from(1),
    };
    let hopeless = base_alone(rate(50, 1)).price(&ALICE, None, lost);
    assert_eq!(hopeless, Err(NoPrice::TooHigh));
}

#[test]
fn work_on_a_model_costs_at_least_what_it_costs_alone() {
    let table = table();
    let least = |sender, capability, model| table.model_price(&sender, capability, model);
    assert_eq!(least(ALICE, LIVE, "a").to_wire(), (300, 1));
    assert_eq!(least(BOB, LIVE, "a").to_wire(), (250, 1));
    assert_eq!(least(ALICE, LIVE, "b").to_wire(), (1, 2));
    // To the thousandth, as an offer with overhead would be.
    assert_eq!(least(BOB, 27, "mine").to_wire(), (333, 500));
    assert_eq!(least(ALICE, 27, "mine").to_wire(), (100, 1));
    assert_eq!(least(BOB, LIVE, "c").to_wire(), (80, 1));
    let much = base_alone(decimal("9223372036854775807.5").unwrap());
    assert_eq!(much.model_price(&ALICE, LIVE, "a").to_wire(), (i64::MAX, 1));
}

#[test]
fn the_least_is_not_above_an_offer_that_lost_its_fraction() {
    let prices = base_alone(rate(i64::MAX as u64, 1_000));
    let offer = prices
        .price(&ALICE, None, on(1, 100_000_000_000_000_000))
        .unwrap();
    // 2^63 - 1 thousandths, and 92 more: no int64, so whole wei.
    assert_eq!(offer.to_wire(), (9_223_372_036_854_775, 1));
    assert_eq!(prices.model_price(&ALICE, LIVE, "a"), offer);
    let alone = prices.price(&ALICE, None, Overhead::Off).unwrap();
    assert_eq!(alone.to_wire(), (i64::MAX, 1_000));
}

#[test]
fn the_list_has_every_model_once_and_keeps_fractions() {
    let list = |sender| -> Vec<_> {
        table()
            .list(&sender)
            .into_iter()
            .map(|p| {
                (
                    p.capability,
                    p.constraint,
                    p.price_per_unit,
                    p.pixels_per_unit,
                )
            })
            .collect()
    };
    let line = |capability, model: &str, wei, pixels| (capability, model.to_owned(), wei, pixels);
    assert_eq!(
        list(ALICE),
        [
            line(27, "a", 7, 1),
            line(LIVE, "a", 300, 1),
            line(LIVE, "b", 1, 2),
            line(LIVE, "c", 0, 1),
        ]
    );
    assert_eq!(
        list(BOB),
        [
            line(27, "a", 7, 1),
            line(27, "mine", 2, 3),
            line(LIVE, "a", 250, 1),
            line(LIVE, "b", 1, 2),
            line(LIVE, "c", 0, 1),
        ]
    );
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let config = |base, senders, models| Config {
        base,
        senders,
        models,
    };
    let fault = |config| Prices::new(config).unwrap_err().to_string();
    let senders = vec![(BOB, rate(1, 1)), (BOB, rate(2, 1))];
    assert_eq!(
        fault(config(Rate::FREE, senders, vec![])),
        format!("work for {BOB} has two prices")
    );
    let models = [1, 2].map(|wei| model(Some(BOB), LIVE, "a", rate(wei, 1)));
    assert_eq!(
        fault(config(Rate::FREE, vec![], models.to_vec())),
        format!("the model \"a\" of capability 35 for {BOB} has two prices")
    );
    let same = vec![model(None, LIVE, "a", rate(1, 1)); 2];
    assert!(Prices::new(config(Rate::FREE, vec![], same)).is_ok());
    let high = model(None, LIVE, "a", rate(1 << 63, 1));
    assert_eq!(
        fault(config(Rate::FREE, vec![], vec![high])),
        "the model \"a\" of capability 35 has a price above 2^63 - 1 wei a pixel, which no message can hold"
    );
    // Numbers without a common divisor.
    let fine = |wei: u64| Rate::reduced(Wei::from(1), Wei::MAX - Wei::from(wei));
    assert_eq!(
        Prices::new(config(fine(0), vec![(BOB, fine(1))], vec![])).unwrap_err(),
        BadConfig::TooFine
    );
}

/// A price as wei over pixels, small enough to be reckoned in u128.
type Small = (u128, u128);

fn small() -> impl Strategy<Value = (u64, u64)> {
    (
        0_u64..5_000,
        prop::sample::select(vec![1, 2, 3, 7, 1_000, 1 << 20]),
    )
}

/// Any rate that a table takes, the finest and the dearest included.
fn any_rate() -> impl Strategy<Value = Rate> {
    let dear = (i64::MAX as u64 - 3_000..=i64::MAX as u64).prop_map(|wei| rate(wei, 1));
    let dear_thousandths = (0_u64..3_000).prop_map(|n| rate(i64::MAX as u64 - n, 1_000));
    let decimals = (0_u64..1_000, any::<u64>())
        .prop_map(|(whole, fraction)| decimal(&format!("{whole}.{fraction:020}")).unwrap());
    prop_oneof![
        small().prop_map(|(wei, pixels)| rate(wei, pixels)),
        dear,
        dear_thousandths,
        decimals,
        Just(Rate::FREE),
    ]
}

fn any_overhead() -> impl Strategy<Value = Overhead> {
    prop_oneof![
        Just(Overhead::Off),
        (0_u64..100, 0_u64..100).prop_map(|(cost, face)| on(cost, face)),
        (any::<u64>(), any::<u64>()).prop_map(|(cost, face)| on(cost, face)),
    ]
}

fn is_at_most(a: Price, b: Price) -> bool {
    u128::from(a.wei()) * u128::from(b.pixels()) <= u128::from(b.wei()) * u128::from(a.pixels())
}

proptest! {
    /// The rule, told in fractions of u128.
    #[test]
    fn prices_are_the_rules(
        base in small(),
        rates in prop::collection::btree_map((34_u32..36, "[a-c]"), small(), 0..5),
        names in prop::collection::btree_set((34_u32..36, "[a-d]"), 0..6),
        cost in 0_u64..1_000,
        face in 0_u64..1_000,
    ) {
        let prices = Prices::new(Config {
            base: rate(base.0, base.1),
            senders: Vec::new(),
            models: rates
                .iter()
                .map(|((capability, name), (wei, pixels))| model(None, *capability, name, rate(*wei, *pixels)))
                .collect(),
        })
        .unwrap();
        let mut by_capability: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for (capability, name) in &names {
            by_capability.entry(*capability).or_default().push(name);
        }
        let lists: Vec<_> = by_capability.iter().map(|(number, names)| (*number, names.as_slice())).collect();
        let wanted = wanted(&lists);
        let wide = |(wei, pixels): (u64, u64)| (u128::from(wei), u128::from(pixels));
        let add = |(a, b): Small, (c, d): Small| (a * d + c * b, b * d);
        let sum = names
            .iter()
            .filter_map(|name| rates.get(name))
            .fold((0, 1), |sum, rate| add(sum, wide(*rate)));
        let (wei, pixels) = if sum.0 == 0 { wide(base) } else { sum };

        let exact = prices.price(&ALICE, Some(&wanted), Overhead::Off).unwrap();
        prop_assert_eq!(u128::from(exact.wei()) * pixels, wei * u128::from(exact.pixels()));

        let (cost_wide, face_wide) = (u128::from(cost), u128::from(face));
        let thousandths = match face {
            0 => wei * 1_000 / pixels,
            _ => wei * (face_wide + cost_wide) * 1_000 / (pixels * face_wide),
        };
        let cut = prices.price(&ALICE, Some(&wanted), on(cost, face)).unwrap();
        prop_assert_eq!(u128::from(cut.wei()) * 1_000, thousandths * u128::from(cut.pixels()));
    }

    /// Who pays what was offered for a model is never refused work on it.
    #[test]
    fn the_least_is_never_above_an_offer(
        base in any_rate(),
        rates in prop::collection::vec(any_rate(), 1..4),
        overhead in any_overhead(),
    ) {
        let names: Vec<_> = (0..rates.len()).map(|n| n.to_string()).collect();
        let prices = Prices::new(Config {
            base,
            senders: Vec::new(),
            models: names.iter().zip(&rates).map(|(name, rate)| model(None, LIVE, name, *rate)).collect(),
        })
        .unwrap();
        let all: Vec<_> = names.iter().map(String::as_str).collect();
        let offer = prices.price(&ALICE, Some(&wanted(&[(LIVE, &all)])), overhead);
        for (name, rate) in names.iter().zip(&rates) {
            let least = prices.model_price(&ALICE, LIVE, name);
            if let Ok(alone) = prices.price(&ALICE, Some(&wanted(&[(LIVE, &[name])])), overhead) {
                prop_assert!(is_at_most(least, alone), "{least} of {rate}, offered alone for {alone}");
            }
            // A model without a price costs the base alone, and nothing beside one that has a price.
            if let (Ok(offer), false) = (offer, rate.is_free()) {
                prop_assert!(is_at_most(least, offer), "{least} of {rate}, offered for {offer}");
            }
        }
        for listed in prices.list(&ALICE) {
            prop_assert!(listed.price_per_unit >= 0 && listed.pixels_per_unit > 0);
        }
    }
}
