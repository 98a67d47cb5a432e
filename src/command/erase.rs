//! `erase`: removes the messages of one sender, as a privacy request asks for.

use crate::command::progress::Progress;
use crate::command::{Failure, open_database, print};
use crate::message::Party;
use crate::store::MaintenanceError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

pub(super) fn erase(person: &Party, dry_run: bool) -> Result<(), Failure> {
    let mut database = open_database()?;
    let unusable = |error| Failure::failed(format!("the database cannot be used: {error}"));
    let names = database.names_of(person.as_str()).map_err(unusable)?;
    let from = names.join(", also called ");
    let all = database.count_of(&names).map_err(unusable)?;
    let unknown = || {
        Failure::failed(format!(
            "{from} is unknown: the database has no message from it, and no status of one to it. Check the number"
        ))
    };
    if dry_run {
        let statuses = database.count_statuses_to(&names).map_err(unusable)?;
        if all == 0 && statuses == 0 {
            return Err(unknown());
        }
        return print(&format!("{all} messages of {from} would be erased{}\n", and_statuses(statuses)));
    }
    let (mut erased, mut statuses) = (0, 0);
    let mut progress = Progress::new("messages");
    let done = names.iter().try_for_each(|name| {
        database.erase(name, |count| {
            erased += count;
            progress.show(erased, Some(erased as f64 / all.max(1) as f64));
        })?;
        statuses += database.erase_statuses(name)?;
        Ok(())
    });
    let done: Result<(), MaintenanceError> =
        done.and_then(|()| database.erase_in_deliveries(|text| names.iter().any(|name| mentions(text, name))));
    drop(progress);
    done.map_err(|error| {
        Failure::failed(format!("{erased} messages of {from} erased, then: {error}. Run it again for the rest."))
    })?;
    // With none as well: a run before this one may have erased them and failed after that.
    let mut forgotten = true;
    for name in &names {
        forgotten &= database.forget(name).map_err(unusable)?;
    }
    if !forgotten {
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
    let is_unknown = erased == 0 && statuses == 0;
    if !is_unknown {
        print(&format!("{erased} messages of {from} erased{}\n", and_statuses(statuses)))?;
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
    if is_unknown { Err(unknown()) } else { Ok(()) }
}

/// What stands behind the number of messages.
fn and_statuses(count: u64) -> String {
    if count > 0 { format!("; statuses of messages to them: {count}") } else { String::new() }
}

/// Whether a text mentions a person: by the identifier, by the digits of a number, or by an identifier of a message of
/// WhatsApp, `wamid.` and base64, which has the number in it.
fn mentions(text: &str, name: &str) -> bool {
    let in_id = |encoded: &str| {
        let encoded = encoded.split(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/').next();
        let decoded = encoded.and_then(|encoded| STANDARD_NO_PAD.decode(encoded).ok()).unwrap_or_default();
        stands_in(&decoded, name)
    };
    stands_in(text.as_bytes(), name) || text.split("wamid.").skip(1).any(in_id)
}

/// Whether a name stands somewhere as a whole: the digits of a number may be a part of another person's longer number.
fn stands_in(bytes: &[u8], name: &str) -> bool {
    let (name, continues): (_, fn(&u8) -> bool) = match name.strip_prefix('+') {
        Some(digits) => (digits, u8::is_ascii_digit),
        None => (name, u8::is_ascii_alphanumeric),
    };
    memchr::memmem::find_iter(bytes, name).any(|at| {
        let (before, after) = (bytes[..at].last(), bytes.get(at + name.len()));
        !before.into_iter().chain(after).any(continues)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_mentioned_by_number_identifier_or_the_id_of_a_message() {
        // 1c 18 0b and the number, as WhatsApp has it.
        let id = format!("wamid.{}==", STANDARD_NO_PAD.encode(b"\x1c\x18\x0b12025550143\x15\x02"));
        for (text, found) in [
            ("12025550143", true),
            ("+1 (202) 555-0143", false),
            ("from 12025550143 to", true),
            ("tel:12025550143", true),
            ("120255501434 and 012025550143", false),
            ("120255501434 or 12025550143", true),
            (id.as_str(), true),
            ("see wamid.! and wamid.", false),
            ("wamid.HBgL", false),
            ("", false),
        ] {
            assert_eq!(mentions(text, "+12025550143"), found, "{text}");
        }
        assert!(mentions("US.13491208655302741918", "US.13491208655302741918"));
        assert!(!mentions("US.13491208655302741918", "US.1349"));
        assert!(!mentions("12025550143", "+1"), "a short number is not the beginning of every other");
    }
}
