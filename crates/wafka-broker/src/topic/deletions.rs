//! Single events that were deleted and still stand in their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafka_core::{EventId, Offset};

use super::Topic;
use super::journal::{DeletedEvent, IdText, JournalRecord};
use crate::error::ReadError;
use crate::ticket::Ticket;

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
        match id.next() {
            Some(next) => self.by_id = self.by_id.split_off(&next),
            None => self.by_id.clear(),
        }
    }

    /// Forgets what `gone` says is not in the files any more.
    pub(crate) fn forget(&mut self, mut gone: impl FnMut(EventId, Deleted) -> bool) {
        self.by_id.retain(|id, deleted| !gone(*id, *deleted));
    }
}

impl Topic {
    /// Deletes single events (`XDEL`): returns how many there were, and the ticket of the deletion's durability.
    ///
    /// # Errors
    /// When the topic cannot be read or written.
    pub fn delete_events(self: &Arc<Self>, ids: &[EventId]) -> Result<(u64, Option<Ticket>), ReadError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        // All are looked up before one is deleted: what fails to be read leaves everything as it was.
        let mut found = BTreeMap::new();
        for &id in ids {
            if let Some(place) = Self::find(state, id)? {
                found.insert(id, place);
            }
        }
        let mut events = Vec::new();
        for (id, (lane, offset)) in found {
            Arc::make_mut(&mut state.deletions).insert(id, Deleted { lane, offset });
            let counted = &mut state.lanes[usize::from(lane)].live;
            *counted = counted.saturating_sub(1);
            state.max_deleted_id = state.max_deleted_id.max(id);
            state.groups.mark_gone(id);
            events.push(DeletedEvent(IdText(id), lane + 1, offset));
        }
        if events.is_empty() {
            return Ok((0, None));
        }
        self.watch.modified();
        let deletions = Arc::clone(&state.deletions);
        state.head.retain(|event| !deletions.contains(event.id));
        let count = events.len() as u64;
        state.journal.push(JournalRecord::Delete { events });
        Ok((count, Some(self.journal_ticket(state))))
    }
}
