//! Values as they come out of the database, whatever another program has put in.

use rusqlite::types::ValueRef;
use std::borrow::Cow;

/// A value as text, whatever its type: SQLite columns take any, and a taken-over row is served as it is.
pub(super) fn text(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(number.to_string().into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}
