//! The lines of a topic's journal.

use serde::{Deserialize, Serialize};
use wafka_core::{EventId, Offset};

/// An event id as text, `ms-seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdText(pub(crate) EventId);

impl Serialize for IdText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventId::parse(text.as_bytes(), 0).map(IdText).map_err(serde::de::Error::custom)
    }
}

/// A deleted event: id, partition, offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DeletedEvent(pub(crate) IdText, pub(crate) u16, pub(crate) Offset);

/// A line of the journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum JournalRecord {
    /// Every event at or below the id is trimmed.
    Trim { up_to: IdText },
    /// Single events were deleted.
    Delete { events: Vec<DeletedEvent> },
    /// `XSETID`.
    SetId { last_id: IdText, added_extra: i64, max_deleted: IdText },
    /// When the topic's time comes, in milliseconds since 1970; it has none without.
    Expire { at_ms: Option<u64> },
    /// All that came before, in one line.
    Snapshot {
        last_id: IdText,
        trimmed_up_to: IdText,
        max_deleted: IdText,
        added_extra: i64,
        deleted: Vec<DeletedEvent>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire_at_ms: Option<u64>,
    },
}
