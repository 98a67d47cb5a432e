//! The database of a service, as another program has it open. Only this file names the driver, so that the tests can run
//! on another engine.

use crate::harness::{Delivery, Directory};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use std::path::Path;

/// A connection of another program.
pub(crate) struct Database(Connection);

impl Database {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: impl AsRef<Path>) -> Database {
        Database(Connection::open(path).expect("the file can be opened"))
    }

    /// Makes a database as the original service left it, for a test to fill before a server takes it over.
    pub(crate) fn original(directory: &Directory) -> Database {
        let database = Database::open(directory.database());
        database.run(include_str!("../../data/original.sql"));
        database
    }

    /// Stores messages as the original service did.
    pub(crate) fn insert_all<'a>(&mut self, messages: impl IntoIterator<Item = &'a Delivery>) {
        let insert = || {
            let transaction = self.0.transaction()?;
            {
                let mut insert = transaction.prepare(
                    "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, '2025-01-15T10:00:01Z')",
                )?;
                for Delivery { message_id, from, to, ts, text } in messages {
                    insert.execute((message_id, from, to, ts, text))?;
                }
            }
            transaction.commit()
        };
        insert().expect("the rows fit the table");
    }

    /// Runs statements, without a look at what they return.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The one number that a statement returns.
    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one text that a statement returns.
    #[track_caller]
    pub(crate) fn text(&self, sql: &str) -> String {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// How many messages there are.
    #[track_caller]
    pub(crate) fn count(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM messages")
    }

    /// How many migrations it has had.
    #[track_caller]
    pub(crate) fn version(&self) -> i64 {
        self.number("PRAGMA user_version")
    }

    /// Fails when a page, an index or a constraint is broken.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        assert_eq!(self.text("PRAGMA integrity_check"), "ok");
    }

    /// Keeps every other connection from writing, until [`Database::release`] or the end of this one.
    #[track_caller]
    pub(crate) fn lock(&self) {
        self.run("BEGIN IMMEDIATE");
    }

    /// Ends [`Database::lock`].
    #[track_caller]
    pub(crate) fn release(&self) {
        self.run("COMMIT");
    }

    /// Copies all into a file.
    #[track_caller]
    pub(crate) fn back_up(&self, into: &Path) {
        self.0.backup("main", into, None::<fn(_)>).unwrap();
    }

    /// Overwrites all with the copy, as `.restore` of the sqlite3 shell does.
    #[track_caller]
    pub(crate) fn restore(&mut self, from: &Path) {
        self.0.restore("main", from, None::<fn(_)>).unwrap();
    }

    /// The steps of the plan for a statement.
    #[track_caller]
    pub(crate) fn plan(&self, sql: &str) -> Vec<String> {
        for name in ["moment_us", "moment_ns"] {
            // The program's own functions; the plan does not depend on what they do.
            let flags = FunctionFlags::SQLITE_DETERMINISTIC;
            self.0.create_scalar_function(name, 1, flags, |_| Ok(0)).expect("SQLite takes functions");
        }
        let mut plan = self.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|error| panic!("{error}"));
        let mut rows = plan.raw_query();
        std::iter::from_fn(|| rows.next().expect("a plan").map(|row| row.get("detail").expect("a text"))).collect()
    }
}
