//! The lane with a journal that does as it is told.

mod charges;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use link::payment::{BATCHES_MAX, Batch, Done, JournalEnd, journal};
use link::{Chain, Receipt};
use ticket::address::Hash;
use ticket::amount::Wei;
use ticket::book;
use ticket::float::Funds;
use ticket::layout::Digest;
use ticket::offer::{self, Head, Policy};
use ticket::received::Parsed;
use ticket::sender::{self, LocalKey, PaymentSession};
use ticket::wire::PriceInfo;
use ticket::{Price, SessionId, Signature};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const RECIPIENT: Address = Address([0xbb; 20]);
const TICKET_EV: u64 = 8_000_000_000;

/// A chain on which nothing happens and everyone is rich.
struct Still;

impl Chain for Still {
    fn head(&self) -> Head {
        Head {
            l1_block: 1_000,
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

struct World {
    lane: TicketLane,
    window: ShardWindow,
    journal: JournalEnd,
    secret: Secret,
    thread: Option<JoinHandle<()>>,
    seed: u8,
}

impl World {
    fn new(gather: Gather) -> Self {
        Self::with_book(gather, Book::new(book::Limits::default()))
    }

    fn with_book(gather: Gather, book: Book) -> Self {
        let (lane_end, journal) = journal();
        let secret = Secret::new(&[3; 32]);
        let tickets = Tickets {
            recipient: RECIPIENT,
            secret: secret.clone(),
            book,
            journal: lane_end,
            chain: Arc::new(Still),
            verifier: VerifierChoice::Known,
            keys: Limits::default(),
            gather,
        };
        let (lane, mut windows, thread) = TicketLane::start(tickets, 1).unwrap();
        Self {
            lane,
            window: windows.remove(0),
            journal,
            secret,
            thread: Some(thread),
            seed: 0,
        }
    }

    /// A sender with parameters of its own.
    fn gateway(&mut self, n: u8) -> Gateway {
        self.seed += 1;
        let key = LocalKey::new([n; 32]).unwrap();
        let policy = Policy {
            recipient: RECIPIENT,
            ticket_ev: Wei::from(TICKET_EV),
            face_value_max: Wei::ZERO,
            redeem_gas: 0,
        };
        let price = Price::new(1_200, 1).unwrap();
        let terms = offer::quote(
            &policy,
            &Still.head(),
            (&rich(), Wei::ZERO),
            (key.address(), session(), price),
            [self.seed; 32],
        );
        let params = self.secret.offer(&terms.unwrap());
        let limits = sender::Limits {
            ticket_ev_max: Wei::MAX,
            total_ev_max: Wei::MAX,
            deposit_multiplier: 1,
        };
        let accepted = sender::accept(&params, 1, (0, 0), &rich(), &limits).unwrap();
        let info = PriceInfo {
            price_per_unit: 1_200,
            pixels_per_unit: 1,
        };
        Gateway {
            session: PaymentSession::new(key.address(), accepted, info),
            key,
        }
    }

    fn pay(&mut self, payment: Vec<u8>, source: u64, key: u64) {
        self.window
            .pay(parse(payment), source, key)
            .expect("there is room");
    }

    fn answer(&mut self) -> (u64, Receipt) {
        let until = Instant::now() + PATIENCE;
        loop {
            let ShardWindow { bell, answers, .. } = &mut self.window;
            if let Some(answer) = answers.pop() {
                return (answer.key, answer.receipt);
            }
            assert!(Instant::now() < until, "no answer came");
            bell.wait(Duration::from_millis(100), || answers.is_due());
        }
    }

    fn has_answer(&mut self) -> bool {
        !self.window.answers.is_empty()
    }

    /// The next batch that the lane wants written.
    fn batch(&mut self) -> Batch {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(batch) = self.journal.batches.pop() {
                return batch;
            }
            assert!(Instant::now() < until, "no batch came");
            let JournalEnd { bell, batches, .. } = &self.journal;
            bell.wait(Duration::from_millis(100), || batches.is_due());
        }
    }

    fn written(&mut self, batch: Batch) {
        let Batch {
            epoch,
            number,
            entry,
        } = batch;
        self.journal.say(Done::Written {
            epoch,
            number,
            buffer: entry.into_bytes(),
        });
        self.journal.ring();
    }

    fn stop(&mut self) {
        self.lane.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Gateway {
    session: PaymentSession,
    key: LocalKey,
}

impl Gateway {
    fn payment(&mut self, tickets: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.session
            .tickets(tickets)
            .unwrap()
            .write_signed(&self.key, &mut bytes);
        bytes
    }

    /// One whose signatures are nobody's.
    fn unsigned(&mut self, tickets: u32) -> Vec<u8> {
        let unsigned = self.session.tickets(tickets).unwrap();
        let noise = |nonce: u32| {
            Signature::parse(&{
                let mut bytes = self.key.sign(&Digest([7; 32])).to_bytes();
                bytes[..4].copy_from_slice(&nonce.to_be_bytes());
                bytes
            })
        };
        let signed: Vec<_> = unsigned
            .tickets()
            .iter()
            .map(|(nonce, _)| (*nonce, noise(*nonce).unwrap()))
            .collect();
        let mut bytes = Vec::new();
        unsigned.write(&signed, &mut bytes);
        bytes
    }
}

fn session() -> SessionId {
    SessionId::new("stream").unwrap()
}

fn parse(payment: Vec<u8>) -> Received {
    match Received::parse(payment, session(), session()) {
        Parsed::Payment(payment) => payment,
        other => panic!("{other:?}"),
    }
}

/// Batches as they come, without waiting.
fn eager() -> Gather {
    Gather {
        wait: Duration::ZERO,
        ..Gather::default()
    }
}

#[test]
fn nothing_is_answered_before_it_is_on_disk() {
    let mut world = World::new(eager());
    let mut gateway = world.gateway(1);
    world.pay(gateway.payment(3), 1, 10);
    let batch = world.batch();
    let credits = |batch: &Batch| {
        batch
            .entry
            .ops()
            .filter(|op| matches!(op, Ok(book::Op::Credit { .. })))
            .count()
    };
    assert_eq!(credits(&batch), 3);
    std::thread::sleep(Duration::from_millis(30));
    assert!(!world.has_answer());
    // While that one is on its way the next is checked.
    world.pay(gateway.payment(2), 1, 11);
    let next = world.batch();
    assert_eq!((batch.number, next.number, credits(&next)), (0, 1, 2));
    world.written(batch);
    let (key, receipt) = world.answer();
    assert_eq!((key, receipt.credited, receipt.refused), (10, 3, None));
    assert!(!world.has_answer());
    world.written(next);
    assert_eq!(world.answer().0, 11);
    let report = world.lane.report();
    assert_eq!(
        (report.credited, report.payments, report.batches),
        (5, 2, 2)
    );
    world.stop();
}

#[test]
fn the_same_payment_twice_in_a_batch_is_credited_once() {
    let gather = Gather {
        batch_tickets: 8,
        wait: PATIENCE,
        ..Gather::default()
    };
    let mut world = World::new(gather);
    let payment = world.gateway(1).payment(4);
    world.pay(payment.clone(), 1, 1);
    world.pay(payment, 1, 2);
    let batch = world.batch();
    world.written(batch);
    let (first, second) = (world.answer(), world.answer());
    assert_eq!((first.0, first.1.credited, first.1.refused), (1, 4, None));
    assert_eq!((second.0, second.1.credited), (2, 0));
    assert!(matches!(
        second.1.refused,
        Some(Refusal::NonceSeen { nonce: 1, .. })
    ));
    world.stop();
}

#[test]
fn a_batch_waits_until_it_is_full_or_has_waited_enough() {
    let gather = Gather {
        batch_tickets: 64,
        wait: Duration::from_millis(80),
        ..Gather::default()
    };
    let mut world = World::new(gather);
    let mut gateway = world.gateway(1);
    let began = Instant::now();
    world.pay(gateway.payment(1), 1, 1);
    let batch = world.batch();
    assert!(began.elapsed() >= Duration::from_millis(80));
    world.written(batch);
    world.answer();
    let began = Instant::now();
    for key in 0..64 {
        world.pay(gateway.payment(1), 1, key);
    }
    let batch = world.batch();
    assert!(began.elapsed() < Duration::from_millis(80) || batch.entry.ops().count() == 64);
    world.stop();
}

#[test]
fn when_the_disk_fails_nothing_has_happened_and_it_goes_on_from_what_is_written() {
    let mut world = World::new(eager());
    let mut gateway = world.gateway(1);
    let (one, two, three) = (gateway.payment(2), gateway.payment(2), gateway.payment(2));
    let mut on_disk = Book::new(book::Limits::default());
    world.pay(one.clone(), 1, 1);
    let batch = world.batch();
    batch
        .entry
        .ops()
        .for_each(|op| on_disk.apply(&op.unwrap()).unwrap());
    world.written(batch);
    assert_eq!(world.answer().1.refused, None);
    // Two batches that do not make it, and one payment that waits meanwhile.
    world.pay(two.clone(), 1, 2);
    let lost = world.batch();
    world.pay(three.clone(), 1, 3);
    let _lost_too = world.batch();
    world.journal.say(Done::Failed {
        epoch: lost.epoch,
        number: lost.number,
    });
    world.journal.ring();
    for key in [2, 3] {
        let (answered, receipt) = world.answer();
        assert_eq!(
            (answered, receipt.credited, receipt.refused),
            (key, 0, Some(Refusal::NotRecorded))
        );
    }
    assert!(!world.lane.report().is_recording);
    world.pay(three.clone(), 1, 4);
    assert_eq!(
        world.answer().1.refused,
        Some(Refusal::NotRecorded),
        "and so until the disk is back"
    );
    world.journal.say(Done::Resumed {
        epoch: 1,
        book: Box::new(on_disk),
    });
    world.journal.ring();
    while !world.lane.report().is_recording {
        std::thread::yield_now();
    }
    // What was not recorded may come again, and what was may not.
    for (key, payment, credited) in [(5, two, 2), (6, three, 2), (7, one, 0)] {
        world.pay(payment, 1, key);
        if credited > 0 {
            let batch = world.batch();
            assert_eq!(batch.epoch, 1);
            world.written(batch);
        }
        let (answered, receipt) = world.answer();
        assert_eq!((answered, receipt.credited), (key, credited));
    }
    world.stop();
}

#[test]
fn a_journal_that_is_gone_is_said_to_be() {
    let mut world = World::new(eager());
    let payment = world.gateway(1).payment(1);
    let (_, other) = journal();
    drop(std::mem::replace(&mut world.journal, other));
    world.pay(payment, 1, 1);
    assert_eq!(world.answer().1.refused, Some(Refusal::NotRecorded));
    world.stop();
}

#[test]
fn what_waits_when_it_stops_is_answered() {
    let gather = Gather {
        batch_tickets: 1_000,
        wait: PATIENCE,
        ..Gather::default()
    };
    let mut world = World::new(gather);
    let mut gateway = world.gateway(1);
    for key in 0..20 {
        world.pay(gateway.payment(1), 1, key);
    }
    let (tell, told) = mpsc::channel();
    let payment = parse(gateway.payment(1));
    let reply = PaymentReply::new(&payment, move |receipt| tell.send(receipt).unwrap());
    world.lane.pay(payment, 2, reply);
    world.stop();
    for _ in 0..20 {
        assert_eq!(world.answer().1.refused, Some(Refusal::NotRecorded));
    }
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap().refused,
        Some(Refusal::NotRecorded)
    );
}

#[test]
fn a_flood_of_bad_signatures_waits_for_itself() {
    let gather = Gather {
        batch_tickets: 64,
        ..eager()
    };
    let mut world = World::new(gather);
    let (mut flood, mut honest) = (world.gateway(1), world.gateway(2));
    // As many batches are under way as may be, so that all that comes waits.
    let held: Vec<_> = (0..BATCHES_MAX)
        .map(|key| {
            world.pay(honest.payment(1), 9, key as u64);
            world.batch()
        })
        .collect();
    for key in 100..140 {
        let payment = flood.unsigned(15);
        world.pay(payment, 1, key);
    }
    for key in 50..55 {
        world.pay(honest.payment(1), 2, key);
    }
    for batch in held {
        world.written(batch);
    }
    // Of each batch of 64 the flood gets a turn and the honest one does: so his five are through within five turns of 32 at most.
    let mut seen = Vec::new();
    while seen.iter().filter(|key| **key < 100).count() < BATCHES_MAX + 5 {
        if !world.has_answer() {
            let JournalEnd { batches, .. } = &mut world.journal;
            if let Some(batch) = batches.pop() {
                world.written(batch);
            }
            std::thread::yield_now();
            continue;
        }
        let (key, receipt) = world.answer();
        assert_eq!(receipt.refused.is_some(), key >= 100);
        seen.push(key);
    }
    let flooded = seen.iter().filter(|key| **key >= 100).count();
    assert!(
        flooded <= 12,
        "{flooded} of the flood's 40 payments were answered before: {seen:?}"
    );
    assert!(
        seen.iter().filter(|key| **key < 100).is_sorted(),
        "in the order in which they came: {seen:?}"
    );
    world.stop();
}

#[test]
fn an_unsigned_payment_costs_one_batch() {
    let mut world = World::new(eager());
    let payment = world.gateway(1).unsigned(600);
    world.pay(payment, 1, 1);
    let (_, receipt) = world.answer();
    assert_eq!(
        (receipt.credited, receipt.refused),
        (0, Some(Refusal::Signature))
    );
    let report = world.lane.report();
    assert_eq!(report.signatures, eager().batch_tickets as u64);
    assert_eq!(
        report.refused[REFUSALS
            .iter()
            .position(|name| *name == "signature")
            .unwrap()],
        600
    );
    world.stop();
}

#[test]
fn a_flood_finds_an_end_to_its_room_and_others_find_some() {
    let gather = Gather {
        batch_tickets: 1_000,
        wait: PATIENCE,
        payments_max: 100,
    };
    let mut world = World::new(gather);
    let (mut flood, mut honest) = (world.gateway(1), world.gateway(2));
    for key in 100..200 {
        world.pay(flood.payment(1), 1, key);
    }
    let mut busy = 0;
    while busy < 49 {
        let (_, receipt) = world.answer();
        assert_eq!(receipt.refused, Some(Refusal::Busy));
        busy += 1;
    }
    for key in 1..=20 {
        world.pay(honest.payment(1), 2, key);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(!world.has_answer(), "there was room for him");
    world.stop();
}
