//! A commit: one transaction for everything that is pending, whoever asks for it.
//!
//! Where it is about a few lines of each of many logs, they go into one row of the journal, all together, and stay in
//! memory until so many have come together that it is worth changing the page of each log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use wafka_core::Offset;
use wafka_core::storage::{LogSlot, PendingSync, SyncFailure};

use crate::database::Home;
use crate::journal;
use crate::log::Log;
use crate::run::{Pending, insert_all};
use crate::schema::RUNS;

/// With so many bytes for each log, on average, a commit writes them where they belong.
const WORTH_A_PAGE: usize = 4 << 10;
/// The journal is emptied before it holds more, in bytes.
const JOURNAL_BYTES_MAX: usize = 8 << 20;

/// A log's lines that a commit is about.
pub(crate) struct Part {
    pub log: Arc<Log>,
    pub runs: Vec<Arc<Pending>>,
    end: Offset,
}

impl Part {
    fn bytes(&self) -> usize {
        self.runs.iter().map(|pending| pending.bytes.len()).sum()
    }
}

impl Home {
    /// Makes everything that is pending durable; with `all` it goes where it belongs, and the journal is empty. Logs
    /// whose lines could not be made durable are poisoned, and tell it.
    pub(crate) fn commit(&self, writing: &MutexGuard<'_, ()>, all: bool) {
        if let Err(error) = self.ensure_open(writing) {
            let fresh: Vec<Arc<Log>> = self.fresh.lock().clone();
            fresh.iter().for_each(|log| poison(log, &error));
            return;
        }
        let parts = self.fresh_parts();
        let bytes: usize = parts.iter().map(Part::bytes).sum();
        let journal_bytes = self.journal_bytes.load(Ordering::Relaxed);
        if all || journal_bytes + bytes > JOURNAL_BYTES_MAX {
            self.store(writing, &self.unstored_parts(), true);
        } else if bytes >= parts.len() * WORTH_A_PAGE {
            // With what of them is in the journal: a start finds it there and where it belongs, and takes the latter.
            let parts: Vec<Part> = parts.iter().filter_map(|part| part_of(&part.log, false)).collect();
            self.store(writing, &parts, false);
        } else {
            self.journal(writing, &parts, bytes);
        }
    }

    /// What no commit has seen. A poisoned log's lines are not to be committed.
    fn fresh_parts(&self) -> Vec<Part> {
        let fresh = std::mem::take(&mut *self.fresh.lock());
        let mut parts = Vec::with_capacity(fresh.len());
        // Before anything of it is written: who opens the database afresh looks for what came of the lines of these.
        let mut unstored = self.unstored.lock();
        for log in fresh {
            let mut state = log.state.write();
            state.fresh = false;
            if !std::mem::replace(&mut state.unstored, true) {
                unstored.push(Arc::clone(&log));
            }
            drop(state);
            parts.extend(part_of(&log, true));
        }
        parts
    }

    fn unstored_parts(&self) -> Vec<Part> {
        self.unstored.lock().iter().filter_map(|log| part_of(log, false)).collect()
    }

    fn journal(&self, writing: &MutexGuard<'_, ()>, parts: &[Part], bytes: usize) {
        if parts.is_empty() {
            return;
        }
        match self.write(writing, |transaction| journal::append(transaction, parts)) {
            Ok(()) => {
                self.journal_bytes.fetch_add(bytes, Ordering::Relaxed);
                for part in parts {
                    part.log.state.write().durable = part.end;
                }
            }
            Err(error) => fail(parts, &error),
        }
    }

    /// Writes lines where they belong; with `clear` they are all that is in the journal.
    fn store(&self, writing: &MutexGuard<'_, ()>, parts: &[Part], clear: bool) {
        let journaled = self.journal_bytes.load(Ordering::Relaxed) > 0;
        if parts.is_empty() && !(clear && journaled) {
            return;
        }
        let written = self.write(writing, |transaction| {
            let mut runs = transaction.open_table(RUNS)?;
            for part in parts {
                insert_all(&mut runs, part.log.number, part.runs.iter().map(|pending| pending.run()))?;
            }
            if clear { journal::clear(transaction) } else { Ok(()) }
        });
        if let Err(error) = written {
            fail(parts, &error);
            return;
        }
        for part in parts {
            let bytes = part.log.state.write().commit(part.end);
            self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        if clear {
            self.journal_bytes.store(0, Ordering::Relaxed);
        }
        self.unstored.lock().retain(|log| {
            let mut state = log.state.write();
            // What a poisoned log has left waits for its reopening.
            state.unstored = !state.pending.is_empty();
            state.unstored
        });
    }
}

/// What there is to commit of a log, with `fresh` without what is durable. Of a poisoned log it is what is durable alone.
pub(crate) fn part_of(log: &Arc<Log>, fresh: bool) -> Option<Part> {
    let state = log.state.read();
    let end = if state.poisoned.is_some() { state.durable } else { state.end };
    let from = if fresh { state.durable } else { state.stored };
    let [begin, end_at] = [from, end].map(|at| state.pending.partition_point(|pending| pending.first < at));
    let runs: Vec<_> = state.pending.range(begin..end_at.max(begin)).cloned().collect();
    drop(state);
    (!runs.is_empty()).then(|| Part { log: Arc::clone(log), runs, end })
}

/// Poisons the logs that have lines in the parts which are not durable otherwise.
fn fail(parts: &[Part], error: &io::Error) {
    for part in parts {
        if part.log.state.read().durable < part.end {
            poison(&part.log, error);
        }
    }
}

fn poison(log: &Log, error: &io::Error) {
    log.state.write().poisoned.get_or_insert_with(|| error.to_string().into());
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
            state.poisoned.is_none() && state.durable < *end
        };
        if self.logs.iter().any(waits) {
            let writing = self.home.writing.lock();
            // Meanwhile another broker's commit may have covered it.
            if self.logs.iter().any(waits) {
                self.home.commit(&writing, false);
            }
        }
        let failure = |(slot, log, _): &(LogSlot, Arc<Log>, Offset)| {
            let reason = log.state.read().poisoned.clone()?;
            let source = io::Error::other(reason.as_ref());
            Some(SyncFailure { slot: *slot, error: self.home.log_error(&log.name, "sync", source) })
        };
        self.logs.iter().filter_map(failure).collect()
    }
}
