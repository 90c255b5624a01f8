//! The reference: libsecp256k1 recovers the key, one signature at a time.

use alloc::vec::Vec;

use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use super::{Claim, Verifier, address_of};
use crate::address::Address;
use crate::curve::Point;
use crate::keccak::{Permute, Plain, State};
use crate::layout::Digest;
use crate::signature::Signature;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Reference {
    /// The key that made this signature, by the rule of Ethereum's precompile for a `v` of 27 or 28: the point's x coordinate is r
    /// itself. `None` where no key can have made it.
    #[must_use]
    pub fn key(digest: &Digest, signature: &Signature) -> Option<Point> {
        let mut compact = [0; 64];
        compact[..32].copy_from_slice(signature.r());
        compact[32..].copy_from_slice(signature.s());
        let parity = match signature.is_odd() {
            false => RecoveryId::Zero,
            true => RecoveryId::One,
        };
        let signature = RecoverableSignature::from_compact(&compact, parity).ok()?;
        let key = signature
            .recover_ecdsa(Message::from_digest(digest.0))
            .ok()?;
        let [_form, xy @ ..] = key.serialize_uncompressed();
        let (x, y) = xy.split_first_chunk()?;
        Point::from_be_bytes(x, y.first_chunk()?)
    }

    /// Whose it is.
    #[must_use]
    pub fn signer(digest: &Digest, signature: &Signature) -> Option<Address> {
        Self::key(digest, signature).map(|key| address_of(&key))
    }
}

impl Permute for Reference {
    fn permute(&mut self, states: &mut [State]) {
        Plain.permute(states);
    }
}

impl Verifier for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn verify(&mut self, claims: &[Claim], genuine: &mut Vec<bool>) {
        let signers = claims
            .iter()
            .map(|claim| Self::signer(&claim.digest, &claim.signature));
        genuine.extend(
            signers
                .zip(claims)
                .map(|(signer, claim)| signer == Some(claim.sender)),
        );
    }

    fn recover(&mut self, signatures: &[(Digest, Signature)], signers: &mut Vec<Option<Address>>) {
        signers.extend(
            signatures
                .iter()
                .map(|(digest, signature)| Self::signer(digest, signature)),
        );
    }
}
