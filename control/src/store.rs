//! What a node keeps on disk: one SQLite database in its data directory, with one writer.
//!
//! The database is in WAL mode and every commit is synced, so that what was committed is there after a crash of the process and of the
//! machine. A lock on the file beside it keeps a second node off; readers (`millstream ticket ledger`) come and go.
//!
//! Invariants:
//! - The schema has a version. An older one is migrated when the store is opened, a newer one is refused.
//! - A transaction is whole or did not happen; whoever gets an error from a write finds the disk as it was.

mod payments;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

pub use payments::{PaymentRows, Winner};

/// The database's name within the data directory.
pub const FILE: &str = "millstream.sqlite3";
/// The file that the running node holds a lock on.
const LOCK: &str = "millstream.lock";
/// The schema of this build; see [`migrate`].
const SCHEMA: i64 = 1;
/// How long a write waits for a reader who is in its way: a checkpoint may meet one.
const BUSY: Duration = Duration::from_secs(5);

/// Why the store is not to be had, or did not take something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another node works on this data directory.
    #[error(
        "another node is running on the data directory {0}; stop it, or give this one its own with --data-dir"
    )]
    InUse(PathBuf),
    /// The directory or the file cannot be made or opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
    /// A newer build wrote it.
    #[error(
        "{path} has schema version {found}, and this build knows versions up to {SCHEMA}: use a newer build, or another data directory"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// What is in it contradicts itself.
    #[error("{path} is damaged: {what}; restore it from a backup, or move it away to begin anew")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// SQLite says no.
    #[error("the database {path}: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
}

/// The store of a running node.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The number of the journal's newest entry.
    last_number: i64,
    /// Held for as long as the store is open.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store in a data directory, and makes either if it is not there. Nobody else may write to it meanwhile.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let opening = |path: PathBuf| move |source| Error::Open { path, source };
        fs::create_dir_all(data_dir).map_err(opening(data_dir.to_owned()))?;
        let lock_path = data_dir.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(opening(lock_path.clone()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse(data_dir.to_owned())),
            Err(fs::TryLockError::Error(source)) => {
                return Err(Error::Open {
                    path: lock_path,
                    source,
                });
            }
        }
        let path = data_dir.join(FILE);
        // A secret will be in it.
        private(&path).map_err(opening(path.clone()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(sqlite(&path))?;
        let mut store = Self {
            connection,
            path,
            last_number: 0,
            _lock: Some(lock),
        };
        store.configure().map_err(sqlite(&store.path))?;
        store.migrate()?;
        store.last_number = store.find_last_number().map_err(sqlite(&store.path))?;
        Ok(store)
    }

    /// Opens the store in a data directory to look at it, whether or not a node is running there. What is seen is how it was at this
    /// moment, whatever a node writes meanwhile.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn look(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Err(source) = fs::metadata(&path) {
            return Err(Error::Open { path, source });
        }
        let connection = Connection::open_with_flags(&path, flags).map_err(sqlite(&path))?;
        connection.busy_timeout(BUSY).map_err(sqlite(&path))?;
        // One transaction for as long as it is open, which begins with the first thing that is read. Otherwise the journal could be
        // carried out and emptied after the tables were read and before it was.
        connection.execute_batch("BEGIN").map_err(sqlite(&path))?;
        let store = Self {
            connection,
            path,
            last_number: 0,
            _lock: None,
        };
        match store.version()? {
            SCHEMA => Ok(store),
            found if found > SCHEMA => Err(Error::Newer {
                path: store.path,
                found,
            }),
            found => Err(Error::Damaged {
                what: format!(
                    "it has schema version {found}; a node that starts on it would migrate it"
                ),
                path: store.path,
            }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn configure(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY)?;
        self.connection.pragma_update(None, "journal_mode", "wal")?;
        // Every commit is on disk when it returns: the write-ahead log is synced.
        self.connection.pragma_update(None, "synchronous", "full")?;
        self.connection.pragma_update(None, "foreign_keys", "on")?;
        Ok(())
    }

    fn version(&self) -> Result<i64, Error> {
        self.connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(sqlite(&self.path))
    }

    /// Brings the schema up to date, a version at a time.
    fn migrate(&mut self) -> Result<(), Error> {
        let found = self.version()?;
        if found > SCHEMA {
            return Err(Error::Newer {
                path: self.path.clone(),
                found,
            });
        }
        let path = self.path.clone();
        self.write(|transaction| {
            for version in found..SCHEMA {
                transaction
                    .execute_batch(MIGRATIONS[usize::try_from(version).unwrap_or(usize::MAX)])?;
            }
            transaction.pragma_update(None, "user_version", SCHEMA)
        })
        .map_err(sqlite(&path))
    }

    /// Carries out a transaction: all of it, or nothing.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = work(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }

    /// A value that is there once, by its name.
    fn setting(&self, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut query = self
            .connection
            .prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
        query.query_row([name], |row| row.get(0)).optional()
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            what: what.into(),
        }
    }
}

/// From an empty database to version 1, and so on.
const MIGRATIONS: &[&str] = &[payments::SCHEMA_1];
const _: () = assert!(MIGRATIONS.len() == SCHEMA as usize);

/// Makes the file, readable by its owner alone, if it is not there.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Sqlite { path, source }
}
