//! A commit: one transaction for everything that is pending, whoever asks for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use wafka_core::Offset;
use wafka_core::storage::{LogSlot, PendingSync, StorageError, SyncFailure};

use crate::database::Home;
use crate::log::Log;
use crate::run::{Pending, insert_all};
use crate::schema::RUNS;

/// A log's lines that a commit is about.
struct Part {
    log: Arc<Log>,
    runs: Vec<Arc<Pending>>,
    end: Offset,
}

impl Home {
    /// Commits everything that is pending. Logs whose lines could not be are poisoned, and tell it.
    pub(crate) fn commit(&self, writing: &MutexGuard<'_, ()>) {
        if let Err(error) = self.ensure_open(writing) {
            self.poison_listed(&error);
            return;
        }
        let parts = self.parts();
        if parts.is_empty() {
            return;
        }
        let written = self.write(writing, |transaction| {
            let mut runs = transaction.open_table(RUNS)?;
            for part in &parts {
                insert_all(&mut runs, part.log.number, part.runs.iter().map(|pending| pending.run()))?;
            }
            Ok(())
        });
        match written {
            Ok(()) => {
                for part in &parts {
                    let bytes = part.log.state.write().commit(part.end);
                    self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
            }
            Err(error) => {
                // They are listed anew: who opens the database afresh looks for what came of their lines.
                let mut listed = Vec::with_capacity(parts.len());
                for part in parts {
                    let mut state = part.log.state.write();
                    state.poisoned.get_or_insert_with(|| error.to_string().into());
                    if !std::mem::replace(&mut state.listed, true) {
                        drop(state);
                        listed.push(part.log);
                    }
                }
                self.listed.lock().extend(listed);
            }
        }
    }

    /// What is to be committed. A poisoned log's lines are not.
    fn parts(&self) -> Vec<Part> {
        let listed = std::mem::take(&mut *self.listed.lock());
        let mut parts = Vec::with_capacity(listed.len());
        let mut kept = Vec::new();
        for log in listed {
            let mut state = log.state.write();
            if state.poisoned.is_some() {
                drop(state);
                kept.push(log);
                continue;
            }
            state.listed = false;
            let (runs, end): (Vec<_>, _) = (state.pending.iter().cloned().collect(), state.end);
            drop(state);
            if !runs.is_empty() {
                parts.push(Part { log, runs, end });
            }
        }
        self.listed.lock().extend(kept);
        parts
    }

    /// The database does not open: nothing that is pending can be made durable.
    fn poison_listed(&self, error: &io::Error) {
        let listed: Vec<Arc<Log>> = self.listed.lock().clone();
        for log in listed {
            log.state.write().poisoned.get_or_insert_with(|| error.to_string().into());
        }
    }
}

/// A sync under way: what it waits for.
pub(crate) struct Sync {
    pub home: Arc<Home>,
    /// Each log, and the end it had.
    pub logs: Vec<(LogSlot, Arc<Log>, Offset)>,
}

impl PendingSync for Sync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        let waits = |(_, log, end): &(LogSlot, Arc<Log>, Offset)| {
            let state = log.state.read();
            state.poisoned.is_none() && state.committed < *end
        };
        if self.logs.iter().any(waits) {
            let writing = self.home.writing.lock();
            // Meanwhile another broker's commit may have covered it.
            if self.logs.iter().any(waits) {
                self.home.commit(&writing);
            }
        }
        let failure = |(slot, log, _): &(LogSlot, Arc<Log>, Offset)| {
            let reason = log.state.read().poisoned.clone()?;
            let error = StorageError::Io {
                log: format!("{} in {}", log.name, self.home.path.display()),
                operation: "sync",
                source: io::Error::other(reason.as_ref()),
            };
            Some(SyncFailure { slot: *slot, error })
        };
        self.logs.iter().filter_map(failure).collect()
    }
}
