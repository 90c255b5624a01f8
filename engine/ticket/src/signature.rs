//! A signature's 65 bytes, what is wrong with them before any curve is asked, and whose one of a text is.
//!
//! The contract and go-livepeer look in the same order: length, then `s`, then `v`. Only what passes may be recovered. Each
//! fault has the text of both, since operators meet the one in logs and the other on the chain.

use core::fmt;

use crate::address::Address;
use crate::layout::Digest;
use crate::verify::Reference;

/// `r ‖ s ‖ v`, with a low `s` and a `v` of 27 or 28. Neither number need be one that a signature can have.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    r: [u8; 32],
    s: [u8; 32],
    is_odd: bool,
}

/// Why 65 bytes, or another number of them, are no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureFault {
    /// Not 65 bytes.
    Length,
    /// `s` is in the upper half: a copy that anyone can make of a good one.
    HighS,
    /// `v` is neither 27 nor 28.
    V,
    /// No key can have made it: `r` or `s` is zero, `r` is too large, or no point of the curve has it.
    Unrecoverable,
}

impl SignatureFault {
    /// What the contract reverts with.
    #[must_use]
    pub const fn contract_text(self) -> &'static str {
        match self {
            Self::Length => "INVALID_SIGNATURE_LENGTH",
            Self::HighS => "ECDSA: invalid signature 's' value",
            Self::V => "ECDSA: invalid signature 'v' value",
            Self::Unrecoverable => "ECDSA: invalid signature",
        }
    }
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "invalid signature length",
            Self::HighS => "signature s value too high",
            Self::V => "signature v value must be 27 or 28",
            Self::Unrecoverable => "recovery failed",
        })
    }
}

impl core::error::Error for SignatureFault {}

/// Half the order of the curve, rounded down: the greatest `s`.
pub const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

impl Signature {
    /// Bytes of one.
    pub const BYTES: usize = 65;

    /// # Errors
    /// The first fault, in the contract's order.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureFault> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| SignatureFault::Length)?;
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..64]);
        if s > HALF_ORDER {
            return Err(SignatureFault::HighS);
        }
        let is_odd = match bytes[64] {
            27 => false,
            28 => true,
            _ => return Err(SignatureFault::V),
        };
        Ok(Self { r, s, is_odd })
    }

    /// Of its parts, for whoever signs.
    ///
    /// # Errors
    /// `s` is high.
    pub fn of_parts(r: [u8; 32], s: [u8; 32], is_odd: bool) -> Result<Self, SignatureFault> {
        match s > HALF_ORDER {
            true => Err(SignatureFault::HighS),
            false => Ok(Self { r, s, is_odd }),
        }
    }

    /// The x coordinate of the signer's point, as it stands there.
    #[must_use]
    pub const fn r(&self) -> &[u8; 32] {
        &self.r
    }

    /// The proof.
    #[must_use]
    pub const fn s(&self) -> &[u8; 32] {
        &self.s
    }

    /// Whether the point's y coordinate is odd: `v` is 28.
    #[must_use]
    pub const fn is_odd(&self) -> bool {
        self.is_odd
    }

    /// As on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(&self.r);
        bytes[32..64].copy_from_slice(&self.s);
        bytes[64] = 27 + u8::from(self.is_odd);
        bytes
    }
}

/// Whose signature of `text` these bytes are, as strictly as with tickets. A text is what [`LocalKey::sign_text`] signs.
///
/// Any 65 bytes may turn out to be somebody's: what counts is whether he is who was expected.
///
/// # Errors
/// The bytes are nobody's signature of anything.
///
/// [`LocalKey::sign_text`]: crate::sender::LocalKey::sign_text
pub fn signer_of_text(text: &[u8], signature: &[u8]) -> Result<Address, SignatureFault> {
    let signature = Signature::parse(signature)?;
    Reference::signer(&Digest::of_text(text), &signature).ok_or(SignatureFault::Unrecoverable)
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_in_the_contracts_order() {
        let mut bytes = [1; 65];
        bytes[64] = 27;
        assert_eq!(Signature::parse(&bytes).unwrap().to_bytes(), bytes);
        assert_eq!(Signature::parse(&bytes[..64]), Err(SignatureFault::Length));
        assert_eq!(Signature::parse(&[0; 66]), Err(SignatureFault::Length));
        assert_eq!(Signature::parse(&[]), Err(SignatureFault::Length));
        bytes[64] = 29;
        assert_eq!(Signature::parse(&bytes), Err(SignatureFault::V));
        bytes[32..64].copy_from_slice(&HALF_ORDER);
        assert_eq!(Signature::parse(&bytes), Err(SignatureFault::V));
        bytes[63] += 1;
        assert_eq!(
            Signature::parse(&bytes),
            Err(SignatureFault::HighS),
            "s before v"
        );
    }
}
