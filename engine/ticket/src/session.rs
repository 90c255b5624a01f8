//! What a payment is for: the session's id, as an account's second name.
//!
//! go-livepeer keys balances by (sender, text), the text being a manifest id, an auth token's session id or a capability's name.
//! It is part of every MAC, so it has a greatest length and a fixed place.

use core::fmt;

/// A session's id, at most [`SessionId::BYTES_MAX`] bytes of it. Compared byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    // The text, padded with zeros, and its length behind it: texts of different lengths never have the same bytes.
    padded: [u8; Self::PADDED_BYTES],
}

impl SessionId {
    /// The longest id: 127 bytes.
    pub const BYTES_MAX: usize = 127;
    /// Bytes of [`padded`](Self::padded).
    pub const PADDED_BYTES: usize = Self::BYTES_MAX + 1;

    /// `None` when the text is empty or too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return None;
        }
        let mut padded = [0; Self::PADDED_BYTES];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        padded[Self::BYTES_MAX] = length;
        Some(Self { padded })
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
        assert!(SessionId::new(&"x".repeat(127)).is_some());
        assert_eq!(SessionId::new(&"x".repeat(128)), None);
    }
}
