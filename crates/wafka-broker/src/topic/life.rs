//! A topic's beginning, change and end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::Offset;
use wafka_core::partitioner::{Options, Partitioner, PartitionerError};
use wafka_core::storage::{Cursor, LogSlot};

use super::{State, Topic};
use crate::catalog::CatalogTopic;
use crate::error::{AppendError, TopicError};
use crate::ticket::{Ticket, TicketKind};

/// Where a topic's logs end.
#[derive(Clone, Debug)]
pub(crate) struct TopicEnds {
    pub(crate) partitions: Vec<Cursor>,
    /// `None` when there is no journal.
    pub(crate) journal: Option<Cursor>,
}

impl State {
    /// Why the topic cannot be written to for the moment, or since it was opened.
    pub(super) fn held(&self) -> Option<&Arc<str>> {
        self.until_reopened.as_ref().or(self.held.as_ref()).or(self.journal.held.as_ref())
    }

    /// A strategy that panicked routes no more: its topic is read-only until [`Topic::set_partitioner`].
    pub(super) fn note_panic(&mut self, error: &AppendError) {
        if let AppendError::Partitioner(panic @ PartitionerError::Panicked { .. }) = error {
            let cure = "it routes no more until TOPIC ALTER makes it anew, or the next start";
            self.read_only.get_or_insert_with(|| format!("{panic}; {cure}").into());
        }
    }

    /// The ticket of what is on its way to the journal.
    fn journal_open_ticket(&self) -> Option<Ticket> {
        // A journal that is offline has answered everybody.
        if self.journal.is_idle() || self.journal_reason().is_some() {
            return None;
        }
        let pending = self.journal.has_pending();
        Some(Ticket {
            kind: TicketKind::Journal,
            epoch: self.journal.epoch,
            sequence: if pending { self.journal.next_batch() } else { self.journal.next_batch() - 1 },
            id: self.last_id,
        })
    }
}

impl Topic {
    /// What the catalog says of the topic.
    pub(crate) fn catalog_record(&self) -> CatalogTopic {
        let state = self.state.lock();
        CatalogTopic {
            uid: self.uid,
            database: self.database.0,
            topic: self.name.file_stem(),
            partitions: u16::try_from(state.lanes.len()).unwrap_or(u16::MAX),
            partitioner: state.partitioner_name.clone(),
            partitioner_version: state.partitioner_version,
            options: state.options.clone(),
            second_files: self.files.second,
            backend: self.files.backend.as_deref().map(str::to_owned),
        }
    }

    /// Puts a strategy in the place of the one there was; the topic can be written to again.
    pub(crate) fn set_partitioner(
        &self,
        partitioner: Box<dyn Partitioner>,
        name: String,
        version: u32,
        options: Options,
    ) {
        let mut state = self.state.lock();
        let before = state.strategy.exchange(partitioner);
        state.partitioner_name = name;
        state.partitioner_version = version;
        state.options = options;
        state.read_only = None;
        drop(state);
        self.strategy_free.notify_all();
        // Without the lock, for a plugin may take its time.
        drop(before);
    }

    pub(crate) fn set_read_only(&self, reason: String) {
        tracing::error!(topic = %self.name, %reason, "topic is read-only");
        self.state.lock().read_only = Some(reason.into());
    }

    /// Refuses writes until [`Topic::release`].
    pub(crate) fn hold(&self, reason: &str) {
        tracing::error!(topic = %self.name, %reason, "topic cannot be written to");
        self.state.lock().held = Some(reason.into());
    }

    /// Allows writes again.
    pub(crate) fn release(&self) {
        tracing::info!(topic = %self.name, "topic can be written to again");
        self.state.lock().held = None;
    }

    /// A new topic must not take over a file with events that nobody knows.
    pub(crate) fn check_empty(&self) -> Result<(), TopicError> {
        let state = self.state.lock();
        match state.lanes.iter().find(|lane| lane.lines > 0 || lane.reader.size_bytes() > 0) {
            None => Ok(()),
            Some(lane) => {
                Err(TopicError::Orphan { log: lane.log.to_string(), bytes: lane.reader.size_bytes() })
            }
        }
    }

    /// From here on appends are refused: the caller looks the name up again.
    pub(crate) fn close_for_writes(&self) {
        let _state = self.state.lock();
        self.deleted.store(true, Ordering::Release);
    }

    /// The deletion did not come about.
    pub(crate) fn reopen_for_writes(&self) {
        let _state = self.state.lock();
        self.deleted.store(false, Ordering::Release);
    }

    /// A ticket of something that was accepted and is not yet durable, or visible; `None` when there is nothing. When one
    /// is redeemed there may be another, for events bring trimmings with them.
    #[must_use]
    pub fn open_ticket(&self) -> Option<Ticket> {
        let state = self.state.lock();
        let Some(last) = state.uncommitted.back() else { return state.journal_open_ticket() };
        let epoch = state.lanes[usize::from(last.lane)].epoch;
        Some(Ticket { kind: TicketKind::Partition(last.lane), epoch, sequence: last.sequence, id: last.id })
    }

    /// Where its logs end. For who sees to it that nothing is on its way to them.
    pub(crate) fn ends(&self) -> TopicEnds {
        let state = self.state.lock();
        TopicEnds {
            partitions: state.lanes.iter().map(|lane| lane.end).collect(),
            journal: state.journal.slot.map(|_| state.journal.end),
        }
    }

    /// The logs that were written to since they ended there, or since the beginning: the broker's index, and the slot.
    pub(crate) fn slots_changed_since(&self, before: Option<&TopicEnds>) -> Vec<(usize, LogSlot)> {
        let state = self.state.lock();
        let mut changed = Vec::new();
        for (index, lane) in state.lanes.iter().enumerate() {
            let end = before.and_then(|before| before.partitions.get(index)).map_or(0, |end| end.offset);
            if lane.end.offset > end {
                changed.push((lane.broker, lane.slot));
            }
        }
        let end = before.and_then(|before| before.journal).map_or(0, |end| end.offset);
        if let Some(slot) = state.journal.slot.filter(|_| state.journal.end.offset > end) {
            changed.push((self.home, slot));
        }
        changed
    }

    /// Why the topic cannot be written to for the moment, if so.
    pub(crate) fn held_reason(&self) -> Option<Arc<str>> {
        let state = self.state.lock();
        state.held().or_else(|| state.unread().map(|(_, reason)| reason)).cloned()
    }

    /// Tickets that are redeemed when everything accepted so far is.
    pub(crate) fn last_tickets(&self) -> Vec<Ticket> {
        let state = self.state.lock();
        let mut tickets = vec![Ticket {
            kind: TicketKind::Partition(0),
            epoch: state.lanes.first().map_or(0, |lane| lane.epoch),
            sequence: state.last_sequence,
            id: state.last_id,
        }];
        tickets.extend(state.journal_open_ticket());
        tickets
    }

    /// A ticket that is redeemed when everything that happened to events so far is durable; `None` when it is. For who
    /// appended with a trimming and saw the append committed: the trimming was carried out by then.
    #[must_use]
    pub fn trimming_ticket(&self) -> Option<Ticket> {
        self.state.lock().journal_open_ticket()
    }

    /// Forgets what the indexes know of lines behind these ends, which are going to be cut off.
    pub(crate) fn forget_index_behind(&self, ends: &[Offset]) {
        let state = self.state.lock();
        for (lane, end) in state.lanes.iter().zip(ends) {
            lane.index.truncate_from(*end);
        }
    }

    /// Closes the topic's logs at their brokers, for good.
    pub(crate) fn close_logs(&self) {
        self.close_slots();
        for lane in &self.state.lock().lanes {
            if let Err(error) = lane.index.reset() {
                tracing::warn!(log = %lane.log, %error, "index of a deleted partition not removed");
            }
        }
    }

    /// Closes the topic's logs at their brokers. The indexes stay.
    pub(crate) fn close_slots(&self) {
        if self.slots_closed.swap(true, Ordering::AcqRel) {
            // They may be other logs' by now.
            return;
        }
        // A turn that began before the topic was marked as deleted may be about to make its journal.
        self.brokers[self.home].with_shard(|_| ());
        let (lanes, journal) = {
            let state = self.state.lock();
            let lanes = state.lanes.iter().filter(|lane| !lane.unread);
            let lanes: Vec<_> = lanes.map(|lane| (lane.broker, lane.slot)).collect();
            (lanes, state.journal.slot)
        };
        for (broker, slot) in lanes {
            self.brokers[broker].close(slot);
        }
        if let Some(slot) = journal {
            self.brokers[self.home].close(slot);
        }
        let mut state = self.state.lock();
        for lane in &mut state.lanes {
            let bytes = lane.tail.clear();
            self.brokers[lane.broker].tail_forgotten(bytes);
        }
    }

    pub(crate) fn lane_index_file(&self, lane: u16) -> Arc<crate::index::SparseIndex> {
        Arc::clone(&self.state.lock().lanes[usize::from(lane)].index)
    }
}
