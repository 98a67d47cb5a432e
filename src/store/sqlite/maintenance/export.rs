//! Reading all messages, slice by slice.
//!
//! A slice is one read transaction and so much memory. What is done with it happens after the transaction has ended:
//! a reader that takes its time would keep the service's write-ahead log from being copied into the database.

use crate::store::sqlite::maintenance::Maintenance;
use crate::store::sqlite::row::moment;
use crate::store::{Filter, MaintenanceError, Record};
use crate::timestamp::{Moment, Timestamp};

/// Rows that are looked at in one slice.
const SLICE_ROWS: usize = 1000;

/// Text after which a slice ends: another program may have written texts of any length.
const SLICE_BYTES: usize = 1 << 20;

/// An export under way.
pub struct Export<'a> {
    maintenance: &'a Maintenance,
    filter: Filter,
    /// The last row that was looked at.
    row: i64,
    /// The highest row when the export began: those that are stored later are left out.
    row_max: i64,
    scratch: Vec<u8>,
}

impl Maintenance {
    /// The messages that match, in the order in which they were stored.
    pub fn export(&self, filter: Filter) -> Result<Export<'_>, MaintenanceError> {
        let row_max =
            self.connection.query_row(include_str!("../../../../sql/sqlite/rowid_max.sql"), [], |row| row.get(0))?;
        Ok(Export { maintenance: self, filter, row: i64::MIN, row_max, scratch: Vec::new() })
    }
}

impl Export<'_> {
    /// The next messages, which may be none of those that were looked at; None at the end.
    pub fn slice(&mut self) -> Result<Option<Vec<Record>>, MaintenanceError> {
        if self.row == self.row_max {
            return Ok(None);
        }
        let mut statement =
            self.maintenance.connection.prepare_cached(include_str!("../../../../sql/sqlite/export.sql"))?;
        let mut rows = statement.query([self.row, self.row_max])?;
        let (mut slice, mut bytes, mut read) = (Vec::new(), 0, 0);
        while read < SLICE_ROWS && bytes < SLICE_BYTES {
            let Some(row) = rows.next()? else {
                self.row = self.row_max;
                break;
            };
            read += 1;
            self.row = row.get(0)?;
            let record = Record::read(row)?;
            if self.filter.takes(&record, moment(row, 7)?, &mut self.scratch) {
                bytes += record.message_id.len() + record.text.as_ref().map_or(0, String::len);
                slice.push(record);
            }
        }
        Ok(Some(slice))
    }
}

impl Filter {
    fn takes(&self, record: &Record, moment: Moment, scratch: &mut Vec<u8>) -> bool {
        self.from.as_ref().is_none_or(|from| record.from == *from)
            && self.since.is_none_or(|since| moment >= since)
            && self.needle.as_ref().is_none_or(|needle| {
                let text = record.text.as_deref();
                text.is_some_and(|text| needle.is_in(text.as_bytes(), scratch))
            })
    }
}

/// The moment of a ts, whatever stands there.
pub(super) fn moment_of(ts: &str) -> Moment {
    Timestamp::parse(ts).map_or(Moment::UNKNOWN, |timestamp| timestamp.moment())
}
