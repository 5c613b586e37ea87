//! The logs that one broker writes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use redb::ReadableDatabase;
use wafka_core::Offset;
use wafka_core::storage::{
    Batch, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite, RewritePlan,
    Rewritten, Shard, StorageError, SyncFailure,
};

use crate::commit::Sync;
use crate::database::Home;
use crate::log::{Log, State};
use crate::reader::RedbReader;
use crate::rewrite::RedbRewrite;
use crate::run::{self, Pending};
use crate::schema::{self, LOGS, RUNS, Row};

/// A shard.
pub(crate) struct RedbShard {
    home: Arc<Home>,
    open: HashMap<LogSlot, Arc<Log>>,
    /// Logs that were appended to and not known to be committed since, and those that a sync has to name as failed.
    unsynced: HashSet<LogSlot>,
    next_slot: u32,
    /// What is appended counts before it is synced, as far as was said.
    counts_unsynced: bool,
}

impl RedbShard {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        let (open, unsynced) = (HashMap::new(), HashSet::new());
        RedbShard { home, open, unsynced, next_slot: 0, counts_unsynced: false }
    }

    fn log(&self, slot: LogSlot, operation: &'static str) -> Result<&Arc<Log>, StorageError> {
        self.open.get(&slot).ok_or_else(|| StorageError::Io {
            log: format!("log {}", slot.0),
            operation,
            source: io::Error::new(io::ErrorKind::NotFound, "no log is open in this slot"),
        })
    }

    fn busy(&self, log: &LogName, operation: &'static str, reason: &str) -> StorageError {
        self.home.log_error(log, operation, io::Error::new(io::ErrorKind::ResourceBusy, reason))
    }

    /// The row of a log, made if that is asked for.
    fn row(&self, name: &LogName, create: bool) -> Result<Option<Row>, StorageError> {
        let home = &self.home;
        home.ensure_open_to_read();
        let found = home.with(|database| {
            let logs = database.begin_read()?.open_table(LOGS)?;
            Ok(logs.get(schema::key_of(name))?.map(|row| Row::from(row.value())))
        });
        let found = found.map_err(|error| home.log_error(name, "open", error))?;
        if found.is_some() || !create {
            return Ok(found);
        }
        let writing = home.writing.lock();
        let made = home
            .ensure_open(&writing)
            .and_then(|()| home.write(&writing, |transaction| schema::row_or_new(transaction, name)));
        made.map(Some).map_err(|error| home.log_error(name, "create", error))
    }

    /// Commits, because too much is pending; takes back what was just appended from offset `first` on if that fails.
    fn commit_appended(&self, log: &Log, first: Offset) -> Result<(), StorageError> {
        let home = &self.home;
        home.commit(&home.writing.lock(), true);
        let mut state = log.state.write();
        let Some(reason) = state.poisoned.clone() else { return Ok(()) };
        home.pending_bytes.fetch_sub(state.cut_to(first), Ordering::Relaxed);
        Err(home.log_error(&log.name, "append", io::Error::other(reason.as_ref())))
    }

    /// Whether the table has just what lies below `end`, and nothing behind that was durable.
    fn is_stored(&self, log: &Log, row: Row, end: Offset) -> Result<bool, StorageError> {
        let (stored, durable) = {
            let state = log.state.read();
            (state.stored, state.durable)
        };
        Ok(stored == end && durable == end && self.load(&log.name, row)?.end == end)
    }

    /// Makes `end` a log's end in the table, with what is pending below.
    fn store_to(
        &self,
        log: &Log,
        row: Row,
        end: Offset,
        writing: &MutexGuard<'_, ()>,
    ) -> Result<(), StorageError> {
        let home = &self.home;
        let failed = |error| home.log_error(&log.name, "reopen", error);
        // What is durable goes where it belongs, so that what is cut does not come back from the journal.
        log.state.write().poisoned.get_or_insert_with(|| "it is being opened afresh".into());
        home.commit(writing, true);
        if home.journal_bytes.load(Ordering::Relaxed) > 0 {
            return Err(failed(io::Error::other("the journal could not be emptied")));
        }
        let pending: Vec<_> = {
            let mut state = log.state.write();
            home.pending_bytes.fetch_sub(state.cut_pending(end), Ordering::Relaxed);
            state.pending.iter().cloned().collect()
        };
        let held = self.load(&log.name, row)?;
        let have = pending.last().map_or(held.end, |pending| pending.run().end().max(held.end));
        if end > have {
            let reason = format!("the log ends at offset {have}, expected {end}");
            return Err(StorageError::Damaged { log: log.name.clone(), position: 0, reason });
        }
        let pending_from = pending.first().map_or(end, |pending| pending.first);
        let written = home.write(writing, |transaction| {
            let mut runs = transaction.open_table(RUNS)?;
            run::cut(&mut runs, log.number, end.min(pending_from))?;
            run::insert_all(&mut runs, log.number, pending.iter().map(|pending| pending.run()))
        });
        written.map_err(failed)
    }

    /// A log's state as the table has it.
    fn load(&self, name: &LogName, row: Row) -> Result<State, StorageError> {
        let loaded = self.home.with(|database| {
            let runs = database.begin_read()?.open_table(RUNS)?;
            let (end, position) = run::end_of(&runs, row.number)?;
            let first = run::first_from(&runs, row.number, row.floor)?;
            Ok(State::loaded(row, first, end, position, self.home.next_generation()))
        });
        loaded.map_err(|error| self.home.log_error(name, "open", error))
    }
}

impl Shard for RedbShard {
    fn open(&mut self, name: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let home = Arc::clone(&self.home);
        let mut logs = home.logs.lock();
        let before = logs.get(name).cloned();
        if before.as_ref().is_some_and(|log| log.state.read().open) {
            return Err(self.busy(name, "open", "the log is open already"));
        }
        let row = self.row(name, request.create)?.ok_or_else(|| StorageError::NotFound(name.clone()))?;
        // What was appended before it was closed may be pending still; what failed is gone.
        let pending = before.filter(|log| !log.state.read().pending.is_empty());
        let log = match pending {
            Some(log) => {
                let mut state = log.state.write();
                (state.open, state.generation) = (true, home.next_generation());
                if state.poisoned.take().is_some() {
                    let durable = state.durable;
                    home.pending_bytes.fetch_sub(state.cut_to(durable), Ordering::Relaxed);
                }
                drop(state);
                log
            }
            None => Log::new(name.clone(), row.number, self.load(name, row)?),
        };
        logs.insert(name.clone(), Arc::clone(&log));
        drop(logs);
        let slot = LogSlot(self.next_slot);
        self.next_slot += 1;
        self.open.insert(slot, Arc::clone(&log));
        self.unsynced.insert(slot);
        let state = log.state.read();
        let (first, end) = (state.cursor(state.first), state.cursor(state.end));
        drop(state);
        let reader = Arc::new(RedbReader::new(&home, log));
        Ok(Opened { slot, reader, first, end, torn: None, damage: Vec::new(), lines: None })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let log = Arc::clone(self.log(slot, "append")?);
        let home = &self.home;
        let mut state = log.state.write();
        if let Some(reason) = &state.poisoned {
            return Err(StorageError::Poisoned { log: log.name.clone(), reason: reason.to_string() });
        }
        if batch.first_offset != state.end {
            let (batch, end) = (batch.first_offset, state.end);
            return Err(StorageError::Fenced { log: log.name.clone(), batch, end });
        }
        if batch.lines == 0
            || batch.bytes.last() != Some(&b'\n')
            || run::count_lines(batch.bytes) != batch.lines
        {
            let reason = "a batch is as many lines as it says, each ending in a newline";
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(home.log_error(&log.name, "append", source));
        }
        let start = state.cursor(state.end);
        let (first, position) = (state.end, state.position);
        let bytes: Box<[u8]> = batch.bytes.into();
        let pending = home.pending_bytes.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        state.position += bytes.len() as u64;
        state.end += batch.lines;
        state.pending.push_back(Arc::new(Pending { first, lines: batch.lines, position, bytes }));
        let listed = std::mem::replace(&mut state.fresh, true);
        if !listed {
            home.fresh.lock().push(Arc::clone(&log));
        }
        drop(state);
        self.unsynced.insert(slot);
        if self.counts_unsynced {
            home.tell_of_unsynced();
        }
        if pending >= home.pending_bytes_max.load(Ordering::Relaxed) {
            self.commit_appended(&log, start.offset)?;
        }
        Ok(start)
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.counts_unsynced = !synced_first;
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        let open = &self.open;
        let mut logs = Vec::with_capacity(self.unsynced.len());
        self.unsynced.retain(|slot| {
            let Some(log) = open.get(slot) else { return false };
            let state = log.state.read();
            let (end, unsynced) = (state.end, state.poisoned.is_some() || state.durable < state.end);
            drop(state);
            if unsynced {
                logs.push((*slot, Arc::clone(log), end));
            }
            unsynced
        });
        Box::new(Sync { home: Arc::clone(&self.home), logs })
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        for failure in failures {
            if let Some(log) = self.open.get(&failure.slot) {
                log.state.write().poisoned.get_or_insert_with(|| failure.error.to_string().into());
                self.unsynced.insert(failure.slot);
            }
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let log = Arc::clone(self.log(slot, "reopen")?);
        let home = &self.home;
        let end = end.offset;
        let failed = |error| home.log_error(&log.name, "reopen", error);
        let writing = home.writing.lock();
        home.ensure_open(&writing).map_err(failed)?;
        let row = self.row(&log.name, false)?.ok_or_else(|| StorageError::NotFound(log.name.clone()))?;
        let before = log.state.read().end;
        if self.is_stored(&log, row, end)? {
            // On a disk that is full this is how it comes back: nothing is written.
            let mut state = log.state.write();
            home.pending_bytes.fetch_sub(state.cut_pending(end), Ordering::Relaxed);
        } else {
            self.store_to(&log, row, end, &writing)?;
        }
        let loaded = self.load(&log.name, row)?;
        let mut state = log.state.write();
        let bytes = state.commit(end);
        home.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let generation = if end < before { loaded.generation } else { state.generation };
        let State { fresh: listed, unstored, rewriting, .. } = *state;
        *state = State { generation, fresh: listed, unstored, rewriting, ..loaded };
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let log = Arc::clone(self.log(slot, "rewrite")?);
        RedbRewrite::begin(&self.home, slot, log, plan).map(|rewrite| Box::new(rewrite) as Box<dyn Rewrite>)
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let log = Arc::clone(self.log(rewrite.slot(), "rewrite")?);
        match rewrite.into_any().downcast::<RedbRewrite>() {
            Ok(rewrite) => rewrite.finish(&log, kept),
            Err(_) => Err(self.busy(&log.name, "rewrite", "this rewrite was not begun here")),
        }
    }

    fn close(&mut self, slot: LogSlot) {
        if let Some(log) = self.open.remove(&slot) {
            log.state.write().open = false;
        }
    }
}

impl Drop for RedbShard {
    fn drop(&mut self) {
        for log in self.open.values() {
            log.state.write().open = false;
        }
    }
}
