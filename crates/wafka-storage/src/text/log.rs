//! One open log: its file, where it ends, appending to it, and making it usable again after a failure.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;
use wafka_core::Offset;
use wafka_core::storage::{Batch, Cursor, LogName, StorageError};

use super::commit::CommitJournal;
use super::direct::DirectWrites;
use super::generation::Generation;
use super::lines::{Lines, start_of_segment};
use super::{CHUNK_BYTES, Claim, Home, PAGE_BYTES, bisect, log_error};
use crate::fs::{File, OpenMode, read_full_at, write_all_at};
use crate::line;

/// What the writer, the readers and the rewrites of a log share.
pub(super) struct SharedLog {
    pub name: LogName,
    /// The name as it is shown, and written into the commit journal.
    pub displayed: String,
    pub path: PathBuf,
    current: RwLock<Arc<Generation>>,
    /// Whether a rewrite is under way.
    pub rewriting: AtomicBool,
    pub line_bytes_max: u64,
}

impl SharedLog {
    pub fn new(name: LogName, path: PathBuf, generation: Arc<Generation>, line_bytes_max: u64) -> Self {
        let current = RwLock::new(generation);
        let displayed = name.to_string();
        SharedLog { name, displayed, path, current, rewriting: AtomicBool::new(false), line_bytes_max }
    }

    pub fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read())
    }
}

/// The writer's side of a log.
pub(super) struct OpenLog {
    pub shared: Arc<SharedLog>,
    pub generation: Arc<Generation>,
    /// The offset of the next line.
    pub end_offset: Offset,
    /// Bytes below this were looked at when the log was opened or rewritten; what is damaged there was reported then.
    judged_end: u64,
    /// Why nothing may be appended.
    pub poisoned: Option<String>,
    /// Whether something was appended since the last sync began.
    pub dirty: bool,
    pub claim: Claim,
}

impl OpenLog {
    pub fn new(shared: Arc<SharedLog>, end_offset: Offset, claim: Claim) -> Self {
        let generation = shared.current();
        OpenLog {
            judged_end: generation.end(),
            shared,
            generation,
            end_offset,
            poisoned: None,
            dirty: false,
            claim,
        }
    }

    /// Where the next line goes.
    pub fn end(&self) -> Cursor {
        Cursor {
            offset: self.end_offset,
            position: self.generation.end(),
            generation: self.generation.number,
        }
    }

    pub fn check_writable(&mut self) -> Result<(), StorageError> {
        if let Some(reason) = self.generation.failure() {
            // A checkpoint may have found it in the background.
            self.poison(&StorageError::Poisoned { log: self.shared.name.clone(), reason });
        }
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => {
                Err(StorageError::Poisoned { log: self.shared.name.clone(), reason: reason.clone() })
            }
        }
    }

    /// Refuses appends from now on; the first reason stays.
    pub fn poison(&mut self, error: &StorageError) {
        if self.poisoned.is_none() {
            tracing::warn!(log = %self.shared.name, %error, "log takes no appends until it is reopened");
            self.poisoned = Some(error.to_string());
        }
    }

    /// Appends lines in one write, which may be put off; or by `direct` writes.
    pub fn append(
        &mut self,
        batch: Batch<'_>,
        put_off: bool,
        direct: Option<&mut DirectWrites>,
    ) -> Result<Cursor, StorageError> {
        self.check_writable()?;
        let log = &self.shared.name;
        if batch.first_offset != self.end_offset {
            let (batch, end) = (batch.first_offset, self.end_offset);
            return Err(StorageError::Fenced { log: log.clone(), batch, end });
        }
        let end_offset = batch.first_offset.checked_add(batch.lines);
        let whole = batch.lines > 0 && batch.bytes.last() == Some(&b'\n');
        let Some(end_offset) = end_offset.filter(|_| whole) else {
            let reason = "a batch is whole lines, each ending in a newline";
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(log_error(log, "append", source));
        };
        let start = self.end();
        let (shared, number) = (&*self.shared, self.generation.number);
        let write = |file: &dyn File, position| match direct {
            Some(direct) => direct.write(shared, (number, file), batch.bytes, position),
            None => write_all_at(file, batch.bytes, position),
        };
        if let Err(source) = self.generation.append(batch.bytes, put_off, write) {
            let error = log_error(log, "append", source);
            self.poison(&error);
            return Err(error);
        }
        self.end_offset = end_offset;
        self.dirty = true;
        Ok(start)
    }

    /// Puts another file in the place of the current one.
    pub fn replace(&mut self, generation: Arc<Generation>) {
        self.judged_end = generation.end();
        *self.shared.current.write() = Arc::clone(&generation);
        self.generation = generation;
        self.dirty = false;
    }

    /// Opens the file afresh and cuts it at `end`; see [`wafka_core::storage::Shard::reopen`].
    pub fn reopen(&mut self, home: &Home, journal: &CommitJournal, end: Cursor) -> Result<(), StorageError> {
        let old = Arc::clone(&self.generation);
        // What stays put off because that fails again is in the commit journal, or was never acknowledged.
        _ = old.write_out();
        // From here on no sync that is under way can make lines durable that may be cut.
        journal.begin_reopening(&old);
        let outcome = self.cut_afresh(home, journal, end);
        journal.end_reopening(&old);
        outcome
    }

    fn cut_afresh(&mut self, home: &Home, journal: &CommitJournal, end: Cursor) -> Result<(), StorageError> {
        let shared = Arc::clone(&self.shared);
        let failed = |source| log_error(&shared.name, "reopen", source);
        let file = home.fs.open(&shared.path, OpenMode::Write).map_err(failed)?;
        let published = self.generation.end();
        let known = (end.generation == self.generation.number).then_some(end.position);
        // What only a record holds goes into the file.
        if self.generation.journal.held_commit() > 0 {
            journal.restore(&shared, &*file, known.unwrap_or(published)).map_err(failed)?;
        }
        let len = file.len().map_err(failed)?;
        let position = match known {
            Some(position) => position,
            None => bisect::position_of(&*file, len.min(published), end.offset, shared.line_bytes_max)
                .map_err(failed)?,
        };
        self.check_end(&*file, len, position, end.offset)?;
        self.write_unsynced_again(&*file, position)?;
        file.set_len(position).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        // The failure may have come from the directory, after a rewrite had taken its place.
        home.fs.sync_dir(&home.dir_of(shared.name.database())).map_err(failed)?;
        // Positions behind the cut will belong to other lines.
        let number = if position < published { home.next_generation() } else { self.generation.number };
        journal.supersede(&self.generation);
        // Nothing may be appended while a record holds what was cut: a replay would write it over what follows.
        journal.release_behind(&self.generation, position).map_err(failed)?;
        let generation = Generation::new(number, file, position);
        generation.journal.inherit(&self.generation.journal);
        let judged_end = self.judged_end.min(position);
        self.replace(Arc::new(generation));
        self.judged_end = judged_end;
        self.end_offset = end.offset;
        self.poisoned = None;
        home.unsure.lock().remove(&shared.name);
        Ok(())
    }

    /// Writes everything up to `position` once more that no sync of the file covers: a failed sync may have lost any of
    /// those pages although they can still be read, and the next one passes over them. Written again, they reach the
    /// disk with the next sync, or that says so. A lost page that is read from the disk by now shows in its lines.
    fn write_unsynced_again(&self, file: &dyn File, position: u64) -> Result<(), StorageError> {
        let failed = |source| log_error(&self.shared.name, "reopen", source);
        let synced = self.generation.synced().min(position);
        // The page that the sync ended in was written to since.
        write_again(file, synced.saturating_sub(1) / PAGE_BYTES * PAGE_BYTES, synced).map_err(failed)?;
        let mut lines = Lines::new(file, synced, position, CHUNK_BYTES, self.shared.line_bytes_max);
        let (mut bytes, mut at) = (Vec::new(), synced);
        while let Some(segment) = lines.next().map_err(failed)? {
            let whole = segment.bytes.filter(|bytes| segment.terminated && line::verify(bytes).is_ok());
            let whole = whole.ok_or_else(|| StorageError::Damaged {
                log: self.shared.name.clone(),
                position: segment.position,
                reason: "a line that was appended since the last sync of the file is not whole".to_owned(),
            })?;
            bytes.extend_from_slice(whole);
            if bytes.len() >= CHUNK_BYTES {
                write_all_at(file, &bytes, at).map_err(failed)?;
                at += bytes.len() as u64;
                bytes.clear();
            }
        }
        write_all_at(file, &bytes, at).map_err(failed)
    }

    /// Checks that a file holds a log's lines up to `position`, where the line with `offset` is to follow. Lines are
    /// only appended and were verified when the log was opened, so the last one tells; those that no sync covers are
    /// verified when they are written again.
    fn check_end(
        &self,
        file: &dyn File,
        len: u64,
        position: u64,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let damaged = |reason: String| StorageError::Damaged {
            log: self.shared.name.clone(),
            position: len.min(position),
            reason,
        };
        if len < position {
            return Err(damaged(format!("the file ends here although it was durable up to byte {position}")));
        }
        if position == 0 {
            return Ok(());
        }
        let failed = |source| log_error(&self.shared.name, "reopen", source);
        let start = start_of_segment(file, position, self.shared.line_bytes_max).map_err(failed)?;
        if position <= self.judged_end && start.is_none() {
            return Ok(());
        }
        let start = start.ok_or_else(|| damaged("no line ends here".to_owned()))?;
        let mut bytes = vec![0; (position - start) as usize];
        let read = read_full_at(file, &mut bytes, start).map_err(failed)?;
        bytes.truncate(read);
        let last =
            bytes.ends_with(b"\n").then(|| line::verify(&bytes).ok().and_then(line::offset_of)).flatten();
        match last {
            Some(last) if last < offset => Ok(()),
            Some(last) => {
                Err(damaged(format!("the line before has offset {last}, expected less than {offset}")))
            }
            None if position <= self.judged_end && bytes.ends_with(b"\n") => Ok(()),
            None => Err(damaged("the line before is not whole".to_owned())),
        }
    }
}

/// Writes a file's bytes onto themselves, so that the next sync takes them to disk or fails.
pub(super) fn write_again(file: &dyn File, mut start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK_BYTES.min((end - start) as usize)];
    while start < end {
        let wanted = bytes.len().min((end - start) as usize);
        let read = read_full_at(file, &mut bytes[..wanted], start)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_all_at(file, &bytes[..read], start)?;
        start += read as u64;
    }
    Ok(())
}
