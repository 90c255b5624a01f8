//! Who this node is to others, and whom it believes.
//!
//! On a chain a node is an account: it signs with the account's key, and believes others by theirs. Off-chain it is nobody: its address is zeros, it
//! signs with no bytes at all, and it believes everybody. That is the wire, on both sides.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use ticket::sender::LocalKey;
use ticket::signature::signer_of_text;
use ticket::{Address, keccak::keccak256};

/// Signatures that are remembered, twice this many at most; some 100 bytes each.
const REMEMBERED: usize = 16_384;

/// A node's account, or the lack of one.
pub struct Identity {
    key: Option<LocalKey>,
    /// Good signatures of handshakes. A gateway makes one and shows it for ever, so it need not be worked out again.
    remembered: Mutex<Recent>,
}

impl Identity {
    /// Off-chain.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(None)
    }

    /// An account's.
    #[must_use]
    pub fn of(key: LocalKey) -> Self {
        Self::new(Some(key))
    }

    fn new(key: Option<LocalKey>) -> Self {
        Self {
            key,
            remembered: Mutex::default(),
        }
    }

    /// Zeros off-chain.
    #[must_use]
    pub fn address(&self) -> Address {
        self.key.as_ref().map_or(Address::ZERO, LocalKey::address)
    }

    /// Signs a text; no bytes off-chain.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        match &self.key {
            Some(key) => key.sign_text(text).to_bytes().to_vec(),
            None => Vec::new(),
        }
    }

    /// Whether `by` signed a text.
    #[must_use]
    pub fn believes(&self, by: &Address, text: &[u8], signature: &[u8]) -> bool {
        if self.key.is_none() {
            return true;
        }
        signer_of_text(text, signature) == Ok(*by)
    }

    /// Whether `by` signed its own address, as in a handshake. Some 50 µs the first time.
    #[must_use]
    pub fn believes_greeting(&self, by: &Address, signature: &[u8]) -> bool {
        if self.key.is_none() {
            return true;
        }
        // Both are hashed together, so what is remembered has one size, whatever somebody sends.
        let name = keccak256(&[&by.0[..], signature].concat());
        if self.recent().knows(&name) {
            return true;
        }
        let is_good = self.believes(by, by.checksummed().as_bytes(), signature);
        if is_good {
            self.recent().note(name);
        }
        is_good
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.address())
    }
}

/// A set that forgets: two generations, of which the older goes when the younger is full.
#[derive(Default)]
struct Recent {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Recent {
    fn knows(&mut self, name: &[u8; 32]) -> bool {
        if self.young.contains(name) {
            return true;
        }
        let is_old = self.old.contains(name);
        if is_old {
            self.note(*name);
        }
        is_old
    }

    fn note(&mut self, name: [u8; 32]) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the vectors in the wire's description.
    fn key() -> LocalKey {
        let mut bytes = [0; 32];
        hex::decode_to_slice(
            "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
            &mut bytes,
        )
        .unwrap();
        LocalKey::new(bytes).unwrap()
    }

    #[test]
    fn a_ping_and_a_greeting_are_gos_byte_for_byte() {
        let node = Identity::of(key());
        assert_eq!(
            node.address().to_string(),
            "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
        );
        assert_eq!(
            hex::encode(node.sign(&[1, 2])),
            "c136b086628f9146a75da9fda2158e51df0fd30a998b24835ad67eda3371bd734d214a770ab4342192a0960d77b10a95c8cbc50b666322e180eb4b7a7c23f7421c"
        );
        let greeting = node.sign(node.address().checksummed().as_bytes());
        assert_eq!(
            hex::encode(&greeting),
            "662f6ce6e23e70c7db9bdcc7b0d91bdf58d8743ba347ab0b9aa060154644c55122dd6afcc20a6cba9cab1d565a6b1dc36be9a9314e0317b943f8b0f1a726e2971b"
        );
        let mut changed = greeting.clone();
        changed[3] ^= 1;
        for _ in 0..2 {
            assert!(node.believes_greeting(&key().address(), &greeting));
            assert!(!node.believes_greeting(&Address([1; 20]), &greeting));
            assert!(!node.believes_greeting(&key().address(), &changed));
            assert!(!node.believes_greeting(&key().address(), &[]));
        }
    }

    #[test]
    fn off_chain_nothing_is_signed_and_everybody_believed() {
        let node = Identity::nobody();
        assert_eq!((node.address(), node.sign(b"x").len()), (Address::ZERO, 0));
        assert!(node.believes(&Address([1; 20]), b"x", b"no signature"));
        assert!(node.believes_greeting(&Address::ZERO, &[]));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let mut recent = Recent::default();
        let name = |n: usize| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&n.to_be_bytes());
            name
        };
        for n in 0..10 * REMEMBERED {
            recent.note(name(n));
            assert!(recent.knows(&name(0)), "asked for all the time");
            assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED + 1);
        }
        assert!(!recent.knows(&name(1)));
    }
}
