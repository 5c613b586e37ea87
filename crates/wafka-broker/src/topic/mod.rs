//! A topic: its partitions, the order of its events, and what became of them.
//!
//! Everything of a topic that changes stands under one lock, [`State`]. An append holds it for some dozen nanoseconds;
//! gathering a snapshot of many pending entries takes longer. It is never held over a write or a sync. Reading files
//! under it is for what must not change meanwhile: where trimming ends, the first event's id for a
//! group's lag. Events to be deleted are looked up before it is taken.

mod append;
mod by_id;
mod committed;
mod copy;
mod deletions;
mod expire;
mod floor;
mod forward;
mod freeze;
mod idempotence;
mod info;
mod journal;
mod lane;
mod life;
mod nodes;
mod open;
mod open_lane;
mod presence;
mod publish;
mod read;
mod read_back;
mod reclaim;
mod seek;
mod set_id;
mod settle;
mod strategy;
mod stuck;
mod trim;
mod trim_acked;
mod trim_plan;
mod unread;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::{Condvar, Mutex};
use wafka_core::partitioner::Options;
use wafka_core::{Database, EventId, PartitionId, TopicName};

pub(crate) use append::OpenBatch;
pub use append::{AppendRequest, Appended, IdSpec};
pub use by_id::IdSink;
pub use committed::Committed;
pub use expire::{ExpireIf, Expiry};
pub use idempotence::{IdempotenceChange, IdempotenceInfo, IdempotenceSettings, Idempotent, RecordError};
pub use info::{PartitionInfo, PartitionState, TopicInfo};
pub use read::{EntryFields, EntrySink, ReadRange};
pub use set_id::SetId;
pub use trim::{Trim, TrimStrategy};

pub(crate) use deletions::Deletions;
pub(crate) use idempotence::Idempotence;
pub(crate) use journal::*;
pub(crate) use lane::{Lane, LaneState, Pending};
pub(crate) use life::TopicEnds;
pub(crate) use nodes::Nodes;
pub(crate) use open::{LaneFiles, OpenTopic, home_of, open_topic, scan};
pub(crate) use publish::{Outcome, RETRY_AFTER};
pub(crate) use strategy::Strategy;
pub(crate) use view::{OldEvent, RankView, View};

use crate::backends::Standing;
use crate::broker::Broker;
use crate::error::NoSuchPartition;
use crate::expiry::Deadlines;
use crate::group::Groups;
use crate::watch::WatchPoint;

/// A topic. Obtained from [`crate::Engine`].
pub struct Topic {
    pub(crate) database: Database,
    pub(crate) name: TopicName,
    /// Told apart from a topic of the same name before or after it.
    pub(crate) uid: u64,
    pub(crate) files: LaneFiles,
    /// The name of the backend that they are in.
    pub(crate) backend: Arc<str>,
    /// Whether this server owns what that backend holds, where it is not the default one.
    standing: Option<Arc<Standing>>,
    pub(crate) brokers: Arc<[Arc<Broker>]>,
    /// The broker that writes the journal.
    pub(crate) home: usize,
    pub(crate) limits: Limits,
    pub(crate) watch: Arc<WatchPoint>,
    deleted: AtomicBool,
    /// Its logs are closed at their brokers.
    slots_closed: AtomicBool,
    /// What memory knows of it is going to be taken back.
    hidden: AtomicBool,
    /// A transaction that failed made it.
    made_in_vain: AtomicBool,
    /// When the topic's time comes, in milliseconds since 1970; `u64::MAX` when it has none.
    expire_at: AtomicU64,
    deadlines: Arc<Deadlines>,
    /// When a command last used the topic, in milliseconds since 1970.
    used_at: AtomicU64,
    /// Every event up to this dense number is committed or has failed.
    visible: AtomicU64,
    /// Every journal batch up to this number is committed or has failed.
    journaled: AtomicU64,
    /// Whether any of the topic's logs ever failed: the slow way to tell a ticket's outcome.
    ever_failed: AtomicBool,
    pub(crate) freeze: freeze::Freeze,
    /// Reclaiming is asked for or under way.
    reclaiming: AtomicBool,
    /// Told when a strategy that was taken out of the state is back.
    pub(crate) strategy_free: Condvar,
    pub(crate) state: Mutex<State>,
}

/// The limits that a topic is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) index_interval_bytes: u64,
    pub(crate) queue_bytes_max: usize,
    pub(crate) reclaim: crate::options::ReclaimOptions,
    pub(crate) journal_snapshot_bytes: u64,
}

/// An event that is accepted, and not yet below the watermark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uncommitted {
    pub(crate) id: EventId,
    pub(crate) lane: u16,
    /// Its dense number within the topic.
    pub(crate) sequence: u64,
}

/// What changes.
pub(crate) struct State {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) strategy: Strategy,
    pub(crate) partitioner_name: String,
    pub(crate) partitioner_version: u32,
    pub(crate) options: Options,
    /// Why the topic cannot be written to.
    pub(crate) read_only: Option<Arc<str>>,
    /// Why it cannot be written to before it is opened afresh.
    pub(crate) until_reopened: Option<Arc<str>>,
    /// Why it cannot be written to for the moment.
    pub(crate) held: Option<Arc<str>>,
    /// The last id given out.
    pub(crate) last_id: EventId,
    /// Events accepted since the topic was opened: the last dense number given out.
    pub(crate) last_sequence: u64,
    /// The partition that the cycle turned to last.
    pub(crate) cycle: u16,
    /// The batch that the last event which the cycle placed went into: open, or gone since.
    pub(crate) open: Option<OpenBatch>,
    /// Events that lacked what the strategy routes by.
    pub(crate) unkeyed: u64,
    /// Accepted events above the watermark, in the order of their ids.
    pub(crate) uncommitted: VecDeque<Uncommitted>,
    /// The trimmings that came with some of these, to be carried out when they become visible.
    pub(crate) trims: VecDeque<(Uncommitted, Trim)>,
    /// The dense numbers of the last appends whose trimming removed something, rising.
    pub(crate) trimmed_with: VecDeque<u64>,
    /// The id of the last event at or below the watermark, or what `XSETID` said.
    pub(crate) visible_id: EventId,
    /// Every event at or below this id is trimmed.
    pub(crate) floor: EventId,
    /// The oldest live events, in order, when they have been looked up.
    pub(crate) head: VecDeque<OldEvent>,
    pub(crate) nodes: Nodes,
    pub(crate) deletions: Arc<Deletions>,
    /// How often deletions were forgotten because the events are not in the files any more.
    pub(crate) deletions_forgotten: u64,
    pub(crate) groups: Groups,
    pub(crate) max_deleted_id: EventId,
    /// What `XSETID` added to the count of events.
    pub(crate) added_extra: i64,
    /// When the topic's time comes, in milliseconds since 1970.
    pub(crate) expire_at_ms: Option<u64>,
    /// What producers sent that send nothing twice; of a topic that has such.
    pub(crate) idempotence: Option<Box<Idempotence>>,
    pub(crate) journal: Journal,
    /// Who waits for a dense number to become visible, ascending.
    pub(crate) waiters: VecDeque<(u64, Waker)>,
    /// Who waits for a journal batch, ascending.
    pub(crate) journal_waiters: VecDeque<(u64, Waker)>,
}

impl Topic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// The database the topic is in.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// Where readers wait for the topic to change.
    #[must_use]
    pub fn watch_point(&self) -> &Arc<WatchPoint> {
        &self.watch
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.state.lock().partitions()
    }

    /// Whether the topic was deleted; a new one may have its name by now.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// A command uses the topic.
    pub fn touch(&self) {
        self.touch_at(self.deadlines.now_ms());
    }

    /// As [`Topic::touch`] at a time that the caller knows, in milliseconds since 1970.
    pub fn touch_at(&self, now_ms: u64) {
        self.used_at.store(now_ms, Ordering::Relaxed);
    }

    /// For how long no command used the topic, in milliseconds; at most since the server started.
    #[must_use]
    pub fn idle_ms(&self) -> u64 {
        self.deadlines.now_ms().saturating_sub(self.used_at.load(Ordering::Relaxed))
    }

    /// Whether the deletion has come about: nobody waits any more, and the logs are closed or about to be.
    pub(crate) fn is_gone(&self) -> bool {
        self.journaled.load(Ordering::Acquire) == u64::MAX
    }

    /// The highest visible id, or what `XSETID` made it: what `$` means.
    #[must_use]
    pub fn visible_id(&self) -> EventId {
        self.state.lock().visible_id
    }

    /// How many events are visible, in the topic or in one partition.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn len(&self, partition: Option<PartitionId>) -> Result<u64, NoSuchPartition> {
        let state = self.state.lock();
        match partition {
            None => Ok(state.len()),
            Some(id) => {
                let index = self.lane_index(&state, id)?;
                Ok(state.partition_len(index))
            }
        }
    }

    /// The 0-based index of a partition.
    pub(crate) fn lane_index(&self, state: &State, id: PartitionId) -> Result<usize, NoSuchPartition> {
        if id.0 > 0 && id.index() < state.lanes.len() {
            return Ok(id.index());
        }
        Err(NoSuchPartition {
            topic: self.name.to_string(),
            asked: id.to_string(),
            partitions: u16::try_from(state.lanes.len()).unwrap_or(u16::MAX),
        })
    }
}

impl State {
    /// How many events are visible.
    pub(crate) fn len(&self) -> u64 {
        let live: u64 = self.lanes.iter().map(|lane| lane.live).sum();
        live.saturating_sub(self.uncommitted.len() as u64)
    }

    /// How many events of a partition are visible to who reads it alone.
    pub(crate) fn partition_len(&self, index: usize) -> u64 {
        let lane = &self.lanes[index];
        // A partition alone is visible as far as it is committed, whatever the others do.
        let hidden = |event: &&Uncommitted| {
            usize::from(event.lane) == index && event.sequence > lane.last_sequence_committed
        };
        lane.live.saturating_sub(self.uncommitted.iter().filter(hidden).count() as u64)
    }

    /// How many partitions there are.
    pub(crate) fn partitions(&self) -> u16 {
        u16::try_from(self.lanes.len()).unwrap_or(u16::MAX)
    }

    /// How many events are accepted and live, visible or not: what trimming counts.
    pub(crate) fn accepted_len(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.live).sum()
    }

    /// How many events were ever added.
    pub(crate) fn entries_added(&self) -> u64 {
        let offsets: u64 = self.lanes.iter().map(|lane| lane.next_offset).sum();
        offsets.saturating_add_signed(self.added_extra)
    }

    /// How many visible events were ever added.
    pub(crate) fn visible_entries_added(&self) -> u64 {
        self.entries_added().saturating_sub(self.uncommitted.len() as u64)
    }
}
