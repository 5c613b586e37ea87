//! What the host knows of a shard's logs, to compare what the plugin says with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_core::Offset;
use wafka_core::storage::{LogName, LogSlot, StorageError};

/// Where a log ends, shared with its reader.
#[derive(Debug, Default)]
pub(super) struct LogEnd(AtomicU64);

impl LogEnd {
    pub(super) fn new(end: Offset) -> Self {
        LogEnd(AtomicU64::new(end))
    }

    pub(super) fn get(&self) -> Offset {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, end: Offset) {
        self.0.store(end, Ordering::Release);
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: LogName,
    pub(super) end: Arc<LogEnd>,
    /// Whether there is any line.
    pub(super) has_lines: bool,
    /// Why it is not written to until it has been reopened.
    pub(super) poisoned: Option<Arc<str>>,
}

impl Entry {
    pub(super) fn check_writable(&self) -> Result<(), StorageError> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => {
                Err(StorageError::Poisoned { log: self.name.clone(), reason: reason.as_ref().to_owned() })
            }
        }
    }

    pub(super) fn poison(&mut self, reason: &str) {
        self.poisoned.get_or_insert_with(|| reason.into());
    }
}

/// The logs that a shard has open.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) logs: BTreeMap<LogSlot, Entry>,
    /// Syncs under way.
    syncs: usize,
    /// Slots closed while a sync was under way, which may name them still.
    closed: BTreeSet<LogSlot>,
    /// What a panic said, after which the shard is used no more.
    pub(super) panicked: Option<Arc<str>>,
}

impl Book {
    pub(super) fn sync_begun(&mut self) {
        self.syncs += 1;
    }

    pub(super) fn sync_ended(&mut self) {
        self.syncs = self.syncs.saturating_sub(1);
        if self.syncs == 0 {
            self.closed.clear();
        }
    }

    pub(super) fn close(&mut self, slot: LogSlot) -> bool {
        let known = self.logs.remove(&slot).is_some();
        if known && self.syncs > 0 {
            self.closed.insert(slot);
        }
        known
    }

    /// Whether a sync that is under way may name the slot although no log is open there.
    pub(super) fn was_closed(&self, slot: LogSlot) -> bool {
        self.closed.contains(&slot)
    }

    pub(super) fn poison(&mut self, slot: LogSlot, reason: &str) {
        if let Some(entry) = self.logs.get_mut(&slot) {
            entry.poison(reason);
        }
    }
}
