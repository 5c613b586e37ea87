//! All that still matters in a few records, and memory as the records left it.

use std::sync::Arc;

use wafka_core::PartitionId;

use super::super::deletions::Deleted;
use super::super::{Deletions, Idempotence, State};
use super::group_snapshot;
use super::record::{DeletedEvent, FloorPlaces, JournalRecord};
use super::text::IdText;
use crate::index::Removed;

/// The lines of a snapshot that are there so far, while a journal is read back.
#[derive(Default)]
pub(in crate::topic) struct Replay {
    staged: Vec<JournalRecord>,
    /// How many parts the snapshot has.
    parts: u64,
}

impl JournalRecord {
    /// What was removed from the log of the partition with this index.
    pub(in crate::topic) fn removed(number: usize, runs: &Removed) -> Self {
        JournalRecord::Removed { partition: PartitionId::from_index(number).0, runs: runs.clone() }
    }
}

impl State {
    /// Everything, as records: a [`JournalRecord::Snapshot`] and its parts, whatever records these are.
    pub(super) fn snapshot(&mut self, is_synced: bool) -> Vec<JournalRecord> {
        let removed = self.removed_parts();
        let places = if is_synced { self.floor_places() } else { Vec::new() };
        self.snapshot_with(removed, places)
    }

    /// Everything but what is said of the logs alone, and the records `of_logs`, and where the floor stands in them.
    fn snapshot_with(&mut self, of_logs: Vec<JournalRecord>, above: FloorPlaces) -> Vec<JournalRecord> {
        let idempotence = self.idempotence_parts();
        let mut records = vec![JournalRecord::Snapshot {
            last_id: IdText(self.last_id),
            trimmed_up_to: IdText(self.floor),
            above,
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
            parts: 0,
        }];
        let parts = group_snapshot::parts(&self.groups).map(JournalRecord::Group);
        let parts = parts.chain(idempotence).chain(of_logs);
        records.extend(
            parts.zip(1..).map(|(record, number)| JournalRecord::Part { number, record: record.into() }),
        );
        let count = records.len() as u64 - 1;
        if let Some(JournalRecord::Snapshot { parts, .. }) = records.first_mut() {
            *parts = count;
        }
        records
    }

    /// Everything, as the journal of a copy says it: nothing here counts as told.
    pub(in crate::topic) fn snapshot_of_copy(&mut self) -> Vec<JournalRecord> {
        let told = self.idempotence.as_deref().map(Idempotence::telling);
        // Its logs have all lines.
        let mut records = self.snapshot_with(Vec::new(), Vec::new());
        if let (Some(idempotence), Some(told)) = (&mut self.idempotence, told) {
            idempotence.take_back(told);
        }
        for record in &mut records {
            if let JournalRecord::Part { record, .. } = record
                && let JournalRecord::Produced(produced) = &mut **record
            {
                produced.forget_places();
            }
        }
        records
    }

    /// Applies a record that was read back from the journal.
    pub(in crate::topic) fn replay(&mut self, replay: &mut Replay, record: JournalRecord) {
        match record {
            JournalRecord::Snapshot { parts, .. } if parts > 0 => {
                // One that was cut short before it is forgotten: what it was to replace still stands.
                *replay = Replay { staged: vec![record], parts };
            }
            JournalRecord::Part { number, record } if number == replay.staged.len() as u64 => {
                replay.staged.push(*record);
                if number == replay.parts {
                    std::mem::take(replay).staged.into_iter().for_each(|record| self.apply(record));
                }
            }
            record => {
                *replay = Replay::default();
                self.apply(record);
            }
        }
    }

    fn apply(&mut self, record: JournalRecord) {
        match record {
            JournalRecord::Trim { up_to, above } => self.replay_floor(self.floor.max(up_to.0), &above),
            JournalRecord::Delete { events, trimmed } => {
                self.replay_deleted(&events);
                let newest = events.iter().map(|DeletedEvent(id, ..)| id.0).filter(|_| !trimmed).max();
                self.max_deleted_id = self.max_deleted_id.max(newest.unwrap_or_default());
            }
            JournalRecord::SetId { last_id, added_extra, max_deleted } => {
                self.last_id = last_id.0;
                self.added_extra = added_extra;
                self.max_deleted_id = max_deleted.0;
            }
            JournalRecord::Idempotence(record) => self.replay_idempotence(&record),
            JournalRecord::Produced(record) => self.replay_produced(&record),
            JournalRecord::Expire { at_ms } => self.expire_at_ms = at_ms,
            JournalRecord::Snapshot {
                last_id,
                trimmed_up_to,
                above,
                max_deleted,
                added_extra,
                deleted,
                expire_at_ms,
                ..
            } => {
                self.last_id = last_id.0;
                self.replay_floor(trimmed_up_to.0, &above);
                self.added_extra = added_extra;
                self.deletions = Arc::new(Deletions::default());
                self.groups.clear();
                self.lanes.iter_mut().for_each(|lane| lane.removed = Removed::default());
                self.replay_deleted(&deleted);
                self.expire_at_ms = expire_at_ms;
                self.idempotence = None;
                self.max_deleted_id = max_deleted.0;
            }
            JournalRecord::Removed { partition, runs } => {
                if let Some(lane) = self.lanes.get_mut(usize::from(partition.saturating_sub(1))) {
                    lane.removed = if runs.is_sound() { runs } else { Removed::default() };
                }
            }
            // Of a snapshot that was cut short.
            JournalRecord::Part { .. } => {}
            JournalRecord::Group(record) => {
                // Where events were lost with the power, no new one may get an id that a group has passed.
                self.last_id = self.last_id.max(record.delivered());
                record.apply(&mut self.groups);
            }
        }
    }

    /// What is to be known of logs where the backend counts their lines, to open them without reading.
    fn removed_parts(&self) -> Vec<JournalRecord> {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.removed.is_empty());
        lanes.map(|(number, lane)| JournalRecord::removed(number, &lane.removed)).collect()
    }

    fn replay_deleted(&mut self, events: &[DeletedEvent]) {
        let deletions = Arc::make_mut(&mut self.deletions);
        for DeletedEvent(id, partition, offset) in events {
            let lane = partition.saturating_sub(1);
            deletions.insert(id.0, Deleted { lane, offset: *offset });
            self.groups.mark_gone(id.0);
        }
    }
}
