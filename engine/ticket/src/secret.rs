//! The recipient's secret, and the proof that parameters are ours.
//!
//! An orchestrator commits to a secret number, `recipient rand`, by sending its hash, and remembers nothing: the number is a MAC
//! over all that it offered, so it can be made again from what comes back. If its hash is the one in the payment, then every
//! field is as it was offered; if not, somebody changed one, or we never offered it.
//!
//! ```text
//!   recipient rand = KMAC256(secret, fields, 256 bits, "millstream ticket params v1")         hash = keccak256(recipient rand)
//!
//!   fields   recipient  sender  session  face value  win prob  expiration  round  block hash  price  seed
//!   bytes    20         20      64       32          32        8           8      32          8 + 8  32      = 264, always
//! ```
//!
//! Every field has its own place and width, so no two offers are the same message; go-livepeer's MAC joins them without lengths,
//! and accepts a price that was split elsewhere, or has lost its sign. Only the recipient ever computes this, so the form is ours.

use alloc::vec::Vec;
use core::fmt;

use crate::address::{Address, Hash};
use crate::amount::{ExpectedValue, Wei};
use crate::keccak::{KMAC_TRAILER_BYTES, Kmac, Permute, Plain, keccak256, keccak256_many};
use crate::layout::Ticket;
use crate::price::Price;
use crate::received::{Blank, Received};
use crate::refusal::Refusal;
use crate::session::SessionId;
use crate::wire::TicketParams;

const DOMAIN: &str = "millstream ticket params v1";
const FIELDS_BYTES: usize = 20 + 20 + SessionId::PADDED_BYTES + 32 + 32 + 8 + 8 + 32 + 16 + 32;
const _: () = assert!(
    FIELDS_BYTES == 264,
    "the table above; with the trailer, two blocks"
);
type Message = [u8; FIELDS_BYTES + KMAC_TRAILER_BYTES];

/// All that we say when we offer tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Us.
    pub recipient: Address,
    /// Who may pay under them.
    pub sender: Address,
    /// What for.
    pub session: SessionId,
    /// At what price.
    pub price: Price,
    /// What a winner is worth.
    pub face_value: Wei,
    /// In parts of 2^256 − 1.
    pub win_prob: Wei,
    /// Chance, so that no two offers have the same secret number.
    pub seed: Wei,
    /// The L1 block from which on they mean nothing.
    pub expiration_block: u64,
    /// The round in which they were made.
    pub creation_round: u64,
    /// The hash of that round's block.
    pub creation_round_block_hash: Hash,
}

impl Terms {
    /// Nobody's, for nothing.
    pub(crate) const NONE: Self = Self {
        recipient: Address::ZERO,
        sender: Address::ZERO,
        session: SessionId::NONE,
        price: Price::NONE,
        face_value: Wei::ZERO,
        win_prob: Wei::ZERO,
        seed: Wei::ZERO,
        expiration_block: 0,
        creation_round: 0,
        creation_round_block_hash: Hash([0; 32]),
    };

    fn message(&self) -> Message {
        let mut message = [0; FIELDS_BYTES + KMAC_TRAILER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            message[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&self.recipient.0);
        put(&self.sender.0);
        put(self.session.padded());
        put(&self.face_value.to_be_bytes::<32>());
        put(&self.win_prob.to_be_bytes::<32>());
        put(&self.expiration_block.to_be_bytes());
        put(&self.creation_round.to_be_bytes());
        put(&self.creation_round_block_hash.0);
        put(&self.price.wei().to_be_bytes());
        put(&self.price.pixels().to_be_bytes());
        put(&self.seed.to_be_bytes::<32>());
        message
    }

    /// What each ticket is worth.
    #[must_use]
    pub fn expected_value(&self) -> ExpectedValue {
        ExpectedValue::of(self.face_value, self.win_prob)
    }
}

/// What only the recipient knows.
#[derive(Clone)]
pub struct Secret(Kmac);

impl Secret {
    /// Of 32 random bytes, which must be the same again after a restart: offers that were made under others are void.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Kmac::new(key, DOMAIN))
    }

    /// The parameters to be sent for an offer.
    #[must_use]
    pub fn offer(&self, terms: &Terms) -> TicketParams {
        let rand = self.recipient_rand(terms);
        TicketParams {
            recipient: terms.recipient,
            face_value: terms.face_value,
            win_prob: terms.win_prob,
            recipient_rand_hash: Hash(keccak256(&rand)),
            seed: terms.seed,
            expiration_block: Wei::from(terms.expiration_block),
            creation_round: terms.creation_round.cast_signed(),
            creation_round_block_hash: terms.creation_round_block_hash,
        }
    }

    fn recipient_rand(&self, terms: &Terms) -> [u8; 32] {
        let mut rand = [[0; 32]];
        self.0
            .mac_many(&mut Plain, &mut [terms.message()], &mut rand);
        rand[0]
    }

    /// Which of `payments` come back as `recipient` offered them, in their order; appended to `opened`. `scratch` is kept between calls.
    ///
    /// # Errors
    /// Each for itself: [`Refusal::Rand`], or [`Refusal::Recipient`].
    pub fn open(
        &self,
        recipient: &Address,
        by: &mut (impl Permute + ?Sized),
        payments: &mut Vec<Received>,
        scratch: &mut Scratch,
        opened: &mut Vec<Opening>,
    ) {
        scratch.messages.clear();
        scratch
            .messages
            .extend(payments.iter().map(|payment| payment.terms().message()));
        scratch.rands.resize(payments.len(), [0; 32]);
        scratch.hashes.resize(payments.len(), [0; 32]);
        self.0
            .mac_many(by, &mut scratch.messages, &mut scratch.rands);
        keccak256_many(by, 32, scratch.rands.as_flattened(), &mut scratch.hashes);
        let made_again = scratch.rands.iter().zip(&scratch.hashes);
        opened.extend(
            payments
                .drain(..)
                .zip(made_again)
                .map(|(mut payment, (rand, hash))| {
                    if payment.terms().recipient != *recipient {
                        return Err((payment, Refusal::Recipient));
                    }
                    if payment.rand_hash().0 != *hash {
                        return Err((payment, Refusal::Rand));
                    }
                    let form = payment.form();
                    form.recipient_rand = *rand;
                    form.value = form.terms.expected_value();
                    Ok(Opened(payment))
                }),
        );
    }
}

/// An offer of ours that came back, or a payment that is none and why.
pub type Opening = Result<Opened, (Received, Refusal)>;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Memory that [`Secret::open`] uses again.
#[derive(Default)]
pub struct Scratch {
    messages: Vec<Message>,
    rands: Vec<[u8; 32]>,
    hashes: Vec<[u8; 32]>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

/// An offer of ours that came back as it was. Only [`Secret::open`] makes one.
pub struct Opened(Received);

impl Opened {
    /// The payment that it came with.
    #[must_use]
    pub const fn payment(&self) -> &Received {
        &self.0
    }

    /// What we offered.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        self.0.terms()
    }

    /// The commitment.
    #[must_use]
    pub const fn rand_hash(&self) -> &Hash {
        self.0.rand_hash()
    }

    /// The secret number. Whoever learns it before the offer has expired can choose nonces that lose.
    #[must_use]
    pub const fn recipient_rand(&self) -> &[u8; 32] {
        &self.0.as_form().recipient_rand
    }

    /// What each ticket is worth.
    #[must_use]
    pub const fn value(&self) -> ExpectedValue {
        self.0.as_form().value
    }

    /// A ticket under it.
    #[must_use]
    pub const fn ticket(&self, sender_nonce: u32) -> Ticket {
        let terms = self.terms();
        Ticket {
            recipient: terms.recipient,
            sender: terms.sender,
            face_value: terms.face_value,
            win_prob: terms.win_prob,
            sender_nonce,
            recipient_rand_hash: *self.rand_hash(),
            creation_round: terms.creation_round,
            creation_round_block_hash: terms.creation_round_block_hash,
        }
    }

    /// The payment, as it was.
    #[must_use]
    pub fn into_payment(self) -> Received {
        self.0
    }

    /// The payment's memory, to be filled again.
    #[must_use]
    pub fn into_blank(self) -> Blank {
        self.0.into_blank()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("terms", self.terms())
            .field("rand_hash", self.rand_hash())
            .finish_non_exhaustive()
    }
}
