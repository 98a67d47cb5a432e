//! The one connection, its files, and the counts that belong to what is in the database.

use crate::store::sqlite::count::{Count, Followed, seen};
use crate::store::sqlite::files::{FileId, Files, moved};
use crate::store::sqlite::schema;
use crate::store::sqlite::tally::Tally;
use crate::store::sqlite::wal::{Found, Wal};
use crate::store::{ReadError, Unavailable};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

/// Entries of the journal that are removed in one transaction: less than 1 ms.
const FORGOTTEN_MAX: i64 = 1000;

/// Rows that are deleted in one transaction because of their age: about 2 ms.
const EXPIRED_MAX: i64 = 64;

/// What the turn is about: the connection, and the counts that belong to what is in it.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) files: Files,
    /// The file that the connection has open.
    pub(super) file: FileId,
    pub(super) wal: Wal,
    pub(super) count: Count,
    /// The journal has no entry up to this one.
    pub(super) journal_emptied: i64,
}

/// What became of a read that needs exact counts.
pub(super) enum Look<T> {
    Answer(T),
    /// The counts are not exact yet; this was a step towards it.
    NotYet,
    /// All has to be counted again.
    Lost,
}

/// One state of the database, and the counts that belong to it.
pub(super) struct View<'a> {
    pub(super) connection: &'a Connection,
    pub(super) tally: &'a Tally,
}

impl Database {
    /// Reads within one transaction in which the tally is exact.
    pub(super) fn view<T>(&mut self, read: impl Fn(&View<'_>) -> Result<T, ReadError>) -> Result<Look<T>, ReadError> {
        let transaction = self.connection.transaction()?;
        let data_version = data_version(&transaction)?;
        if !self.count.is_exact(data_version) {
            match self.count.step(&transaction, data_version)? {
                Followed::Exact => {}
                Followed::Partly => return Ok(Look::NotYet),
                Followed::Lost => return Ok(Look::Lost),
            }
        }
        read(&View { connection: &transaction, tally: &self.count.tally }).map(Look::Answer)
    }

    /// Removes some entries of the journal that the tally has followed, and says whether there may be more.
    pub(super) fn empty_journal(&mut self) -> rusqlite::Result<bool> {
        let Some(followed) = self.count.followed().filter(|&followed| followed != self.journal_emptied) else {
            return Ok(false);
        };
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        let mut statement = self.connection.prepare_cached(include_str!("../../../sql/sqlite/forget_followed.sql"))?;
        if statement.execute((followed, FORGOTTEN_MAX))? as i64 == FORGOTTEN_MAX {
            return Ok(true);
        }
        self.journal_emptied = followed;
        Ok(false)
    }

    /// Changes the stamp after a change, so that an earlier backup can be recognised as one (count.rs).
    pub(super) fn stamp(&mut self) -> rusqlite::Result<()> {
        if !self.count.is_unstamped(data_version(&self.connection)?) {
            return Ok(());
        }
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        let stamp = fastrand::i64(..);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !self.count.is_unstamped(data_version(&transaction)?) {
            return Ok(()); // another program has been quicker
        }
        transaction.execute(include_str!("../../../sql/sqlite/stamp.sql"), [stamp])?;
        transaction.commit()?;
        self.count.stamped(stamp);
        Ok(())
    }

    /// Deletes some rows that arrived before an instant, and returns how many. Unlike appending, deleting needs the
    /// triggers: the journal, which the counts follow, and what goes with a message.
    pub(super) fn expire(&mut self, sql: &str, before: &str) -> rusqlite::Result<usize> {
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        let deleted = self.connection.execute(sql, (before, EXPIRED_MAX)); // autocommit
        if !matches!(deleted, Ok(0)) {
            self.count.doubt(); // the journal has more now
        }
        schema::append_silently(&self.connection)?;
        deleted
    }

    /// Writes within one transaction anything other than messages.
    pub(super) fn write_index<T>(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written = write(&transaction)?;
        transaction.commit()?;
        Ok(written)
    }

    /// Reads within one transaction what needs no counts: a slice of a read whose first hold has counted.
    pub(super) fn slice<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        read(&*self.connection.transaction()?)
    }

    /// Fails when the database does not answer a read.
    pub(super) fn answers(&mut self) -> Result<(), Unavailable> {
        self.slice(|connection| Ok(seen(connection)?)).map(|_| ()).map_err(|error| Unavailable(error.to_string()))
    }

    /// Before every write: the database and its log still have their names. Where the log has been removed, this makes
    /// a new one; nothing is lost, since SQLite still has the old one open.
    pub(super) fn check_files(&mut self) -> rusqlite::Result<()> {
        self.files.check_database(self.file)?;
        match self.wal.look_at(&self.files.log)? {
            Found::Same => Ok(()),
            Found::Nothing => self.wal.renew(&mut self.connection, &self.files.log),
            Found::Another => Err(moved(
                &self.files.log,
                "has been replaced; stop every program that has the database open, and restart the service",
            )),
        }
    }

    /// Writes what is there already without a trace, to see whether the disk takes it.
    pub(super) fn probe(&mut self) -> rusqlite::Result<()> {
        self.wal.prove(&mut self.connection)?;
        match self.wal.write_header_again(&mut self.connection)? {
            true => Ok(()),
            false => self.try_write(), // an empty log has no header yet
        }
    }

    /// Writes what is there already, to see whether writing works.
    pub(super) fn try_write(&mut self) -> rusqlite::Result<()> {
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        self.wal.sync()
    }
}

pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

impl View<'_> {
    /// The highest rowid: rows that are stored later have a higher one.
    pub(super) fn row_max(&self) -> Result<i64, ReadError> {
        let mut statement = self.connection.prepare_cached(include_str!("../../../sql/sqlite/rowid_max.sql"))?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }
}
