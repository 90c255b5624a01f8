//! `SegData`, as far as a payment needs it: what it is for.
//!
//! ```text
//!   SegData     1 manifestId (bytes)   8 AuthToken
//!   AuthToken   1 token (bytes)   2 session_id (string)   3 expiration (int64)
//! ```

use core::fmt;

use super::reader::{Malformed, Reader};
use crate::session::SessionId;

/// What a payment is for, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purpose<'a> {
    /// The stream or job.
    pub manifest_id: &'a [u8],
    /// The session that the sender was given, if it was given one.
    pub session_id: Option<&'a [u8]>,
    /// The auth token as it came, which names that session; empty when there is none.
    pub auth_token: &'a [u8],
}

impl<'a> Purpose<'a> {
    /// Of the message's bytes.
    ///
    /// # Errors
    /// The bytes are no such message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (mut purpose, mut token) = (Self::default(), None);
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => purpose.manifest_id = field.bytes()?,
                8 => field.once(&mut token)?,
                _ => {}
            }
        }
        if let Some(token) = token {
            let mut reader = Reader::new(token);
            let mut session_id = &[][..];
            while let Some(field) = reader.next()? {
                if field.number == 2 {
                    session_id = field.bytes()?;
                }
            }
            purpose.session_id = Some(session_id);
            purpose.auth_token = token;
        }
        Ok(purpose)
    }

    /// The session that parameters must have been offered for (where there is none, the manifest stands for it), and the account that is
    /// credited.
    ///
    /// # Errors
    /// Either is no id.
    pub fn ids(&self) -> Result<(SessionId, SessionId), NoPurpose> {
        let id = |bytes: &[u8]| core::str::from_utf8(bytes).ok().and_then(SessionId::new);
        let account = id(self.manifest_id).ok_or(NoPurpose("manifest"))?;
        let session = match self.session_id {
            Some(session) => id(session).ok_or(NoPurpose("session"))?,
            None => account,
        };
        Ok((session, account))
    }
}

/// An id that is missing, too long, or no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPurpose(&'static str);

impl fmt::Display for NoPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} id in segment credentials", self.0)
    }
}

impl core::error::Error for NoPurpose {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_int64, put_message};
    use alloc::vec::Vec;

    #[test]
    fn a_purpose_is_a_manifest_and_perhaps_a_session() {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, b"movie");
        put_int64(&mut bytes, 2, 7);
        let bare = Purpose {
            manifest_id: b"movie",
            ..Purpose::default()
        };
        assert_eq!(Purpose::parse(&bytes), Ok(bare));
        put_message(&mut bytes, 8, |into| {
            put_bytes(into, 1, &[9; 32]);
            put_bytes(into, 2, b"deadbeef");
            put_int64(into, 3, 1_700_000_000);
        });
        put_int64(&mut bytes, 10, 1);
        let whole = Purpose::parse(&bytes).unwrap();
        assert_eq!(whole.session_id, Some(&b"deadbeef"[..]));
        assert_eq!(whole.auth_token.len(), 34 + 10 + 6);
        let token = Purpose {
            session_id: None,
            auth_token: &[],
            ..whole
        };
        assert_eq!(token, bare);
        assert_eq!(Purpose::parse(&[]), Ok(Purpose::default()));
        assert_eq!(
            Purpose::parse(&bytes[..bytes.len() - 3]),
            Err(Malformed::Truncated)
        );
    }
}
