//! Who signed: three verifiers behind one trait, which give the same answers.
//!
//! | verifier | how | when |
//! |---|---|---|
//! | [`Reference`] | libsecp256k1 recovers each key, one at a time | always right; the others are held to it |
//! | [`Known`] over [`Portable`] | a sender's key is remembered, then its signatures are sums of table entries | any processor |
//! | `Known` over vectors (crate `simd`) | the same sums, eight at a time, and eight recoveries at a time for keys that are new | AVX-512 IFMA |
//!
//! The answer that counts is the contract's: it recovers the address from digest, r, s and v, and compares. To check against a
//! remembered key is the same question as long as "R has x coordinate r" means r itself and not r + n, and R's parity is the one
//! that v says: then the key that would be recovered is the remembered one, and no other key has its address unless keccak256 is
//! broken. General verification (which accepts r + n, and ignores v) would not be.

mod keys;
mod known;
mod portable;
mod reference;

pub use known::{Arithmetic, Known, Limits};
pub use portable::Portable;
pub use reference::Reference;

use alloc::vec::Vec;

use crate::address::Address;
use crate::curve::Point;
use crate::keccak::Permute;
use crate::layout::Digest;
use crate::signature::Signature;

/// A signature, and who is said to have made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What was signed.
    pub digest: Digest,
    /// The signature.
    pub signature: Signature,
    /// Who is said to have signed.
    pub sender: Address,
}

/// Whoever can tell who signed. It also permutes Keccak states, since what has vectors for the one has them for the other.
pub trait Verifier: Permute + Send {
    /// For people.
    fn name(&self) -> &'static str;

    /// How many times the work of checking somebody who is known a claim of this sender takes, about, from his payment to its answer.
    fn effort(&self, sender: &Address) -> u32 {
        let _ = sender;
        1
    }

    /// Whether each claim is true, in their order; appended.
    fn verify(&mut self, claims: &[Claim], genuine: &mut Vec<bool>);

    /// Whose address the contract would find for each signature, in their order; `None` where it finds none. Appended.
    ///
    /// Nothing is learned or remembered.
    fn recover(&mut self, signatures: &[(Digest, Signature)], signers: &mut Vec<Option<Address>>);
}

/// The address of whoever has this key.
fn address_of(key: &Point) -> Address {
    Address::of_public_key(&key.to_be_bytes())
}
