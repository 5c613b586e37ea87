//! What can be told about a topic.

use std::sync::Arc;

use wafka_core::partitioner::Options;
use wafka_core::storage::{Damage, LogName};
use wafka_core::{BrokerId, EventId, Offset, PartitionId};

use super::idempotence::IdempotenceInfo;
use super::view::View;
use super::{LaneState, Topic};
use crate::error::ReadError;

/// Whether a partition can be written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionState {
    /// It can.
    Online,
    /// It cannot for now.
    Offline {
        /// Why.
        reason: Arc<str>,
    },
}

/// What can be told about a partition.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: PartitionId,
    /// The broker that serves it now.
    pub broker: BrokerId,
    /// The file, relative to the data directory; in another backend than `text`, the backend and the log's name.
    pub file: String,
    /// The id of its last committed event; `0-0` when there is none.
    pub current: EventId,
    /// The offset of the next event.
    pub next_offset: Offset,
    /// Events that are neither trimmed nor deleted.
    pub length: u64,
    /// Lines in the file, trimmed and deleted ones included.
    pub lines: u64,
    /// The file's size, in bytes.
    pub bytes: u64,
    /// Whether it can be written to.
    pub state: PartitionState,
    /// What was found broken.
    pub damage: Vec<Damage>,
}

/// What can be told about a topic.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicInfo {
    /// Visible events.
    pub length: u64,
    /// The last visible id, or what `XSETID` said.
    pub last_id: EventId,
    /// The highest id that was deleted.
    pub max_deleted_id: EventId,
    /// Events ever added.
    pub entries_added: u64,
    /// The id of the oldest live event; `0-0` when there is none.
    pub first_id: EventId,
    /// The strategy.
    pub partitioner: String,
    /// Its version.
    pub partitioner_version: u32,
    /// Its options.
    pub options: Options,
    /// Events that lacked what the strategy routes by, since start.
    pub unkeyed: u64,
    /// Why the topic cannot be written to.
    pub read_only: Option<Arc<str>>,
    /// Its idempotent producing, if there ever was any.
    pub idempotence: Option<IdempotenceInfo>,
    /// The storage backend that its logs are in.
    pub backend: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<PartitionInfo>,
}

impl Topic {
    /// The name of the storage backend that its logs are in.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Everything there is to tell. May read the first line of each partition.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn info(&self) -> Result<TopicInfo, ReadError> {
        let (mut info, view, is_read) = {
            let mut state = self.state.lock();
            let now_ms = self.deadlines.now_ms();
            let idempotence = state.idempotence.as_mut().map(|idempotence| idempotence.info(now_ms));
            let info = TopicInfo {
                idempotence,
                backend: Arc::clone(&self.backend),
                length: state.len(),
                last_id: state.visible_id,
                max_deleted_id: state.max_deleted_id,
                entries_added: state.visible_entries_added(),
                first_id: EventId::MIN,
                partitioner: state.partitioner_name.clone(),
                partitioner_version: state.partitioner_version,
                options: state.options.clone(),
                unkeyed: state.unkeyed,
                read_only: state.read_only.as_ref().or(state.held()).cloned(),
                partitions: (0..state.lanes.len()).map(|at| self.partition_info(&state, at)).collect(),
            };
            (info, View::of_topic(&state), state.unread().is_none())
        };
        // Where a partition could not be opened nobody knows, and what is known is told.
        if info.length > 0 && is_read {
            info.first_id = view.oldest(1)?.first().map_or(EventId::MIN, |event| event.id);
        }
        Ok(info)
    }

    pub(crate) fn partition_infos(&self) -> Vec<PartitionInfo> {
        let state = self.state.lock();
        (0..state.lanes.len()).map(|at| self.partition_info(&state, at)).collect()
    }

    pub(crate) fn indexes_without_file(&self) -> usize {
        self.state.lock().lanes.iter().filter(|lane| lane.index.lacks_file()).count()
    }

    /// Where a log is, for people to find it.
    fn file(&self, log: &LogName) -> String {
        log.clone().in_backend(Some(Arc::clone(&self.backend))).to_string()
    }

    fn partition_info(&self, state: &super::State, at: usize) -> PartitionInfo {
        let lane = &state.lanes[at];
        PartitionInfo {
            partition: PartitionId::from_index(at),
            broker: self.brokers[lane.broker].id(),
            file: self.file(&lane.log),
            current: if lane.unread { EventId::MIN } else { lane.last_id },
            next_offset: if lane.unread { 0 } else { lane.end.offset },
            length: state.partition_len(at),
            lines: if lane.unread { 0 } else { lane.lines },
            bytes: lane.reader.size_bytes(),
            state: match &lane.state {
                LaneState::Online => PartitionState::Online,
                LaneState::Offline { reason, .. } => PartitionState::Offline { reason: Arc::clone(reason) },
            },
            damage: lane.damage.clone(),
        }
    }
}
