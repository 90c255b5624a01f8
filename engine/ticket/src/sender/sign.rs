//! A key at hand.

use core::fmt;

use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};

use crate::address::Address;
use crate::layout::Digest;
use crate::signature::Signature;

/// An account's private key.
#[derive(Clone)]
pub struct LocalKey {
    key: SecretKey,
    address: Address,
}

/// The bytes are no private key: zero, or not below the curve's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKey;

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a private key is a number from 1 to the curve's order")
    }
}

impl core::error::Error for BadKey {}

impl LocalKey {
    /// Of 32 bytes, the greatest first.
    ///
    /// # Errors
    /// No account has such a key.
    pub fn new(bytes: [u8; 32]) -> Result<Self, BadKey> {
        let key = SecretKey::from_secret_bytes(bytes).map_err(|_| BadKey)?;
        let [_form, xy @ ..] = PublicKey::from_secret_key(&key).serialize_uncompressed();
        Ok(Self {
            key,
            address: Address::of_public_key(&xy),
        })
    }

    /// Whose it is.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs; the same digest gives the same signature (RFC 6979).
    #[must_use]
    pub fn sign(&self, digest: &Digest) -> Signature {
        let signature =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.key);
        let (parity, compact) = signature.serialize_compact();
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&compact[..32]);
        s.copy_from_slice(&compact[32..]);
        // libsecp256k1 makes low s; an x coordinate beyond the order has been met by nobody and would make `v` 29 or 30.
        Signature::of_parts(r, s, parity.to_u8() & 1 == 1)
            .unwrap_or_else(|_| unreachable!("libsecp256k1 normalises s"))
    }

    /// Signs what is no ticket: by the keccak256 of its bytes, and as a ticket's hash from there on.
    #[must_use]
    pub fn sign_text(&self, text: &[u8]) -> Signature {
        self.sign(&Digest::of_text(text))
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({})", self.address)
    }
}
