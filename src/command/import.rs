//! `import`: stores what `export` has printed.

use crate::command::progress::Progress;
use crate::command::{Failure, database};
use crate::delivery::Source;
use crate::message::{MessageId, Msisdn, Text};
use crate::store::{Exported, KeptDelivery, Maintenance, ProviderDetails, Record, Stored};
use crate::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Stdin};
use std::os::fd::AsFd;
use std::path::Path;

/// Lines that are read before they are written: reading may wait for the program that writes the lines, and then it must not be
/// in a transaction.
const BATCH_LINES: usize = 1000;
/// Bytes of lines after which a batch ends.
const BATCH_BYTES: usize = 4 << 20;

/// The longest line that is read. A body has at most 1 GiB by configuration and 4 MiB by default; escaped, six times.
const LINE_BYTES_MAX: usize = 64 << 20;

pub(super) fn import(file: Option<&Path>) -> Result<(), Failure> {
    let mut database = Maintenance::open_or_create(&database()?)?.with_current_schema()?;
    let mut lines = Lines::open(file)?;
    let mut progress = Progress::new("lines");
    let (mut created, mut duplicates, mut bad) = (0_u64, 0_u64, 0_u64);
    loop {
        let batch = lines.batch()?;
        let mut exported = Vec::with_capacity(batch.len());
        let mut numbers = Vec::with_capacity(batch.len());
        for (number, line) in batch {
            match line.and_then(|line| read(&line)) {
                Ok(line) => {
                    exported.push(line);
                    numbers.push(number);
                }
                Err(what) => {
                    bad += 1;
                    progress.say(format_args!("line {number}: {what}"));
                }
            }
        }
        let outcomes = database.import(&exported).map_err(|error| {
            let first = numbers.first().copied().unwrap_or(1);
            Failure::failed(format!(
                "the database cannot be written: {error}. All lines before line {first} have been dealt with. Run it \
                 again when the cause is gone: what is stored already is passed over."
            ))
        })?;
        for (number, outcome) in numbers.iter().zip(outcomes) {
            match outcome {
                Ok(Stored::Created) => created += 1,
                Ok(Stored::Duplicate) => duplicates += 1,
                Err(what) => {
                    bad += 1;
                    progress.say(format_args!("line {number}: {what}"));
                }
            }
        }
        if lines.at_end {
            break;
        }
        progress.show(lines.number, lines.part());
    }
    progress.say(format_args!("{created} imported, {duplicates} already there, {bad} bad lines"));
    if bad > 0 {
        return Err(Failure::failed(format!("{bad} of {} lines could not be imported", lines.number)));
    }
    Ok(())
}

/// What GET /messages answers, as far as it is recognised by.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "data")]
    _data: Vec<IgnoredAny>,
}

/// A line as it is given.
#[derive(Deserialize)]
struct Given {
    message_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    ts: Option<String>,
    text: Option<String>,
    created_at: Option<String>,
    #[serde(flatten)]
    details: Option<ProviderDetails>,
    /// Only a delivery has them.
    messages: Option<IgnoredAny>,
}

/// A line as something that can be stored.
///
/// With `created_at` a message has been in an inbox before, and comes back as it was, whatever is in it. Without, it is
/// from elsewhere, and held to what a delivery is held to.
fn read(line: &[u8]) -> Result<Exported, String> {
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return Err("not a message: it is not a JSON object".to_owned()); // serde would take an array of the values too
    }
    let given: Given = serde_json::from_slice(line).map_err(|error| format!("not a message: {}", at_column(&error)))?;
    if given.messages.is_some() {
        return delivery(line).map(Exported::Delivery);
    }
    let required = |name: &str, value: Option<String>| {
        value.ok_or_else(|| match serde_json::from_slice::<Page>(line) {
            Ok(_) => {
                "this is a page of GET /messages, not a message. Make lines of it first: jq -c '.data[]'".to_owned()
            }
            Err(_) => format!("not a message: {name} is missing or null"),
        })
    };
    let record = Record {
        message_id: required("message_id", given.message_id)?,
        from: required("from", given.from)?,
        to: required("to", given.to)?,
        ts: required("ts", given.ts)?,
        text: given.text,
        created_at: given.created_at.clone().unwrap_or_else(|| format!("{:.3}", jiff::Timestamp::now())),
        // An item of GET /arrivals says that it is native.
        details: given.details.filter(|details| details.source != Source::Native.label()),
    };
    if given.created_at.is_none() {
        let checks = [
            ("message_id", MessageId::parse(record.message_id.clone()).err()),
            ("from", Msisdn::parse(record.from.clone()).err()),
            ("to", Msisdn::parse(record.to.clone()).err()),
            ("ts", Timestamp::parse(&record.ts).err()),
            ("text", record.text.clone().and_then(|text| Text::parse(text).err())),
        ];
        if let Some((name, refusal)) = checks.into_iter().find_map(|(name, refusal)| Some((name, refusal?))) {
            return Err(format!("{name}: {}", refusal.msg));
        }
    }
    Ok(Exported::Message(record))
}

/// A line as a delivery. What refers to its body stays within it.
fn delivery(line: &[u8]) -> Result<KeptDelivery, String> {
    let delivery: KeptDelivery =
        serde_json::from_slice(line).map_err(|error| format!("not a delivery: {}", at_column(&error)))?;
    let length = delivery.body.as_bytes().len();
    let lies_within = |at: i64, bytes: i64| {
        let end = at.checked_add(bytes).and_then(|end| usize::try_from(end).ok());
        at >= 0 && bytes >= 0 && end.is_some_and(|end| end <= length)
    };
    match delivery.messages.iter().find(|message| !lies_within(message.at, message.bytes)) {
        Some(message) => Err(format!("message {} does not lie within the body", message.record.message_id)),
        None => Ok(delivery),
    }
}

/// What is wrong, and where in the line: more the parser does not know.
fn at_column(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// The lines of a file, with their numbers from 1 on.
struct Lines {
    source: BufReader<Box<dyn Read>>,
    name: String,
    number: u64,
    bytes: u64,
    /// Of the file; None when it has no size, as a pipe.
    bytes_all: Option<u64>,
    at_end: bool,
}

/// A line and its number, or what is wrong with it as a whole.
type Line = (u64, Result<Vec<u8>, String>);

impl Lines {
    fn open(file: Option<&Path>) -> Result<Lines, Failure> {
        let (source, name, bytes_all): (Box<dyn Read>, _, _) = match file {
            Some(path) => {
                let file = File::open(path)
                    .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
                let bytes_all = size(&file);
                (Box::new(file), path.display().to_string(), bytes_all)
            }
            None => {
                let stdin = std::io::stdin();
                let bytes_all = stdin_size(&stdin);
                (Box::new(stdin), "stdin".to_owned(), bytes_all)
            }
        };
        let source = BufReader::with_capacity(64 << 10, source);
        Ok(Lines { source, name, number: 0, bytes: 0, bytes_all, at_end: false })
    }

    /// The next lines that are not blank; fewer than others at the end.
    fn batch(&mut self) -> Result<Vec<Line>, Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES && !self.at_end {
            let read = self.line().map_err(|error| {
                Failure::failed(format!("cannot read {} after line {}: {error}", self.name, self.number))
            })?;
            let Some(line) = read else { continue };
            bytes += line.as_ref().map_or(0, Vec::len);
            batch.push((self.number, line));
        }
        Ok(batch)
    }

    /// The next line; None at the end, and for a blank one.
    fn line(&mut self) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut read = (&mut self.source).take(limit).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            self.at_end = true;
            return Ok(None);
        }
        self.number += 1;
        let too_long = read == limit && line.last() != Some(&b'\n');
        if too_long {
            line = Vec::new();
            read += self.source.skip_until(b'\n')? as u64;
        }
        self.bytes += read;
        if too_long {
            return Ok(Some(Err(format!("longer than {LINE_BYTES_MAX} bytes"))));
        }
        Ok(if line.trim_ascii().is_empty() { None } else { Some(Ok(line)) })
    }

    /// How much of the file has been read.
    fn part(&self) -> Option<f64> {
        self.bytes_all.map(|all| self.bytes as f64 / all.max(1) as f64)
    }
}

fn size(file: &File) -> Option<u64> {
    file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

/// A shell's `<` gives a file too.
fn stdin_size(stdin: &Stdin) -> Option<u64> {
    stdin.as_fd().try_clone_to_owned().ok().and_then(|stdin| size(&File::from(stdin)))
}
