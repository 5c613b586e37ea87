//! The backend that keeps every log in memory: for tests, and for topics that need not outlive the server.
//!
//! A log is a row of blocks, each a run of lines with an index. It keeps offsets itself and never looks into a line.

mod content;
mod rewrite;
mod shared;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use wafka_core::BrokerId;
use wafka_core::storage::{
    Batch, Chunk, Cursor, KeptLine, LogName, LogReader, LogSlot, OpenRequest, Opened, Ownership, PendingSync,
    Rewrite, RewritePlan, Rewritten, Shard, Storage, StorageError, SyncFailure,
};

use content::Content;
use rewrite::MemoryRewrite;
use shared::Owning;

pub use shared::{Reach, SharedMemory, SharedServer};

type Log = Arc<RwLock<Content>>;

/// The backend that keeps every log in memory. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
    /// The server that reaches it, where there are several.
    server: Option<SharedServer>,
}

#[derive(Default)]
struct Shared {
    /// Each log, and the epoch of whose shard has it open; 0 where there are no epochs.
    logs: Mutex<HashMap<LogName, (Log, Option<u64>)>>,
    generations: AtomicU32,
}

impl Shared {
    fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl MemoryStorage {
    /// A backend without logs.
    #[must_use]
    pub fn new() -> Self {
        MemoryStorage::default()
    }
}

/// Makes sure that the server owns the memory, as long as the result is there, if that is a question.
fn owning<'a>(
    server: Option<&'a SharedServer>,
    of: &str,
    operation: &'static str,
) -> Result<Option<Owning<'a>>, StorageError> {
    server.map(|server| server.owning(of, operation)).transpose()
}

fn epoch(owning: Option<&Owning<'_>>) -> u64 {
    owning.map_or(0, |owning| owning.epoch)
}

impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        self.server.as_ref().map_or("memory", SharedServer::name)
    }

    fn is_durable(&self) -> bool {
        self.server.is_some()
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.server.clone().map(|server| Arc::new(server) as Arc<dyn Ownership>)
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        Ok(self.shared.logs.lock().keys().cloned().collect())
    }

    fn create(&self, names: &[LogName]) -> Result<(), StorageError> {
        let _owning = owning(self.server.as_ref(), "logs", "create")?;
        let mut logs = self.shared.logs.lock();
        for name in names {
            logs.entry(name.clone()).or_default();
        }
        Ok(())
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        let (shared, server) = (Arc::clone(&self.shared), self.server.clone());
        Ok(Box::new(MemoryShard { shared, server, open: HashMap::new(), next_slot: 0 }))
    }

    fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let owning = owning(self.server.as_ref(), "logs", "delete")?;
        let mut logs = self.shared.logs.lock();
        for name in names {
            if logs.get(name).is_some_and(|(_, open)| *open == Some(epoch(owning.as_ref()))) {
                return Err(busy(name, "delete", "the log is open"));
            }
            if let Some((log, _)) = logs.remove(name) {
                // An earlier owner may have it open.
                log.write().marked = u64::MAX;
            }
        }
        Ok(())
    }
}

struct MemoryShard {
    shared: Arc<Shared>,
    server: Option<SharedServer>,
    open: HashMap<LogSlot, OpenLog>,
    next_slot: u32,
}

struct OpenLog {
    name: LogName,
    log: Log,
    /// The epoch in which it was opened.
    epoch: u64,
}

impl MemoryShard {
    fn log(&self, slot: LogSlot, operation: &'static str) -> Result<(&LogName, &Log), StorageError> {
        self.opened(slot, operation).map(|opened| (&opened.name, &opened.log))
    }

    fn opened(&self, slot: LogSlot, operation: &'static str) -> Result<&OpenLog, StorageError> {
        self.open.get(&slot).ok_or_else(|| StorageError::Io {
            log: format!("log {}", slot.0),
            operation,
            source: io::Error::new(io::ErrorKind::NotFound, "no log is open in this slot"),
        })
    }

    /// A log to write to, which nobody else can open meanwhile.
    fn write(
        &self,
        slot: LogSlot,
        operation: &'static str,
    ) -> Result<(&LogName, RwLockWriteGuard<'_, Content>), StorageError> {
        let OpenLog { name, log, epoch } = self.opened(slot, operation)?;
        let content = log.write();
        if let Some(server) = &self.server
            && let Err(why) = server.may_write(*epoch, content.marked)
        {
            // Who opens a log has the lease first and then the log.
            drop(content);
            return Err(server.refusal(why, &name.to_string(), operation));
        }
        Ok((name, content))
    }
}

impl Shard for MemoryShard {
    fn open(&mut self, name: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let owning = owning(self.server.as_ref(), &name.to_string(), "open")?;
        let epoch = epoch(owning.as_ref());
        let mut logs = self.shared.logs.lock();
        if !logs.contains_key(name) && !request.create {
            return Err(StorageError::NotFound(name.clone()));
        }
        let (log, open) = logs.entry(name.clone()).or_default();
        if open.replace(epoch) == Some(epoch) {
            return Err(busy(name, "open", "the log is open already"));
        }
        let log = Arc::clone(log);
        {
            let mut content = log.write();
            content.generation = self.shared.next_generation();
            (content.marked, content.rewriting) = (epoch, None);
        }
        let slot = LogSlot(self.next_slot);
        self.next_slot += 1;
        self.open.insert(slot, OpenLog { name: name.clone(), log: Arc::clone(&log), epoch });
        let (first, end, lines) = {
            let content = log.read();
            (content.first(), content.end(), Some(content.lines()))
        };
        let reader = Arc::new(MemoryReader(log));
        Ok(Opened { slot, reader, first, end, torn: None, damage: Vec::new(), lines })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let (name, mut log) = self.write(slot, "append")?;
        if batch.first_offset != log.end_offset {
            let (batch, end) = (batch.first_offset, log.end_offset);
            return Err(StorageError::Fenced { log: name.clone(), batch, end });
        }
        let lines = || batch.bytes.split_inclusive(|b| *b == b'\n');
        if batch.lines == 0 || lines().count() as u64 != batch.lines || batch.bytes.last() != Some(&b'\n') {
            let reason = "a batch is as many lines as it says, each ending in a newline";
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(StorageError::Io { log: name.to_string(), operation: "append", source });
        }
        let start = log.end();
        for (offset, line) in (batch.first_offset..).zip(lines()) {
            log.push(offset, line);
        }
        Ok(start)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        Box::new(NothingToSync)
    }

    fn finish_sync(&mut self, _failures: &[SyncFailure]) {}

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let (name, mut log) = self.write(slot, "reopen")?;
        if end.offset > log.end_offset {
            let reason = format!("the log ends at offset {}, before {}", log.end_offset, end.offset);
            return Err(StorageError::Damaged { log: name.clone(), position: log.end, reason });
        }
        if end.offset < log.end_offset {
            log.cut(end.offset);
            log.generation = self.shared.next_generation();
        }
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let (name, mut content) = self.write(slot, "rewrite")?;
        if content.rewriting.is_some() {
            return Err(busy(name, "rewrite", "a rewrite is under way already"));
        }
        let generation = self.shared.next_generation();
        content.rewriting = Some(generation);
        let (source, plan_end) = (content.generation, content.end_offset);
        let target = Content { generation, marked: content.marked, ..Content::default() };
        let log = Arc::clone(self.log(slot, "rewrite")?.1);
        Ok(Box::new(MemoryRewrite { slot, log, source, generation, plan, plan_end, next: 0, target }))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let slot = rewrite.slot();
        let (name, _) = self.log(slot, "rewrite")?;
        let Ok(mut rewrite) = rewrite.into_any().downcast::<MemoryRewrite>() else {
            return Err(busy(name, "rewrite", "this rewrite was not begun here"));
        };
        let reopened = || busy(name, "rewrite", "the log was reopened since the rewrite began");
        if rewrite.source != self.write(slot, "rewrite")?.1.generation {
            return Err(reopened());
        }
        rewrite.copy(kept);
        let (_, mut content) = self.write(slot, "rewrite")?;
        if rewrite.source != content.generation {
            return Err(reopened());
        }
        let bytes_before = content.blocks.iter().map(|block| block.bytes.len() as u64).sum::<u64>();
        let end_offset = content.end_offset;
        *content = std::mem::take(&mut rewrite.target);
        content.end_offset = end_offset;
        let bytes_freed = bytes_before - content.end;
        Ok(Rewritten { first: content.first(), end: content.end(), bytes_freed })
    }

    fn close(&mut self, slot: LogSlot) {
        if let Some(OpenLog { name, epoch, .. }) = self.open.remove(&slot)
            && let Some((_, open)) = self.shared.logs.lock().get_mut(&name)
            && *open == Some(epoch)
        {
            *open = None;
        }
    }
}

impl Drop for MemoryShard {
    fn drop(&mut self) {
        let slots: Vec<LogSlot> = self.open.keys().copied().collect();
        for slot in slots {
            self.close(slot);
        }
    }
}

struct NothingToSync;

impl PendingSync for NothingToSync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        Vec::new()
    }
}

struct MemoryReader(Log);

impl LogReader for MemoryReader {
    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        self.read(from, bytes_max, into).map(Some)
    }

    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let log = self.0.read();
        let Some((mut block, mut line)) = log.find(from.offset) else {
            let end = log.cursor(from.offset, log.end);
            return Ok(Chunk { start: end, next: end });
        };
        let begun = into.len();
        let (offset, start) = log.blocks[block].lines[line];
        let start = log.cursor(offset, log.blocks[block].position + start as u64);
        let mut next = start;
        while let Some(current) = log.blocks.get(block) {
            // As many lines of this block as there is room for, the very first whatever its length.
            let room = bytes_max.saturating_sub(into.len() - begun);
            let base = current.lines.get(line).map_or(0, |line| line.1);
            let fits = |index: usize| current.line_end(index) - base <= room;
            let mut count = (line..current.lines.len()).take_while(|index| fits(*index)).count();
            if count == 0 && into.len() == begun {
                count = 1;
            }
            if count == 0 {
                break;
            }
            let last = line + count - 1;
            let end = current.line_end(last);
            into.extend_from_slice(&current.lines_from(line)[..end - base]);
            next = log.cursor(current.lines[last].0 + 1, current.position + end as u64);
            if last + 1 < current.lines.len() {
                break;
            }
            (block, line) = (block + 1, 0);
        }
        Ok(Chunk { start, next })
    }

    fn generation(&self) -> u32 {
        self.0.read().generation
    }

    fn size_bytes(&self) -> u64 {
        self.0.read().end
    }
}

fn busy(log: &LogName, operation: &'static str, reason: &str) -> StorageError {
    refused(&log.to_string(), operation, io::ErrorKind::ResourceBusy, reason)
}

fn refused(of: &str, operation: &'static str, kind: io::ErrorKind, reason: &str) -> StorageError {
    StorageError::Io { log: of.to_owned(), operation, source: io::Error::new(kind, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Harness};

    struct InMemory(MemoryStorage);

    impl Harness for InMemory {
        fn storage(&self) -> &dyn Storage {
            &self.0
        }

        fn restart(&mut self) {}
    }

    #[test]
    fn it_conforms() {
        conformance::run(&mut || Box::new(InMemory(MemoryStorage::new())));
    }
}
