//! Bringing the schema up to date, and whether the server keeps what it acknowledges.
//!
//! Several instances may start at once, and one of a newer version beside older ones that run on. So a migration only adds,
//! and says which is the oldest version whose program may still run on its schema.

use crate::store::postgres::connection::{Connection, Fault, Url};
use crate::store::{OpenError, Report};
use std::time::{Duration, Instant};

/// Applied in order, each in one transaction. Never edited once released.
const MIGRATIONS: [&str; 1] = [include_str!("../../../sql/postgres/migrations/0001_messages.sql")];

/// For one migration. The server holds locks meanwhile, so it may not take for ever.
const MIGRATION_TIME: Duration = Duration::from_secs(3600);

/// For a server that is starting too, or a failover that is under way.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to connect.
const START_PAUSE: Duration = Duration::from_millis(200);

/// For a statement that looks at one row.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// Connects, refuses a server that loses what it has acknowledged, and applies the migrations that are missing. Returns where
/// the server keeps what it acknowledges, and the secret that all instances on the database have.
pub(super) fn open(url: &Url, report: &Report) -> Result<(String, Vec<u8>), OpenError> {
    let mut connection = connect(url)?;
    let fail = |what: String| OpenError { database: url.to_string(), what };
    let promise = promise(&mut connection).map_err(|fault| fail(fault.to_string()))?.map_err(fail)?;
    let version =
        version(&mut connection).map_err(|fault| fail(fault.to_string()))?.map_or(0, |version| version.version);
    for number in version..MIGRATIONS.len() {
        match migrate(&mut connection, number) {
            Ok(true) if version > 0 => report(&format!("migration {} of the database is applied", number + 1)),
            Ok(_) => {} // the tables are new, or another instance has applied it
            Err(fault) => {
                return Err(fail(format!("migration {} failed: {fault}. Nothing of it was applied.", number + 1)));
            }
        }
    }
    look(&mut connection).map(|secret| (promise, secret)).map_err(|fault| fail(fault.to_string()))
}

/// A connection for a command, or for the start.
pub(super) fn connect(url: &Url) -> Result<Connection, OpenError> {
    let begun = Instant::now();
    loop {
        match Connection::open(url, "") {
            Ok(connection) => return Ok(connection),
            Err(fault) if fault.is_lost() && begun.elapsed() < START_PATIENCE => std::thread::sleep(START_PAUSE),
            Err(fault) => {
                let advice = "Check that the server runs, takes writes, and has this database and user (DATABASE_URL).";
                return Err(OpenError { database: url.to_string(), what: format!("{fault}. {advice}") });
            }
        }
    }
}

/// What the server promises of a commit, for the log; or why it cannot be used.
fn promise(connection: &mut Connection) -> Result<Result<String, String>, Fault> {
    let rows = connection.query(include_str!("../../../sql/postgres/settings.sql"), &[], LOOK_TIME)?;
    let Some(row) = rows.first() else { return Ok(Err("the server does not say its settings".to_owned())) };
    let [encoding, fsync, full_page_writes, commit, standbys, version]: [&str; 6] =
        [0, 1, 2, 3, 4, 5].map(|column| row.get(column));
    if encoding != "UTF8" {
        return Ok(Err(format!(
            "its encoding is {encoding}. Create the database again: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    for (name, value) in [("fsync", fsync), ("full_page_writes", full_page_writes)] {
        if value != "on" {
            return Ok(Err(format!(
                "the server has {name} = {value}, so it loses what it has acknowledged when its machine fails. Set {name} \
                 = on in postgresql.conf."
            )));
        }
    }
    if commit == "off" {
        return Ok(Err(
            "the server has synchronous_commit = off, so it acknowledges what is not on disk. Set it to on, for \
                       this user with: ALTER ROLE … SET synchronous_commit = on"
                .to_owned(),
        ));
    }
    let kept = match (standbys, commit) {
        ("", _) | (_, "local") => "on the disk of the server: synchronous_standby_names is not set",
        (_, "remote_write") => "on the disk of the server, and in the memory of a standby",
        _ => "on the disks of the server and of a standby",
    };
    Ok(Ok(format!(
        "PostgreSQL {version} keeps what is acknowledged {kept} (synchronous_commit = {commit}, synchronous_standby_names = \
         {standbys:?})"
    )))
}

/// The version of the schema, and who may run on it.
struct Version {
    version: usize,
    oldest_program: usize,
    erasure_key: Vec<u8>,
}

/// None: there is no schema yet.
fn version(connection: &mut Connection) -> Result<Option<Version>, Fault> {
    let rows = match connection.query(include_str!("../../../sql/postgres/version.sql"), &[], LOOK_TIME) {
        Err(fault) if fault.is_undefined_table() => return Ok(None),
        rows => rows?,
    };
    Ok(rows.first().map(|row| Version {
        version: usize::try_from(row.get::<_, i32>(0)).unwrap_or(0),
        oldest_program: usize::try_from(row.get::<_, i32>(1)).unwrap_or(usize::MAX),
        erasure_key: row.get(2),
    }))
}

/// Applies a migration, unless another instance has. The lock is the server's, and ends with the transaction.
fn migrate(connection: &mut Connection, number: usize) -> Result<bool, Fault> {
    connection.batch("BEGIN", LOOK_TIME)?;
    connection.query(include_str!("../../../sql/postgres/migration_lock.sql"), &[], MIGRATION_TIME)?;
    let rows = connection.query(include_str!("../../../sql/postgres/is_migrated.sql"), &[], LOOK_TIME)?;
    let exists = rows.first().is_some_and(|row| row.get(0));
    let applied = if exists { version(connection)?.map_or(0, |version| version.version) } else { 0 };
    let is_missing = applied <= number;
    if is_missing {
        connection.batch(MIGRATIONS[number], MIGRATION_TIME)?;
        let version = number as i32 + 1; // they are few
        connection.query(include_str!("../../../sql/postgres/set_version.sql"), &[&version, &1], LOOK_TIME)?;
    }
    connection.batch("COMMIT", LOOK_TIME)?;
    Ok(is_missing)
}

/// Whether this program may run on the schema: looked at with each new connection that writes, because another instance may
/// have migrated. Returns the key of erased messages.
pub(super) fn look(connection: &mut Connection) -> Result<Vec<u8>, Fault> {
    match version(connection)? {
        Some(Version { version, oldest_program, erasure_key }) if version >= MIGRATIONS.len() => {
            if oldest_program <= MIGRATIONS.len() {
                return Ok(erasure_key);
            }
            Err(Fault::Schema(format!(
                "its schema has version {version}, which this program is too old for. Run the version that made it"
            )))
        }
        found => Err(Fault::Schema(format!(
            "its schema has version {}, and this program needs {}. Start webhook-inbox with it once: that migrates it",
            found.map_or(0, |version| version.version),
            MIGRATIONS.len()
        ))),
    }
}

/// Indexes that are not there, which makes reads slow and leaves their answers as they are.
pub(super) fn differences(connection: &mut Connection) -> Result<Vec<String>, Fault> {
    let rows = connection.query(include_str!("../../../sql/postgres/indexes.sql"), &[], LOOK_TIME)?;
    let there: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let made = MIGRATIONS.iter().flat_map(|migration| migration.split("\nCREATE INDEX ").skip(1));
    let made = made.filter_map(|statement| statement.split(' ').next());
    Ok(made.filter(|name| !there.contains(name)).map(|name| format!("the index {name} is missing")).collect())
}
