//! The logs that one broker writes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr_iter;
use wafka_core::Offset;
use wafka_core::storage::{
    Batch, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite, RewritePlan,
    Rewritten, Shard, StorageError, SyncFailure,
};

use crate::directory::Place;
use crate::home::{Home, failed_as_owner};
use crate::io_error;
use crate::log::{Log, Poison, State};
use crate::reader::JetStreamReader;
use crate::rewrite::JetStreamRewrite;
use crate::tenure::Tenure;

/// A shard.
pub(crate) struct JetStreamShard {
    home: Arc<Home>,
    open: HashMap<LogSlot, Arc<Log>>,
    /// Logs that were appended to and not known to be acknowledged since, and those that a sync has to name as failed.
    unsynced: HashSet<LogSlot>,
    next_slot: u32,
}

impl JetStreamShard {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        JetStreamShard { home, open: HashMap::new(), unsynced: HashSet::new(), next_slot: 0 }
    }

    fn log(&self, slot: LogSlot, operation: &'static str) -> Result<&Arc<Log>, StorageError> {
        self.open.get(&slot).ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "no log is open in this slot");
            io_error(&format!("log {}", slot.0), operation, source)
        })
    }

    /// Where a log is, made if it is missing and that is asked for.
    fn place(&self, tenure: &Tenure, name: &LogName, create: bool) -> Result<Place, StorageError> {
        let home = &self.home;
        let found = home.block_on(async {
            let directory = &home.directory;
            if create {
                directory.make(tenure, std::slice::from_ref(name)).await?;
            }
            directory.find(tenure, name).await
        });
        let found = found.map_err(|failure| failed_as_owner(tenure, &name.to_string(), "open", failure))?;
        found.ok_or_else(|| StorageError::NotFound(name.clone()))
    }

    /// Waits for what was sent before the log was last closed. Returns the highest sequence that any of it may take.
    fn settle(&self, before: &Log) -> u64 {
        let (life, end) = {
            let state = before.state.lock();
            (state.life, state.end)
        };
        // Where it fails the log is cut behind what got there.
        let _unsynced = before.wait_acked(life, end, self.home.longest_wait());
        self.home.forget(before);
        before.state.lock().highest
    }
}

impl Shard for JetStreamShard {
    fn open(&mut self, name: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let home = Arc::clone(&self.home);
        let tenure = home.tenure(&name.to_string())?;
        let before = {
            let logs = home.logs.lock();
            let before = logs.get(name).cloned();
            if before.as_ref().is_some_and(|log| log.state.lock().open) {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "the log is open already");
                return Err(io_error(&name.to_string(), "open", source));
            }
            before
        };
        let highest = before.map_or(0, |before| self.settle(&before));
        let place = self.place(&tenure, name, request.create)?;
        let loaded = home.block_on(home.load(&tenure, name, &place))?;
        let (stream, lines) = (place.stream, loaded.lines);
        let mut state = State::loaded(loaded, home.next_generation());
        let (last, end) = (state.highest, state.end);
        if let Some(known) = request.known.filter(|known| known.offset >= end) {
            // A server that took over may have cut it, or made it anew.
            ::log::warn!(
                "{name} ends at offset {end}, and offset {} was known to be synced: unless another server cut it, the \
                 engine has lost lines",
                known.offset
            );
        }
        let log = {
            let mut logs = home.logs.lock();
            if logs.get(name).is_some_and(|log| log.state.lock().open) {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "the log is open already");
                return Err(io_error(&name.to_string(), "open", source));
            }
            if logs.get(name).is_some_and(|log| log.stream == stream) {
                state.highest = last.max(highest);
            }
            let subject = home.directory.subject_of(&stream);
            let log = Log::new(name.clone(), home.next_key(), stream, Arc::clone(&tenure), &subject, state);
            logs.insert(name.clone(), Arc::clone(&log));
            log
        };
        // Whoever ends the tenure fences the logs that are known, and this one is from here on.
        tenure.check(&name.to_string()).inspect_err(|_| log.state.lock().open = false)?;
        if log.state.lock().highest > last
            && let Err(error) = home.block_on(home.cut(&log, end))
        {
            log.state.lock().open = false;
            return Err(error);
        }
        home.start_writer(&log);
        let slot = LogSlot(self.next_slot);
        self.next_slot += 1;
        self.open.insert(slot, Arc::clone(&log));
        let (first, end) = {
            let state = log.state.lock();
            (state.cursor(state.first), state.cursor(state.end))
        };
        let reader = Arc::new(JetStreamReader::new(&home, log));
        Ok(Opened { slot, reader, first, end, torn: None, damage: Vec::new(), lines })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let log = Arc::clone(self.log(slot, "append")?);
        let home = &self.home;
        let refuse =
            |kind, reason: String| io_error(&log.name.to_string(), "append", io::Error::new(kind, reason));
        let (life, end) = {
            let state = log.state.lock();
            if let Some(poison) = &state.poisoned {
                return Err(poison.refusal(&log.name));
            }
            (state.life, state.end)
        };
        if batch.first_offset != end {
            return Err(StorageError::Fenced { log: log.name.clone(), batch: batch.first_offset, end });
        }
        let lines = split(batch, home.api().longest()).map_err(|(kind, reason)| refuse(kind, reason))?;
        #[cfg(test)]
        if home.faults.take_append(&log.name) {
            log.poison(Poison::Failed("an append that failed on purpose".into()));
            self.unsynced.insert(slot);
            return Err(refuse(io::ErrorKind::Other, "an append that failed on purpose".into()));
        }
        loop {
            let half = {
                let state = log.state.lock();
                let pending = state.pending_bytes;
                if pending == 0 || pending + batch.bytes.len() <= home.options().pending_bytes() {
                    break;
                }
                // What is left goes on being sent meanwhile.
                state.acked + (end - state.acked).div_ceil(2)
            };
            let acked = log.wait_acked(life, half, home.longest_wait());
            acked.map_err(|poison| poison.failure(&log.name, "append"))?;
        }
        let mut state = log.state.lock();
        if let Some(poison) = &state.poisoned {
            return Err(poison.refusal(&log.name));
        }
        let start = state.cursor(state.end);
        state.end += lines.len() as u64;
        state.bytes += batch.bytes.len() as u64;
        state.pending_bytes += batch.bytes.len();
        state.pending.extend(lines);
        drop(state);
        log.work.notify_one();
        self.unsynced.insert(slot);
        Ok(start)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        let open = &self.open;
        let mut logs = Vec::with_capacity(self.unsynced.len());
        #[cfg(test)]
        let faults = &self.home.faults;
        self.unsynced.retain(|slot| {
            let Some(log) = open.get(slot) else { return false };
            #[cfg(test)]
            faults.take_sync(log);
            let (life, end, unsynced) = {
                let state = log.state.lock();
                // What has failed already is not durable because it was acknowledged all the same: no life is like this one.
                let life = if state.poisoned.is_some() { state.life.wrapping_sub(1) } else { state.life };
                (life, state.end, state.poisoned.is_some() || state.acked < state.end)
            };
            if unsynced {
                logs.push(Waiting { slot: *slot, log: Arc::clone(log), life, end });
            }
            unsynced
        });
        Box::new(Sync { home: Arc::clone(&self.home), logs })
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        for failure in failures {
            if let Some(log) = self.open.get(&failure.slot) {
                if log.state.lock().poisoned.is_none() {
                    log.poison(Poison::Failed(failure.error.to_string().into()));
                }
                self.unsynced.insert(failure.slot);
            }
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let log = Arc::clone(self.log(slot, "reopen")?);
        self.home.block_on(self.home.cut(&log, end.offset))?;
        // It may be that which failed.
        self.home.start_writer(&log);
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let log = Arc::clone(self.log(slot, "rewrite")?);
        let rewrite = JetStreamRewrite::begin(&self.home, slot, log, plan)?;
        Ok(Box::new(rewrite))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let log = Arc::clone(self.log(rewrite.slot(), "rewrite")?);
        match rewrite.into_any().downcast::<JetStreamRewrite>() {
            Ok(rewrite) => rewrite.finish(&log, kept),
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "this rewrite was not begun here");
                Err(io_error(&log.name.to_string(), "rewrite", source))
            }
        }
    }

    fn close(&mut self, slot: LogSlot) {
        if let Some(log) = self.open.remove(&slot) {
            close(&log);
        }
    }
}

impl Drop for JetStreamShard {
    fn drop(&mut self) {
        self.open.values().for_each(|log| close(log));
    }
}

/// The log's writer ends when everything is sent.
fn close(log: &Log) {
    log.state.lock().open = false;
    log.work.notify_one();
}

/// The lines of a batch, or what is wrong with them. They share one copy of its bytes.
fn split(batch: Batch<'_>, longest: usize) -> Result<Vec<Bytes>, (io::ErrorKind, String)> {
    let bytes = Bytes::copy_from_slice(batch.bytes);
    let (mut lines, mut begun) = (Vec::with_capacity(batch.lines.min(1 << 16) as usize), 0);
    for at in memchr_iter(b'\n', &bytes) {
        lines.push(bytes.slice(begun..=at));
        begun = at + 1;
    }
    if batch.lines == 0 || lines.len() as u64 != batch.lines || begun != bytes.len() {
        let reason = "a batch is as many lines as it says, each ending in a newline";
        return Err((io::ErrorKind::InvalidInput, reason.into()));
    }
    if let Some(line) = lines.iter().find(|line| line.len() > longest) {
        let reason = format!(
            "a line of {} bytes is longer than the {longest} that the engine's servers take (max_payload)",
            line.len()
        );
        return Err((io::ErrorKind::InvalidInput, reason));
    }
    Ok(lines)
}

/// A log that a sync waits for.
struct Waiting {
    slot: LogSlot,
    log: Arc<Log>,
    life: u32,
    end: Offset,
}

/// A sync under way: everything is sent already, and what is left is to wait for the acknowledgements.
struct Sync {
    home: Arc<Home>,
    logs: Vec<Waiting>,
}

impl PendingSync for Sync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        let mut failures = Vec::new();
        for Waiting { slot, log, life, end } in &self.logs {
            if let Err(poison) = self.home.wait_acked(log, *life, *end) {
                failures.push(SyncFailure { slot: *slot, error: poison.failure(&log.name, "sync") });
            }
        }
        failures
    }
}
