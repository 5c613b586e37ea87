//! Idempotent producing: an event that a producer sends again under the same idempotence id (`XADD … IDMP`) is not added
//! again; the answer is the id of the first.
//!
//! An event's line names its producer and idempotence id, so event and record are one write. What the lines say is told
//! to the journal by and by, and at the latest before a line may go: a start reads the records from there, and what came
//! after from the lines themselves. A topic that never used it has none of this; before its first idempotent event the
//! journal says that there may be such lines.

mod load;
mod map;
mod record;
mod session;

use wafka_core::{EventId, Offset, TopicName};

pub(crate) use load::{IID, PRODUCER};
pub(crate) use record::{ProducedRecord, SettingsRecord};
pub use session::{IdempotenceChange, RecordError};

use super::State;
use super::journal::{IdText, JournalRecord};
use crate::error::AppendError;
use crate::ticket::Ticket;
use map::Records;
use record::Counters;

/// When the journal does not know of so many changes, it is told.
const UNTOLD_MAX: u32 = 1024;
/// The records of one topic take at most so much memory, in bytes: beyond it a new idempotent event is refused.
const BYTES_MAX: usize = 256 << 20;

/// How long and how many records of idempotent producing are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdempotenceSettings {
    /// How long a record lives, in seconds.
    pub duration_secs: u32,
    /// How many records of each producer are kept.
    pub max_iids: u32,
}

impl Default for IdempotenceSettings {
    fn default() -> Self {
        IdempotenceSettings { duration_secs: 100, max_iids: 100 }
    }
}

impl IdempotenceSettings {
    fn duration_ms(&self) -> u64 {
        u64::from(self.duration_secs) * 1000
    }

    /// Whether a record of an event has lived long enough.
    fn has_lapsed(&self, id: EventId, now_ms: u64) -> bool {
        id.ms.saturating_add(self.duration_ms()) <= now_ms
    }
}

/// Who sent an event, and which of its events it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idempotent<'a> {
    /// The producer.
    pub producer: &'a [u8],
    /// The idempotence id: the same for an event that is sent again.
    pub iid: &'a [u8],
}

/// What can be told about a topic's idempotent producing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdempotenceInfo {
    /// Its settings.
    pub settings: IdempotenceSettings,
    /// Producers with records.
    pub producers: u64,
    /// Records.
    pub iids: u64,
    /// Idempotent events ever added.
    pub added: u64,
    /// Events that were not added, because they were there already.
    pub duplicates: u64,
}

/// The idempotent producing of a topic.
#[derive(Debug)]
pub(crate) struct Idempotence {
    settings: IdempotenceSettings,
    records: Records,
    added: u64,
    duplicates: u64,
    /// Its beginning is on its way to the journal: no event may come before.
    begun: Option<Ticket>,
    /// Every record of an event at or below this id is in a batch of the journal.
    told: EventId,
    /// Every record of an event at or below this id is in the journal.
    durable: EventId,
    /// [`Idempotence::duplicates`], as a batch of the journal says it.
    told_duplicates: u64,
    /// Changes that no batch knows of.
    untold: u32,
}

impl Idempotence {
    fn new(settings: IdempotenceSettings) -> Self {
        Idempotence {
            settings,
            records: Records::default(),
            added: 0,
            duplicates: 0,
            begun: None,
            told: EventId::MIN,
            durable: EventId::MIN,
            told_duplicates: 0,
            untold: 0,
        }
    }

    pub(super) fn info(&mut self, now_ms: u64) -> IdempotenceInfo {
        self.records.lapse_all(&self.settings, now_ms);
        IdempotenceInfo {
            settings: self.settings,
            producers: self.records.producers(),
            iids: self.records.len(),
            added: self.added,
            duplicates: self.duplicates,
        }
    }

    /// The id of the event that was sent before, if it was.
    pub(super) fn find(&mut self, event: Idempotent<'_>, now_ms: u64) -> Option<EventId> {
        self.records.lapse(event.producer, &self.settings, now_ms);
        let found = self.records.find(event.producer, event.iid)?;
        self.duplicates += 1;
        self.untold = self.untold.saturating_add(1);
        Some(found)
    }

    /// Whether there is room for one more record.
    pub(super) fn check_room(&self, topic: &TopicName) -> Result<(), AppendError> {
        if self.records.bytes() < BYTES_MAX {
            return Ok(());
        }
        Err(AppendError::TooManyProducers { topic: topic.to_string(), limit: BYTES_MAX })
    }

    /// Takes an event in.
    pub(super) fn note(&mut self, event: Idempotent<'_>, id: EventId, lane: u16, offset: Offset) {
        let max = usize::try_from(self.settings.max_iids).unwrap_or(usize::MAX);
        self.records.insert(event.producer, event.iid, id, Some((lane, offset)), max);
        self.added += 1;
        self.untold = self.untold.saturating_add(1);
    }

    /// Whether the journal should be told by now.
    pub(super) fn is_much_untold(&self) -> bool {
        self.untold >= UNTOLD_MAX
    }

    /// Whether the journal lacks anything.
    pub(super) fn is_untold(&self) -> bool {
        self.untold > 0
    }

    /// Events were lost with their partition: their records go with them.
    pub(super) fn forget_lost(&mut self, mut lost: impl FnMut(EventId) -> bool) {
        let before = self.records.len();
        self.records.forget(|id, _| lost(id));
        self.added = self.added.saturating_sub(before - self.records.len());
    }

    /// A batch is in the journal that tells all up to `told`.
    pub(super) fn made_durable(&mut self, told: EventId) {
        self.durable = self.durable.max(told);
    }

    /// The oldest event whose line must stay, because nothing but the line tells of its record.
    pub(super) fn first_in_lines_alone(&mut self, now_ms: u64) -> Option<EventId> {
        self.records.lapse_all(&self.settings, now_ms);
        let from = self.durable.next()?;
        self.records.between(from, EventId::MAX).map(|record| record.id).min()
    }

    /// What the journal was told, and how much it lacks.
    pub(super) fn telling(&self) -> (EventId, u64, u32) {
        (self.told, self.told_duplicates, self.untold)
    }

    /// What was told since [`Idempotence::telling`] does not count.
    pub(super) fn take_back(&mut self, telling: (EventId, u64, u32)) {
        (self.told, self.told_duplicates, self.untold) = telling;
    }

    fn counters_up_to(&self, id: EventId) -> Counters {
        let above = id.next().map_or(0, |next| self.records.between(next, EventId::MAX).count() as u64);
        Counters { added: self.added.saturating_sub(above), duplicates: self.duplicates }
    }

    fn settings_record(&self) -> JournalRecord {
        let Counters { added, duplicates } = self.counters_up_to(self.told);
        JournalRecord::Idempotence(SettingsRecord {
            duration_secs: self.settings.duration_secs,
            max_iids: self.settings.max_iids,
            after: IdText(self.told),
            added,
            duplicates,
        })
    }

    /// Records from `from` on as lines of the journal, up to the last at or below `up_to`. Unless they are all there are,
    /// the lines do not say that all is told.
    fn records(&mut self, from: EventId, up_to: EventId, is_all: bool) -> Vec<JournalRecord> {
        if is_all {
            let last = self.records.between(from, up_to).map(|record| record.id).max();
            self.told = self.told.max(last.unwrap_or(EventId::MIN));
            // Of what is not visible yet the journal is told later.
            let left = up_to.next().map_or(0, |next| self.records.between(next, EventId::MAX).count());
            self.untold = u32::try_from(left).unwrap_or(u32::MAX);
        }
        self.told_duplicates = self.duplicates;
        let counters = self.counters_up_to(self.told);
        let lines = record::lines(self.records.between(from, up_to), self.told, counters);
        lines.into_iter().map(JournalRecord::Produced).collect()
    }
}

impl State {
    /// Up to which id events are visible: only what is may be told to the journal.
    fn visible_up_to(&self) -> EventId {
        let first_hidden = self.uncommitted.front().map(|event| event.id);
        first_hidden.map_or(EventId::MAX, |id| id.prev().unwrap_or(EventId::MIN))
    }

    /// What the journal does not know yet of idempotent producing. From here on it is as good as told. Nothing as long as
    /// a partition is missing: among what its lines say may be older records, and to a start they would count as told.
    pub(super) fn untold_idempotence(&mut self) -> Vec<JournalRecord> {
        if self.unread().is_some() {
            return Vec::new();
        }
        let up_to = self.visible_up_to();
        match &mut self.idempotence {
            Some(idempotence) if idempotence.untold > 0 => {
                let Some(from) = idempotence.told.next() else { return Vec::new() };
                let is_any = idempotence.records.between(from, up_to).next().is_some();
                match is_any || idempotence.duplicates != idempotence.told_duplicates {
                    true => idempotence.records(from, up_to, true),
                    false => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// All of idempotent producing, for a snapshot.
    pub(super) fn idempotence_parts(&mut self) -> Vec<JournalRecord> {
        let (up_to, is_all) = (self.visible_up_to(), self.unread().is_none());
        let Some(idempotence) = &mut self.idempotence else { return Vec::new() };
        let mut parts = vec![idempotence.settings_record()];
        parts.extend(idempotence.records(EventId::MIN, up_to, is_all));
        parts
    }

    /// Up to where the journal's next batch tells all.
    pub(super) fn idempotence_told(&self) -> EventId {
        self.idempotence.as_deref().map_or(EventId::MIN, |idempotence| idempotence.told)
    }
}
