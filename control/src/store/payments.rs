//! Payments on disk.
//!
//! ```text
//!   journal      an entry a batch, as the ticket lane made it: appended, synced once a batch
//!   winner       every winning ticket whole, in the same transaction as its batch
//!   account, commitment, setting `block`      the book as of the entries that are no longer in the journal
//! ```
//!
//! The book is the rows of the second kind with the journal carried out on top. Every so often the journal is *folded*: what it has
//! changed is written to the rows, and its entries go, in one transaction.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use ticket::address::{Address, Hash};
use ticket::amount::{Credit, Wei};
use ticket::book::{self, Account, Book, Commitment, Op, Ops, Snapshot};
use ticket::nonces::Nonces;
use ticket::{Price, SessionId, Signature};

use super::{Error, Store, sqlite};

pub(super) const SCHEMA_1: &str = "
    CREATE TABLE setting (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE journal (
        number INTEGER PRIMARY KEY,      -- counts up for ever; setting `folded` is the last that is no longer here
        entry  BLOB NOT NULL
    );

    CREATE TABLE account (
        slot          INTEGER PRIMARY KEY,
        sender        BLOB NOT NULL,
        name          TEXT NOT NULL,
        price_wei     INTEGER NOT NULL,
        price_pixels  INTEGER NOT NULL,
        credit        BLOB NOT NULL,     -- parts of 1/(2^256-1) wei, 80 bytes, the greatest first
        pixels        BLOB NOT NULL,     -- 16 bytes, the greatest first
        touched_block INTEGER NOT NULL
    );

    CREATE TABLE commitment (
        slot             INTEGER PRIMARY KEY,
        sender           BLOB NOT NULL,
        rand_hash        BLOB NOT NULL,
        recipient_rand   BLOB NOT NULL,
        face_value       BLOB NOT NULL,
        win_prob         BLOB NOT NULL,
        expiration_block INTEGER NOT NULL,
        creation_round   INTEGER NOT NULL,
        block_hash       BLOB NOT NULL,
        nonces           BLOB NOT NULL
    );

    -- All that a redemption needs. state: 0 recorded, nothing done about it yet.
    CREATE TABLE winner (
        id               INTEGER PRIMARY KEY,
        signature        BLOB NOT NULL UNIQUE,
        sender           BLOB NOT NULL,
        recipient        BLOB NOT NULL,
        face_value       BLOB NOT NULL,
        win_prob         BLOB NOT NULL,
        sender_nonce     INTEGER NOT NULL,
        rand_hash        BLOB NOT NULL,
        recipient_rand   BLOB NOT NULL,
        creation_round   INTEGER NOT NULL,
        block_hash       BLOB NOT NULL,
        expiration_block INTEGER NOT NULL,
        batch            INTEGER NOT NULL,  -- the number of the journal's entry that brought it
        state            INTEGER NOT NULL DEFAULT 0,
        recorded_ms      INTEGER NOT NULL
    );
    CREATE INDEX winner_open ON winner (sender) WHERE state = 0;
";

const SECRET: &str = "recipient secret";
const BLOCK: &str = "block";
const FOLDED: &str = "folded";

/// A winning ticket, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// Who is paid.
    pub recipient: Address,
    /// The commitment that it was made under.
    pub commitment: Commitment,
    /// Its nonce.
    pub sender_nonce: u32,
    /// Its signature.
    pub signature: Signature,
    /// Which of the entries brought it.
    pub entry: usize,
}

/// What is written of one or several batches at once.
#[derive(Debug, Default)]
pub struct PaymentRows<'a> {
    /// Their entries, in order.
    pub entries: Vec<&'a [u8]>,
    /// Their winners.
    pub winners: &'a [Winner],
    /// Unix time.
    pub now_ms: u64,
}

impl Store {
    /// The recipient's secret, made from `fresh` if there is none yet.
    ///
    /// # Errors
    /// The disk does not take it, or holds something else in its place.
    pub fn recipient_secret(&mut self, fresh: [u8; 32]) -> Result<[u8; 32], Error> {
        let path = self.path.clone();
        if let Some(bytes) = self.setting(SECRET).map_err(sqlite(&path))? {
            return bytes
                .try_into()
                .map_err(|_| self.damaged("the recipient's secret is not 32 bytes"));
        }
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO setting (name, value) VALUES (?1, ?2)",
                params![SECRET, fresh],
            )
        })
        .map_err(sqlite(&path))?;
        Ok(fresh)
    }

    /// The book, as it was last written.
    ///
    /// # Errors
    /// It cannot be read, or contradicts itself.
    pub fn book(&self, limits: book::Limits) -> Result<Book, Error> {
        let snapshot = self.snapshot()?;
        let mut book =
            Book::restore(limits, snapshot).map_err(|how| self.damaged(how.to_string()))?;
        self.for_each_op(|op| book.apply(op).map_err(|how| self.damaged(how.to_string())))?;
        Ok(book)
    }

    /// Shows every operation in the journal, in order. Returns how many bytes they take.
    ///
    /// # Errors
    /// They cannot be read; or what `see` says.
    pub fn for_each_op(
        &self,
        mut see: impl FnMut(&Op) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut query = self.prepare("SELECT entry FROM journal ORDER BY number")?;
        let mut rows = query.query([]).map_err(sqlite(&self.path))?;
        let mut bytes = 0;
        while let Some(row) = rows.next().map_err(sqlite(&self.path))? {
            let entry: Vec<u8> = row.get(0).map_err(sqlite(&self.path))?;
            bytes += entry.len();
            for op in Ops::of(&entry) {
                see(&op.map_err(|how| self.damaged(how.to_string()))?)?;
            }
        }
        Ok(bytes)
    }

    /// The book without what is in the journal. Winners of the journal are counted when their entries are carried out.
    fn snapshot(&self) -> Result<Snapshot, Error> {
        let block = self.setting(BLOCK).map_err(sqlite(&self.path))?;
        let block = match block {
            None => 0,
            Some(bytes) => u64::from_be_bytes(
                bytes
                    .try_into()
                    .map_err(|_| self.damaged("the newest block is not 8 bytes"))?,
            ),
        };
        let accounts = self.rows("SELECT slot, sender, name, price_wei, price_pixels, credit, pixels, touched_block FROM account", account)?;
        let commitments = self.rows(
            "SELECT slot, sender, rand_hash, recipient_rand, face_value, win_prob, expiration_block, creation_round, block_hash, nonces
             FROM commitment",
            commitment,
        )?;
        let mut pending = BTreeMap::new();
        // Later winners are counted when the journal is carried out.
        let folded = self.folded().map_err(sqlite(&self.path))?;
        let winners =
            format!("SELECT sender, face_value FROM winner WHERE state = 0 AND batch <= {folded}");
        for (sender, face_value) in self.rows(&winners, |row| {
            Some((
                Address(blob(row, 0)?),
                Wei::from_be_bytes(blob::<32>(row, 1)?),
            ))
        })? {
            let sum: &mut Wei = pending.entry(sender).or_default();
            *sum = sum.saturating_add(face_value);
        }
        Ok(Snapshot {
            block,
            accounts,
            commitments,
            pending: pending.into_iter().collect(),
        })
    }

    fn rows<T>(&self, sql: &str, read: impl Fn(&Row<'_>) -> Option<T>) -> Result<Vec<T>, Error> {
        let mut query = self.prepare(sql)?;
        let mut rows = query.query([]).map_err(sqlite(&self.path))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(sqlite(&self.path))? {
            all.push(
                read(row).ok_or_else(|| self.damaged(format!("a row that cannot be: {sql}")))?,
            );
        }
        Ok(all)
    }

    fn prepare(&self, sql: &str) -> Result<rusqlite::CachedStatement<'_>, Error> {
        self.connection
            .prepare_cached(sql)
            .map_err(sqlite(&self.path))
    }

    /// Writes batches to the journal, and their winners: all of it is on disk when this returns.
    ///
    /// # Errors
    /// Nothing of it is.
    pub fn record(&mut self, rows: &PaymentRows<'_>) -> Result<(), Error> {
        let path = self.path.clone();
        self.record_as(self.last_number, rows)
            .map_err(sqlite(&path))?;
        self.last_number += entries(rows.entries.len());
        Ok(())
    }

    /// The entries' numbers follow on `last`.
    fn record_as(&mut self, last: i64, rows: &PaymentRows<'_>) -> rusqlite::Result<()> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached("INSERT INTO journal (number, entry) VALUES (?1, ?2)")?;
            for (n, entry) in rows.entries.iter().enumerate() {
                insert.execute(params![last + entries(n + 1), entry])?;
            }
            // A ticket is credited once, so it is recorded once. Were a signature here already, it would be that ticket.
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO winner (signature, sender, recipient, face_value, win_prob, sender_nonce, rand_hash,
                     recipient_rand, creation_round, block_hash, expiration_block, batch, recorded_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            for winner in rows.winners {
                let Winner {
                    recipient,
                    commitment,
                    sender_nonce,
                    signature,
                    entry,
                } = winner;
                insert.execute(params![
                    signature.to_bytes(),
                    commitment.sender.0,
                    recipient.0,
                    commitment.face_value.to_be_bytes::<32>(),
                    commitment.win_prob.to_be_bytes::<32>(),
                    sender_nonce,
                    commitment.rand_hash.0,
                    commitment.recipient_rand,
                    commitment.creation_round.cast_signed(),
                    commitment.creation_round_block_hash.0,
                    commitment.expiration_block.cast_signed(),
                    last + entries(entry + 1),
                    rows.now_ms.cast_signed(),
                ])?;
            }
            Ok(())
        })
    }

    /// The number of the journal's newest entry, be it folded or not.
    pub(super) fn find_last_number(&self) -> rusqlite::Result<i64> {
        let mut query = self
            .connection
            .prepare_cached("SELECT max(number) FROM journal")?;
        let newest: Option<i64> = query.query_row([], |row| row.get(0))?;
        Ok(newest.unwrap_or(0).max(self.folded()?))
    }

    /// The number of the newest entry that is no longer in the journal.
    fn folded(&self) -> rusqlite::Result<i64> {
        let bytes: Option<[u8; 8]> = self
            .setting(FOLDED)?
            .and_then(|bytes| bytes.try_into().ok());
        Ok(bytes.map_or(0, i64::from_be_bytes))
    }

    /// Writes what the journal has changed to the book's rows, and empties it. `book` is what the journal says; `accounts` and
    /// `commitments` are the slots that it has touched.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn fold(
        &mut self,
        book: &Book,
        limits: &book::Limits,
        accounts: impl Iterator<Item = u32>,
        commitments: impl Iterator<Item = u32>,
    ) -> Result<(), Error> {
        let (path, last_number) = (self.path.clone(), self.last_number);
        self.write(|transaction| {
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO account (slot, sender, name, price_wei, price_pixels, credit, pixels, touched_block)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for (slot, account) in accounts.filter_map(|slot| Some((slot, book.account_at(slot)?))) {
                put.execute(params![
                    slot,
                    account.sender.0,
                    account.name.as_str(),
                    account.price.wei().cast_signed(),
                    account.price.pixels().cast_signed(),
                    account.credit.to_be_bytes(),
                    account.pixels.to_be_bytes(),
                    account.touched_block.cast_signed(),
                ])?;
            }
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO commitment (slot, sender, rand_hash, recipient_rand, face_value, win_prob, expiration_block,
                     creation_round, block_hash, nonces)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            let mut nonces = Vec::new();
            for (slot, commitment) in commitments.filter_map(|slot| Some((slot, book.commitment_at(slot)?))) {
                nonces.clear();
                commitment.nonces.write(&mut nonces);
                put.execute(params![
                    slot,
                    commitment.sender.0,
                    commitment.rand_hash.0,
                    commitment.recipient_rand,
                    commitment.face_value.to_be_bytes::<32>(),
                    commitment.win_prob.to_be_bytes::<32>(),
                    commitment.expiration_block.cast_signed(),
                    commitment.creation_round.cast_signed(),
                    commitment.creation_round_block_hash.0,
                    nonces,
                ])?;
            }
            // What the book has forgotten by its own rule.
            let block = book.block();
            transaction.execute("DELETE FROM commitment WHERE expiration_block <= ?1", [block.cast_signed()])?;
            let oldest = block.saturating_sub(limits.account_idle_blocks);
            transaction.execute("DELETE FROM account WHERE touched_block < ?1", [oldest.cast_signed()])?;
            let mut set = transaction.prepare_cached("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)")?;
            set.execute(params![BLOCK, block.to_be_bytes()])?;
            set.execute(params![FOLDED, last_number.to_be_bytes()])?;
            transaction.execute("DELETE FROM journal", [])?;
            Ok(())
        })
        .map_err(sqlite(&path))
    }

    /// Whether the disk takes anything.
    ///
    /// # Errors
    /// It does not.
    pub fn probe(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        self.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO setting (name, value) VALUES ('probe', x'00')",
                [],
            )
        })
        .map(drop)
        .map_err(sqlite(&path))
    }

    /// A sender's winners about which nothing has been done, as commitment and nonce, in the order in which they came.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn winners_of(&self, sender: &Address) -> Result<Vec<(Hash, u32)>, Error> {
        let mut query = self.prepare(
            "SELECT rand_hash, sender_nonce FROM winner WHERE sender = ?1 AND state = 0 ORDER BY id",
        )?;
        let rows = query.query_map([sender.0], |row| {
            Ok((Hash(row.get(0)?), row.get::<_, u32>(1)?))
        });
        rows.and_then(Iterator::collect).map_err(sqlite(&self.path))
    }

    /// How many winners are recorded, and how many of them nothing has been done about.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn winners(&self) -> Result<(u64, u64), Error> {
        let mut query =
            self.prepare("SELECT count(*), count(*) FILTER (WHERE state = 0) FROM winner")?;
        let counts = query.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (all, open) = counts.map_err(sqlite(&self.path))?;
        Ok((all.unsigned_abs(), open.unsigned_abs()))
    }
}

fn account(row: &Row<'_>) -> Option<(u32, Account)> {
    let name: String = row.get(2).ok()?;
    let account = Account {
        sender: Address(blob(row, 1)?),
        name: SessionId::new(&name)?,
        price: Price::new(row.get(3).ok()?, row.get(4).ok()?).ok()?,
        credit: Credit::from_be_bytes(blob(row, 5)?),
        pixels: u128::from_be_bytes(blob(row, 6)?),
        touched_block: number(row, 7)?,
    };
    Some((row.get(0).ok()?, account))
}

fn commitment(row: &Row<'_>) -> Option<(u32, Commitment)> {
    let nonces: Vec<u8> = row.get(9).ok()?;
    let commitment = Commitment {
        sender: Address(blob(row, 1)?),
        rand_hash: Hash(blob(row, 2)?),
        recipient_rand: blob(row, 3)?,
        face_value: Wei::from_be_bytes(blob::<32>(row, 4)?),
        win_prob: Wei::from_be_bytes(blob::<32>(row, 5)?),
        expiration_block: number(row, 6)?,
        creation_round: number(row, 7)?,
        creation_round_block_hash: Hash(blob(row, 8)?),
        nonces: Nonces::read(&nonces)?,
    };
    Some((row.get(0).ok()?, commitment))
}

fn blob<const N: usize>(row: &Row<'_>, column: usize) -> Option<[u8; N]> {
    row.get_ref(column).ok()?.as_blob().ok()?.try_into().ok()
}

/// A count of entries, which are few, as SQLite has integers.
fn entries(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Integers are kept as SQLite has them, signed.
fn number(row: &Row<'_>, column: usize) -> Option<u64> {
    row.get::<_, i64>(column).ok().map(i64::cast_unsigned)
}
