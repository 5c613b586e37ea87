//! SQLite's errors in the terms of the storage trait; each names the file it is about.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use wafka_plugin_sdk::storage::{LogName, StorageError};

/// What a failed call becomes: `subject` is the log, or the file where no log is concerned.
pub(crate) fn failed(
    subject: impl ToString,
    operation: &'static str,
    path: &Path,
    error: &rusqlite::Error,
) -> StorageError {
    StorageError::Io { log: subject.to_string(), operation, source: explained(path, error) }
}

/// The error as one of the system's, with the file's name and what to do where SQLite's words leave that open.
pub(crate) fn explained(path: &Path, error: &rusqlite::Error) -> io::Error {
    let path = path.display();
    let (kind, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (io::ErrorKind::StorageFull, ""),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            io::ErrorKind::ResourceBusy,
            "; another process has had it locked for longer than busy_timeout_ms",
        ),
        Some(ErrorCode::NotADatabase) => {
            (io::ErrorKind::InvalidData, "; expected a SQLite database that Wafka made: move the file away")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (io::ErrorKind::InvalidData, "; `sqlite3 FILE .recover` reads what is left of it")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (io::ErrorKind::PermissionDenied, ""),
        Some(ErrorCode::CannotOpen) => (io::ErrorKind::NotFound, ""),
        Some(ErrorCode::OutOfMemory) => (io::ErrorKind::OutOfMemory, ""),
        _ => (io::ErrorKind::Other, ""),
    };
    io::Error::new(kind, format!("{path}: {error}{advice}"))
}

/// An error that is none of SQLite's.
pub(crate) fn io_error(
    subject: impl ToString,
    operation: &'static str,
    path: &Path,
    error: &io::Error,
) -> StorageError {
    let source = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    StorageError::Io { log: subject.to_string(), operation, source }
}

/// A call that cannot be followed.
pub(crate) fn refused(
    subject: impl ToString,
    operation: &'static str,
    kind: io::ErrorKind,
    reason: &str,
) -> StorageError {
    StorageError::Io { log: subject.to_string(), operation, source: io::Error::new(kind, reason) }
}

/// The log refuses writes.
pub(crate) fn poisoned(log: &LogName, reason: &str) -> StorageError {
    StorageError::Poisoned { log: log.clone(), reason: reason.to_owned() }
}
