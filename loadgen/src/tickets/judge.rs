//! What an answer says about a payment, and about who answered.
//!
//! ```text
//!   good      unsent ──▶ sent ──▶ 200                     credited
//!                                 400, one ticket         refused
//!                                 400, several; 5xx; none open: some of it may be credited, or be credited later
//!   again     credited ──▶ 400 already seen               as it should be
//!             credited ──▶ 200                            CORRUPT: credited twice
//!             open ──────▶ 200, or 400 already seen       credited: now, or before
//!   forged    400 invalid ticket signature                as it should be
//!             200                                         CORRUPT: anybody can pay in anybody's name
//! ```
//!
//! A payment that is sent again is credited once in all, however often; so what is open is never counted, and never lost.

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has not gone out, or nothing has come back.
    Unknown,
    /// Every ticket of it is credited.
    Credited,
    /// No ticket of it is.
    Refused,
    /// Nobody can say, but by sending it again.
    Open,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A status and, unless it is 200, the text with it.
    Status(u16, String),
    /// None; with the class of the error.
    None(&'static str),
}

/// What is to be made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken, as it should be.
    Accepted,
    /// It was refused, as it should be.
    RightlyRefused,
    /// It was taken, and should not have been.
    WronglyAccepted,
    /// It was refused, and should not have been, or for another reason than there is. With the class of the error.
    Refused(String),
    /// It was not answered. With the class of the error.
    Unanswered(&'static str),
}

/// Judges a payment of so many tickets that is good, or forged, and of which this was known when it was sent.
pub(super) fn judge(
    is_forged: bool,
    tickets: u32,
    before: Fate,
    answer: &Answer,
) -> (Fate, Verdict) {
    let (status, text) = match answer {
        Answer::Status(status, text) => (*status, text.as_str()),
        Answer::None(class) => {
            let after = match before {
                Fate::Unknown | Fate::Refused if !is_forged => Fate::Open,
                _ => before,
            };
            return (after, Verdict::Unanswered(class));
        }
    };
    let is_seen = status == 400 && text.contains(ALREADY_SEEN);
    let refused = || Verdict::Refused(class(status, text));
    if is_forged {
        return match status {
            200 => (before, Verdict::WronglyAccepted),
            400 if text.contains(FORGED) => (before, Verdict::RightlyRefused),
            _ => (before, refused()),
        };
    }
    match before {
        Fate::Credited if status == 200 => (before, Verdict::WronglyAccepted),
        Fate::Credited if is_seen => (before, Verdict::RightlyRefused),
        Fate::Credited => (before, refused()),
        Fate::Open if status == 200 || is_seen => (Fate::Credited, Verdict::Accepted),
        Fate::Open => (before, refused()),
        Fate::Unknown | Fate::Refused if status == 200 => (Fate::Credited, Verdict::Accepted),
        Fate::Unknown | Fate::Refused if status >= 500 || (status == 400 && tickets > 1) => {
            (Fate::Open, refused())
        }
        Fate::Unknown | Fate::Refused => (Fate::Refused, refused()),
    }
}

/// Whether the answer to a payment that was open says that all of it is credited, and if so whether it was before.
pub(super) fn settles(status: u16, text: &str) -> Option<bool> {
    match status {
        200 => Some(false),
        400 if text.contains(ALREADY_SEEN) => Some(true),
        _ => None,
    }
}

/// What a refusal is counted as: its reason, in a word.
fn class(status: u16, text: &str) -> String {
    let known = REASONS
        .iter()
        .find(|(words, _)| status == 400 && text.contains(words));
    match known {
        Some((_, class)) => (*class).to_owned(),
        None => format!("status-{status}"),
    }
}

const ALREADY_SEEN: &str = "already seen";
const FORGED: &str = "invalid ticket signature";
/// The words of go-livepeer's refusals. The first that fits counts.
const REASONS: &[(&str, &str)] = &[
    (ALREADY_SEEN, "already-seen"),
    ("senderNonce: too many", "nonces-full"),
    (FORGED, "signature"),
    ("TicketParams expired", "expired"),
    ("insufficient sender reserve", "reserve"),
    ("set to unlock", "unlocking"),
    ("recipientRand", "params"),
    ("invalid ticket recipient", "recipient"),
    ("invalid ticket sender", "sender"),
    ("expected price", "price"),
    ("creationRound", "round"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "invalid ticket senderNonce: already seen sender=0x11 nonce=7\n";
    const UNSIGNED: &str = "invalid ticket signature\n";

    fn status(status: u16, text: &str) -> Answer {
        Answer::Status(status, text.to_owned())
    }

    fn refused(class: &str) -> Verdict {
        Verdict::Refused(class.to_owned())
    }

    #[test]
    fn a_good_payment_is_credited_once_or_its_fate_is_told() {
        use Fate::{Credited, Open, Refused, Unknown};
        for (tickets, before, answer, after, verdict) in [
            (1, Unknown, status(200, ""), Credited, Verdict::Accepted),
            (9, Refused, status(200, ""), Credited, Verdict::Accepted),
            (
                1,
                Unknown,
                status(400, UNSIGNED),
                Refused,
                refused("signature"),
            ),
            (
                2,
                Unknown,
                status(400, UNSIGNED),
                Open,
                refused("signature"),
            ),
            (
                1,
                Unknown,
                status(400, SEEN),
                Refused,
                refused("already-seen"),
            ),
            (1, Unknown, status(403, "x"), Refused, refused("status-403")),
            (1, Unknown, status(503, "x"), Open, refused("status-503")),
            (
                1,
                Unknown,
                Answer::None("unknown"),
                Open,
                Verdict::Unanswered("unknown"),
            ),
            (
                1,
                Credited,
                status(400, SEEN),
                Credited,
                Verdict::RightlyRefused,
            ),
            (
                1,
                Credited,
                status(200, ""),
                Credited,
                Verdict::WronglyAccepted,
            ),
            (
                1,
                Credited,
                status(400, "TicketParams expired"),
                Credited,
                refused("expired"),
            ),
            (
                1,
                Credited,
                status(503, SEEN),
                Credited,
                refused("status-503"),
            ),
            (
                1,
                Credited,
                Answer::None("unknown"),
                Credited,
                Verdict::Unanswered("unknown"),
            ),
            (9, Open, status(200, ""), Credited, Verdict::Accepted),
            (9, Open, status(400, SEEN), Credited, Verdict::Accepted),
            (9, Open, status(503, ""), Open, refused("status-503")),
            (
                9,
                Open,
                Answer::None("unknown"),
                Open,
                Verdict::Unanswered("unknown"),
            ),
        ] {
            let judged = judge(false, tickets, before, &answer);
            assert_eq!(judged, (after, verdict), "{before:?} {answer:?}");
        }
    }

    #[test]
    fn a_forged_one_is_never_owed() {
        for (answer, verdict) in [
            (status(200, ""), Verdict::WronglyAccepted),
            (status(400, UNSIGNED), Verdict::RightlyRefused),
            (status(400, SEEN), refused("already-seen")),
            (status(503, ""), refused("status-503")),
            (Answer::None("unknown"), Verdict::Unanswered("unknown")),
        ] {
            let judged = judge(true, 3, Fate::Unknown, &answer);
            assert_eq!(judged, (Fate::Unknown, verdict));
        }
    }

    #[test]
    fn a_reason_is_a_word() {
        use ticket::{Address, Refusal, price::PriceFault};
        let (sender, nonce) = (Address([1; 20]), 7);
        for (refusal, want) in [
            (Refusal::NonceSeen { sender, nonce }, "already-seen"),
            (Refusal::NonceFull { sender, nonce }, "nonces-full"),
            (Refusal::Signature, "signature"),
            (Refusal::Expired, "expired"),
            (Refusal::Reserve, "reserve"),
            (Refusal::Unlocking, "unlocking"),
            (Refusal::Rand, "params"),
            (Refusal::Recipient, "recipient"),
            (Refusal::Sender, "sender"),
            (Refusal::Price(PriceFault::NoPixels), "price"),
            (Refusal::Round, "round"),
            (Refusal::NoExpiration, "status-400"),
            (Refusal::Busy, "status-503"),
        ] {
            assert_eq!(class(refusal.status(), &refusal.to_string()), want);
        }
        assert_eq!(settles(200, ""), Some(false));
        assert_eq!(settles(400, SEEN), Some(true));
        assert_eq!((settles(400, UNSIGNED), settles(503, SEEN)), (None, None));
    }
}
