//! The database of a service, as another program has it open. Only this file names the driver of SQLite; PostgreSQL is asked
//! through psql.

use crate::harness::{Delivery, Directory, database_url, engine, program, run, until};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Child;

/// A connection of another program.
pub(crate) enum Database {
    Sqlite(Connection),
    /// By the path that stands for it, and a psql that holds a lock.
    Postgres(PathBuf, RefCell<Option<Child>>),
}

impl Database {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: impl AsRef<Path>) -> Database {
        if engine::is_postgres() {
            return Database::postgres(path);
        }
        Database::Sqlite(Connection::open(path).expect("the file can be opened"))
    }

    /// The same on PostgreSQL, whatever the tests run on.
    pub(crate) fn postgres(path: impl AsRef<Path>) -> Database {
        Database::Postgres(path.as_ref().to_owned(), RefCell::default())
    }

    /// For what only SQLite has: tests/data/sqlite_only.txt lists the tests that need it.
    #[track_caller]
    fn sqlite(&self) -> &Connection {
        match self {
            Database::Sqlite(connection) => connection,
            Database::Postgres(..) => panic!("this is about SQLite: add the test to tests/data/sqlite_only.txt"),
        }
    }

    /// Makes a database as the original service left it, for a test to fill before a server takes it over. On PostgreSQL,
    /// which the original service did not have, it is an empty one.
    pub(crate) fn original(directory: &Directory) -> Database {
        let database = Database::open(directory.database());
        if let Database::Sqlite(_) = database {
            database.run(include_str!("../../data/original.sql"));
        }
        database
    }

    /// Stores messages as the original service did or, on PostgreSQL, by an import.
    pub(crate) fn insert_all<'a>(&mut self, messages: impl IntoIterator<Item = &'a Delivery>) {
        let created_at = "2025-01-15T10:00:01Z";
        let connection = match self {
            Database::Sqlite(connection) => connection,
            Database::Postgres(path, _) => {
                let line = |message: &Delivery| {
                    let mut line = serde_json::to_value(message).expect("a message is JSON");
                    line["created_at"] = created_at.into();
                    format!("{line}\n")
                };
                let lines: String = messages.into_iter().map(line).collect();
                let file = path.with_extension("jsonl");
                std::fs::write(&file, lines).expect("the directory can be written");
                let ended = run(program().arg("import").arg(file).env("DATABASE_URL", database_url(path)));
                assert!(ended.status.success(), "{ended:?}");
                return;
            }
        };
        let insert = || {
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare(
                    "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                for Delivery { message_id, from, to, ts, text } in messages {
                    insert.execute((message_id, from, to, ts, text, created_at))?;
                }
            }
            transaction.commit()
        };
        insert().expect("the rows fit the table");
    }

    /// Runs statements, without a look at what they return.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        match self {
            Database::Sqlite(connection) => {
                connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            Database::Postgres(path, _) => drop(engine::sql(path, sql)),
        }
    }

    /// The one number that a statement returns.
    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> i64 {
        match self {
            Database::Sqlite(connection) => connection.query_row(sql, [], |row| row.get(0)),
            Database::Postgres(path, _) => return engine::sql(path, sql).parse().expect("it is a number"),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one text that a statement returns.
    #[track_caller]
    pub(crate) fn text(&self, sql: &str) -> String {
        match self {
            Database::Sqlite(connection) => connection.query_row(sql, [], |row| row.get(0)),
            Database::Postgres(path, _) => return engine::sql(path, sql),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// How many messages there are.
    #[track_caller]
    pub(crate) fn count(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM messages")
    }

    /// How many messages have what a provider says beyond the native fields.
    #[track_caller]
    pub(crate) fn details(&self) -> i64 {
        self.number(match self {
            Database::Sqlite(_) => "SELECT COUNT(*) FROM details",
            Database::Postgres(..) => "SELECT COUNT(*) FROM messages WHERE source IS NOT NULL",
        })
    }

    /// Makes what arrived so many days older than it is.
    #[track_caller]
    pub(crate) fn age(&self, days: u32) {
        for (table, column) in [("messages", "created_at"), ("statuses", "received_at"), ("deliveries", "received_at")]
        {
            let older = match self {
                Database::Sqlite(_) => format!("strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{days} days')"),
                Database::Postgres(..) => format!(
                    "to_char(({column}::timestamptz - interval '{days} days') AT TIME ZONE 'UTC', \
                     'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
                ),
            };
            self.run(&format!("UPDATE {table} SET {column} = {older}"));
        }
    }

    /// Waits until the service has done what it does once a second.
    #[track_caller]
    pub(crate) fn wait_for_keeper(&self) {
        let stamp = || match self {
            Database::Sqlite(_) => self.number("SELECT stamp FROM arrival"),
            Database::Postgres(..) => self.number("SELECT COUNT(*) FROM commits"),
        };
        let before = stamp();
        until("the keeper has been there", || stamp() != before);
    }

    /// How many migrations it has had.
    #[track_caller]
    pub(crate) fn version(&self) -> i64 {
        self.number(match self {
            Database::Sqlite(_) => "PRAGMA user_version",
            Database::Postgres(..) => "SELECT version FROM inbox_schema",
        })
    }

    /// Fails when a page, an index or a constraint is broken.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        if let Database::Sqlite(_) = self {
            assert_eq!(self.text("PRAGMA integrity_check"), "ok");
        }
    }

    /// Keeps every other connection from writing, until [`Database::release`] or the end of this one.
    #[track_caller]
    pub(crate) fn lock(&self) {
        match self {
            Database::Sqlite(_) => self.run("BEGIN IMMEDIATE"),
            Database::Postgres(path, holder) => drop(holder.replace(Some(engine::locked(path)))),
        }
    }

    /// Ends [`Database::lock`].
    #[track_caller]
    pub(crate) fn release(&self) {
        match self {
            Database::Sqlite(_) => self.run("COMMIT"),
            Database::Postgres(_, holder) => {
                let mut psql = holder.take().expect("it is locked");
                drop(psql.stdin.take());
                psql.wait().expect("a child can be waited for");
            }
        }
    }

    /// Copies all into a file.
    #[track_caller]
    pub(crate) fn back_up(&self, into: &Path) {
        self.sqlite().backup("main", into, None::<fn(_)>).unwrap();
    }

    /// Overwrites all with the copy, as `.restore` of the sqlite3 shell does.
    #[track_caller]
    pub(crate) fn restore(&mut self, from: &Path) {
        let Database::Sqlite(connection) = self else { panic!("pg_restore restores a database of PostgreSQL") };
        connection.restore("main", from, None::<fn(_)>).unwrap();
    }

    /// The steps of the plan for a statement.
    #[track_caller]
    pub(crate) fn plan(&self, sql: &str) -> Vec<String> {
        for name in ["moment_us", "moment_ns"] {
            // The program's own functions; the plan does not depend on what they do.
            let flags = FunctionFlags::SQLITE_DETERMINISTIC;
            self.sqlite().create_scalar_function(name, 1, flags, |_| Ok(0)).expect("SQLite takes functions");
        }
        let mut plan =
            self.sqlite().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|error| panic!("{error}"));
        let mut rows = plan.raw_query();
        std::iter::from_fn(|| rows.next().expect("a plan").map(|row| row.get("detail").expect("a text"))).collect()
    }
}
