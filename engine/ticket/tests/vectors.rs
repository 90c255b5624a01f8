//! The public vectors: what go-livepeer and the deployed contract were seen to do.

mod support;

use serde_json::Value;
use support::{array, bytes, each, vectors, verifiers, wei};
use ticket::address::{Address, Hash};
use ticket::amount::{PROBABILITY_MAX, Wei};
use ticket::float::Funds;
use ticket::keccak::keccak256;
use ticket::layout::{self, Digest, Ticket};
use ticket::offer::{self, NoOffer, Policy};
use ticket::sender::LocalKey;
use ticket::signature::{Signature, SignatureFault};
use ticket::verify::{Claim, Reference};
use ticket::wire::{Payment, PaymentView, PriceInfo, TicketParams};
use ticket::{ExpectedValue, Price};

fn ticket(inputs: &Value, expected: &Value) -> Ticket {
    Ticket {
        recipient: inputs["recipient"].as_str().unwrap().parse().unwrap(),
        sender: inputs["sender"].as_str().unwrap().parse().unwrap(),
        face_value: wei(&inputs["face_value_dec"]),
        win_prob: wei(&inputs["win_prob_dec"]),
        sender_nonce: u32::try_from(inputs["sender_nonce"].as_u64().unwrap()).unwrap(),
        recipient_rand_hash: Hash(array(&expected["recipient_rand_hash"])),
        creation_round: inputs["creation_round"].as_u64().unwrap(),
        creation_round_block_hash: Hash(array(&inputs["creation_round_block_hash"])),
    }
}

#[test]
fn tickets_are_laid_out_hashed_signed_and_drawn_as_the_contract_does() {
    let file = vectors();
    for vector in each(&file, "vectors") {
        let (name, inputs, expected) = (&vector["name"], &vector["inputs"], &vector["expected"]);
        let ticket = ticket(inputs, expected);
        assert_eq!(
            ticket.flatten().as_bytes(),
            bytes(&expected["flattened"]),
            "{name}"
        );
        assert_eq!(
            ticket.hash().0[..],
            bytes(&expected["ticket_hash"]),
            "{name}"
        );
        let digest = ticket.digest();
        assert_eq!(digest.0[..], bytes(&expected["eip191_digest"]), "{name}");

        let key = LocalKey::new(array(&inputs["sender_private_key"])).unwrap();
        assert_eq!(key.address(), ticket.sender, "{name}");
        assert_eq!(
            key.address().to_string(),
            inputs["sender_checksum"].as_str().unwrap()
        );
        let signature = key.sign(&digest);
        assert_eq!(
            signature.to_bytes()[..],
            bytes(&expected["signature"]),
            "{name}: RFC 6979"
        );

        let rand: [u8; 32] = array(&expected["recipient_rand"]);
        assert_eq!(keccak256(&rand), ticket.recipient_rand_hash.0, "{name}");
        let draw = layout::draw(&signature, &rand);
        assert_eq!(draw[..], bytes(&expected["win_hash"]), "{name}");
        assert_eq!(
            layout::wins(&draw, ticket.win_prob),
            expected["won"].as_bool().unwrap(),
            "{name}"
        );
        same_ratio(
            ExpectedValue::of(ticket.face_value, ticket.win_prob),
            &expected["ev"],
        );

        for mut verifier in verifiers() {
            let claim = Claim {
                digest,
                signature,
                sender: ticket.sender,
            };
            // Often enough that the sender has a table.
            let mut genuine = Vec::new();
            for _ in 0..4 {
                verifier.verify(
                    &[
                        claim,
                        Claim {
                            sender: ticket.recipient,
                            ..claim
                        },
                    ],
                    &mut genuine,
                );
            }
            assert_eq!(
                genuine,
                [true, false].repeat(4),
                "{name}, {}",
                verifier.name()
            );
        }
    }
}

/// The vectors give a reduced fraction.
fn same_ratio(value: ExpectedValue, ratio: &Value) {
    let (numerator, denominator) = ratio
        .as_str()
        .unwrap()
        .split_once('/')
        .unwrap_or((ratio.as_str().unwrap(), "1"));
    let wide = |text: &str| text.parse::<ruint::Uint<1024, 16>>().unwrap();
    let parts: ruint::Uint<1024, 16> = value.parts().to();
    assert_eq!(
        parts * wide(denominator),
        wide(numerator) * PROBABILITY_MAX.to::<ruint::Uint<1024, 16>>()
    );
}

#[test]
fn odd_signatures_meet_the_contracts_verdict() {
    let file = vectors();
    for vector in each(&file, "signature_vectors") {
        let name = vector["name"].as_str().unwrap();
        let digest = Digest(array(&vector["digest"]));
        let sender: Address = vector["sender"].as_str().unwrap().parse().unwrap();
        let accepts = vector["contract_accepts"].as_bool().unwrap();
        let revert = vector["contract_revert"].as_str();
        match Signature::parse(&bytes(&vector["signature"])) {
            Err(fault) => {
                assert!(!accepts, "{name}");
                assert_eq!(Some(fault.contract_text()), revert, "{name}");
                // go-livepeer says the same in its own words.
                assert_eq!(
                    Some(fault.to_string().as_str()),
                    vector["go_livepeer_error"].as_str(),
                    "{name}"
                );
            }
            Ok(signature) => {
                let signer = Reference::signer(&digest, &signature);
                let expected = vector["go_livepeer_recovered"]
                    .as_str()
                    .map(|text| text.parse().unwrap());
                assert_eq!(signer, expected, "{name}");
                let reason = match signer {
                    Some(signer) if signer == sender => None,
                    Some(_) => Some("invalid signature over ticket hash"),
                    None => Some(SignatureFault::Unrecoverable.contract_text()),
                };
                assert_eq!(reason, revert, "{name}");
                for mut verifier in verifiers() {
                    let (mut signers, mut genuine) = (Vec::new(), Vec::new());
                    verifier.recover(&[(digest, signature)], &mut signers);
                    verifier.verify(
                        &[Claim {
                            digest,
                            signature,
                            sender,
                        }],
                        &mut genuine,
                    );
                    assert_eq!(
                        (signers, genuine),
                        (vec![expected], vec![accepts]),
                        "{name}, {}",
                        verifier.name()
                    );
                }
            }
        }
    }
}

#[test]
fn payments_are_read_and_written_byte_for_byte() {
    let file = vectors();
    let find = |name: &str| {
        each(&file, "vectors")
            .find(|vector| vector["name"] == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    for vector in each(&file, "payment_header_vectors") {
        let name = vector["name"].as_str().unwrap();
        let wire = bytes(&vector["protobuf"]);
        let view = PaymentView::parse(&wire).unwrap();
        let tickets: Vec<_> = vector["tickets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| find(name.as_str().unwrap()))
            .collect();
        assert_eq!(view.tickets as usize, tickets.len(), "{name}");
        for (slip, ticket) in view.tickets().zip(&tickets) {
            assert_eq!(
                u64::from(slip.sender_nonce),
                ticket["inputs"]["sender_nonce"].as_u64().unwrap(),
                "{name}"
            );
            assert_eq!(
                slip.signature,
                bytes(&ticket["expected"]["signature"]),
                "{name}"
            );
        }
        let params = tickets.first().map(|vector| params(vector));
        assert_eq!(view.params, params, "{name}");
        let signed: Vec<_> = view
            .tickets()
            .map(|slip| (slip.sender_nonce, Signature::parse(slip.signature).unwrap()))
            .collect();
        let mut again = Vec::new();
        let payment = Payment {
            params: view.params.as_ref(),
            sender: view.sender,
            expected_price: view.expected_price,
            tickets: &signed,
        };
        payment.write(&mut again);
        assert_eq!(hex::encode(&again), hex::encode(&wire), "{name}");
    }
    for vector in each(&file, "ticket_params_proto_vectors") {
        let wire = bytes(&vector["protobuf"]);
        let parsed = TicketParams::parse(&wire).unwrap();
        let mut again = Vec::new();
        parsed.write(&mut again);
        assert_eq!(again, wire, "{}", vector["name"]);
    }
}

fn params(vector: &Value) -> TicketParams {
    let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
    let ticket = ticket(inputs, expected);
    TicketParams {
        recipient: ticket.recipient,
        face_value: ticket.face_value,
        win_prob: ticket.win_prob,
        recipient_rand_hash: ticket.recipient_rand_hash,
        seed: wei(&inputs["seed_dec"]),
        expiration_block: Wei::from(inputs["params_expiration_block"].as_u64().unwrap()),
        creation_round: i64::try_from(ticket.creation_round).unwrap(),
        creation_round_block_hash: ticket.creation_round_block_hash,
    }
}

#[test]
fn prices_are_reduced_as_go_does() {
    let file = vectors();
    for vector in each(&file, "vectors") {
        let inputs = &vector["inputs"];
        let number = |name: &str| inputs[name].as_i64().unwrap();
        let price = Price::new(number("price_per_unit"), number("pixels_per_unit")).unwrap();
        assert_eq!(
            price.to_wire(),
            (number("price_reduced_num"), number("price_reduced_den")),
            "{}",
            vector["name"]
        );
        let _ = PriceInfo::default();
    }
}

#[test]
fn face_values_and_probabilities_are_go_livepeers() {
    let file = vectors();
    for vector in each(&file, "face_value_vectors") {
        let policy = Policy {
            recipient: Address::ZERO,
            ticket_ev: wei(&vector["ev"]),
            face_value_max: wei(&vector["max_face_value"]),
            redeem_gas: vector["redeem_gas"].as_u64().unwrap(),
        };
        let float = match vector["max_float"].as_str().unwrap() {
            negative if negative.starts_with('-') => Wei::ZERO,
            _ => wei(&vector["max_float"]),
        };
        let face = offer::face_value(&policy, wei(&vector["gas_price"]), float);
        match vector["error"].as_str() {
            Some(text) => {
                assert_eq!(face, Err(NoOffer::Reserve), "{vector}");
                assert_eq!(NoOffer::Reserve.to_string(), text);
            }
            None => {
                assert_eq!(face, Ok(wei(&vector["face_value"])), "{vector}");
                assert_eq!(
                    offer::win_prob(policy.ticket_ev, face.unwrap()),
                    wei(&vector["win_prob"]),
                    "{vector}"
                );
            }
        }
    }
    for vector in each(&file, "win_prob_vectors") {
        // Where go-livepeer rounds by 64 bits of a remainder whose others are not zero, it and we differ; no vector is such a case.
        assert_eq!(
            offer::win_prob(wei(&vector["ev"]), wei(&vector["face_value"])),
            wei(&vector["win_prob_dec"]),
            "{vector}"
        );
    }
}

#[test]
fn floats_are_go_livepeers() {
    let file = vectors();
    for vector in each(&file, "max_float_vectors") {
        let number = |name: &str| Wei::from(vector[name].as_u64().unwrap());
        let funds = Funds {
            deposit: number("deposit"),
            reserve: number("funds_remaining"),
            claimed_in_round: number("claimed_in_current_round"),
            claimed_by_us: number("claimed_by_me"),
            pool_size: vector["pool_size"].as_u64().unwrap(),
            withdraw_round: 0,
        };
        let signed = |name: &str| match vector[name].as_i64().unwrap() {
            negative if negative < 0 => Err(Wei::from(negative.unsigned_abs())),
            other => Ok(Wei::from(other.unsigned_abs())),
        };
        let pending = number("pending");
        assert_eq!(funds.max_float(pending), signed("max_float"), "{vector}");
        assert_eq!(
            funds.available(pending),
            signed("available_funds").unwrap_or(Wei::ZERO),
            "{vector}"
        );
    }
}
