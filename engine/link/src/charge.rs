//! Charges: what is taken from a sender's account for work that was done.
//!
//! A charge goes the way of a [payment](crate::payment): to the ticket lane, into the book, on disk, and only then is it answered.
//! Whether an account may be below zero is the control plane's question; here it is only reckoned.

use std::fmt;

use ticket::book::Account;
use ticket::{Address, SessionId};

/// Pixels to be taken from an account, at the account's own price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Whose account.
    pub sender: Address,
    /// Its name.
    pub account: SessionId,
    /// How many. None at all is a look: it changes nothing, and waits for its turn like any other charge.
    pub pixels: u64,
}

/// Why nothing was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCharged {
    /// The sender has no account of that name: no ticket for it was ever credited, or nothing has happened to it for long.
    NoAccount,
    /// Too many wait already.
    Busy,
    /// The disk does not take it, so it did not happen. It may be tried again. Only of a node that is stopping is it not known: the disk
    /// may take it yet.
    NotRecorded,
}

impl fmt::Display for NotCharged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAccount => "the sender has no account of that name",
            Self::Busy => "too many charges wait already",
            Self::NotRecorded => "the charge could not be recorded, so it was not made",
        })
    }
}

impl std::error::Error for NotCharged {}

/// The account as it stands after a charge, or why there was none.
pub type Charged = Result<Account, NotCharged>;

/// The way back for a charge. It cannot be lost: dropping it answers [`NotCharged::NotRecorded`].
pub struct ChargeReply(Option<Box<dyn FnOnce(Charged) + Send>>);

impl ChargeReply {
    /// A reply that calls `callback` once, on whichever thread answers; it must not block.
    pub fn new(callback: impl FnOnce(Charged) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Answers.
    pub fn send(mut self, charged: Charged) {
        self.answer(charged);
    }

    fn answer(&mut self, charged: Charged) {
        if let Some(callback) = self.0.take() {
            callback(charged);
        }
    }
}

impl Drop for ChargeReply {
    fn drop(&mut self) {
        self.answer(Err(NotCharged::NotRecorded));
    }
}

impl fmt::Debug for ChargeReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChargeReply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_charge_is_answered_once_even_when_the_reply_is_lost() {
        let (tell, told) = channel();
        let reply = || {
            let tell = tell.clone();
            ChargeReply::new(move |charged| tell.send(charged).unwrap())
        };
        drop(reply());
        assert_eq!(told.recv().unwrap(), Err(NotCharged::NotRecorded));
        reply().send(Err(NotCharged::Busy));
        assert_eq!(told.recv().unwrap(), Err(NotCharged::Busy));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn an_engine_without_payments_has_no_accounts() {
        struct Free;
        impl crate::Engine for Free {
            fn submit(&self, _command: crate::Command, reply: crate::Reply) {
                reply.send(Err(crate::Refusal::Busy));
            }
            fn connect(&self) -> std::io::Result<std::os::fd::OwnedFd> {
                Err(std::io::ErrorKind::Unsupported.into())
            }
        }
        let (tell, told) = channel();
        let charge = Charge {
            sender: Address([1; 20]),
            account: SessionId::new("stream").unwrap(),
            pixels: 1,
        };
        let reply = ChargeReply::new(move |charged| tell.send(charged).unwrap());
        crate::Engine::charge(&Free, charge, reply);
        assert_eq!(told.recv().unwrap(), Err(NotCharged::NoAccount));
    }
}
