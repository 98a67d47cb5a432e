//! `check`: whether the settings can be used and the database is whole.

use crate::command::{CONFIG, FAILED, Failure, IO_ERROR, database, print, tell};
use crate::config::Config;
use crate::store::{Location, Maintenance, MaintenanceError};

/// Everything is looked at, whatever was found before. The exit status is that of the first fault.
pub(super) fn check() -> Result<(), Failure> {
    let configuration = match Config::from_env() {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| tell(&format!("webhook-inbox: warning: {warning}")));
            print(&format!("{}\nconfiguration: ok\n", config.effective.join("\n")))
        }
        Err(error) => Err(Failure { status: CONFIG, text: format!("configuration: {}", joined(&[error.to_string()])) }),
    };
    let database = match database() {
        Ok(location) => check_database(&location),
        Err(Failure { status: CONFIG, .. }) => return configuration, // it has said so
        Err(failure) => Err(failure),
    };
    match (configuration, database) {
        (Err(first), Err(second)) => {
            Err(Failure { status: first.status, text: format!("{}\n{}", first.text, second.text) })
        }
        (configuration, database) => configuration.and(database),
    }
}

fn check_database(location: &Location) -> Result<(), Failure> {
    let mut database = Maintenance::open(location)?;
    let unreadable = |error: MaintenanceError| Failure::failed(format!("the database cannot be read: {error}"));
    let mut faults = Vec::new();
    report("integrity", database.integrity_faults().map_err(unreadable)?, &mut faults)?;
    database = match database.with_current_schema() {
        Ok(database) => database,
        Err(error) if faults.is_empty() => return Err(error.into()),
        Err(error) => {
            faults.push(error.to_string());
            return Err(Failure { status: IO_ERROR, text: faults.join("\n") });
        }
    };
    let schema = database.schema_faults().map_err(unreadable)?;
    let complete = schema.is_empty();
    report("schema", schema, &mut faults)?;
    if complete {
        let (count, counts) = database.tally_faults().map_err(unreadable)?;
        report(&format!("{count} messages and their indexes"), counts, &mut faults)?;
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.push(
        "Stop the service, keep the file, and restore a backup; `webhook-inbox export` saves what can still be read."
            .to_owned(),
    );
    Err(Failure { status: FAILED, text: faults.join("\n") })
}

/// Says that a part is well, or adds to the faults.
fn report(part: &str, found: Vec<String>, faults: &mut Vec<String>) -> Result<(), Failure> {
    if found.is_empty() {
        return print(&format!("{part}: ok\n"));
    }
    faults.push(format!("{part}: {}", joined(&found)));
    Ok(())
}

fn joined(lines: &[String]) -> String {
    lines.join("\n")
}
