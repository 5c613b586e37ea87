//! The lines of a topic's journal.

use serde::{Deserialize, Serialize};
use wafka_core::Offset;

use super::group_record::GroupRecord;
use super::text::IdText;
use crate::index::Removed;
use crate::topic::idempotence::{ProducedRecord, SettingsRecord};

/// A deleted event: id, partition, offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DeletedEvent(pub(crate) IdText, pub(crate) u16, pub(crate) Offset);

/// For each partition, the offset that its lines above the trim floor begin at, where that is known and was durable.
pub(crate) type FloorPlaces = Vec<Option<Offset>>;

/// A line of the journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum JournalRecord {
    /// Every event at or below the id is trimmed.
    Trim {
        up_to: IdText,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        above: FloorPlaces,
    },
    /// Single events were deleted.
    Delete {
        events: Vec<DeletedEvent>,
        /// It was a trimming's doing, not the user's.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        trimmed: bool,
    },
    /// `XSETID`.
    SetId { last_id: IdText, added_extra: i64, max_deleted: IdText },
    /// When the topic's time comes, in milliseconds since 1970; it has none without.
    Expire { at_ms: Option<u64> },
    /// Idempotent producing: its settings.
    Idempotence(SettingsRecord),
    /// Idempotent producing: which events were sent.
    Produced(ProducedRecord),
    /// Which lines between the first and the last one of a partition's log were removed one by one, all of them.
    Removed { partition: u16, runs: Removed },
    /// All that came before, in this line and the `parts` lines behind it: it counts when all of them are there.
    Snapshot {
        last_id: IdText,
        trimmed_up_to: IdText,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        above: FloorPlaces,
        max_deleted: IdText,
        added_extra: i64,
        deleted: Vec<DeletedEvent>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire_at_ms: Option<u64>,
        #[serde(skip_serializing_if = "is_zero", default)]
        parts: u64,
    },
    /// A line of a snapshot behind its first, counted from 1: what the record says, it says of the snapshot.
    Part { number: u64, record: Box<JournalRecord> },
    /// What happened to consumer groups.
    #[serde(untagged)]
    Group(GroupRecord),
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
