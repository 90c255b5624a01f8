//! A recipient and a sender who talk to each other, and the tests' vector file.

#![allow(dead_code)] // each test uses a part of it

use serde_json::Value;
use ticket::address::{Address, Hash};
use ticket::amount::Wei;
use ticket::book::{self, Book, Entry};
use ticket::check::{Asked, Check};
use ticket::float::Funds;
use ticket::offer::{self, Head, Policy};
use ticket::received::{Cursor, Parsed, Received};
use ticket::secret::Opening;
use ticket::sender::{self, LocalKey, PaymentSession};
use ticket::verify::{Known, Limits, Portable, Reference, Verifier};
use ticket::wire::{PriceInfo, TicketParams};
use ticket::{Opened, Price, Refusal, Secret, SessionId};

pub(crate) const SECRET: [u8; 32] = [3; 32];

/// The vector file.
pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../ticket-vectors.json")).unwrap()
}

/// Every vector of a kind.
pub(crate) fn each<'a>(file: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = file[kind].as_array().unwrap_or_else(|| panic!("no {kind}"));
    assert!(!list.is_empty(), "{kind} is empty");
    list.iter()
}

/// Bytes of `0x…`.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"));
    hex::decode(text.strip_prefix("0x").unwrap()).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

/// An integer in decimal.
pub(crate) fn wei(value: &Value) -> Wei {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn session(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

pub(crate) fn key(n: u8) -> LocalKey {
    LocalKey::new([n; 32]).unwrap()
}

/// Every verifier that needs no vectors.
pub(crate) fn verifiers() -> Vec<Box<dyn Verifier>> {
    let limits = Limits {
        keys: 8,
        tables: 4,
        table_after: 2,
    };
    vec![
        Box::new(Reference),
        Box::new(Known::new(Portable::default(), limits)),
    ]
}

/// An orchestrator, as far as payments go.
pub(crate) struct Recipient {
    pub(crate) policy: Policy,
    pub(crate) head: Head,
    pub(crate) funds: Funds,
    pub(crate) secret: Secret,
    pub(crate) check: Check,
    pub(crate) book: Book,
    pub(crate) entry: Entry,
    seed: u8,
}

impl Recipient {
    pub(crate) fn new() -> Self {
        Self::with(book::Limits::default())
    }

    pub(crate) fn with(limits: book::Limits) -> Self {
        let recipient = Address([0xbb; 20]);
        let secret = Secret::new(&SECRET);
        let mut new = Self {
            policy: Policy {
                recipient,
                ticket_ev: Wei::from(8_000_000_000_u64),
                face_value_max: Wei::ZERO,
                redeem_gas: 1_200_000,
            },
            head: Head {
                l1_block: 21_000_000,
                round: 3_456,
                round_block_hash: Hash([0x41; 32]),
                gas_price: Wei::ZERO,
            },
            funds: Funds {
                deposit: Wei::from(10).pow(Wei::from(24)),
                reserve: Wei::from(10).pow(Wei::from(24)),
                pool_size: 1,
                ..Funds::default()
            },
            check: Check::new(
                recipient,
                secret.clone(),
                Box::new(Known::new(Portable::default(), Limits::default())),
            ),
            secret,
            book: Book::new(limits),
            entry: Entry::default(),
            seed: 0,
        };
        new.book.see_block(new.head.l1_block, &mut new.entry);
        new
    }

    /// Parameters for a sender.
    pub(crate) fn offer(
        &mut self,
        sender: Address,
        session: SessionId,
        price: Price,
    ) -> TicketParams {
        self.seed += 1;
        let pending = self.book.pending(&sender);
        let terms = offer::quote(
            &self.policy,
            &self.head,
            (&self.funds, pending),
            (sender, session, price),
            [self.seed; 32],
        )
        .unwrap();
        self.secret.offer(&terms)
    }

    /// What becomes of each ticket of a payment; of a payment that is refused whole, the one reason.
    pub(crate) fn take(&mut self, payment: &[u8], session: SessionId) -> Vec<Result<(), Refusal>> {
        let received = match Received::parse(payment.to_vec(), session, session) {
            Parsed::Payment(received) => received,
            Parsed::Nothing(_) => return Vec::new(),
            Parsed::Refused(_, fault) => match fault {
                ticket::received::Fault::Refused(why) => return vec![Err(why)],
                ticket::received::Fault::Malformed(how) => panic!("{how}"),
            },
        };
        match self.open(received) {
            Ok(opened) => self.take_opened(&opened),
            Err((_, why)) => vec![Err(why)],
        }
    }

    pub(crate) fn open(&mut self, received: Received) -> Opening {
        let mut opened = Vec::new();
        self.check.open(&mut vec![received], &mut opened);
        opened.remove(0)
    }

    pub(crate) fn take_opened(&mut self, opened: &Opened) -> Vec<Result<(), Refusal>> {
        let received = opened.payment();
        let admitted = match self.book.admit(
            opened,
            received.account(),
            Some(&self.funds),
            self.head.round,
        ) {
            Ok(admitted) => admitted,
            Err(why) => return vec![Err(why)],
        };
        let slips: Vec<_> = received.slips(&mut Cursor::default()).collect();
        let asked: Vec<_> = slips
            .iter()
            .map(|(nonce, signature)| {
                signature.map(|signature| Asked {
                    opened,
                    nonce: *nonce,
                    signature,
                })
            })
            .collect();
        let mut proven = Vec::new();
        self.check
            .prove(asked.iter().flatten().copied(), &mut proven);
        let mut proven = proven.into_iter();
        asked
            .iter()
            .map(|asked| match asked {
                None => Err(Refusal::Signature),
                Some(asked) => {
                    let proven = proven.next().unwrap();
                    self.book.look(&admitted, opened, asked.nonce)?;
                    self.book
                        .credit(&admitted, opened, &proven?, &mut self.entry)
                }
            })
            .collect()
    }

    /// The balance of an account, in whole wei.
    pub(crate) fn balance(&self, sender: Address, session: SessionId) -> String {
        self.book
            .account(sender, session)
            .map_or("none".to_owned(), |account| account.balance().to_string())
    }
}

/// A gateway that has accepted parameters.
pub(crate) fn pay(key: &LocalKey, params: &TicketParams, price: Price) -> PaymentSession {
    let own = Funds {
        deposit: Wei::MAX,
        reserve: Wei::from(1),
        ..Funds::default()
    };
    let limits = sender::Limits {
        ticket_ev_max: Wei::MAX,
        total_ev_max: Wei::MAX,
        deposit_multiplier: 1,
    };
    let accepted = sender::accept(params, 1, (0, 0), &own, &limits).unwrap();
    let (price_per_unit, pixels_per_unit) = price.to_wire();
    PaymentSession::new(
        key.address(),
        accepted,
        PriceInfo {
            price_per_unit,
            pixels_per_unit,
        },
    )
}

/// A payment's bytes.
pub(crate) fn payment(key: &LocalKey, session: &mut PaymentSession, tickets: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    session
        .tickets(tickets)
        .unwrap()
        .write_signed(key, &mut bytes);
    bytes
}
