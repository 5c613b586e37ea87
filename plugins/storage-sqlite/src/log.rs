//! One log: its table, and what its writer, its readers and its rewrites share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use wafka_plugin_sdk::storage::Offset;
use wafka_plugin_sdk::storage::{Cursor, LogName, StorageError};

use crate::database::Database;
use crate::error::poisoned;

/// So many lines go into one statement, where there are so many.
pub(crate) const ROWS_AT_ONCE: usize = 16;

/// What the users of a log share.
pub(crate) struct Log {
    pub name: LogName,
    pub database: Arc<Database>,
    /// Its number in `wafka_logs`.
    pub id: i64,
    /// The table's name, quoted.
    pub table: String,
    pub sql: Statements,
    /// What readers go by.
    pub view: RwLock<View>,
    /// Bytes of all lines, newlines included.
    pub bytes: AtomicU64,
    /// What of them is noted in the database.
    pub noted_bytes: AtomicU64,
    /// Whether lines of it are in the transaction that is open.
    pub uncommitted: AtomicBool,
    pub rewriting: AtomicBool,
    pub deleted: AtomicBool,
    /// Why nothing may be appended.
    poison: Mutex<Option<Arc<str>>>,
}

/// The statements that are run again and again.
pub(crate) struct Statements {
    pub insert: String,
    /// Inserts [`ROWS_AT_ONCE`] lines.
    pub insert_many: String,
    pub select: String,
    pub delete_one: String,
}

/// What readers go by; they take it before they look into the table.
#[derive(Clone)]
pub(crate) struct View {
    pub generation: u32,
    pub hidden: Arc<Hidden>,
}

/// Lines that a rewrite dropped; some may still be in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// Every line below is dropped.
    pub floor: Offset,
    /// So are these, ascending.
    pub singles: Vec<Offset>,
}

impl Hidden {
    pub fn contains(&self, offset: Offset) -> bool {
        offset < self.floor || self.singles.binary_search(&offset).is_ok()
    }
}

impl Log {
    pub fn new(name: LogName, database: Arc<Database>, id: i64, table: &str, view: View) -> Self {
        let table = quoted(table);
        let many = vec!["(?,?)"; ROWS_AT_ONCE].join(",");
        let sql = Statements {
            insert: format!("INSERT INTO {table}(\"offset\", line) VALUES (?,?)"),
            insert_many: format!("INSERT INTO {table}(\"offset\", line) VALUES {many}"),
            select: format!("SELECT \"offset\", line FROM {table} WHERE \"offset\" >= ? ORDER BY \"offset\""),
            delete_one: format!("DELETE FROM {table} WHERE \"offset\" = ?"),
        };
        Log {
            name,
            database,
            id,
            table,
            sql,
            view: RwLock::new(view),
            bytes: AtomicU64::new(0),
            noted_bytes: AtomicU64::new(0),
            uncommitted: AtomicBool::new(false),
            rewriting: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            poison: Mutex::new(None),
        }
    }

    pub fn view(&self) -> View {
        self.view.read().clone()
    }

    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { offset, position: 0, generation: self.view.read().generation }
    }

    pub fn poison(&self, reason: &str) {
        let mut poison = self.poison.lock();
        if poison.is_none() {
            log::warn!("{}: takes no appends until it is reopened: {reason}", self.name);
            *poison = Some(reason.into());
        }
    }

    pub fn heal(&self) {
        *self.poison.lock() = None;
    }

    pub fn poison_reason(&self) -> Option<Arc<str>> {
        self.poison.lock().clone()
    }

    pub fn check_writable(&self) -> Result<(), StorageError> {
        match &*self.poison.lock() {
            None => Ok(()),
            Some(reason) => Err(poisoned(&self.name, reason)),
        }
    }

    /// Says how many bytes its lines have.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }
}

/// A name as SQL takes it whatever it is made of.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// SQLite's numbers are signed. What lies above them is behind every line there can be.
pub(crate) fn sql_offset(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// An offset as it was stored.
pub(crate) fn offset_of(stored: i64) -> Offset {
    u64::try_from(stored).unwrap_or(0)
}
