//! A storage backend that keeps lines in memory: the least that a backend can be.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wafka_plugin_sdk::export_storage;
use wafka_plugin_sdk::storage::{
    Batch, BrokerId, Chunk, Cursor, KeptLine, LogName, LogReader, LogSlot, OpenRequest, Opened, PendingSync,
    Rewrite, RewritePlan, Rewritten, Shard, Storage, StorageError, SyncFailure,
};

/// The keys of `[backends.vec]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// So many lines each log may have.
    #[serde(default = "unlimited")]
    lines_max: usize,
}

fn unlimited() -> usize {
    usize::MAX
}

/// The lines of a log, by their offset; and whether a shard has it open.
type Log = Arc<Mutex<(Vec<Vec<u8>>, bool)>>;

/// The backend. Clones are the same one.
#[derive(Clone)]
pub struct VecStorage {
    lines_max: usize,
    logs: Arc<Mutex<HashMap<LogName, Log>>>,
}

/// Opens the backend: nothing is kept in the data directory.
///
/// # Errors
/// None.
pub fn open(_data_dir: &Path, options: Options) -> Result<VecStorage, StorageError> {
    Ok(VecStorage { lines_max: options.lines_max, logs: Arc::default() })
}

export_storage!(name = "vec", open = open);

/// A thread that panicked left nothing half done here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line is found by its offset: there are no byte positions, and so only one generation of them.
fn cursor(offset: usize) -> Cursor {
    Cursor { offset: offset as u64, position: 0, generation: 1 }
}

fn refused(log: impl ToString, operation: &'static str, reason: &str) -> StorageError {
    StorageError::Io { log: log.to_string(), operation, source: io::Error::other(reason) }
}

impl Storage for VecStorage {
    fn name(&self) -> &str {
        "vec"
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        Ok(locked(&self.logs).keys().cloned().collect())
    }

    fn create(&self, names: &[LogName]) -> Result<(), StorageError> {
        let mut logs = locked(&self.logs);
        for name in names {
            logs.entry(name.clone()).or_default();
        }
        Ok(())
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(VecShard { storage: self.clone(), open: HashMap::new(), next_slot: 0 }))
    }

    fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let mut logs = locked(&self.logs);
        for name in names {
            if logs.get(name).is_some_and(|log| locked(log).1) {
                return Err(refused(name, "delete", "the log is open"));
            }
            logs.remove(name);
        }
        Ok(())
    }
}

struct VecShard {
    storage: VecStorage,
    open: HashMap<LogSlot, (LogName, Log)>,
    next_slot: u32,
}

impl VecShard {
    fn log(&self, slot: LogSlot, operation: &'static str) -> Result<&(LogName, Log), StorageError> {
        let missing = || refused(format!("slot {}", slot.0), operation, "no log is open in this slot");
        self.open.get(&slot).ok_or_else(missing)
    }
}

impl Shard for VecShard {
    fn open(&mut self, name: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let mut logs = locked(&self.storage.logs);
        if !logs.contains_key(name) && !request.create {
            return Err(StorageError::NotFound(name.clone()));
        }
        let log = Arc::clone(logs.entry(name.clone()).or_default());
        if std::mem::replace(&mut locked(&log).1, true) {
            return Err(refused(name, "open", "the log is open already"));
        }
        let (slot, end) = (LogSlot(self.next_slot), cursor(locked(&log).0.len()));
        self.next_slot += 1;
        self.open.insert(slot, (name.clone(), Arc::clone(&log)));
        Ok(Opened {
            slot,
            reader: Arc::new(VecReader(log)),
            first: cursor(0),
            end,
            torn: None,
            damage: vec![],
            lines: Some(end.offset),
        })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let (name, log) = self.log(slot, "append")?;
        let lines = &mut locked(log).0;
        let end = lines.len() as u64;
        if batch.first_offset != end {
            return Err(StorageError::Fenced { log: name.clone(), batch: batch.first_offset, end });
        }
        let new: Vec<Vec<u8>> =
            batch.bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if new.is_empty() || new.len() as u64 != batch.lines || !batch.bytes.ends_with(b"\n") {
            return Err(refused(name, "append", "a batch is as many lines as it says"));
        }
        if lines.len() + new.len() > self.storage.lines_max {
            return Err(refused(name, "append", "the log has as many lines as lines_max allows"));
        }
        lines.extend(new);
        Ok(cursor(batch.first_offset as usize))
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        Box::new(NothingToSync)
    }

    fn finish_sync(&mut self, _failures: &[SyncFailure]) {}

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let (name, log) = self.log(slot, "reopen")?;
        let lines = &mut locked(log).0;
        if end.offset > lines.len() as u64 {
            return Err(refused(name, "reopen", "the log ends earlier"));
        }
        lines.truncate(end.offset as usize);
        Ok(())
    }

    fn begin_rewrite(&mut self, _: LogSlot, _: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        Err(StorageError::Unsupported { backend: "vec".to_owned(), operation: "rewrite" })
    }

    fn finish_rewrite(
        &mut self,
        _: Box<dyn Rewrite>,
        _: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        Err(StorageError::Unsupported { backend: "vec".to_owned(), operation: "rewrite" })
    }

    fn close(&mut self, slot: LogSlot) {
        if let Some((_, log)) = self.open.remove(&slot) {
            locked(&log).1 = false;
        }
    }
}

impl Drop for VecShard {
    fn drop(&mut self) {
        for (_, log) in self.open.values() {
            locked(log).1 = false;
        }
    }
}

struct NothingToSync;

impl PendingSync for NothingToSync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        Vec::new()
    }
}

struct VecReader(Log);

impl LogReader for VecReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let lines = &locked(&self.0).0;
        let start = usize::try_from(from.offset).unwrap_or(usize::MAX);
        let (mut next, begin) = (start, into.len());
        for line in lines.get(start..).unwrap_or_default() {
            if next > start && into.len() - begin + line.len() > bytes_max {
                break;
            }
            into.extend_from_slice(line);
            next += 1;
        }
        Ok(Chunk { start: cursor(start), next: cursor(next) })
    }

    fn generation(&self) -> u32 {
        1
    }

    fn size_bytes(&self) -> u64 {
        locked(&self.0).0.iter().map(|line| line.len() as u64).sum()
    }
}
