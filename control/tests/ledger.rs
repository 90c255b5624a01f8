//! The ledger over a real database: what it has after a crash, a fold, a full disk.

mod scratch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::payment::{Ledger, Writer};
use control::store::{Error, Store};
use control::world::System;
use link::payment::{Batch, Done, LaneEnd, journal};
use scratch::Scratch;
use ticket::address::{Address, Hash};
use ticket::amount::Wei;
use ticket::book::{self, Book, Entry, Op};
use ticket::layout::Digest;
use ticket::sender::LocalKey;
use ticket::{Price, SessionId};

const PATIENCE: Duration = Duration::from_secs(20);
const RECIPIENT: Address = Address([0xbb; 20]);

/// A lane that makes up what it wants written, and keeps the book that should come of it.
struct Lane {
    end: LaneEnd,
    book: Book,
    epoch: u32,
    number: u64,
    writer: Option<std::thread::JoinHandle<()>>,
    ledger: Ledger,
}

impl Lane {
    fn start(dir: &Scratch) -> Self {
        let store = Store::open(dir.path()).unwrap();
        let (ledger, writer) =
            Ledger::open(store, RECIPIENT, book::Limits::default(), Arc::new(System)).unwrap();
        Self::start_with(ledger, writer)
    }

    fn start_with(ledger: Ledger, writer: Writer) -> Self {
        let (end, journal) = journal();
        let book = ledger.book().clone();
        Self {
            end,
            book,
            epoch: 0,
            number: 0,
            writer: Some(writer.start(journal).unwrap()),
            ledger,
        }
    }

    fn send(&mut self, ops: &[Op]) -> u64 {
        let mut entry = Entry::default();
        for op in ops {
            self.book.apply(op).unwrap();
            entry.push(op);
        }
        let number = self.number;
        self.number += 1;
        let batch = Batch {
            epoch: self.epoch,
            number,
            entry,
        };
        self.end.batches.send(batch).unwrap();
        number
    }

    fn done(&mut self) -> Done {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = self.end.done.pop() {
                return done;
            }
            assert!(Instant::now() < until, "the writer says nothing");
            let LaneEnd { bell, done, .. } = &self.end;
            bell.wait(Duration::from_millis(100), || done.is_due());
        }
    }

    fn write(&mut self, ops: &[Op]) {
        let sent = self.send(ops);
        assert!(matches!(self.done(), Done::Written { number, .. } if number == sent));
    }

    /// Ends it as a node does that is told to stop. The book that it had.
    fn stop(mut self) -> Book {
        drop(self.end);
        self.writer.take().unwrap().join().unwrap();
        self.book
    }
}

fn on_disk(dir: &Scratch) -> Book {
    Store::look(dir.path())
        .unwrap()
        .book(book::Limits::default())
        .unwrap()
}

fn account(slot: u32, sender: u8) -> Op {
    Op::Account {
        slot,
        sender: Address([sender; 20]),
        name: SessionId::new("stream").unwrap(),
        price: Price::new(1_200, 1).unwrap(),
    }
}

fn commitment(slot: u32, sender: u8, expiration_block: u64) -> Op {
    Op::Commitment {
        slot,
        sender: Address([sender; 20]),
        rand_hash: Hash([sender ^ u8::try_from(slot).unwrap() << 4; 32]),
        recipient_rand: [9; 32],
        face_value: Wei::from(800),
        win_prob: Wei::MAX / Wei::from(100),
        expiration_block,
        creation_round: 5,
        creation_round_block_hash: Hash([4; 32]),
    }
}

fn credits(commitment: u32, account: u32, nonces: std::ops::Range<u32>) -> Vec<Op> {
    nonces
        .map(|nonce| Op::Credit {
            commitment,
            account,
            nonce,
        })
        .collect()
}

fn win(commitment: u32, nonce: u32) -> Op {
    let signature = LocalKey::new([1; 32])
        .unwrap()
        .sign(&Digest([u8::try_from(nonce).unwrap(); 32]));
    Op::Win {
        commitment,
        nonce,
        signature,
    }
}

/// A day in the life of a book: opened, credited, won, debited, expired.
fn first_day() -> Vec<Vec<Op>> {
    let mut second = credits(0, 0, 1..40);
    second.extend([win(0, 3), win(0, 7)]);
    vec![
        vec![
            Op::Block { block: 1_000 },
            account(0, 1),
            commitment(0, 1, 1_040),
            account(1, 2),
            commitment(1, 2, 1_045),
        ],
        second,
        credits(1, 1, 700_000..700_020),
        vec![
            Op::Debit {
                account: 0,
                pixels: u64::MAX,
            },
            Op::Block { block: 1_041 },
            commitment(0, 2, 1_081),
        ],
        credits(0, 1, 1..9),
        vec![win(0, 8)],
    ]
}

#[test]
fn a_book_is_there_again_after_a_crash_and_after_a_stop() {
    let dir = Scratch::new("ledger-again");
    let mut lane = Lane::start(&dir);
    for ops in first_day() {
        lane.write(&ops);
        // A reader sees what a node would find after a crash at this moment.
        assert_eq!(on_disk(&dir), lane.book);
        assert_eq!(*lane.ledger.book(), lane.book);
    }
    let book = lane.stop();
    assert_eq!(on_disk(&dir), book, "folded");
    // It goes on from rows, and then from rows and a journal.
    for round in 0..3u32 {
        let mut lane = Lane::start(&dir);
        assert_eq!(lane.book, on_disk(&dir));
        lane.write(&credits(0, 1, 100 * (round + 1)..100 * (round + 1) + 5));
        assert_eq!(on_disk(&dir), lane.book);
        lane.stop();
    }
    let store = Store::look(dir.path()).unwrap();
    assert_eq!(store.winners().unwrap(), (3, 3));
    let pending = on_disk(&dir).pending(&Address([1; 20]));
    assert_eq!(
        pending,
        Wei::from(1_600),
        "two winners of 800 wei, counted once each"
    );
}

#[test]
fn who_looks_sees_one_moment_while_the_journal_is_carried_out() {
    let dir = Scratch::new("ledger-look");
    let mut lane = Lane::start(&dir);
    let mut looks = Vec::new();
    for ops in first_day() {
        lane.write(&ops);
        looks.push((Store::look(dir.path()).unwrap(), lane.book.clone()));
    }
    let last = lane.stop();
    for (store, at_that_moment) in looks {
        let book = store.book(book::Limits::default()).unwrap();
        assert_eq!(book, at_that_moment);
    }
    assert_eq!(on_disk(&dir), last);
}

#[test]
fn a_crash_at_any_moment_leaves_what_was_confirmed_and_what_came_before_it() {
    // A copy of the files is what a crash leaves; the writer does not know that it is taken.
    let dir = Scratch::new("ledger-crash");
    let mut lane = Lane::start(&dir);
    for (n, ops) in first_day().iter().enumerate() {
        lane.write(ops);
        let copy = dir.copy(&format!("ledger-crash-copy-{n}"));
        assert_eq!(on_disk(&copy), lane.book);
        // And it can be gone on from.
        let mut again = Lane::start(&copy);
        again.write(&[Op::Block { block: 1_041 }]);
        assert_eq!(again.stop(), on_disk(&copy));
    }
}

#[test]
fn what_was_debited_is_debited_after_a_crash() {
    let dir = Scratch::new("ledger-debit");
    let mut lane = Lane::start(&dir);
    lane.write(&first_day()[0]);
    lane.write(&credits(0, 0, 1..4));
    let look = |dir: &Scratch| {
        let (sender, name) = (Address([1; 20]), SessionId::new("stream").unwrap());
        on_disk(dir).account(sender, name).unwrap().clone()
    };
    let credit = look(&dir).credit;
    let mut taken = 0;
    // The last is more than a column of numbers holds, and takes the account far below zero.
    for (n, pixels) in [5_529_600, 1, u64::MAX].into_iter().enumerate() {
        let debit = Op::Debit { account: 0, pixels };
        taken += u128::from(pixels);
        lane.write(&[debit]);
        // As a crash leaves it: in the journal, and folded into rows when it is stopped.
        let copy = dir.copy(&format!("ledger-debit-copy-{n}"));
        for _ in 0..2 {
            let account = look(&copy);
            assert_eq!((account.pixels, account.credit), (taken, credit));
            // The account has a little less than 24 wei, and a pixel costs 1,200.
            assert_eq!(
                account.balance().to_string(),
                format!("-{}", taken * 1_200 - 23)
            );
            Lane::start(&copy).stop();
        }
    }
    assert_eq!(*lane.ledger.book(), lane.book);
    assert_eq!(look(&dir), lane.stop().account_at(0).unwrap().clone());
}

#[test]
fn batches_that_wait_together_are_written_together() {
    let dir = Scratch::new("ledger-group");
    let mut lane = Lane::start(&dir);
    lane.write(&first_day()[0]);
    let sent: Vec<_> = (0..4)
        .map(|n| lane.send(&credits(0, 0, n * 50..n * 50 + 50)))
        .collect();
    for expected in sent {
        assert!(matches!(lane.done(), Done::Written { number, .. } if number == expected));
    }
    assert_eq!(on_disk(&dir), lane.book);
}

#[test]
fn when_the_disk_takes_nothing_all_is_refused_and_it_goes_on_from_what_is_there() {
    let dir = Scratch::new("ledger-stuck");
    let mut lane = Lane::start(&dir);
    lane.write(&first_day()[0]);
    let good = lane.book.clone();
    // Somebody holds the database for longer than a write waits.
    let thief = rusqlite::Connection::open(dir.path().join(control::store::FILE)).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    let lost = lane.send(&credits(0, 0, 0..50));
    assert!(matches!(lane.done(), Done::Failed { epoch: 0, number } if number == lost));
    let lost = lane.send(&[Op::Block { block: 2_000 }]);
    assert!(matches!(lane.done(), Done::Failed { epoch: 0, number } if number == lost));
    assert_eq!(on_disk(&dir), good);
    thief.execute_batch("ROLLBACK").unwrap();
    match lane.done() {
        Done::Resumed { epoch: 1, book } => {
            assert_eq!(*book, good);
            assert_eq!(*lane.ledger.book(), good);
            lane.book = *book;
        }
        other => panic!("{other:?}"),
    }
    (lane.epoch, lane.number) = (1, 0);
    lane.write(&credits(0, 0, 0..50));
    assert_eq!(on_disk(&dir), lane.book);
    lane.write(&[win(0, 3)]);
    let book = lane.stop();
    assert_eq!(on_disk(&dir), book);
}

#[test]
fn a_data_directory_has_one_node_and_a_newer_schema_is_left_alone() {
    let dir = Scratch::new("ledger-lock");
    let mut store = Store::open(dir.path()).unwrap();
    let secret = store.recipient_secret([7; 32]).unwrap();
    assert_eq!(secret, [7; 32]);
    assert!(matches!(Store::open(dir.path()), Err(Error::InUse(_))));
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(
        store.recipient_secret([8; 32]).unwrap(),
        secret,
        "the first one stays"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(store.path()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "a secret is in it");
    drop(store);
    rusqlite::Connection::open(dir.path().join(control::store::FILE))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for error in [
        Store::open(dir.path()).unwrap_err(),
        Store::look(dir.path()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("schema version 99"), "{error}");
    }
    assert!(matches!(
        Store::look(&dir.path().join("nowhere")),
        Err(Error::Open { .. })
    ));
}

#[test]
fn what_is_damaged_is_said_to_be() {
    let dir = Scratch::new("ledger-damaged");
    let mut lane = Lane::start(&dir);
    lane.write(&first_day()[0]);
    lane.stop();
    let connection = rusqlite::Connection::open(dir.path().join(control::store::FILE)).unwrap();
    for (damage, mend) in [
        (
            "UPDATE commitment SET nonces = x'00'",
            "UPDATE commitment SET nonces = zeroblob(80)",
        ),
        (
            "INSERT INTO journal VALUES (1000, x'0109')",
            "DELETE FROM journal",
        ),
        (
            "INSERT INTO journal VALUES (1000, x'01030505')",
            "DELETE FROM journal",
        ),
        (
            "UPDATE account SET sender = x'01' WHERE slot = 0",
            "UPDATE account SET sender = zeroblob(20) WHERE slot = 0",
        ),
    ] {
        connection.execute_batch(damage).unwrap();
        let error = Store::look(dir.path())
            .unwrap()
            .book(book::Limits::default())
            .unwrap_err();
        assert!(matches!(&error, Error::Damaged { .. }), "{damage}: {error}");
        connection.execute_batch(mend).unwrap();
    }
}
