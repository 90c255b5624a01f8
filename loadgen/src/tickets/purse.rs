//! A sender: its key, what it pays for, and the payments that it signs.
//!
//! The key follows from the seed and the sender's number, so a later run with the same seed is the same senders. What it pays for is the
//! session that the orchestrator gave it: the account is that session's, and stays it when the nonces of its parameters are used up and
//! others are offered, which come with a token of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticket::amount::ExpectedValue;
use ticket::sender::PaymentSession;
use ticket::{Address, Signature};

use super::plan::Kind;
use crate::failure::Failure;
use crate::gateway::{Identity, Offer, credentials};

/// A sender.
pub(super) struct Purse {
    identity: Identity,
    session: Option<PaymentSession>,
    /// Its account's name, once it has been offered something.
    manifest_id: String,
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
        Self {
            identity: Identity::seeded(seed, number),
            session: None,
            manifest_id: String::new(),
            rng: fastrand::Rng::with_seed(seed ^ u64::from(number) << 32),
            bytes: Vec::new(),
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn address(&self) -> Address {
        self.identity.address()
    }

    pub(super) fn manifest_id(&self) -> &str {
        &self.manifest_id
    }

    /// Whether there are nonces for so many more tickets.
    pub(super) fn has_left(&self, tickets: u32) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.left() >= tickets)
    }

    /// Goes on under another offer. Gives what is paid for under it, as the header has it: `SegData` in base64.
    pub(super) fn take_offer(&mut self, offer: &Offer) -> String {
        match &mut self.session {
            Some(session) => session.renew(offer.accepted, offer.price),
            None => {
                let session = PaymentSession::new(self.address(), offer.accepted, offer.price);
                self.session = Some(session);
                self.manifest_id.clone_from(&offer.token.session_id);
            }
        }
        credentials(&self.identity, &self.manifest_id, &offer.token, None)
    }

    /// Signs a payment, or pretends to.
    pub(super) fn pay(&mut self, tickets: u32, kind: Kind) -> Result<Signed, Failure> {
        let address = self.address();
        let Some(session) = &mut self.session else {
            return Err(Failure::new("a sender was to pay before it had an offer"));
        };
        let unsigned = session.tickets(tickets).map_err(|exhausted| {
            Failure::new(format!(
                "sender {address}: {exhausted}, and the orchestrator offered the same again"
            ))
        })?;
        let value = session.accepted().value();
        let key = self.identity.key();
        self.bytes.clear();
        match kind {
            Kind::Good => unsigned.write_signed(key, &mut self.bytes),
            Kind::Forged => {
                let forged: Vec<_> = unsigned
                    .tickets()
                    .iter()
                    .map(|(nonce, digest)| (*nonce, forge(&key.sign(digest), &mut self.rng)))
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
    use ticket::keccak::keccak256;
    use ticket::layout::Digest;
    use ticket::verify::{Claim, Reference, Verifier as _};

    use super::*;

    #[test]
    fn no_forgery_is_the_senders() {
        let (identity, mut rng) = (Identity::seeded(1, 0), fastrand::Rng::with_seed(1));
        let key = identity.key();
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
