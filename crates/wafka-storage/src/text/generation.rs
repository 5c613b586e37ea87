//! A log's file between two rewrites: how far it reaches, what of it is synced, and what the commit journal holds of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use wafka_core::storage::{LogName, StorageError};

use super::{PAGE_BYTES, log_error};
use crate::fs::{File, write_all_at};

/// A log's file from one rewrite (or reopening) to the next. Reads and syncs under way hold it, so that a file that was
/// replaced lives until they are done.
pub(super) struct Generation {
    pub number: u32,
    pub file: Arc<dyn File>,
    /// Behind the last whole line: the one number that the writer tells the readers.
    end: AtomicU64,
    /// How far the file itself reaches; what was put off comes behind.
    written: AtomicU64,
    put_off: Mutex<PutOff>,
    /// Up to here a sync of the file, or of its whole file system, succeeded. What only the commit journal made durable
    /// does not count: its page may be lost.
    synced: AtomicU64,
    /// Why a sync of this file failed. The kernel reports such an error once and then counts the bytes as written, so
    /// no later sync of the same descriptor means anything.
    sync_failed: Mutex<Option<String>>,
    has_failed: AtomicBool,
    role: AtomicU8,
    pub journal: Journaled,
}

/// Room for what is put off, in bytes: enough for the few lines that come together in most files.
const PUT_OFF_BYTES: usize = 2 << 10;
/// Room at most for as much as was put off the last time, in bytes.
const PUT_OFF_BYTES_MAX: usize = 64 << 10;

/// With less than so many bytes that no sync covers, a sync of the file does not hold up appends for long.
const WRITE_BACK_MIN: u64 = 1 << 20;

/// What was appended and is not in the file yet: lines that the commit journal makes durable, so that writing them into
/// the file, a few to each of many, can wait until more have come together. Whoever reads the file has them written first.
#[derive(Default)]
struct PutOff {
    bytes: Vec<u8>,
    /// How many bytes there were the last time.
    expected: usize,
    /// The file may have been cut: nothing is written to it any more.
    retired: bool,
}

/// What a sync of a generation has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The commit journal may take its bytes.
    Attached,
    /// Its file has to be synced.
    Detached,
    /// Nothing: what counts of it is durable in the file that took its place.
    Superseded,
}

/// What the commit journal remembers about a generation. Only changed with the journal's state locked.
#[derive(Default)]
pub(super) struct Journaled {
    /// The last record that holds bytes of it; 0 when none does. Records count from 1.
    commit: AtomicU64,
    /// Behind the last of those bytes.
    end: AtomicU64,
    /// The checkpoint that will sync it, plus 1.
    checkpoint: AtomicU64,
    /// Whether a reopening is about to cut its file.
    reopening: AtomicBool,
}

impl Journaled {
    /// A record holds bytes up to `end`.
    pub fn hold(&self, commit: u64, end: u64) {
        self.commit.store(commit, Ordering::Relaxed);
        self.end.fetch_max(end, Ordering::Relaxed);
    }

    pub fn held_commit(&self) -> u64 {
        self.commit.load(Ordering::Relaxed)
    }

    pub fn held_end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Whether this is the first call for a checkpoint.
    pub fn enter(&self, checkpoint: u64) -> bool {
        self.checkpoint.swap(checkpoint + 1, Ordering::Relaxed) != checkpoint + 1
    }

    pub fn set_reopening(&self, reopening: bool) {
        self.reopening.store(reopening, Ordering::Relaxed);
    }

    pub fn is_reopening(&self) -> bool {
        self.reopening.load(Ordering::Relaxed)
    }

    /// What is held of one generation is held of the one with the same positions that follows it.
    pub fn inherit(&self, other: &Journaled) {
        self.hold(other.held_commit(), other.held_end());
    }
}

impl Generation {
    /// A file that ends at `end` and is synced.
    pub fn new(number: u32, file: Arc<dyn File>, end: u64) -> Self {
        Generation {
            number,
            file,
            end: AtomicU64::new(end),
            written: AtomicU64::new(end),
            put_off: Mutex::default(),
            synced: AtomicU64::new(end),
            sync_failed: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            role: AtomicU8::new(Role::Attached as u8),
            journal: Journaled::default(),
        }
    }

    pub fn role(&self) -> Role {
        let roles = [Role::Attached, Role::Detached, Role::Superseded];
        let role = self.role.load(Ordering::Acquire);
        roles.into_iter().find(|known| *known as u8 == role).unwrap_or(Role::Detached)
    }

    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Release);
    }

    /// Whether a sync of it failed, or it was cut since.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Why a sync of it cannot be relied on.
    pub fn failure(&self) -> Option<String> {
        if self.has_failed() { self.sync_failed.lock().clone() } else { None }
    }

    /// The position behind the last whole line.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Everything below this position reached the disk with a sync of the file.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// A sync that began when the file ended at `end` succeeded. Where another one failed, nothing can be told.
    pub fn note_synced(&self, end: u64) {
        if !self.has_failed() {
            self.synced.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// How far the file itself reaches.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Appends whole lines by `write`, or by one write with those that were put off before; or puts them off, too.
    /// Nothing of a failed append counts.
    pub fn append(
        &self,
        bytes: &[u8],
        put_off: bool,
        write: impl FnOnce(&dyn File, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut waiting = self.put_off.lock();
        if !put_off && waiting.bytes.is_empty() {
            write(&*self.file, self.end())?;
            self.written.store(self.end() + bytes.len() as u64, Ordering::Release);
        } else {
            let before = waiting.bytes.len();
            if waiting.bytes.capacity() == 0 {
                let room = waiting.expected.clamp(PUT_OFF_BYTES, PUT_OFF_BYTES_MAX);
                waiting.bytes.reserve(bytes.len().max(room));
            }
            waiting.bytes.extend_from_slice(bytes);
            if !put_off && let Err(error) = self.write(&mut waiting) {
                waiting.bytes.truncate(before);
                return Err(error);
            }
        }
        self.end.fetch_add(bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Writes what was put off; returns how far the file reaches then.
    pub fn write_out(&self) -> io::Result<u64> {
        if self.written() < self.end() {
            self.write(&mut self.put_off.lock())?;
        }
        Ok(self.written())
    }

    fn write(&self, waiting: &mut PutOff) -> io::Result<()> {
        if waiting.bytes.is_empty() {
            return Ok(());
        }
        if waiting.retired {
            return Err(io::Error::other("the log is being reopened"));
        }
        write_all_at(&*self.file, &waiting.bytes, self.written())?;
        self.written.fetch_add(waiting.bytes.len() as u64, Ordering::Release);
        // Thousands of logs would hold too much memory.
        waiting.expected = std::mem::take(&mut waiting.bytes).len();
        Ok(())
    }

    /// As [`Generation::write_out`]; that it fails is noted as if a sync had failed.
    pub fn write_out_or_fail(&self) -> io::Result<u64> {
        self.write_out().inspect_err(|error| self.fail(format!("write: {error}")))
    }

    fn fail(&self, reason: String) {
        self.sync_failed.lock().get_or_insert(reason);
        self.has_failed.store(true, Ordering::Release);
    }

    /// A reopening replaced this file: a sync that is under way speaks of lines that may be gone.
    pub fn retire(&self) {
        self.put_off.lock().retired = true;
        self.fail("the log was reopened meanwhile".to_owned());
    }

    /// Syncs the file, which reaches to `end`. Of much, most is written before, up to the block that the next append begins in:
    /// a sync takes hold of that block first and of the disk then, and appends would wait for both.
    fn sync_file(&self, end: u64) -> io::Result<()> {
        let (from, to) = (self.synced(), end / PAGE_BYTES * PAGE_BYTES);
        if to.saturating_sub(from) >= WRITE_BACK_MIN {
            self.file.write_back(from, to)?;
        }
        self.file.sync_data()
    }

    /// Makes everything appended before the call durable.
    pub fn sync(&self, log: &LogName) -> Result<(), StorageError> {
        let mut failed = self.sync_failed.lock();
        if let Some(reason) = &*failed {
            return Err(StorageError::Poisoned { log: log.clone(), reason: reason.clone() });
        }
        let end = self.write_out().map_err(|source| {
            *failed = Some(format!("write: {source}"));
            self.has_failed.store(true, Ordering::Release);
            log_error(log, "append", source)
        })?;
        self.sync_file(end).map_err(|source| {
            *failed = Some(format!("sync: {source}"));
            self.has_failed.store(true, Ordering::Release);
            log_error(log, "sync", source)
        })?;
        self.note_synced(end);
        Ok(())
    }
}
