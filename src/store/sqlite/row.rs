//! Rows as they come out of the database, and places in the order of its indexes.

use crate::query::Cursor;
use crate::store::sqlite::value::text;
use crate::store::{Item, Page, ProviderDetails, Record};
use crate::timestamp::Moment;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement};

impl Record {
    /// Reads a row of sql/sqlite/export.sql or messages_of_delivery.sql.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
        Ok(Record {
            message_id: string(row, 1)?,
            from: string(row, 2)?,
            to: string(row, 3)?,
            ts: string(row, 4)?,
            text: optional(row, 5)?,
            created_at: string(row, 6)?,
            details: optional(row, 9)?.map(|source| details(row, source)).transpose()?,
        })
    }
}

fn details(row: &Row<'_>, source: String) -> rusqlite::Result<ProviderDetails> {
    Ok(ProviderDetails {
        source,
        kind: string(row, 10)?,
        from_id: optional(row, 11)?,
        profile_name: optional(row, 12)?,
        channel: optional(row, 13)?,
        reply_to: optional(row, 14)?,
    })
}

/// An [`Item`] and its moment.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) item: Item,
    pub(super) moment: Moment,
}

impl Placed {
    /// Reads a row of sql/sqlite/page_by_moment.sql or page_of_row.sql.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Placed> {
        let item = Item {
            message_id: string(row, 2)?,
            from: string(row, 3)?,
            to: string(row, 4)?,
            ts: string(row, 5)?,
            text: optional(row, 6)?,
        };
        Ok(Placed { item, moment: moment(row, 0)? })
    }
}

/// A column that is never NULL.
fn string(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    optional(row, column).map(Option::unwrap_or_default)
}

/// A column. What is not UTF-8, which only another program can have written, is replaced.
fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(text(row.get_ref(column)?).map(String::from))
}

/// The moment in the columns `column` (ts_us) and the next (ts_ns).
pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Moment> {
    Ok(Moment { us: row.get(column)?, ns: row.get(column + 1)? })
}

/// A page of at most `limit` rows, and the cursor when there were more.
pub(super) fn finish(mut rows: Vec<Placed>, total: u64, limit: usize) -> Page {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|Placed { item, moment }| Cursor { moment: *moment, id: item.message_id.clone() });
    Page { items: rows.into_iter().map(|placed| placed.item).collect(), total, next }
}

/// A place in one of the indexes by time. Reading continues behind it.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) moment: Moment,
    pub(super) last: Last,
}

/// What orders the messages of one moment.
#[derive(Clone, Debug)]
pub(super) enum Last {
    /// In messages_by_sender.
    Seq(i64),
    /// In messages_by_moment: the bytes of the message_id, which may not be UTF-8.
    Id(Vec<u8>),
    /// Behind all of the moment, in both.
    End,
}

impl Position {
    /// Before all messages of a moment.
    pub(super) fn before(moment: Moment) -> Position {
        Position { moment: Moment { ns: moment.ns - 1, ..moment }, last: Last::End }
    }

    /// Reads a row that begins with ts_us, ts_ns, and message_id or seq.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Position> {
        let last = match row.get_ref(2)? {
            ValueRef::Integer(seq) => Last::Seq(seq),
            id => Last::Id(id.as_bytes()?.to_vec()),
        };
        Ok(Position { moment: moment(row, 0)?, last })
    }
}

impl ToSql for Last {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Last::Seq(seq) => ValueRef::Integer(*seq),
            Last::Id(id) => ValueRef::Text(id),
            Last::End => ValueRef::Blob(&[]), // SQLite orders blobs behind all numbers and texts
        }))
    }
}

/// Binds those of the parameters that the statement has: statements along another index have others.
pub(super) fn bind(statement: &mut Statement<'_>, parameters: &[(&str, &dyn ToSql)]) -> rusqlite::Result<()> {
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}
