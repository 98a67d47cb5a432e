//! Rows as they come out of the database, whatever another program has put in.

use crate::message::MESSAGE_ID_BYTES_MAX;
use crate::query::{Cursor, Last};
use crate::store::sqlite::value::text;
use crate::store::{Item, Page, Record};
use crate::timestamp::Moment;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::borrow::Cow;

impl Record {
    /// Reads a row of sql/export.sql.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
        let text = |column| row.get_ref(column).map(|value| text(value).map(Cow::into_owned));
        Ok(Record {
            message_id: text(1)?,
            from: text(2)?,
            to: text(3)?,
            ts: text(4)?,
            text: text(5)?,
            created_at: text(6)?,
        })
    }
}

/// An [`Item`] and its place in the order.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) item: Item,
    /// The message_id is in the database exactly as in the item: text, and UTF-8.
    pub(super) id_is_text: bool,
    pub(super) row: i64,
    pub(super) moment: Moment,
}

impl Placed {
    /// Reads a row of one of the `sql/page_*.sql`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Placed> {
        let text = |column| row.get_ref(column).map(|value| text(value).map(Cow::into_owned));
        let id_is_text = matches!(row.get_ref(1)?, ValueRef::Text(bytes) if str::from_utf8(bytes).is_ok());
        Ok(Placed {
            id_is_text,
            item: Item { message_id: text(1)?, from: text(2)?, to: text(3)?, ts: text(4)?, text: text(5)? },
            row: row.get(0)?,
            moment: moment(row, 6)?,
        })
    }

    /// The cursor that leads on from this message.
    fn cursor(&self) -> Cursor {
        let last = match &self.item.message_id {
            Some(id) if self.id_is_text && id.len() <= MESSAGE_ID_BYTES_MAX => Last::Id(id.clone()),
            _ => Last::Row(self.row),
        };
        Cursor { moment: self.moment, last }
    }
}

/// The moment in the columns `column` (ts_us) and the next (ts_ns).
pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Moment> {
    let us: Option<i64> = row.get(column)?;
    let ns: Option<i64> = row.get(column + 1)?;
    Ok(Moment { us: us.unwrap_or(Moment::UNKNOWN.us), ns: ns.unwrap_or(0) })
}

/// A page of at most `limit` rows, and the cursor when there were more.
pub(super) fn finish(mut rows: Vec<Placed>, total: u64, limit: usize) -> Page {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(Placed::cursor);
    Page { items: rows.into_iter().map(|placed| placed.item).collect(), total, next }
}
