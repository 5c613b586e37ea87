//! `XACK`.

use std::sync::Arc;

use wafka_core::EventId;

use super::error::GroupError;
use crate::ticket::Ticket;
use crate::topic::{Ack, GroupRecord, Topic};

impl Topic {
    /// Acknowledges entries: how many of them were pending. Without such a group, none.
    ///
    /// # Errors
    /// When the topic cannot be written.
    pub fn ack(self: &Arc<Self>, group: &[u8], ids: &[EventId]) -> Result<(u64, Option<Ticket>), GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let Some(found) = state.groups.get_mut(group) else { return Ok((0, None)) };
        let mut acked = Vec::with_capacity(ids.len());
        acked.extend(ids.iter().copied().filter(|id| found.remove(*id)));
        let record = |ids| GroupRecord::Ack(Ack { group: group.into(), ids });
        Ok((acked.len() as u64, self.note_ids(state, &acked, record)))
    }
}
