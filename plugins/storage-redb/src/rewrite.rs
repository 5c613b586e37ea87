//! Giving space back: what a rewrite is to leave out goes in one transaction, at its end.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use redb::{ReadableTable, Table, WriteTransaction};
use wafka_core::Offset;
use wafka_core::storage::{Cursor, KeptLine, LogSlot, Rewrite, RewritePlan, Rewritten, StorageError};

use crate::database::Home;
use crate::log::Log;
use crate::reader::Collected;
use crate::run::{self, Run, corrupted, start_for};
use crate::schema::{self, LOGS, RUNS, TRIMS};

/// So many bytes are gone through at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A rewrite cuts up so many runs at most, some 64 MiB, because all brokers wait for the transaction that does. What it does
/// not come to it keeps, for another rewrite to drop.
pub(crate) const CUT_RUNS_MAX: usize = 4096;

/// A rewrite under way. Nothing is changed before its end.
pub(crate) struct RedbRewrite {
    home: Arc<Home>,
    slot: LogSlot,
    log: Arc<Log>,
    plan: RewritePlan,
    /// The log's end when the plan was made: it speaks of what lies below.
    plan_end: Offset,
    /// The generation that is rewritten, and that of the result.
    source: u32,
    target: u32,
    /// What was told is below this.
    next: Offset,
    kept_bytes: u64,
    /// Runs that hold lines to be dropped, so far, and how many there may be.
    cut_runs: usize,
    cut_runs_max: usize,
    first_kept: Option<Offset>,
}

impl RedbRewrite {
    pub(crate) fn begin(
        home: &Arc<Home>,
        slot: LogSlot,
        log: Arc<Log>,
        mut plan: RewritePlan,
    ) -> Result<Self, StorageError> {
        let (plan_end, source, first) = {
            let mut state = log.state.write();
            if let Some(reason) = &state.poisoned {
                return Err(StorageError::Poisoned { log: log.name.clone(), reason: reason.to_string() });
            }
            if std::mem::replace(&mut state.rewriting, true) {
                let reason = "a rewrite is under way already";
                let source = io::Error::new(io::ErrorKind::ResourceBusy, reason);
                return Err(home.log_error(&log.name, "rewrite", source));
            }
            (state.end, state.generation, state.first)
        };
        // The last line stays, so that no offset is given out twice.
        let last = plan_end.saturating_sub(1);
        plan.drop_below = plan.drop_below.min(last).max(first);
        plan.drop.retain(|offset| (plan.drop_below..last).contains(offset));
        let next = plan.drop_below;
        let (home, target) = (Arc::clone(home), home.next_generation());
        let cut_runs_max = home.cut_runs_max.load(Ordering::Relaxed);
        Ok(RedbRewrite {
            home,
            slot,
            log,
            plan,
            plan_end,
            source,
            target,
            next,
            kept_bytes: 0,
            cut_runs: 0,
            cut_runs_max,
            first_kept: None,
        })
    }

    /// Tells of every line that is kept, from `next` to `end`.
    fn tell(&mut self, end: Offset, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        let mut stretches: Vec<(Offset, u64)> = Vec::new();
        while self.next < end {
            bytes.clear();
            stretches.clear();
            let mut stretch = |first, lines| stretches.push((first, lines));
            let collected = Collected::new(&mut bytes, CHUNK_BYTES, self.next, &mut stretch);
            let (_, next) = self.log.collect(&self.home, collected)?;
            self.bound_drops(&stretches);
            let offsets = stretches.iter().flat_map(|(first, lines)| *first..*first + *lines);
            for (offset, line) in offsets.zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
                if offset >= end {
                    break;
                }
                if offset < self.plan_end && self.plan.drop.binary_search(&offset).is_ok() {
                    continue;
                }
                let cursor = Cursor { offset, position: 0, generation: self.target };
                kept(KeptLine { cursor, bytes: line });
                self.kept_bytes += line.len() as u64;
                self.first_kept.get_or_insert(offset);
            }
            // A log that was cut meanwhile has no more: `finish` notices.
            if next <= self.next {
                break;
            }
            self.next = next.min(end);
        }
        Ok(())
    }

    /// Counts the runs of lines that are to be cut up, and leaves alone what lies behind as many as there may be.
    fn bound_drops(&mut self, runs: &[(Offset, u64)]) {
        for (first, lines) in runs {
            let drop = &self.plan.drop;
            let begin = drop.partition_point(|offset| offset < first);
            if drop.get(begin).is_none_or(|offset| *offset >= first + lines) {
                continue;
            }
            if self.cut_runs == self.cut_runs_max {
                self.plan.drop.truncate(begin);
                return;
            }
            self.cut_runs += 1;
        }
    }

    /// Puts the result in place.
    pub(crate) fn finish(
        mut self,
        log: &Arc<Log>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let home = Arc::clone(&self.home);
        let failed = |error| home.log_error(&log.name, "rewrite", error);
        let busy = |reason| failed(io::Error::new(io::ErrorKind::ResourceBusy, reason));
        if !Arc::ptr_eq(log, &self.log) {
            return Err(busy("this rewrite was not begun here"));
        }
        // Nothing is appended to this log meanwhile. Others may be written as long as `writing` is free.
        let end = log.state.read().end;
        self.tell(end, kept)?;
        let writing = home.writing.lock();
        // What is to go must be in the table, or it would come back.
        home.commit(&writing, true);
        let (end, generation, size, poisoned) = {
            let state = log.state.read();
            (state.end, state.generation, state.size(), state.poisoned.clone())
        };
        if let Some(reason) = poisoned {
            return Err(StorageError::Poisoned { log: log.name.clone(), reason: reason.to_string() });
        }
        if generation != self.source {
            return Err(busy("the log was reopened since the rewrite began"));
        }
        self.tell(end, kept)?;
        let bytes_freed = size.saturating_sub(self.kept_bytes);
        if let Err(error) = self.store(&writing, bytes_freed) {
            // It may have come about all the same: which of both is the case the reopening finds out.
            log.state.write().poisoned.get_or_insert_with(|| error.to_string().into());
            return Err(failed(error));
        }
        let mut state = log.state.write();
        state.first = self.first_kept.unwrap_or(end);
        state.freed += bytes_freed;
        state.generation = self.target;
        let (first, end) = (state.cursor(state.first), state.cursor(state.end));
        drop(state);
        drop(writing);
        home.request_sweep();
        Ok(Rewritten { first, end, bytes_freed })
    }

    fn store(&self, writing: &MutexGuard<'_, ()>, bytes_freed: u64) -> io::Result<()> {
        let log = &self.log;
        self.home.write(writing, |transaction: &WriteTransaction| {
            let mut rows = transaction.open_table(LOGS)?;
            let key = schema::key_of(&log.name);
            let missing = || redb::Error::Corrupted(format!("{} has no row", log.name));
            let mut row = rows.get(key)?.map(|row| schema::Row::from(row.value())).ok_or_else(missing)?;
            row.floor = row.floor.max(self.plan.drop_below);
            row.freed += bytes_freed;
            rows.insert(key, row.stored())?;
            if row.floor > 0 {
                transaction.open_table(TRIMS)?.insert(log.number, row.floor)?;
            }
            drop_lines(&mut transaction.open_table(RUNS)?, log.number, &self.plan.drop)
        })
    }
}

/// Removes single lines, ascending: each run that holds some becomes as many as it has stretches left.
fn drop_lines(
    runs: &mut Table<'_, (u64, u64), &'static [u8]>,
    number: u64,
    mut drop: &[Offset],
) -> Result<(), redb::Error> {
    while let Some(offset) = drop.first() {
        let start = start_for(runs, number, *offset)?;
        let Some(value) = runs.get((number, start))?.map(|value| value.value().to_vec()) else {
            // It is gone already.
            drop = &drop[1..];
            continue;
        };
        let run = Run::decode(number, start, &value)?;
        let here = drop.partition_point(|offset| *offset < run.end());
        runs.remove((number, start))?;
        let mut from = start;
        for gone in drop[..here].iter().copied().chain([run.end()]) {
            if gone > from {
                let short = || corrupted(number, start, "fewer lines than it says");
                let at = run.start_of(from).ok_or_else(short)?;
                let end = if gone == run.end() { Some(run.bytes.len()) } else { run.start_of(gone) };
                let bytes = run.bytes.get(at..end.ok_or_else(short)?).ok_or_else(short)?;
                let (lines, position) = (gone - from, run.position + at as u64);
                run::insert(runs, number, Run { first: from, lines, position, bytes }, &[bytes])?;
            }
            from = gone + 1;
        }
        // A run that begins behind the offset was found for it: the line was gone.
        drop = &drop[here.max(1)..];
    }
    Ok(())
}

impl Rewrite for RedbRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        self.tell(self.plan_end, kept)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for RedbRewrite {
    fn drop(&mut self) {
        self.log.state.write().rewriting = false;
    }
}
