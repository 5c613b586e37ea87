//! The storage backend `sqlite`: a log is a table of a SQLite database, to be queried with SQL while the server runs.
//!
//! ```toml
//! [[plugins]]
//! path = "target/release/libwafka_storage_sqlite.so"
//!
//! [storage]
//! backend = "sqlite"           # or `backend = "sqlite"` in a topic's table, or TOPIC CREATE name BACKEND sqlite
//!
//! [backends.sqlite]            # all keys may be left out; these are the defaults
//! cache_kib = 4096             # pages in memory, for each connection: one writes a file, up to eight read it
//! checkpoint_pages = 4000      # the write-ahead log is copied into the database when it has so many pages of 4 KiB
//! busy_timeout_ms = 50         # how long a write, and its broker, waits for another process that has the file locked
//! ```
//!
//! | file in the data directory | what |
//! |---|---|
//! | `sqlite/broker-1.db` | the logs of broker 1, a table for each: `"deliveries-1"`, `"deliveries.journal"`, `"db3/orders-1"` |
//! | `sqlite/broker-1.db-wal`, `-shm` | what was written last, SQLite's; as much a part of the data as the file itself |
//! | `sqlite/lock` | one server for a directory |
//!
//! # Query it
//!
//! A table has the columns `offset` and `line`; a line is the event as JSON, as it would stand in a text file. Any
//! SQLite client reads it, such as `sqlite3 -readonly data/sqlite/broker-1.db`:
//!
//! ```sql
//! SELECT json_extract(line, '$.message.truck') AS truck, count(*) FROM "deliveries-1" GROUP BY truck;
//! ```
//!
//! Partition 2 is in the file of broker 2. One query over a whole topic:
//!
//! ```sql
//! ATTACH 'data/sqlite/broker-2.db' AS two;
//! CREATE TEMP VIEW deliveries AS
//!     SELECT line FROM main."deliveries-1" UNION ALL SELECT line FROM two."deliveries-2";
//! SELECT count(*) FROM deliveries WHERE line ->> '$.message.status' = 'late';
//! ```
//!
//! There is no such view in the files: SQLite keeps none that reaches into another file. A client sees what is
//! committed, which with `fsync = "always"` may be an instant before it is synced and acknowledged. It should not
//! write: the server waits for `busy_timeout_ms`, once for all logs of a file and at most once a second, then takes the
//! partitions concerned offline until the lock is gone. Every topic of the broker waits with it, those of other backends,
//! too. A client that keeps a transaction open keeps the write-ahead log from beginning anew; the file grows meanwhile.
//!
//! # What happens when
//!
//! * **One file for each broker.** One transaction covers what a turn appends to all logs of a broker, and brokers do not
//!   wait for each other. A partition's log is in the file of its number; the journal of a topic, and the catalog, are in
//!   the file of the broker that made them.
//! * **A sync** commits, which writes SQLite's write-ahead log, and then syncs that file, while the next transaction may
//!   begin; see `database.rs`. Where `fsync` is not `always` every append is committed at once: it survives a killed
//!   process.
//! * **A failure** takes the transaction back, with everything in it, and poisons each log that had lines in it. After a
//!   failed sync the file is opened anew before anything else is done with it.
//! * **A rewrite** notes what is dropped: whoever reads through the server does not see it from then on. The rows are
//!   deleted bit by bit, and their pages are used again. The file does not shrink; `VACUUM`, while the server is down,
//!   makes it shorter.
//! * **A deletion** is one short transaction. The rows of a long log are deleted bit by bit, while its broker goes on; an
//!   SQL client may see them until then. Their pages are used again, and here, too, the file does not shrink. On a full
//!   disk a deletion fails as everything that writes does.
//! * **Lines** are stored byte for byte, without their newline, as `TEXT`; up to 999,999,900 bytes.
//! * **Damage.** SQLite has no checksums of pages: a broken page is an error of whoever reads it, and a line that changed
//!   fails its own checksum, as in a text file. `sqlite3 FILE .recover` reads what is left of a broken file.

mod connect;
mod database;
mod deleted;
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
