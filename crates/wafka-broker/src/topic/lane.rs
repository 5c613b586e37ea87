//! One partition of a topic as the engine holds it in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use wafka_core::storage::{Batch, Cursor, Damage, LogName, LogReader, LogSlot};
use wafka_core::{EventId, Offset};
use wafka_storage::line::EventEncoder;

use crate::index::{IndexEntry, Removed, SparseIndex};
use crate::tail::{Block, Tail};

/// How many failures of a log are remembered, to tell late askers which one took their write.
const FAILURES_MAX: usize = 64;

/// Whether a log can be written to.
#[derive(Clone, Debug)]
pub(crate) enum LaneState {
    Online,
    /// Not before `retry_at` it is reopened.
    Offline {
        reason: Arc<str>,
        retry_at: Instant,
    },
}

/// A failure of a log: everything that was accepted in its epoch and not committed is lost.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) epoch: u32,
    /// The last sequence number that was committed in that epoch.
    pub(crate) committed: u64,
    pub(crate) reason: Arc<str>,
}

/// Lines accepted and not yet handed to the broker's turn.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: u64,
    pub(crate) first_offset: Offset,
    pub(crate) first_id: EventId,
    pub(crate) last_id: EventId,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Of the lines, how many the broker has counted: see `Broker::count`.
    pub(crate) counted: u64,
    /// Lines the index is to know, by their position within `bytes`.
    pub(crate) marks: Vec<Mark>,
}

/// A line for the sparse index whose place in the log is known once the batch is appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) id: EventId,
    pub(crate) offset: Offset,
    pub(crate) at: usize,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The batch as the backend takes it.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { first_offset: self.first_offset, lines: self.lines, bytes: &self.bytes }
    }

    /// What the batch becomes once it is committed.
    pub(crate) fn into_block(self) -> Block {
        Block {
            first_id: self.first_id,
            last_id: self.last_id,
            first_offset: self.first_offset,
            lines: self.lines,
            bytes: self.bytes,
        }
    }
}

/// One partition.
pub(crate) struct Lane {
    /// The index of the broker that serves it.
    pub(crate) broker: usize,
    pub(crate) log: LogName,
    pub(crate) slot: LogSlot,
    pub(crate) reader: Arc<dyn LogReader>,
    pub(crate) encoder: EventEncoder,
    pub(crate) index: Arc<SparseIndex>,
    pub(crate) tail: Tail,
    pub(crate) pending: Pending,
    /// An empty buffer for the batch after the pending one, or none.
    pub(crate) spare: Vec<u8>,
    /// The first sequence number of the batch the broker is writing.
    pub(crate) in_flight: Option<u64>,
    /// Whether the broker's queue names this lane.
    pub(crate) queued: bool,
    /// The offset the next event gets.
    pub(crate) next_offset: Offset,
    /// Where the next line goes once everything in flight is committed or has failed.
    pub(crate) end: Cursor,
    /// The id of the last committed event.
    pub(crate) last_id: EventId,
    pub(crate) last_sequence_committed: u64,
    /// Lines in the log up to `end`.
    pub(crate) lines: u64,
    /// Where the log began when it was opened.
    pub(crate) first: Offset,
    /// Whether the backend says how many lines a log has: then `removed` says which there are.
    pub(crate) counts: bool,
    /// Which lines between the first one and the end are no more, as far as the journal was told.
    pub(crate) removed: Removed,
    /// The first offset above the trim floor, where the journal says so when the topic is opened.
    pub(crate) floor_at: Option<Offset>,
    /// Whether the log was not read when it was opened.
    pub(crate) is_index_partial: bool,
    /// Of these and the pending ones, how many are neither trimmed nor deleted.
    pub(crate) live: u64,
    /// Bytes appended since the last line the index knows.
    pub(crate) since_mark: u64,
    pub(crate) state: LaneState,
    pub(crate) epoch: u32,
    pub(crate) failures: VecDeque<Failure>,
    /// What was found broken when the log was opened.
    pub(crate) damage: Vec<Damage>,
    /// Whether a rewrite is under way.
    pub(crate) rewriting: bool,
    /// Whether a rewrite is about to take the log's place, or has taken it while `lines`, `index` and the deletions are
    /// still those of the log before it: they do not add up until it is over.
    pub(crate) swapping: bool,
    /// After a rewrite that failed: none is tried before.
    pub(crate) rewrite_after: Option<Instant>,
    /// Whether the log could not be opened when the server started: nothing is known of it.
    pub(crate) unread: bool,
}

impl Lane {
    pub(crate) fn is_online(&self) -> bool {
        matches!(self.state, LaneState::Online)
    }

    /// The first sequence number that is accepted and not committed.
    pub(crate) fn first_open_sequence(&self) -> Option<u64> {
        self.in_flight.or_else(|| (!self.pending.is_empty()).then_some(self.pending.first_sequence))
    }

    /// Adds the marks of a batch that begins at `begin` to the index.
    pub(crate) fn index_batch(&self, begin: Cursor, batch: &Pending) {
        self.index.push(batch.marks.iter().map(|mark| IndexEntry {
            id: mark.id,
            offset: mark.offset,
            position: begin.position + mark.at as u64,
            ordinal: self.lines + (mark.offset - batch.first_offset),
        }));
    }

    /// Takes the lane offline: what is pending is lost, offsets go back to the committed end.
    pub(crate) fn fail(&mut self, reason: &Arc<str>, retry_at: Instant) {
        self.next_offset = self.end.offset;
        self.pending = Pending::default();
        self.in_flight = None;
        self.since_mark = u64::MAX;
        if self.failures.len() == FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(Failure {
            epoch: self.epoch,
            committed: self.last_sequence_committed,
            reason: Arc::clone(reason),
        });
        self.epoch = self.epoch.wrapping_add(1);
        self.state = LaneState::Offline { reason: Arc::clone(reason), retry_at };
    }
}
