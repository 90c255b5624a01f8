//! A sender: its key, what it pays for, and the payments that it signs.
//!
//! Key and purpose follow from the seed and the sender's number, so a later run with the same seed pays into the same accounts.
//! Nonces do not go on from run to run: each begins with parameters of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticket::amount::ExpectedValue;
use ticket::keccak::keccak256;
use ticket::sender::{LocalKey, PaymentSession};
use ticket::wire::put_bytes;
use ticket::{Address, Signature};

use super::offer::Offer;
use super::plan::Kind;
use crate::failure::Failure;

/// A sender.
pub(super) struct Purse {
    key: LocalKey,
    manifest_id: String,
    /// What it pays for as the header has it: `SegData` in base64.
    purpose: String,
    session: Option<PaymentSession>,
    rng: fastrand::Rng,
    bytes: Vec<u8>,
}

/// A payment, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// In base64, as the header has it.
    pub(super) text: String,
    /// What each of its tickets is worth.
    pub(super) value: ExpectedValue,
}

impl Purse {
    pub(super) fn new(seed: u64, number: u32) -> Self {
        let manifest_id = format!("loadgen-{seed}-{number}");
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, manifest_id.as_bytes());
        Self {
            key: key(seed, number),
            manifest_id,
            purpose: BASE64.encode(&bytes),
            session: None,
            rng: fastrand::Rng::with_seed(seed ^ u64::from(number) << 32),
            bytes,
        }
    }

    pub(super) fn address(&self) -> Address {
        self.key.address()
    }

    pub(super) fn manifest_id(&self) -> &str {
        &self.manifest_id
    }

    pub(super) fn purpose(&self) -> &str {
        &self.purpose
    }

    /// Whether there are nonces for so many more tickets.
    pub(super) fn has_left(&self, tickets: u32) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.left() >= tickets)
    }

    /// Goes on under another offer.
    pub(super) fn take_offer(&mut self, offer: &Offer) {
        match &mut self.session {
            Some(session) => session.renew(offer.accepted, offer.price),
            None => {
                let session = PaymentSession::new(self.address(), offer.accepted, offer.price);
                self.session = Some(session);
            }
        }
    }

    /// Signs a payment, or pretends to.
    pub(super) fn pay(&mut self, tickets: u32, kind: Kind) -> Result<Signed, Failure> {
        let Some(session) = &mut self.session else {
            return Err(Failure::new("a sender was to pay before it had an offer"));
        };
        let unsigned = session.tickets(tickets).map_err(|exhausted| {
            Failure::new(format!(
                "sender {}: {exhausted}, and the orchestrator offered the same again",
                self.key.address()
            ))
        })?;
        let value = session.accepted().value();
        self.bytes.clear();
        match kind {
            Kind::Good => unsigned.write_signed(&self.key, &mut self.bytes),
            Kind::Forged => {
                let forged: Vec<_> = unsigned
                    .tickets()
                    .iter()
                    .map(|(nonce, digest)| (*nonce, forge(&self.key.sign(digest), &mut self.rng)))
                    .collect();
                unsigned.write(&forged, &mut self.bytes);
            }
        }
        Ok(Signed {
            text: BASE64.encode(&self.bytes),
            value,
        })
    }
}

/// The private key of a sender: a hash, which is a key unless all luck fails, and then the next one.
fn key(seed: u64, number: u32) -> LocalKey {
    let mut message = b"loadgen tickets ".to_vec();
    message.extend_from_slice(&seed.to_be_bytes());
    message.extend_from_slice(&number.to_be_bytes());
    loop {
        let hash = keccak256(&message);
        if let Ok(key) = LocalKey::new(hash) {
            return key;
        }
        message = hash.to_vec();
    }
}

/// The same with one bit changed: it has a signature's form, and whoever it recovers to is not the sender.
fn forge(signature: &Signature, rng: &mut fastrand::Rng) -> Signature {
    let (mut r, mut s, mut is_odd) = (*signature.r(), *signature.s(), signature.is_odd());
    let bit = 1 << rng.u8(..8);
    match rng.u8(..3) {
        0 => r[rng.usize(..32)] ^= bit,
        // Not of the first byte, so that it stays a low one.
        1 => s[rng.usize(8..32)] ^= bit,
        _ => is_odd = !is_odd,
    }
    Signature::of_parts(r, s, is_odd)
        .or_else(|_| Signature::of_parts(*signature.r(), *signature.s(), !is_odd))
        .unwrap_or(*signature)
}

#[cfg(test)]
mod tests {
    use ticket::layout::Digest;
    use ticket::verify::{Claim, Reference, Verifier as _};

    use super::*;

    #[test]
    fn a_seed_gives_the_same_senders_again() {
        let address = |seed, number| Purse::new(seed, number).address();
        assert_eq!(address(1, 0), address(1, 0));
        let all = [address(1, 0), address(1, 1), address(2, 0), address(2, 1)];
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), 4);
    }

    #[test]
    fn no_forgery_is_the_senders() {
        let (key, mut rng) = (key(1, 0), fastrand::Rng::with_seed(1));
        let mut claims = Vec::new();
        for n in 0..600_u64 {
            let digest = Digest(keccak256(&n.to_be_bytes()));
            let signature = key.sign(&digest);
            claims.push(Claim {
                digest,
                signature: forge(&signature, &mut rng),
                sender: key.address(),
            });
        }
        let mut genuine = Vec::new();
        Reference.verify(&claims, &mut genuine);
        assert_eq!(genuine, [false; 600]);
    }
}
