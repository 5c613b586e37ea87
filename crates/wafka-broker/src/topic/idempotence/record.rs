//! What the journal says of idempotent producing.

use serde::{Deserialize, Serialize};
use wafka_core::{EventId, Offset, PartitionId};

use super::map::Record;
use crate::topic::journal::{BytesText, IdText};

/// A line of the journal has about so many bytes at most, but for one record's names.
const NAMES_BYTES: usize = 256 << 10;
/// What a record takes in a line beside its names, about.
const RECORD_BYTES: usize = 64;

/// Settings, and from where on records count.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    /// How long a record lives, in seconds.
    pub(super) duration_secs: u32,
    /// How many records of one producer are kept.
    pub(super) max_iids: u32,
    /// Records of events at or below this id are forgotten.
    pub(super) after: IdText,
    /// Lifetime counters.
    pub(super) added: u64,
    pub(super) duplicates: u64,
}

/// Records of producers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ProducedRecord {
    /// With this line every record of an event at or below the id is told; behind it, events' own lines tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) up_to: Option<IdText>,
    /// Lifetime counters, of what is told.
    pub(super) added: u64,
    pub(super) duplicates: u64,
    pub(super) producers: Vec<ProducerRecord>,
}

impl ProducedRecord {
    /// Its events stand elsewhere, and durable for sure.
    pub(crate) fn forget_places(&mut self) {
        for event in self.producers.iter_mut().flat_map(|producer| &mut producer.events) {
            event.at = None;
        }
    }
}

/// Records of one producer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ProducerRecord {
    pub(super) producer: BytesText,
    pub(super) events: Vec<SentRecord>,
}

/// An idempotence id, what it came to, and where that stands (partition and offset) as long as power can take it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SentRecord {
    pub(super) iid: BytesText,
    pub(super) id: IdText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<(u16, Offset)>,
}

impl From<&Record<'_>> for SentRecord {
    fn from(record: &Record<'_>) -> Self {
        let at = record.place.map(|(lane, offset)| (PartitionId::from_index(usize::from(lane)).0, offset));
        SentRecord { iid: BytesText::from(&**record.iid), id: IdText(record.id), at }
    }
}

/// Lifetime counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counters {
    pub(super) added: u64,
    pub(super) duplicates: u64,
}

/// Records as lines of the journal. The last says up to where all is told.
pub(super) fn lines<'a>(
    records: impl Iterator<Item = Record<'a>>,
    up_to: EventId,
    counters: Counters,
) -> Vec<ProducedRecord> {
    let Counters { added, duplicates } = counters;
    let empty = || ProducedRecord { up_to: None, added, duplicates, producers: Vec::new() };
    let mut lines = vec![empty()];
    let mut bytes = 0;
    for record in records {
        if bytes > NAMES_BYTES {
            lines.push(empty());
            bytes = 0;
        }
        bytes += record.iid.len() + RECORD_BYTES;
        let Some(line) = lines.last_mut() else { break };
        match line.producers.last_mut().filter(|last| *last.producer.0 == **record.producer) {
            Some(last) => last.events.push(SentRecord::from(&record)),
            None => {
                bytes += record.producer.len();
                let producer = BytesText::from(&**record.producer);
                line.producers.push(ProducerRecord { producer, events: vec![SentRecord::from(&record)] });
            }
        }
    }
    // Without the last line it must not be believed that all is told.
    if let Some(last) = lines.last_mut() {
        last.up_to = Some(IdText(up_to));
    }
    lines
}
