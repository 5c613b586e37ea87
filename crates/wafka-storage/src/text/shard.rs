//! The logs of one broker.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use wafka_core::BrokerId;
use wafka_core::storage::{
    Batch, CaughtUp, Cursor, Damage, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, StorageError, SyncFailure, TornTail,
};

use super::commit::{CommitJournal, Dirty, Turn};
use super::direct::DirectWrites;
use super::generation::Generation;
use super::log::{OpenLog, SharedLog, write_again};
use super::put_off::PutOff;
use super::reader::TextReader;
use super::recover::{Recovered, recover};
use super::rewrite::TextRewrite;
use super::{CHUNK_BYTES, Home, LOG_ENDING, log_error};
use crate::fs::{File, OpenMode, read_full_at, write_all_at};

/// The logs that one broker has open.
pub(super) struct TextShard {
    home: Arc<Home>,
    broker: BrokerId,
    logs: HashMap<LogSlot, OpenLog>,
    /// Never used again, so that what is under way for a closed log cannot hit another one.
    next_slot: u32,
    /// The logs appended to since the last sync began.
    dirty: Vec<LogSlot>,
    /// What was appended to them.
    turn: Turn,
    /// Turns whose sync began and, as far as is known, did not end.
    outstanding: VecDeque<(u64, Arc<[Dirty]>)>,
    journal: Arc<CommitJournal>,
    put_off: PutOff,
    direct: DirectWrites,
}

impl TextShard {
    pub fn new(home: Arc<Home>, broker: BrokerId) -> Self {
        let journal = Arc::new(CommitJournal::new(Arc::clone(&home), broker));
        let turn = journal.new_turn();
        TextShard {
            home,
            broker,
            logs: HashMap::new(),
            next_slot: 0,
            dirty: Vec::new(),
            turn,
            outstanding: VecDeque::new(),
            journal,
            put_off: PutOff::default(),
            direct: DirectWrites::default(),
        }
    }

    /// The log is part of the next sync, although nothing was appended to it.
    fn mark_dirty(&mut self, slot: LogSlot) {
        if let Some(log) = self.logs.get_mut(&slot)
            && !std::mem::replace(&mut log.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Forgets the turns that are durable; what failed in them fails again with the next sync.
    fn drop_settled(&mut self) {
        while let Some((_, logs)) =
            self.outstanding.pop_front_if(|(number, _)| self.journal.is_settled(*number))
        {
            for Dirty { slot, generation, .. } in &*logs {
                let current = self.logs.get(slot).is_some_and(|log| Arc::ptr_eq(&log.generation, generation));
                if current && generation.has_failed() {
                    self.mark_dirty(*slot);
                }
            }
        }
    }

    /// A log's positions do not mean what they did.
    fn forget(&mut self, slot: LogSlot) {
        self.dirty.retain(|dirty| *dirty != slot);
        self.turn.retain(|taken| taken != slot);
        self.direct.release();
    }

    fn log(&mut self, slot: LogSlot, operation: &'static str) -> Result<&mut OpenLog, StorageError> {
        self.logs.get_mut(&slot).ok_or_else(|| unknown_slot(self.broker, slot, operation))
    }

    /// Opens or makes a log's file; its name is durable afterwards.
    fn open_file(&self, log: &LogName, create: bool) -> Result<Arc<dyn File>, StorageError> {
        let home = &self.home;
        let path = home.path_of(log);
        let dir = home.dir_of(log.database());
        let made = || {
            let missing = match home.fs.open(&path, OpenMode::Write) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => error,
                // An empty file may be one whose making was interrupted before its directory was synced: by this
                // process, for what an earlier one left was synced when the directory was opened.
                Ok(file) if create && file.is_empty()? => {
                    home.fs.sync_dir(&dir)?;
                    return Ok(file);
                }
                found => return found,
            };
            if !create {
                return Err(missing);
            }
            if log.database().0 > 0 {
                home.fs.create_dir_all(&dir)?;
                home.fs.sync_dir(&home.dir)?;
            }
            let file = home.fs.open(&path, OpenMode::CreateNew)?;
            home.fs.sync_dir(&dir)?;
            Ok(file)
        };
        made().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if !create => StorageError::NotFound(log.clone()),
            _ => log_error(log, "open", error),
        })
    }
}

fn unknown_slot(broker: BrokerId, slot: LogSlot, operation: &'static str) -> StorageError {
    StorageError::Io {
        log: format!("log {} of broker {broker}", slot.0),
        operation,
        source: io::Error::new(io::ErrorKind::NotFound, "no log is open in this slot"),
    }
}

impl Shard for TextShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let home = Arc::clone(&self.home);
        let log = &log.clone().with_ending(LOG_ENDING);
        home.check_name(log, "open")?;
        let claim = home.claim(log, "open")?;
        let file = self.open_file(log, request.create)?;
        let line_bytes_max = home.options.line_bytes_max;
        let examined = file.len().and_then(|len| recover(&*file, len, request.known, line_bytes_max));
        let mut found = examined.map_err(|source| log_error(log, "open", source))?;
        report(log, &found);
        let unsure = home.unsure.lock().contains(log);
        if let Some(torn) = found.torn.filter(|_| found.torn_lines) {
            keep_torn(&home, log, &*file, torn).map_err(|source| log_error(log, "open", source))?;
        }
        settle(&*file, &mut found, unsure).map_err(|source| log_error(log, "open", source))?;
        home.unsure.lock().remove(log);

        let number = home.next_generation();
        let generation = Arc::new(Generation::new(number, file, found.end_position));
        let shared = SharedLog::new(log.clone(), home.path_of(log), generation, line_bytes_max);
        let opened = OpenLog::new(Arc::new(shared), found.end_offset, claim);
        let slot = LogSlot(self.next_slot);
        self.next_slot += 1;
        let result = Opened {
            slot,
            reader: Arc::new(TextReader { log: Arc::clone(&opened.shared) }),
            first: Cursor { offset: found.first_offset, position: 0, generation: number },
            end: opened.end(),
            torn: found.torn,
            damage: found.damage,
            lines: None,
        };
        self.logs.insert(slot, opened);
        Ok(result)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let was_dirty = self.log(slot, "append")?.dirty;
        let dirty = self.dirty.len() + usize::from(!was_dirty);
        let bytes = batch.bytes.len() as u64;
        let copy = self.journal.wants(dirty, self.turn.record_bytes() + bytes, self.turn.has_direct());
        let put_off = copy
            && self.put_off.is_allowed
            && dirty > self.home.options.written_at_once
            && self.turn.fits()
            && self.journal.is_ready();
        // What the commit journal makes durable may stay in the page cache until the next checkpoint.
        let is_direct = self.put_off.is_allowed
            && batch.bytes.len() >= self.home.options.direct_bytes
            && !(copy && self.turn.fits());
        let direct = is_direct.then_some(&mut self.direct);
        let log = self.logs.get_mut(&slot).ok_or_else(|| unknown_slot(self.broker, slot, "append"))?;
        let start = log.append(batch, put_off, direct)?;
        let shared = Arc::clone(&log.shared);
        if !was_dirty {
            self.dirty.push(slot);
        }
        if put_off {
            self.put_off.note(slot, bytes);
        }
        self.turn.take(slot, &shared, start.position, batch.bytes, copy);
        if is_direct {
            self.turn.note_direct();
        }
        Ok(start)
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.put_off.is_allowed = synced_first;
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        let mut failures = Vec::new();
        if all || self.put_off.is_due() {
            for slot in self.put_off.take() {
                let Some(log) = self.logs.get(&slot) else { continue };
                if let Err(source) = log.generation.write_out_or_fail() {
                    let error = log_error(&log.shared.name, "append", source);
                    failures.push(SyncFailure { slot, error });
                }
            }
        }
        CaughtUp { due: self.put_off.due(), failures }
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.drop_settled();
        let mut dirty = Vec::with_capacity(self.dirty.len());
        for slot in self.dirty.drain(..) {
            if let Some(log) = self.logs.get_mut(&slot) {
                log.dirty = false;
                let (log, generation) = (Arc::clone(&log.shared), Arc::clone(&log.generation));
                dirty.push(Dirty { slot, log, generation });
            }
        }
        let mut turn = std::mem::replace(&mut self.turn, self.journal.new_turn());
        turn.dirty = dirty.into();
        // A sync covers what those before it cover, too.
        let logs: Vec<Arc<[Dirty]>> =
            self.outstanding.iter().map(|(_, logs)| logs).chain([&turn.dirty]).map(Arc::clone).collect();
        let own = Arc::clone(&turn.dirty);
        let (number, sync) = self.journal.begin(turn, logs);
        self.outstanding.push_back((number, own));
        sync
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        for failure in failures {
            if let Some(log) = self.logs.get_mut(&failure.slot) {
                log.poison(&failure.error);
                self.home.unsure.lock().insert(log.shared.name.clone());
            }
            // What was appended is still not durable: every sync says so until the log is reopened.
            self.mark_dirty(failure.slot);
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let (home, journal) = (Arc::clone(&self.home), Arc::clone(&self.journal));
        self.log(slot, "reopen")?.reopen(&home, &journal, end)?;
        self.forget(slot);
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let home = Arc::clone(&self.home);
        let log = self.log(slot, "rewrite")?;
        Ok(Box::new(TextRewrite::begin(&home, slot, log, plan)?))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let (home, journal, slot) = (Arc::clone(&self.home), Arc::clone(&self.journal), rewrite.slot());
        let log = self.log(slot, "rewrite")?;
        let Ok(mut rewrite) = rewrite.into_any().downcast::<TextRewrite>() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "this rewrite was not begun here");
            return Err(log_error(&log.shared.name, "rewrite", source));
        };
        log.check_writable()?;
        if !Arc::ptr_eq(&rewrite.source, &log.generation) {
            let source = io::Error::other("the log was reopened since the rewrite began");
            return Err(log_error(&log.shared.name, "rewrite", source));
        }
        let name = log.shared.name.clone();
        let failed = |source| log_error(&name, "rewrite", source);
        rewrite.complete(kept).map_err(failed)?;
        let old = Arc::clone(&log.generation);
        let swapped = journal.release(&old).and_then(|()| rewrite.swap());
        let generation = swapped.map_err(|source| {
            journal.attach(&old);
            failed(source)
        })?;
        let bytes_freed = old.end().saturating_sub(generation.end());
        log.replace(generation);
        let first = rewrite.first(log.end_offset);
        let end = log.end();
        if let Err(source) = home.fs.sync_dir(&home.dir_of(name.database())) {
            let error = failed(source);
            log.poison(&error);
            self.forget(slot);
            return Err(error);
        }
        journal.supersede(&old);
        self.forget(slot);
        Ok(Rewritten { first, end, bytes_freed })
    }

    fn close(&mut self, slot: LogSlot) {
        let Some(log) = self.logs.remove(&slot) else { return };
        self.forget(slot);
        if let Err(error) = log.generation.write_out_or_fail() {
            tracing::error!(log = %log.shared.name, %error, "closed with lines that only the commit journal holds");
        }
        if log.generation.has_failed() {
            self.home.unsure.lock().insert(log.shared.name.clone());
        }
        if let Err(error) = self.journal.release(&log.generation) {
            tracing::error!(log = %log.shared.name, %error, "closed, and not to be opened or deleted before a restart");
            self.journal.keep(log.claim);
        }
    }
}

impl Drop for TextShard {
    fn drop(&mut self) {
        let slots: Vec<LogSlot> = self.logs.keys().copied().collect();
        for slot in slots {
            self.close(slot);
        }
        // Whoever opens the directory next must find it at rest.
        self.journal.quiesce();
    }
}

fn report(log: &LogName, found: &Recovered) {
    if let Some(torn) = &found.torn {
        tracing::warn!(%log, position = torn.position, bytes = torn.bytes, "cutting a torn tail");
    }
    for Damage { position, bytes, reason } in &found.damage {
        tracing::error!(%log, position, bytes, reason, "damage");
    }
}

/// Copies what is about to be cut into a new file beside the log, `….torn-<position>` or, when that is taken,
/// `….torn-<position>.1` and so on: there are whole lines in it, though none that was synced.
fn keep_torn(home: &Home, log: &LogName, file: &dyn File, torn: TornTail) -> io::Result<()> {
    let mut count: u64 = 0;
    let (path, kept) = loop {
        let suffix = if count == 0 { String::new() } else { format!(".{count}") };
        let mut path = home.path_of(log);
        path.as_mut_os_string().push(format!(".torn-{}{suffix}", torn.position));
        match home.fs.open(&path, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => count += 1,
            kept => break (path, kept?),
        }
    };
    copy_from(file, torn.position, &*kept).inspect_err(|_| {
        // A part of it would only take space; the next opening tries again.
        _ = home.fs.remove(&path);
    })?;
    home.fs.sync_dir(&home.dir_of(log.database()))?;
    tracing::warn!(
        %log,
        kept = %path.display(),
        "pages were lost before lines that reached the disk: what was written since the last sync is kept apart"
    );
    Ok(())
}

/// Copies a file from `position` on into an empty one, durably.
fn copy_from(file: &dyn File, position: u64, into: &dyn File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let count = read_full_at(file, &mut buffer, position + done)?;
        if count == 0 {
            return into.sync_data();
        }
        write_all_at(into, &buffer[..count], done)?;
        done += count as u64;
    }
}

/// Brings a file to the state that was found to be right, and makes it durable: what a killed process wrote and did not
/// sync is going to be served, so it must not vanish later. With `rewrite` not even what seems to be on disk is believed
/// to be there.
fn settle(file: &dyn File, found: &mut Recovered, rewrite: bool) -> io::Result<()> {
    // Making many topics must not cost a sync for each file: nothing was ever written to an empty one.
    if found.end_position == 0 && found.torn.is_none() && !found.unterminated {
        return Ok(());
    }
    if rewrite {
        write_again(file, 0, found.end_position)?;
    }
    if found.torn.is_some() {
        file.set_len(found.end_position)?;
    }
    if found.unterminated {
        write_all_at(file, b"\n", found.end_position)?;
        found.end_position += 1;
        found.unterminated = false;
    }
    file.sync_data()
}
