//! The lines of the log of transactions.

use serde::{Deserialize, Serialize};
use wafka_core::storage::Cursor;
use wafka_core::{Database, Offset, TopicName};

/// Where a log ended: offset, and position in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LogEnd(pub(crate) Offset, pub(crate) u64);

impl From<Cursor> for LogEnd {
    fn from(cursor: Cursor) -> Self {
        LogEnd(cursor.offset, cursor.position)
    }
}

/// A topic as it was when a transaction began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TopicBefore {
    pub(crate) uid: u64,
    pub(crate) name: NameText,
    /// Where its partitions ended, in their order.
    pub(crate) partitions: Vec<LogEnd>,
    /// Where its journal ended, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) journal: Option<LogEnd>,
}

/// A topic's name with its database; the name as it stands in file names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct NameText {
    pub(crate) database: u16,
    pub(crate) topic: String,
}

impl NameText {
    pub(crate) fn new(database: Database, name: &TopicName) -> Self {
        NameText { database: database.0, topic: name.file_stem() }
    }
}

/// A line of the log. The offset of its first line stands for a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum TransactionRecord {
    /// What follows on these topics counts only with the [`TransactionRecord::Commit`].
    Begin {
        /// The topics concerned that there were.
        topics: Vec<TopicBefore>,
        /// The names concerned of which there was no topic.
        absent: Vec<NameText>,
    },
    /// All of it counts.
    Commit {
        begin: Offset,
        /// The topics that it deleted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deleted: Vec<u64>,
    },
    /// It was not committed, and all of it is taken back.
    Undone { begin: Offset },
}
