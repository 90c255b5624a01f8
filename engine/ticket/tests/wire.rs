//! The messages against prost, a general reader and writer of Protocol Buffers.

mod net;

use proptest::prelude::*;
use prost::Message;
use ticket::address::{Address, Hash};
use ticket::amount::MinBytes;
use ticket::nonces::NONCES_MAX;
use ticket::signature::Signature;
use ticket::wire::{self, Malformed, PaymentView, TicketView};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=most)
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(-1),
        Just(i64::MIN),
        Just(i64::MAX),
        any::<i64>()
    ]
}

prop_compose! {
    fn any_expiration()(creation_round in integer(), creation_round_block_hash in bytes(40)) -> net::TicketExpirationParams {
        net::TicketExpirationParams { creation_round, creation_round_block_hash }
    }
}

prop_compose! {
    fn any_params()(
        recipient in bytes(24), face_value in bytes(33), win_prob in bytes(32), recipient_rand_hash in bytes(40),
        seed in bytes(32), expiration_block in bytes(9), expiration_params in proptest::option::weighted(0.2, any_expiration()),
    ) -> net::TicketParams {
        net::TicketParams { recipient, face_value, win_prob, recipient_rand_hash, seed, expiration_block, expiration_params }
    }
}

prop_compose! {
    fn any_payment()(
        ticket_params in proptest::option::weighted(0.9, any_params()),
        sender in bytes(24),
        expiration_params in proptest::option::weighted(0.9, any_expiration()),
        tickets in proptest::collection::vec((any::<u32>(), bytes(70)), 0..5),
        price in proptest::option::weighted(0.9, (integer(), integer())),
    ) -> net::Payment {
        net::Payment {
            ticket_params,
            sender,
            expiration_params,
            ticket_sender_params: tickets.into_iter().map(|(sender_nonce, sig)| net::TicketSenderParams { sender_nonce, sig }).collect(),
            expected_price: price.map(|(price_per_unit, pixels_per_unit)| net::PriceInfo { price_per_unit, pixels_per_unit }),
        }
    }
}

/// What we must read from bytes that prost reads as `payment`.
fn agree(view: &PaymentView<'_>, payment: &net::Payment) -> Result<(), TestCaseError> {
    prop_assert_eq!(view.sender, Address::from_wire(&payment.sender));
    prop_assert_eq!(view.has_expiration, payment.expiration_params.is_some());
    prop_assert_eq!(view.tickets as usize, payment.ticket_sender_params.len());
    for (ours, theirs) in view.tickets().zip(&payment.ticket_sender_params) {
        prop_assert_eq!(
            ours,
            TicketView {
                sender_nonce: theirs.sender_nonce,
                signature: &theirs.sig
            }
        );
    }
    prop_assert_eq!(view.tickets().count(), payment.ticket_sender_params.len());
    let price = payment
        .expected_price
        .as_ref()
        .map(|price| (price.price_per_unit, price.pixels_per_unit));
    prop_assert_eq!(
        view.expected_price
            .map(|price| (price.price_per_unit, price.pixels_per_unit)),
        price
    );
    prop_assert_eq!(view.params.is_some(), payment.ticket_params.is_some());
    if let (Some(ours), Some(theirs)) = (&view.params, &payment.ticket_params) {
        prop_assert_eq!(ours.recipient, Address::from_wire(&theirs.recipient));
        prop_assert_eq!(Some(ours.face_value), MinBytes::parse(&theirs.face_value));
        prop_assert_eq!(Some(ours.win_prob), MinBytes::parse(&theirs.win_prob));
        prop_assert_eq!(
            ours.recipient_rand_hash,
            Hash::from_wire(&theirs.recipient_rand_hash)
        );
        prop_assert_eq!(Some(ours.seed), MinBytes::parse(&theirs.seed));
        prop_assert_eq!(
            Some(ours.expiration_block),
            MinBytes::parse(&theirs.expiration_block)
        );
        let expiration = payment.expiration_params.clone().unwrap_or_default();
        prop_assert_eq!(ours.creation_round, expiration.creation_round);
        prop_assert_eq!(
            ours.creation_round_block_hash,
            Hash::from_wire(&expiration.creation_round_block_hash)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_prost_writes_we_read_alike(payment in any_payment()) {
        let is_wide = payment.ticket_params.as_ref().is_some_and(|params| params.face_value.len() > 32);
        match PaymentView::parse(&payment.encode_to_vec()) {
            Ok(view) => {
                prop_assert!(!is_wide);
                agree(&view, &payment)?;
            }
            Err(how) => prop_assert!(is_wide && how == Malformed::TooWide { field: 2 }, "{how}"),
        }
    }

    #[test]
    fn damaged_bytes_are_read_as_prost_does_or_refused(payment in any_payment(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = payment.encode_to_vec();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Ok(view) = PaymentView::parse(&bytes) {
            // We are the stricter of the two: whatever we take, prost takes, as the same.
            let theirs = net::Payment::decode(&bytes[..]);
            prop_assert!(theirs.is_ok(), "prost says {}", theirs.unwrap_err());
            agree(&view, &theirs.unwrap())?;
        }
    }

    #[test]
    fn noise_is_read_as_prost_does_or_refused(bytes in bytes(200)) {
        if let Ok(view) = PaymentView::parse(&bytes) {
            agree(&view, &net::Payment::decode(&bytes[..]).expect("prost takes it as well"))?;
        }
    }

    #[test]
    fn what_we_write_prost_reads_and_writes_alike(
        params in any_params(), sender in any::<[u8; 20]>(), price in (integer(), integer()), nonces in proptest::collection::vec(any::<u32>(), 0..4),
    ) {
        let parsed = wire::TicketParams::parse(&net::TicketParams { face_value: Vec::new(), ..params }.encode_to_vec()).unwrap();
        let signature = Signature::of_parts([7; 32], [1; 32], true).unwrap();
        let tickets: Vec<_> = nonces.into_iter().map(|nonce| (nonce, signature)).collect();
        let mut bytes = Vec::new();
        wire::Payment {
            params: Some(&parsed),
            sender: Address(sender),
            expected_price: Some(wire::PriceInfo { price_per_unit: price.0, pixels_per_unit: price.1 }),
            tickets: &tickets,
        }
        .write(&mut bytes);
        let theirs = net::Payment::decode(&bytes[..]).unwrap();
        prop_assert_eq!(theirs.encode_to_vec(), &bytes[..]);
        let view = PaymentView::parse(&bytes).unwrap();
        agree(&view, &theirs)?;
        prop_assert_eq!(view.params, Some(parsed));

        bytes.clear();
        parsed.write(&mut bytes);
        prop_assert_eq!(net::TicketParams::decode(&bytes[..]).unwrap().encode_to_vec(), &bytes[..]);
        prop_assert_eq!(wire::TicketParams::parse(&bytes), Ok(parsed));
    }
}

#[test]
fn where_general_readers_differ_we_refuse() {
    let expiration = net::TicketExpirationParams {
        creation_round: 1,
        ..Default::default()
    };
    let once = net::Payment {
        expiration_params: Some(expiration.clone()),
        ..Default::default()
    }
    .encode_to_vec();
    // A repeated message is merged by some and replaced by others.
    assert_eq!(
        PaymentView::parse(&[&once[..], &once].concat()),
        Err(Malformed::Repeated { field: 3 })
    );
    // A known field of another type is an error to some and unknown to others.
    assert_eq!(
        PaymentView::parse(&[2 << 3, 1]),
        Err(Malformed::WireType { field: 2 })
    );
    assert_eq!(
        PaymentView::parse(&[0, 0]),
        Err(Malformed::Tag),
        "no field has number 0"
    );
    assert_eq!(
        PaymentView::parse(&[9 << 3 | 3]),
        Err(Malformed::Tag),
        "groups"
    );
    assert_eq!(PaymentView::parse(&[0xff; 11]), Err(Malformed::Varint));
    assert_eq!(
        PaymentView::parse(&[2 << 3 | 2, 5, 1]),
        Err(Malformed::Truncated)
    );
    // Unknown fields of every type are skipped.
    let unknown = [
        &[15 << 3 | 1][..],
        &[0; 8],
        &[14 << 3 | 5],
        &[0; 4],
        &[13 << 3, 1],
        &[12 << 3 | 2, 0],
    ]
    .concat();
    assert!(PaymentView::parse(&unknown).is_ok());
}

#[test]
fn more_tickets_than_can_be_good_are_refused_before_any_is_looked_at() {
    let payment = |tickets: u32| {
        net::Payment {
            ticket_sender_params: vec![net::TicketSenderParams::default(); tickets as usize],
            ..Default::default()
        }
        .encode_to_vec()
    };
    assert_eq!(
        PaymentView::parse(&payment(NONCES_MAX)).unwrap().tickets,
        NONCES_MAX
    );
    assert_eq!(
        PaymentView::parse(&payment(NONCES_MAX + 1)),
        Err(Malformed::TooManyTickets)
    );
}
