//! Single events that were deleted and still stand in their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafka_core::{EventId, Offset};

use super::journal::{DeletedEvent, IdText, JournalRecord};
use super::{State, Topic};
use crate::ticket::Ticket;

/// So many events stand in one line of the journal at most.
const LINE_EVENTS_MAX: usize = 10_000;

/// Where a deleted event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deleted {
    /// The index of its partition.
    pub(crate) lane: u16,
    pub(crate) offset: Offset,
}

/// The deleted events of a topic that its files still hold, above the trim floor. Readers share a snapshot of it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Deletions {
    by_id: BTreeMap<EventId, Deleted>,
}

impl Deletions {
    pub(crate) fn contains(&self, id: EventId) -> bool {
        !self.by_id.is_empty() && self.by_id.contains_key(&id)
    }

    pub(crate) fn insert(&mut self, id: EventId, deleted: Deleted) {
        self.by_id.insert(id, deleted);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (EventId, Deleted)> {
        self.by_id.iter().map(|(id, deleted)| (*id, *deleted))
    }

    /// The first one at or above `id`.
    pub(crate) fn first_from(&self, id: EventId) -> Option<EventId> {
        self.by_id.range(id..).next().map(|(id, _)| *id)
    }

    /// How many lie at or below `id`, in each lane.
    pub(crate) fn count_up_to(&self, id: EventId, lanes: usize) -> Vec<u64> {
        let mut counts = vec![0; lanes];
        for (_, deleted) in self.by_id.range(..=id) {
            if let Some(count) = counts.get_mut(usize::from(deleted.lane)) {
                *count += 1;
            }
        }
        counts
    }

    /// How many lie above `from` and at or below `to`.
    pub(crate) fn count_between(&self, from: EventId, to: EventId) -> u64 {
        match from.next() {
            Some(from) if from <= to => self.by_id.range(from..=to).count() as u64,
            _ => 0,
        }
    }

    /// Forgets what lies at or below `id`.
    pub(crate) fn forget_up_to(&mut self, id: EventId) {
        while self.by_id.first_key_value().is_some_and(|(first, _)| *first <= id) {
            self.by_id.pop_first();
        }
    }

    /// Forgets what `gone` says is not in the files any more.
    pub(crate) fn forget(&mut self, mut gone: impl FnMut(EventId, Deleted) -> bool) {
        self.by_id.retain(|id, deleted| !gone(*id, *deleted));
    }
}

impl State {
    /// An event is no more.
    pub(crate) fn delete_event(&mut self, id: EventId, lane: u16, offset: Offset) {
        Arc::make_mut(&mut self.deletions).insert(id, Deleted { lane, offset });
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.live = lane.live.saturating_sub(1);
        }
        self.groups.mark_gone(id);
        self.nodes.deleted(id);
    }
}

impl State {
    /// Takes deleted events out of the oldest ones. When the very oldest are among them, what lies before the oldest that
    /// is left is as good as trimmed: returns up to where. A queue whose events are deleted one by one thus never has to
    /// be searched from its beginning.
    fn take_from_head(&mut self, deleted: &[(EventId, u16, Offset)]) -> EventId {
        let mut floor = self.floor;
        for (id, ..) in deleted {
            match self.head.binary_search_by(|event| event.id.cmp(id)) {
                Ok(0) => {
                    self.head.pop_front();
                    floor = floor.max(*id);
                }
                Ok(at) => drop(self.head.remove(at)),
                Err(_) => {}
            }
        }
        match self.head.front().and_then(|oldest| oldest.id.prev()) {
            Some(before) if floor > self.floor => floor.max(before),
            _ => floor,
        }
    }
}

impl Topic {
    /// Journals that events were deleted, or trimmed one by one, which does not count as the user's doing.
    pub(crate) fn note_deleted(
        self: &Arc<Self>,
        state: &mut State,
        deleted: &[(EventId, u16, Offset)],
        trimmed: bool,
    ) -> Option<Ticket> {
        if deleted.is_empty() {
            return None;
        }
        self.watch.modified();
        let floor = state.take_from_head(deleted);
        for (id, ..) in deleted.iter().filter(|_| !trimmed) {
            state.max_deleted_id = state.max_deleted_id.max(*id);
        }
        for some in deleted.chunks(LINE_EVENTS_MAX) {
            let events = some
                .iter()
                .map(|(id, lane, offset)| DeletedEvent(IdText(*id), lane.saturating_add(1), *offset))
                .collect();
            state.journal.push(JournalRecord::Delete { events, trimmed });
        }
        if floor > state.floor {
            state.floor = floor;
            Arc::make_mut(&mut state.deletions).forget_up_to(floor);
            state.journal.push_trim(floor);
        }
        Some(self.journal_ticket(state))
    }
}
