//! Every operation, in every lane, against plain numbers.

use super::*;
use proptest::prelude::*;
use ticket::curve::field::{FOLD, MODULUS};

/// Numbers at the edges, and others.
fn any_element() -> impl Strategy<Value = Element> {
    let near = |at: [u64; 4]| {
        (0..4u64, any::<bool>()).prop_map(move |(n, up)| {
            let (at, n) = (Element::from_words(at), Element::from_words([n, 0, 0, 0]));
            if up { at.add(&n) } else { at.sub(&n) }
        })
    };
    let limbs = any::<[bool; 5]>().prop_map(|full| {
        let limbs = full.map(|full| if full { LIMB } else { 0 });
        Element::from_words([
            limbs[0] | limbs[1] << 52,
            limbs[1] >> 12 | limbs[2] << 40,
            limbs[2] >> 24 | limbs[3] << 28,
            limbs[3] >> 36 | limbs[4] << 16,
        ])
    });
    prop_oneof![
        near([0; 4]),
        near(MODULUS),
        near([u64::MAX; 4]),
        (0..FOLD).prop_map(|n| Element::from_words([u64::MAX - n, u64::MAX, u64::MAX, u64::MAX])),
        limbs,
        any::<[u64; 4]>().prop_map(Element::from_words),
    ]
}

fn any_eight() -> impl Strategy<Value = [Element; 8]> {
    proptest::array::uniform8(any_element())
}

/// The same numbers with limbs that are as large as tight ones get: 2^256 and more, where the lane's number allows it.
#[target_feature(enable = "avx512f")]
fn stretched(elements: &[Element; 8]) -> F8 {
    let mut eight = F8::of_elements(elements);
    let mut limbs = eight.0.map(store_it);
    for lane in 0..8 {
        let small = elements[lane].normal();
        // A number below c has another name, above p.
        if small[1] | small[2] | small[3] == 0 && small[0] < C {
            for (limb, p) in limbs.iter_mut().zip(P) {
                limb[lane] = p;
            }
            limbs[0][lane] += small[0];
            limbs[1][lane] += limbs[0][lane] >> 52;
            limbs[0][lane] &= LIMB;
            for n in 1..4 {
                limbs[n + 1][lane] += limbs[n][lane] >> 52;
                limbs[n][lane] &= LIMB;
            }
        }
    }
    for (vector, lanes) in eight.0.iter_mut().zip(&limbs) {
        *vector = load(lanes);
    }
    eight
}

fn store_it(vector: __m512i) -> Lanes {
    // SAFETY: needed to call code for avx512f; whoever has a vector has that.
    unsafe { store(vector) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn check(a: &[Element; 8], b: &[Element; 8], c: &[Element; 8]) {
    let (x, y, z) = (stretched(a), stretched(b), F8::of_elements(c));
    let is_tight = |eight: &F8| {
        let limbs = eight.0.map(store_it);
        limbs[..4].iter().flatten().all(|limb| *limb <= LIMB)
            && limbs[4].iter().all(|limb| *limb < (1 << 48) + (1 << 10))
    };
    type Plain = fn(&Element, &Element, &Element) -> Element;
    let outcomes: [(&str, F8, Plain); 11] = [
        ("as it was", x, |a, _, _| *a),
        ("mul", x.mul(&y), |a, b, _| a.mul(b)),
        ("square", x.square(), |a, _, _| a.square()),
        ("add", x.add(&y), |a, b, _| a.add(b)),
        ("triple", x.triple(), |a, _, _| a.add(a).add(a)),
        ("sub", x.sub(&y), |a, b, _| a.sub(b)),
        ("sub_both", x.sub_both(&y, &z), |a, b, c| a.sub(b).sub(c)),
        (
            "minus",
            x.loose().negate_in(0xff).minus(&y.loose()),
            |a, b, _| a.negate().sub(b),
        ),
        (
            "minus negative",
            x.loose().minus(&y.loose().negate_in(0xff)),
            |a, b, _| a.add(b),
        ),
        ("tight", x.loose().negate_in(0xff).tight(), |a, _, _| {
            a.negate()
        }),
        ("chain", x.sub(&y).mul(&z).add(&x).square(), |a, b, c| {
            a.sub(b).mul(c).add(a).square()
        }),
    ];
    for (name, outcome, expected) in outcomes {
        assert!(
            is_tight(&outcome),
            "{name} is not tight: {:x?}",
            outcome.0.map(store_it)
        );
        for (lane, element) in outcome.to_elements().iter().enumerate() {
            let expected = expected(&a[lane], &b[lane], &c[lane]);
            assert!(
                element.equals(&expected),
                "{name}, lane {lane}: {element:x?}, not {expected:x?}"
            );
        }
    }
    for lane in 0..8 {
        assert_eq!(
            x.zeros() >> lane & 1 == 1,
            a[lane].is_zero(),
            "{:x?}",
            a[lane]
        );
        assert_eq!(x.sub(&y).zeros() >> lane & 1 == 1, a[lane].equals(&b[lane]));
        let blended = x.blend(1 << lane, &y).to_elements();
        assert!(
            blended[lane].equals(&b[lane]) && (lane == 0 || blended[lane - 1].equals(&a[lane - 1]))
        );
    }
    let root = x.square().root().to_elements();
    for lane in 0..8 {
        assert!(root[lane].equals(&a[lane]) || root[lane].equals(&a[lane].negate()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_operation_is_that_of_plain_numbers(a in any_eight(), b in any_eight(), c in any_eight()) {
        if let Err(missing) = crate::Vector::detect() {
            println!("SKIPPED: {missing}");
            return Ok(());
        }
        // SAFETY: needed to call code for instructions that were just found.
        unsafe { check(&a, &b, &c) };
        // SAFETY: as above.
        unsafe { check(&a, &a, &a) };
    }
}
