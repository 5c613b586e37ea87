//! Giving space back: a purge for what lies below, a removal for each single line, at the rewrite's end.

use std::any::Any;
use std::io;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::timeout;
use wafka_core::Offset;
use wafka_core::storage::{Cursor, KeptLine, LogSlot, Rewrite, RewritePlan, Rewritten, StorageError};

use crate::api::Failure;
use crate::home::{Home, failed};
use crate::io_error;
use crate::log::{Log, Poison};
use crate::mark::last_cut;
use crate::reader::Collected;
use crate::tenure::not_owner;

/// So many bytes are gone through at once.
const CHUNK_BYTES: usize = 1 << 20;
/// So many lines are removed at once …
const REMOVALS: usize = 64;
/// … and with one rewrite: its broker waits. The others are left for the next one.
const REMOVALS_MAX: usize = 2000;

/// A rewrite under way. Nothing is changed before its end.
pub(crate) struct JetStreamRewrite {
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
    first_kept: Option<Offset>,
}

impl JetStreamRewrite {
    pub(crate) fn begin(
        home: &Arc<Home>,
        slot: LogSlot,
        log: Arc<Log>,
        mut plan: RewritePlan,
    ) -> Result<Self, StorageError> {
        let (plan_end, source, first) = {
            let mut state = log.state.lock();
            if let Some(poison) = &state.poisoned {
                return Err(poison.refusal(&log.name));
            }
            if std::mem::replace(&mut state.rewriting, true) {
                return Err(busy(&log, "a rewrite is under way already"));
            }
            (state.end, state.generation, state.first)
        };
        // The last line stays, so that no offset is given out twice.
        let last = plan_end.saturating_sub(1);
        plan.drop_below = plan.drop_below.min(last).max(first);
        plan.drop.retain(|offset| (plan.drop_below..last).contains(offset));
        plan.drop.truncate(REMOVALS_MAX);
        let next = plan.drop_below;
        let (home, target) = (Arc::clone(home), home.next_generation());
        let (kept_bytes, first_kept) = (0, None);
        Ok(JetStreamRewrite { home, slot, log, plan, plan_end, source, target, next, kept_bytes, first_kept })
    }

    /// Tells of every line that is kept, from `next` to `end`.
    fn tell(&mut self, end: Offset, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        while self.next < end {
            bytes.clear();
            offsets.clear();
            let mut line = |offset| offsets.push(offset);
            let collected = Collected::new(&mut bytes, CHUNK_BYTES, self.next, &mut line);
            let (_, next) = self.log.collect(&self.home, collected)?;
            for (offset, line) in offsets.iter().zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
                if *offset >= end {
                    break;
                }
                if *offset < self.plan_end && self.plan.drop.binary_search(offset).is_ok() {
                    continue;
                }
                let cursor = Cursor { offset: *offset, position: 0, generation: self.target };
                kept(KeptLine { cursor, bytes: line });
                self.kept_bytes += line.len() as u64;
                self.first_kept.get_or_insert(*offset);
            }
            // A log that was cut meanwhile has no more: `finish` notices.
            if next <= self.next {
                break;
            }
            self.next = next.min(end);
        }
        Ok(())
    }

    /// Puts the result in place.
    pub(crate) fn finish(
        mut self,
        log: &Arc<Log>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        if !Arc::ptr_eq(log, &self.log) {
            return Err(busy(log, "this rewrite was not begun here"));
        }
        let (end, generation, life, size, poisoned) = {
            let state = log.state.lock();
            (state.end, state.generation, state.life, state.bytes, state.poisoned.clone())
        };
        if let Some(poison) = poisoned {
            return Err(poison.refusal(&log.name));
        }
        if generation != self.source {
            return Err(busy(log, "the log was reopened since the rewrite began"));
        }
        // What is to go must be there, or it would come yet.
        let home = Arc::clone(&self.home);
        let acked = log.wait_acked(life, end, home.longest_wait());
        acked.map_err(|poison| poison.failure(&log.name, "rewrite"))?;
        self.tell(end, kept)?;
        let first = self.first_kept.unwrap_or(end);
        self.check_owner(log)?;
        let patience = home.options().request_timeout();
        let removed = home.block_on(async { timeout(patience, self.remove(first)).await });
        let late =
            |_| Failure::Silence { waited: patience, last: "not all lines were removed in time".into() };
        if let Err(failure) = removed.map_err(late).flatten() {
            // Some lines may be gone: where it stands the reopening finds out.
            log.poison(Poison::Failed(failure.to_string().into()));
            return Err(failed(&log.name.to_string(), "rewrite", failure));
        }
        let bytes_freed = size.saturating_sub(self.kept_bytes);
        let mut state = log.state.lock();
        (state.first, state.bytes, state.generation) = (first, self.kept_bytes, self.target);
        Ok(Rewritten { first: state.cursor(first), end: state.cursor(end), bytes_freed })
    }

    /// Looks whether another server has taken the log over. If it does so right behind this, nothing is lost: what is removed
    /// is what nobody reads, and none of the lines that others write.
    fn check_owner(&self, log: &Log) -> Result<(), StorageError> {
        let (home, name) = (&self.home, log.name.to_string());
        let cut = home.block_on(last_cut(home.api(), &log.stream, &log.cut_subject));
        let cut = cut.map_err(|failure| failed(&name, "rewrite", failure))?;
        let Some(by) = cut.and_then(|cut| cut.by_later(&log.tenure)) else { return Ok(()) };
        home.end(&log.tenure, &by);
        Err(not_owner(&name, &by))
    }

    async fn remove(&self, first: Offset) -> Result<(), Failure> {
        let (api, log) = (self.home.api(), &self.log);
        let (segments, last_cut) = {
            let mut state = log.state.lock();
            if self.plan.drop.iter().any(|offset| *offset > first) {
                // A replica that does not know of it yet would bring them back.
                state.any_from = state.any_from.max(self.plan_end);
            }
            (Arc::clone(&state.segments), state.last_cut)
        };
        let single = self.plan.drop.iter().filter(|offset| **offset > first);
        let mut removals = futures_util::stream::iter(single)
            .map(|offset| api.remove(&log.stream, segments.sequence_of(*offset)))
            .buffer_unordered(REMOVALS);
        while let Some(removed) = removals.next().await {
            removed?;
        }
        if first > 0 {
            let below = segments.sequence_of(first);
            if (1..below).contains(&last_cut) {
                // The last cut has to stay, and to leave it out makes a purge slow.
                self.home.move_cut(log).await?;
            }
            api.purge(&log.stream, below).await?;
        }
        Ok(())
    }
}

fn busy(log: &Log, reason: &str) -> StorageError {
    io_error(&log.name.to_string(), "rewrite", io::Error::new(io::ErrorKind::ResourceBusy, reason))
}

impl Rewrite for JetStreamRewrite {
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

impl Drop for JetStreamRewrite {
    fn drop(&mut self) {
        self.log.state.lock().rewriting = false;
    }
}
