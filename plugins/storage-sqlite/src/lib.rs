//! The storage backend `sqlite`: a log is a table of a SQLite database.
//!
//! ```text
//! <data_dir>/sqlite/broker-1.db        the logs of broker 1: "deliveries-1", "deliveries.journal", …
//! <data_dir>/sqlite/broker-1.db-wal    what was written last; SQLite's, and as much a part of the data as the file itself
//! <data_dir>/sqlite/lock               one server for a directory
//! ```
//!
//! While the server runs, any SQLite client reads it:
//!
//! ```sql
//! SELECT json_extract(line, '$.message.truck'), count(*) FROM "deliveries-1" GROUP BY 1;
//! ```
//!
//! * **One file for each broker.** One transaction covers what a turn appends to all logs of a broker, and brokers do not
//!   wait for each other. A partition's log is in the file of its number; the journal of a topic, and the catalog, are in
//!   the file of the broker that made them. `ATTACH` brings a topic's partitions together in one query.
//! * **Durable** is what a sync covers: a commit writes SQLite's write-ahead log, and a sync of that file follows, which
//!   may go on while the next transaction is filled. See `database.rs`.
//! * **Lines** are stored as they are, byte for byte, without their newline, in a column of type `TEXT`.
//! * **Dropped lines** go at once for whoever reads through the server, and are deleted from the table bit by bit. The
//!   space is used again; `VACUUM`, while the server is down, makes the file shorter.

mod connect;
mod database;
mod error;
mod home;
mod insert;
mod log;
mod options;
mod reader;
mod rewrite;
mod schema;
mod shard;
mod sync;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use wafka_plugin_sdk::storage::{BrokerId, LogName, Shard, Storage, StorageError};

pub use options::{NAME, Options};

use home::Home;
use shard::SqliteShard;

/// The backend that keeps every log as a table.
pub struct SqliteStorage {
    home: Arc<Home>,
}

impl SqliteStorage {
    /// Opens the databases in `data_dir/sqlite`, made when it is missing.
    ///
    /// # Errors
    /// When another process has the directory, this one has it with other options, or a file in it cannot be read, is no database or one of a newer version;
    /// the error names it.
    pub fn open(data_dir: &Path, options: Options) -> Result<Self, StorageError> {
        Ok(SqliteStorage { home: Home::open(&data_dir.join("sqlite"), options)? })
    }
}

/// What the plugin exports: opens the databases in `data_dir/sqlite`.
///
/// # Errors
/// As [`SqliteStorage::open`].
pub fn open(data_dir: &Path, options: Options) -> Result<SqliteStorage, StorageError> {
    SqliteStorage::open(data_dir, options)
}

wafka_plugin_sdk::export_storage!(name = "sqlite", open = open);

impl Storage for SqliteStorage {
    fn name(&self) -> &str {
        NAME
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        Ok(self.home.list())
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.home.create(logs, BrokerId(1))
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(SqliteShard::new(Arc::clone(&self.home), broker)))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.home.delete(logs)
    }
}
