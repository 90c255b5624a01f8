//! What a payment is for: the session's id, as an account's second name.
//!
//! go-livepeer keys balances by (sender, text), the text being a manifest id, an auth token's session id or a capability's name.
//! It is part of every MAC, so it has a greatest length and a fixed place. Manifest ids and session ids are far shorter; the name of a
//! model or of a capability need not be.

use core::fmt;

use crate::keccak::keccak256;

/// A session's id. Compared byte for byte.
///
/// An id of more than [`SessionId::BYTES_MAX`] bytes is kept as `~` and 62 hexadecimal digits of its keccak256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    // The text, padded with zeros, and its length behind it: texts of different lengths never have the same bytes.
    padded: [u8; Self::PADDED_BYTES],
}

impl SessionId {
    /// No id.
    pub(crate) const NONE: Self = Self {
        padded: [0; Self::PADDED_BYTES],
    };
    /// The longest id that is kept as it is.
    pub const BYTES_MAX: usize = 63;
    /// Bytes of [`padded`](Self::padded).
    pub const PADDED_BYTES: usize = Self::BYTES_MAX + 1;

    /// `None` when the text is empty.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match text.len() {
            0 => None,
            1..=Self::BYTES_MAX => Some(Self::short(text)),
            _ => {
                let hash = hex::encode(&keccak256(text.as_bytes())[..31]);
                Some(Self::short(&alloc::format!("~{hash}")))
            }
        }
    }

    fn short(text: &str) -> Self {
        let mut padded = [0; Self::PADDED_BYTES];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        padded[Self::BYTES_MAX] = text.len() as u8;
        Self { padded }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = usize::from(self.padded[Self::BYTES_MAX]);
        // It was text when it came in.
        core::str::from_utf8(&self.padded[..length]).unwrap_or_default()
    }

    /// With zeros behind it, and its length in the last byte: the same for no two ids.
    #[must_use]
    pub const fn padded(&self) -> &[u8; Self::PADDED_BYTES] {
        &self.padded
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_id_comes_out_as_it_went_in_and_no_two_look_alike() {
        for text in ["a", "deadbeef", "35_builtin/edges", "grün"] {
            assert_eq!(SessionId::new(text).unwrap().to_string(), text);
        }
        assert_ne!(SessionId::new("a"), SessionId::new("a\0"));
        assert_eq!(SessionId::new(""), None);
        let longest = "x".repeat(63);
        assert_eq!(SessionId::new(&longest).unwrap().as_str(), longest);
        let hashed = SessionId::new(&"x".repeat(64)).unwrap();
        assert_eq!((hashed.as_str().len(), &hashed.as_str()[..1]), (63, "~"));
        assert_ne!(SessionId::new(&"x".repeat(65)), Some(hashed));
    }
}
