//! SQLite's errors as the contract's.

use crate::store::{MaintenanceError, ReadError, Unavailable};
use rusqlite::{Error, ErrorCode};

/// Another process has the database locked.
pub(super) fn is_busy(error: &Error) -> bool {
    use ErrorCode::{DatabaseBusy, DatabaseLocked};
    error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseBusy | DatabaseLocked))
}

impl From<&Error> for Unavailable {
    fn from(error: &Error) -> Unavailable {
        Unavailable(error.to_string())
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> ReadError {
        ReadError::Unavailable(Unavailable::from(&error))
    }
}

impl From<Error> for MaintenanceError {
    fn from(error: Error) -> MaintenanceError {
        MaintenanceError(error.to_string())
    }
}
