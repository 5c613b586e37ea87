//! The errors of backends.

use std::io;

use thiserror::Error;

use super::LogName;
use crate::place::Offset;

/// What can go wrong in a backend.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The operating system, or the engine behind the backend, refused.
    #[error("{log}: {operation}: {source}")]
    Io {
        /// The log, or the path where no log is concerned.
        log: String,
        /// What was being done: `append`, `sync`, `open`, …
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The log does not exist.
    #[error("{0}: no such log")]
    NotFound(LogName),
    /// The log exists although it must not.
    #[error("{0}: the log exists already")]
    Exists(LogName),
    /// A batch does not follow the log's end: another writer was here.
    #[error("{log}: the batch begins at offset {batch} but the log ends at {end}")]
    Fenced {
        /// The log.
        log: LogName,
        /// The batch's first offset.
        batch: Offset,
        /// The log's end.
        end: Offset,
    },
    /// This server does not own the data, or does no more: see [`super::Ownership`]. Nothing that it writes from now on comes to stand,
    /// and no [`super::Shard::reopen`] changes that.
    #[error("{log}: this server does not own the data: {reason}")]
    NotOwner {
        /// The log, or the backend's place where no log is concerned.
        log: String,
        /// Who owns it instead, since which epoch, as far as is known.
        reason: String,
    },
    /// An earlier failure made the log refuse writes until it is reopened.
    #[error("{log}: not writable since an earlier failure: {reason}")]
    Poisoned {
        /// The log.
        log: LogName,
        /// The earlier failure.
        reason: String,
    },
    /// The log's content contradicts what must hold.
    #[error("{log}: at byte {position}: {reason}")]
    Damaged {
        /// The log.
        log: LogName,
        /// Where.
        position: u64,
        /// What was found and what was expected.
        reason: String,
    },
    /// An option of the backend is missing, unknown or has a bad value.
    #[error("storage backend '{backend}': option '{option}': {expected}")]
    BadOption {
        /// The backend.
        backend: String,
        /// The option's key.
        option: String,
        /// What is wrong and what was expected.
        expected: String,
    },
    /// The backend is not configured, or does not open: what it holds is there, and out of reach.
    #[error("storage backend '{backend}' is not available: {reason}")]
    Unavailable {
        /// The backend.
        backend: String,
        /// Why, and what there is instead.
        reason: String,
    },
    /// The backend's plugin panicked, or did what the contract rules out: it is not believed.
    #[error("storage backend '{backend}' ({file}): {log}: {operation}: {reason}")]
    Faulty {
        /// The backend.
        backend: String,
        /// The plugin's file.
        file: String,
        /// The log, or the directory where no log is concerned.
        log: String,
        /// What was being done.
        operation: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// The backend cannot do this.
    #[error("storage backend '{backend}' does not support {operation}")]
    Unsupported {
        /// The backend.
        backend: String,
        /// The operation.
        operation: &'static str,
    },
}
