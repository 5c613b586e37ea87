//! One turn: everything queued is appended, one batch per log; one sync covers all of it; then it is published.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use wafka_core::storage::{Cursor, LogSlot, OpenRequest};

use super::{Broker, TAILS_PRUNE_MIN, Writer, gather};
use crate::options::FsyncPolicy;
use crate::ticket::TicketKind;
use crate::topic::{JournalBatch, Outcome, Pending, Topic};

/// In `always`, index entries are written when so many have come together.
pub(super) const INDEX_FLUSH: usize = 64;

/// A batch on its way.
pub(crate) struct Work {
    topic: Arc<Topic>,
    slot: Option<LogSlot>,
    lines: Lines,
    outcome: Outcome,
}

enum Lines {
    Partition(u16, Pending),
    Journal(JournalBatch),
}

impl Work {
    /// How many events or records it has.
    fn events(&self) -> u64 {
        match &self.lines {
            Lines::Partition(_, pending) => pending.batch().lines,
            Lines::Journal(journal) => journal.batch().lines,
        }
    }

    fn kind(&self) -> TicketKind {
        match &self.lines {
            Lines::Partition(lane, _) => TicketKind::Partition(*lane),
            Lines::Journal(_) => TicketKind::Journal,
        }
    }
}

impl Broker {
    /// Does everything that is queued now.
    pub(super) fn turn(&self, writer: &mut Writer) {
        let mut queue = std::mem::take(&mut writer.queue);
        {
            let mut shared = self.queue.lock();
            std::mem::swap(&mut *shared, &mut queue);
            self.has_work.store(false, Ordering::SeqCst);
        }
        let always = self.shared.fsync() == FsyncPolicy::Always;
        writer.shard.set_synced_first(always);
        let mut work = std::mem::take(&mut writer.work);
        for (topic, kind) in queue.drain(..) {
            work.extend(self.append(writer, topic, kind));
        }
        writer.queue = queue;
        if work.is_empty() {
            writer.work = work;
            return;
        }
        let synced = always.then(|| {
            let took = self.sync(writer, &mut work);
            let came = if gather::counts(took) { self.queued() } else { 0 };
            (took, work.iter().map(Work::events).sum::<u64>().saturating_add(came))
        });
        self.publish(writer, &mut work);
        if let Some((took, events)) = synced {
            writer.gathering.turned(events, took);
            self.shared.note_answered(Instant::now());
        }
        writer.work = work;
        self.catch_up(writer, false);
        self.counters.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what waits for one log and appends it.
    fn append(&self, writer: &mut Writer, topic: Arc<Topic>, kind: TicketKind) -> Option<Work> {
        let (slot, lines) = match kind {
            TicketKind::Partition(lane) => {
                let (slot, pending) = topic.take_pending(lane)?;
                (Some(slot), Lines::Partition(lane, pending))
            }
            TicketKind::Journal => {
                self.queued.fetch_sub(1, Ordering::SeqCst);
                let batch = topic.take_journal(self.shared.clock.now_ms())?;
                (batch.slot, Lines::Journal(batch))
            }
        };
        let outcome = match &lines {
            Lines::Journal(batch) => batch.check().err().map(|reason| Outcome::Failed { reason }),
            Lines::Partition(..) => None,
        };
        let outcome = outcome.unwrap_or(Outcome::Committed { begin: Cursor::default() });
        let mut work = Work { topic, slot, lines, outcome };
        if let (None, Outcome::Committed { .. }) = (work.slot, &work.outcome) {
            self.open_journal(writer, &mut work);
        }
        if let (Some(slot), Outcome::Committed { .. }) = (work.slot, &work.outcome) {
            let batch = match &work.lines {
                Lines::Partition(_, pending) => pending.batch(),
                Lines::Journal(journal) => journal.batch(),
            };
            self.counters.events.fetch_add(batch.lines, Ordering::Relaxed);
            self.counters.bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
            writer.dirty = true;
            work.outcome = match writer.shard.append(slot, batch) {
                Ok(begin) => Outcome::Committed { begin },
                Err(error) => {
                    self.shared.note_error(&error);
                    Outcome::Failed { reason: error.to_string().into() }
                }
            };
        }
        Some(work)
    }

    /// A topic's journal is made when there is something to say.
    fn open_journal(&self, writer: &mut Writer, work: &mut Work) {
        let Lines::Journal(batch) = &work.lines else { return };
        match writer.shard.open(&batch.log, OpenRequest { create: true, known: None }) {
            Ok(opened) if opened.end.offset > 0 => {
                writer.shard.close(opened.slot);
                let reason = format!("{} exists and is no journal of this topic: move it away", batch.log);
                work.outcome = Outcome::Failed { reason: reason.into() };
            }
            Ok(opened) => {
                work.topic.journal_opened(opened.slot);
                writer.owners.insert(opened.slot, (Arc::downgrade(&work.topic), TicketKind::Journal));
                work.slot = Some(opened.slot);
            }
            Err(error) => work.outcome = Outcome::Failed { reason: error.to_string().into() },
        }
    }

    /// Returns how long it took.
    fn sync(&self, writer: &mut Writer, work: &mut [Work]) -> Duration {
        let begun = Instant::now();
        let failures = writer.shard.begin_sync().wait();
        let took = begun.elapsed();
        self.note_sync(took);
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        writer.dirty = false;
        if failures.is_empty() {
            return took;
        }
        writer.shard.finish_sync(&failures);
        for failure in &failures {
            self.shared.note_error(&failure.error);
            let reason: Arc<str> = failure.error.to_string().into();
            match work.iter_mut().find(|work| work.slot == Some(failure.slot)) {
                Some(work) => {
                    if let Outcome::Committed { .. } = work.outcome {
                        work.outcome = Outcome::Failed { reason };
                    }
                }
                None => self.fail(writer, failure.slot, &reason),
            }
        }
        took
    }

    fn publish(&self, writer: &mut Writer, work: &mut Vec<Work>) {
        let mut wakers: Vec<Waker> = Vec::new();
        let mut indexes = Vec::new();
        for work in work.drain(..) {
            let kind = work.kind();
            if let Outcome::Failed { .. } = work.outcome {
                writer.offline.push_back((Arc::downgrade(&work.topic), kind));
            }
            match work.lines {
                // What becomes of events later is not what readers wait for.
                Lines::Journal(batch) => work.topic.publish_journal(&batch, &work.outcome, &mut wakers),
                Lines::Partition(lane, pending) => {
                    let published = work.topic.publish(lane, pending, &work.outcome, &mut wakers);
                    if published.tail_bytes > 0 {
                        writer.tails.push_back((Arc::downgrade(&work.topic), lane));
                        self.tail_bytes.fetch_add(published.tail_bytes, Ordering::Relaxed);
                    }
                    indexes.extend(published.index);
                }
            }
        }
        for waker in wakers {
            waker.wake();
        }
        self.trim_tails(writer);
        self.note_indexes(writer, indexes);
    }

    /// Forgets the oldest blocks until the tails fit their memory.
    fn trim_tails(&self, writer: &mut Writer) {
        while self.tail_bytes.load(Ordering::Relaxed) > self.shared.tail_bytes_max {
            let Some((topic, lane)) = writer.tails.pop_front() else { break };
            if let Some(topic) = topic.upgrade() {
                let bytes = topic.forget_tail_block(lane);
                self.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        if writer.tails.len() >= writer.tails_prune_at {
            prune_tails(&mut writer.tails);
            writer.tails_prune_at = writer.tails.len() * 2 + TAILS_PRUNE_MIN;
        }
    }
}

/// Drops the entries of blocks that are gone already, with their topic or in a rewrite: of each partition the newest
/// stay, as many as it has blocks.
fn prune_tails(tails: &mut VecDeque<(Weak<Topic>, u16)>) {
    let mut left: HashMap<(*const Topic, u16), usize> = HashMap::new();
    let mut kept: VecDeque<_> = std::mem::take(tails)
        .into_iter()
        .rev()
        .filter(|(topic, lane)| {
            let blocks = || topic.upgrade().map_or(0, |topic| topic.tail_blocks(*lane));
            let left = left.entry((topic.as_ptr(), *lane)).or_insert_with(blocks);
            let keep = *left > 0;
            *left = left.saturating_sub(1);
            keep
        })
        .collect();
    kept.make_contiguous().reverse();
    *tails = kept;
}
