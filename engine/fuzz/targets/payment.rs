//! The bytes of a payment. No bytes do harm, and whatever we take, a general reader takes as the same.

#![no_main]

#[path = "../../ticket/tests/net/mod.rs"]
mod net;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use ticket::SessionId;
use ticket::address::{Address, Hash};
use ticket::amount::MinBytes;
use ticket::received::{Cursor, Parsed, Received};
use ticket::wire::{PaymentView, Purpose, TicketParams};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(view) = PaymentView::parse(bytes) {
        let theirs = net::Payment::decode(bytes).expect("we are the stricter of the two");
        agree(&view, &theirs);
    }
    if let Ok(params) = TicketParams::parse(bytes) {
        let mut written = Vec::new();
        params.write(&mut written);
        assert_eq!(TicketParams::parse(&written), Ok(params));
    }
    if let Ok(purpose) = Purpose::parse(bytes) {
        let _ = purpose.ids();
    }
    let name = SessionId::new("name").expect("a name");
    match Received::parse(bytes.to_vec(), name, name) {
        Parsed::Payment(payment) => {
            let mut cursor = Cursor::default();
            let slips = payment.slips(&mut cursor).count();
            assert_eq!(slips, payment.tickets() as usize);
            assert_eq!(payment.slips(&mut cursor).count(), 0);
            assert!(slips > 0);
        }
        Parsed::Nothing(_) | Parsed::Refused(..) => {}
    }
});

fn agree(ours: &PaymentView<'_>, theirs: &net::Payment) {
    assert_eq!(ours.sender, Address::from_wire(&theirs.sender));
    assert_eq!(ours.has_expiration, theirs.expiration_params.is_some());
    let tickets = ours
        .tickets()
        .map(|ticket| (ticket.sender_nonce, ticket.signature));
    let expected = theirs.ticket_sender_params.iter();
    assert!(tickets.eq(expected.map(|ticket| (ticket.sender_nonce, &ticket.sig[..]))));
    assert_eq!(ours.tickets as usize, theirs.ticket_sender_params.len());
    let price = ours
        .expected_price
        .map(|price| (price.price_per_unit, price.pixels_per_unit));
    let expected = theirs.expected_price.as_ref();
    assert_eq!(
        price,
        expected.map(|price| (price.price_per_unit, price.pixels_per_unit))
    );
    assert_eq!(ours.params.is_some(), theirs.ticket_params.is_some());
    let (Some(params), Some(expected)) = (&ours.params, &theirs.ticket_params) else {
        return;
    };
    assert_eq!(params.recipient, Address::from_wire(&expected.recipient));
    for (bytes, theirs) in [
        (params.face_value, &expected.face_value),
        (params.win_prob, &expected.win_prob),
        (params.seed, &expected.seed),
        (params.expiration_block, &expected.expiration_block),
    ] {
        assert_eq!(Some(bytes), MinBytes::parse(theirs));
    }
    assert_eq!(
        params.recipient_rand_hash,
        Hash::from_wire(&expected.recipient_rand_hash)
    );
    let expiration = theirs.expiration_params.clone().unwrap_or_default();
    assert_eq!(params.creation_round, expiration.creation_round);
    let hash = Hash::from_wire(&expiration.creation_round_block_hash);
    assert_eq!(params.creation_round_block_hash, hash);
}
