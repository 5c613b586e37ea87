//! What the broker's turn does to a topic: takes what is pending, and publishes what became of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use wafka_core::EventId;
use wafka_core::storage::{Cursor, LogSlot};

use super::committed::release;
use super::journal::JournalBatch;
use super::lane::Failure;
use super::{LaneState, Pending, State, Topic, Uncommitted};
use crate::index::SparseIndex;
use crate::ticket::TicketKind;
use crate::watch::Change;

/// How long a failed log is left alone before it is reopened.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What publishing a batch left to do.
#[derive(Default)]
pub(crate) struct Published {
    /// Memory that the tail took, in bytes.
    pub(crate) tail_bytes: usize,
    /// The partition's index, when it has new entries.
    pub(crate) index: Option<Arc<SparseIndex>>,
}

/// A partition keeps at most so much memory ready for its next batch, in bytes.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// What became of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It stands in the log from here on.
    Committed { begin: Cursor },
    /// Nothing of it counts.
    Failed { reason: Arc<str> },
}

impl Topic {
    /// Takes the lines that wait for a partition, with the slot to append them to. `None` when there are none (the
    /// partition failed since).
    pub(crate) fn take_pending(&self, lane: u16) -> Option<(LogSlot, Pending)> {
        let mut state = self.state.lock();
        let lane = &mut state.lanes[usize::from(lane)];
        lane.queued = false;
        if lane.pending.is_empty() {
            return None;
        }
        let mut spare = std::mem::take(&mut lane.spare);
        if spare.capacity() == 0 {
            // The batch before became a block of the tail, with its buffer. The next one is likely as large as this one.
            spare.reserve(lane.pending.bytes.len().min(SPARE_BYTES_MAX));
        }
        let pending = std::mem::replace(&mut lane.pending, Pending { bytes: spare, ..Pending::default() });
        self.brokers[lane.broker].discount(&pending);
        lane.in_flight = Some(pending.first_sequence);
        Some((lane.slot, pending))
    }

    /// Whether events are on their way to any of its partitions.
    pub(crate) fn is_under_way(&self) -> bool {
        self.state.lock().lanes.iter().any(|lane| lane.in_flight.is_some())
    }

    /// Publishes what became of a partition's batch: moves the watermark and collects the wakers of those who waited.
    pub(crate) fn publish(
        self: &Arc<Self>,
        lane_number: u16,
        batch: Pending,
        outcome: &Outcome,
        wakers: &mut Vec<Waker>,
    ) -> Published {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let lane = &mut state.lanes[usize::from(lane_number)];
        let mut published = Published::default();
        match outcome {
            Outcome::Committed { begin } => {
                lane.index_batch(*begin, &batch);
                published.index = (!batch.marks.is_empty()).then(|| Arc::clone(&lane.index));
                lane.end = Cursor {
                    offset: batch.first_offset + batch.lines,
                    position: begin.position + batch.bytes.len() as u64,
                    generation: begin.generation,
                };
                lane.lines += batch.lines;
                lane.last_id = batch.last_id;
                lane.last_sequence_committed = batch.last_sequence;
                lane.in_flight = None;
                (published.tail_bytes, lane.spare) = lane.tail.add(batch);
            }
            Outcome::Failed { reason } => self.fail_lane(state, lane_number, reason),
        }
        let mut producers = Vec::new();
        let change = match self.advance(state, &mut producers) {
            true => Change::Events(usize::from(lane_number)),
            false => Change::PartitionEvents(usize::from(lane_number)),
        };
        // As in Redis, an event is on its way to who waits for it before its producer is answered: that takes a system
        // call for each, and the way of the event is the longer one.
        self.watch.announce(change, wakers);
        wakers.append(&mut producers);
        published
    }

    /// Takes a partition offline.
    pub(crate) fn fail_lane(&self, state: &mut State, lane_number: u16, reason: &Arc<str>) {
        let lane = &mut state.lanes[usize::from(lane_number)];
        let committed = lane.last_sequence_committed;
        let lost = |event: &Uncommitted| event.lane == lane_number && event.sequence > committed;
        let lost_live = state.uncommitted.iter().filter(|event| lost(event)).count() as u64;
        if let Some(idempotence) = &mut state.idempotence {
            let ids: HashSet<EventId> =
                state.uncommitted.iter().filter(|event| lost(event)).map(|event| event.id).collect();
            idempotence.forget_lost(|id| ids.contains(&id));
        }
        state.uncommitted.retain(|event| !lost(event));
        state.trims.retain(|(event, _)| !lost(event));
        state.head.clear();
        lane.live = lane.live.saturating_sub(lost_live);
        self.brokers[lane.broker].discount(&lane.pending);
        lane.fail(reason, Instant::now() + RETRY_AFTER);
        state.nodes.lost(state.lanes.iter().map(|lane| lane.next_offset).sum());
        self.ever_failed.store(true, Ordering::Release);
        tracing::error!(topic = %self.name, partition = lane_number + 1, %reason, "partition is offline");
    }

    /// Moves the watermark as far as it goes; whether it moved.
    pub(super) fn advance(self: &Arc<Self>, state: &mut State, wakers: &mut Vec<Waker>) -> bool {
        let open = state.lanes.iter().filter_map(super::Lane::first_open_sequence).min();
        let visible = open.map_or(state.last_sequence, |first| first - 1);
        if visible <= self.visible.load(Ordering::Relaxed) {
            return false;
        }
        while let Some(event) = state.uncommitted.front().copied().filter(|event| event.sequence <= visible) {
            state.uncommitted.pop_front();
            state.visible_id = state.visible_id.max(event.id);
            while let Some((_, trim)) = state.trims.pop_front_if(|(with, _)| with.sequence <= event.sequence)
            {
                if self.trim_behind(state, &trim) {
                    state.note_trimmed_with(event.sequence);
                }
            }
        }
        if state.uncommitted.is_empty() {
            // `XSETID` may have set it while events were under way.
            state.visible_id = state.last_id;
        }
        self.watch.modified();
        self.visible.store(visible, Ordering::Release);
        release(&mut state.waiters, visible, wakers);
        true
    }

    /// Takes what waits for the journal.
    pub(crate) fn take_journal(&self, now_ms: u64) -> Option<JournalBatch> {
        let is_synced = self.brokers[self.home].syncs_always();
        let draft = {
            let mut state = self.state.lock();
            if self.is_gone() {
                // Its journal must not come into being again.
                return None;
            }
            state.take_journal(is_synced)
        };
        draft.map(|draft| draft.encode(&self.name, now_ms))
    }

    /// Publishes what became of a journal batch.
    pub(crate) fn publish_journal(
        self: &Arc<Self>,
        batch: &JournalBatch,
        outcome: &Outcome,
        wakers: &mut Vec<Waker>,
    ) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let journal = &mut state.journal;
        journal.in_flight = false;
        match outcome {
            Outcome::Committed { begin } => {
                journal.end = Cursor {
                    offset: batch.first_offset + batch.lines,
                    position: begin.position + batch.bytes.len() as u64,
                    generation: begin.generation,
                };
                journal.committed(batch);
                if let Some(idempotence) = &mut state.idempotence {
                    idempotence.made_durable(batch.told);
                }
                self.consider_reclaim(state);
            }
            Outcome::Failed { reason } => self.fail_journal(state, batch.number, reason),
        }
        self.journal_reached(state, wakers);
    }

    /// Takes the journal offline: the batch `number`, and what waits behind it, is lost.
    fn fail_journal(self: &Arc<Self>, state: &mut State, number: u64, reason: &Arc<str>) {
        let journal = &mut state.journal;
        journal.failures.push_back(Failure {
            epoch: journal.epoch,
            committed: number - 1,
            reason: Arc::clone(reason),
        });
        journal.fail(reason, Instant::now() + RETRY_AFTER);
        if journal.next_batch() == number + 1 {
            // Who waits for the batch after this one is answered too.
            journal.skip_batch();
        }
        self.take_back_expiry(state);
        self.ever_failed.store(true, Ordering::Release);
        tracing::error!(topic = %self.name, %reason, "journal is offline");
    }

    /// Every batch up to the last one taken is committed or has failed.
    fn journal_reached(&self, state: &mut State, wakers: &mut Vec<Waker>) {
        self.journaled.fetch_max(state.journal.next_batch() - 1, Ordering::AcqRel);
        release(&mut state.journal_waiters, self.journaled.load(Ordering::Acquire), wakers);
    }

    /// The journal was made.
    pub(crate) fn journal_opened(&self, slot: LogSlot) {
        self.state.lock().journal.slot = Some(slot);
    }

    /// Forgets the oldest block of a partition's tail; returns the memory given back, in bytes.
    pub(crate) fn forget_tail_block(&self, lane: u16) -> usize {
        self.state.lock().lanes[usize::from(lane)].tail.pop()
    }

    /// How many blocks a partition's tail has.
    pub(crate) fn tail_blocks(&self, lane: u16) -> usize {
        self.state.lock().lanes[usize::from(lane)].tail.len()
    }

    /// A log failed outside a turn of its own: what is pending for it fails with it. `false` when it was offline before.
    pub(crate) fn fail_log(
        self: &Arc<Self>,
        kind: TicketKind,
        reason: &Arc<str>,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        match kind {
            TicketKind::Partition(lane) => {
                if !state.lanes[usize::from(lane)].is_online() {
                    return false;
                }
                self.fail_lane(state, lane, reason);
                self.advance(state, wakers);
                self.watch.announce(Change::Any, wakers);
            }
            TicketKind::Journal => {
                if state.journal_reason().is_some() {
                    return false;
                }
                // What waits to be journaled has the next number.
                let number = state.journal.next_batch();
                state.journal.skip_batch();
                self.fail_journal(state, number, reason);
                self.journal_reached(state, wakers);
            }
        }
        true
    }

    /// Whether a log that failed may be tried again, and from where.
    pub(crate) fn retry_at(&self, kind: TicketKind) -> Option<(Instant, Option<LogSlot>, Cursor)> {
        let state = self.state.lock();
        let (lane_state, slot, end) = match kind {
            TicketKind::Partition(lane) => {
                let lane = &state.lanes[usize::from(lane)];
                (&lane.state, Some(lane.slot), lane.end)
            }
            TicketKind::Journal => (&state.journal.state, state.journal.slot, state.journal.end),
        };
        match lane_state {
            LaneState::Online => None,
            LaneState::Offline { retry_at, .. } => Some((*retry_at, slot, end)),
        }
    }

    /// The result of reopening a log.
    pub(crate) fn reopened(self: &Arc<Self>, kind: TicketKind, result: Result<(), String>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let lane_state = match kind {
            TicketKind::Partition(lane) => {
                let lane = &mut state.lanes[usize::from(lane)];
                // Lines may have been cut; those that the index knows stand where they stood.
                lane.index.set_generation(lane.reader.generation());
                &mut lane.state
            }
            TicketKind::Journal => &mut state.journal.state,
        };
        match result {
            Ok(()) => {
                *lane_state = LaneState::Online;
                tracing::info!(topic = %self.name, log = ?kind, "online again");
                if kind == TicketKind::Journal {
                    // Memory went on without the file: the next line says everything.
                    state.journal.want_snapshot();
                    self.journal_ticket(state);
                }
            }
            Err(reason) => {
                *lane_state =
                    LaneState::Offline { reason: reason.into(), retry_at: Instant::now() + RETRY_AFTER };
            }
        }
    }
}
