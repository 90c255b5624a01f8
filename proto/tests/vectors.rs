//! Messages against bytes that go's library wrote: the vectors beside `engine/ticket`.

#![forbid(unsafe_code)]

use proto::Message;
use proto::net;
use serde_json::Value;

fn vectors(key: &str) -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../engine/ticket/tests/ticket-vectors.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let list = all[key].as_array().expect("a list").clone();
    assert!(!list.is_empty(), "{key}");
    list
}

fn bytes(vector: &Value) -> Vec<u8> {
    let text = vector["protobuf"].as_str().expect("bytes");
    hex::decode(text.trim_start_matches("0x")).expect("hex")
}

/// What go wrote is read, nothing of it unknown, and written as it was.
fn same<M: Message + Default>(key: &str) -> Vec<M> {
    let read = |vector: &Value| {
        let theirs = bytes(vector);
        let message = M::decode(&theirs[..]).expect("a message");
        assert_eq!(message.encode_to_vec(), theirs, "{}", vector["name"]);
        message
    };
    vectors(key).iter().map(read).collect()
}

#[test]
fn payments_are_gos_byte_for_byte() {
    for payment in same::<net::Payment>("payment_header_vectors") {
        assert_eq!(payment.sender.len(), 20);
    }
}

#[test]
fn ticket_params_are_gos_byte_for_byte() {
    for params in same::<net::TicketParams>("ticket_params_proto_vectors") {
        assert_eq!(params.recipient.len(), 20);
        // And in their place within an OrchestratorInfo: field 2, embedded.
        let inner = params.encode_to_vec();
        let info = net::OrchestratorInfo {
            ticket_params: Some(params),
            ..Default::default()
        };
        let mut expected = vec![0x12];
        prost_length(inner.len(), &mut expected);
        expected.extend_from_slice(&inner);
        assert_eq!(info.encode_to_vec(), expected);
    }
}

#[test]
fn the_redeemers_tickets_are_gos_byte_for_byte() {
    for ticket in same::<net::Ticket>("redeemer_proto_vectors") {
        assert_eq!(ticket.recipient_rand.len(), 32);
    }
}

#[test]
fn an_auth_token_has_gos_shape() {
    let vector = &{
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../engine/ticket/tests/ticket-vectors.json"
        );
        let text = std::fs::read_to_string(path).expect("the vectors");
        serde_json::from_str::<Value>(&text).expect("JSON")["auth_token_vector"].clone()
    };
    let token = vector["token"].as_str().expect("a token");
    let token = hex::decode(token.trim_start_matches("0x")).expect("hex");
    let message = net::AuthToken {
        token: token.clone(),
        session_id: vector["session_id"].as_str().expect("an id").to_owned(),
        expiration: vector["expiration"].as_i64().expect("seconds"),
    };
    // 1: 32 bytes; 2: eight characters; 3: 1 766 000 000 as a varint, seven bits a byte.
    let mut expected = vec![0x0a, 32];
    expected.extend_from_slice(&token);
    expected.extend_from_slice(b"\x12\x08abcd1234\x18");
    let mut rest = 1_766_000_000_u64;
    while rest > 0x7f {
        expected.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    expected.push(rest as u8);
    assert_eq!(message.encode_to_vec(), expected);
}

#[test]
fn capabilities_are_packed() {
    // The default set of wire facts: 0 to 12, 14 and 26; one word, packed; a capacity each; constraints with field 5.
    let message = net::Capabilities {
        bitstring: vec![0x0400_5fff],
        capacities: [(35, 2)].into(),
        version: "0.9.1".to_owned(),
        constraints: Some(net::capabilities::Constraints {
            min_version: String::new(),
            per_capability: [(
                35,
                net::capabilities::CapabilityConstraints {
                    models: [(
                        "m".to_owned(),
                        net::capabilities::capability_constraints::ModelConstraint {
                            warm: true,
                            capacity: 1,
                            runner_version: String::new(),
                            capacity_in_use: 3,
                        },
                    )]
                    .into(),
                },
            )]
            .into(),
        }),
        ..Default::default()
    };
    let expected = [
        &[0x0a, 4, 0xff, 0xbf, 0x81, 0x20][..], // 1: packed, one varint
        &[0x1a, 4, 0x08, 35, 0x10, 2],          // 3: an entry of the map
        b"\x22\x050.9.1",                       // 4
        &[0x2a, 19],                            // 5: Constraints
        &[0x12, 17, 0x08, 35, 0x12, 13],        //   2: entry {1: 35, 2: CapabilityConstraints}
        &[0x0a, 11, 0x0a, 1, b'm', 0x12, 6],    //     1: entry {1: "m", 2: ModelConstraint}
        &[0x08, 1, 0x10, 1, 0x20, 3],           //       1 warm, 2 capacity, 4 capacityInUse
    ]
    .concat();
    let ours = message.encode_to_vec();
    assert_eq!(hex::encode(&ours), hex::encode(expected));
    assert_eq!(net::Capabilities::decode(&ours[..]), Ok(message));
}

fn prost_length(mut length: usize, into: &mut Vec<u8>) {
    while length > 0x7f {
        into.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    into.push(length as u8);
}
