//! Opening the database file and bringing its schema up to date.

use crate::store::sqlite::value::text;
use crate::store::{OpenError, Report};
use crate::timestamp::{Moment, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Applied in order, each in one transaction; `user_version` is the number of those applied. Never edited once released.
const MIGRATIONS: [&str; 5] = [
    include_str!("../../../sql/sqlite/migrations/0001_messages.sql"),
    include_str!("../../../sql/sqlite/migrations/0002_moments.sql"),
    include_str!("../../../sql/sqlite/migrations/0003_arrivals.sql"),
    include_str!("../../../sql/sqlite/migrations/0004_providers.sql"),
    include_str!("../../../sql/sqlite/migrations/0005_search.sql"),
];

/// Before this version two connections that write and checkpoint at the same time could lose a commit (the WAL-reset bug,
/// <https://sqlite.org/wal.html>), and a backup tool beside the service is such a second connection.
const SQLITE_VERSION_MIN: i32 = 3_051_003; // as sqlite3_libversion_number writes 3.51.3

/// What the original service's table has to have to be taken over.
const ORIGINAL_COLUMNS: [&str; 6] = ["message_id", "from_msisdn", "to_msisdn", "ts", "text", "created_at"];

/// Times the size of the database file that its migration needs as free disk, by the version that it has: the new table,
/// its log, and sorting for the indexes. 300,000 messages of the original service took 3.1 times their 68 MB, and
/// 1,000,000 of version 2 took 1.7 times their 351 MB. From version 3 on a migration only adds tables.
const ROOM_FACTORS: [u64; 3] = [4, 4, 2];

/// What a migration takes for a message: 1,000,000 took 5 s on a cloud VM with two cores, more of them longer each.
const MIGRATION_US_PER_MESSAGE: u64 = 10;

/// Between two reports of a migration.
const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// Steps of SQLite's virtual machine between two looks at the clock: some milliseconds.
const CLOCK_STEPS: i32 = 100_000;

/// For another process to finish what it does to the file, while this one starts.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// For a command to get the lock. The service holds it for some milliseconds; another program may take its time.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// SQLite's page cache, KiB. It bounds the resident size, and hardly matters beyond that, since what SQLite does not
/// cache the kernel does: into 1,000,000 messages 4, 16 and 64 MiB take in 7,600, 7,100 and 7,400 messages per second,
/// which is noise. For the same reason there is no mmap (`mmap_size`): no read was faster, and an I/O error would be a
/// SIGBUS.
const CACHE_KIB: i64 = 16 << 10;

/// Makes sure that there is a file, and opens it. SQLite has not looked at the file yet, which may be no database.
pub(super) fn create(path: &Path) -> Result<File, OpenError> {
    let fail = |what: String| OpenError::new(path, what);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        let directory = directory.display();
        return Err(fail(format!(
            "there is no directory {directory}. Create it, or set DATABASE_URL to another place."
        )));
    }
    // The messages are other people's: a new file is this user's alone. SQLite gives its log files the same mode.
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(|error| {
        fail(format!(
            "unable to open it: {error}. Check that the file and its directory belong to the user that this runs as."
        ))
    })
}

/// Opens a file that is there, and applies the migrations that it has not had.
pub(super) fn open(path: &Path, report: &Report) -> Result<Connection, OpenError> {
    let fail = |what: String| OpenError::new(path, what);
    refuse_old_library(rusqlite::version_number()).map_err(fail)?;
    // NO_MUTEX: one thread at a time holds the connection, see turn.rs.
    let mut connection = open_beside(path).map_err(|error| {
        fail(format!("{error}. Check that the file and its directory belong to the user that this runs as."))
    })?;
    prepare(&mut connection, path, report).map_err(fail)?;
    Ok(connection)
}

/// A second connection of the service to the file that it has open, for what takes longer than a turn.
pub(super) fn open_beside(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Opens a file that is there, for a command beside a service that may be running. Creates nothing, migrates nothing.
pub(super) fn open_existing(path: &Path) -> Result<Connection, OpenError> {
    let fail = |what: String| OpenError::new(path, what);
    if !path.is_file() {
        return Err(fail(
            "there is no such file. Check DATABASE_URL; the service creates it at its first start.".into(),
        ));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|mut connection| {
        connection.busy_handler(Some(wait_for_lock))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        add_functions(&connection)?;
        connection.pragma_query_value(None, "schema_version", |_| Ok(()))?; // the first look at the file
        Ok(connection)
    });
    opened.map_err(|error| {
        fail(format!("{error}. Check that it is an SQLite database that this user may read and write."))
    })
}

/// A busy handler for who has time: [`LOCK_PATIENCE`] in all.
fn wait_for_lock(tries: i32) -> bool {
    // Short pauses, since a service under load leaves the lock free for less than a millisecond at a time.
    const PAUSE: Duration = Duration::from_millis(1);
    std::thread::sleep(PAUSE);
    PAUSE * tries.unsigned_abs() < LOCK_PATIENCE
}

/// Refuses any version of the schema but this program's.
pub(super) fn check_current(connection: &Connection) -> Result<(), String> {
    let (version, known) = (version(connection)?, MIGRATIONS.len());
    if version == known {
        return Ok(());
    }
    Err(format!(
        "its schema has version {version}, this program's has {known}. Start the service once, which brings it up to \
         date; back it up first, since there is no way back."
    ))
}

/// How the schema differs from what the migrations make of an empty file, a line for each difference.
pub(super) fn differences(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let pattern = Connection::open_in_memory()?;
    add_functions(&pattern)?;
    for migration in MIGRATIONS {
        pattern.execute_batch(migration)?;
    }
    let mut differences = Vec::new();
    let columns_here = columns(connection)?;
    for column in columns(&pattern)?.into_iter().filter(|column| !columns_here.contains(column)) {
        differences.push(format!("the table messages has no column {column}"));
    }
    let objects_here = objects(connection)?;
    for (name, sql) in objects(&pattern)? {
        match objects_here.iter().find(|(here, _)| *here == name) {
            None => differences.push(format!("{name} is missing")),
            Some((_, here)) if *here != sql => differences.push(format!("{name} is another: {here}")),
            Some(_) => {}
        }
    }
    Ok(differences)
}

/// Indexes and triggers: name and text.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(include_str!("../../../sql/sqlite/schema_objects.sql"))?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info('messages')")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// `bundled` (Cargo.toml) compiles a known SQLite in; this is for a build that was made to link the system's.
fn refuse_old_library(version: i32) -> Result<(), String> {
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    let [major, minor, patch] = [version / 1_000_000, version / 1000 % 1000, version % 1000];
    Err(format!(
        "this build uses SQLite {major}.{minor}.{patch}, which can lose commits. It has to be 3.51.3 or newer: use a \
         release of webhook-inbox, or build it with rusqlite's feature `bundled`."
    ))
}

fn prepare(connection: &mut Connection, path: &Path, report: &Report) -> Result<(), String> {
    let sqlite = |error: rusqlite::Error| {
        format!(
            "{error}. Check that it is an SQLite database, that this user may write it, and that the disk has room."
        )
    };
    connection.busy_timeout(START_PATIENCE).map_err(sqlite)?;
    announce(connection, path, report)?; // before anything is changed
    set(connection, "journal_mode", "wal")?;
    set(connection, "synchronous", "1")?; // NORMAL: each COMMIT is synced by wal.rs, which says why
    set(connection, "cache_size", &(-CACHE_KIB).to_string())?;
    // A WAL that grew while a reader held it up is cut back to 64 MiB once it has been copied.
    set(connection, "journal_size_limit", &(64 << 20).to_string())?;
    connection.set_prepared_statement_cache_capacity(128); // more than there are files in sql/
    add_functions(connection).map_err(sqlite)?;
    report_regularly(connection, report).map_err(sqlite)?;
    while migrate_one(connection)? {}
    connection.progress_handler(0, None::<fn() -> bool>).map_err(sqlite)?;
    set(connection, "secure_delete", "1")?; // the journal has senders, who may be erased
    append_silently(connection).map_err(sqlite)?;
    // From now on no thread waits inside SQLite, where the mutex is held: commit.rs waits outside.
    connection.busy_timeout(Duration::ZERO).map_err(sqlite)
}

/// Turns the triggers off that note what other programs do (0003_arrivals.sql), for a connection that only appends: the
/// next count notices that by the highest seq.
pub(super) fn append_silently(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map(|_| ())
}

/// Sets a PRAGMA and reads it back: SQLite does not say when it keeps the old value.
fn set(connection: &Connection, name: &str, value: &str) -> Result<(), String> {
    let what = |error: rusqlite::Error| {
        format!("PRAGMA {name} = {value}: {error}. Is it an SQLite database that this user may write?")
    };
    connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(what(error)),
    })?;
    let kept =
        connection.pragma_query_value(None, name, |row| row.get_ref(0).map(|value| text(value).map(String::from)));
    let kept = kept.map_err(what)?.unwrap_or_default();
    if kept == value {
        return Ok(());
    }
    Err(format!(
        "PRAGMA {name} is {kept} although it was set to {value}. WAL needs a local disk that supports shared memory."
    ))
}

/// Says what the migrations will take. Fails when they could fill the disk that the database is on.
fn announce(connection: &Connection, path: &Path, report: &Report) -> Result<(), String> {
    let Some(factor) = ROOM_FACTORS.get(version(connection)?) else { return Ok(()) };
    let (Ok(file), Ok(disk)) = (path.metadata(), rustix::fs::statvfs(path)) else { return Ok(()) }; // it says nothing
    let needed = file.len().saturating_mul(*factor);
    room_for_migration(needed, disk.f_bavail.saturating_mul(disk.f_frsize))?;
    // A file without the table is new.
    let count = connection.prepare(include_str!("../../../sql/sqlite/rowid_max.sql"));
    let messages: i64 = count.and_then(|mut count| count.query_row([], |row| row.get(0))).unwrap_or(0);
    if messages > 0 {
        let seconds = messages.unsigned_abs() * MIGRATION_US_PER_MESSAGE / 1_000_000 + 1;
        report(&format!(
            "the schema is brought up to date; messages: about {messages}, time: about {seconds} s, disk meanwhile: up to \
             {needed} bytes; when it is interrupted, nothing is changed, and the next start begins again"
        ));
    }
    Ok(())
}

fn room_for_migration(needed: u64, free: u64) -> Result<(), String> {
    if free >= needed {
        return Ok(());
    }
    Err(format!(
        "its schema has to be brought up to date, which takes up to {needed} bytes of disk, and {free} are free. Nothing \
         was changed. Make room, or move the database to a larger disk and set DATABASE_URL."
    ))
}

/// Reports every [`REPORT_PAUSE`] how long the statements of the connection have taken so far.
fn report_regularly(connection: &mut Connection, report: &Report) -> rusqlite::Result<()> {
    let (report, begun) = (Report::clone(report), Instant::now());
    let mut next = REPORT_PAUSE;
    let look = move || {
        if begun.elapsed() >= next {
            next += REPORT_PAUSE;
            report(&format!("the schema is being brought up to date, {} s so far", begun.elapsed().as_secs()));
        }
        false // continue
    };
    connection.progress_handler(CLOCK_STEPS, Some(look))
}

/// How many migrations the database has had. `Err` for one of a newer version, which may have any schema.
fn version(connection: &Connection) -> Result<usize, String> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let version = version.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{error}. Another program has it locked; start again when that has ended.")
        }
        _ => format!("{error}. Check that it is an SQLite database."),
    })?;
    usize::try_from(version).ok().filter(|&version| version <= MIGRATIONS.len()).ok_or_else(|| {
        format!(
            "it was written by a newer version of webhook-inbox (its user_version is {version}, this program knows up \
             to {}). Run that version, or restore a backup from before the upgrade.",
            MIGRATIONS.len()
        )
    })
}

/// Applies the next migration, and says whether there was one.
fn migrate_one(connection: &mut Connection) -> Result<bool, String> {
    let sqlite =
        |error: rusqlite::Error| format!("its schema could not be brought up to date: {error}. Nothing was changed.");
    // The version is read inside the transaction: another process may be starting too.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    let version = version(&transaction)?;
    let Some(migration) = MIGRATIONS.get(version) else { return Ok(false) };
    if version > 0 || !has_original_table(&transaction)? {
        transaction.execute_batch(migration).map_err(sqlite)?;
    }
    transaction.pragma_update(None, "user_version", version as i64 + 1).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    Ok(true)
}

/// Whether the original service has been here. It kept no version, so its table stands for the first migration.
fn has_original_table(connection: &Connection) -> Result<bool, String> {
    let columns = columns(connection).map_err(|error| format!("its schema could not be read: {error}."))?;
    let missing: Vec<&str> = ORIGINAL_COLUMNS.into_iter().filter(|name| !columns.iter().any(|c| c == name)).collect();
    match (columns.is_empty(), missing.is_empty()) {
        (true, _) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => Err(format!(
            "it has a table `messages` without the column(s) {}, so it is not an inbox. Set DATABASE_URL to another file.",
            missing.join(", ")
        )),
    }
}

/// What the migrations use of this program: `moment_us(ts)`, `moment_ns(ts)`, and `as_text(value)`.
fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let moment = |context: &rusqlite::functions::Context<'_>| {
        let ts = text(context.get_raw(0)).unwrap_or_default();
        Timestamp::parse(&ts).map_or(Moment::UNKNOWN, |timestamp| timestamp.moment())
    };
    connection
        .create_scalar_function("as_text", 1, flags, |context| Ok(text(context.get_raw(0)).map(Cow::into_owned)))?;
    connection.create_scalar_function("moment_us", 1, flags, move |context| Ok(moment(context).us))?;
    connection.create_scalar_function("moment_ns", 1, flags, move |context| Ok(moment(context).ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_without_room_on_the_disk_is_refused() {
        assert_eq!(room_for_migration(0, 0), Ok(()), "a new database");
        assert_eq!(room_for_migration(400, 400), Ok(()));
        let refusal = room_for_migration(400, 399).unwrap_err();
        assert!(refusal.contains("400 bytes") && refusal.contains("399 are free"), "{refusal}");
    }

    #[test]
    fn an_sqlite_that_can_lose_commits_is_refused() {
        assert_eq!(refuse_old_library(3_051_003), Ok(()));
        assert_eq!(refuse_old_library(rusqlite::version_number()), Ok(()));
        let refusal = refuse_old_library(3_051_002).unwrap_err();
        assert!(refusal.contains("SQLite 3.51.2,"), "{refusal}");
    }
}
