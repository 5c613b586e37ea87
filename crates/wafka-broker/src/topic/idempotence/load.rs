//! A topic's idempotence records at start: what the journal tells, and what the lines behind that say.

use wafka_core::storage::StorageError;
use wafka_core::{EventId, Offset, PartitionId};
use wafka_storage::line::EventLine;

use super::record::{ProducedRecord, ProducerRecord, SentRecord, SettingsRecord};
use super::{Idempotence, IdempotenceSettings, Idempotent};
use crate::topic::journal::{BytesText, IdText, JournalRecord};
use crate::topic::open::scan;
use crate::topic::settle::into_storage;
use crate::topic::{Lane, State};

/// The keys of an event's line that name its producer and its idempotence id.
pub(crate) const PRODUCER: &str = "producer";
pub(crate) const IID: &str = "iid";

impl Idempotence {
    /// A record alone as a line of the journal: its event's line does not tell of it.
    pub(super) fn single(
        &self,
        event: Idempotent<'_>,
        id: EventId,
        lane: u16,
        offset: Offset,
    ) -> JournalRecord {
        let at = Some((PartitionId::from_index(usize::from(lane)).0, offset));
        let sent = SentRecord { iid: BytesText::from(event.iid), id: IdText(id), at };
        let producer = ProducerRecord { producer: BytesText::from(event.producer), events: vec![sent] };
        let counters = self.counters_up_to(self.told);
        JournalRecord::Produced(ProducedRecord {
            up_to: None,
            added: counters.added,
            duplicates: counters.duplicates,
            producers: vec![producer],
        })
    }

    fn insert(&mut self, producer: &[u8], iid: &[u8], id: EventId, place: Option<(u16, Offset)>) {
        let max = usize::try_from(self.settings.max_iids).unwrap_or(usize::MAX);
        self.records.insert(producer, iid, id, place, max);
    }
}

impl State {
    /// Applies settings that were read back from the journal.
    pub(in crate::topic) fn replay_idempotence(&mut self, record: &SettingsRecord) {
        let settings = IdempotenceSettings { duration_secs: record.duration_secs, max_iids: record.max_iids };
        let idempotence = self.idempotence.get_or_insert_with(|| Box::new(Idempotence::new(settings)));
        if idempotence.settings != settings {
            idempotence.settings = settings;
            idempotence.records = Default::default();
        }
        idempotence.told = idempotence.told.max(record.after.0);
        // Where events were lost with the power, no new one may get an id that is taken for told.
        self.last_id = self.last_id.max(record.after.0);
        (idempotence.added, idempotence.duplicates) = (record.added, record.duplicates);
    }

    /// Applies records that were read back from the journal.
    pub(in crate::topic) fn replay_produced(&mut self, record: &ProducedRecord) {
        let Some(idempotence) = &mut self.idempotence else { return };
        for ProducerRecord { producer, events } in &record.producers {
            for SentRecord { iid, id, at } in events {
                let place = at.map(|(partition, offset)| (partition.saturating_sub(1), offset));
                idempotence.insert(&producer.0, &iid.0, id.0, place);
            }
        }
        (idempotence.added, idempotence.duplicates) = (record.added, record.duplicates);
        if let Some(up_to) = record.up_to {
            idempotence.told = idempotence.told.max(up_to.0);
            self.last_id = self.last_id.max(up_to.0);
        }
    }

    /// Completes the records by what the lines say that the journal was not told of, and drops those whose events were
    /// lost with the power.
    pub(in crate::topic) fn complete_idempotence(&mut self, now_ms: u64) -> Result<(), StorageError> {
        let Some(mut idempotence) = self.idempotence.take() else { return Ok(()) };
        let end = |lane: &Lane| if lane.unread { Offset::MAX } else { lane.next_offset };
        let ends: Vec<Offset> = self.lanes.iter().map(end).collect();
        let is_lost =
            |(lane, offset): (u16, Offset)| ends.get(usize::from(lane)).is_none_or(|end| offset >= *end);
        let before = idempotence.records.len();
        idempotence.records.forget(|_, place| place.is_some_and(is_lost));
        if idempotence.records.len() < before {
            // Other events take these places: the next start must not find the records in the journal again.
            self.journal.want_snapshot();
        }
        (idempotence.durable, idempotence.told_duplicates) = (idempotence.told, idempotence.duplicates);
        let oldest = EventId::new((now_ms + 1).saturating_sub(idempotence.settings.duration_ms()), 0);
        if let Some(from) = idempotence.told.next() {
            for (number, lane) in (0..).zip(&self.lanes).filter(|(_, lane)| !lane.unread) {
                idempotence.read_lines(lane, number, from.max(oldest))?;
            }
        }
        idempotence.records.lapse_all(&idempotence.settings, now_ms);
        self.idempotence = Some(idempotence);
        Ok(())
    }
}

impl Idempotence {
    /// Reads what the lines of a partition say, from the event `from` on.
    fn read_lines(&mut self, lane: &Lane, number: u16, from: EventId) -> Result<(), StorageError> {
        if lane.last_id < from {
            return Ok(());
        }
        let start = lane.file_view(usize::from(number)).seek(from).map_err(into_storage)?;
        scan(&*lane.reader, start.cursor, |_, line| {
            // A damaged line is told of by who reads its event.
            if let Ok(line) = EventLine::parse(line)
                && line.id >= from
            {
                self.read_line(&line, number);
            }
        })
    }

    fn read_line(&mut self, line: &EventLine<'_>, lane: u16) {
        let (mut producer, mut iid) = (None, None);
        for entry in line.metadata() {
            match entry {
                Ok((key, value)) if *key == *PRODUCER.as_bytes() => producer = Some(value),
                Ok((key, value)) if *key == *IID.as_bytes() => iid = Some(value),
                _ => {}
            }
        }
        if let (Some(producer), Some(iid)) = (producer, iid) {
            self.insert(&producer, &iid, line.id, Some((lane, line.offset)));
            self.added += 1;
            self.untold = self.untold.saturating_add(1);
        }
    }
}
