//! All that still matters in one record, and memory as the records left it.

use std::sync::Arc;

use wafka_core::PartitionId;

use super::super::deletions::Deleted;
use super::super::{Deletions, State};
use super::record::{DeletedEvent, IdText, JournalRecord};

impl State {
    pub(super) fn snapshot(&self) -> JournalRecord {
        JournalRecord::Snapshot {
            last_id: IdText(self.last_id),
            trimmed_up_to: IdText(self.floor),
            max_deleted: IdText(self.max_deleted_id),
            added_extra: self.added_extra,
            deleted: self
                .deletions
                .iter()
                .map(|(id, at)| {
                    DeletedEvent(IdText(id), PartitionId::from_index(usize::from(at.lane)).0, at.offset)
                })
                .collect(),
            expire_at_ms: self.expire_at_ms,
        }
    }

    /// Applies a record that was read back from the journal.
    pub(in crate::topic) fn replay(&mut self, record: JournalRecord) {
        match record {
            JournalRecord::Trim { up_to } => self.floor = self.floor.max(up_to.0),
            JournalRecord::Delete { events } => self.replay_deleted(&events),
            JournalRecord::SetId { last_id, added_extra, max_deleted } => {
                self.last_id = last_id.0;
                self.added_extra = added_extra;
                self.max_deleted_id = max_deleted.0;
            }
            JournalRecord::Expire { at_ms } => self.expire_at_ms = at_ms,
            JournalRecord::Snapshot {
                last_id,
                trimmed_up_to,
                max_deleted,
                added_extra,
                deleted,
                expire_at_ms,
            } => {
                self.last_id = last_id.0;
                self.floor = trimmed_up_to.0;
                self.max_deleted_id = max_deleted.0;
                self.added_extra = added_extra;
                self.deletions = Arc::new(Deletions::default());
                self.replay_deleted(&deleted);
                self.expire_at_ms = expire_at_ms;
            }
        }
    }

    fn replay_deleted(&mut self, events: &[DeletedEvent]) {
        let deletions = Arc::make_mut(&mut self.deletions);
        for DeletedEvent(id, partition, offset) in events {
            let lane = partition.saturating_sub(1);
            deletions.insert(id.0, Deleted { lane, offset: *offset });
            self.max_deleted_id = self.max_deleted_id.max(id.0);
        }
    }
}
