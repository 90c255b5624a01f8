//! Signatures of what is no ticket: made and read as go-livepeer's nodes do.

mod support;

use support::{array, bytes, key, vectors};
use ticket::Signature;
use ticket::sender::LocalKey;
use ticket::signature::{HALF_ORDER, SignatureFault, signer_of_text};

/// A key that Ethereum's documentation is full of, and what its address is.
const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
const ADDRESS: &str = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23";

fn known_key() -> LocalKey {
    LocalKey::new(unhex(KEY).try_into().unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn requests_and_pings_are_signed_as_nodes_sign_them() {
    let key = known_key();
    assert_eq!(key.address().to_string(), ADDRESS);
    // A request to an orchestrator, a ping, and a segment: what a script of other libraries made of the rules.
    let flatten = [
        b"movie",
        &[0; 31][..],
        &[7],
        &unhex("5fe7452c698fde6fe0496780c2076883d5d2712f16c3838c54b0dd89c9902cd5"),
        b"c0a6517a93c717e7",
    ]
    .concat();
    for (text, expected) in [
        (
            ADDRESS.as_bytes(),
            "662f6ce6e23e70c7db9bdcc7b0d91bdf58d8743ba347ab0b9aa060154644c55122dd6afcc20a6cba9cab1d565a6b1dc36be9a9314e0317b943f8b0f1a726e2971b",
        ),
        (
            &[1, 2],
            "c136b086628f9146a75da9fda2158e51df0fd30a998b24835ad67eda3371bd734d214a770ab4342192a0960d77b10a95c8cbc50b666322e180eb4b7a7c23f7421c",
        ),
        (
            &flatten,
            "60edf94b1a899b40be4c4bce91e11a015aff7095e9a48a9825865b622bc5961f188092e15a7bdc6757f1176b968c8274523ea08bb4b21e0d372939b5ba3537d61c",
        ),
    ] {
        assert_eq!(hex::encode(key.sign_text(text).to_bytes()), expected);
        assert_eq!(signer_of_text(text, &unhex(expected)), Ok(key.address()));
    }
}

#[test]
fn the_handshakes_public_vector_is_met() {
    let file = vectors();
    let vector = &file["orchestrator_info_signature"];
    let key = LocalKey::new(array(&vector["private_key"])).unwrap();
    let text = vector["address_text"].as_str().unwrap();
    assert_eq!(key.address().checksummed(), text);
    let signature = bytes(&vector["signature"]);
    assert_eq!(key.sign_text(text.as_bytes()).to_bytes()[..], signature);
    assert_eq!(
        signer_of_text(text.as_bytes(), &signature),
        Ok(key.address())
    );
}

#[test]
fn a_text_is_read_as_strictly_as_a_ticket() {
    let key = key(5);
    let signed = key.sign_text(b"text").to_bytes();
    assert_eq!(signer_of_text(b"text", &signed), Ok(key.address()));
    assert_ne!(signer_of_text(b"texts", &signed), Ok(key.address()));
    let verdict = |change: fn(&mut Vec<u8>)| {
        let mut bytes = signed.to_vec();
        change(&mut bytes);
        signer_of_text(b"text", &bytes)
    };
    assert_eq!(verdict(Vec::clear), Err(SignatureFault::Length));
    assert_eq!(verdict(|it| it.push(0)), Err(SignatureFault::Length));
    // 0 and 1, which others write for 27 and 28.
    assert_eq!(verdict(|it| it[64] -= 27), Err(SignatureFault::V));
    assert_eq!(
        verdict(|it| {
            it[32..64].copy_from_slice(&HALF_ORDER);
            it[63] += 1;
        }),
        Err(SignatureFault::HighS)
    );
    assert_eq!(
        verdict(|it| it[..32].fill(0xff)),
        Err(SignatureFault::Unrecoverable)
    );
    let zeros = [&[0; 64][..], &[27]].concat();
    assert!(Signature::parse(&zeros).is_ok());
    assert_eq!(
        signer_of_text(b"text", &zeros),
        Err(SignatureFault::Unrecoverable)
    );
}
