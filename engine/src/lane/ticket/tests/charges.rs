//! Charges beside payments, with a journal that does as it is told.

use std::sync::mpsc::Receiver;

use link::{Charge, ChargeReply, Charged, NotCharged};
use ticket::amount::Credit;
use ticket::book::Account;

use super::*;

/// What one pixel costs, in wei; see [`World::gateway`].
const PIXEL_WEI: u128 = 1_200;

impl World {
    fn charge(&self, sender: Address, pixels: u64) -> Receiver<Charged> {
        let (tell, told) = mpsc::channel();
        let charge = Charge {
            sender,
            account: session(),
            pixels,
        };
        let reply = ChargeReply::new(move |charged| drop(tell.send(charged)));
        self.lane.charge(charge, reply);
        told
    }

    /// Pays at the window at which charges come, so that one comes behind the other.
    fn pay_beside(&self, payment: Vec<u8>) -> Receiver<Receipt> {
        let (tell, told) = mpsc::channel();
        let payment = parse(payment);
        let reply = PaymentReply::new(&payment, move |receipt| tell.send(receipt).unwrap());
        self.lane.pay(payment, 7, reply);
        told
    }

    /// Writes a batch to a book as well as saying so.
    fn write(&mut self, on_disk: &mut Book) -> usize {
        let batch = self.batch();
        let ops: Vec<_> = batch.entry.ops().map(Result::unwrap).collect();
        ops.iter().for_each(|op| on_disk.apply(op).unwrap());
        self.written(batch);
        ops.len()
    }

    fn fail(&mut self, batch: &Batch) {
        self.journal.say(Done::Failed {
            epoch: batch.epoch,
            number: batch.number,
        });
        self.journal.ring();
    }

    fn resume(&mut self, epoch: u32, on_disk: &Book) {
        self.journal.say(Done::Resumed {
            epoch,
            book: Box::new(on_disk.clone()),
        });
        self.journal.ring();
        while !self.lane.report().is_recording {
            std::thread::yield_now();
        }
    }
}

fn told(charged: &Receiver<Charged>) -> Charged {
    charged.recv_timeout(PATIENCE).expect("an answer")
}

fn empty() -> Book {
    Book::new(book::Limits::default())
}

/// Whether the account holds so many tickets' value, less so many pixels, to the last part. All its tickets are under the first commitment.
fn is_exact(disk: &Book, account: &Account, tickets: u32, pixels: u128) {
    let (_, commitment) = disk.commitments().next().expect("a ticket is on disk");
    let mut credit = Credit::ZERO;
    (0..tickets).for_each(|_| credit += commitment.value());
    assert_eq!((account.credit, account.pixels), (credit, pixels));
    // A pixel costs whole wei, so rounding down before taking and after are one.
    let wei = credit.floor_wei().to::<u128>().cast_signed() - (pixels * PIXEL_WEI).cast_signed();
    assert_eq!(account.balance().to_string(), wei.to_string());
}

#[test]
fn an_account_is_exact_to_the_wei_with_credits_between() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    let (mut tickets, mut pixels) = (0, 0);
    for (paid, taken) in [(3, 27_648_000), (1, 1), (5, 4_000_000), (2, 27_648_001)] {
        let receipt = world.pay_beside(gateway.payment(paid));
        world.write(&mut disk);
        assert_eq!(receipt.recv_timeout(PATIENCE).unwrap().credited, paid);
        let charged = world.charge(sender, taken);
        world.write(&mut disk);
        (tickets, pixels) = (tickets + paid, pixels + u128::from(taken));
        is_exact(&disk, &told(&charged).unwrap(), tickets, pixels);
    }
    // It goes below zero, and a payment brings it up again.
    let charged = world.charge(sender, 100_000_000);
    world.write(&mut disk);
    let account = told(&charged).unwrap();
    is_exact(&disk, &account, tickets, pixels + 100_000_000);
    assert!(account.balance().is_negative());
    assert_eq!(disk.account(sender, session()), Some(&account));
    let report = world.lane.report();
    assert_eq!((report.charges, report.payments), (5, 4));
    assert_eq!(u128::from(report.pixels), pixels + 100_000_000);
    world.stop();
}

#[test]
fn a_charge_comes_behind_the_payment_that_was_handed_in_before_it() {
    let gather = Gather {
        wait: Duration::from_millis(30),
        ..Gather::default()
    };
    let (mut world, mut disk) = (World::new(gather), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    // The account is opened by the first payment; both are of one batch, and so is what follows.
    let first = world.pay_beside(gateway.payment(2));
    let charged = [
        world.charge(sender, 10),
        world.charge(sender, 0),
        world.charge(sender, 5),
    ];
    let batch = world.batch();
    let ops: Vec<_> = batch.entry.ops().map(Result::unwrap).collect();
    let at = |wanted: fn(&book::Op) -> bool| ops.iter().position(wanted);
    let last_credit = ops
        .iter()
        .rposition(|op| matches!(op, book::Op::Credit { .. }));
    assert!(last_credit.is_some());
    assert!(last_credit < at(|op| matches!(op, book::Op::Debit { .. })));
    std::thread::sleep(Duration::from_millis(30));
    assert!(
        charged.iter().all(|charged| charged.try_recv().is_err()),
        "not before it is on disk"
    );
    world.written(batch);
    assert_eq!(first.recv_timeout(PATIENCE).unwrap().credited, 2);
    ops.iter().for_each(|op| disk.apply(op).unwrap());
    for (charged, pixels) in charged.iter().zip([10, 10, 15]) {
        is_exact(&disk, &told(charged).unwrap(), 2, pixels);
    }
    assert_eq!(disk.account(sender, session()).unwrap().pixels, 15);
    world.stop();
}

#[test]
fn a_look_changes_nothing_needs_no_disk_and_waits_for_what_is_on_its_way() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    let look = world.charge(sender, 0);
    assert_eq!(told(&look), Err(NotCharged::NoAccount));
    let receipt = world.pay_beside(gateway.payment(1));
    let batch = world.batch();
    let look = world.charge(sender, 0);
    std::thread::sleep(Duration::from_millis(30));
    assert!(look.try_recv().is_err(), "what it sees is not on disk yet");
    batch
        .entry
        .ops()
        .for_each(|op| disk.apply(&op.unwrap()).unwrap());
    world.written(batch);
    is_exact(&disk, &told(&look).unwrap(), 1, 0);
    assert_eq!(receipt.try_recv().unwrap().credited, 1, "in order");
    // With nothing on its way the disk has no part in it.
    let look = world.charge(sender, 0);
    assert_eq!(
        told(&look).as_ref(),
        Ok(disk.account(sender, session()).unwrap())
    );
    assert!(world.journal.batches.pop().is_none());
    assert_eq!(world.lane.report().charges, 0);
    world.stop();
}

#[test]
fn who_has_no_account_is_not_charged() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let nobody = world.charge(gateway.key.address(), 5);
    assert_eq!(told(&nobody), Err(NotCharged::NoAccount));
    assert!(world.journal.batches.pop().is_none());
    world.pay(gateway.payment(1), 1, 1);
    world.write(&mut disk);
    world.answer();
    let (somebody_else, other_name) = (world.charge(RECIPIENT, 5), {
        let (tell, told) = mpsc::channel();
        let charge = Charge {
            sender: gateway.key.address(),
            account: SessionId::new("another").unwrap(),
            pixels: 5,
        };
        let reply = ChargeReply::new(move |charged| drop(tell.send(charged)));
        world.lane.charge(charge, reply);
        told
    });
    assert_eq!(told(&somebody_else), Err(NotCharged::NoAccount));
    assert_eq!(told(&other_name), Err(NotCharged::NoAccount));
    assert_eq!(world.lane.report().pixels, 0);
    world.stop();
}

#[test]
fn what_was_not_recorded_was_not_charged_and_may_be_again() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    world.pay(gateway.payment(2), 1, 1);
    world.write(&mut disk);
    world.answer();
    // One on its way, one look behind it, and one that comes while there is no disk.
    let lost = world.charge(sender, 1_000);
    let batch = world.batch();
    let look = world.charge(sender, 0);
    world.fail(&batch);
    assert_eq!(told(&lost), Err(NotCharged::NotRecorded));
    assert_eq!(told(&look), Err(NotCharged::NotRecorded));
    for pixels in [7, 0] {
        let meanwhile = world.charge(sender, pixels);
        assert_eq!(told(&meanwhile), Err(NotCharged::NotRecorded));
    }
    world.resume(1, &disk);
    let look = world.charge(sender, 0);
    is_exact(&disk, &told(&look).unwrap(), 2, 0);
    let again = world.charge(sender, 1_000);
    world.write(&mut disk);
    is_exact(&disk, &told(&again).unwrap(), 2, 1_000);
    let report = world.lane.report();
    assert_eq!((report.charges, report.pixels), (1, 1_000));
    world.stop();
}

#[test]
fn what_was_recorded_just_before_the_disk_failed_is_said_to_be() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    world.pay(gateway.payment(2), 1, 1);
    world.write(&mut disk);
    world.answer();
    let made = world.charge(sender, 10);
    let first = world.batch();
    let (lost, second) = (world.charge(sender, 20), world.batch());
    first
        .entry
        .ops()
        .for_each(|op| disk.apply(&op.unwrap()).unwrap());
    // The lane hears of both at once.
    world.journal.say(Done::Written {
        epoch: first.epoch,
        number: first.number,
        buffer: first.entry.into_bytes(),
    });
    world.fail(&second);
    is_exact(&disk, &told(&made).unwrap(), 2, 10);
    assert_eq!(told(&lost), Err(NotCharged::NotRecorded));
    world.resume(1, &disk);
    is_exact(&disk, &told(&world.charge(sender, 0)).unwrap(), 2, 10);
    world.stop();
}

#[test]
fn a_restart_finds_the_account_as_it_was() {
    let (mut world, mut disk) = (World::new(eager()), empty());
    let mut gateway = world.gateway(1);
    let sender = gateway.key.address();
    world.pay(gateway.payment(4), 1, 1);
    world.write(&mut disk);
    let charged = world.charge(sender, 123_456);
    world.write(&mut disk);
    let before = told(&charged).unwrap();
    world.stop();
    let mut again = World::with_book(eager(), disk.clone());
    let look = again.charge(sender, 0);
    assert_eq!(told(&look), Ok(before.clone()));
    is_exact(&disk, &before, 4, 123_456);
    again.stop();
}

#[test]
fn a_charge_does_not_wait_behind_a_flood_and_not_for_a_batch_to_fill() {
    let gather = Gather {
        batch_tickets: 8,
        wait: Duration::from_millis(20),
        ..Gather::default()
    };
    let (mut world, mut disk) = (World::new(gather), empty());
    let (mut flood, mut honest) = (world.gateway(1), world.gateway(2));
    world.pay(honest.payment(1), 9, 1);
    world.write(&mut disk);
    world.answer();
    // Alone, it makes a batch of its own when it has waited.
    let began = Instant::now();
    let alone = world.charge(honest.key.address(), 1);
    world.write(&mut disk);
    told(&alone).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(20));
    // Forty batches of a flood wait when it comes: it is in the next.
    let held: Vec<_> = (0..BATCHES_MAX)
        .map(|_| {
            world.pay(flood.payment(8), 1, 100);
            world.batch()
        })
        .collect();
    for _ in 0..40 {
        world.pay(flood.payment(8), 1, 100);
    }
    let charged = world.charge(honest.key.address(), 10);
    // All of the flood is in before there is room for a batch: the charge, which came last, is in the first or the one after.
    let payments = 1 + BATCHES_MAX as u64 + 40;
    while world.lane.report().payments < payments {
        assert!(began.elapsed() < PATIENCE, "not all of it came");
        std::thread::yield_now();
    }
    held.into_iter().for_each(|batch| world.written(batch));
    let is_debit = |op| matches!(op, Ok(book::Op::Debit { pixels: 10, .. }));
    let batches = (1..)
        .find(|_| {
            let batch = world.batch();
            let has_it = batch.entry.ops().any(is_debit);
            world.written(batch);
            has_it
        })
        .unwrap();
    assert!(batches <= 2, "it was in batch {batches}");
    is_exact(&disk, &told(&charged).unwrap(), 1, 11);
    world.stop();
}

#[test]
fn too_many_charges_are_answered_and_so_are_those_that_wait_when_it_stops() {
    let gather = Gather {
        wait: PATIENCE,
        ..Gather::default()
    };
    let mut world = World::new(gather);
    let sender = world.gateway(1).key.address();
    // More than the ring and the lane hold together.
    let charges: Vec<_> = (0..10_000).map(|_| world.charge(sender, 1)).collect();
    world.stop();
    let late = world.charge(sender, 1);
    let mut busy = 0;
    for charged in &charges {
        match told(charged) {
            Err(NotCharged::Busy) => busy += 1,
            Err(NotCharged::NotRecorded) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1_500..=6_000).contains(&busy), "{busy} were turned away");
    assert_eq!(told(&late), Err(NotCharged::Busy), "nobody is there");
}
