//! `export`: the messages as JSON, one a line.

use crate::command::progress::Progress;
use crate::command::{Failure, open_database};
use crate::message::Msisdn;
use crate::query::Needle;
use crate::store::Filter;
use crate::timestamp::Timestamp;
use std::io::{ErrorKind, IsTerminal, Write};

/// What is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exporting {
    /// A part of the messages, or all.
    Messages {
        /// Those of this sender.
        from: Option<Msisdn>,
        /// Those at this instant or later.
        since: Option<Timestamp>,
        /// Those with this in their text.
        q: Option<String>,
    },
    /// All messages, and the deliveries of providers as they came.
    Everything,
}

pub(super) fn export(exporting: Exporting) -> Result<(), Failure> {
    let mut database = open_database()?;
    let unreadable = |error| Failure::failed(format!("the database cannot be read: {error}"));
    let export = match exporting {
        Exporting::Everything => database.export_with_deliveries(),
        Exporting::Messages { from, since, q } => {
            let since = since.map(|since| since.moment());
            let from = from.map(|from| from.as_str().to_owned());
            database.export(Filter { from, since, needle: q.as_deref().and_then(Needle::new) })
        }
    };
    let mut export = export.map_err(unreadable)?;
    let mut stdout = std::io::stdout().lock();
    // Messages that pass by on the terminal are progress enough.
    let mut progress = (!stdout.is_terminal()).then(|| Progress::new("lines"));
    let (mut count, mut lines) = (0, Vec::new());
    while let Some(slice) = export.slice().map_err(unreadable)? {
        lines.clear();
        for line in &slice {
            serde_json::to_writer(&mut lines, line).expect("text is written to memory");
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
