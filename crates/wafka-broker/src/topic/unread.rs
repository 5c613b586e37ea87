//! A partition whose log cannot be opened when the server starts: the topic does without it, and says so to whoever needs
//! what is in it.
//!
//! The partition looks as if it had one event, of the highest id: whatever comes near it reads the log, and fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use wafka_core::storage::{Chunk, Cursor, LogName, LogReader, LogSlot, OpenRequest, StorageError};
use wafka_core::{EventId, PartitionId, TopicName};
use wafka_storage::line::EventEncoder;

use super::lane::Pending;
use super::{Lane, LaneState, State, Topic, scan};
use crate::index::{Removed, SparseIndex};
use crate::options::IndexPlace;
use crate::tail::Tail;

/// No shard has so many logs.
const NO_SLOT: LogSlot = LogSlot(u32::MAX);

/// Stands in for a log that cannot be opened.
struct UnreadLog {
    log: String,
    reason: Arc<str>,
}

impl LogReader for UnreadLog {
    fn read(&self, _from: Cursor, _bytes_max: usize, _into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let source =
            std::io::Error::other(format!("the partition is offline since the start: {}", self.reason));
        Err(StorageError::Io { log: self.log.clone(), operation: "read", source })
    }

    fn generation(&self) -> u32 {
        1
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

/// The partition at the index `number` of a topic, whose log could not be opened.
pub(super) fn lane(
    topic: &TopicName,
    number: usize,
    broker: usize,
    log: LogName,
    error: &StorageError,
) -> Lane {
    let reason: Arc<str> = error.to_string().into();
    tracing::error!(%topic, partition = number + 1, %reason, "partition is offline");
    Lane {
        broker,
        slot: NO_SLOT,
        reader: Arc::new(UnreadLog { log: log.to_string(), reason: Arc::clone(&reason) }),
        encoder: EventEncoder::new(topic.as_bytes(), PartitionId::from_index(number)),
        // What the file of the index says stays as it is.
        index: Arc::new(SparseIndex::open(None, std::path::Path::new(""))),
        tail: Tail::default(),
        pending: Pending::default(),
        spare: Vec::new(),
        in_flight: None,
        queued: false,
        next_offset: 0,
        floor_at: None,
        end: Cursor::at_offset(1),
        last_id: EventId::MAX,
        last_sequence_committed: 0,
        lines: 1,
        first: 0,
        counts: false,
        removed: Removed::default(),
        is_index_partial: false,
        live: 0,
        since_mark: u64::MAX,
        state: LaneState::Offline { reason, retry_at: Instant::now() },
        epoch: 0,
        failures: VecDeque::new(),
        damage: Vec::new(),
        rewriting: false,
        swapping: false,
        rewrite_after: None,
        unread: true,
        log,
    }
}

impl State {
    /// A partition whose log could not be opened: its index, and why.
    pub(crate) fn unread(&self) -> Option<(usize, &Arc<str>)> {
        self.lanes.iter().enumerate().find(|(_, lane)| lane.unread).and_then(|(at, lane)| match &lane.state {
            LaneState::Offline { reason, .. } => Some((at, reason)),
            LaneState::Online => None,
        })
    }

    /// Nobody knows which ids the events of a partition have that was not read. The clock is past those that it gave.
    pub(super) fn step_over_unread(&mut self, now_ms: u64) {
        if self.unread().is_some() {
            self.last_id = self.last_id.max(EventId::new(now_ms, 0));
            self.visible_id = self.last_id;
        }
    }
}

impl Topic {
    /// Whether a partition's log could not be opened, or the journal not be read.
    pub(crate) fn is_unread(&self) -> bool {
        let state = self.state.lock();
        state.unread().is_some() || state.journal.unread
    }

    /// Whether a log can be opened now that could not be. The whole broker waits meanwhile, so of a log that the index
    /// knows no more is verified than its end.
    pub(crate) fn can_be_read(&self, index: Option<&IndexPlace>) -> bool {
        let (unread, journal): (Vec<_>, _) = {
            let state = self.state.lock();
            let lanes = state.lanes.iter().enumerate().filter(|(_, lane)| lane.unread);
            let journal = state.journal.unread.then(|| state.journal.log.clone());
            (lanes.map(|(number, lane)| (number, lane.broker, lane.log.clone())).collect(), journal)
        };
        // One is enough: a log that is back is not verified again and again while another one is missing.
        let lane_is_back = unread.into_iter().any(|(number, broker, log)| {
            let known = SparseIndex::open(index, &self.files.index(number)).last_known();
            let request = OpenRequest { create: false, known };
            self.brokers[broker].with_shard(|shard| match shard.open(&log, request) {
                Ok(opened) => {
                    shard.close(opened.slot);
                    true
                }
                Err(_) => false,
            })
        });
        lane_is_back || journal.is_some_and(|log| self.journal_can_be_read(&log))
    }

    fn journal_can_be_read(&self, log: &LogName) -> bool {
        let home = &self.brokers[self.home];
        let opened = match home.with_shard(|shard| shard.open(log, OpenRequest::default())) {
            Ok(opened) => opened,
            Err(error) => return matches!(error, StorageError::NotFound(_)),
        };
        let is_read = scan(&*opened.reader, opened.first, |_, _| {}).is_ok();
        home.with_shard(|shard| shard.close(opened.slot));
        is_read
    }

    /// Whether memory says no more than the files do.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        let written = |lane: &Lane| lane.unread || lane.is_online();
        state.uncommitted.is_empty()
            && state.journal.is_idle()
            // One that holds the topic since it was opened took nothing.
            && (state.journal.held.is_some() || state.journal_reason().is_none())
            && state.lanes.iter().all(written)
    }
}
