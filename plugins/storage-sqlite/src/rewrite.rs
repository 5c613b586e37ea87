//! Dropping lines of a log while it is appended to and read.
//!
//! ```text
//! run       goes through the log and tells of every line that is kept          any thread
//! finish    notes in one transaction what is dropped: from here on nobody       the shard's thread
//!           sees it, and a generation begins
//! sweep     deletes the dropped rows, some at a time                            the shard's thread, between two turns
//! ```
//!
//! The pages that become free are used for what is appended next; the file does not become shorter.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wafka_plugin_sdk::storage::Offset;
use wafka_plugin_sdk::storage::{Cursor, KeptLine, LogSlot, Rewrite, RewritePlan, Rewritten, StorageError};

use crate::error::{failed, refused};
use crate::log::{Hidden, Log, View};
use crate::schema::{self, DELETED_ROWS};

/// So much is gone through in one read, in bytes: a longer one would keep the WAL from beginning anew.
const CHUNK_BYTES: usize = 1 << 20;
/// How often what was appended meanwhile is gone through before the shard's thread has to.
const CATCH_UP_ROUNDS: usize = 16;
/// The shard's thread deletes for so long, then does other work first.
pub(crate) const SWEEP_FOR: Duration = Duration::from_millis(3);

/// A rewrite under way.
pub(crate) struct SqliteRewrite {
    slot: LogSlot,
    pub log: Arc<Log>,
    plan: RewritePlan,
    /// Below this offset the plan counts.
    plan_end: Offset,
    /// How often the log had been reopened.
    pub reopened: u64,
    generation: u32,
    /// The last line below the plan's end, which stays; set when the first lines are looked at.
    last: Option<Offset>,
    begun: bool,
    /// The next line to go through.
    next: Offset,
    first_kept: Option<Offset>,
    /// Lines to drop at or above the plan's limit.
    singles: Vec<Offset>,
    bytes_dropped: u64,
}

impl SqliteRewrite {
    pub fn begin(
        slot: LogSlot,
        log: Arc<Log>,
        plan: RewritePlan,
        plan_end: Offset,
        reopened: u64,
        generation: u32,
    ) -> Result<Self, StorageError> {
        if log.rewriting.swap(true, Ordering::AcqRel) {
            let kind = io::ErrorKind::ResourceBusy;
            return Err(refused(&log.name, "rewrite", kind, "a rewrite is under way already"));
        }
        Ok(SqliteRewrite {
            slot,
            log,
            plan,
            plan_end,
            reopened,
            generation,
            last: None,
            begun: false,
            next: 0,
            first_kept: None,
            singles: Vec::new(),
            bytes_dropped: 0,
        })
    }

    /// Every line below this is dropped.
    fn floor(&self) -> Offset {
        self.plan.drop_below.min(self.last.unwrap_or(0))
    }

    /// Finds the last line that the plan speaks of, and counts what goes below its limit without looking at it.
    fn begin_copy(&mut self, view: &View) -> Result<(), StorageError> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let (log, plan_end) = (&self.log, self.plan_end);
        let error = |error| failed(&log.name, "rewrite", &log.database.path, &error);
        self.last =
            log.database.read(|conn| schema::last_below(conn, &log.table, plan_end)).map_err(error)?;
        let (from, to) = (view.hidden.floor, self.floor());
        if to > from {
            let counted = log.database.read(|conn| {
                // Or a line were deleted in between that is not counted any more, and taken off.
                let _snapshot = conn.unchecked_transaction()?;
                schema::bytes_between(conn, &log.table, from, to, &view.hidden.singles)
            });
            self.bytes_dropped = counted.map_err(error)?;
        }
        self.next = from.max(to);
        Ok(())
    }

    /// Goes through what is committed by now; returns how many lines that were.
    fn copy(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<u64, StorageError> {
        let log = Arc::clone(&self.log);
        if log.uncommitted.load(Ordering::Acquire) {
            // What cannot be committed is gone, and its log says so.
            let _committed = log.database.commit();
        }
        let view = log.view();
        self.begin_copy(&view)?;
        let mut line_with_newline = Vec::new();
        let mut count = 0;
        loop {
            let (from, mut bytes) = (self.next, 0);
            log.each_row(&view, from, &mut |offset, line| {
                self.next = offset + 1;
                count += 1;
                bytes += line.len() + 1;
                if self.drops(offset) {
                    self.singles.push(offset);
                    self.bytes_dropped += line.len() as u64 + 1;
                } else {
                    self.first_kept.get_or_insert(offset);
                    line_with_newline.clear();
                    line_with_newline.extend_from_slice(line);
                    line_with_newline.push(b'\n');
                    let cursor = Cursor { offset, position: 0, generation: self.generation };
                    kept(KeptLine { cursor, bytes: &line_with_newline });
                }
                bytes < CHUNK_BYTES
            })?;
            if self.next == from {
                return Ok(count);
            }
        }
    }

    fn drops(&self, offset: Offset) -> bool {
        offset < self.plan_end && Some(offset) != self.last && self.plan.drop.binary_search(&offset).is_ok()
    }

    /// Goes through the rest, and hides what is dropped, durably.
    pub fn finish(
        mut self,
        end: Offset,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        self.copy(kept)?;
        let log = &self.log;
        let before = log.view();
        let floor = self.floor().max(before.hidden.floor);
        let bytes = log.bytes.load(Ordering::Acquire).saturating_sub(self.bytes_dropped);
        let ((), ticket) = log.database.change(&log.name, "rewrite", |conn| {
            schema::note_dropped(conn, log.id, floor, &self.singles)?;
            schema::note_bytes(conn, log.id, end, bytes)
        })?;
        let mut singles: Vec<Offset> =
            before.hidden.singles.iter().chain(&self.singles).copied().filter(|at| *at >= floor).collect();
        singles.sort_unstable();
        *log.view.write() = View { generation: self.generation, hidden: Arc::new(Hidden { floor, singles }) };
        log.set_bytes(bytes);
        log.noted_bytes.store(bytes, Ordering::Relaxed);
        if let Err(reason) = log.database.wait(ticket) {
            log.poison(&reason);
            return Err(refused(&log.name, "rewrite", io::ErrorKind::Other, &reason));
        }
        Ok(Rewritten {
            first: log.cursor(self.first_kept.unwrap_or(end)),
            end: log.cursor(end),
            bytes_freed: self.bytes_dropped,
        })
    }
}

impl Rewrite for SqliteRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        for _ in 0..CATCH_UP_ROUNDS {
            if self.copy(kept)? < DELETED_ROWS as u64 {
                break;
            }
        }
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for SqliteRewrite {
    fn drop(&mut self) {
        self.log.rewriting.store(false, Ordering::Release);
    }
}

/// Deletes dropped rows for a short time; whether none is left.
pub(crate) fn sweep(log: &Log) -> Result<bool, StorageError> {
    let until = Instant::now() + SWEEP_FOR;
    loop {
        let hidden = log.view().hidden;
        let (swept, _) = log.database.change(&log.name, "delete", |conn| {
            let below = schema::delete_some(conn, &log.table, hidden.floor, true)?;
            if below { Ok(Swept::Below) } else { schema::delete_part(conn, log).map(Swept::Singles) }
        })?;
        match swept {
            Swept::Below => {}
            Swept::Singles(None) => return Ok(true),
            Swept::Singles(Some(gone)) => {
                let is_left = |offset: &Offset| gone.binary_search(offset).is_err();
                let singles = hidden.singles.iter().copied().filter(is_left).collect();
                log.view.write().hidden = Arc::new(Hidden { floor: hidden.floor, singles });
            }
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

/// What a step deleted: rows below the floor, or, where there are none, single ones.
enum Swept {
    Below,
    Singles(Option<Vec<Offset>>),
}
