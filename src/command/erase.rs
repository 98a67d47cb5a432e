//! `erase`: removes the messages of one sender, as a privacy request asks for.

use crate::command::progress::Progress;
use crate::command::{Failure, open_database, print};
use crate::message::Msisdn;

pub(super) fn erase(from: &Msisdn, dry_run: bool) -> Result<(), Failure> {
    let from = from.as_str();
    let mut database = open_database()?;
    let unusable = |error| Failure::failed(format!("the database cannot be used: {error}"));
    let all = database.count_of_sender(from).map_err(unusable)?;
    let unknown = || Failure::failed(format!("the sender {from} is unknown: the database has no message of it"));
    if dry_run && all == 0 {
        return Err(unknown());
    }
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
    // With none as well: a run before this one may have erased them and failed after that.
    if !database.forget(from).map_err(unusable)? {
        return Err(Failure::failed(format!(
            "{erased} messages of {from} erased, but the number still stands in the journal, which the service has not \
             followed for a minute. Look into its log, and run this again."
        )));
    }
    let mut progress = Progress::new("pages");
    let scrubbed = database.scrub(|done, all| progress.show(done, Some(done as f64 / all.max(1) as f64)));
    drop(progress);
    let scrubbed = scrubbed.map_err(|error| {
        Failure::failed(format!(
            "{erased} messages of {from} erased, but copies may be left in unused parts of the file: {error}. Run it again."
        ))
    })?;
    if erased > 0 {
        print(&format!("{erased} messages of {from} erased\n"))?;
    }
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
    if erased > 0 { Ok(()) } else { Err(unknown()) }
}
