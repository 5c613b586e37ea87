//! `XSETID`.

use std::sync::Arc;

use wafka_core::EventId;

use super::journal::{IdText, JournalRecord};
use super::{State, Topic};
use crate::error::SetIdError;
use crate::ticket::Ticket;

/// What `XSETID` sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetId {
    /// The topic's last id.
    pub last: EventId,
    /// How many events were ever added.
    pub entries_added: Option<u64>,
    /// The highest id that was deleted.
    pub max_deleted: Option<EventId>,
}

impl Topic {
    /// Sets the last id and the counters (`XSETID`); returns the ticket of its durability.
    ///
    /// # Errors
    /// When a value contradicts the events there are, or the topic cannot be written.
    pub fn set_id(self: &Arc<Self>, set: &SetId) -> Result<Ticket, SetIdError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if set.last < set.max_deleted.unwrap_or(EventId::MIN).max(state.max_deleted_id) {
            return Err(SetIdError::BelowDeleted);
        }
        let len = state.accepted_len();
        if set.last < newest(state) {
            return Err(SetIdError::BelowTop);
        }
        if set.entries_added.is_some_and(|added| added < len) {
            return Err(SetIdError::AddedTooSmall);
        }
        if let Some(added) = set.entries_added {
            let offsets = state.entries_added().saturating_add_signed(state.added_extra.saturating_neg());
            let difference = i128::from(added) - i128::from(offsets);
            state.added_extra =
                i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX });
        }
        if let Some(max_deleted) = set.max_deleted {
            state.max_deleted_id = max_deleted;
        }
        state.last_id = set.last;
        if state.uncommitted.is_empty() {
            state.visible_id = set.last;
        }
        state.journal.push(JournalRecord::SetId {
            last_id: IdText(set.last),
            added_extra: state.added_extra,
            max_deleted: IdText(state.max_deleted_id),
        });
        Ok(self.journal_ticket(state))
    }
}

/// The highest id that an event ever had. Redis looks at events that are left alone; here the files are in the order of
/// ids, and what is trimmed stays trimmed, so the ids must go on behind it.
pub(super) fn newest(state: &State) -> EventId {
    let committed = state.lanes.iter().filter(|lane| !lane.unread).map(|lane| lane.last_id);
    let accepted = state.uncommitted.back().map(|event| event.id);
    committed.chain(accepted).max().unwrap_or(EventId::MIN).max(state.floor)
}
