//! What the commands do with the database, each in a process of its own beside instances that run.

use crate::delivery;
use crate::store::export::Body;
use crate::store::filter::moment_of;
use crate::store::postgres::commit::{self, Writer};
use crate::store::postgres::connection::{Connection, Fault, Row, Url};
use crate::store::postgres::fold::{Folder, STATEMENT_TIME};
use crate::store::postgres::value::{escaped, message_key, unescaped};
use crate::store::postgres::{clock, delete, erased, schema};
use crate::store::{
    Exported, Filter, KeptDelivery, KeptMessage, KeptStatus, MaintenanceError, OpenError, ProviderDetails, Record,
    Report, Stored,
};
use crate::timestamp::Moment;
use std::sync::Arc;
use std::time::Duration;

/// For a statement that looks at all rows: no request waits for it.
const COMMAND_TIME: Duration = Duration::from_secs(3600);

/// Rows of one slice of an export.
const SLICE_ROWS: i64 = 1000;

/// Bytes of texts after which a slice ends.
const SLICE_BYTES: i64 = 1 << 20;

/// Lines of one commit. They have at most 4 MiB together.
const IMPORT_LINES: usize = 256;

/// Deliveries read at once. One may have 4 MiB.
const DELIVERIES: i64 = 16;

/// Most bytes of a message_id and of a sender: an index has the latter.
const ID_BYTES_MAX: usize = 1024;

/// Most faults that are listed.
const FAULTS_MAX: usize = 100;

/// The database, as a command has it.
pub struct Maintenance {
    url: Url,
    /// For reads, without the bounds on time that a service has.
    connection: Connection,
    folder: Folder,
    writer: Writer,
}

/// An export under way.
pub struct Export<'a> {
    maintenance: &'a mut Maintenance,
    filter: Filter,
    /// The last number that was looked at.
    seq: i64,
    /// The highest number when the export began: what is stored later is left out.
    seq_max: i64,
    /// Whether a delivery stands for its messages.
    with_deliveries: bool,
    /// Deliveries without messages that are still to be exported, the next at the end: when each was stored, and its key.
    left: Vec<(String, Vec<u8>)>,
    /// The one that the last message was in.
    delivery: Option<Vec<u8>>,
    scratch: Vec<u8>,
}

impl Maintenance {
    /// Connects, whatever the version of the schema.
    pub(in crate::store) fn open(url: &Url) -> Result<Maintenance, OpenError> {
        let connection = schema::connect(url)?;
        Ok(Maintenance {
            url: url.clone(),
            connection,
            folder: Folder::new(url.clone()),
            writer: Writer::new(url.clone()),
        })
    }

    /// Connects, and makes the tables where there are none.
    pub(in crate::store) fn open_or_create(url: &Url) -> Result<Maintenance, OpenError> {
        schema::open(url, &(Arc::new(|_: &str| {}) as Report))?;
        Maintenance::open(url)
    }

    /// Refuses a schema that this version may not run on.
    pub(in crate::store) fn with_current_schema(mut self) -> Result<Maintenance, OpenError> {
        let looked = schema::look(&mut self.connection);
        match looked {
            Ok(_) => Ok(self),
            Err(fault) => Err(OpenError { database: self.url.to_string(), what: fault.to_string() }),
        }
    }

    /// How the schema differs from this version's.
    pub(in crate::store) fn schema_faults(&mut self) -> Result<Vec<String>, MaintenanceError> {
        Ok(schema::differences(&mut self.connection)?)
    }

    /// Compares each message's key and moment with what they are made of, and the counts with the messages.
    pub(in crate::store) fn tally_faults(&mut self) -> Result<(u64, Vec<String>), MaintenanceError> {
        self.folder.fold()?;
        let mut faults = Vec::new();
        let mut seq = 0;
        loop {
            let rows = self.slice(seq, i64::MAX)?;
            let Some(last) = rows.last() else { break };
            seq = last.get(0);
            for row in &rows {
                let record = record(row);
                let Record { message_id: id, ts, .. } = &record;
                if moment(row) != moment_of(ts) && faults.len() < FAULTS_MAX {
                    faults.push(format!("the message {id:?} has not the instant of its ts {ts:?}"));
                }
                if row.get::<_, &[u8]>(9) != message_key(id) && faults.len() < FAULTS_MAX {
                    faults.push(format!("the message {id:?} has not the key of its message_id"));
                }
            }
        }
        let rows = self.connection.query(include_str!("../../../sql/postgres/counts.sql"), &[], COMMAND_TIME)?;
        let counts: Vec<i64> = rows.first().map_or(Vec::new(), |row| (0..4).map(|column| row.get(column)).collect());
        let count = counts.first().copied().unwrap_or(0);
        for (counted, by) in counts.iter().zip(["", "counted", "counted by sender", "in the order of arrival"]).skip(1)
        {
            if *counted != count {
                faults.push(format!("there are {count} messages, but {counted} {by}"));
            }
        }
        Ok((count.unsigned_abs(), faults))
    }

    /// The messages that match, in the order in which they were stored.
    pub(in crate::store) fn export(&mut self, filter: Filter) -> Result<Export<'_>, MaintenanceError> {
        self.folder.fold()?;
        let sql = include_str!("../../../sql/postgres/arrivals_state.sql");
        let rows = self.connection.query(sql, &[], COMMAND_TIME)?;
        let seq_max = rows.first().map_or(0, |row| row.get(1));
        let (left, delivery, scratch) = (Vec::new(), None, Vec::new());
        Ok(Export { maintenance: self, filter, seq: 0, seq_max, with_deliveries: false, left, delivery, scratch })
    }

    /// All messages and deliveries, in the order in which they were stored: a delivery instead of its messages, and one
    /// without messages by the clock.
    pub(in crate::store) fn export_with_deliveries(&mut self) -> Result<Export<'_>, MaintenanceError> {
        let sql = include_str!("../../../sql/postgres/deliveries_without_messages.sql");
        let rows = self.connection.query(sql, &[], COMMAND_TIME)?;
        let left = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Export { with_deliveries: true, left, ..self.export(Filter::default())? })
    }

    /// Messages after a number and up to one; none at the end.
    fn slice(&mut self, low: i64, high: i64) -> Result<Vec<Row>, MaintenanceError> {
        let sql = include_str!("../../../sql/postgres/export.sql");
        Ok(self.connection.query(sql, &[&low, &high, &SLICE_ROWS, &SLICE_BYTES], COMMAND_TIME)?)
    }

    /// A delivery with all that was stored from it.
    fn delivery(&mut self, key: &[u8]) -> Result<Option<KeptDelivery>, MaintenanceError> {
        let sql = include_str!("../../../sql/postgres/delivery.sql");
        let rows = self.connection.query(sql, &[&key], COMMAND_TIME)?;
        let Some(row) = rows.first() else { return Ok(None) }; // deleted meanwhile
        let sql = include_str!("../../../sql/postgres/messages_of_delivery.sql");
        let messages = self.connection.query(sql, &[&key], COMMAND_TIME)?;
        let sql = include_str!("../../../sql/postgres/statuses_of_delivery.sql");
        let statuses = self.connection.query(sql, &[&key], COMMAND_TIME)?;
        let text = |row: &Row, column| unescaped(row.get(column));
        let status = |row| KeptStatus {
            message_id: text(row, 0),
            status: text(row, 1),
            recipient: text(row, 2),
            ts: text(row, 3),
            error_code: row.get(4),
        };
        Ok(Some(KeptDelivery {
            source: text(row, 0),
            received_at: text(row, 1),
            fields: text(row, 2),
            body: Body::new(row.get(3)),
            altered: row.get(4),
            messages: messages
                .iter()
                .map(|row| KeptMessage { record: record(row), at: row.get(16), bytes: row.get(17) })
                .collect(),
            statuses: statuses.iter().map(status).collect(),
        }))
    }

    /// Stores lines in as many commits as it takes, and says of each, in the same order, whether anything in it was new; the
    /// text is why it does not fit. On an error, those of some commits may be stored.
    pub(in crate::store) fn import(
        &mut self,
        lines: &[Exported],
    ) -> Result<Vec<Result<Stored, String>>, MaintenanceError> {
        let mut outcomes = Vec::with_capacity(lines.len());
        for some in lines.chunks(IMPORT_LINES) {
            // None: to be stored.
            let decided: Vec<Option<Result<Stored, String>>> =
                some.iter().map(|line| self.decide(line)).collect::<Result<_, Fault>>()?;
            let fit: Vec<&Exported> =
                some.iter().zip(&decided).filter(|(_, decided)| decided.is_none()).map(|(line, _)| line).collect();
            let mut stored = commit::import(&mut self.writer, &fit)?.into_iter();
            let outcome =
                |decided: Option<_>| decided.unwrap_or_else(|| Ok(stored.next().unwrap_or(Stored::Duplicate)));
            outcomes.extend(decided.into_iter().map(outcome));
        }
        Ok(outcomes)
    }

    /// What becomes of a line that is not to be stored.
    fn decide(&mut self, line: &Exported) -> Result<Option<Result<Stored, String>>, Fault> {
        let is_long = |record: &Record| record.message_id.len() > ID_BYTES_MAX || record.from.len() > ID_BYTES_MAX;
        let is_long = match line {
            Exported::Message(record) => is_long(record),
            Exported::Delivery(KeptDelivery { messages, .. }) => {
                messages.iter().any(|message| is_long(&message.record))
            }
        };
        if is_long {
            return Ok(Some(Err(format!("message_id or from has more than {ID_BYTES_MAX} bytes"))));
        }
        let Exported::Delivery(delivery) = line else { return Ok(None) };
        if !delivery.messages.is_empty() || !delivery.statuses.is_empty() {
            return Ok(None);
        }
        let sql = include_str!("../../../sql/postgres/has_ignored.sql");
        let parameters = (escaped(&delivery.received_at), delivery.body.as_bytes());
        let rows = self.connection.query(sql, &[&parameters.0, &parameters.1], COMMAND_TIME)?;
        Ok(rows.first().is_some_and(|row| row.get(0)).then_some(Ok(Stored::Duplicate)))
    }

    /// What a person is called in the database, besides what they are called by here.
    pub(in crate::store) fn names_of(&mut self, person: &str) -> Result<Vec<String>, MaintenanceError> {
        let sql = include_str!("../../../sql/postgres/names_of_person.sql");
        let others = self.connection.query(sql, &[&escaped(person)], COMMAND_TIME)?;
        let others = others.iter().map(|row| unescaped(row.get(0))).filter(|name| name != person);
        Ok(std::iter::once(person.to_owned()).chain(others).collect())
    }

    /// How many messages a person has, by all names.
    pub(in crate::store) fn count_of(&mut self, names: &[String]) -> Result<u64, MaintenanceError> {
        let names: Vec<_> = names.iter().map(|name| escaped(name)).collect();
        let sql = include_str!("../../../sql/postgres/count_of_person.sql");
        let rows = self.connection.query(sql, &[&names], COMMAND_TIME)?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs())
    }

    /// How many statuses there are of messages that were sent to a person, by all names.
    pub(in crate::store) fn count_statuses_to(&mut self, names: &[String]) -> Result<u64, MaintenanceError> {
        let names: Vec<_> = names.iter().map(|name| escaped(name)).collect();
        let sql = include_str!("../../../sql/postgres/count_statuses.sql");
        let rows = self.connection.query(sql, &[&names], COMMAND_TIME)?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs())
    }

    /// Removes a person's messages in short transactions, and calls `removed` with how many after each.
    pub(in crate::store) fn erase(&mut self, name: &str, mut removed: impl FnMut(u64)) -> Result<(), MaintenanceError> {
        let key = schema::look(&mut self.connection)?;
        loop {
            let count = self.folder.exclusively(|connection| {
                let sql = include_str!("../../../sql/postgres/messages_of_person.sql");
                let rows = connection.query(sql, &[&escaped(name), &delete::SLICE], STATEMENT_TIME)?;
                let provided = rows.iter().filter(|row| row.get(2));
                let hashes: Vec<_> = provided.map(|row| erased::hash(&key, &unescaped(row.get(1)))).collect();
                let hashes: Vec<&[u8]> = hashes.iter().map(|hash| hash.as_slice()).collect();
                let until = clock::instant(connection, erased::REMEMBERED_S)?;
                let sql = include_str!("../../../sql/postgres/remember_erased.sql");
                connection.query(sql, &[&hashes, &until], STATEMENT_TIME)?;
                let keys: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
                delete::messages(connection, &keys)?;
                Ok(keys.len() as u64)
            })?;
            removed(count);
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Removes the statuses of messages that were sent to a person, and says how many.
    pub(in crate::store) fn erase_statuses(&mut self, name: &str) -> Result<u64, MaintenanceError> {
        let sql = include_str!("../../../sql/postgres/statuses_of_person.sql");
        let rows = self.connection.query(sql, &[&escaped(name)], COMMAND_TIME)?;
        let keys: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
        for some in keys.chunks(delete::SLICE as usize) {
            self.folder.exclusively(|connection| delete::statuses(connection, some))?;
        }
        Ok(keys.len() as u64)
    }

    /// Blanks out a person in the deliveries that are kept as they came, where others are in them too.
    pub(in crate::store) fn erase_in_deliveries(
        &mut self,
        mentions: impl Fn(&str) -> bool,
    ) -> Result<(), MaintenanceError> {
        let mut last: Vec<u8> = Vec::new();
        loop {
            let sql = include_str!("../../../sql/postgres/deliveries_after.sql");
            let rows = self.connection.query(sql, &[&last, &DELIVERIES], COMMAND_TIME)?;
            let Some(row) = rows.last() else { return Ok(()) };
            last = row.get(0);
            for row in &rows {
                if let Some(altered) = delivery::without(row.get(1), &mentions) {
                    let key: &[u8] = row.get(0);
                    let sql = include_str!("../../../sql/postgres/alter_delivery.sql");
                    self.connection.query(sql, &[&key, &altered], COMMAND_TIME)?;
                }
            }
        }
    }

    /// Has the server remove the rows that were deleted from its files.
    pub(in crate::store) fn vacuum(&mut self) -> Result<(), MaintenanceError> {
        let tables = "messages, arrivals, statuses, status_arrivals, deliveries, tally_senders, commits";
        Ok(self.connection.batch(&format!("VACUUM {tables}"), COMMAND_TIME)?)
    }
}

impl Export<'_> {
    /// The next lines, which may be none of what was looked at; None at the end.
    pub(in crate::store) fn slice(&mut self) -> Result<Option<Vec<Exported>>, MaintenanceError> {
        let rows = self.maintenance.slice(self.seq, self.seq_max)?;
        let mut lines = Lines::default();
        for row in &rows {
            while self.left.last().is_some_and(|(received_at, _)| received_at.as_str() < row.get::<_, &str>(6)) {
                self.next_left(&mut lines)?;
            }
            self.seq = row.get(0);
            let key = row.get::<_, Option<&[u8]>>(16).filter(|_| self.with_deliveries);
            if key.is_some() && key == self.delivery.as_deref() {
                continue; // a delivery stands for its messages, which follow each other
            }
            self.delivery = key.map(<[u8]>::to_vec);
            if let Some(delivery) = key.map(|key| self.maintenance.delivery(key)).transpose()?.flatten() {
                lines.push(delivery);
            } else {
                let record = record(row);
                if self.filter.takes(&record, moment(row), &mut self.scratch) {
                    lines.all.push(Exported::Message(record));
                }
            }
            if lines.are_full() {
                return Ok(Some(lines.all));
            }
        }
        if !rows.is_empty() {
            return Ok(Some(lines.all));
        }
        while !self.left.is_empty() && !lines.are_full() {
            self.next_left(&mut lines)?;
        }
        Ok(Some(lines.all).filter(|all| !all.is_empty() || !self.left.is_empty()))
    }

    /// Adds a delivery without messages.
    fn next_left(&mut self, lines: &mut Lines) -> Result<(), MaintenanceError> {
        let next = self.left.pop().map(|(_, key)| self.maintenance.delivery(&key)).transpose()?;
        next.flatten().into_iter().for_each(|delivery| lines.push(delivery));
        Ok(())
    }
}

/// Lines of a slice.
#[derive(Default)]
struct Lines {
    all: Vec<Exported>,
    /// Of bodies.
    bytes: usize,
}

impl Lines {
    fn push(&mut self, delivery: KeptDelivery) {
        self.bytes += delivery.body.as_bytes().len();
        self.all.push(Exported::Delivery(delivery));
    }

    fn are_full(&self) -> bool {
        self.bytes >= SLICE_BYTES as usize
    }
}

fn record(row: &Row) -> Record {
    let text = |column| unescaped(row.get(column));
    let optional = |column| row.get::<_, Option<String>>(column).map(unescaped);
    let details = optional(10).map(|source| ProviderDetails {
        source,
        kind: optional(11).unwrap_or_default(),
        from_id: optional(12),
        profile_name: optional(13),
        channel: optional(14),
        reply_to: optional(15),
    });
    Record {
        message_id: text(1),
        from: text(2),
        to: text(3),
        ts: text(4),
        text: optional(5),
        created_at: text(6),
        details,
    }
}

fn moment(row: &Row) -> Moment {
    Moment { us: row.get(7), ns: row.get::<_, i16>(8).into() }
}

impl From<Fault> for MaintenanceError {
    fn from(fault: Fault) -> MaintenanceError {
        MaintenanceError(fault.to_string())
    }
}
