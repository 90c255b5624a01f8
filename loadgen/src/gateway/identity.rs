//! Who a gateway is: a key, and what it signs beside tickets.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::Message as _;
use proto::net::{AuthToken, Capabilities, OrchestratorRequest, SegData};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ticket::keccak::keccak256;
use ticket::sender::LocalKey;
use ticket::{Address, Signature};

/// An account that pays.
#[derive(Debug, Clone)]
pub struct Identity {
    key: LocalKey,
    /// Over its own address: the same in every request, as a stock gateway's.
    introduction: Signature,
}

impl Identity {
    /// Of a key.
    pub fn new(key: LocalKey) -> Self {
        let introduction = key.sign_text(key.address().checksummed().as_bytes());
        Self { key, introduction }
    }

    /// One whose key follows from a run's seed, so that a later run with the same seed is the same senders.
    pub fn seeded(seed: u64, number: u32) -> Self {
        // A hash is a key unless all luck fails, and then the next one is.
        let mut message = b"loadgen tickets ".to_vec();
        message.extend_from_slice(&seed.to_be_bytes());
        message.extend_from_slice(&number.to_be_bytes());
        loop {
            let hash = keccak256(&message);
            if let Ok(key) = LocalKey::new(hash) {
                return Self::new(key);
            }
            message = hash.to_vec();
        }
    }

    /// Whose it is.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// What signs its tickets.
    pub fn key(&self) -> &LocalKey {
        &self.key
    }

    /// Asks for an orchestrator's terms: for a job that needs `capabilities`, or for none.
    pub fn request(&self, capabilities: Option<Capabilities>) -> OrchestratorRequest {
        OrchestratorRequest {
            address: self.address().0.to_vec(),
            sig: self.introduction.to_bytes().to_vec(),
            capabilities,
            ignore_capacity_check: false,
        }
    }

    /// The same of a gateway without a chain, who is nobody.
    pub fn anonymous_request(capabilities: Option<Capabilities>) -> OrchestratorRequest {
        OrchestratorRequest {
            address: Address::ZERO.0.to_vec(),
            capabilities,
            ..OrchestratorRequest::default()
        }
    }
}

/// A private key as people write it, which nothing here writes back: where it is shown, its address is.
#[derive(Debug, Clone)]
pub struct PrivateKey(LocalKey);

impl PrivateKey {
    /// Whose it is.
    pub fn identity(&self) -> Identity {
        Identity::new(self.0.clone())
    }
}

impl FromStr for PrivateKey {
    type Err = String;

    /// 64 hexadecimal digits, with or without 0x.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        let mut bytes = [0; 32];
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let is_whole = digits.len() == 2 * bytes.len()
            && bytes.iter_mut().zip(digits.chunks(2)).all(|(byte, pair)| {
                let both = digit(pair[0]).zip(digit(pair[1]));
                *byte = both.map_or(0, |(high, low)| (high << 4 | low) as u8);
                both.is_some()
            });
        match is_whole {
            true => LocalKey::new(bytes)
                .map(Self)
                .map_err(|why| why.to_string()),
            false => Err("a private key is 64 hexadecimal digits".to_owned()),
        }
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.address())
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The header `Livepeer-Segment` of a payment without a segment: what is paid for, under which right, and that it is us who say so.
pub fn credentials(
    identity: &Identity,
    manifest_id: &str,
    token: &AuthToken,
    capabilities: Option<Capabilities>,
) -> String {
    let hash = keccak256(b"");
    let signed = flatten(manifest_id, 0, &hash);
    let creds = SegData {
        manifest_id: manifest_id.as_bytes().to_vec(),
        hash: hash.to_vec(),
        profiles: b"invalid".to_vec(),
        sig: identity.key.sign_text(&signed).to_bytes().to_vec(),
        capabilities,
        auth_token: Some(token.clone()),
        ..SegData::default()
    };
    BASE64.encode(creds.encode_to_vec())
}

/// What is signed of a `SegData` without profiles.
fn flatten(manifest_id: &str, seq: u64, hash: &[u8; 32]) -> Vec<u8> {
    let mut bytes = manifest_id.as_bytes().to_vec();
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(hash);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0x2c7536E3605D9C16a7a3D7b1898e529396a65c23`, whose signatures an independent program has made.
    fn known() -> Identity {
        Identity::new(
            LocalKey::new(bytes(
                "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
            ))
            .unwrap(),
        )
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
    }

    #[test]
    fn an_introduction_is_what_go_livepeer_signs() {
        let identity = known();
        assert_eq!(
            identity.address().checksummed(),
            "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
        );
        let request = identity.request(None);
        assert_eq!(
            request.sig,
            bytes::<65>(
                "662f6ce6e23e70c7db9bdcc7b0d91bdf58d8743ba347ab0b9aa060154644c55122dd6afcc20a6cba9cab1d565a6b1dc36be9a9314e0317b943f8b0f1a726e2971b"
            )
        );
        let nobody = Identity::anonymous_request(None);
        assert_eq!((nobody.address, nobody.sig), (vec![0; 20], Vec::new()));
    }

    #[test]
    fn credentials_are_signed_over_what_go_livepeer_flattens() {
        let hash = bytes("5fe7452c698fde6fe0496780c2076883d5d2712f16c3838c54b0dd89c9902cd5");
        // Of a segment with two profiles, whose names follow.
        let signed = [&flatten("movie", 7, &hash)[..], b"c0a6517a93c717e7"].concat();
        assert_eq!(signed.len(), 85);
        assert_eq!(
            known().key.sign_text(&signed).to_bytes(),
            bytes::<65>(
                "60edf94b1a899b40be4c4bce91e11a015aff7095e9a48a9825865b622bc5961f188092e15a7bdc6757f1176b968c8274523ea08bb4b21e0d372939b5ba3537d61c"
            )
        );
    }

    #[test]
    fn credentials_echo_the_token_and_name_what_is_paid_for() {
        let token = AuthToken {
            token: vec![1, 2],
            session_id: "c0ffee".to_owned(),
            expiration: 7,
        };
        let text = credentials(&known(), "35_a", &token, None);
        let creds = SegData::decode(&BASE64.decode(text).unwrap()[..]).unwrap();
        assert_eq!(
            (&creds.manifest_id[..], &creds.profiles[..]),
            (&b"35_a"[..], &b"invalid"[..])
        );
        assert_eq!(creds.auth_token, Some(token));
        assert_eq!(creds.hash, keccak256(b""));
        assert_eq!(creds.sig.len(), 65);
    }

    #[test]
    fn a_private_key_is_read_and_never_shown() {
        let text = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
        let key: PrivateKey = text.parse().unwrap();
        assert_eq!(key.identity().address(), known().address());
        let shown = format!("{key:?} {}", serde_json::to_string(&key).unwrap());
        assert!(
            shown.contains("0x2c75") && !shown.contains("4c0883"),
            "{shown}"
        );
        for wrong in [
            "",
            "0x12",
            &text.replace('4', "x"),
            &"0".repeat(64),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<PrivateKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_senders_again() {
        let address = |seed, number| Identity::seeded(seed, number).address();
        assert_eq!(address(1, 0), address(1, 0));
        let all = [address(1, 0), address(1, 1), address(2, 0), address(2, 1)];
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), 4);
    }
}
