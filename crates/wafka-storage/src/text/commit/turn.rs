//! What one sync makes durable: what was appended between two calls of `begin_sync`.

use std::io;
use std::sync::Arc;

use wafka_core::storage::{LogSlot, PendingSync, StorageError, SyncFailure};

use super::super::generation::Generation;
use super::super::log::SharedLog;
use super::CommitJournal;
use crate::fs::read_full_at;

/// A log appended to in a turn.
pub(in crate::text) struct Dirty {
    pub slot: LogSlot,
    pub log: Arc<SharedLog>,
    pub generation: Arc<Generation>,
}

/// Bytes appended to a log in one run.
struct Run {
    slot: LogSlot,
    position: u64,
    bytes: u64,
}

/// What was appended since the last sync began.
pub(in crate::text) struct Turn {
    /// The logs, in the order in which they became dirty; filled in when the sync begins.
    pub dirty: Arc<[Dirty]>,
    /// Whether a record of it is wanted; said when the sync begins.
    pub journaled: bool,
    /// What was appended before it was clear that copies are needed.
    early: Vec<Run>,
    /// What was appended and copied.
    copied: Vec<Run>,
    /// The bytes of `copied`.
    pub data: Vec<u8>,
    /// About how long a record of it would be.
    record_bytes: u64,
    /// Whether some of it was written past the page cache.
    has_direct: bool,
    /// A turn whose record would be longer than this is not kept.
    record_bytes_max: u64,
}

/// One entry of a turn's record.
pub(super) struct TurnEntry<'a> {
    pub log: &'a SharedLog,
    pub position: u64,
    pub bytes: u64,
}

/// More than an entry's text without the log's name.
const ENTRY_BYTES: u64 = 80;

impl Turn {
    /// An empty turn; `data` is a buffer to use again.
    pub fn new(record_bytes_max: u64, mut data: Vec<u8>) -> Self {
        data.clear();
        Turn {
            dirty: Arc::new([]),
            journaled: false,
            early: Vec::new(),
            copied: Vec::new(),
            data,
            record_bytes: 0,
            has_direct: false,
            record_bytes_max,
        }
    }

    /// Takes note of bytes appended to a log; `copy` says whether a record of this turn is likely.
    pub fn take(&mut self, slot: LogSlot, log: &SharedLog, position: u64, bytes: &[u8], copy: bool) {
        if !self.fits() {
            return;
        }
        let len = bytes.len() as u64;
        self.record_bytes += len;
        let runs = if copy { &mut self.copied } else { &mut self.early };
        match runs.last_mut() {
            Some(last) if last.slot == slot && last.position + last.bytes == position => last.bytes += len,
            _ => {
                self.record_bytes += ENTRY_BYTES + log.displayed.len() as u64;
                runs.push(Run { slot, position, bytes: len });
            }
        }
        if !self.fits() {
            // Nothing of it is needed any more.
            (self.early, self.copied, self.data) = Default::default();
        } else if copy {
            self.data.extend_from_slice(bytes);
        }
    }

    /// Some of it was written past the page cache: a record would have to read it from the disk.
    pub fn note_direct(&mut self) {
        self.has_direct = true;
    }

    pub fn has_direct(&self) -> bool {
        self.has_direct
    }

    /// Whether a record may hold it.
    pub fn fits(&self) -> bool {
        self.record_bytes + ENTRY_BYTES < self.record_bytes_max
    }

    /// About how long a record of it would be; never less.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes + 2 * ENTRY_BYTES
    }

    /// Drops what was appended to logs that `keep` does not want: the positions of a log that was closed, cut or
    /// rewritten mean nothing any more.
    pub fn retain(&mut self, keep: impl Fn(LogSlot) -> bool) {
        if self.early.iter().chain(&self.copied).all(|run| keep(run.slot)) {
            return;
        }
        self.early.retain(|run| keep(run.slot));
        let mut from = 0;
        let mut data = Vec::with_capacity(self.data.len());
        self.copied.retain(|run| {
            let bytes = &self.data[from..from + run.bytes as usize];
            from += bytes.len();
            let kept = keep(run.slot);
            if kept {
                data.extend_from_slice(bytes);
            }
            kept
        });
        self.data = data;
    }

    /// The entries of its record, in the order of their bytes.
    pub(super) fn entries(&self) -> impl Iterator<Item = TurnEntry<'_>> {
        let slots = self.slots();
        self.early.iter().chain(&self.copied).filter_map(move |run| {
            let index = slots.binary_search_by_key(&run.slot, |(slot, _)| *slot).ok()?;
            let log = &*self.dirty[slots[index].1].log;
            Some(TurnEntry { log, position: run.position, bytes: run.bytes })
        })
    }

    /// Where each log stands in `dirty`, in the order of slots.
    fn slots(&self) -> Vec<(LogSlot, usize)> {
        let mut slots: Vec<_> =
            self.dirty.iter().zip(0..).map(|(dirty, index)| (dirty.slot, index)).collect();
        slots.sort_unstable();
        slots
    }

    /// Reads back what was not copied when it was appended.
    pub fn read_early(&self, into: &mut Vec<u8>) -> io::Result<()> {
        for run in &self.early {
            let Some(dirty) = self.dirty.iter().find(|dirty| dirty.slot == run.slot) else { continue };
            let start = into.len();
            into.resize(start + run.bytes as usize, 0);
            let read = read_full_at(&*dirty.generation.file, &mut into[start..], run.position)?;
            if (read as u64) < run.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// A turn being made durable.
pub(super) struct TurnSync {
    pub journal: Arc<CommitJournal>,
    pub number: u64,
    /// The logs of the turns it covers.
    pub logs: Vec<Arc<[Dirty]>>,
}

impl PendingSync for TurnSync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        self.journal.settle_up_to(self.number);
        let mut failures: Vec<SyncFailure> = Vec::new();
        for dirty in self.logs.iter().flat_map(|logs| &**logs) {
            let Some(reason) = dirty.generation.failure() else { continue };
            if failures.iter().all(|failure| failure.slot != dirty.slot) {
                let error = StorageError::Poisoned { log: dirty.log.name.clone(), reason };
                failures.push(SyncFailure { slot: dirty.slot, error });
            }
        }
        failures
    }
}
