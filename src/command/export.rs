//! `export`: the messages as JSON, one a line.

use crate::command::progress::Progress;
use crate::command::{Failure, open_database};
use crate::message::Msisdn;
use crate::query::Needle;
use crate::store::Filter;
use crate::timestamp::Timestamp;
use std::io::{ErrorKind, IsTerminal, Write};

pub(super) fn export(from: Option<Msisdn>, since: Option<Timestamp>, q: Option<&str>) -> Result<(), Failure> {
    let database = open_database()?;
    let unreadable = |error| Failure::failed(format!("the database cannot be read: {error}"));
    let since = since.map(|since| since.moment());
    let from = from.map(|from| from.as_str().to_owned());
    let filter = Filter { from, since, needle: q.and_then(Needle::new) };
    let mut export = database.export(filter).map_err(unreadable)?;
    let mut stdout = std::io::stdout().lock();
    // Messages that pass by on the terminal are progress enough.
    let mut progress = (!stdout.is_terminal()).then(|| Progress::new("messages"));
    let (mut count, mut lines) = (0, Vec::new());
    while let Some(slice) = export.slice().map_err(unreadable)? {
        lines.clear();
        for record in &slice {
            serde_json::to_writer(&mut lines, record).expect("text is written to memory");
            lines.push(b'\n');
        }
        match stdout.write_all(&lines).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()), // as `head` does when it has enough
            written => written.map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))?,
        }
        count += slice.len() as u64;
        if let Some(progress) = &mut progress {
            progress.show(count, None);
        }
    }
    Ok(())
}
