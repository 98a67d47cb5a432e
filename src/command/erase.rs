//! `erase`: removes the messages of one sender, as a privacy request asks for.

use crate::command::progress::Progress;
use crate::command::{Failure, open_database, print};

pub(super) fn erase(from: &str, dry_run: bool) -> Result<(), Failure> {
    let mut database = open_database()?;
    let unusable = |error| Failure::failed(format!("the database cannot be used: {error}"));
    let all = database.count_of_sender(from).map_err(unusable)?;
    if dry_run {
        return print(&format!("{all} messages of {from} would be erased\n"));
    }
    let mut erased = 0;
    let mut progress = Progress::new("messages");
    let done = database.erase(from, |count| {
        erased += count;
        progress.show(erased, Some(erased as f64 / all.max(1) as f64));
    });
    drop(progress);
    done.map_err(|error| {
        Failure::failed(format!("{erased} messages of {from} erased, then: {error}. Run it again for the rest."))
    })?;
    let mut progress = Progress::new("pages");
    let scrubbed = database.scrub(|done, all| progress.show(done, Some(done as f64 / all.max(1) as f64)));
    drop(progress);
    let scrubbed = scrubbed.map_err(|error| {
        Failure::failed(format!(
            "{erased} messages of {from} erased, but copies may be left in unused parts of the file: {error}. Run it again."
        ))
    })?;
    print(&format!("{erased} messages of {from} erased\n"))?;
    if !database.empty_wal().map_err(unusable)? {
        return Err(Failure::failed(
            "they may still stand in the write-ahead log, which could not be emptied: another process has been reading the \
             database for a minute. Run it again when that has ended.",
        ));
    }
    if !scrubbed {
        return Err(Failure::failed(
            "copies may be left in unused parts of the file, which has auto_vacuum or more than 128 GiB. Stop the service, \
             and run VACUUM with sqlite3.",
        ));
    }
    Ok(())
}
