//! The logs that one broker writes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use wafka_plugin_sdk::storage::{
    Batch, CaughtUp, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, StorageError, SyncFailure,
};
use wafka_plugin_sdk::storage::{BrokerId, Offset};

use crate::database::Database;
use crate::deleted;
use crate::error::refused;
use crate::home::{Claim, Home};
use crate::log::{Hidden, Log};
use crate::reader::Reader;
use crate::rewrite::{SqliteRewrite, sweep};
use crate::schema;
use crate::sync::{Part, Pending};

/// The longest row that SQLite stores, less what stands around a line, in bytes (`SQLITE_MAX_LENGTH`).
const LINE_BYTES_MAX: usize = 1_000_000_000 - 100;
/// After a failure to delete dropped lines, so long no more are deleted.
const SWEEP_AGAIN: Duration = Duration::from_secs(10);

/// The logs that one broker has open.
pub(crate) struct SqliteShard {
    home: Arc<Home>,
    broker: BrokerId,
    logs: HashMap<LogSlot, OpenLog>,
    /// Never used again, so that what is under way for a closed log cannot hit another one.
    next_slot: u32,
    /// The logs appended to since the last sync began, and those that failed.
    dirty: Vec<LogSlot>,
    /// Syncs that began and, as far as is known, did not end.
    outstanding: Vec<Arc<Part>>,
    /// Nothing is acknowledged before it is synced: one transaction may hold what is appended up to then.
    synced_first: bool,
    /// The files that its logs are in; nearly always one.
    databases: Vec<Arc<Database>>,
    /// Logs with lines to delete that were dropped.
    sweeping: VecDeque<LogSlot>,
    sweep_after: Option<Instant>,
}

struct OpenLog {
    log: Arc<Log>,
    end: Offset,
    dirty: bool,
    /// How often it was reopened.
    reopened: u64,
    _claim: Claim,
}

impl SqliteShard {
    pub fn new(home: Arc<Home>, broker: BrokerId) -> Self {
        let databases = home.database_if_any(broker).into_iter().collect();
        SqliteShard {
            home,
            broker,
            logs: HashMap::new(),
            next_slot: 0,
            dirty: Vec::new(),
            outstanding: Vec::new(),
            synced_first: false,
            databases,
            sweeping: VecDeque::new(),
            sweep_after: None,
        }
    }

    fn log(&mut self, slot: LogSlot, operation: &'static str) -> Result<&mut OpenLog, StorageError> {
        let broker = self.broker;
        self.logs.get_mut(&slot).ok_or_else(|| {
            let subject = format!("log {} of broker {broker}", slot.0);
            refused(subject, operation, io::ErrorKind::NotFound, "no log is open in this slot")
        })
    }

    fn mark_dirty(&mut self, slot: LogSlot) {
        if let Some(log) = self.logs.get_mut(&slot)
            && !std::mem::replace(&mut log.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// The logs to sync by the file they are in; it is nearly always the same one.
    fn take_dirty(&mut self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for slot in std::mem::take(&mut self.dirty) {
            let Some(open) = self.logs.get_mut(&slot) else { continue };
            open.dirty = false;
            let (log, database) = (Arc::clone(&open.log), &open.log.database);
            match parts.iter_mut().find(|part| Arc::ptr_eq(&part.database, database)) {
                Some(part) => part.logs.push((slot, log)),
                None => {
                    let (database, ticket) = (Arc::clone(database), database.commit());
                    parts.push(Part { database, ticket, logs: vec![(slot, log)] });
                }
            }
        }
        parts
    }
}

impl Shard for SqliteShard {
    fn open(&mut self, name: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let mut claimed = self.home.claim(name)?;
        if claimed.is_none() && request.create {
            self.home.create(std::slice::from_ref(name), self.broker)?;
            claimed = self.home.claim(name)?;
        }
        let Some((claim, log)) = claimed else { return Err(StorageError::NotFound(name.clone())) };
        let (mut found, mut ticket) = log.database.look(name, |conn| Found::look(conn, &log))?;
        if found.far {
            log::warn!(
                "{name}: the table in {} has rows of another program from offset {} on: deleted, as nothing could be appended behind them",
                log.database.path.display(),
                schema::FARTHEST
            );
            log.database.change_durably(name, "open", |conn| schema::delete_far(conn, &log.table))?;
            (found, ticket) = log.database.look(name, |conn| Found::look(conn, &log))?;
        }
        // Before anything of it is shown: what is committed and not synced must not vanish later.
        log.database.wait(ticket).map_err(|reason| refused(name, "open", io::ErrorKind::Other, &reason))?;
        let slot = LogSlot(self.next_slot);
        self.next_slot += 1;
        log.set_bytes(found.bytes);
        log.noted_bytes.store(found.noted, Ordering::Relaxed);
        log.view.write().hidden = Arc::new(found.hidden);
        if !self.databases.iter().any(|database| Arc::ptr_eq(database, &log.database)) {
            self.databases.push(Arc::clone(&log.database));
        }
        if found.unswept {
            self.sweeping.push_back(slot);
        }
        let opened = Opened {
            slot,
            reader: Arc::new(Reader(Arc::clone(&log))),
            first: log.cursor(found.first),
            end: log.cursor(found.end),
            torn: None,
            damage: Vec::new(),
            lines: None,
        };
        self.logs.insert(slot, OpenLog { log, end: found.end, dirty: false, reopened: 0, _claim: claim });
        Ok(opened)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let keep_open = self.synced_first;
        let open = self.log(slot, "append")?;
        open.log.check_writable()?;
        if batch.first_offset != open.end {
            let (log, batch, end) = (open.log.name.clone(), batch.first_offset, open.end);
            return Err(StorageError::Fenced { log, batch, end });
        }
        check_batch(&open.log.name, batch)?;
        let start = open.log.cursor(open.end);
        let appended = open.log.database.append(&open.log, batch, keep_open);
        if appended.is_ok() {
            open.end += batch.lines;
        }
        // A log that failed is named by every sync until it is reopened.
        self.mark_dirty(slot);
        appended.map(|()| start)
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.synced_first = synced_first;
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        let mut due = None;
        let early = self.sweep_after.is_some_and(|after| Instant::now() < after);
        // What is left to delete is known to the next start.
        if !all
            && !early
            && let Some(slot) = self.sweeping.pop_front()
            && let Some(open) = self.logs.get(&slot)
        {
            match sweep(&open.log) {
                Ok(true) => {}
                Ok(false) => self.sweeping.push_back(slot),
                Err(error) => {
                    log::warn!("dropped lines not deleted, later again: {error}");
                    self.sweeping.push_back(slot);
                    self.sweep_after = Some(Instant::now() + SWEEP_AGAIN);
                }
            }
        }
        if !all && !early {
            for database in &self.databases {
                if let Err(error) = deleted::sweep(database) {
                    log::warn!("deleted logs still take space, later again: {error}");
                    self.sweep_after = Some(Instant::now() + SWEEP_AGAIN);
                }
            }
        }
        let deleted = self.databases.iter().any(|database| database.has_deleted.load(Ordering::Acquire));
        if deleted || !self.sweeping.is_empty() {
            due = Some(self.sweep_after.unwrap_or_else(Instant::now));
        }
        for database in &self.databases {
            database.tidy();
        }
        CaughtUp { due, failures: Vec::new() }
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        let fresh: Vec<Arc<Part>> = self.take_dirty().into_iter().map(Arc::new).collect();
        // A sync covers what those before it cover, too.
        self.outstanding.retain(|part| !part.is_settled());
        self.outstanding.extend(fresh);
        Box::new(Pending { parts: self.outstanding.clone() })
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        for failure in failures {
            if let Some(open) = self.logs.get(&failure.slot) {
                open.log.poison(&failure.error.to_string());
            }
            self.mark_dirty(failure.slot);
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let home = Arc::clone(&self.home);
        let open = self.log(slot, "reopen")?;
        let log = Arc::clone(&open.log);
        let name = log.name.clone();
        let (cut, ticket) = log.database.change(&name, "reopen", |conn| Cut::at(conn, &log, end.offset))?;
        let (bytes, hidden) = match cut {
            Cut::Done { bytes, hidden } => (bytes, hidden),
            Cut::Short { end: found } => {
                let reason = format!(
                    "the table in {} ends at offset {found}, before {}: lines are lost",
                    log.database.path.display(),
                    end.offset
                );
                return Err(StorageError::Damaged { log: name, position: 0, reason });
            }
        };
        log.database
            .wait(ticket)
            .map_err(|reason| refused(&name, "reopen", io::ErrorKind::Other, &reason))?;
        log.set_bytes(bytes);
        log.noted_bytes.store(bytes, Ordering::Relaxed);
        {
            let mut view = log.view.write();
            view.hidden = Arc::new(hidden);
            if end.offset < open.end {
                view.generation = home.next_generation();
            }
        }
        open.end = end.offset;
        open.dirty = false;
        open.reopened += 1;
        log.heal();
        self.dirty.retain(|dirty| *dirty != slot);
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let generation = self.home.next_generation();
        let open = self.log(slot, "rewrite")?;
        open.log.check_writable()?;
        let rewrite =
            SqliteRewrite::begin(slot, Arc::clone(&open.log), plan, open.end, open.reopened, generation)?;
        Ok(Box::new(rewrite))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let slot = rewrite.slot();
        let open = self.log(slot, "rewrite")?;
        let Ok(rewrite) = rewrite.into_any().downcast::<SqliteRewrite>() else {
            let kind = io::ErrorKind::InvalidInput;
            return Err(refused(&open.log.name, "rewrite", kind, "this rewrite was not begun here"));
        };
        open.log.check_writable()?;
        if !Arc::ptr_eq(&rewrite.log, &open.log) || rewrite.reopened != open.reopened {
            let reason = "the log was reopened since the rewrite began";
            return Err(refused(&open.log.name, "rewrite", io::ErrorKind::Other, reason));
        }
        let rewritten = rewrite.finish(open.end, kept)?;
        if !self.sweeping.contains(&slot) {
            self.sweeping.push_back(slot);
        }
        Ok(rewritten)
    }

    fn close(&mut self, slot: LogSlot) {
        let Some(open) = self.logs.remove(&slot) else { return };
        self.dirty.retain(|dirty| *dirty != slot);
        self.sweeping.retain(|sweeping| *sweeping != slot);
        let log = &open.log;
        // What was appended stays appended; a failure poisons those that lose lines, and this one is closed.
        if log.uncommitted.load(Ordering::Acquire) && log.database.commit().is_err() {
            return;
        }
        let bytes = log.bytes.load(Ordering::Acquire);
        let grown = bytes.abs_diff(log.noted_bytes.load(Ordering::Relaxed));
        if grown > 1 << 16 && log.check_writable().is_ok() {
            let noted = log
                .database
                .change(&log.name, "close", |conn| schema::note_bytes(conn, log.id, open.end, bytes));
            if let Err(error) = noted {
                log::debug!("size not noted, the next opening counts it: {error}");
            }
        }
    }
}

impl Drop for SqliteShard {
    fn drop(&mut self) {
        let slots: Vec<LogSlot> = self.logs.keys().copied().collect();
        for slot in slots {
            self.close(slot);
        }
    }
}

/// What a log is found to be when it is opened.
struct Found {
    first: Offset,
    end: Offset,
    bytes: u64,
    noted: u64,
    hidden: Hidden,
    unswept: bool,
    /// Whether there are rows behind everything that Wafka writes.
    far: bool,
}

impl Found {
    fn look(conn: &rusqlite::Connection, log: &Log) -> rusqlite::Result<Self> {
        let hidden = schema::hidden(conn, log.id)?;
        let end = schema::end(conn, log.id, &log.table)?;
        let physical = schema::first_from(conn, &log.table, 0)?;
        let mut first = schema::first_from(conn, &log.table, hidden.floor)?;
        while let Some(offset) = first.filter(|offset| hidden.contains(*offset)) {
            first = schema::first_from(conn, &log.table, offset + 1)?;
        }
        let (bytes, noted) = schema::bytes(conn, log.id, &log.table, &hidden.singles)?;
        let unswept = physical.is_some_and(|offset| offset < hidden.floor) || !hidden.singles.is_empty();
        let far = schema::first_from(conn, &log.table, schema::FARTHEST)?.is_some();
        Ok(Found { first: first.unwrap_or(end), end, bytes, noted, hidden, unswept, far })
    }
}

/// What became of cutting a log.
enum Cut {
    Done {
        bytes: u64,
        hidden: Hidden,
    },
    /// It ends before.
    Short {
        end: Offset,
    },
}

impl Cut {
    fn at(conn: &rusqlite::Connection, log: &Log, end: Offset) -> rusqlite::Result<Self> {
        let found = schema::end(conn, log.id, &log.table)?;
        if found < end {
            return Ok(Cut::Short { end: found });
        }
        let bytes = schema::cut(conn, log.id, &log.table, end)?;
        Ok(Cut::Done { bytes, hidden: schema::hidden(conn, log.id)? })
    }
}

fn check_batch(log: &LogName, batch: Batch<'_>) -> Result<(), StorageError> {
    let end = batch.first_offset.checked_add(batch.lines).and_then(|end| i64::try_from(end).ok());
    let lines = memchr_iter(b'\n', batch.bytes).count() as u64;
    let reason = if batch.lines == 0 || lines != batch.lines || batch.bytes.last() != Some(&b'\n') {
        "a batch is as many lines as it says, each ending in a newline"
    } else if end.is_none() {
        "an offset must be below 9,223,372,036,854,775,807"
    } else if batch.bytes.len() > LINE_BYTES_MAX
        && batch.bytes.split(|b| *b == b'\n').any(|line| line.len() > LINE_BYTES_MAX)
    {
        "SQLite stores lines of at most 999,999,900 bytes"
    } else {
        return Ok(());
    };
    Err(refused(log, "append", io::ErrorKind::InvalidInput, reason))
}
