//! A ticket's way, stage by stage: read, opened, hashed, verified, drawn, its nonce taken, credited; and a whole batch without the disk.

use std::hint::black_box;

use control::ticket::book::{self, Book, Entry};
use control::ticket::check::Asked;
use control::ticket::keccak::{Permute, Plain, keccak256_many};
use control::ticket::layout::{Digest, FLAT_BYTES};
use control::ticket::nonces::Nonces;
use control::ticket::received::{Cursor, Parsed};
use control::ticket::secret::{self, Scratch};
use control::ticket::sender::LocalKey;
use control::ticket::verify::{Claim, Limits, Verifier};
use control::ticket::{Authentic, Blank, Check, Opened, Received, Refusal, Secret};
use engine::VerifierChoice;
use link::Chain;

use super::{Body, Round};
use crate::tickets::purse::{Purse, RECIPIENT, Still, secret, session};

/// Tickets of a round: a batch.
const TICKETS: usize = 256;

fn round() -> Round {
    Round {
        operations: TICKETS as u64,
        bytes: None,
    }
}

/// The verifier of a name; where there are no vectors, the one that takes their place.
fn verifier(choice: VerifierChoice) -> Box<dyn Verifier> {
    let limits = Limits {
        table_after: 1,
        ..Limits::default()
    };
    choice
        .make(limits)
        .or_else(|_| VerifierChoice::Auto.make(limits))
        .expect("there is always one")
}

fn parse(bytes: impl Into<Blank>) -> Received {
    match Received::parse(bytes, session(), session()) {
        Parsed::Payment(payment) => payment,
        _ => panic!("a payment"),
    }
}

/// Payments read from their bytes.
pub(super) struct Decoding {
    payments: Vec<Vec<u8>>,
    blanks: Vec<Option<Blank>>,
    tickets_each: u32,
}

impl Decoding {
    pub(super) fn new(tickets_each: u32) -> Self {
        Self {
            payments: Purse::fill(1, tickets_each, TICKETS).payments,
            blanks: Vec::new(),
            tickets_each,
        }
    }
}

impl Body for Decoding {
    fn round(&self) -> Round {
        Round {
            operations: self.payments.len() as u64 * u64::from(self.tickets_each),
            bytes: Some(
                self.payments
                    .iter()
                    .map(|payment| payment.len() as u64)
                    .sum(),
            ),
        }
    }

    fn prepare(&mut self) {
        self.blanks
            .resize_with(self.payments.len(), || Some(Blank::default()));
        for (blank, payment) in self.blanks.iter_mut().zip(&self.payments) {
            if let Some(blank) = blank {
                blank.bytes().clone_from(payment);
            }
        }
    }

    fn run(&mut self) -> u64 {
        let mut tickets = 0;
        for place in &mut self.blanks {
            let payment = parse(place.take().expect("it was filled"));
            tickets += payment
                .slips(&mut Cursor::default())
                .filter(|(_, signature)| signature.is_some())
                .count() as u64;
            *place = Some(payment.into_blank());
        }
        tickets
    }
}

/// Parameters found to be ours: a MAC and a hash a payment.
pub(super) struct Opening {
    secret: Secret,
    verifier: Box<dyn Verifier>,
    payments: Vec<Received>,
    scratch: Scratch,
    opened: Vec<secret::Opening>,
}

impl Opening {
    pub(super) fn new(choice: VerifierChoice) -> Self {
        Self {
            secret: secret(),
            verifier: verifier(choice),
            payments: Purse::fill(1, 1, TICKETS)
                .payments
                .into_iter()
                .map(parse)
                .collect(),
            scratch: Scratch::default(),
            opened: Vec::new(),
        }
    }
}

impl Body for Opening {
    fn round(&self) -> Round {
        round()
    }

    fn prepare(&mut self) {
        let opened = self.opened.drain(..).flatten();
        self.payments.extend(opened.map(Opened::into_payment));
    }

    fn run(&mut self) -> u64 {
        self.secret.open(
            &RECIPIENT,
            &mut *self.verifier,
            &mut self.payments,
            &mut self.scratch,
            &mut self.opened,
        );
        self.opened.iter().filter(|opened| opened.is_ok()).count() as u64
    }
}

/// Tickets hashed, and their digests: three permutations each.
pub(super) struct Hashing {
    by: Box<dyn Permute>,
    tickets: Vec<[u8; FLAT_BYTES]>,
    hashes: Vec<[u8; 32]>,
}

impl Hashing {
    pub(super) fn plain() -> Self {
        Self::with(Box::new(Plain))
    }

    pub(super) fn vector() -> Self {
        struct By(Box<dyn Verifier>);
        impl Permute for By {
            fn permute(&mut self, states: &mut [control::ticket::keccak::State]) {
                self.0.permute(states);
            }
        }
        Self::with(Box::new(By(verifier(VerifierChoice::Vector))))
    }

    fn with(by: Box<dyn Permute>) -> Self {
        Self {
            by,
            tickets: (0..TICKETS).map(|n| [n as u8; FLAT_BYTES]).collect(),
            hashes: vec![[0; 32]; TICKETS],
        }
    }
}

impl Body for Hashing {
    fn round(&self) -> Round {
        round()
    }

    fn run(&mut self) -> u64 {
        keccak256_many(
            &mut *self.by,
            FLAT_BYTES,
            self.tickets.as_flattened(),
            &mut self.hashes,
        );
        // A digest is a hash of 60 bytes; the tickets' first bytes do as well.
        let prefixed: Vec<_> = self
            .tickets
            .iter()
            .flat_map(|ticket| &ticket[..60])
            .copied()
            .collect();
        keccak256_many(&mut *self.by, 60, &prefixed, &mut self.hashes);
        black_box(&self.hashes).len() as u64
    }
}

/// Signatures of senders that are known, or recovered.
pub(super) struct Verifying {
    verifier: Box<dyn Verifier>,
    claims: Vec<Claim>,
    genuine: Vec<bool>,
}

impl Verifying {
    pub(super) fn new(choice: VerifierChoice) -> Self {
        let key = LocalKey::new([7; 32]).expect("a key");
        let claims: Vec<_> = (0..TICKETS)
            .map(|n| {
                let mut bytes = [1; 32];
                bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
                let digest = Digest(bytes);
                Claim {
                    digest,
                    signature: key.sign(&digest),
                    sender: key.address(),
                }
            })
            .collect();
        let mut verifier = verifier(choice);
        verifier.verify(&claims[..8], &mut Vec::new());
        Self {
            verifier,
            claims,
            genuine: Vec::new(),
        }
    }
}

impl Body for Verifying {
    fn round(&self) -> Round {
        round()
    }

    fn run(&mut self) -> u64 {
        self.genuine.clear();
        self.verifier.verify(&self.claims, &mut self.genuine);
        self.genuine
            .iter()
            .filter(|is_genuine| **is_genuine)
            .count() as u64
    }
}

/// Draws: one permutation each.
pub(super) struct Drawing {
    verifier: Box<dyn Verifier>,
    bytes: Vec<u8>,
    draws: Vec<[u8; 32]>,
}

impl Drawing {
    const BYTES: usize = 97;

    pub(super) fn new(choice: VerifierChoice) -> Self {
        Self {
            verifier: verifier(choice),
            bytes: (0..TICKETS * Self::BYTES).map(|n| n as u8).collect(),
            draws: vec![[0; 32]; TICKETS],
        }
    }
}

impl Body for Drawing {
    fn round(&self) -> Round {
        round()
    }

    fn run(&mut self) -> u64 {
        keccak256_many(
            &mut *self.verifier,
            Self::BYTES,
            &self.bytes,
            &mut self.draws,
        );
        black_box(&self.draws).len() as u64
    }
}

/// Nonces of one set of parameters.
#[derive(Default)]
pub(super) struct Counting {
    nonces: Nonces,
}

impl Body for Counting {
    fn round(&self) -> Round {
        round()
    }

    fn prepare(&mut self) {
        self.nonces = Nonces::default();
    }

    fn run(&mut self) -> u64 {
        // Reordered within tens, as a network does.
        let nonces = (0..TICKETS as u32).map(|n| n / 10 * 10 + n % 10 * 7 % 10);
        nonces
            .filter(|nonce| self.nonces.take(black_box(*nonce) + 1).is_ok())
            .count() as u64
    }
}

/// Tickets credited, and written to an entry.
pub(super) struct Crediting {
    book: Book,
    fresh: Book,
    opened: Vec<Opened>,
    tickets: Vec<Authentic>,
    entry: Entry,
}

impl Crediting {
    pub(super) fn new() -> Self {
        let whole = Whole::new(VerifierChoice::Reference);
        let (opened, tickets) = whole.proven();
        Self {
            book: Book::new(book::Limits::default()),
            fresh: Book::new(book::Limits::default()),
            opened,
            tickets,
            entry: Entry::default(),
        }
    }
}

impl Body for Crediting {
    fn round(&self) -> Round {
        round()
    }

    fn prepare(&mut self) {
        self.book = self.fresh.clone();
        self.entry = Entry::within(std::mem::take(&mut self.entry).into_bytes());
    }

    fn run(&mut self) -> u64 {
        let funds = Still.funds(&RECIPIENT);
        let mut credited = 0;
        for (opened, ticket) in self.opened.iter().zip(&self.tickets) {
            let Ok(admitted) = self.book.admit(opened, session(), funds.as_ref(), 5) else {
                continue;
            };
            credited += u64::from(
                self.book
                    .credit(&admitted, opened, ticket, &mut self.entry)
                    .is_ok(),
            );
        }
        credited
    }
}

/// All of it but the disk: payments of one ticket, opened, proven, credited.
pub(super) struct Whole {
    check: Check,
    payments: Vec<Received>,
    opened: Vec<secret::Opening>,
    proven: Vec<Result<Authentic, Refusal>>,
    book: Book,
    entry: Entry,
}

impl Whole {
    pub(super) fn new(choice: VerifierChoice) -> Self {
        let mut check = Check::new(RECIPIENT, secret(), verifier(choice));
        let mut payments: Vec<_> = Purse::fill(1, 1, TICKETS)
            .payments
            .into_iter()
            .map(parse)
            .collect();
        // The sender becomes known.
        let mut opened = Vec::new();
        check.open(&mut payments, &mut opened);
        let mut whole = Self {
            check,
            payments,
            opened,
            proven: Vec::new(),
            book: Book::new(book::Limits::default()),
            entry: Entry::default(),
        };
        whole.prove();
        whole
    }

    fn prove(&mut self) {
        self.proven.clear();
        let asked = self.opened.iter().flatten().filter_map(|opened| {
            let mut cursor = Cursor::default();
            let (nonce, signature) = opened.payment().slips(&mut cursor).next()?;
            Some(Asked {
                opened,
                nonce,
                signature: signature?,
            })
        });
        self.check.prove(asked, &mut self.proven);
    }

    fn proven(self) -> (Vec<Opened>, Vec<Authentic>) {
        (
            self.opened.into_iter().flatten().collect(),
            self.proven.into_iter().flatten().collect(),
        )
    }
}

impl Body for Whole {
    fn round(&self) -> Round {
        round()
    }

    fn prepare(&mut self) {
        self.book = Book::new(book::Limits::default());
        self.entry = Entry::within(std::mem::take(&mut self.entry).into_bytes());
        let opened = self.opened.drain(..).flatten();
        self.payments.extend(opened.map(Opened::into_payment));
    }

    fn run(&mut self) -> u64 {
        self.check.open(&mut self.payments, &mut self.opened);
        self.prove();
        let funds = Still.funds(&RECIPIENT);
        let mut credited = 0;
        for (opened, ticket) in self
            .opened
            .iter()
            .flatten()
            .zip(self.proven.iter().flatten())
        {
            let admitted = self
                .book
                .admit(opened, session(), funds.as_ref(), 5)
                .expect("it is admitted");
            credited += u64::from(
                self.book
                    .credit(&admitted, opened, ticket, &mut self.entry)
                    .is_ok(),
            );
        }
        credited
    }
}
