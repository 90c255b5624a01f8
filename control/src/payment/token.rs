//! Auth tokens: the right to a session, which its holder shows and only this node recognises.
//!
//! ```text
//!   token = first half of MAC(0, session, expiration, nobody)  ‖  first half of MAC(1, session, expiration, sender)
//!   MAC   = KMAC256(key, fields of fixed width, 256 bits, "millstream auth token v1")
//! ```
//!
//! The token is opaque to gateways, which send it back as it is, with the session and the expiration beside it. It has go-livepeer's 32 bytes,
//! and not its form: that one joins its fields without lengths, knows no sender, and has a key that ends with the process.
//!
//! Invariants:
//! - The key is kept by the caller for as long as the data directory lives, so a token holds until it expires, through any restart.
//! - Whoever shows a token for work must be the one it was made for; [`Tokens::names`] is for requests that say only which session they mean.
//! - Comparing takes the same time wherever two tokens differ.

use std::fmt;

use proto::net::AuthToken;
use subtle::ConstantTimeEq;
use ticket::keccak::{KMAC_TRAILER_BYTES, Kmac, Plain};
use ticket::{Address, SessionId};

/// How long a token holds. Gateways ask for another in the last tenth.
pub const VALID_SECONDS: i64 = 1_800;

const DOMAIN: &str = "millstream auth token v1";
const HALF_BYTES: usize = 16;
const FIELDS_BYTES: usize = 1 + SessionId::PADDED_BYTES + 8 + 20;

/// Makes tokens, and knows them again.
#[derive(Clone)]
pub struct Tokens {
    mac: Kmac,
}

/// Why a token is of no use, in go-livepeer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// There is none.
    Missing,
    /// It was not made here, or for somebody else, or was changed.
    Invalid,
    /// Its time is over.
    Expired,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing auth token",
            Self::Invalid => "invalid auth token",
            Self::Expired => "expired auth token",
        })
    }
}

impl std::error::Error for TokenFault {}

impl Tokens {
    /// With a key of 32 bytes that nobody else has.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            mac: Kmac::new(key, DOMAIN),
        }
    }

    /// A token for a sender's session, from `now` on; unix seconds. `None` when `session` is empty, which names nothing.
    #[must_use]
    pub fn issue(&self, sender: &Address, session: &str, now: i64) -> Option<AuthToken> {
        let expiration = now.saturating_add(VALID_SECONDS);
        let halves = self.halves(SessionId::new(session)?, expiration, sender);
        Some(AuthToken {
            token: halves.concat(),
            session_id: session.to_owned(),
            expiration,
        })
    }

    /// The session that a sender shows a token for.
    ///
    /// # Errors
    /// It gives no right to it, or not any more.
    pub fn check(
        &self,
        sender: &Address,
        token: Option<&AuthToken>,
        now: i64,
    ) -> Result<SessionId, TokenFault> {
        let token = token.ok_or(TokenFault::Missing)?;
        let session = SessionId::new(&token.session_id).ok_or(TokenFault::Invalid)?;
        let halves = self.halves(session, token.expiration, sender);
        if !bool::from(halves.concat().ct_eq(&token.token)) {
            return Err(TokenFault::Invalid);
        }
        match now <= token.expiration {
            true => Ok(session),
            false => Err(TokenFault::Expired),
        }
    }

    /// The session that a token names, whoever shows it and however late.
    ///
    /// # Errors
    /// There is no token, or it was not made here.
    pub fn names(&self, token: Option<&AuthToken>) -> Result<SessionId, TokenFault> {
        let token = token.ok_or(TokenFault::Missing)?;
        let session = SessionId::new(&token.session_id).ok_or(TokenFault::Invalid)?;
        let [nobodys, _] = self.halves(session, token.expiration, &Address::ZERO);
        let shown = token.token.get(..HALF_BYTES).unwrap_or_default();
        let is_whole = token.token.len() == 2 * HALF_BYTES;
        match is_whole && bool::from(nobodys.ct_eq(shown)) {
            true => Ok(session),
            false => Err(TokenFault::Invalid),
        }
    }

    fn halves(
        &self,
        session: SessionId,
        expiration: i64,
        sender: &Address,
    ) -> [[u8; HALF_BYTES]; 2] {
        let message = |kind: u8, who: &Address| {
            let mut message = [0; FIELDS_BYTES + KMAC_TRAILER_BYTES];
            let fields = [
                &[kind][..],
                session.padded(),
                &expiration.to_be_bytes(),
                &who.0,
            ];
            let mut at = 0;
            for field in fields {
                message[at..at + field.len()].copy_from_slice(field);
                at += field.len();
            }
            message
        };
        let mut messages = [message(0, &Address::ZERO), message(1, sender)];
        let mut macs = [[0; 32]; 2];
        self.mac.mac_many(&mut Plain, &mut messages, &mut macs);
        macs.map(|mac| std::array::from_fn(|n| mac[n]))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_766_000_000;

    #[test]
    fn a_token_is_32_bytes_and_holds_for_half_an_hour_through_a_restart() {
        let sender = Address([7; 20]);
        let token = Tokens::new(&[3; 32]).issue(&sender, "abcd1234", NOW);
        let token = token.expect("a session");
        assert_eq!((token.token.len(), token.expiration), (32, NOW + 1_800));
        let restarted = Tokens::new(&[3; 32]);
        let session = SessionId::new("abcd1234").unwrap();
        for now in [NOW, NOW + 1_800] {
            assert_eq!(restarted.check(&sender, Some(&token), now), Ok(session));
        }
        let late = restarted.check(&sender, Some(&token), NOW + 1_801);
        assert_eq!(late, Err(TokenFault::Expired));
        assert_eq!(restarted.names(Some(&token)), Ok(session));
    }

    #[test]
    fn nobody_elses_and_nothing_changed() {
        let tokens = Tokens::new(&[3; 32]);
        let sender = Address([7; 20]);
        let token = tokens.issue(&sender, "abcd1234", NOW).expect("a session");
        let check = |sender: &Address, token: &AuthToken| tokens.check(sender, Some(token), NOW);
        assert_eq!(
            check(&Address([8; 20]), &token),
            Err(TokenFault::Invalid),
            "a stranger"
        );
        let changes: [fn(&mut AuthToken); 7] = [
            |token| token.session_id.push('5'),
            |token| token.session_id.clear(),
            |token| token.expiration += 1,
            |token| token.token.clear(),
            |token| token.token.push(0),
            |token| token.token[0] ^= 1,
            |token| token.token.truncate(16),
        ];
        for change in changes {
            let mut changed = token.clone();
            change(&mut changed);
            assert_eq!(check(&sender, &changed), Err(TokenFault::Invalid));
            assert_eq!(tokens.names(Some(&changed)), Err(TokenFault::Invalid));
        }
        let other_key = Tokens::new(&[4; 32]);
        assert_eq!(
            other_key.check(&sender, Some(&token), NOW),
            Err(TokenFault::Invalid)
        );
        assert_eq!(tokens.check(&sender, None, NOW), Err(TokenFault::Missing));
        assert_eq!(tokens.names(None), Err(TokenFault::Missing));
        assert_eq!(tokens.issue(&sender, "", NOW), None);
    }

    #[test]
    fn the_texts_are_the_ones_that_gateways_know() {
        let texts = [
            TokenFault::Missing,
            TokenFault::Invalid,
            TokenFault::Expired,
        ];
        assert_eq!(
            texts.map(|fault| fault.to_string()),
            [
                "missing auth token",
                "invalid auth token",
                "expired auth token"
            ]
        );
    }
}
