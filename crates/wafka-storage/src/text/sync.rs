//! Making what was appended durable.

use std::sync::Arc;

use wafka_core::storage::{LogSlot, PendingSync, SyncFailure};

use super::log::{Generation, SharedLog};

/// A log with something to sync.
pub(super) struct Dirty {
    pub slot: LogSlot,
    pub log: Arc<SharedLog>,
    pub generation: Arc<Generation>,
}

/// Syncs each file on its own.
pub(super) struct FileSyncs(pub Vec<Dirty>);

impl PendingSync for FileSyncs {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        self.0
            .into_iter()
            .filter_map(|dirty| {
                let error = dirty.generation.sync(&dirty.log.name).err()?;
                Some(SyncFailure { slot: dirty.slot, error })
            })
            .collect()
    }
}
