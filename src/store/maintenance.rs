//! What the commands do with the database, each in a process of its own beside services that may be running.

#[cfg(feature = "postgres")]
use crate::store::postgres;
use crate::store::{Exported, Filter, Location, MaintenanceError, OpenError, Stored, each_engine, sqlite};
use std::path::Path;

/// The database, as a command has it.
pub enum Maintenance {
    /// A file of this machine.
    Sqlite(sqlite::maintenance::Maintenance),
    /// A server of PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::maintenance::Maintenance>),
}

/// An export under way.
pub enum Export<'a> {
    /// Out of a file.
    Sqlite(sqlite::maintenance::Export<'a>),
    /// Out of a server.
    #[cfg(feature = "postgres")]
    Postgres(postgres::maintenance::Export<'a>),
}

impl Maintenance {
    /// Opens a database that is there, whatever the version of its schema.
    pub fn open(location: &Location) -> Result<Maintenance, OpenError> {
        match location {
            Location::Sqlite(path) => sqlite::maintenance::Maintenance::open(path).map(Maintenance::Sqlite),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => {
                postgres::maintenance::Maintenance::open(url).map(Box::new).map(Maintenance::Postgres)
            }
        }
    }

    /// Opens a database, and makes a new one where there is none.
    pub fn open_or_create(location: &Location) -> Result<Maintenance, OpenError> {
        match location {
            Location::Sqlite(path) => sqlite::maintenance::Maintenance::open_or_create(path).map(Maintenance::Sqlite),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => {
                postgres::maintenance::Maintenance::open_or_create(url).map(Box::new).map(Maintenance::Postgres)
            }
        }
    }

    /// Refuses any schema but this version's.
    pub fn with_current_schema(self) -> Result<Maintenance, OpenError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.with_current_schema().map(Maintenance::Sqlite),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(postgres) => postgres.with_current_schema().map(Box::new).map(Maintenance::Postgres),
        }
    }

    /// Damaged pages, rows that an index does not have, values that break a constraint. Nothing, when all is well, and for
    /// a server, which has its own program for that.
    pub fn integrity_faults(&self) -> Result<Vec<String>, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.integrity_faults(),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// How the schema differs from this version's.
    pub fn schema_faults(&mut self) -> Result<Vec<String>, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.schema_faults())
    }

    /// Goes through all rows and compares them with their keys, moments and counts. Returns their number and the faults.
    pub fn tally_faults(&mut self) -> Result<(u64, Vec<String>), MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.tally_faults())
    }

    /// Copies an SQLite database as it is now into an empty file, calling `copied` with the pages that are done and with all.
    /// Then checks the copy, and returns what `PRAGMA integrity_check` has found.
    pub fn backup(&mut self, into: &Path, copied: impl FnMut(u64, u64)) -> Result<Vec<String>, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.backup(into, copied),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(_) => Err(MaintenanceError("pg_dump copies a database of PostgreSQL".to_owned())),
        }
    }

    /// The messages that match, in the order in which they were stored.
    pub fn export(&mut self, filter: Filter) -> Result<Export<'_>, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.export(filter).map(Export::Sqlite),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(postgres) => postgres.export(filter).map(Export::Postgres),
        }
    }

    /// All messages and deliveries, in the order in which they were stored: a delivery instead of its messages.
    pub fn export_with_deliveries(&mut self) -> Result<Export<'_>, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.export_with_deliveries().map(Export::Sqlite),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(postgres) => postgres.export_with_deliveries().map(Export::Postgres),
        }
    }

    /// Stores lines in as many short transactions as it takes, and says of each, in the same order, whether anything in it
    /// was new; the text is why it does not fit the tables. On an error, those of some transactions may be stored.
    pub fn import(&mut self, lines: &[Exported]) -> Result<Vec<Result<Stored, String>>, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.import(lines))
    }

    /// What a person is called in the database, besides what they are called by here: the identifiers that a provider has
    /// for a number, and the numbers of an identifier. What is given comes first.
    pub fn names_of(&mut self, person: &str) -> Result<Vec<String>, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.names_of(person))
    }

    /// How many messages a person has, by all names.
    pub fn count_of(&mut self, names: &[String]) -> Result<u64, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.count_of(names))
    }

    /// How many statuses there are of messages that were sent to a person, by all names.
    pub fn count_statuses_to(&mut self, names: &[String]) -> Result<u64, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.count_statuses_to(names))
    }

    /// Removes a person's messages in short transactions, and calls `removed` with how many after each. On an error,
    /// those of some transactions are removed, and it can be called again.
    pub fn erase(&mut self, name: &str, removed: impl FnMut(u64)) -> Result<(), MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.erase(name, removed))
    }

    /// Removes the statuses of messages that were sent to a person, and says how many.
    pub fn erase_statuses(&mut self, name: &str) -> Result<u64, MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.erase_statuses(name))
    }

    /// Blanks out a person in the deliveries that are kept as they came, where others are in them too. `mentions` says
    /// whether a text mentions the person.
    pub fn erase_in_deliveries(&mut self, mentions: impl Fn(&str) -> bool) -> Result<(), MaintenanceError> {
        each_engine!(Maintenance, self, engine => engine.erase_in_deliveries(mentions))
    }

    /// Waits until the journal of an SQLite database has no entry of a sender any more. False when there still is one after
    /// all of the time that a command waits.
    pub fn forget(&self, from: &str) -> Result<bool, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.forget(from),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(_) => Ok(true),
        }
    }

    /// Overwrites with zeros what the unused parts of an SQLite file still hold, and has a server do what it has for that.
    /// Calls `looked_at` with the pages that are done and with all. False: it could not be done.
    pub fn scrub(&mut self, looked_at: impl FnMut(u64, u64)) -> Result<bool, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.scrub(looked_at),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(postgres) => postgres.vacuum().map(|()| true),
        }
    }

    /// Copies the write-ahead log of an SQLite database, in which removed messages may still stand, into the file and empties
    /// it. False when another program has been reading the old state for all of the time that a command waits.
    pub fn empty_wal(&self) -> Result<bool, MaintenanceError> {
        match self {
            Maintenance::Sqlite(sqlite) => sqlite.empty_wal(),
            #[cfg(feature = "postgres")]
            Maintenance::Postgres(_) => Ok(true), // the server's log is the operator's
        }
    }
}

impl Export<'_> {
    /// The next lines, which may be none of what was looked at; None at the end.
    pub fn slice(&mut self) -> Result<Option<Vec<Exported>>, MaintenanceError> {
        each_engine!(Export, self, engine => engine.slice())
    }
}
