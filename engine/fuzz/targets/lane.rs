//! Scripts of payments against a running ticket lane: sound ones and repeated ones, forged, damaged and late ones, and charges beside
//! them, while the disk fails now and then.
//!
//! What must hold, whatever the script: each payment and each charge is answered once; what the answers say was credited and taken is
//! what the disk's book has, to the part; no ticket is credited that nobody signed, and none twice; and while nothing fails, each sound
//! one is.

#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use engine::drive::tickets::TicketDrive;
use engine::{Gather, Tickets, VerifierChoice};
use libfuzzer_sys::fuzz_target;
use link::payment::{Batch, Done, JournalEnd, journal};
use link::{Chain, Charge, ChargeReply, Charged, NotCharged};
use ticket::address::Hash;
use ticket::amount::Credit;
use ticket::book::{self, Book};
use ticket::float::Funds;
use ticket::layout::Digest;
use ticket::offer::{self, Head, Policy};
use ticket::received::Parsed;
use ticket::secret::Secret;
use ticket::sender::{self, LocalKey, PaymentSession};
use ticket::verify::Limits;
use ticket::wire::PriceInfo;
use ticket::{Address, ExpectedValue, Price, Received, Refusal, SessionId, Signature, Wei};

const PATIENCE: Duration = Duration::from_secs(20);
const RECIPIENT: Address = Address([0xbb; 20]);
const GATEWAYS: usize = 3;
/// Payments of a script, and as many charges; more are not sent.
const PAYMENTS_MAX: usize = 48;

#[derive(Debug, Arbitrary)]
struct Script {
    steps: Vec<Step>,
    /// A bit for each of eight batches, by turns: set where the disk does not take it.
    failing: u8,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// A sound payment.
    Pay { gateway: u8, tickets: u8 },
    /// An earlier one once more.
    Replay { which: u8 },
    /// An earlier one with some of its bytes changed.
    Damage { which: u8, changes: Vec<(u16, u8)> },
    /// One whose tickets another key signed.
    Forge { gateway: u8, tickets: u8, noise: u8 },
    /// Nonces that are never used.
    Skip { gateway: u8, nonces: u8 },
    /// New parameters.
    Refresh { gateway: u8 },
    /// Blocks pass.
    Wait { blocks: u8 },
    /// Some bytes.
    Noise(Vec<u8>),
    /// Pixels taken from a gateway's account, or none.
    Charge { gateway: u8, pixels: u16 },
}

/// A chain whose newest block is the script's to say.
struct Scripted(AtomicU64);

impl Chain for Scripted {
    fn head(&self) -> Head {
        Head {
            l1_block: self.0.load(Ordering::Relaxed),
            round: 5,
            round_block_hash: Hash([4; 32]),
            gas_price: Wei::ZERO,
        }
    }

    fn funds(&self, _sender: &Address) -> Option<Funds> {
        Some(rich())
    }
}

fn rich() -> Funds {
    Funds {
        deposit: Wei::MAX >> 1,
        reserve: Wei::MAX >> 2,
        pool_size: 1,
        ..Funds::default()
    }
}

/// What lives from one script to the next: the lane, and a disk.
struct World {
    drive: TicketDrive,
    journal: JournalEnd,
    chain: Arc<Scripted>,
    secret: Secret,
    on_disk: Book,
    epoch: u32,
    /// All batches of this epoch fail from here on.
    has_failed: bool,
    /// Whether the lane may not have heard yet that the disk is there again, and refuses what comes.
    may_be_deaf: bool,
    /// Seeds of commitments: none is used twice.
    seeds: u64,
}

impl World {
    fn new() -> Self {
        let (lane_end, journal) = journal();
        let secret = Secret::new(&[3; 32]);
        let chain = Arc::new(Scripted(AtomicU64::new(1_000)));
        let tickets = Tickets {
            recipient: RECIPIENT,
            secret: secret.clone(),
            book: Book::new(book::Limits::default()),
            journal: lane_end,
            chain: chain.clone(),
            verifier: VerifierChoice::Auto,
            keys: Limits::default(),
            gather: Gather {
                batch_tickets: 32,
                wait: Duration::from_micros(50),
                ..Gather::default()
            },
        };
        Self {
            drive: TicketDrive::start(tickets).expect("a lane"),
            journal,
            chain,
            secret,
            on_disk: Book::new(book::Limits::default()),
            epoch: 0,
            has_failed: false,
            may_be_deaf: false,
            seeds: 0,
        }
    }

    /// A number that was not there before, in 32 bytes.
    fn fresh(&mut self) -> [u8; 32] {
        self.seeds += 1;
        let mut seed = [1; 32];
        seed[24..].copy_from_slice(&self.seeds.to_be_bytes());
        seed
    }

    fn gateway(&mut self) -> Gateway {
        let seed = self.fresh();
        let key = LocalKey::new(seed).expect("a key");
        let (session, terms) = self.quote(&key);
        Gateway {
            key,
            session,
            value: ExpectedValue::of(terms.0, terms.1),
            expiration_block: terms.2,
            signed: 0,
            sound: 0,
            credited: 0,
            taken: 0,
        }
    }

    /// Parameters for a sender; and their face value, win probability and expiration block.
    fn quote(&mut self, key: &LocalKey) -> (PaymentSession, (Wei, Wei, u64)) {
        let seed = self.fresh();
        let policy = Policy {
            recipient: RECIPIENT,
            ticket_ev: Wei::from(8_000_000_000_u64),
            face_value_max: Wei::from(16_000_000_000_u64),
            redeem_gas: 0,
        };
        let price = Price::new(1_200, 1).expect("a price");
        let whose = (key.address(), name(), price);
        let head = self.chain.head();
        let terms =
            offer::quote(&policy, &head, (&rich(), Wei::ZERO), whose, seed).expect("an offer");
        let params = self.secret.offer(&terms);
        let limits = sender::Limits {
            ticket_ev_max: Wei::MAX,
            total_ev_max: Wei::MAX,
            deposit_multiplier: 1,
        };
        let accepted = sender::accept(&params, 1, (0, 0), &rich(), &limits).expect("a sound offer");
        let info = PriceInfo {
            price_per_unit: 1_200,
            pixels_per_unit: 1,
        };
        let session = PaymentSession::new(key.address(), accepted, info);
        (
            session,
            (terms.face_value, terms.win_prob, terms.expiration_block),
        )
    }

    /// Writes what has come, or fails at it. Once nothing is on its way, the disk is there again.
    fn write(&mut self, mut is_failing: impl FnMut() -> bool) {
        while let Some(Batch {
            epoch,
            number,
            entry,
        }) = self.journal.batches.pop()
        {
            let is_taken = epoch == self.epoch && !self.has_failed && !is_failing();
            if is_taken {
                for op in entry.ops() {
                    let op = op.expect("an operation");
                    self.on_disk.apply(&op).expect("the lane's book is sound");
                }
                let buffer = entry.into_bytes();
                self.journal.say(Done::Written {
                    epoch,
                    number,
                    buffer,
                });
            } else {
                self.has_failed |= epoch == self.epoch;
                self.journal.say(Done::Failed { epoch, number });
            }
            self.journal.ring();
        }
        if self.has_failed {
            self.has_failed = false;
            self.epoch += 1;
            let book = Box::new(self.on_disk.clone());
            self.journal.say(Done::Resumed {
                epoch: self.epoch,
                book,
            });
            self.journal.ring();
        }
    }
}

/// A sender of one script.
struct Gateway {
    key: LocalKey,
    session: PaymentSession,
    value: ExpectedValue,
    expiration_block: u64,
    /// Tickets that it signed and that were sent.
    signed: u64,
    /// Those of them that nothing is wrong with.
    sound: u64,
    /// What the answers say was credited.
    credited: u64,
    /// What the answers say was taken.
    taken: u128,
}

/// What a charge came to.
type Answer = (usize, u16, Charged);

/// One script against the world.
struct Run<'a> {
    world: &'a mut World,
    gateways: Vec<Gateway>,
    /// Payments that were made, for repeating and damaging.
    made: Vec<Vec<u8>>,
    /// Those that were handed in: how many tickets each claims to have, and whether it was answered.
    sent: Vec<(u32, bool)>,
    /// Charges that are not answered yet.
    charges_open: usize,
    charges: usize,
    /// Whether one was refused because it could not be recorded.
    not_charged: bool,
    /// By whom, how many pixels, and what came of it.
    told: (Sender<Answer>, Receiver<Answer>),
    /// What was refused, and why, for people.
    refusals: Vec<(u64, Refusal)>,
    batches: u32,
    failing: u8,
    has_failed: bool,
}

impl Run<'_> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Pay { gateway, tickets } => {
                let payment = self.sign(gateway, tickets);
                self.send(payment.clone());
                self.made.push(payment);
            }
            Step::Replay { which } => {
                if let Some(payment) = self.earlier(which) {
                    self.send(payment);
                }
            }
            Step::Damage { which, changes } => {
                if let Some(mut payment) = self.earlier(which) {
                    for (at, byte) in changes {
                        let at = usize::from(at) % payment.len();
                        payment[at] = byte;
                    }
                    self.send(payment);
                }
            }
            Step::Forge {
                gateway,
                tickets,
                noise,
            } => {
                let payment = self.forge(gateway, tickets, noise);
                self.send(payment);
            }
            Step::Skip { gateway, nonces } => {
                let gateway = self.of(gateway);
                let nonces = u32::from(nonces).min(gateway.session.left().saturating_sub(1));
                if nonces > 0 {
                    gateway.session.tickets(nonces).expect("nonces");
                }
            }
            Step::Refresh { gateway } => self.refresh(gateway),
            Step::Wait { blocks } => {
                // What is under way is checked at the block at which it was sent.
                self.settle();
                self.world
                    .chain
                    .0
                    .fetch_add(u64::from(blocks % 60), Ordering::Relaxed);
            }
            Step::Noise(bytes) => self.send(bytes),
            Step::Charge { gateway, pixels } => self.charge(gateway, pixels),
        }
    }

    fn of(&mut self, gateway: u8) -> &mut Gateway {
        &mut self.gateways[usize::from(gateway) % GATEWAYS]
    }

    fn earlier(&self, which: u8) -> Option<Vec<u8>> {
        let which = usize::from(which).checked_rem(self.made.len())?;
        Some(self.made[which].clone())
    }

    fn refresh(&mut self, gateway: u8) {
        let gateway = usize::from(gateway) % GATEWAYS;
        let (session, (.., expiration_block)) = self.world.quote(&self.gateways[gateway].key);
        self.gateways[gateway].session = session;
        self.gateways[gateway].expiration_block = expiration_block;
    }

    /// The next tickets, and new parameters where the nonces have run out.
    fn sign(&mut self, gateway: u8, tickets: u8) -> Vec<u8> {
        let tickets = 1 + u32::from(tickets % 8);
        if self.of(gateway).session.left() < tickets {
            self.refresh(gateway);
        }
        let block = self.world.chain.0.load(Ordering::Relaxed);
        let gateway = self.of(gateway);
        gateway.signed += u64::from(tickets);
        if block + 1 < gateway.expiration_block {
            gateway.sound += u64::from(tickets);
        }
        let mut bytes = Vec::new();
        let unsigned = gateway.session.tickets(tickets).expect("nonces");
        unsigned.write_signed(&gateway.key, &mut bytes);
        bytes
    }

    /// A payment whose tickets somebody else signed, or nobody.
    fn forge(&mut self, gateway: u8, tickets: u8, noise: u8) -> Vec<u8> {
        let thief = LocalKey::new([0x77; 32]).expect("a key");
        let tickets = 1 + u32::from(tickets % 8);
        if self.of(gateway).session.left() < tickets {
            self.refresh(gateway);
        }
        let unsigned = self.of(gateway).session.tickets(tickets).expect("nonces");
        let signed: Vec<(u32, Signature)> = unsigned
            .tickets()
            .iter()
            .map(|(nonce, _)| {
                let mut bytes = thief.sign(&Digest([noise; 32])).to_bytes();
                bytes[..4].copy_from_slice(&nonce.to_be_bytes());
                let signature = Signature::parse(&bytes);
                (
                    *nonce,
                    signature.unwrap_or_else(|_| thief.sign(&Digest([noise; 32]))),
                )
            })
            .collect();
        let mut bytes = Vec::new();
        unsigned.write(&signed, &mut bytes);
        bytes
    }

    fn send(&mut self, bytes: Vec<u8>) {
        if self.sent.len() >= PAYMENTS_MAX {
            return;
        }
        if let Parsed::Payment(payment) = Received::parse(bytes, name(), name()) {
            let key = self.sent.len() as u64;
            let source = u64::from(payment.sender().0[19]);
            self.sent.push((payment.tickets(), false));
            let is_in = self.world.drive.pay(payment, source, key).is_ok();
            assert!(is_in, "there is room");
        }
    }

    fn charge(&mut self, gateway: u8, pixels: u16) {
        if self.charges >= PAYMENTS_MAX {
            return;
        }
        let gateway = usize::from(gateway) % GATEWAYS;
        let charge = Charge {
            sender: self.gateways[gateway].key.address(),
            account: name(),
            pixels: u64::from(pixels),
        };
        let tell = self.told.0.clone();
        let reply = ChargeReply::new(move |charged| {
            let _ = tell.send((gateway, pixels, charged));
        });
        self.charges += 1;
        self.charges_open += 1;
        self.world.drive.charge(charge, reply);
    }

    fn take_charges(&mut self) {
        while let Ok((gateway, pixels, charged)) = self.told.1.try_recv() {
            self.charges_open = self.charges_open.checked_sub(1).expect("answered twice");
            let gateway = &mut self.gateways[gateway];
            match charged {
                Ok(account) => {
                    gateway.taken += u128::from(pixels);
                    assert_eq!(account.pixels, gateway.taken, "charges come in order");
                }
                Err(NotCharged::NoAccount) => assert_eq!(gateway.taken, 0, "there was one"),
                Err(NotCharged::NotRecorded) => self.not_charged = true,
                Err(NotCharged::Busy) => panic!("there is room"),
            }
        }
    }

    /// Waits until all that was sent is answered, and writes what the lane wants written.
    fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.charges_open > 0 || self.sent.iter().any(|(_, is_answered)| !is_answered) {
            self.take_charges();
            let (failing, batches, has_failed) =
                (self.failing, &mut self.batches, &mut self.has_failed);
            self.world.write(|| {
                let fails = failing >> (*batches % 8) & 1 == 1 && failing.count_ones() < 5;
                *batches += 1;
                *has_failed |= fails;
                fails
            });
            while let Some((key, receipt, _)) = self.world.drive.next() {
                let (tickets, is_answered) = &mut self.sent[usize::try_from(key).expect("a count")];
                assert!(!*is_answered, "answered twice");
                *is_answered = true;
                self.refusals.extend(receipt.refused.map(|why| (key, why)));
                assert!(receipt.credited <= *tickets);
                assert!(receipt.refused.is_some() || receipt.credited == *tickets);
                let whose = self
                    .gateways
                    .iter_mut()
                    .find(|gateway| gateway.key.address() == receipt.sender);
                match whose {
                    Some(gateway) => gateway.credited += u64::from(receipt.credited),
                    None => assert_eq!(receipt.credited, 0, "nobody's ticket was credited"),
                }
            }
            assert!(Instant::now() < until, "it is not answered");
            std::hint::spin_loop();
        }
    }

    fn judge(&mut self) {
        let is_refused = |(_, why): &(u64, Refusal)| *why == Refusal::NotRecorded;
        if self.not_charged || self.refusals.iter().any(is_refused) {
            assert!(
                self.has_failed || self.world.may_be_deaf,
                "the disk took all"
            );
            self.has_failed = true;
        }
        // Whoever credits a ticket has heard.
        let has_credited = self.gateways.iter().any(|gateway| gateway.credited > 0);
        self.world.may_be_deaf = self.has_failed || self.world.may_be_deaf && !has_credited;
        for gateway in &self.gateways {
            let account = self.world.on_disk.account(gateway.key.address(), name());
            let recorded = account.map_or(Credit::ZERO, |account| account.credit);
            let worth = |tickets: u64| {
                let mut credit = Credit::ZERO;
                (0..tickets).for_each(|_| credit += gateway.value);
                credit.parts()
            };
            let taken = account.map_or(0, |account| account.pixels);
            assert_eq!(taken, gateway.taken, "answers and record differ");
            assert!(
                recorded.parts() <= worth(gateway.signed),
                "more than was signed"
            );
            if self.has_failed {
                assert!(
                    recorded.parts() >= worth(gateway.credited),
                    "what was confirmed is lost"
                );
            } else {
                assert_eq!(
                    recorded.parts(),
                    worth(gateway.credited),
                    "answers and record differ"
                );
                assert!(
                    gateway.credited >= gateway.sound,
                    "a sound ticket is refused: {} of {}; {:?}",
                    gateway.credited,
                    gateway.sound,
                    self.refusals
                );
            }
        }
    }
}

fn name() -> SessionId {
    SessionId::new("stream").expect("a name")
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

fuzz_target!(|script: Script| {
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let world = world.get_or_insert_with(World::new);
    // No script meets the parameters of those long before it, and the book forgets them.
    world.chain.0.fetch_add(1, Ordering::Relaxed);
    let gateways = (0..GATEWAYS).map(|_| world.gateway()).collect();
    let mut run = Run {
        world,
        gateways,
        made: Vec::new(),
        sent: Vec::new(),
        charges_open: 0,
        charges: 0,
        not_charged: false,
        told: mpsc::channel(),
        refusals: Vec::new(),
        batches: 0,
        failing: script.failing,
        has_failed: false,
    };
    for step in script.steps.into_iter().take(PAYMENTS_MAX) {
        run.step(step);
    }
    run.settle();
    run.judge();
});
