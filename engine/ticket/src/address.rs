//! Ethereum's addresses and hashes, and how go-livepeer reads them off the wire.
//!
//! Bytes on the wire become one by go-ethereum's rule: of too many the last are kept, too few are padded on the left. Two
//! readers that disagree about that disagree about who pays.

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use crate::keccak::keccak256;

/// An account. Ordered as the number that its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address(pub [u8; 20]);

/// A keccak256. Ordered as the number that its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 32]);

// Both are keys of maps that are looked into for every ticket: two numbers are compared faster than strings of bytes.
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |[a, b, c, d, rest @ ..]: [u8; 20]| {
            (u32::from_be_bytes([a, b, c, d]), u128::from_be_bytes(rest))
        };
        numbers(self.0).cmp(&numbers(other.0))
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hash {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |bytes: &[u8; 32]| {
            let (high, low) = bytes.split_at(16);
            [high, low].map(|half| half.try_into().map_or(0, u128::from_be_bytes))
        };
        numbers(&self.0).cmp(&numbers(&other.0))
    }
}

impl PartialOrd for Hash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Address {
    /// Nobody's.
    pub const ZERO: Self = Self([0; 20]);

    /// As go-ethereum's `BytesToAddress`: the last 20 bytes, padded on the left.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(last(bytes))
    }

    /// Of a public key: its two coordinates, each 32 bytes, the greatest first (Yellow Paper, appendix F).
    #[must_use]
    pub fn of_public_key(xy: &[u8; 64]) -> Self {
        Self(last(&keccak256(xy)))
    }

    /// With the mixed case of EIP-55.
    #[must_use]
    pub fn checksummed(&self) -> String {
        let mut text = hex::encode(self.0);
        let hash = keccak256(text.as_bytes());
        let upper: String = text
            .drain(..)
            .zip(hash.iter().flat_map(|byte| [byte >> 4, byte & 15]))
            .map(|(digit, nibble)| {
                if nibble >= 8 {
                    digit.to_ascii_uppercase()
                } else {
                    digit
                }
            })
            .collect();
        alloc::format!("0x{upper}")
    }
}

impl Hash {
    /// Nothing's.
    pub const ZERO: Self = Self([0; 32]);

    /// As go-ethereum's `BytesToHash`: the last 32 bytes, padded on the left.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(last(bytes))
    }
}

fn last<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let kept = &bytes[bytes.len().saturating_sub(N)..];
    let mut padded = [0; N];
    padded[N - kept.len()..].copy_from_slice(kept);
    padded
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// Not 40 hexadecimal digits.
    Digits,
    /// Mixed case that is not the checksum: a typing error.
    Checksum,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digits => "an address is 0x and 40 hexadecimal digits",
            Self::Checksum => "the address has upper and lower case digits, and they are not its checksum (EIP-55): mistyped?",
        })
    }
}

impl core::error::Error for ParseError {}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseError::Digits)?;
        let address = Self(bytes);
        let has = |is: fn(&u8) -> bool| digits.as_bytes().iter().any(is);
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        if is_mixed && address.checksummed()[2..] != *digits {
            return Err(ParseError::Checksum);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checksummed())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_wire_keeps_the_last_bytes_and_pads_on_the_left() {
        assert_eq!(Address::from_wire(&[]), Address::ZERO);
        assert_eq!(Address::from_wire(&[7]).0[19], 7);
        let long: [u8; 33] = core::array::from_fn(|n| u8::try_from(n).unwrap());
        assert_eq!(Address::from_wire(&long).0[..], long[13..]);
        assert_eq!(Hash::from_wire(&long).0[..], long[1..]);
        assert_eq!(Hash::from_wire(&[1, 2]).0[29..], [0, 1, 2]);
    }

    #[test]
    fn the_checksum_is_eip_55s() {
        // From the EIP itself.
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(address));
            assert_eq!(text[2..].to_uppercase().parse(), Ok(address));
        }
        let mistyped = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD";
        assert_eq!(mistyped.parse::<Address>(), Err(ParseError::Checksum));
        assert_eq!("0x12".parse::<Address>(), Err(ParseError::Digits));
        assert_eq!("".parse::<Address>(), Err(ParseError::Digits));
    }
}
