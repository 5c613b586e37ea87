//! Waiting for lines to be durable, on any thread.

use std::io;
use std::sync::Arc;

use wafka_plugin_sdk::storage::{LogSlot, PendingSync, StorageError, SyncFailure};

use crate::database::{Database, Ticket};
use crate::error::poisoned;
use crate::log::Log;

/// What was appended to one file between two syncs of a shard.
pub(crate) struct Part {
    pub database: Arc<Database>,
    /// What is to be waited for; else why the transaction was lost.
    pub ticket: Result<Ticket, Arc<str>>,
    pub logs: Vec<(LogSlot, Arc<Log>)>,
}

impl Part {
    pub fn is_settled(&self) -> bool {
        self.ticket.as_ref().map_or(true, |ticket| self.database.is_settled(*ticket))
    }
}

/// A sync under way: what was appended since the one before, and what that one and those before it have not settled.
pub(crate) struct Pending {
    pub parts: Vec<Arc<Part>>,
}

impl PendingSync for Pending {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        let mut failures: Vec<SyncFailure> = Vec::new();
        for part in &self.parts {
            let synced = part.ticket.clone().and_then(|ticket| part.database.wait(ticket));
            for (slot, log) in &part.logs {
                let error = match (&synced, log.poison_reason()) {
                    // A failure before: what is durable by now does not reach as far as what was appended.
                    (_, Some(reason)) => poisoned(&log.name, &reason),
                    (Err(reason), None) => StorageError::Io {
                        log: log.name.to_string(),
                        operation: "sync",
                        source: io::Error::other(reason.to_string()),
                    },
                    (Ok(()), None) => continue,
                };
                if failures.iter().all(|failure| failure.slot != *slot) {
                    failures.push(SyncFailure { slot: *slot, error });
                }
            }
        }
        failures
    }
}
