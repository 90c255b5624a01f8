//! Whether an answer has everything in it that a gateway needs to choose an orchestrator and to pay it.

use std::collections::HashSet;
use std::fmt;

use proto::Message as _;
use proto::net::{OrchestratorInfo, PriceInfo, TicketParams};

/// What is wrong with an answer. Shown as its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no such message.
    Undecodable,
    /// Something is not in it.
    Missing(&'static str),
    /// Another answer had the same ticket params: whoever pays under both pays twice with the same nonces.
    RepeatedHash,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => f.write_str("undecodable"),
            Self::Missing(what) => write!(f, "no-{what}"),
            Self::RepeatedHash => f.write_str("repeated-hash"),
        }
    }
}

/// Gives the hash of the ticket params that are in it, if there is to be paid.
pub(super) fn judge(message: &[u8], is_paid: bool) -> Result<Option<[u8; 32]>, Fault> {
    let info = OrchestratorInfo::decode(message).map_err(|_| Fault::Undecodable)?;
    needs("transcoder", !info.transcoder.is_empty())?;
    let token = info.auth_token.as_ref();
    needs(
        "auth-token",
        token.is_some_and(|it| !it.token.is_empty() && !it.session_id.is_empty()),
    )?;
    if !is_paid {
        return Ok(None);
    }
    let price = info.price_info.filter(is_price);
    let price = price.ok_or(Fault::Missing("price"))?;
    let params = info.ticket_params.ok_or(Fault::Missing("ticket-params"))?;
    judge_params(&params, price.price_per_unit > 0).map(Some)
}

fn judge_params(params: &TicketParams, has_price: bool) -> Result<[u8; 32], Fault> {
    let is_set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    needs("recipient", is_set(&params.recipient))?;
    // Where nothing is to be paid, a ticket is worth nothing.
    needs("face-value", !has_price || is_set(&params.face_value))?;
    needs("win-probability", !has_price || is_set(&params.win_prob))?;
    needs("seed", is_set(&params.seed))?;
    needs("expiration", is_set(&params.expiration_block))?;
    let round = params.expiration_params.as_ref();
    needs(
        "round",
        round.is_some_and(|it| it.creation_round > 0 && is_set(&it.creation_round_block_hash)),
    )?;
    let hash = params.recipient_rand_hash.as_slice().try_into();
    hash.map_err(|_| Fault::Missing("hash"))
}

fn is_price(price: &PriceInfo) -> bool {
    price.price_per_unit >= 0 && price.pixels_per_unit > 0
}

fn needs(what: &'static str, is_there: bool) -> Result<(), Fault> {
    match is_there {
        true => Ok(()),
        false => Err(Fault::Missing(what)),
    }
}

/// The hashes that came in a run, as far as they can be kept.
#[derive(Debug, Default)]
pub(super) struct Hashes(HashSet<[u8; 16]>);

impl Hashes {
    /// Whether this one is the first of its kind. Of more than [`HASHES_MAX`] it is not known.
    pub(super) fn is_new(&mut self, hash: &[u8; 32]) -> bool {
        // Half of it tells hashes apart as well.
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        match self.0.len() < HASHES_MAX {
            true => self.0.insert(half),
            false => !self.0.contains(&half),
        }
    }
}

/// Some 200 MiB of them.
const HASHES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::net::{AuthToken, TicketExpirationParams};

    use super::*;

    fn info() -> OrchestratorInfo {
        OrchestratorInfo {
            transcoder: "https://a:1".to_owned(),
            ticket_params: Some(TicketParams {
                recipient: vec![1; 20],
                face_value: vec![1],
                win_prob: vec![1],
                recipient_rand_hash: vec![7; 32],
                seed: vec![1],
                expiration_block: vec![1],
                expiration_params: Some(TicketExpirationParams {
                    creation_round: 1,
                    creation_round_block_hash: vec![1; 32],
                }),
            }),
            price_info: Some(PriceInfo {
                price_per_unit: 1,
                pixels_per_unit: 1,
                ..PriceInfo::default()
            }),
            auth_token: Some(AuthToken {
                token: vec![1],
                session_id: "a".to_owned(),
                expiration: 1,
            }),
            ..OrchestratorInfo::default()
        }
    }

    fn verdict(is_paid: bool, change: impl FnOnce(&mut OrchestratorInfo)) -> String {
        let mut info = info();
        change(&mut info);
        match judge(&info.encode_to_vec(), is_paid) {
            Ok(hash) => format!("{:?}", hash.map(|hash| hash[0])),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn whatever_is_missing_is_told() {
        type Change = fn(&mut TicketParams);
        assert_eq!(verdict(true, |_| ()), "Some(7)");
        assert_eq!(verdict(true, |it| it.transcoder.clear()), "no-transcoder");
        assert_eq!(verdict(true, |it| it.auth_token = None), "no-auth-token");
        assert_eq!(
            verdict(true, |it| it
                .auth_token
                .as_mut()
                .unwrap()
                .session_id
                .clear()),
            "no-auth-token"
        );
        assert_eq!(verdict(true, |it| it.price_info = None), "no-price");
        assert_eq!(
            verdict(true, |it| it.price_info.as_mut().unwrap().pixels_per_unit =
                0),
            "no-price"
        );
        assert_eq!(
            verdict(true, |it| it.ticket_params = None),
            "no-ticket-params"
        );
        let changes: [(Change, &str); 8] = [
            (|it| it.recipient.clear(), "no-recipient"),
            (|it| it.face_value.clear(), "no-face-value"),
            (|it| it.win_prob.clear(), "no-win-probability"),
            (|it| it.recipient_rand_hash.clear(), "no-hash"),
            (|it| it.seed.clear(), "no-seed"),
            (|it| it.expiration_block.clear(), "no-expiration"),
            (|it| it.expiration_params = None, "no-round"),
            (
                |it| it.expiration_params.as_mut().unwrap().creation_round = 0,
                "no-round",
            ),
        ];
        for (change, want) in changes {
            assert_eq!(
                verdict(true, |it| change(it.ticket_params.as_mut().unwrap())),
                want
            );
        }
        assert_eq!(judge(&[0xff], true), Err(Fault::Undecodable));
    }

    #[test]
    fn where_nothing_is_paid_less_is_needed() {
        let free = |it: &mut OrchestratorInfo| {
            it.price_info.as_mut().unwrap().price_per_unit = 0;
            let params = it.ticket_params.as_mut().unwrap();
            (params.face_value, params.win_prob) = (Vec::new(), Vec::new());
        };
        assert_eq!(verdict(true, free), "Some(7)");
        let offchain = |it: &mut OrchestratorInfo| (it.ticket_params, it.price_info) = (None, None);
        assert_eq!(verdict(false, offchain), "None");
        assert_eq!(verdict(false, |it| it.transcoder.clear()), "no-transcoder");
    }

    #[test]
    fn a_hash_is_new_once() {
        let mut hashes = Hashes::default();
        assert!(hashes.is_new(&[1; 32]) && hashes.is_new(&[2; 32]));
        assert!(!hashes.is_new(&[1; 32]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(judge(&bytes, true).is_err() || !bytes.is_empty());
        }
    }
}
