//! Reading all messages, slice by slice.
//!
//! A slice is one read transaction and so much memory. What is done with it happens after the transaction has ended:
//! a reader that takes its time would keep the service's write-ahead log from being copied into the database.

use crate::store::export::Body;
use crate::store::sqlite::maintenance::Maintenance;
use crate::store::sqlite::row::moment;
use crate::store::{Exported, Filter, KeptDelivery, KeptMessage, KeptStatus, MaintenanceError, Record};
use rusqlite::{Connection, OptionalExtension};

/// Rows that are looked at in one slice.
const SLICE_ROWS: usize = 1000;

/// Texts and bodies after which a slice ends: a body may have megabytes.
const SLICE_BYTES: usize = 1 << 20;

/// An export under way. What is stored after its beginning is left out.
pub struct Export<'a> {
    connection: &'a Connection,
    filter: Filter,
    /// The last row that was looked at, and the last there was at the beginning.
    row: i64,
    row_max: i64,
    /// The last delivery that was read, and the last to be read. A message of a later one is exported by itself.
    delivery: i64,
    delivery_max: i64,
    scratch: Vec<u8>,
}

/// What is read in one transaction.
#[derive(Default)]
struct Slice {
    lines: Vec<Exported>,
    /// Of texts and bodies.
    bytes: usize,
    /// Rows that were looked at.
    rows: usize,
}

impl Slice {
    fn is_full(&self) -> bool {
        self.rows >= SLICE_ROWS || self.bytes >= SLICE_BYTES
    }
}

impl Maintenance {
    /// The messages that match, in the order in which they were stored.
    pub(in crate::store) fn export(&self, filter: Filter) -> Result<Export<'_>, MaintenanceError> {
        Ok(self.begin(filter, 0)?)
    }

    /// All messages and deliveries, in the order in which they were stored: a delivery instead of its messages.
    pub(in crate::store) fn export_with_deliveries(&self) -> Result<Export<'_>, MaintenanceError> {
        let sql = include_str!("../../../../sql/sqlite/last_delivery.sql");
        let mut export = self.begin(Filter::default(), 0)?;
        // Asked after the last row: the delivery of each row is among them.
        export.delivery_max = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(export)
    }

    fn begin(&self, filter: Filter, delivery_max: i64) -> rusqlite::Result<Export<'_>> {
        let sql = include_str!("../../../../sql/sqlite/rowid_max.sql");
        let row_max = self.connection.query_row(sql, [], |row| row.get(0))?;
        let connection = &self.connection;
        Ok(Export { connection, filter, row: i64::MIN, row_max, delivery: 0, delivery_max, scratch: Vec::new() })
    }
}

impl Export<'_> {
    /// The next lines, which may be none of what was looked at; None at the end.
    pub(in crate::store) fn slice(&mut self) -> Result<Option<Vec<Exported>>, MaintenanceError> {
        if self.row == self.row_max && self.delivery == self.delivery_max {
            return Ok(None);
        }
        let transaction = self.connection.unchecked_transaction()?; // ends before the next begins
        let mut slice = Slice::default();
        self.read(&mut slice)?;
        drop(transaction);
        Ok(Some(slice.lines))
    }

    fn read(&mut self, slice: &mut Slice) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(include_str!("../../../../sql/sqlite/export.sql"))?;
        let mut rows = statement.query([self.row, self.row_max])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            let delivery = row.get::<_, Option<i64>>(17)?.filter(|delivery| *delivery <= self.delivery_max);
            if let Some(delivery) = delivery {
                self.read_deliveries(delivery, slice)?;
            } else {
                let record = Record::read(row)?;
                if self.filter.takes(&record, moment(row, 7)?, &mut self.scratch) {
                    slice.bytes += record.message_id.len() + record.text.as_ref().map_or(0, String::len);
                    slice.lines.push(Exported::Message(record));
                }
            }
            if delivery.is_none_or(|delivery| delivery <= self.delivery) {
                self.row = seq;
            }
            slice.rows += 1;
            if slice.is_full() {
                return Ok(());
            }
        }
        self.row = self.row_max;
        self.read_deliveries(self.delivery_max, slice)
    }

    /// Reads the deliveries up to this one which were not read before, those without a message among them; fewer when the
    /// slice is full.
    fn read_deliveries(&mut self, last: i64, slice: &mut Slice) -> rusqlite::Result<()> {
        while self.delivery < last && !slice.is_full() {
            let Some((id, delivery)) = self.next_delivery(last)? else {
                self.delivery = last;
                break;
            };
            self.delivery = id;
            slice.bytes += delivery.body.as_bytes().len();
            slice.rows += 1;
            slice.lines.push(Exported::Delivery(delivery));
        }
        Ok(())
    }

    fn next_delivery(&self, last: i64) -> rusqlite::Result<Option<(i64, KeptDelivery)>> {
        let mut next = self.connection.prepare_cached(include_str!("../../../../sql/sqlite/delivery_between.sql"))?;
        let delivery = next.query_row([self.delivery, last], |row| {
            let (messages, statuses) = (Vec::new(), Vec::new());
            let (source, received_at, fields) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let (body, altered) = (Body::new(row.get(4)?), row.get(5)?);
            Ok((row.get(0)?, KeptDelivery { source, received_at, fields, body, altered, messages, statuses }))
        });
        let Some((id, mut delivery)) = delivery.optional()? else { return Ok(None) };
        let mut messages =
            self.connection.prepare_cached(include_str!("../../../../sql/sqlite/messages_of_delivery.sql"))?;
        let messages = messages.query_map([id], |row| {
            Ok(KeptMessage { record: Record::read(row)?, at: row.get(15)?, bytes: row.get(16)? })
        })?;
        delivery.messages = messages.collect::<rusqlite::Result<_>>()?;
        let mut statuses =
            self.connection.prepare_cached(include_str!("../../../../sql/sqlite/statuses_of_delivery.sql"))?;
        let statuses = statuses.query_map([id], |row| {
            let (message_id, status, recipient) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(KeptStatus { message_id, status, recipient, ts: row.get(3)?, error_code: row.get(4)? })
        })?;
        delivery.statuses = statuses.collect::<rusqlite::Result<_>>()?;
        Ok(Some((id, delivery)))
    }
}
