//! Where the cases come from.

use fastrand::Rng;
use ruint::aliases::U256;
use secp256k1::{PublicKey, SecretKey};
use ticket::address::Address;
use ticket::curve::field::MODULUS;
use ticket::curve::scalar::ORDER;
use ticket::layout::Digest;
use ticket::signature::{HALF_ORDER, Signature};

const N: U256 = U256::from_limbs(ORDER);
const P: U256 = U256::from_limbs(MODULUS);

/// A signature, and who is said to have made it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) digest: Digest,
    pub(crate) signature: Signature,
    pub(crate) sender: Address,
}

/// Cases without end.
pub(crate) struct Cases {
    rng: Rng,
    /// Private keys, so that some come again and have tables.
    keys: Vec<(U256, Address)>,
}

impl Cases {
    pub(crate) fn new(seed: u64) -> Self {
        let mut cases = Self {
            rng: Rng::with_seed(seed),
            keys: Vec::new(),
        };
        for n in 0..64u64 {
            let key = if n < 24 {
                U256::from(n + 1)
            } else {
                cases.special()
            };
            let key = if key.is_zero() { U256::from(77) } else { key };
            cases.keys.push((key, address(key)));
        }
        cases
    }

    pub(crate) fn next(&mut self) -> Case {
        let (key, address) = self.keys[self.rng.usize(..self.keys.len())];
        let mut case = match self.rng.u8(..10) {
            0..6 => self.backwards(key, address),
            6..8 => self.signed(key, address),
            _ => self.edges(address),
        };
        if self.rng.u8(..6) == 0 {
            self.spoil(&mut case);
        }
        case
    }

    /// From u1 and u2: R = u1·G + u2·Q, s = r/u2, z = u1·s.
    fn backwards(&mut self, key: U256, sender: Address) -> Case {
        let u2 = self.special();
        // Sometimes such that R is a small multiple of G, or nothing at all.
        let u1 = match self.rng.u8(..4) {
            0 => minus(U256::from(self.rng.u64(..40)), u2.mul_mod(key, N)),
            1 => minus(N - U256::from(self.rng.u64(1..40)), u2.mul_mod(key, N)),
            _ => self.special(),
        };
        let k = u1.add_mod(u2.mul_mod(key, N), N);
        let Some((x, mut is_odd)) = multiple(k) else {
            return self.edges(sender);
        };
        let r = x % N;
        let mut s = match u2.inv_mod(N) {
            Some(inverse) => r.mul_mod(inverse, N),
            None => U256::ZERO,
        };
        let z = u1.mul_mod(s, N);
        if s > U256::from_be_bytes(HALF_ORDER) {
            s = N - s;
            is_odd = !is_odd;
        }
        case(z, r, s, is_odd, sender)
    }

    /// As honest people sign, with a nonce that may be special.
    fn signed(&mut self, key: U256, sender: Address) -> Case {
        let z = self.number();
        let k = self.special();
        let Some((x, mut is_odd)) = multiple(k) else {
            return self.edges(sender);
        };
        let r = x % N;
        let inverse = k.inv_mod(N).unwrap_or_default();
        let mut s = inverse.mul_mod((z % N).add_mod(r.mul_mod(key, N), N), N);
        if s > U256::from_be_bytes(HALF_ORDER) {
            s = N - s;
            is_odd = !is_odd;
        }
        case(z, r, s, is_odd, sender)
    }

    /// Any r, s and digest, edges often.
    fn edges(&mut self, sender: Address) -> Case {
        let (z, r, s) = (self.number(), self.number(), self.number());
        let s = if s > U256::from_be_bytes(HALF_ORDER) {
            s >> 1
        } else {
            s
        };
        let s = s.min(U256::from_be_bytes(HALF_ORDER));
        case(z, r, s, self.rng.bool(), sender)
    }

    /// Changes a little of a good one.
    fn spoil(&mut self, case: &mut Case) {
        let (mut r, mut s, mut is_odd) = (
            *case.signature.r(),
            *case.signature.s(),
            case.signature.is_odd(),
        );
        match self.rng.u8(..6) {
            0 => is_odd = !is_odd,
            1 => r[self.rng.usize(..32)] ^= 1 << self.rng.u8(..8),
            2 => s[self.rng.usize(1..32)] ^= 1 << self.rng.u8(..8),
            3 => case.digest.0[self.rng.usize(..32)] ^= 1 << self.rng.u8(..8),
            4 => case.sender = self.keys[self.rng.usize(..self.keys.len())].1,
            // r + n is the same number modulo n, and another x: the contract takes it for another point.
            _ => r = U256::from_be_bytes(r).wrapping_add(N).to_be_bytes(),
        }
        if let Ok(signature) = Signature::of_parts(r, s, is_odd) {
            case.signature = signature;
        }
    }

    /// A scalar that makes sums meet: small, near the order, a power of two, a few digits, or any.
    fn special(&mut self) -> U256 {
        let small = U256::from(self.rng.u64(..600));
        let number = match self.rng.u8(..8) {
            0 => small,
            1 => N - U256::from(1) - small,
            2 => U256::from(1) << self.rng.usize(..256),
            3 => N - (U256::from(1) << self.rng.usize(..255)),
            4 => (U256::from(1) << self.rng.usize(..255)) + small,
            5 => U256::from(self.rng.u64(..256)) << (8 * self.rng.usize(..31)),
            6 => U256::from_limbs([self.rng.u64(..), self.rng.u64(..), 0, 0]),
            _ => self.any(),
        };
        number % N
    }

    /// A number at an edge, or any.
    fn number(&mut self) -> U256 {
        let small = U256::from(self.rng.u64(..6));
        match self.rng.u8(..9) {
            0 => small,
            1 => N.wrapping_sub(small),
            2 => N.wrapping_add(small),
            3 => P.wrapping_sub(small),
            4 => (P - N).wrapping_add(small).wrapping_sub(U256::from(3)),
            5 => U256::MAX - small,
            6 => N.wrapping_shr(1).wrapping_sub(U256::from(3)) + small,
            // The x of some point.
            7 => multiple(U256::from(self.rng.u64(1..1_000_000))).map_or(U256::ZERO, |(x, _)| x),
            _ => self.any(),
        }
    }

    fn any(&mut self) -> U256 {
        U256::from_limbs([
            self.rng.u64(..),
            self.rng.u64(..),
            self.rng.u64(..),
            self.rng.u64(..),
        ])
    }
}

fn case(z: U256, r: U256, s: U256, is_odd: bool, sender: Address) -> Case {
    let signature = Signature::of_parts(r.to_be_bytes(), s.to_be_bytes(), is_odd);
    Case {
        digest: Digest(z.to_be_bytes()),
        signature: signature.expect("a low s"),
        sender,
    }
}

fn minus(a: U256, b: U256) -> U256 {
    a.add_mod(N - b, N)
}

/// The x of k·G, and whether its y is odd; `None` at infinity.
fn multiple(k: U256) -> Option<(U256, bool)> {
    let key = SecretKey::from_secret_bytes(k.to_be_bytes()).ok()?;
    let [form, x @ ..] = PublicKey::from_secret_key(&key).serialize();
    Some((U256::from_be_bytes(x), form == 3))
}

fn address(key: U256) -> Address {
    let key = SecretKey::from_secret_bytes(key.to_be_bytes()).expect("a key");
    let [_, xy @ ..] = PublicKey::from_secret_key(&key).serialize_uncompressed();
    Address::of_public_key(&xy)
}
