//! Rows as they come out of the database, whatever another program has put in.

use crate::timestamp::Moment;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::Serialize;
use std::borrow::Cow;

/// A message as /messages lists it. A column that a taken-over row has as NULL is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The sender's identifier of the message.
    pub message_id: Option<String>,
    /// Who wrote it.
    pub from: Option<String>,
    /// To whom.
    pub to: Option<String>,
    /// When, exactly as it was sent.
    pub ts: Option<String>,
    /// What, if it has text.
    pub text: Option<String>,
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
}

/// The moment in the columns `column` (ts_us) and the next (ts_ns).
pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Moment> {
    let us: Option<i64> = row.get(column)?;
    let ns: Option<i64> = row.get(column + 1)?;
    Ok(Moment { us: us.unwrap_or(Moment::UNKNOWN.us), ns: ns.unwrap_or(0) })
}

/// A value as text, whatever its type: SQLite columns take any, and a taken-over row is served as it is.
pub(super) fn text(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(number.to_string().into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}
